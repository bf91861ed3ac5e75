package backtest

import (
	"context"
	"path/filepath"
	"strings"
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

// policy is an agent that may act, with the settings of the daemon.
func policy(t testing.TB, interval time.Duration) agent.Config {
	t.Helper()
	library, err := runbooks.LoadLayers(runbooks.Shipped())
	if err != nil {
		t.Fatal(err)
	}
	mandate := gate.DefaultPolicy()
	mandate.Mode = sre.Act
	return agent.Config{
		Version: "test", Interval: interval, Policy: mandate, Timing: agent.DefaultTiming(),
		Detection: detectors.DefaultConfig(), Diagnosis: diagnosis.DefaultConfig(), Learner: learner.DefaultConfig(), Runbooks: library,
	}
}

// session makes a tape ready to run.
func (tp *tape) session(t testing.TB) *Session {
	interval := time.Duration(tp.incident.Interval)
	return &Session{
		Subject: Subject{Incident: tp.incident, Changes: tp.changes, Interval: interval},
		Rehearsal: replay.Rehearsal{
			Agent: policy(t, interval), Source: tp, Start: tp.snapshots[0].At, End: tp.snapshots[len(tp.snapshots)-1].At,
		},
	}
}

// corpus lists the recordings whose name matches, without opening them.
func corpus(t testing.TB, pattern string) []Recording {
	dirs, err := filepath.Glob(filepath.Join(corpusDir(t), pattern))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%s: %v, %d recordings", pattern, err, len(dirs))
	}
	var out []Recording
	for _, dir := range dirs {
		out = append(out, Recording{ID: filepath.Base(dir), Open: func(context.Context) (*Session, error) {
			return openTape(t, dir, 0).session(t), nil
		}})
	}
	return out
}

// The floors are far below what is reached, so that they hold for other
// recordings of the same kinds too, and above what a ranking by chance reaches.
func TestTheCorpusIsRankedWithTheTimeGiven(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every recording")
	}
	res, err := Run(t.Context(), corpus(t, "*"), Options{Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	for source, floor := range map[string]struct{ first, average float64 }{
		"IntelligentDDS/Nezha": {.6, .75}, "amazon-science/petshop-root-cause-analysis": {.6, .75},
		"azamikram/rcd, sock-shop-data": {.9, .95}, "edgedelta/root-cause-bench": {.6, .8},
	} {
		s, ok := res.Summary[source]
		if !ok {
			t.Errorf("%s: no summary", source)
			continue
		}
		if s.Oracle.AC1.Value < floor.first || s.Oracle.Avg5.Value < floor.average {
			t.Errorf("%s: AC@1 %.3f, Avg@5 %.3f", source, s.Oracle.AC1.Value, s.Oracle.Avg5.Value)
		}
	}
	var text strings.Builder
	if err := WriteText(&text, res); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
}
