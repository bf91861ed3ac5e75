package oncall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sreagent/sreagent/sre"
)

func TestDeskAnswersTheOneWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDesk(DeskOptions{})
		type got struct {
			answer sre.Answer
			err    error
		}
		results := make([]got, 3)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				a, err := d.Submit(t.Context(), sre.Input{Kind: sre.InputPause, Name: fmt.Sprint(i)})
				results[i] = got{a, err}
			})
			synctest.Wait() // arrivals in a known order
		}
		inputs := d.Drain(noon)
		var names []string
		var answers []sre.Answer
		for _, in := range inputs {
			names = append(names, in.Name)
			if !in.At.Equal(noon) {
				t.Errorf("input at %s, want the tick's time", in.At)
			}
			// Answers in another order than the questions.
			answers = append([]sre.Answer{{Input: in.ID, Accepted: in.Name != "1", Reason: "for " + in.Name}}, answers...)
		}
		if diff := cmp.Diff([]string{"0", "1", "2"}, names); diff != "" {
			t.Errorf("order of arrival is lost: %s", diff)
		}
		d.Publish(view(), answers)
		wg.Wait()
		for i, r := range results {
			if r.err != nil || r.answer.Reason != fmt.Sprintf("for %d", i) || r.answer.Accepted != (i != 1) {
				t.Errorf("submit %d got %+v", i, r)
			}
		}
		if again := d.Drain(noon); len(again) != 0 {
			t.Errorf("inputs are drained twice: %v", again)
		}
	})
}

func TestDeskQueuedInputOutlivesItsWaiter(t *testing.T) {
	d := NewDesk(DeskOptions{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	_, err := d.Submit(ctx, sre.Input{Kind: sre.InputUndo, Incident: "inc-1"})
	var queued *QueuedError
	if !errors.As(err, &queued) || !errors.Is(err, gone) || !strings.Contains(err.Error(), "queued, not yet answered") {
		t.Fatalf("got %v, want a QueuedError with its cause", err)
	}
	inputs := d.Drain(noon)
	if len(inputs) != 1 || inputs[0].ID != queued.Input {
		t.Fatalf("drained %v, want the queued input", inputs)
	}
	// Nobody waits any more: publishing must neither block nor panic.
	d.Publish(view(), []sre.Answer{{Input: queued.Input}, {Input: queued.Input}, {Input: "never-asked"}})
	if len(d.waiting) != 0 {
		t.Errorf("waiters leak: %v", d.waiting)
	}
}

func TestDeskRefusesWhenFull(t *testing.T) {
	d := NewDesk(DeskOptions{Capacity: 1})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	var queued *QueuedError
	if _, err := d.Submit(done, sre.Input{}); !errors.As(err, &queued) {
		t.Fatalf("first submit: %v", err)
	}
	if _, err := d.Submit(t.Context(), sre.Input{}); !errors.Is(err, ErrDeskFull) {
		t.Fatalf("second submit: %v, want ErrDeskFull", err)
	}
	d.Drain(noon)
	if _, err := d.Submit(done, sre.Input{}); !errors.As(err, &queued) {
		t.Fatalf("after a drain: %v, want room again", err)
	}
}

func TestDeskKeepsTheViewWithoutANewOne(t *testing.T) {
	d := NewDesk(DeskOptions{})
	if d.View() != nil {
		t.Fatal("a view before the first tick")
	}
	v := view()
	d.Publish(v, nil)
	d.Publish(nil, nil)
	if d.View() != v {
		t.Error("the view is lost")
	}
}

// TestDeskUnderLoad lets many people ask, some of whom leave early, while the
// loop ticks: everybody who stays gets the own answer, and nothing is heard
// twice. It is for -race.
func TestDeskUnderLoad(t *testing.T) {
	d := NewDesk(DeskOptions{Capacity: 10000})
	const people, each = 16, 50
	var asking, loop sync.WaitGroup
	stop := make(chan struct{})
	heard := make(map[string]int)
	loop.Go(func() {
		for {
			var answers []sre.Answer
			for _, in := range d.Drain(noon) {
				heard[in.Name]++
				answers = append(answers, sre.Answer{Input: in.ID, Accepted: true, Reason: in.Name})
			}
			d.Publish(view(), answers)
			select {
			case <-stop:
				if len(d.Drain(noon)) > 0 {
					t.Error("inputs after everybody was answered")
				}
				return
			default:
			}
		}
	})
	for p := range people {
		asking.Go(func() {
			for i := range each {
				name := fmt.Sprintf("%d/%d", p, i)
				a, err := d.Submit(t.Context(), sre.Input{Name: name})
				if err != nil || a.Reason != name {
					t.Errorf("%s got %+v, %v", name, a, err)
				}
				_ = d.View()
			}
		})
	}
	asking.Wait()
	close(stop)
	loop.Wait()
	if len(heard) != people*each {
		t.Errorf("heard %d inputs, want %d", len(heard), people*each)
	}
	for name, n := range heard {
		if n != 1 {
			t.Errorf("%s was heard %d times", name, n)
		}
	}
}

func TestDeskMeasuresHumanWaiting(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	d := NewDesk(DeskOptions{Registerer: reg})
	inc := storm()
	d.Publish(&sre.View{Incidents: []sre.Incident{inc}}, nil)
	if n := testutil.ToFloat64(d.metrics.pending); n != 1 {
		t.Errorf("pending %v, want 1", n)
	}
	answered := inc
	answered.State = sre.Acting
	answered.Approval = &sre.Approval{Decision: inc.Decision.ID, Response: sre.Approved, At: inc.Decision.At.Add(20 * time.Second)}
	// The answer stays in the view for many ticks and counts once.
	for range 3 {
		d.Publish(&sre.View{Incidents: []sre.Incident{answered}}, nil)
	}
	if n := testutil.ToFloat64(d.metrics.pending); n != 0 {
		t.Errorf("pending %v, want 0", n)
	}
	want := []string{
		"# HELP sreagent_approval_wait_seconds Time from a question to its answer, or to its expiry.",
		"# TYPE sreagent_approval_wait_seconds histogram",
	}
	for _, r := range []string{"approved", "expired", "rejected"} {
		sum, count := 0, 0
		if r == "approved" {
			sum, count = 20, 1
		}
		for _, le := range []string{"5", "15", "30", "60", "120", "300", "600", "1200", "1800", "3600", "+Inf"} {
			n := count
			if le == "5" || le == "15" {
				n = 0
			}
			want = append(want, fmt.Sprintf("sreagent_approval_wait_seconds_bucket{response=%q,le=%q} %d", r, le, n))
		}
		want = append(want, fmt.Sprintf("sreagent_approval_wait_seconds_sum{response=%q} %d", r, sum),
			fmt.Sprintf("sreagent_approval_wait_seconds_count{response=%q} %d", r, count))
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(strings.Join(want, "\n")+"\n"), "sreagent_approval_wait_seconds"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func BenchmarkDeskTick(b *testing.B) {
	d := NewDesk(DeskOptions{})
	v := view()
	b.ReportAllocs()
	for b.Loop() {
		d.Drain(noon)
		d.Publish(v, nil)
	}
}
