package diagnosis_test

import (
	"testing"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// burns is a sign of the error budget at a burn rate.
func burns(service string, rate float64, sev sre.Severity) sre.Precursor {
	p := sign(service, sre.Errors, .9, 20)
	p.Detector, p.Severity = "burn_rate", sev
	p.Evidence[0].Signal, p.Evidence[0].Now, p.Evidence[0].Normal = "burn_rate_short", rate, 1
	return p
}

// weigh sets the weights of entries by name.
func weigh(s *sre.Snapshot, weights map[string]float64) *sre.Snapshot {
	services := append([]sre.Service(nil), s.Graph.Services...)
	for i := range services {
		w, ok := weights[services[i].Name]
		services[i].Entry, services[i].Weight = ok, w
	}
	out := *s
	out.Graph = sre.NewGraph(services, s.Graph.Edges)
	return &out
}

func TestSeverityFollowsPriorityAndBurn(t *testing.T) {
	act := func(service string) sre.Precursor {
		return physics(sign(service, sre.Queue, .8, 20), "retry_storm", sre.RetryStorm, sre.Critical)
	}
	db := sign("db", sre.Latency, .8, 30)
	for _, c := range []struct {
		name    string
		weights map[string]float64
		ps      []sre.Precursor
		want    sre.Severity
	}{
		{"a page", map[string]float64{"web": 1, "batch": 1}, []sre.Precursor{db, burns("web", 20, sre.Critical)}, sre.Critical},
		{"a slow burn behind much traffic", map[string]float64{"web": 1, "batch": 1}, []sre.Precursor{db, burns("web", 2, sre.Warning)}, sre.Critical},
		{"a slow burn behind little traffic", map[string]float64{"web": 1, "batch": 1, "a": 1, "b": 1, "c": 1, "d": 1}, []sre.Precursor{sign("store", sre.Latency, .8, 30), burns("batch", 2, sre.Warning)}, sre.Warning},
		{"a heavy entry", map[string]float64{"web": 10, "batch": 1, "a": 1, "b": 1, "c": 1, "d": 1}, []sre.Precursor{db, burns("web", 1.5, sre.Warning)}, sre.Critical},
		{"a budget that no longer burns", map[string]float64{"web": 1}, []sre.Precursor{db, burns("web", 20, sre.Info)}, sre.Warning},
		{"an entry of little weight", map[string]float64{"web": 1, "batch": .5}, []sre.Precursor{sign("store", sre.Errors, .8, 30), burns("batch", 100, sre.Critical)}, sre.Warning},
		{"all entries, one of little weight", map[string]float64{"web": 1, "batch": .5}, []sre.Precursor{burns("web", 100, sre.Critical), burns("batch", 100, sre.Critical), sign("store", sre.Errors, .8, 30)}, sre.Critical},
		{"entries of little weight only", map[string]float64{"batch": .5}, []sre.Precursor{burns("batch", 100, sre.Critical)}, sre.Critical},
		{"action level below a heavy entry", map[string]float64{"web": 1, "batch": .5}, []sre.Precursor{act("db")}, sre.Critical},
		{"action level below a light entry", map[string]float64{"web": 1, "batch": .5}, []sre.Precursor{act("store")}, sre.Warning},
	} {
		s := weigh(scene("web db", "batch store", "a", "b", "c", "d"), c.weights)
		fs := diagnose(s, c.ps)
		if len(fs) == 0 || fs[0].Severity != c.want {
			t.Errorf("%s: %+v, want %s", c.name, fs, c.want)
		}
	}
}

// TestTheBudgetIsASymptom: the entry that burns is not blamed where something
// below it shows trouble, and the sign is told as it was.
func TestTheBudgetIsASymptom(t *testing.T) {
	s := scene("web shop", "shop db")
	page := burns("web", 500, sre.Critical)
	fs := diagnose(s, []sre.Precursor{page, sign("web", sre.Errors, .5, 20), sign("db", sre.Latency, .6, 30)})
	if len(fs) != 1 || fs[0].Diagnosis.Top().Service != "db" {
		t.Fatalf("%+v", fs)
	}
	if d := fs[0].Diagnosis; d.Precursors[0].Detector != "burn_rate" || d.Precursors[0].Score != page.Score {
		t.Errorf("signs are %+v", d.Precursors)
	}
	alone := diagnose(s, []sre.Precursor{page})
	if len(alone) != 1 || alone[0].Severity != sre.Critical || alone[0].Diagnosis.Top().Probability > .6 {
		t.Errorf("a page alone: %+v", alone)
	}
	if got := alone[0].Diagnosis.Precursors; len(got) != 1 || got[0].Score != page.Score {
		t.Errorf("signs are %+v", got)
	}
}

// TestTheCauseStaysWhileOnlyTheBudgetSpeaks: the last to recover is the entry,
// which does not make it the cause.
func TestTheCauseStaysWhileOnlyTheBudgetSpeaks(t *testing.T) {
	s := scene("web shop", "shop db")
	e := diagnosis.New(diagnosis.DefaultConfig())
	fs := e.Diagnose(s, []sre.Precursor{sign("db", sre.Errors, .9, 60), sign("web", sre.Errors, .9, 50), burns("web", 50, sre.Critical)}, nil)
	inc := sre.Incident{ID: "i", State: sre.Verifying, OpenedAt: noon, Diagnosis: fs[0].Diagnosis}
	fs = e.Diagnose(s, []sre.Precursor{burns("web", 50, sre.Critical)}, []sre.Incident{inc})
	if len(fs) != 1 || fs[0].Incident != "i" || fs[0].Diagnosis.Top().Service != "db" || fs[0].Severity != sre.Critical {
		t.Errorf("%+v", fs)
	}
}
