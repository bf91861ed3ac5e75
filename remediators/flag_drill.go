package remediators

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// Driller is a lever that can tell what a kill switch would do.
type Driller interface {
	// Drill works out each stage of the switch on what its flags hold now, and
	// writes nothing. The error is an *sre.ActionError.
	Drill(ctx context.Context, a sre.Action, stages []float64) ([]DrillStage, error)
}

// DrillStage is what one stage of a kill switch would write.
type DrillStage struct {
	Percent float64           `json:"percent"`
	Flags   map[string]string `json:"flags"`             // definition by flag, as text
	Refused string            `json:"refused,omitempty"` // why it would not be written
}

// Drill works out the stages and writes nothing.
func (l *flagLever) Drill(ctx context.Context, a sre.Action, stages []float64) ([]DrillStage, error) {
	f, err := l.target(a)
	if err != nil {
		return nil, err
	}
	all, err := l.store.read(ctx, f.names())
	if err != nil {
		return nil, err
	}
	out := make([]DrillStage, len(stages))
	for i, percent := range stages {
		out[i] = DrillStage{Percent: percent, Flags: map[string]string{}}
		for j, k := range f.flags {
			text, err := l.wouldBe(all[j], f, k, percent)
			if err != nil {
				out[i].Refused = fmt.Sprintf("flag %s: %v", k.Flag, err)
				continue
			}
			out[i].Flags[k.Flag] = text
		}
	}
	return out, nil
}

// wouldBe is the definition after one more lease, without the lever's state.
func (l *flagLever) wouldBe(raw []byte, f flip, k KillSwitchConfig, percent float64) (string, error) {
	if raw == nil {
		return "", sre.Refusedf("there is no such flag")
	}
	definition, st, err := l.rules.split(raw)
	if err != nil {
		return "", err
	}
	base := st.base(definition)
	cuts := (&flagState{Holds: map[string]flagHold{"": {Percent: percent, Cohort: f.cohort}}}).cuts()
	next, err := l.rules.rewrite(base, cuts, k.Off)
	return string(next), err
}

// lookAsDrill asks the configured reader for the drill's key, and says what it
// sees of a drill.
func (l *flagLever) lookAsDrill(ctx context.Context, f flip, a sre.Action) string {
	if drill, _ := a.Params[drillParam].(bool); !drill || l.cfg.Drill.Reader == "" {
		return ""
	}
	var seen []string
	for _, k := range f.flags {
		variant, err := l.evaluate(ctx, k.Flag, f.cohort)
		if err != nil {
			variant = "nothing: " + err.Error()
		}
		seen = append(seen, fmt.Sprintf("the reader sees %s=%s for the drill key", k.Flag, variant))
	}
	return strings.Join(seen, "; ")
}

// evaluate asks an OFREP server for one flag, as the drill's key in a cohort.
func (l *flagLever) evaluate(ctx context.Context, flag, cohort string) (variant string, err error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{"context": map[string]string{"targetingKey": l.cfg.Drill.Key, l.cfg.cohortKey(): cohort}})
	if err != nil {
		return "", err
	}
	address := strings.TrimSuffix(l.cfg.Drill.Reader, "/") + "/ofrep/v1/evaluate/flags/" + url.PathEscape(flag)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Variant string `json:"variant"`
		Code    string `json:"errorCode"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d %s", resp.StatusCode, answer.Code)
	}
	return answer.Variant, nil
}
