package runbooktest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/runbooks"
	"github.com/sreagent/sreagent/sre"
)

// Result is what came of one test.
type Result struct {
	File     string    `json:"file"`
	Test     string    `json:"test"`
	Line     int       `json:"line"`
	Skipped  bool      `json:"skipped,omitempty"` // a world that was not asked for
	Failures []Failure `json:"failures,omitempty"`
}

// Failure is one expectation that does not hold.
type Failure struct {
	Line     int    `json:"line"`
	What     string `json:"what"` // at 1m: runbook
	Expected string `json:"expected"`
	Found    string `json:"found"`
	Why      string `json:"why,omitempty"`
}

// Bench is what tests are run with.
type Bench struct {
	Library *runbooks.Library
	Levers  []sre.Capability       // of tests in which the diagnosis is given
	Keep    func(name string) bool // which tests to run
	// Scenario reads the story that a test of a world names. Nil skips these tests.
	Scenario func(name string) (text []byte, path string, err error)
	Coverage *Coverage // optional; what the tests went through is added to it
}

// Run runs every test of a file that is kept. The error is a mistake in the file,
// or the end of ctx.
func (f *File) Run(ctx context.Context, b Bench) ([]Result, error) {
	var out []Result
	b.Coverage.library(b.Library)
	for i := range f.Tests {
		t := &f.Tests[i]
		if !b.Keep(t.Name) {
			continue
		}
		r := Result{File: f.Name, Test: t.Name, Line: t.Line}
		run := f.runGiven
		if t.World != nil {
			run = f.runWorld
		}
		if err := run(ctx, t, b, &r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (f *File) runGiven(_ context.Context, t *Test, b Bench, r *Result) error {
	st, err := t.stage(f.Name, f.Interval)
	if err != nil {
		return err
	}
	for _, e := range t.Expect {
		r.Failures = append(r.Failures, t.hold(st, e, b)...)
	}
	return nil
}

func (f *File) runWorld(ctx context.Context, t *Test, b Bench, r *Result) error {
	if r.Skipped = b.Scenario == nil; r.Skipped {
		return nil
	}
	told, err := t.World.tell(f.Name, b.Scenario)
	if err != nil {
		return err
	}
	result, failures, err := told.play(ctx, b.Library, t.World.Seed)
	if err != nil {
		return err
	}
	r.Failures = failures
	b.Coverage.story(result)
	return nil
}

func (t *Test) facts(st *stage, at time.Duration, levers []sre.Capability) runbooks.Facts {
	f := runbooks.Facts{
		Snapshot: st.snapshot(at), Diagnosis: t.diagnosis(at), Incident: "test", Attempt: t.Given.Attempt,
		Levers: slices.DeleteFunc(slices.Clone(levers), func(c sre.Capability) bool { return len(t.Levers) > 0 && !slices.Contains(t.Levers, c.Name) }),
	}
	for _, name := range t.Given.Tried {
		f.Tried = append(f.Tried, runbooks.TriedKey(name, t.Given.Root))
	}
	if c := f.Diagnosis.Hypotheses[0].Change; c != nil {
		f.Changes = []sre.Change{*c}
	}
	for _, c := range t.Changes {
		f.Changes = append(f.Changes, sre.Change{ID: c.ID, Kind: c.Kind, Service: c.Service, At: Start().Add(at - time.Duration(c.Ago))})
	}
	return f
}

// hold compares one expectation with what the library makes of its instant. The
// checks are those of the plan that is made at that same instant.
func (t *Test) hold(st *stage, e Expectation, b Bench) (out []Failure) {
	facts := t.facts(st, time.Duration(e.At), b.Levers)
	plan, rejected := b.Library.Match(facts)
	b.Coverage.planned(plan)
	fail := func(what, expected, found, why string) {
		out = append(out, Failure{Line: e.Line, What: fmt.Sprintf("at %s: %s", time.Duration(e.At), what), Expected: expected, Found: found, Why: why})
	}
	name := ""
	if plan != nil {
		name = plan.Runbook
	}
	if e.Runbook != nil && *e.Runbook != name {
		fail("runbook", orNone(*e.Runbook), orNone(name), reasonOf(rejected, *e.Runbook))
	}
	for _, book := range sorted(e.Rejected) {
		if why := reasonOf(rejected, book); !strings.Contains(why, e.Rejected[book]) {
			fail("rejection of "+book, e.Rejected[book], orNone(why), "")
		}
	}
	t.holdDecision(st, e, b, fail)
	if plan == nil {
		if e.Steps != nil || e.Actions != nil || e.When != nil || e.Verify != nil || e.Relapse != nil {
			fail("plan", "one", "none", "")
		}
		return out
	}
	if names := stepNames(plan); e.Steps != nil && !slices.Equal(e.Steps, names) {
		fail("steps", strings.Join(e.Steps, ", "), strings.Join(names, ", "), plan.Reason)
	}
	facts.Cause, facts.Anywhere = plan.Cause, plan.Anywhere
	t.holdStep(e, plan, facts, b, fail)
	return out
}

// holdStep compares what is said of one step: the named one, else the first.
func (t *Test) holdStep(e Expectation, plan *sre.Plan, facts runbooks.Facts, b Bench, fail func(what, expected, found, why string)) {
	i := 0
	if e.Step != "" {
		if i = slices.Index(stepNames(plan), e.Step); i < 0 {
			fail("step", e.Step, strings.Join(stepNames(plan), ", "), "")
			return
		}
	}
	step := plan.Steps[i]
	if got := words(b.Library.Settle(plan, i, facts)); e.Actions != nil && !slices.Equal(e.Actions, got) {
		fail("actions of "+strconv.Quote(step.Name), strings.Join(e.Actions, "; "), orNone(strings.Join(got, "; ")), "")
	}
	for _, c := range []struct {
		what  string
		want  *sre.Verdict
		check sre.Check
	}{{"when", e.When, step.Before}, {"verify", e.Verify, step.Verify}, {"relapse", e.Relapse, plan.Relapse}} {
		if c.want == nil {
			continue
		}
		got, why := b.Library.Evaluate(c.check, facts)
		if c.what == "when" && c.check.Expr == "" {
			got, why = sre.Pass, "the step has no condition"
		}
		if got == sre.NoData {
			got = noData
		}
		if got == *c.want && c.what == "verify" {
			b.Coverage.verified(plan, i, got)
		}
		if got != *c.want {
			fail(c.what+" of "+strconv.Quote(step.Name), string(*c.want), string(got), why)
		}
	}
}

func reasonOf(rejected []sre.Rejection, runbook string) string {
	for _, r := range rejected {
		if r.Runbook == runbook {
			return r.Reason
		}
	}
	return ""
}

func stepNames(p *sre.Plan) []string {
	out := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		out[i] = s.Name
	}
	return out
}

// words writes actions as expectations do: kind, target and parameters by name.
func words(actions []sre.Action) []string {
	out := []string{}
	for _, a := range actions {
		target := a.Target
		lever := target.Lever
		target.Lever = ""
		parts := []string{string(a.Kind), lever + target.String()}
		for _, name := range sorted(a.Params) {
			parts = append(parts, name+"="+number(a.Params[name]))
		}
		out = append(out, strings.Join(parts, " "))
	}
	return out
}

func number(v any) string {
	if f, ok := v.(float64); ok {
		return strconv.FormatFloat(f, 'g', 4, 64)
	}
	return fmt.Sprint(v)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
