package oncall

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Headers of a webhook request.
const (
	SignatureHeader   = "X-Sreagent-Signature"
	IdempotencyHeader = "Idempotency-Key"
)

// ErrBadSignature says that a webhook request was not signed with the secret,
// or was changed, or is too old.
var ErrBadSignature = errors.New("bad signature")

// Sign returns the value of SignatureHeader for a body sent at t:
// "t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">".
func Sign(secret, body []byte, t time.Time) string {
	unix := strconv.FormatInt(t.Unix(), 10)
	return "t=" + unix + ",v1=" + hex.EncodeToString(signature(secret, body, unix))
}

// Verify checks a received SignatureHeader against the raw body. A signature
// whose time is further than tolerance from now, either way, is refused, so
// that a recorded request cannot be played back later. The error is
// ErrBadSignature, with the reason.
func Verify(secret, body []byte, header string, now time.Time, tolerance time.Duration) error {
	var unix string
	var sums []string
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "t":
			unix = value
		case "v1":
			sums = append(sums, value)
		}
	}
	secs, err := strconv.ParseInt(unix, 10, 64)
	if err != nil || len(sums) == 0 {
		return fmt.Errorf("%w: the header is not t=<unix>,v1=<hex>", ErrBadSignature)
	}
	want := signature(secret, body, unix)
	if !slices.ContainsFunc(sums, func(s string) bool {
		got, err := hex.DecodeString(s)
		return err == nil && hmac.Equal(got, want)
	}) {
		return fmt.Errorf("%w: the body is not what was signed", ErrBadSignature)
	}
	if age := now.Sub(time.Unix(secs, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("%w: signed %s from now", ErrBadSignature, span(age))
	}
	return nil
}

func signature(secret, body []byte, unix string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(unix))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return mac.Sum(nil)
}

// webhook is a receiver that takes each notice as JSON.
type webhook struct {
	*post
	secretFile string
	least      int // rank of the least severity that is told

	mu      sync.Mutex
	pending map[string]queuedNotice // by incident
	order   []string                // incidents by arrival
	told    map[string]bool         // incidents that this receiver knows to be open
	last    uint64
}

type queuedNotice struct {
	notice  sre.Notice
	version uint64
}

func newWebhook(cfg WebhookConfig, p *post) (*webhook, error) {
	w := &webhook{
		post: p, secretFile: cfg.SecretFile, least: cfg.MinSeverity.Rank(),
		pending: make(map[string]queuedNotice), told: make(map[string]bool),
	}
	_, err := w.secret()
	return w, err
}

// secret reads the key anew for each notice, so that it can be rotated without
// a reload. It returns nil where none is configured.
func (w *webhook) secret() ([]byte, error) {
	if w.secretFile == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(w.secretFile)
	if err != nil {
		return nil, fmt.Errorf("read secret_file: %w", err)
	}
	key := bytes.TrimSpace(raw)
	if len(key) == 0 {
		return nil, fmt.Errorf("secret_file %s is empty", w.secretFile)
	}
	return key, nil
}

func (w *webhook) accept(n sre.Notice) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, waits := w.pending[n.Incident]
	// Whoever was told of an incident is told how it ends, however small it
	// has become.
	if n.Severity.Rank() < w.least && !waits && !w.told[n.Incident] {
		return true
	}
	w.last++
	w.pending[n.Incident] = queuedNotice{n, w.last}
	if !waits {
		w.order = append(w.order, n.Incident)
	}
	fits := len(w.order) <= maxQueued
	if !fits {
		w.drop(evict(w.order, func(id string) sre.Severity { return w.pending[id].notice.Severity }))
		w.metrics.add(w.kind, pageDropped, 1)
	}
	w.signal()
	return fits
}

func (w *webhook) drop(incident string) {
	delete(w.pending, incident)
	w.order = slices.DeleteFunc(w.order, func(id string) bool { return id == incident })
}

func (w *webhook) flush(ctx context.Context, now time.Time) time.Time {
	for {
		if now.Before(w.retryAt) {
			return w.retryAt
		}
		q, ok := w.oldest()
		if !ok {
			return time.Time{}
		}
		if w.deliver(ctx, q.notice) == tryAgain {
			return w.retryAt
		}
		w.settle(q)
	}
}

func (w *webhook) oldest() (queuedNotice, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.order) == 0 {
		return queuedNotice{}, false
	}
	return w.pending[w.order[0]], true
}

func (w *webhook) settle(q queuedNotice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := q.notice.Incident
	if q.notice.Resolved {
		delete(w.told, id)
	} else {
		w.told[id] = true
	}
	if w.pending[id].version == q.version {
		w.drop(id)
	}
}

func (w *webhook) deliver(ctx context.Context, n sre.Notice) verdict {
	// A notice is strings, times and booleans: it always encodes.
	body, _ := json.Marshal(n)
	key, err := w.secret()
	if err != nil {
		// Never unsigned by accident: the receiver could not trust it. It waits
		// until the file is back.
		w.failures++
		w.retryAt = time.Now().Add(backoff(w.failures))
		w.metrics.add(w.kind, pageRetried, 1)
		w.log.Error("notice not signed, trying again", "err", err)
		return tryAgain
	}
	header := make(http.Header)
	header.Set(IdempotencyHeader, idempotencyKey(n.Incident, body))
	if key != nil {
		header.Set(SignatureHeader, Sign(key, body, time.Now()))
	}
	return w.send(ctx, body, header, 1, func(code int) bool { return code == http.StatusTooManyRequests })
}

// idempotencyKey is the same for every attempt at one notice and differs
// between two states of one incident.
func idempotencyKey(incident string, body []byte) string {
	sum := sha256.Sum256(body)
	return incident + "-" + hex.EncodeToString(sum[:8])
}
