package remediators

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	promconfig "github.com/prometheus/common/config"

	"github.com/sreagent/sreagent/sre"
)

// The headers that every request carries; the signature only with a secret.
const (
	keyHeader       = "Idempotency-Key"
	signatureHeader = "Sreagent-Signature"
)

// webhookPause is how long to wait before the first further attempt; each
// further one waits twice as long.
const webhookPause = 50 * time.Millisecond

// webhook is the driver of one receiver of requests.
type webhook struct {
	cfg              WebhookConfig
	client           *http.Client
	applies, reverts *requestTemplate
	probes           *requestTemplate
	now              func() time.Time
	pause            time.Duration
}

func newWebhook(c WebhookConfig, now func() time.Time) (*webhook, error) {
	// A transport sends a keyed request again by itself when a kept connection
	// breaks; whether that is safe is decided here.
	client, err := promconfig.NewClientFromConfig(c.HTTP, c.Name, promconfig.WithKeepAlivesDisabled())
	if err != nil {
		return nil, fmt.Errorf("make the http client: %w", err)
	}
	// Where a redirect leads is not in the configuration.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w := &webhook{cfg: c, client: client, now: now, pause: webhookPause}
	if w.applies, err = compileRequest(c.Apply.withDefaults()); err != nil {
		return nil, err
	}
	if c.Revert != nil {
		if w.reverts, err = compileRequest(c.Revert.withDefaults()); err != nil {
			return nil, err
		}
	}
	if c.Probe != nil {
		if w.probes, err = compileRequest(c.Probe.request()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *webhook) apply(ctx context.Context, o order) error {
	_, err := w.send(ctx, w.applies, o)
	return err
}

func (w *webhook) revert(ctx context.Context, o order) error {
	_, err := w.send(ctx, w.reverts, o)
	return err
}

func (w *webhook) observe(ctx context.Context, o order) (*observed, error) {
	if w.probes == nil {
		return nil, nil //nolint:nilnil // nothing to read is no mistake; the interface says so
	}
	answer, err := w.send(ctx, w.probes, o)
	if err != nil {
		return nil, err
	}
	var doc any
	if err := json.Unmarshal(answer, &doc); err != nil {
		return nil, fmt.Errorf("the answer is not JSON: %w", err)
	}
	out := &observed{current: sre.Params{}}
	for name, pointer := range w.cfg.Probe.Params {
		if v, found := pointAt(doc, pointer); found {
			out.current[name] = v
		}
	}
	if w.cfg.Probe.Epoch == "" {
		return out, nil
	}
	if v, found := pointAt(doc, w.cfg.Probe.Epoch); found {
		f, ok := v.(float64)
		if !ok || f < 0 || f > 1<<53 || f != float64(uint64(f)) {
			return nil, fmt.Errorf("%s is %v, want a fencing token", w.cfg.Probe.Epoch, v)
		}
		out.epoch = uint64(f)
	}
	return out, nil
}

// send makes as many attempts as are allowed and safe. The last error tells
// what is known of all of them.
func (w *webhook) send(ctx context.Context, t *requestTemplate, o order) ([]byte, error) {
	r, err := t.render(o)
	if err != nil {
		return nil, err
	}
	left := w.cfg.retries()
	heard := false // an earlier attempt may have taken effect
	for pause := w.pause; ; pause *= 2 {
		answer, again, err := w.attempt(ctx, t, r)
		code := sre.CodeOf(err)
		heard = heard || code == sre.CodeUnknown
		if err == nil || !again || left == 0 || !wait(ctx, pause) {
			if heard && err != nil && code != sre.CodeUnknown {
				return nil, sre.Unknownf(err, "an earlier attempt had no answer")
			}
			return answer, err
		}
		left--
	}
}

// wait reports whether the pause went by before the context's end.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt sends the request once. again tells that sending it once more does no
// harm: it never left, or its method is idempotent (RFC 9110, 9.2.2), or the
// receiver has shown by repeating the key that it knows keys.
func (w *webhook) attempt(ctx context.Context, t *requestTemplate, r rendered) (answer []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.timeout())
	defer cancel()
	// A connection is handed over before the first byte leaves.
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, false, sre.Invalidf("make the request: %v", err)
	}
	req.Header = r.headers.Clone()
	req.Header.Set(keyHeader, r.key)
	req.GetBody = nil // the transport is not to send it again by itself
	if err := w.sign(req, r); err != nil {
		return nil, false, err
	}
	idempotent := r.method != http.MethodPost && r.method != http.MethodPatch
	resp, err := w.client.Do(req)
	if err != nil {
		err = withoutURL(err)
		if sent.Load() {
			return nil, idempotent, sre.Unknownf(err, "no answer from the receiver")
		}
		return nil, true, &sre.ActionError{Code: sre.CodeFailed, Reason: "the receiver was not reached", Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, readErr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	err = classifyWebhook(t, resp, answer)
	echoed := resp.Header.Get(keyHeader) == r.key
	switch {
	case err != nil || t != w.probes:
		return answer, sre.CodeOf(err) == sre.CodeUnknown && resp.StatusCode >= 500 && (idempotent || echoed), err
	case readErr != nil:
		return nil, idempotent, sre.Unknownf(withoutURL(readErr), "the answer was cut")
	case len(answer) > maxAnswer:
		return nil, false, sre.Unknownf(errors.New("answer too long"), "the answer is unreadable")
	}
	return answer, false, nil
}

// withoutURL takes the address out of an error: it may hold what is confidential.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// classifyWebhook turns a status into what is known of the request.
func classifyWebhook(t *requestTemplate, resp *http.Response, answer []byte) error {
	status := resp.StatusCode
	switch {
	case slices.Contains(t.Expect, status):
		return nil
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		return sre.Invalidf("the receiver answers status %d: %s", status, refusal(answer))
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly:
	case status >= 400 && status < 500:
		return sre.Refusedf("the receiver answers status %d: %s", status, refusal(answer))
	case status >= 300 && status < 400:
		return sre.Unknownf(fmt.Errorf("status %d", status), "the receiver answers with a redirect, which is not followed")
	}
	return sre.Unknownf(fmt.Errorf("status %d", status), "the receiver answers neither yes nor no")
}

// signed is the text under the signature: nothing of it can be exchanged.
func signed(unix, method, requestURI, key, body string) string {
	return strings.Join([]string{unix, method, requestURI, key, body}, "\n")
}

// sign adds an HMAC-SHA256 (RFC 2104) over time, method, path, key and body.
func (w *webhook) sign(req *http.Request, r rendered) error {
	if w.cfg.SecretFile == "" {
		return nil
	}
	secret, err := os.ReadFile(w.cfg.SecretFile)
	if err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was sent: the secret cannot be read", Err: err}
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) == 0 {
		return sre.Failedf("nothing was sent: the secret in %s is empty", w.cfg.SecretFile)
	}
	unix := strconv.FormatInt(w.now().Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(mac, signed(unix, r.method, req.URL.RequestURI(), r.key, r.body))
	req.Header.Set(signatureHeader, "t="+unix+",v1="+hex.EncodeToString(mac.Sum(nil)))
	return nil
}

// manual is a line for curl. The secret is read by the shell, not written here.
func (w *webhook) manual(o order) string {
	r, err := w.reverts.render(o)
	if err != nil {
		return "# the request to undo it cannot be written: " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	var lines []string
	words := []string{"curl -sS --fail-with-body -X " + r.method + " -H " + shellQuote(keyHeader+": "+r.key)}
	for _, h := range sortedKeys(r.headers) {
		words = append(words, "-H "+shellQuote(h+": "+r.headers.Get(h)))
	}
	if a := w.cfg.HTTP.Authorization; a != nil && a.CredentialsFile != "" {
		words = append(words, `-H "Authorization: `+cmp.Or(a.Type, "Bearer")+` $(cat `+shellQuote(a.CredentialsFile)+`)"`)
	}
	if w.cfg.SecretFile != "" {
		u, _ := url.Parse(r.url) // it has been checked
		text := signed("", r.method, u.RequestURI(), r.key, r.body)
		lines = append(lines, "t=$(date +%s)",
			`v1=$(printf '%s' "$t"`+shellQuote(text)+` | openssl dgst -sha256 -hmac "$(cat `+shellQuote(w.cfg.SecretFile)+`)" | sed 's/^.* //')`)
		words = append(words, `-H "`+signatureHeader+`: t=$t,v1=$v1"`)
	}
	if r.body != "" {
		words = append(words, "--data-binary "+shellQuote(r.body))
	}
	return strings.Join(append(lines, strings.Join(append(words, shellQuote(r.url)), " ")), "\n")
}
