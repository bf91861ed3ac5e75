package diagnosis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

// calming is an incident at shop that db began, and the tick, d later, at which
// db shows nothing any more.
func calming(state sre.State, d time.Duration) (first, later sre.Hypothesis) {
	s := scene("web shop", "shop db")
	db := physics(sign("db", sre.Saturation, .9, 40), "capacity_decay", sre.CapacityDecay, sre.Critical)
	victims := []sre.Precursor{sign("shop", sre.Errors, .9, 20), sign("web", sre.Errors, .8, 10)}
	e := diagnosis.New(diagnosis.DefaultConfig())
	f := e.Diagnose(s, append(victims, db), nil)[0]
	open := []sre.Incident{{ID: "inc", State: state, OpenedAt: s.At, Diagnosis: f.Diagnosis}}
	for at := s.At; at.Before(noon.Add(d)); {
		at = at.Add(10 * time.Second)
		next := *s
		next.At = at
		f = e.Diagnose(&next, victims, open)[0]
		open[0].Diagnosis = f.Diagnosis
		if first.Service == "" {
			first = f.Diagnosis.Top()
		}
	}
	return first, f.Diagnosis.Top()
}

func TestACauseThatCalmsStaysTheCause(t *testing.T) {
	first, later := calming(sre.Diagnosed, 5*time.Minute)
	for _, h := range []sre.Hypothesis{first, later} {
		if h.Service != "db" || h.Mechanism != sre.Unknown {
			t.Errorf("%s %s first, want db, with nothing left to cure", h.Service, h.Mechanism)
		}
	}
	if !strings.Contains(later.Evidence[0].Meaning, "so it was 300 s ago") {
		t.Errorf("old evidence passes for new: %q", later.Evidence[0].Meaning)
	}
	if later.Probability >= first.Probability {
		t.Errorf("%.3f after five minutes of silence, %.3f at first", later.Probability, first.Probability)
	}
	if _, last := calming(sre.Diagnosed, 2*time.Hour); last.Service == "db" {
		t.Error("still db after two hours in which it showed nothing")
	}
}

func TestWhatCalmsDuringASuspicionWasNoise(t *testing.T) {
	if _, later := calming(sre.Suspected, time.Minute); later.Service != "shop" {
		t.Errorf("%s first", later.Service)
	}
}

func TestLoadThatGrowsAfterTheTroubleBelowIsItsEcho(t *testing.T) {
	s := scene("web shop", "shop db")
	with := func(ago int) []sre.Precursor {
		return []sre.Precursor{
			physics(sign("db", sre.Pool, .9, 120), "overload", sre.Overload, sre.Critical), sign("db", sre.Traffic, .6, 60),
			note(sign("shop", sre.Traffic, .9, ago)), note(sign("web", sre.Traffic, .9, ago)),
		}
	}
	if top := diagnose(s, with(130))[0].Diagnosis.Top(); top.Service != "web" {
		t.Errorf("%s first, though the load came from web", top.Service)
	}
	if top := diagnose(s, with(30))[0].Diagnosis.Top(); top.Service != "db" {
		t.Errorf("%s first, though db was in trouble before web had more load", top.Service)
	}
}
