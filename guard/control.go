package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxDirectiveBytes = 64 << 10

// Control returns the handler of the control endpoints, which belongs on a
// listener that the service's own callers cannot reach:
//
//	PUT    /guard/v1/directives               set or renew a directive
//	DELETE /guard/v1/directives/{id}          begin its return; ?now=true ends it at once
//	PUT    /guard/v1/breakers/{callee}        {"state": "open", "for": "5m"} or {"state": "closed"}
//	GET    /guard/v1/state                    all that is in force
//
// Every request needs the bearer token; without a configured token all are
// refused.
func (g *Guard) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /guard/v1/directives", g.putDirective)
	mux.HandleFunc("DELETE /guard/v1/directives/{id...}", g.deleteDirective)
	mux.HandleFunc("PUT /guard/v1/breakers/{callee...}", g.putBreaker)
	mux.HandleFunc("GET /guard/v1/state", func(w http.ResponseWriter, _ *http.Request) {
		g.answer(w, http.StatusOK, g.state())
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.authorized(r) {
			g.metrics.refused.WithLabelValues("unauthorized").Inc()
			w.Header().Set("WWW-Authenticate", "Bearer")
			g.answer(w, http.StatusUnauthorized, Refusal{Error: "a valid bearer token is needed"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxDirectiveBytes)
		mux.ServeHTTP(w, r)
	})
}

// authorized compares digests, so that neither content nor length of the token
// shows in the time it takes.
func (g *Guard) authorized(r *http.Request) bool {
	want := *g.token.Load()
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || want == "" {
		return false
	}
	got, sum := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(got[:], sum[:]) == 1
}

func (g *Guard) putDirective(w http.ResponseWriter, r *http.Request) {
	d, err := decodeDirective(r.Body)
	if err != nil {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: err})
		return
	}
	if err := g.ledger.put(d); err != nil {
		g.refuse(w, err)
		return
	}
	g.answer(w, http.StatusOK, g.directive(d.ID))
}

func decodeDirective(body io.Reader) (Directive, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var d Directive
	if err := dec.Decode(&d); err != nil {
		return Directive{}, fmt.Errorf("decode directive: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Directive{}, errors.New("decode directive: more than one JSON value")
	}
	return d, nil
}

func (g *Guard) deleteDirective(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	epoch, err := strconv.ParseUint(q.Get("epoch"), 10, 64)
	if err != nil {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: fmt.Errorf("epoch: %w", err)})
		return
	}
	seq, err := strconv.ParseUint(q.Get("seq"), 10, 64)
	if err != nil {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: fmt.Errorf("seq: %w", err)})
		return
	}
	atOnce := false
	if now := q.Get("now"); now != "" {
		if atOnce, err = strconv.ParseBool(now); err != nil {
			g.refuse(w, &RefusedError{Reason: "invalid", Err: fmt.Errorf("now: %w", err)})
			return
		}
	}
	id := r.PathValue("id")
	if !validName(id) {
		g.refuse(w, &RefusedError{Reason: "invalid", Err: fmt.Errorf("id: is %q", id)})
		return
	}
	if err := g.ledger.remove(id, epoch, seq, atOnce); err != nil {
		g.refuse(w, err)
		return
	}
	g.answer(w, http.StatusOK, g.directive(id))
}

// directive returns the state of a directive; one that is not there is gone.
func (g *Guard) directive(id string) DirectiveState {
	g.ledger.mu.Lock()
	defer g.ledger.mu.Unlock()
	k, ok := g.ledger.owners[id]
	if !ok {
		return DirectiveState{ID: id, Phase: PhaseGone}
	}
	return g.describe(g.ledger.leases[k])
}

func (g *Guard) refuse(w http.ResponseWriter, err error) {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		refused = &RefusedError{Reason: "storage", Err: err}
	}
	g.metrics.refused.WithLabelValues(refused.Reason).Inc()
	g.log.Warn("directive refused", "reason", refused.Reason, "err", refused.Err)
	switch refused.Reason {
	case "stale_epoch", "stale_seq":
		g.answer(w, http.StatusConflict, Refusal{Error: refused.Error(), Epoch: refused.Epoch})
	case "storage":
		g.answer(w, http.StatusInternalServerError, Refusal{Error: "the epoch could not be stored; nothing was changed"})
	default:
		g.answer(w, http.StatusBadRequest, Refusal{Error: refused.Err.Error()})
	}
}

func (g *Guard) answer(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // only our own types, all of which can be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller may be gone
}
