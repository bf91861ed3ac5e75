package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// play is one telling of the story on fakes, in virtual time.
type play struct {
	stages []*fakeStage
	agent  *fakeAgent
	out    bytes.Buffer
	opts   Options
}

func newPlay(agent *fakeAgent) *play {
	p := &play{stages: []*fakeStage{{}, {}}, agent: agent}
	next := 0
	p.opts = Options{
		Out: &p.out, Yes: true,
		StartAgent: func(_ context.Context, env AgentEnv) (Agent, error) {
			p.agent.env, p.agent.born, p.agent.stage = env, time.Now(), p.stages[1]
			return p.agent, nil
		},
		startStage: func(context.Context, string) (stage, error) {
			next++
			return p.stages[next-1], nil
		},
	}
	return p
}

// curtain checks that nothing was left standing.
func (p *play) curtain(t *testing.T, stages int) {
	t.Helper()
	for i, s := range p.stages[:stages] {
		if s.stops != 1 {
			t.Errorf("shop %d was stopped %d times", i+1, s.stops)
		}
	}
	if stages > 1 && !p.agent.born.IsZero() && p.agent.stops != 1 {
		t.Errorf("the agent was stopped %d times", p.agent.stops)
	}
}

func TestStoryAsPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{})
		got, err := Run(t.Context(), p.opts)
		if err != nil {
			t.Fatalf("%v\n%s", err, &p.out)
		}
		p.curtain(t, 2)
		want := Result{
			WithoutAgent: Phase1{GoodputBefore: 1, GoodputAfterTrigger: 0.03},
			WithAgent: Phase2{
				GoodputBefore: 1, GoodputAfterTrigger: 1, Recovered: true,
				DetectedAfter: new(3.0), FirstActionAfter: got.WithAgent.FirstActionAfter, RecoveredAfter: got.WithAgent.RecoveredAfter,
				Actions: []ActionResult{{
					Kind: sre.RetryBudget, Target: "guard/cart->inventory", Params: sre.Params{"ratio": 0.1},
					Verdict: sre.Ask, ApprovedBy: "--yes",
				}},
				Reverted: 1,
			},
			AuditVerified: true,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
		// The cut falls between two looks, so these are exact to one look.
		if at := *got.WithAgent.FirstActionAfter; at < 3 || at > 3+2*lookEvery.Seconds()+1 {
			t.Errorf("first action after %v s, want right after the detection", at)
		}
		if at := *got.WithAgent.RecoveredAfter; at < 5 || at > 7 {
			t.Errorf("recovered after %v s, want when the cure works and the trigger is over", at)
		}
		env := p.agent.env
		if env.Token != "secret" || env.PrometheusURL != "http://prom" || env.Guards[Leaf] != "http://b" || string(env.Topology) != "edges: []\n" || env.Dir == "" {
			t.Errorf("the agent was told %+v", env)
		}
		in := p.agent.inputs[0]
		if in.Kind != sre.InputApprove || in.Role != sre.Approver || in.Incident != "i1" || in.ID == "" || in.At.IsZero() {
			t.Errorf("the approval was %+v", in)
		}
		for _, text := range []string{
			"== Phase 1 of 2", "Capacity of inventory is cut by 60 % for 5s.", "retries keep the shop down",
			"Incident i1: retry storm at inventory, awaiting approval.", "- confidence allows ask: 0.60 is below 0.70", "+ budget allows act",
			"retry budget guard/cart->inventory ratio=0.1: in effect.", "Goodput is back", "The audit trail is verified.", "It holds: goodput 100 %",
			"1 levers moved, 1 moved back",
		} {
			if !strings.Contains(p.out.String(), text) {
				t.Errorf("the story does not say %q:\n%s", text, &p.out)
			}
		}
	})
}

func TestStoryWithoutQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{acts: true})
		got, err := Run(t.Context(), p.opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.agent.inputs) != 0 || got.WithAgent.Actions[0].ApprovedBy != "policy" {
			t.Errorf("inputs %v, actions %+v", p.agent.inputs, got.WithAgent.Actions)
		}
	})
}

// keyboard types a line after a time. Without one it is typed, and dealt with
// as far as it goes, before the write of the question has even returned.
type keyboard struct {
	bytes.Buffer
	typed io.Writer
	lines []string
	after time.Duration
}

func (k *keyboard) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "Answer y or n") && len(k.lines) > 0 {
		line := k.lines[0]
		k.lines = k.lines[1:]
		if k.after > 0 {
			time.AfterFunc(k.after, func() { _, _ = io.WriteString(k.typed, line) })
		} else {
			_, _ = io.WriteString(k.typed, line)
			synctest.Wait()
		}
	}
	return k.Buffer.Write(b)
}

func typing(p *play, lines ...string) (*keyboard, func()) {
	in, typed := io.Pipe()
	k := &keyboard{typed: typed, lines: lines}
	p.opts.Yes, p.opts.In, p.opts.Out = false, in, k
	return k, func() { _ = typed.Close() }
}

func TestStoryApprovedAtTheKeyboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{})
		k, done := typing(p, "what?\n\nYES\n")
		defer done()
		got, err := Run(t.Context(), p.opts)
		if err != nil {
			t.Fatalf("%v\n%s", err, k)
		}
		if got.WithAgent.Actions[0].ApprovedBy != "keyboard" {
			t.Errorf("actions %+v", got.WithAgent.Actions)
		}
		if diff := p.agent.inputs[0].At.Sub(p.agent.approved); diff != 0 {
			t.Errorf("the approval was taken %v after it was given", diff)
		}
		for _, text := range []string{
			"Approve the cure for retry storm at inventory?", "do: retry budget guard/cart->inventory ratio=0.1 for up to 30s",
			"evidence: Retries can bring 2.8 times", "touches: inventory, cart, gateway; 100 % of the traffic",
			"instead of: overload, it takes service from users", "undo: taken back step by step once it is calm for 20s, at the latest after 5m0s",
			"confidence: 0.80, at least 0.60 (prior)", "Approved by keyboard.",
		} {
			if !strings.Contains(k.String(), text) {
				t.Errorf("the question does not say %q:\n%s", text, k)
			}
		}
	})
}

func TestStoryRejectedAtTheKeyboard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{})
		_, done := typing(p, "n\n")
		defer done()
		got, err := Run(t.Context(), p.opts)
		if !errors.Is(err, ErrRejected) || errors.Is(err, ErrPromise) {
			t.Errorf("got %v, want ErrRejected", err)
		}
		if got.WithAgent.Recovered || len(got.WithAgent.Actions) != 0 || p.agent.inputs[0].Kind != sre.InputReject {
			t.Errorf("result %+v, inputs %+v", got.WithAgent, p.agent.inputs)
		}
		p.curtain(t, 2)
	})
}

// A person may think for as long as the question is open: that is not the
// agent's time.
func TestStoryWaitsForASlowPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{})
		k, done := typing(p, "y\n")
		k.after = 2 * time.Minute
		defer done()
		got, err := Run(t.Context(), p.opts)
		if err != nil {
			t.Fatalf("%v\n%s", err, k)
		}
		if at := *got.WithAgent.RecoveredAfter; at < 120 {
			t.Errorf("recovered after %v s, before the answer", at)
		}
	})
}

func TestStoryAsksAgainAfterAStaleAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{refuses: 1})
		k, done := typing(p, "y\n", "y\n")
		defer done()
		if _, err := Run(t.Context(), p.opts); err != nil {
			t.Fatalf("%v\n%s", err, k)
		}
		if !strings.Contains(k.String(), "The agent did not take the answer: the evidence is too old.") || len(p.agent.inputs) != 2 || p.agent.inputs[0].ID == p.agent.inputs[1].ID {
			t.Errorf("%d inputs\n%s", len(p.agent.inputs), k)
		}
	})
}

func TestBrokenPromises(t *testing.T) {
	for _, tc := range []struct {
		name  string
		agent *fakeAgent
		spoil func(p *play)
		want  string
	}{
		{"the shop heals by itself", &fakeAgent{}, func(p *play) { p.stages[0].heals = true }, "it should stay below 0.50"},
		{"the agent never gets ready", &fakeAgent{neverReady: true}, nil, "an agent that is ready: not within 1m0s"},
		{"mitigations stay", &fakeAgent{neverLifts: true}, nil, "lifting of all mitigations: not within 6m0s"},
		{"a relapse", &fakeAgent{relapses: true}, nil, "after the mitigations were lifted goodput fell"},
		{"a false trail", &fakeAgent{unverified: true}, nil, "the audit trail does not verify"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(tc.agent)
				if tc.spoil != nil {
					tc.spoil(p)
				}
				_, err := Run(t.Context(), p.opts)
				if !errors.Is(err, ErrPromise) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want a broken promise: %s", err, tc.want)
				}
				p.curtain(t, 2)
			})
		})
	}
}

func TestStoryFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name   string
		spoil  func(p *play)
		want   string
		stages int
	}{
		{"no shop", func(p *play) {
			p.opts.startStage = func(context.Context, string) (stage, error) { return nil, boom }
		}, "start the shop: boom", 0},
		{"no trigger", func(p *play) { p.stages[0].failing = boom }, "boom", 1},
		{"no agent", func(p *play) {
			p.opts.StartAgent = func(context.Context, AgentEnv) (Agent, error) { return nil, boom }
		}, "start the agent: boom", 2},
		{"unreadable trail", func(p *play) { p.agent.brokenTrail = boom }, "verify the audit trail: boom", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlay(&fakeAgent{})
				tc.spoil(p)
				_, err := Run(t.Context(), p.opts)
				if !errors.Is(err, boom) || errors.Is(err, ErrPromise) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %s", err, tc.want)
				}
				p.curtain(t, tc.stages)
			})
		})
	}
}

// Wherever the story is cut short, everything that was started is stopped, and
// nothing is claimed about the trail.
func TestStoryCutShortAnywhere(t *testing.T) {
	for after := 500 * time.Millisecond; after < 140*time.Second; after += 7 * time.Second {
		synctest.Test(t, func(t *testing.T) {
			p := newPlay(&fakeAgent{})
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			got, err := Run(ctx, p.opts)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("cut after %v: got %v", after, err)
			}
			if got.AuditVerified || p.agent.verifies > 0 {
				t.Errorf("cut after %v: the trail was verified", after)
			}
			started := 1
			if !p.agent.born.IsZero() {
				started = 2
			}
			p.curtain(t, started)
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	agent := func(context.Context, AgentEnv) (Agent, error) { return nil, nil }
	for want, o := range map[string]Options{
		"no output":                     {Yes: true, StartAgent: agent},
		"no agent to start":             {Yes: true, Out: io.Discard},
		"nobody can answer an approval": {Out: io.Discard, StartAgent: agent},
	} {
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestJSONIsOneObjectWithTheAgreedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(&fakeAgent{})
		var progress bytes.Buffer
		p.opts.JSON, p.opts.Progress = true, &progress
		if _, err := Run(t.Context(), p.opts); err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		dec := json.NewDecoder(&p.out)
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			t.Errorf("there is more than one object: %v", err)
		}
		with := got["with_agent"].(map[string]any)
		with["first_action_after_seconds"], with["recovered_after_seconds"] = "n", "n"
		want := map[string]any{
			"without_agent": map[string]any{"goodput_before": 1.0, "goodput_after_trigger": 0.03, "recovered": false},
			"with_agent": map[string]any{
				"goodput_before": 1.0, "goodput_after_trigger": 1.0, "recovered": true,
				"detected_after_seconds": 3.0, "first_action_after_seconds": "n", "recovered_after_seconds": "n",
				"actions": []any{map[string]any{
					"kind": "retry_budget", "target": "guard/cart->inventory", "params": map[string]any{"ratio": 0.1},
					"verdict": "ask", "approved_by": "--yes",
				}},
				"reverted": 1.0,
			},
			"audit_verified": true,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		if !strings.Contains(progress.String(), "Phase 2 of 2") {
			t.Errorf("progress is %q", &progress)
		}
	})
}
