package world

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// approver says yes to every question.
type approver struct{}

func (approver) Inputs(now time.Time, seen *sre.View) (out []sre.Input) {
	if seen == nil {
		return nil
	}
	for _, inc := range seen.Incidents {
		if inc.State == sre.AwaitingApproval && inc.Decision != nil {
			out = append(out, sre.Input{
				ID: inc.Decision.ID, Kind: sre.InputApprove, At: now, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID,
			})
		}
	}
	return out
}

// rehearse has the agent live in a shop whose database is slow for a while.
func rehearse(t *testing.T) (*replay.Timeline, *World) {
	t.Helper()
	w := newWorld(t, shop(), nil)
	slowDB(w, 6*time.Minute, 6*time.Minute+30*time.Second)
	return live15(t, w), w
}

// live15 has the agent live in a world until its fifteenth minute; the first five
// are its history.
func live15(t *testing.T, w *World) *replay.Timeline {
	t.Helper()
	library, err := runbooks.LoadLayers(runbooks.Shipped())
	if err != nil {
		t.Fatal(err)
	}
	policy := gate.DefaultPolicy()
	policy.Mode = sre.Act
	line, err := replay.Rehearsal{
		Agent: agent.Config{
			Version: "test", Interval: 5 * time.Second, WarmUp: 5 * time.Minute, WarmUpStep: 5 * time.Second,
			Policy: policy, Timing: agent.DefaultTiming(),
			Detection: detectors.DefaultConfig(), Diagnosis: diagnosis.DefaultConfig(), Learner: learner.DefaultConfig(), Runbooks: library,
		},
		Source: w.Source(), Forecaster: w.Forecaster(), People: approver{},
		Levers: map[string]sre.Remediator{guardName: w.Lever(), platformName: w.Platform()},
		Start:  after(5 * time.Minute), End: after(15 * time.Minute),
	}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestHealthyWorldIsQuiet has the agent watch noise, lost scrapes and nothing
// else.
func TestHealthyWorldIsQuiet(t *testing.T) {
	for seed := range uint64(3) {
		b := shop()
		b.Noise, b.Seed = true, seed
		w := newWorld(t, b, func(o *Options) { o.ScrapeLoss, o.Seed = .01, seed })
		for _, inc := range live15(t, w).Incidents() {
			t.Errorf("seed %d: %s at %s: %+v", seed, inc.Diagnosis.Top().Mechanism, inc.OpenedAt.Sub(start), inc.Diagnosis.Precursors)
		}
	}
}

// TestAgentLivesInTheWorld runs the daemon's own agent over the world's ports.
func TestAgentLivesInTheWorld(t *testing.T) {
	line, w := rehearse(t)
	if len(line.Incidents()) == 0 {
		t.Fatal("the agent saw nothing")
	}
	again, _ := rehearse(t)
	first, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	second, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(second) {
		t.Error("two rehearsals in equal worlds differ")
	}
	incident := line.Incidents()[0]
	if at := incident.OpenedAt.Sub(start); at < 6*time.Minute || at > 7*time.Minute {
		t.Errorf("opened at %s, the fault began at 6m0s", at)
	}
	for _, r := range line.Records {
		if r.Decision == nil {
			continue
		}
		if r.Decision.Blast.Services[0] != "db" {
			t.Errorf("the first decision is about %s, want db", r.Decision.Blast.Services[0])
		}
		break
	}
	moved := 0
	for _, r := range line.Records {
		if r.Result != nil && r.Result.Purpose == sre.ToApply && r.Result.Phase == sre.InEffect {
			moved++
		}
	}
	if moved == 0 {
		t.Error("no lever was moved")
	}
	for _, inc := range line.Incidents() {
		for _, m := range inc.InForce() {
			st, err := w.Lever().Probe(context.Background(), m.Action)
			if err != nil || m.Phase == sre.InEffect && !st.InEffect {
				t.Errorf("the agent believes that %s %s is in effect, the world says %+v, %v", m.Action.Kind, m.Action.Target, st, err)
			}
		}
	}
}
