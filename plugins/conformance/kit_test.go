package conformance

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sreagent/sreagent/sre"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a testing.TB that notes what a case says of a lever.
type recorder struct {
	testing.TB
	mu      sync.Mutex
	failed  bool
	skipped bool
	said    strings.Builder
}

func (r *recorder) note(failed, skipped bool, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.skipped = r.failed || failed, r.skipped || skipped
	r.said.WriteString(text + "\n")
}

func (r *recorder) Helper()                   {}
func (r *recorder) Error(a ...any)            { r.note(true, false, fmt.Sprint(a...)) }
func (r *recorder) Errorf(f string, a ...any) { r.note(true, false, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(a ...any)            { r.Error(a...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Skipf(f string, a ...any) {
	r.note(false, true, fmt.Sprintf(f, a...))
	runtime.Goexit()
}
func (r *recorder) outcome() (bool, bool, string) { return r.failed, r.skipped, r.said.String() }

// record runs one case and tells what it says.
func record(t *testing.T, name string, s Subject) (failed, skipped bool, said string) {
	t.Helper()
	r := &recorder{TB: t}
	for _, c := range cases() {
		if c.name != name {
			continue
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.check(r, &s)
		}()
		<-done
		return r.outcome()
	}
	t.Fatalf("there is no case %q", name)
	return false, false, ""
}

// faults plants one fault per case.
var faults = map[string]string{
	"describe is stable and valid":               "describe",
	"dry run is clean":                           "dry run",
	"nonsense is invalid":                        "nonsense",
	"a directive needs an expiry":                "needs expiry",
	"probe tells the truth":                      "probe",
	"apply is idempotent":                        "idempotent",
	"renewal extends the expiry":                 "renew",
	"a higher sequence moves the lever":          "move",
	"revert restores":                            "revert",
	"revert twice is fine":                       "revert twice",
	"revert of nothing is fine":                  "revert nothing",
	"revert leaves other actions":                "revert others",
	"takeover is seen as foreign":                "takeover",
	"stale epoch is refused":                     "epoch",
	"stale sequence is refused":                  "seq",
	"expiry is honoured":                         "expiry",
	"revert after expiry is fine":                "revert late",
	"cancelled context ends a call":              "cancel",
	"deadline is honoured":                       "deadline",
	"cut connection is unknown":                  "cut",
	"state outlives the lever":                   "restart",
	"concurrent calls leave what probe explains": "race",
	"manual undo names the target":               "manual",
}

func TestEveryCaseCanFail(t *testing.T) {
	for _, name := range Cases() {
		t.Run(name, func(t *testing.T) {
			fault, planted := faults[name]
			if !planted {
				t.Fatal("no fault is planted for this case")
			}
			finds(t, name, memorySubject(fault))
		})
	}
}

// finds fails where the case does not see the fault that is planted in s.
func finds(t *testing.T, name string, s Subject) {
	t.Helper()
	s.Patience = 50 * time.Millisecond
	failed, skipped, said := record(t, name, s)
	s.Mend() // lets a call go that a planted fault has left behind
	if !failed || skipped {
		t.Errorf("the planted fault %q was not found; the case said %q", faults[name], said)
	}
	t.Log(said)
}

// fixedSubject is a lever that is pulled or not, and takes no parameters.
func fixedSubject(fault string) Subject {
	s := memorySubject(fault)
	m, ok := s.Lever.(*memory)
	if !ok {
		m = s.Lever.(*racy).memory
	}
	m.fixed, m.kinds = true, []sre.KindSpec{{Kind: sre.Drain, Reversible: true}}
	plain := func(a sre.Action) sre.Action { a.Kind, a.Params = sre.Drain, nil; return a }
	s.Action, s.Other = plain(s.Action), plain(s.Other)
	s.Bad[0].Kind = sre.Drain // with a parameter, of which there is none
	s.Bad = s.Bad[:1]
	return s
}

func TestALeverWithoutParametersPasses(t *testing.T) {
	Run(t, func(*testing.T) Subject { return fixedSubject("") })
}

func TestALeverWithoutParametersCanFail(t *testing.T) {
	for _, name := range Cases() {
		switch faults[name] {
		case "describe", "probe", "idempotent": // are of parameters
			continue
		}
		t.Run(name, func(t *testing.T) {
			finds(t, name, fixedSubject(faults[name]))
		})
	}
}

func TestMissingHooksAreNamed(t *testing.T) {
	whole := memorySubject("")
	bare := Subject{Lever: whole.Lever, Action: whole.Action, Other: whole.Other, Now: whole.Now}
	for _, c := range cases() {
		failed, skipped, said := record(t, c.name, bare)
		if failed || skipped != (len(c.hooks) > 0) {
			t.Errorf("%s without hooks: failed %t, skipped %t: %s", c.name, failed, skipped, said)
		}
		for _, hook := range c.hooks {
			if !strings.Contains(said, hook) {
				t.Errorf("%s: %q does not name the hook %s", c.name, said, hook)
			}
		}
		bare.Lever = memorySubject("").Lever
	}
}

func TestDescribeFaults(t *testing.T) {
	good := memorySubject("").Lever.(*memory).kinds[0]
	param := func(change func(*sre.ParamSpec)) []sre.KindSpec {
		k := good
		p := good.Params[0]
		change(&p)
		k.Params = []sre.ParamSpec{p}
		return []sre.KindSpec{k}
	}
	for name, kinds := range map[string][]sre.KindSpec{
		"no unit":      param(func(p *sre.ParamSpec) { p.Unit, p.Help = "", "" }),
		"type":         param(func(p *sre.ParamSpec) { p.Type = "float" }),
		"range":        param(func(p *sre.ParamSpec) { p.Min, p.Max = 10, 5 }),
		"twice":        {good, good},
		"unknown kind": {good, {Kind: "explode"}},
		"one way":      {{Kind: good.Kind, Params: good.Params}},
	} {
		s := memorySubject("")
		s.Lever.(*memory).kinds = kinds
		if failed, _, _ := record(t, "describe is stable and valid", s); !failed {
			t.Errorf("%s: the kit accepts it", name)
		}
	}
}
