package remediators

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const testToken = "hunter2-but-longer"

// fakeGuard speaks the guard's wire format and can misbehave.
type fakeGuard struct {
	mu         sync.Mutex
	service    string
	epoch      uint64
	directives map[string]wireState // by kind, callee and name
	requests   int
	writes     int
	misbehave  func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func startFakeGuard(t *testing.T, service string) (*fakeGuard, *httptest.Server) {
	t.Helper()
	f := &fakeGuard{service: service, directives: map[string]wireState{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s
}

func (f *fakeGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if f.misbehave != nil && f.misbehave(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+testToken {
		reply(w, http.StatusUnauthorized, wireError{Error: "no"})
		return
	}
	switch r.Method {
	case http.MethodGet:
		f.state(w)
	case http.MethodPut:
		f.put(w, r)
	case http.MethodDelete:
		f.remove(w, r)
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fakeGuard) state(w http.ResponseWriter) {
	got := wireGuard{Service: f.service, Epoch: f.epoch, Settings: map[string]map[string]sre.Params{
		"timeout": {"": {"seconds": 30.0}, "pay": {"seconds": 2.0}},
	}}
	for _, d := range f.directives {
		got.Directives = append(got.Directives, d)
	}
	slices.SortFunc(got.Directives, func(a, b wireState) int { return cmp.Compare(a.ID, b.ID) })
	reply(w, http.StatusOK, got)
}

func (f *fakeGuard) fence(w http.ResponseWriter, key string, epoch, seq uint64) bool {
	last, held := f.directives[key]
	if epoch < f.epoch || held && last.Epoch == epoch && seq < last.Seq {
		reply(w, http.StatusConflict, wireError{Error: "stale", Epoch: f.epoch})
		return false
	}
	f.epoch = epoch
	return true
}

func (f *fakeGuard) put(w http.ResponseWriter, r *http.Request) {
	var d wireState
	if err := json.NewDecoder(r.Body).Decode(&d.wireDirective); err != nil {
		reply(w, http.StatusBadRequest, wireError{Error: err.Error()})
		return
	}
	key := d.Kind + "|" + d.Callee + "|" + d.Name
	if !f.fence(w, key, d.Epoch, d.Seq) {
		return
	}
	f.writes++
	d.Phase, d.Default = phaseHeld, sre.Params{}
	f.directives[key] = d
	reply(w, http.StatusOK, d)
}

func (f *fakeGuard) remove(w http.ResponseWriter, r *http.Request) {
	epoch, _ := strconv.ParseUint(r.URL.Query().Get("epoch"), 10, 64)
	seq, _ := strconv.ParseUint(r.URL.Query().Get("seq"), 10, 64)
	id := r.URL.Path[len("/guard/v1/directives/"):]
	key := ""
	for k, d := range f.directives {
		if d.ID == id {
			key = k
		}
	}
	if !f.fence(w, key, epoch, seq) {
		return
	}
	f.writes++
	delete(f.directives, key)
	reply(w, http.StatusOK, wireState{Phase: "gone"})
}

func (f *fakeGuard) set(misbehave func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misbehave = misbehave
}

func (f *fakeGuard) count() (requests, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests, f.writes
}

// cutWrites takes writes in and closes the connection instead of answering.
func cutWrites(_ http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return false
	}
	panic(http.ErrAbortHandler)
}

// stallUntilGone never answers; the caller's deadline has to end the request.
func stallUntilGone(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller has gone
	<-r.Context().Done()
	return true
}

// testTime is the present moment of tests that need none in particular.
func testTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }
