package suite

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/scenario"
)

func TestDrawnStoriesParse(t *testing.T) {
	for _, seed := range []uint64{1, 5, 900} {
		if _, err := Generate(150, seed); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStoryIsTheSameWhateverTheirNumber(t *testing.T) {
	one, again := drawn(t, 3, 7), drawn(t, 3, 7)
	if one != again || one == drawn(t, 3, 8) || one == drawn(t, 4, 7) {
		t.Error("stories do not follow from seed and number alone")
	}
}

// few are stories that take little time: a cascade, a benign one and a drawn one.
func few(t *testing.T) []*scenario.Scenario {
	t.Helper()
	out, err := Generate(1, 11)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"retry-storm", "benign-flash-crowd"} {
		s, err := scenario.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestTheSameBytesWithAnyNumberOfJobs(t *testing.T) {
	var texts [2]bytes.Buffer
	for i, jobs := range []int{1, 3} {
		plays := 0
		r, err := Play(context.Background(), few(t), Options{Jobs: jobs, Done: func() { plays++ }})
		if err != nil {
			t.Fatal(err)
		}
		if want := 3 * len(Arms()); plays != want {
			t.Errorf("told of %d plays, want %d", plays, want)
		}
		if err := r.WriteText(&texts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(texts[0].String(), texts[1].String()); diff != "" {
		t.Errorf("(-one job +three):\n%s", diff)
	}
}

func TestTheAgentEndsAStormThatNobodyElseEnds(t *testing.T) {
	s, err := scenario.Load("retry-storm")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Play(context.Background(), []*scenario.Scenario{s}, Options{Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	off, static, agent := r.Rows[0].Runs[0], r.Rows[0].Runs[1], r.Rows[0].Runs[2]
	if !off.Cascade || off.Recovered || off.Actions != 0 {
		t.Errorf("off: %+v", off)
	}
	if static.Actions == 0 {
		t.Errorf("the static policy did nothing: %+v", static)
	}
	if !agent.Recovered || agent.Harmful != 0 || agent.False != 0 || agent.AfterDetection == nil || agent.LostSeconds >= off.LostSeconds {
		t.Errorf("agent: %+v, off: %+v", agent, off)
	}
	if s := r.Summary; s.Cascades != 1 || s.Benign != 0 || s.Arms[2].Handled.Value != 1 || s.Arms[0].Handled.Value != 0 {
		t.Errorf("summary %+v", s)
	}
}

func TestAStopIsNoReport(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if r, err := Play(ctx, few(t), Options{}); !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("got %v, %v", r, err)
	}
}

func TestSums(t *testing.T) {
	after := 30.0
	rows := []Row{
		{Story: "fell", Runs: []Run{{Arm: Off, Cascade: true}, {Arm: Static, Cascade: true, Recovered: true}, {Arm: Agent, Recovered: true, AfterDetection: &after, Harmful: 2}}},
		{Story: "stood", Runs: []Run{{Arm: Off, Recovered: true}, {Arm: Static, Recovered: true}, {Arm: Agent, Recovered: true}}},
		{Story: "calm", Runs: []Run{{Arm: Off, Benign: true}, {Arm: Static, Benign: true, False: 3}, {Arm: Agent, Benign: true}}},
	}
	s := summarise(rows)
	if s.Stories != 3 || s.Cascades != 1 || s.Benign != 1 {
		t.Errorf("%+v", s)
	}
	static, agent := s.Arms[1], s.Arms[2]
	if static.Recovered != 1 || static.Prevented != 0 || static.FalseBenign != 3 || static.Handled.N != 1 {
		t.Errorf("static %+v", static)
	}
	if agent.Prevented != 1 || agent.Recovered != 1 || agent.Harmful != 2 || agent.HarmfulStories != 1 || agent.AfterDetection.Median != 30 {
		t.Errorf("agent %+v", agent)
	}
	var text bytes.Buffer
	if err := (&Report{Rows: rows, Summary: s}).WriteText(&text); err != nil || !strings.Contains(text.String(), "3 stories: 1 would end in a cascade") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func drawn(t *testing.T, seed uint64, n int) string {
	t.Helper()
	text, err := Draw(seed, n)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A world that fails its users before anything happens measures nobody's care.
func TestDrawnWorldsAreWellBeforeAnythingHappens(t *testing.T) {
	anew := false
	for n := 34; n < 42; n++ {
		text := drawn(t, 5003, n)
		anew = anew || text != sketch(5003, n, 0)
		s, err := scenario.Parse("drawn.scenario", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s.Length = atRest
		r, err := s.Run(t.Context(), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Story {
			if m.Goodput < wellAtRest {
				t.Errorf("story %d: goodput %.2f at %s", n, m.Goodput, m.At)
			}
		}
	}
	if !anew {
		t.Error("none was drawn anew, so that nothing is shown")
	}
}
