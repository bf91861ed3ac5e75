package scenario

import (
	"errors"
	"testing"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// TestStartsWarm holds that the agent has read the past of the world before it
// first looks: what is usual is known at the first tick.
func TestStartsWarm(t *testing.T) {
	s := loaded(t, "retry-storm")
	first := -1.0
	_, err := s.Run(t.Context(), Options{Agent: true, Judge: JudgeNot, Watch: func(tick replay.Tick) error {
		first = tick.View.WarmUp
		return errEnough
	}})
	if err != nil && !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	if first < 0.9 {
		t.Errorf("warm to %.2f at the first tick", first)
	}
}

// TestAsksTheDaemonsModel holds that who is going to be hit is foretold by the
// model in a world of ordinary size, and by the graph alone in a very large one.
func TestAsksTheDaemonsModel(t *testing.T) {
	basis := map[string]bool{}
	s := loaded(t, "retry-storm")
	play(t, s, Options{Agent: true, Judge: JudgeNot, Watch: func(tick replay.Tick) error {
		for _, inc := range tick.View.Incidents {
			basis[inc.Diagnosis.Blast.Basis] = true
		}
		return nil
	}})
	if !basis[sre.ByModel] {
		t.Errorf("told by %v, want the model", basis)
	}
	if st := (&stage{s: loaded(t, "fleet-1000")}); st.forecaster() != nil {
		t.Error("the model is asked about a thousand services")
	}
}
