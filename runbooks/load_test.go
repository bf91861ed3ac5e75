package runbooks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// badFiles holds one fixture per mistake, and everything that is said of it.
var badFiles = []struct{ name, want string }{
	{"action_kind", `f.yaml:17:17: kind is "sched"; allowed: shed, retry_budget, queue_bound, breaker, timeout, kill_switch, rollback, scale, traffic_shift, drain, restart`},
	{"anchor", `f.yaml:46:12: relapse is an anchor; allowed: plain values: anchors, aliases and tags are not read`},
	{"api_version", `f.yaml:1:13: apiVersion is "sreagent/v2"; allowed: sreagent/v1`},
	{"callee_is_root", `f.yaml:20:19: the root is its own callee; allowed: target: callers for the calls into the root`},
	{"callee_of_all_callers", `f.yaml:40:19: callee is "stock", but each of these calls has its own; allowed: nothing`},
	{"callee_of_callees", `f.yaml:40:19: callee is "web", but callees are those of the root; allowed: nothing`},
	{"callee_of_callers", `f.yaml:40:19: callee is "web", but callers are those of the root; allowed: root, or nothing`},
	{"can_kind", `f.yaml:11:11: expression: can asks for action kind "grow", which is none of shed, retry_budget, queue_bound, breaker, timeout, kill_switch, rollback, scale, traffic_shift, drain, restart; allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"choose_beside_name", `f.yaml:35:7: a choice has no field "name"; allowed: choose alone; the steps of its branches carry the rest`},
	{"choose_both", `f.yaml:37:22: a branch has both a condition and otherwise; allowed: when, or otherwise: true`},
	{"choose_condition_type", `f.yaml:36:17: expression gives string; allowed: an expression that gives true or false`},
	{"choose_empty", `f.yaml:35:7: no branches; allowed: at least one of when and steps`},
	{"choose_field", `f.yaml:36:11: unknown field "if" in choose item; allowed: when, otherwise, steps`},
	{"choose_no_condition", `f.yaml:36:11: a branch has no condition; allowed: when: expression, or otherwise: true as the last branch`},
	{"choose_no_steps", `f.yaml:36:11: no steps; allowed: at least one step`},
	{"choose_otherwise_first", `f.yaml:36:22: branches after otherwise are never taken; allowed: otherwise as the last branch`},
	{"choose_too_deep", `f.yaml:44:31: a choice inside 3 choices; allowed: at most 3, one inside the other`},
	{"duplicate_key", `f.yaml:13:3: mapping key "risk" already defined at [12:3]; allowed: YAML in which each key stands once and each bracket is closed`},
	{"duration", `f.yaml:31:17: verify.within is "half a minute"; allowed: a duration such as 45s or 2m30s`},
	{"duration_number", `f.yaml:31:17: within is a number; allowed: a duration such as 45s or 2m30s`},
	{"empty", `f.yaml:1:1: 0 documents in one file; allowed: one runbook per file`},
	{"escalate_after_zero", `f.yaml:44:21: escalate.after is 0; allowed: more than 0s`},
	{"escalate_duration", `f.yaml:44:21: escalate.after is "soon"; allowed: a duration such as 45s or 2m30s`},
	{"escalate_field", `f.yaml:44:14: unknown field "when" in escalate; allowed: after, message`},
	{"escalate_without_after", `f.yaml:44:3: escalate.after is missing; allowed: a duration such as 45s or 2m30s`},
	{"hold_duration", `f.yaml:44:9: hold is "1 minute"; allowed: a duration such as 45s or 2m30s`},
	{"kind", `f.yaml:2:7: kind is "Playbook"; allowed: Runbook`},
	{"lease_missing", `f.yaml:35:7: lease is missing; allowed: a duration such as 45s or 2m30s`},
	{"lease_too_short", `f.yaml:33:14: lease of 40s ends before the check is over; allowed: more than verify.within plus verify.held_for, which is 40s`},
	{"lever_missing", `f.yaml:17:11: lever is missing; allowed: the name of a remediator, such as guard`},
	{"lift_gap_duration", `f.yaml:45:13: lift_gap is "-15s"; allowed: a duration such as 45s or 2m30s`},
	{"mechanism", `f.yaml:10:28: mechanism is "cache_lost"; allowed: retry_storm, slow_dependency, pool_exhaustion, capacity_decay, cache_loss, survivor_overload, oscillation, overload, bad_change, timeout_inversion, unknown`},
	{"mechanism_twice", `f.yaml:10:28: mechanism overload is given twice; allowed: each once`},
	{"mechanism_unknown", `f.yaml:19:19: target is "all_callers", but a runbook for mechanism unknown has no root; allowed: affected, affected_calls, fleet, fleet_calls, entries, or service: NAME`},
	{"mechanism_unknown_callee", `f.yaml:20:19: callee is root, but a runbook for mechanism unknown has none; allowed: a service by name`},
	{"mechanism_unknown_kind", `f.yaml:17:17: kind drain needs to know what is at fault; allowed: retry_budget, queue_bound, breaker, timeout, shed, scale`},
	{"mechanism_unknown_risk", `f.yaml:12:9: risk is low, but nobody knows what is at fault; allowed: medium, high`},
	{"mechanism_unknown_root", `f.yaml:20:18: expression speaks of the root, which a runbook for mechanism unknown does not have; allowed: affected, entries, fleet, or a service by name`},
	{"mechanisms_shape", `f.yaml:10:17: mechanisms is text; allowed: a list`},
	{"name_form", `f.yaml:4:9: name is "My Runbook"; allowed: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends`},
	{"name_missing", `f.yaml:3:1: name is missing; allowed: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends`},
	{"next_after_last", `f.yaml:44:16: the last step has no next one; allowed: undo, escalate`},
	{"next_after_last_in_branch", `f.yaml:47:24: the last step has no next one; allowed: undo, escalate`},
	{"no_actions", `f.yaml:36:7: no actions; allowed: at least one action`},
	{"no_mechanisms", `f.yaml:10:5: no mechanisms; allowed: some of retry_storm, slow_dependency, pool_exhaustion, capacity_decay, cache_loss, survivor_overload, oscillation, overload, bad_change, timeout_inversion, unknown`},
	{"no_steps", `f.yaml:13:3: no steps; allowed: at least one step`},
	{"not_for_shape", `f.yaml:6:3: not_for is a list; allowed: text`},
	{"on_fail", `f.yaml:34:16: on_fail is "retry"; allowed: undo, next, escalate`},
	{"optional_only", `f.yaml:36:7: every action of the step is optional; allowed: at least one that is not`},
	{"optional_shape", `f.yaml:40:21: optional is text; allowed: true or false`},
	{"param_expression", `f.yaml:21:18: expression: undeclared reference to 'surved' (did you mean 'served'?) (at character 13); allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"param_mixed", `f.yaml:21:18: parameter rps mixes text and an expression; allowed: one "${expression}" as the whole value`},
	{"param_shape", `f.yaml:40:20: parameter seconds is a list; allowed: a number, text, true or false, or "${expression}"`},
	{"param_type", `f.yaml:21:18: parameter rps gives list(string); allowed: an expression that gives a number, text, or true or false`},
	{"priority", `f.yaml:8:13: priority is text; allowed: a whole number`},
	{"relapse_missing", `f.yaml:7:1: relapse is missing; allowed: a condition that says that the trouble is back`},
	{"relapse_type", `f.yaml:46:12: expression gives double; allowed: an expression that gives true or false`},
	{"risk", `f.yaml:12:9: risk is "tiny"; allowed: low, medium, high`},
	{"same_action_twice", `f.yaml:23:12: moves the same lever on the same target as an action before it; allowed: one action per setting in a step`},
	{"scalar_document", `f.yaml:1:1: the file is text; allowed: fields apiVersion, kind, metadata, spec`},
	{"signal_kind", `f.yaml:11:11: expression: value asks for signal kind "latncy", which is none of traffic, errors, latency, saturation, retries, queue, pool, cache, timeouts, replicas; allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"signal_unit", `f.yaml:11:11: expression: has_value asks for unit "ms", which is none of requests_per_second, ratio, percent, seconds, bytes, count; allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"step_name_missing", `f.yaml:14:7: step name is missing; allowed: a text that no other step has`},
	{"step_name_twice", `f.yaml:35:13: step name "cap" is used twice; allowed: names that are unique in the runbook`},
	{"step_name_twice_in_branch", `f.yaml:38:21: step name "cap" is used twice; allowed: names that are unique in the runbook`},
	{"target", `f.yaml:19:19: target is "roots"; allowed: root, callers, all_callers, callees, entries, suspect_change, affected, affected_calls, fleet, fleet_calls, or service: NAME`},
	{"target_shape", `f.yaml:25:11: target is a mapping; allowed: root, callers, all_callers, callees, entries, suspect_change, affected, affected_calls, fleet, fleet_calls, or service: NAME`},
	{"ttl_longer_than_lease", `f.yaml:41:16: ttl of 6m is longer than the lease; allowed: at most 5m`},
	{"ttl_missing", `f.yaml:37:11: ttl is missing; allowed: a duration such as 45s or 2m30s`},
	{"ttl_zero", `f.yaml:41:16: ttl is 0; allowed: more than 0s`},
	{"two_documents", `f.yaml:1:1: 2 documents in one file; allowed: one runbook per file`},
	{"undo_none_low_risk", `f.yaml:23:17: undo is none in a runbook of low risk; allowed: risk: high where something cannot be taken back`},
	{"undo_word", `f.yaml:23:17: undo is "never"; allowed: restore, none`},
	{"unknown_field", `f.yaml:12:3: unknown field "risks" in spec; allowed: priority, match, risk, steps, hold, lift_gap, relapse, escalate`},
	{"unknown_nested_field", `f.yaml:34:7: unknown field "onfail" in steps item; allowed: name, when, actions, verify, lease, on_fail, ahead, choose`},
	{"verify_expr_missing", `f.yaml:42:7: verify.expr is missing; allowed: a condition that says that the step helped`},
	{"verify_missing", `f.yaml:35:7: verify.expr is missing; allowed: a condition that says that the step helped
f.yaml:35:7: verify.within is missing; allowed: a duration such as 45s or 2m30s`},
	{"verify_proves_nothing", `f.yaml:42:22: expression looks at no reading, so it proves nothing; allowed: a condition with value, errors, traffic, served, latency, queue, occupancy, retry_share, max_errors`},
	{"verify_type", `f.yaml:42:22: expression gives double; allowed: an expression that gives true or false`},
	{"verify_within_missing", `f.yaml:42:7: verify.within is missing; allowed: a duration such as 45s or 2m30s`},
	{"when_mixed_numbers", `f.yaml:11:11: expression: found no matching overload for '_+_' applied to '(double, int)' (at character 15); allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"when_name", `f.yaml:11:11: expression: undeclared reference to 'rot' (did you mean 'root'?) (at character 9); allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"when_syntax", `f.yaml:11:11: expression: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER} (at character 15); allowed: CEL with the variables and functions that docs/runbooks.md lists`},
	{"where_missing", `f.yaml:17:11: where is missing, and target fleet is all there is; allowed: a condition on target, such as errors(target) > 0.1`},
	{"where_type", `f.yaml:20:18: expression gives double; allowed: an expression that gives true or false`},
	{"when_type", `f.yaml:11:11: expression gives double; allowed: an expression that gives true or false`},
	{"yaml_syntax", `f.yaml:11:5: ',' or ']' must be specified; allowed: YAML in which each key stands once and each bracket is closed`},
}

func TestLoadExplainsEveryMistake(t *testing.T) {
	var tested []string
	for _, c := range badFiles {
		tested = append(tested, "testdata/"+c.name+".bad.yaml")
		t.Run(c.name, func(t *testing.T) {
			content, err := os.ReadFile("testdata/" + c.name + ".bad.yaml")
			if err != nil {
				t.Fatal(err)
			}
			_, err = Load(fstest.MapFS{"f.yaml": {Data: content}}, ".")
			var faults *LoadError
			if !errors.As(err, &faults) {
				t.Fatalf("error is %v, want a *LoadError", err)
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
	onDisk, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(tested)
	if diff := cmp.Diff(tested, onDisk); diff != "" {
		t.Errorf("fixtures without a row, or rows without a fixture:\n%s", diff)
	}
}

func TestLoadReportsAllFilesAtOnce(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.NewReplacer("risk: low", "risk: tiny", "kind: Runbook", "kind: Thing").Replace(string(good))
	_, err = Load(fstest.MapFS{
		"books/a.yaml":        {Data: []byte(bad)},
		"books/b.yml":         {Data: good},
		"books/c.yaml":        {Data: good}, // the same name again
		"books/.hidden.yaml":  {Data: []byte("not: one")},
		"books/notes.txt":     {Data: []byte("not one either")},
		"books/sub/deep.yaml": {Data: []byte("nor this")},
	}, "books")
	want := `books/a.yaml:2:7: kind is "Thing"; allowed: Runbook
books/a.yaml:12:9: risk is "tiny"; allowed: low, medium, high
books/b.yml:4:9: runbook name "example" is taken by books/a.yaml; allowed: a name that no other file has
books/c.yaml:4:9: runbook name "example" is taken by books/a.yaml; allowed: a name that no other file has`
	if err == nil || cmp.Diff(want, err.Error()) != "" {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLoadOfAMissingFolder(t *testing.T) {
	if _, err := Load(fstest.MapFS{}, "nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLoadRefusesALargeFile(t *testing.T) {
	_, err := Load(fstest.MapFS{"f.yaml": {Data: []byte("#" + strings.Repeat("x", maxFileBytes))}}, ".")
	if err == nil || err.Error() != "f.yaml:1:1: file is too large; allowed: at most 256 KiB" {
		t.Errorf("got %v", err)
	}
}

func TestLoadKeepsEverythingThatIsWritten(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := fromText(t, string(good))
	want := Info{
		Name: "example", Version: l.List()[0].Version, File: "one.yaml", Owner: "shop-team", Description: "An example.", Priority: 10,
		Mechanisms: []sre.Mechanism{sre.Overload, sre.CacheLoss}, When: "traffic(root) > 1.0", Risk: sre.LowRisk, Steps: []string{"cap", "bound"},
	}
	if diff := cmp.Diff([]Info{want}, l.List()); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	plan, _ := l.Match(newShop(sre.Overload).facts())
	if plan == nil {
		t.Fatal("no plan")
	}
	if plan.Hold != time.Minute || plan.LiftGap != 15*time.Second || plan.Relapse.Expr != "errors(root) > 0.1" {
		t.Errorf("hold %v, lift gap %v, relapse %q", plan.Hold, plan.LiftGap, plan.Relapse.Expr)
	}
	wantActions := []sre.Action{
		{ID: "inc-1.0.0.0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "stock"}, Params: sre.Params{"rps": 126.0}, TTL: 30 * time.Second},
		{
			ID: "inc-1.0.0.1", Kind: sre.KillSwitch, Target: sre.Target{Lever: "guard", Service: "web", Name: "recommendations"},
			Params: sre.Params{"percent": 25.0, "hard": true, "note": "by hand"}, TTL: 30 * time.Second,
		},
	}
	if diff := cmp.Diff(wantActions, plan.Steps[0].Actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	wantVerify := sre.Check{Expr: "errors(root) < 0.05", Within: 30 * time.Second, HeldFor: 10 * time.Second}
	if diff := cmp.Diff(wantVerify, plan.Steps[0].Verify); diff != "" {
		t.Errorf("verify (-want +got):\n%s", diff)
	}
	if plan.Steps[0].Before.Expr != "errors(root) > 0.01" || plan.Steps[0].OnFail != sre.NextStep || plan.Steps[1].OnFail != sre.UndoAndEscalate {
		t.Errorf("steps: %+v", plan.Steps)
	}
}

func TestVersionFollowsTheText(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a, b := fromText(t, string(good)).List()[0].Version, fromText(t, string(good)+"# a remark\n").List()[0].Version
	if a == b || len(a) != 12 || len(b) != 12 {
		t.Errorf("versions %q and %q", a, b)
	}
}

func TestHoldAndLiftGapHaveDefaults(t *testing.T) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("  hold: 1m\n", "", "  lift_gap: 15s\n", "", "  risk: low\n", "").Replace(string(good))
	plan, rejected := fromText(t, text).Match(newShop(sre.Overload).facts())
	if plan == nil || plan.Hold != 20*time.Second || plan.LiftGap != 10*time.Second || plan.Risk != sre.HighRisk {
		t.Errorf("plan %+v, rejected %v", plan, rejected)
	}
}

// FuzzLoad looks for files that stop the loader, or that load although a plan
// of them could not be trusted.
func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	more, err := filepath.Glob("shipped/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(seeds, more...) {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	facts := newShop(sre.Overload).facts()
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := Load(fstest.MapFS{"f.yaml": {Data: content}}, ".")
		if err != nil {
			var faults *LoadError
			if !errors.As(err, &faults) || len(faults.Faults) == 0 {
				t.Fatalf("error without faults: %v", err)
			}
			return
		}
		for _, rb := range l.ordered {
			if rb.Name == "" || len(rb.flow) == 0 || rb.relapse == "" {
				t.Fatalf("loaded without a name, steps or a relapse: %+v", rb.Info)
			}
			for st := range rb.every() {
				if st.verify.Expr == "" || st.verify.Within <= 0 || st.verify.Within+st.verify.HeldFor >= st.lease || len(st.actions) == 0 {
					t.Fatalf("loaded a step that cannot be judged: %+v", st)
				}
				for _, a := range st.actions {
					if a.ttl <= 0 || !a.kind.Valid() || a.lever == "" {
						t.Fatalf("loaded an action that cannot lapse: %+v", a)
					}
				}
			}
		}
		l.Match(facts)
		l.Prove(facts.Levers)
		for _, info := range l.List() {
			l.Markdown(info.Name)
			l.Mermaid(info.Name)
			l.SVG(info.Name)
		}
	})
}

// At least sixty mistakes are told apart, each at its place and with what would
// be right.
func TestMistakesAreToldApart(t *testing.T) {
	said := map[string]string{}
	for _, c := range badFiles {
		for line := range strings.SplitSeq(c.want, "\n") {
			place, text, found := strings.Cut(line, ": ")
			if !found || !placed.MatchString(place) {
				t.Errorf("%s: no place in %q", c.name, line)
			}
			if !strings.Contains(text, "; allowed: ") {
				t.Errorf("%s: %q does not say what is allowed", c.name, text)
			}
			said[text] = c.name
		}
	}
	if len(said) < 60 {
		t.Errorf("%d different messages, want 60", len(said))
	}
}

var placed = regexp.MustCompile(`^f\.yaml:[1-9][0-9]*:[1-9][0-9]*$`)
