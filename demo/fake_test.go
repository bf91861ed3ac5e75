package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// fakeStage is a shop that exists only as a function of time.
type fakeStage struct {
	mu      sync.Mutex
	cutAt   time.Time
	cuedAt  time.Time // goodput is whole again from here on
	worse   time.Time // and gone again from here on
	heals   bool      // recovers by itself when the trigger ends
	stops   int
	failing error // of Trigger
}

const fakeLag = 2 * time.Second // before a second is known

func (f *fakeStage) ratio(at time.Time) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.cutAt.IsZero() || at.Before(f.cutAt):
		return 100
	case !f.worse.IsZero() && !at.Before(f.worse):
		return 0
	case f.heals && !at.Before(f.cutAt.Add(cutFor)):
		return 100
	case !f.cuedAt.IsZero() && !at.Before(f.cuedAt):
		return 100
	}
	return 3
}

func (f *fakeStage) Since(from time.Time) []GoodputSample {
	var out []GoodputSample
	for at := from; !at.Add(time.Second + fakeLag).After(time.Now()); at = at.Add(time.Second) {
		out = append(out, GoodputSample{Second: at, Total: Count{Offered: 100, Good: f.ratio(at)}})
	}
	return out
}

func (f *fakeStage) Trigger(cut float64, d time.Duration) error {
	if cut != cutShare || d != cutFor {
		return fmt.Errorf("trigger %g for %v", cut, d)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = time.Now()
	return f.failing
}

func (f *fakeStage) Stop(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stops++
	return nil
}

func (f *fakeStage) Services() []ServiceInfo {
	return []ServiceInfo{{Name: "gateway", URL: "http://a", ControlURL: "http://a"}, {Name: Leaf, URL: "http://b", ControlURL: "http://b"}}
}
func (f *fakeStage) Token() string         { return "secret" }
func (f *fakeStage) TopologyYAML() []byte  { return []byte("edges: []\n") }
func (f *fakeStage) PrometheusURL() string { return "http://prom" }
func (f *fakeStage) Retries() float64      { return 7 }

// fakeAgent follows a script: it is ready after two seconds, sees the fall
// three seconds after the cut, asks, and cures as soon as it is allowed to.
type fakeAgent struct {
	stage *fakeStage
	env   AgentEnv

	mu       sync.Mutex
	born     time.Time
	approved time.Time
	by       string
	inputs   []sre.Input
	stops    int
	verifies int

	acts        bool // without asking
	neverReady  bool
	neverLifts  bool
	refuses     int // so many answers as stale
	relapses    bool
	unverified  bool
	brokenTrail error
}

const (
	fakeDetect = 3 * time.Second
	fakeCure   = 2 * time.Second // from the approval to good answers
	fakeHold   = 20 * time.Second
)

func (f *fakeAgent) View() *sre.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	age := now.Sub(f.born)
	if age < time.Second {
		return nil
	}
	v := &sre.View{At: now.Truncate(time.Second), Tick: uint64(age / time.Second), Ready: age >= 2*time.Second && !f.neverReady}
	if !v.Ready {
		v.NotReady = []string{"detectors are warming up"}
	}
	f.stage.mu.Lock()
	cutAt := f.stage.cutAt
	f.stage.mu.Unlock()
	if cutAt.IsZero() || now.Before(cutAt.Add(fakeDetect)) {
		return v
	}
	if f.acts && f.approved.IsZero() {
		f.approve(now, "policy")
	}
	v.Incidents = []sre.Incident{f.incident(now, cutAt.Add(fakeDetect))}
	return v
}

func (f *fakeAgent) approve(now time.Time, by string) {
	f.approved, f.by = now, by
	f.stage.mu.Lock()
	defer f.stage.mu.Unlock()
	f.stage.cuedAt = now.Add(fakeCure)
	if f.relapses {
		f.stage.worse = now.Add(fakeHold + 2*time.Second)
	}
}

func (f *fakeAgent) decisionID() string { return fmt.Sprintf("d%d", len(f.inputs)) }

func (f *fakeAgent) incident(now, opened time.Time) sre.Incident {
	action := sre.Action{
		ID: "a1", Kind: sre.RetryBudget, Params: sre.Params{"ratio": 0.1}, TTL: 30 * time.Second,
		Target: sre.Target{Lever: "guard", Service: "cart", Callee: Leaf},
	}
	inc := sre.Incident{
		ID: "i1", State: sre.AwaitingApproval, OpenedAt: opened, LastSeen: now,
		Diagnosis: sre.Diagnosis{Hypotheses: []sre.Hypothesis{{
			Service: Leaf, Mechanism: sre.RetryStorm, Probability: 0.9,
			Evidence: []sre.Evidence{{Signal: "vulnerability", Subject: Leaf, Now: 2.8, Normal: 1, Meaning: "Retries can bring 2.8 times what inventory can do."}},
		}}},
		Plan: &sre.Plan{
			Runbook: "retry-storm", Hold: 20 * time.Second,
			Steps:    []sre.Step{{Name: "clamp", Actions: []sre.Action{action}, Lease: 5 * time.Minute, Reversible: true}},
			Rejected: []sre.Rejection{{Runbook: "overload", Reason: "it takes service from users"}},
		},
		Decision: &sre.Decision{
			ID: f.decisionID(), Incident: "i1", Stance: sre.Ask, Runbook: "retry-storm", Confidence: sre.Confidence{P: 0.8, Lower: 0.6, Basis: "prior"},
			Reasons: []sre.Reason{{Guard: "confidence", Allows: sre.Ask, Text: "0.60 is below 0.70"}, {Guard: "budget", Allows: sre.Act, Text: "1 of 5 levers"}},
			Blast:   sre.BlastRadius{Services: []string{Leaf, "cart", "gateway"}, EntryShare: 1},
		},
	}
	if f.approved.IsZero() {
		return inc
	}
	m := sre.Mitigation{Action: action, Phase: sre.InEffect, Permit: sre.Permit{By: f.by}, AppliedAt: f.approved}
	inc.State = sre.Verifying
	switch held := now.Sub(f.approved); {
	case held >= fakeHold+5*time.Second && !f.neverLifts:
		m.Phase, inc.State, inc.Outcome, inc.ClosedAt = sre.Undone, sre.Closed, sre.Improved, f.approved.Add(fakeHold+5*time.Second)
	case held >= fakeHold && !f.neverLifts:
		m.Phase, inc.State, inc.Outcome = sre.Undoing, sre.Lifting, sre.Improved
	}
	inc.Mitigations = []sre.Mitigation{m}
	return inc
}

func (f *fakeAgent) Submit(_ context.Context, in sre.Input) (sre.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.Decision != f.decisionID() {
		return sre.Answer{}, fmt.Errorf("answer to %s, asked %s", in.Decision, f.decisionID())
	}
	f.inputs = append(f.inputs, in)
	if f.refuses > 0 {
		f.refuses--
		return sre.Answer{Input: in.ID, Reason: "the evidence is too old"}, nil
	}
	if in.Kind == sre.InputApprove {
		f.approve(time.Now(), in.By)
	}
	return sre.Answer{Input: in.ID, Accepted: true}, nil
}

func (f *fakeAgent) Stop(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stops++
	return nil
}

func (f *fakeAgent) VerifyAudit(context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stops == 0 {
		return false, errors.New("verified before the agent was stopped")
	}
	f.verifies++
	return !f.unverified, f.brokenTrail
}
