//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sreagent/sreagent/guard"
)

// write is one request of the agent to a guard that changes something.
type write struct {
	Service string
	Method  string
	Body    guard.Directive // of a PUT
	Path    string
	Status  int
}

// strike looks at a write and reports whether to drop it, or its answer.
type strike func(write) bool

// guardRelay stands between the agent and one guard's control endpoints. It
// keeps what was written, and can strike before or after the guard has it.
type guardRelay struct {
	service *service
	url     string
	before  atomic.Pointer[strike]
	after   atomic.Pointer[strike]

	mu     sync.Mutex
	writes []write
}

func startGuardRelay(t *testing.T, s *service) *guardRelay {
	t.Helper()
	r := &guardRelay{service: s}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

func (r *guardRelay) serve(out http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return
	}
	did := write{Service: r.service.Name, Method: in.Method, Path: in.URL.Path}
	changes := in.Method == http.MethodPut || in.Method == http.MethodDelete
	if in.Method == http.MethodPut {
		_ = json.Unmarshal(body, &did.Body)
	}
	if hit := r.before.Load(); changes && hit != nil && (*hit)(did) {
		return // it never arrives
	}
	req, err := http.NewRequest(in.Method, r.service.URL+in.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return
	}
	req.Header = in.Header.Clone()
	res, err := client.Do(req)
	if err != nil {
		http.Error(out, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return
	}
	if changes {
		did.Status = res.StatusCode
		r.mu.Lock()
		r.writes = append(r.writes, did)
		r.mu.Unlock()
		if hit := r.after.Load(); hit != nil && (*hit)(did) {
			return // the agent never hears of it
		}
	}
	maps.Copy(out.Header(), res.Header)
	out.WriteHeader(res.StatusCode)
	_, _ = out.Write(answer)
}

// written returns all writes that reached the guards, in the order of each.
func (w *site) written() []write {
	var all []write
	for _, s := range w.services {
		s.relay.mu.Lock()
		all = append(all, s.relay.writes...)
		s.relay.mu.Unlock()
	}
	return all
}

// strike kills the agent at the first write with a method to any guard, before
// or after the guard has it. The returned channel is closed then. Until mended,
// such writes do not arrive, or are not answered.
func (w *site) strike(after bool, method string, a *running) (struck <-chan struct{}, mend func()) {
	done := make(chan struct{})
	var once sync.Once
	hook := strike(func(did write) bool {
		if did.Method != method {
			return false
		}
		once.Do(func() {
			a.kill()
			close(done)
		})
		<-done
		return true
	})
	set := func(s *strike) {
		for _, svc := range w.services {
			if after {
				svc.relay.after.Store(s)
			} else {
				svc.relay.before.Store(s)
			}
		}
	}
	set(&hook)
	return done, func() { set(nil) }
}
