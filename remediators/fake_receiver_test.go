package remediators

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const hookSecret = "correct horse"

// receiver is a server of switches: percent by path. It checks what a careful
// receiver checks.
type receiver struct {
	mu        sync.Mutex
	percent   map[string]float64
	writes    int
	requests  []string // method, path and key
	misbehave func(http.ResponseWriter, *http.Request) bool
	t         *testing.T
}

func startReceiver(t *testing.T) (*receiver, string) {
	r := &receiver{t: t, percent: map[string]float64{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL
}

func (r *receiver) with(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *receiver) set(f func(http.ResponseWriter, *http.Request) bool) {
	r.with(func() { r.misbehave = f })
}

func (r *receiver) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

func (r *receiver) inForce() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, _ := json.Marshal(r.percent)
	return string(b)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	misbehave := r.misbehave
	r.requests = append(r.requests, req.Method+" "+req.URL.Path+" "+req.Header.Get(keyHeader))
	r.mu.Unlock()
	if misbehave != nil && misbehave(w, req) {
		return
	}
	if !signatureHolds(req, body) {
		reply(w, http.StatusUnauthorized, wireError{Error: "bad signature"})
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch req.Method {
	case http.MethodGet:
		reply(w, http.StatusOK, map[string]any{"flag": map[string]any{"percent": r.percent[req.URL.Path]}})
		return
	case http.MethodDelete:
		delete(r.percent, req.URL.Path)
	default:
		var in struct{ Percent float64 }
		if err := json.Unmarshal(body, &in); err != nil {
			reply(w, http.StatusBadRequest, wireError{Error: err.Error()})
			return
		}
		r.percent[req.URL.Path] = in.Percent
		if in.Percent == 0 {
			delete(r.percent, req.URL.Path)
		}
	}
	r.writes++
	if r.cutting() {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusNoContent)
}

// cutting is asked with the lock held: the write has taken effect by now.
func (r *receiver) cutting() bool { return r.percent["cut"] != 0 }

func signatureHolds(req *http.Request, body []byte) bool {
	unix, v1, ok := strings.Cut(strings.TrimPrefix(req.Header.Get(signatureHeader), "t="), ",v1=")
	if _, err := strconv.ParseInt(unix, 10, 64); !ok || err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	_, _ = io.WriteString(mac, unix+"\n"+req.Method+"\n"+req.URL.RequestURI()+"\n"+req.Header.Get(keyHeader)+"\n"+string(body))
	return hex.EncodeToString(mac.Sum(nil)) == v1
}
