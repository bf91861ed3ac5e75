package oncall

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// The agent is no longer ready when no tick has finished for so many intervals,
// and for at least staleAfter.
const (
	staleIntervals = 3
	staleAfter     = 30 * time.Second
)

// Readiness says whether the agent can do its work now and, if not, why not.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	WarmUp  float64  `json:"warm_up"` // 0 to 1
}

func readiness(v *sre.View, now time.Time) Readiness {
	if v == nil {
		return Readiness{Reasons: []string{"no tick has finished yet"}}
	}
	out := Readiness{Ready: v.Ready, Reasons: append([]string{}, v.NotReady...), WarmUp: v.WarmUp}
	if age := now.Sub(v.At); v.Interval > 0 && age > max(staleIntervals*v.Interval, staleAfter) {
		out.Ready = false
		out.Reasons = append(out.Reasons, fmt.Sprintf("no tick has finished for %s; the interval is %s", span(age), span(v.Interval)))
	}
	if !out.Ready && len(out.Reasons) == 0 {
		out.Reasons = append(out.Reasons, "the agent says that it is not ready")
	}
	return out
}

func (a *api) healthy(w http.ResponseWriter, _ *http.Request, _ Identity) {
	writeText(w, http.StatusOK, "sreagent is healthy.\n")
}

// ready is about the agent itself, never about leadership: a standby is ready.
func (a *api) ready(w http.ResponseWriter, r *http.Request, _ Identity) {
	state := readiness(a.desk.View(), a.o.Now())
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	if r.URL.Query().Get("format") == "json" {
		// The envelope's status would contradict a 503, and probes look at the
		// code: success here means that the question was answered.
		raw, _ := json.Marshal(state)
		writeEnvelope(w, status, envelope{Status: "success", Data: raw})
		return
	}
	if state.Ready {
		writeText(w, status, "sreagent is ready.\n")
		return
	}
	lines := []string{"sreagent is not ready."}
	for _, reason := range state.Reasons {
		lines = append(lines, plain(reason))
	}
	writeText(w, status, strings.Join(lines, "\n")+"\n")
}

func (a *api) version(*http.Request) (any, error) { return a.o.Version, nil }

func (a *api) reload(*http.Request) (any, error) {
	if a.o.Reload == nil {
		return nil, refuse(Unavailable, "this agent cannot reload its configuration")
	}
	if err := a.o.Reload(); err != nil {
		// 500 as Prometheus does; the old configuration holds.
		return nil, &refusal{kind: BadData, status: http.StatusInternalServerError, text: "reload: " + err.Error()}
	}
	return struct {
		Reloaded bool `json:"reloaded"`
	}{true}, nil
}

func (a *api) openAPI(w http.ResponseWriter, _ *http.Request, _ Identity) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}
