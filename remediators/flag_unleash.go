package remediators

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// unleashTitle begins the title of a strategy that carries the lever's state;
// the title that was there follows on the next line.
const unleashTitle = "sreagent "

// unleash writes the one strategy that a flag has in an environment:
// flexibleRollout, whose sticky keys stay off as the share grows.
type unleash struct{}

// unleashFlag is a flag in an environment, as far as the lever writes it.
type unleashFlag struct {
	Enabled    bool              `json:"enabled"`
	Strategies []unleashStrategy `json:"strategies"`
}

// unleashStrategy is what a strategy is replaced with; what the server adds by
// itself is left out.
type unleashStrategy struct {
	ID          string            `json:"id,omitempty"`
	Name        string            `json:"name"`
	Title       string            `json:"title"`
	Disabled    bool              `json:"disabled"`
	SortOrder   float64           `json:"sortOrder"`
	Constraints []json.RawMessage `json:"constraints"`
	Parameters  map[string]string `json:"parameters"`
	Segments    []int             `json:"segments"`
	Variants    []json.RawMessage `json:"variants"`
}

func (unleash) parse(text []byte) (unleashFlag, error) {
	var f unleashFlag
	if err := json.Unmarshal(text, &f); err != nil {
		return f, sre.Failedf("the flag is unreadable: %v", err)
	}
	if len(f.Strategies) != 1 || f.Strategies[0].Name != "default" && f.Strategies[0].Name != "flexibleRollout" {
		names := make([]string, len(f.Strategies))
		for i, s := range f.Strategies {
			names[i] = s.Name
		}
		return f, sre.Refusedf("the flag has the strategies %q, and any of them switches it on: it takes one, default or flexibleRollout", names)
	}
	return f, nil
}

func (u unleash) split(raw []byte) ([]byte, *flagState, error) {
	f, err := u.parse(raw)
	if err != nil {
		return nil, nil, err
	}
	st := &flagState{}
	if text, ours := strings.CutPrefix(f.Strategies[0].Title, unleashTitle); ours {
		state, title, _ := strings.Cut(text, "\n")
		if err := json.Unmarshal([]byte(state), st); err != nil {
			return nil, nil, fmt.Errorf("the title of the strategy: %w", err)
		}
		f.Strategies[0].Title = title
	}
	definition, err := json.Marshal(f)
	return definition, st, err
}

func (u unleash) join(definition []byte, st *flagState) ([]byte, error) {
	f, err := u.parse(definition)
	if err != nil {
		return nil, err
	}
	state, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	title := unleashTitle + string(state)
	if old := f.Strategies[0].Title; old != "" {
		title += "\n" + old
	}
	f.Strategies[0].Title = title
	return json.Marshal(f)
}

// present is the percent that is off by the strategy and the environment.
func (u unleash) present(definition []byte, _ string) (float64, error) {
	f, err := u.parse(definition)
	if err != nil {
		return 0, err
	}
	if !f.Enabled || f.Strategies[0].Disabled {
		return 100, nil
	}
	return 100 - f.rollout(), nil
}

func (f unleashFlag) rollout() float64 {
	if f.Strategies[0].Name == "default" {
		return 100
	}
	r, err := strconv.ParseFloat(f.Strategies[0].Parameters["rollout"], 64)
	if err != nil || !(r > 0) {
		return 0
	}
	return min(r, 100)
}

// rewrite takes the share away from those for whom the flag is on. Unleash
// counts in whole percents: what does not come out even is off.
func (u unleash) rewrite(definition []byte, cuts []cut, _ string) ([]byte, error) {
	f, err := u.parse(definition)
	if err != nil || len(cuts) == 0 {
		return definition, err
	}
	if len(cuts) != 1 || cuts[0].cohort != "" {
		return nil, sre.Refusedf("a strategy of Unleash cannot leave out a cohort")
	}
	s := f.Strategies[0]
	params := map[string]string{"stickiness": "default"}
	if s.Name == "flexibleRollout" {
		params = make(map[string]string, len(s.Parameters))
		maps.Copy(params, s.Parameters)
	}
	params["rollout"] = strconv.FormatFloat(math.Floor(f.rollout()*(100-cuts[0].percent)/100), 'f', -1, 64)
	s.Name, s.Parameters = "flexibleRollout", params
	f.Strategies = []unleashStrategy{s}
	return json.Marshal(f)
}

// unleashStore is the admin API of an Unleash server. It has no conditional
// write: a flag is read again just before it is written, and after.
type unleashStore struct {
	cfg    FlagsConfig
	client *http.Client
	tree   SwitchTree
	turn   chan struct{} // of one edit at a time: the server would let two overwrite each other
}

func (s unleashStore) names(context.Context) ([]string, error) {
	var out []string
	for _, k := range s.tree {
		if k.Lever == s.cfg.Name && k.Flag != "" {
			out = append(out, k.Flag)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (s unleashStore) address(flag string) string {
	return strings.TrimSuffix(s.cfg.URL, "/") + "/api/admin/projects/" + url.PathEscape(s.cfg.project()) + "/features/" +
		url.PathEscape(flag) + "/environments/" + url.PathEscape(s.cfg.Environment)
}

func (s unleashStore) get(ctx context.Context, flag string) ([]byte, error) {
	text, status, err := s.do(ctx, http.MethodGet, s.address(flag), nil)
	if err != nil || status == http.StatusNotFound {
		return nil, err
	}
	var f unleashFlag
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, sre.Unknownf(err, "the answer of Unleash is unreadable")
	}
	for i, st := range f.Strategies {
		if f.Strategies[i].Parameters == nil {
			f.Strategies[i].Parameters = map[string]string{}
		}
		f.Strategies[i].Constraints = append([]json.RawMessage{}, st.Constraints...)
		f.Strategies[i].Segments = append([]int{}, st.Segments...)
		f.Strategies[i].Variants = append([]json.RawMessage{}, st.Variants...)
	}
	return json.Marshal(f)
}

func (s unleashStore) read(ctx context.Context, flags []string) ([][]byte, error) {
	out := make([][]byte, len(flags))
	for i, flag := range flags {
		var err error
		if out[i], err = s.get(ctx, flag); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// edit works out every change before it writes the first. A later write that
// fails leaves the earlier ones, which is unknown: each has its lease.
func (s unleashStore) edit(ctx context.Context, flags []string, change flagChange) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return untouched(ctx.Err())
	}
	before, err := s.read(ctx, flags)
	if err != nil {
		return untouched(err)
	}
	after := make([][]byte, len(flags))
	for i, flag := range flags {
		if after[i], err = change(i, before[i]); err != nil {
			return untouched(fmt.Errorf("flag %s: %w", flag, err))
		}
	}
	written := 0
	for i, flag := range flags {
		if bytes.Equal(before[i], after[i]) {
			continue
		}
		if err := s.put(ctx, flag, before[i], after[i]); err != nil {
			if written > 0 {
				return sre.Unknownf(err, "%d of %d flags were written, %s was not", written, len(flags), flag)
			}
			return err
		}
		written++
	}
	return nil
}

func (s unleashStore) put(ctx context.Context, flag string, before, after []byte) error {
	now, err := s.get(ctx, flag)
	if err != nil {
		return untouched(err)
	}
	if !bytes.Equal(now, before) {
		return sre.Refusedf("somebody else is changing flag %s", flag)
	}
	var f unleashFlag
	if err := json.Unmarshal(after, &f); err != nil {
		return untouched(err)
	}
	body := f.Strategies[0]
	id := body.ID
	body.ID = ""
	text, err := json.Marshal(body)
	if err != nil {
		return untouched(err)
	}
	_, status, err := s.do(ctx, http.MethodPut, s.address(flag)+"/strategies/"+url.PathEscape(id), text)
	if err == nil && status == http.StatusNotFound {
		err = sre.Refusedf("the strategy of flag %s is gone", flag)
	}
	if err != nil {
		return err
	}
	now, err = s.get(ctx, flag)
	switch {
	case err != nil:
		return sre.Unknownf(err, "the flag was written but could not be read back")
	case !bytes.Equal(now, after):
		return sre.Failedf("Unleash holds something else after the write of flag %s", flag)
	}
	return nil
}

// do sends one request. A write that was handed over and has no readable answer
// is unknown; status 404 is left to the caller.
func (s unleashStore) do(ctx context.Context, method, address string, body []byte) ([]byte, int, error) {
	timeout := time.Duration(s.cfg.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, address, bytes.NewReader(body))
	if err != nil {
		return nil, 0, sre.Invalidf("make the request: %v", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.cfg.TokenFile != "" {
		token, err := os.ReadFile(s.cfg.TokenFile)
		if err != nil {
			return nil, 0, sre.Failedf("read the token: %v", err)
		}
		req.Header.Set("Authorization", strings.TrimSpace(string(token)))
	}
	lost := func(err error, what string) error {
		if sent.Load() && method != http.MethodGet {
			return sre.Unknownf(err, "%s", what)
		}
		return &sre.ActionError{Code: sre.CodeFailed, Reason: what, Err: err}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, lost(err, "no answer from Unleash")
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = errors.New("it is too long")
	}
	if err != nil {
		return nil, 0, lost(err, "the answer of Unleash is unreadable")
	}
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotFound:
		return answer, resp.StatusCode, nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return nil, 0, sre.Refusedf("Unleash does not accept the token (status %d)", resp.StatusCode)
	case resp.StatusCode >= 400 && resp.StatusCode < 500:
		return nil, 0, sre.Refusedf("Unleash answers status %d: %s", resp.StatusCode, refusal(answer))
	}
	return nil, 0, lost(fmt.Errorf("status %d", resp.StatusCode), "Unleash answers neither yes nor no")
}
