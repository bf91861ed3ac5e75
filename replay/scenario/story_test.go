package scenario

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// TestWhatTheAgentSees holds that gaps, a store that is down, and changes reach
// the agent as the script has them.
func TestWhatTheAgentSees(t *testing.T) {
	s := parsed(t, small+`at 1m scrape-gap db for 60s
at 3m blind for 30s
at 2m deploy web version=v9 benign
at 2m change flag db id=dark-mode by=somebody
at 4m fault web errors=.1 change=config
`)
	known := map[string]string{} // change by tick
	_, err := s.Run(context.Background(), Options{Agent: true, Watch: func(tick replay.Tick) error {
		at := tick.At.Sub(Origin())
		if up := at < 3*time.Minute || at >= 3*time.Minute+30*time.Second; tick.Snapshot.Health.Up != up {
			t.Errorf("at %s the store is up: %v", at, tick.Snapshot.Health.Up)
		}
		for _, c := range tick.Snapshot.Changes {
			known[c.ID] += fmt.Sprintf("%s %s %s by %s", at, c.Kind, c.Service, c.By)
		}
		db, _ := tick.Snapshot.Graph.Index("db")
		web, _ := tick.Snapshot.Graph.Index("web")
		if at == 100*time.Second {
			if state := tick.Snapshot.Value(db, sre.Traffic, sre.PerSecond).State; state == sre.Present {
				t.Errorf("at %s the silent service is %s", at, state)
			}
			if state := tick.Snapshot.Value(web, sre.Traffic, sre.PerSecond).State; state != sre.Present {
				t.Errorf("at %s the other service is %s", at, state)
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"change-9": "2m0s deploy web by script", "dark-mode": "2m0s flag db by somebody", "change-11": "4m0s config web by script",
	}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("changes as told, each once (-want +got):\n%s", diff)
	}
}

// TestTranscript holds the form of a story's lines.
func TestTranscript(t *testing.T) {
	at := func(s int) time.Time { return Origin().Add(time.Duration(s) * time.Second) }
	after := 45.0
	r := &Result{
		Scenario: "x", Title: "A title", Agent: "on", Seed: 3, Start: Origin(), GoodputBefore: 1, GoodputMin: .99999, GoodputAfter: 1, Recovered: true,
		RecoveredAfterSeconds: &after, Cascade: true, ServicesAffected: 2, Affected: map[string]bool{"b": true, "a": true},
		Failures: []string{"x.scenario:3: expected more"},
		Marks:    []Mark{{At: at(10), Text: "fault a errors=1 for 20s", Ends: at(30)}},
		Story: []Moment{
			{At: at(0), Goodput: 1, Offered: 10, Work: 2}, {At: at(15), Goodput: .5, Offered: 10}, {At: at(30), Goodput: 1, Offered: 10, Work: 2},
			{At: at(60), Goodput: 1, Offered: 10, Work: 2, Worst: "a", Queue: 7},
		},
		Records: []sre.Record{
			{At: at(15), Kind: sre.RecordIntent, Intent: &sre.IntentRecord{
				Action: sre.Action{
					ID: "i.0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "a"},
					Params: sre.Params{"rps": 12.34567, "low": 1.0},
				},
				Permit: sre.Permit{Purpose: sre.ToApply},
			}},
			{At: at(15), Kind: sre.RecordIntent, Intent: &sre.IntentRecord{Permit: sre.Permit{Purpose: sre.ToRenew}}},
			{At: at(30), Kind: sre.RecordResult, Result: &sre.ResultRecord{Action: "i.0", Purpose: sre.ToApply, Phase: sre.Failed, Code: sre.CodeRefused, Err: "no"}},
		},
	}
	want := `x, agent on, seed 3
A title

  0:00    goodput 1.000 of 10/s, 2.00 attempts each
  0:10  * fault a errors=1 for 20s
  0:15  apply shed on a low=1 rps=12.35
  0:30  * over: fault a errors=1 for 20s
  0:30  apply of i.0: failed refused: no
  1:00    goodput 1.000 of 10/s, 2.00 attempts each, 7 wait at a

goodput 1.000 before, 0.999 at its worst, 1.000 at the end
recovered after 45 s
cascade, 2 services in trouble: a, b
nothing detected, 0 actions, 0 harmful, 0 false
NOT AS EXPECTED: x.scenario:3: expected more
`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(Transcript(r)), "\n")); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
}

// TestRandomStories holds of any story: it runs, its figures are shares and fit
// each other, it is written the same twice, and an agent that only watches
// leaves the world as it is.
func TestRandomStories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := randomStory(t)
		s, err := Parse("random.scenario", []byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		off, on, again := randomRun(t, s, false), randomRun(t, s, true), randomRun(t, s, true)
		for _, r := range []*Result{off, on} {
			for _, g := range []float64{r.GoodputBefore, r.GoodputMin, r.GoodputAfter} {
				if !(g >= 0 && g <= 1) {
					t.Errorf("goodput %v is no share", g)
				}
			}
			if r.Recovered != (r.RecoveredAfterSeconds != nil) || r.Recovered && r.GoodputAfter < healthy*r.GoodputBefore-1e-9 {
				t.Errorf("recovered is %v, after %v s, with %v of %v", r.Recovered, secondsOr(r.RecoveredAfterSeconds), r.GoodputAfter, r.GoodputBefore)
			}
			if r.Cascade && r.ServicesAffected == 0 || r.ServicesAffected != len(r.Affected) {
				t.Errorf("cascade is %v with %d services affected, %d of them named", r.Cascade, r.ServicesAffected, len(r.Affected))
			}
			if len(r.Story) != int(s.Length/s.Tick)+1 {
				t.Errorf("%d moments in %s", len(r.Story), s.Length)
			}
			if n := len(r.applied()); r.HarmfulActions > n || r.FalseActions > n {
				t.Errorf("%d actions, %d harmful, %d false", n, r.HarmfulActions, r.FalseActions)
			}
		}
		one, err := on.JSON()
		if err != nil {
			t.Fatal(err)
		}
		two, err := again.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) || !bytes.Equal(Transcript(on), Transcript(again)) {
			t.Errorf("two runs differ:\n%s", cmp.Diff(string(one), string(two)))
		}
		if s.Policy.Mode == sre.Watch {
			if diff := cmp.Diff(off.Story, on.Story, cmp.AllowUnexported(Moment{})); diff != "" {
				t.Errorf("watching changes the world:\n%s", diff)
			}
		}
	})
}

func randomRun(t *rapid.T, s *Scenario, on bool) *Result {
	r, err := s.Run(context.Background(), Options{Agent: on})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// randomStory writes a tree of services with settings and faults.
func randomStory(t *rapid.T) string {
	var b strings.Builder
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name) }
	n := rapid.IntRange(1, 5).Draw(t, "services")
	fmt.Fprintf(&b, "title random\nseed %d\nwarmup 2m\nrun 5m\n%s\npolicy %s\npeople approve after 10s\n",
		rapid.IntRange(1, 1000).Draw(t, "seed"), pick("noise", "", "noise"), pick("mode", "act", "ask", "watch"))
	for i := range n {
		fmt.Fprintf(&b, "service s%d work=%s rate=%s workers=%s queue=%s %s\n", i, pick("work", "1ms", "20ms"), pick("rate", "150", "400"),
			pick("workers", "8", "100"), pick("queue", "0", "50", "2000"), pick("extra", "", "deadlines", "decay=.5 onset=200", "heap=300 restart=20s"))
		if i > 0 {
			fmt.Fprintf(&b, "call s%d -> s%d timeout=%s retries=%s %s\n", rapid.IntRange(0, i-1).Draw(t, "caller"), i,
				pick("timeout", "200ms", "2s"), pick("retries", "0", "3"), pick("bonds", "", "hard", "hard budget=10%", "breaker=.5"))
		}
	}
	b.WriteString("client users -> s0 rate=100 timeout=3s retries=1\n")
	for range rapid.IntRange(0, 3).Draw(t, "events") {
		fmt.Fprintf(&b, "at %ds %s for %ds%s\n", rapid.IntRange(0, 240).Draw(t, "at"),
			pick("event", "fault s0 capacity=0.1", "fault s0 errors=.5", "fault s0 slow=500ms", "load users 3", "scrape-gap all", "blind", "deploy s0 errors=.2"),
			rapid.IntRange(1, 200).Draw(t, "for"), pick("benign", "", " benign"))
	}
	return b.String()
}
