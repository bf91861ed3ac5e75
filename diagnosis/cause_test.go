package diagnosis_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/diagnosis"
	"github.com/sreagent/sreagent/sre"
)

func TestADependencyThatNobodyMeasuresIsNamedByItsCallers(t *testing.T) {
	s := scene("web bank*", "app bank*", "jobs")
	top := diagnose(s, []sre.Precursor{sign("web", sre.Errors, .8, 20), sign("app", sre.Errors, .8, 20)})[0].Diagnosis.Top()
	if diff := cmp.Diff([]string{"app", "web"}, top.Callers); diff != "" || top.Service != "" {
		t.Errorf("%q: %s", top.Service, diff)
	}
	s = scene("web bank*", "app bank*", "jobs bank*")
	top = diagnose(s, []sre.Precursor{sign("web", sre.Errors, .8, 20), sign("app", sre.Errors, .8, 20)})[0].Diagnosis.Top()
	if len(top.Callers) > 0 {
		t.Errorf("one caller is well, and yet %v have it in common", top.Callers)
	}
}

func TestALostCacheAccountsForTheLoadBelow(t *testing.T) {
	s := scene("web shop", "shop db")
	cache := physics(sign("shop", sre.Cache, .9, 40), "cache_loss", sre.CacheLoss, sre.Warning)
	below := physics(sign("db", sre.Pool, .9, 20), "overload", sre.Overload, sre.Warning)
	if top := diagnose(s, []sre.Precursor{cache, below})[0].Diagnosis.Top(); top.Service != "shop" {
		t.Errorf("%s first", top.Service)
	}
	storm := physics(sign("db", sre.Retries, 1, 20), "retry_storm", sre.RetryStorm, sre.Critical)
	if top := diagnose(s, []sre.Precursor{cache, storm})[0].Diagnosis.Top(); top.Service != "db" {
		t.Errorf("%s first, while a storm that feeds itself rages at db", top.Service)
	}
}

func TestAChangeIsToBlameOnlyForWhatBeganAfterIt(t *testing.T) {
	deploy := sre.Change{ID: "d", Kind: sre.Deploy, Service: "db", At: noon.Add(-60 * time.Second)}
	for _, c := range []struct {
		name  string
		signs []sre.Precursor
		want  sre.Mechanism
	}{
		{"after", []sre.Precursor{sign("db", sre.Errors, .9, 50)}, sre.BadChange},
		{"its own signs are older", []sre.Precursor{sign("db", sre.Errors, .9, 200), sign("db", sre.Latency, .9, 50)}, sre.Unknown},
		{"more load", []sre.Precursor{sign("db", sre.Errors, .9, 50), sign("db", sre.Traffic, .9, 50)}, sre.Unknown},
	} {
		s := scene("web db")
		s.Changes = []sre.Change{deploy}
		if top := diagnose(s, c.signs)[0].Diagnosis.Top(); top.Service != "db" || top.Mechanism != c.want {
			t.Errorf("%s: %s %s", c.name, top.Service, top.Mechanism)
		}
	}
}

func TestWhatWasBelievedHoldsAgainstAnEvenPicture(t *testing.T) {
	s := scene("web shop", "web cart")
	even := []sre.Precursor{sign("shop", sre.Errors, .9, 20), sign("cart", sre.Errors, .9, 20), sign("web", sre.Errors, .9, 20)}
	open := sre.Incident{ID: "inc", State: sre.Diagnosed, Diagnosis: sre.Diagnosis{
		Affected:   []string{"cart", "shop", "web"},
		Hypotheses: []sre.Hypothesis{{Service: "shop", Probability: .7}, {Mechanism: sre.Unknown, Probability: .3}},
	}}
	e := diagnosis.New(diagnosis.DefaultConfig())
	if top := e.Diagnose(s, even, nil)[0].Diagnosis.Top(); top.Service != "cart" {
		t.Fatalf("%s first without an incident", top.Service)
	}
	if top := e.Diagnose(s, even, []sre.Incident{open})[0].Diagnosis.Top(); top.Service != "shop" {
		t.Errorf("%s first, though shop was believed", top.Service)
	}
}
