package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

const maxAnswer = 64 << 20 // bytes; an explanation with a long trail is the largest

// APIError is a refusal by the API.
type APIError struct {
	StatusCode int
	Type       ErrorType
	Message    string
}

// Error returns the type and the message.
func (e *APIError) Error() string {
	if e.Type == "" {
		return fmt.Sprintf("HTTP %d: %s", e.StatusCode, e.Message)
	}
	return string(e.Type) + ": " + e.Message
}

// Client speaks to an agent's API on behalf of the command line. Errors of its
// methods are *APIError where the agent refused, and network errors else.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient returns a client of the agent at base, its external URL with the
// route prefix. token may be empty where reading is free. A nil hc means
// http.DefaultClient.
func NewClient(base, token string, hc *http.Client) *Client {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{base: trimSlash(base), token: token, http: hc}
}

// Status returns the agent at a glance.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/api/v1/status", nil)
}

// Version returns what is running.
func (c *Client) Version(ctx context.Context) (VersionInfo, error) {
	return call[VersionInfo](ctx, c, http.MethodGet, "/version", nil)
}

// Graph returns the dependency graph as the agent sees it; what one incident is
// about where one is given, by its ID or the beginning of it.
func (c *Client) Graph(ctx context.Context, incident string) (Graph, error) {
	path := "/api/v1/graph"
	if incident != "" {
		path += "?" + url.Values{"incident": {incident}}.Encode()
	}
	return call[Graph](ctx, c, http.MethodGet, path, nil)
}

// Incidents returns the open incidents, or all that the agent still holds.
func (c *Client) Incidents(ctx context.Context, all bool) ([]sre.Incident, error) {
	state := "open"
	if all {
		state = "all"
	}
	return call[[]sre.Incident](ctx, c, http.MethodGet, "/api/v1/incidents?state="+state, nil)
}

// Incident returns one incident.
func (c *Client) Incident(ctx context.Context, id string) (sre.Incident, error) {
	return call[sre.Incident](ctx, c, http.MethodGet, incidentPath(id, ""), nil)
}

// Explain returns the whole reasoning about one incident, by its ID or the
// beginning of it, or of a whole tick where incident is empty; as it was at an
// instant, or now where at is zero.
func (c *Client) Explain(ctx context.Context, incident string, at time.Time) (sre.Explanation, error) {
	query := url.Values{}
	if incident != "" {
		query.Set("incident", incident)
	}
	if !at.IsZero() {
		query.Set("at", at.UTC().Format(time.RFC3339Nano))
	}
	return call[sre.Explanation](ctx, c, http.MethodGet, "/api/v1/explain?"+query.Encode(), nil)
}

// Approvals returns the open questions.
func (c *Client) Approvals(ctx context.Context) ([]Prompt, error) {
	return call[[]Prompt](ctx, c, http.MethodGet, "/api/v1/approvals", nil)
}

// Approve says yes to the decision that was shown.
func (c *Client) Approve(ctx context.Context, incident, decision, comment string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, incidentPath(incident, "/approve"), answerBody{decision, comment})
}

// Reject says no to the decision that was shown.
func (c *Client) Reject(ctx context.Context, incident, decision, comment string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, incidentPath(incident, "/reject"), answerBody{decision, comment})
}

// Close declares an incident over.
func (c *Client) Close(ctx context.Context, incident, comment string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, incidentPath(incident, "/close"), answerBody{Comment: comment})
}

// Undo takes back all mitigations of an incident.
func (c *Client) Undo(ctx context.Context, incident, comment string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, incidentPath(incident, "/undo"), answerBody{Comment: comment})
}

// Pause stops new mitigations until the pause of the same name is taken back.
func (c *Client) Pause(ctx context.Context, name, reason string) (Receipt, error) {
	return c.PauseFor(ctx, name, reason, 0)
}

// PauseFor is a pause that ends by itself after a time; 0 is without an end.
func (c *Client) PauseFor(ctx context.Context, name, reason string, lasts time.Duration) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/pause", pauseBody{Name: name, Reason: reason, For: model.Duration(lasts)})
}

// Resume takes back the pause of a name.
func (c *Client) Resume(ctx context.Context, name string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/resume", resumeBody{name})
}

// ReportChange tells the agent of a change and returns it as it was taken.
func (c *Client) ReportChange(ctx context.Context, change sre.Change) (sre.Change, error) {
	return call[sre.Change](ctx, c, http.MethodPost, "/api/v1/changes", change)
}

// Reload makes the agent read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	_, err := call[json.RawMessage](ctx, c, http.MethodPost, "/-/reload", nil)
	return err
}

// Ready returns whether the agent is ready and why not.
func (c *Client) Ready(ctx context.Context) (Readiness, error) {
	return call[Readiness](ctx, c, http.MethodGet, "/-/ready?format=json", nil)
}

func incidentPath(id, rest string) string { return "/api/v1/incidents/" + url.PathEscape(id) + rest }

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return out, fmt.Errorf("encode the request: %w", err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return out, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return out, fmt.Errorf("ask the agent: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out, fmt.Errorf("read the answer: %w", err)
	}
	err = openEnvelope(resp.StatusCode, raw, &out)
	return out, err
}

// openEnvelope takes the data out of an answer. Something that is no envelope
// came from a proxy or from another server, and is shown shortened.
func openEnvelope(status int, raw []byte, into any) error {
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil || e.Status == "" {
		head, _ := splitRunes(strings.TrimSpace(plain(string(raw))), 200)
		return &APIError{StatusCode: status, Message: "not an answer of sreagent: " + head}
	}
	if e.Status != "success" {
		return &APIError{StatusCode: status, Type: e.ErrorType, Message: e.Error}
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}
