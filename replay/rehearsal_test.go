package replay

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/agent"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/learner"
	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// sick is a gateway whose cart fails from a moment on.
type sick struct{ from time.Time }

var sickGraph = sre.NewGraph(
	[]sre.Service{{Name: "gateway", Entry: true}, {Name: "cart"}},
	[]sre.Edge{{From: 0, To: 1, Spec: sre.EdgeSpec{Timeout: time.Second, Retries: 2, HasRetries: true, Hard: true}}},
)

func (w sick) Observe(_ context.Context, at time.Time) (*sre.Snapshot, error) {
	s := &sre.Snapshot{
		At: at, Interval: 10 * time.Second, Graph: sickGraph, Health: sre.SourceHealth{Up: true, Queries: 3},
		Signals: []sre.Signal{
			{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond},
			{Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
			{Name: "queue", Kind: sre.Queue, Unit: sre.Count},
			{Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
			{Name: "latency", Kind: sre.Latency, Unit: sre.Seconds},
		},
		Service: sre.NewMatrix(5, 2),
	}
	wobble := float64(at.Unix()/10%7) / 100
	well := [5]float64{100, 0, 2, .3, .05}
	ill := [5]float64{140, .6, 300, 1, 2}
	for row := range 5 {
		for service := range 2 {
			v := well[row]
			if !at.Before(w.from) && service == 1 {
				v = ill[row]
			} else if !at.Before(w.from) && row == 1 {
				v = .6
			}
			s.Service.Set(row, service, sre.Reading{Value: v * (1 + wobble), State: sre.Present})
		}
	}
	return s, nil
}

func (w sick) History(_ context.Context, from, to time.Time, step time.Duration) iter.Seq2[*sre.Snapshot, error] {
	return func(yield func(*sre.Snapshot, error) bool) {
		for at := from; at.Before(to); at = at.Add(step) {
			if !yield(w.Observe(context.Background(), at)) {
				return
			}
		}
	}
}

func agentConfig(t *testing.T) agent.Config {
	t.Helper()
	library, err := runbooks.LoadLayers(runbooks.Shipped())
	if err != nil {
		t.Fatal(err)
	}
	return agent.Config{
		Version: "test", Interval: 10 * time.Second, Policy: gate.DefaultPolicy(), Timing: agent.DefaultTiming(),
		Detection: detectors.DefaultConfig(), Diagnosis: diagnosis.DefaultConfig(), Learner: learner.DefaultConfig(), Runbooks: library,
	}
}

// paperLevers stand for the guard.
func paperLevers() map[string]sre.Remediator {
	number := func(name string) sre.ParamSpec { return sre.ParamSpec{Name: name, Type: "number", Max: 1e9} }
	kind := func(k sre.ActionKind, params ...string) sre.KindSpec {
		spec := sre.KindSpec{Kind: k, Reversible: true, TTL: true}
		for _, p := range params {
			spec.Params = append(spec.Params, number(p))
		}
		return spec
	}
	return map[string]sre.Remediator{"guard": NewPaperLever(sre.Capability{Name: "guard", Kinds: []sre.KindSpec{
		kind(sre.Shed, "rps"), kind(sre.QueueBound, "length"), kind(sre.RetryBudget, "ratio"), kind(sre.Timeout, "seconds"),
		kind(sre.Breaker, "failure_ratio", "min_requests", "open_seconds"),
	}})}
}

func rehearsal(t *testing.T) Rehearsal {
	return Rehearsal{Agent: agentConfig(t), Levers: paperLevers(), Source: sick{from: t0.Add(10 * time.Minute)}, Start: t0, End: t0.Add(20 * time.Minute)}
}

func run(t *testing.T, r Rehearsal) *Timeline {
	t.Helper()
	line, err := r.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestRehearsalIsTheSameOnEveryRun(t *testing.T) {
	var want []byte
	for _, procs := range []int{1, 2} {
		before := runtime.GOMAXPROCS(procs)
		line := run(t, rehearsal(t))
		runtime.GOMAXPROCS(before)
		got, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		} else if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("GOMAXPROCS 1 and %d differ:\n%s", procs, diff)
		}
		if n := len(line.Incidents()); n != 1 {
			t.Errorf("%d incidents, want one for the cart", n)
		}
		if len(line.Decisions()) == 0 {
			t.Error("nothing was decided")
		}
	}
}

func TestRehearsalShowsEveryTick(t *testing.T) {
	r := rehearsal(t)
	var ticks, records, paced int
	r.Pace = func(context.Context, time.Time) error { paced++; return nil }
	r.Watch = func(tick Tick) error {
		if want := t0.Add(time.Duration(ticks) * 10 * time.Second); !tick.At.Equal(want) || !tick.Snapshot.At.Equal(want) || !tick.View.At.Equal(want) {
			t.Errorf("tick %d: at %s, snapshot %s, view %s", ticks, tick.At, tick.Snapshot.At, tick.View.At)
		}
		for _, rec := range tick.Records {
			if !rec.At.Equal(tick.At) {
				t.Errorf("tick %d has a record of %s", ticks, rec.At)
			}
		}
		ticks++
		records += len(tick.Records)
		return nil
	}
	line := run(t, r)
	if ticks != 121 || line.Ticks != 121 || paced != 121 || records != len(line.Records) {
		t.Errorf("%d ticks watched, %d paced, %d counted; %d of %d records", ticks, paced, line.Ticks, records, len(line.Records))
	}
}

func TestRehearsalEndsEarlyWithWhatItHas(t *testing.T) {
	enough := errors.New("enough")
	stopAt := t0.Add(15 * time.Minute)
	canceled, cancel := context.WithCancel(context.Background())
	for _, tc := range []struct {
		name string
		edit func(*Rehearsal)
		want string
	}{
		{"by who watches", func(r *Rehearsal) {
			r.Watch = func(tick Tick) error {
				if tick.At.Equal(stopAt) {
					return enough
				}
				return nil
			}
		}, "enough"},
		{"by who paces", func(r *Rehearsal) {
			r.Pace = func(_ context.Context, at time.Time) error {
				if at.After(stopAt) {
					return enough
				}
				return nil
			}
		}, "enough"},
		{"by Ctrl-C", func(r *Rehearsal) {
			r.Watch = func(tick Tick) error {
				if tick.At.Equal(stopAt) {
					cancel()
				}
				return nil
			}
		}, "context canceled"},
		{"by a damaged recording", func(r *Rehearsal) {
			p := newPast()
			p.fails = stopAt.Add(10 * time.Second)
			recording := NewRecording(p, r.End, 10*time.Second, nil, nil)
			t.Cleanup(recording.Close)
			r.Source = recording
		}, "block is damaged"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := rehearsal(t)
			tc.edit(&r)
			line, err := r.Run(canceled)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if !line.End.Equal(stopAt) || len(line.Records) == 0 {
				t.Errorf("ends at %s with %d records, want %s", line.End, len(line.Records), stopAt)
			}
			if tc.want == "context canceled" {
				canceled = context.Background()
			}
		})
	}
}

// What people did in a trail they do again, and the trail replays to itself.
func TestRecordedPeopleAnswerAgain(t *testing.T) {
	first := rehearsal(t)
	first.Agent.Policy.Mode = sre.Act
	first.People = approves{}
	recorded := run(t, first)
	var approvals int
	for _, r := range recorded.Records {
		if r.Approval != nil && r.Approval.Response == sre.Approved {
			approvals++
		}
	}
	if approvals == 0 {
		t.Fatal("nobody was asked: the test shows nothing")
	}
	second := rehearsal(t)
	second.Agent.Policy.Mode = sre.Act
	second.People = NewRecordedPeople(recorded.Records)
	again := run(t, second)
	if diff := cmp.Diff(recorded.Records, again.Records); diff != "" {
		t.Errorf("the trail does not replay to itself (-recorded +replayed):\n%s", diff)
	}
	if c := Compare(Digests(recorded.Records), Digests(again.Records), 30*time.Second); !c.Equal() || c.Same == 0 {
		t.Errorf("comparison: %+v", c)
	}
	third := rehearsal(t)
	third.Agent.Policy.Mode = sre.Act
	if cmp.Equal(recorded.Records, run(t, third).Records) {
		t.Error("without anybody to answer the trail is the same: the test shows nothing")
	}
}

// An agent that was stopped in the middle goes on from its trail: what it has
// asked is not asked again as if nothing had been.
func TestRehearsalRemembers(t *testing.T) {
	middle := t0.Add(12 * time.Minute)
	first := rehearsal(t)
	first.Agent.Policy.Mode, first.End = sre.Act, middle
	before := run(t, first)
	if len(before.Incidents()) != 1 {
		t.Fatal("no incident before the stop: the test shows nothing")
	}
	second := rehearsal(t)
	second.Agent.Policy.Mode, second.Agent.WarmUp, second.Agent.WarmUpStep = sre.Act, 10*time.Minute, 10*time.Second
	second.Start, second.Memory = middle.Add(10*time.Second), before.Records
	after := run(t, second)
	if after.Records[0].Seq != uint64(len(before.Records)) || after.Records[0].Start.Epoch != 2 {
		t.Errorf("goes on with record %d, epoch %d", after.Records[0].Seq, after.Records[0].Start.Epoch)
	}
	for _, inc := range after.Incidents() {
		if inc.ID != before.Incidents()[0].ID {
			t.Errorf("a second incident %s beside %s", inc.ID, before.Incidents()[0].ID)
		}
	}
	second.Memory = before.Records[1:]
	if _, err := second.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "sequence 1 where 0 was expected") {
		t.Errorf("a trail without its beginning: %v", err)
	}
}

// approves says yes to every question that is open.
type approves struct{}

func (approves) Inputs(now time.Time, seen *sre.View) []sre.Input {
	if seen == nil {
		return nil
	}
	var out []sre.Input
	for _, inc := range seen.Incidents {
		if inc.State == sre.AwaitingApproval {
			out = append(out, sre.Input{
				ID: inc.Decision.ID, Kind: sre.InputApprove, At: now, By: "ann", Role: sre.Approver, Incident: inc.ID, Decision: inc.Decision.ID,
			})
		}
	}
	return out
}
