package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// sagaLevers are the levers of the plan under test, one for each of its steps.
var sagaLevers = []string{"first", "second", "third"}

// mortal is a process that dies at a chosen record or effect: from then on
// nothing that it does reaches the trail or a lever.
type mortal struct {
	*memory
	k        *knobs
	mu       sync.Mutex // the executor calls several at once
	records  int        // durable records after which it dies; -1 for never
	effects  int        // touch at which it dies, counted from 1; 0 for never
	before   bool       // the touch does not arrive
	touches  int
	dead     bool
	stuck    string   // the service whose setting cannot be taken back
	disorder []string // undos that overtook a newer one
}

func (m *mortal) Append(ctx context.Context, rs []sre.Record) error {
	if m.dead {
		return errDisk
	}
	durable := len(m.memory.records)
	if m.records >= 0 && durable+len(rs) > m.records {
		m.dead = true
		rs = rs[:max(0, m.records-durable)]
	}
	if err := m.memory.Append(ctx, rs); err != nil {
		return err
	}
	m.k.permit(rs)
	if m.dead {
		return errDisk
	}
	return nil
}

func (m *mortal) Describe(ctx context.Context) (sre.Capability, error) { return m.k.Describe(ctx) }

func (m *mortal) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return sre.TargetState{}, errCut
	}
	return m.k.Probe(ctx, a)
}

func (m *mortal) Apply(_ context.Context, d sre.Directive) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.touch(func() error { return m.k.send(write{d: d}) })
}

func (m *mortal) Revert(_ context.Context, d sre.Directive) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, held := range m.k.ours() {
		if newer := held[strings.LastIndex(held, " ")+1:]; stepOf(newer) > stepOf(d.Action.ID) && !strings.Contains(held, "/"+m.stuck+" ") && !m.dead {
			m.disorder = append(m.disorder, fmt.Sprintf("%s was undone before %s", d.Action.ID, newer))
		}
	}
	if d.Action.Target.Service == m.stuck {
		return m.touch(func() error { return errCut })
	}
	return m.touch(func() error { return m.k.send(write{d: d, revert: true}) })
}

// stepOf reads the step out of an action's ID.
func stepOf(action string) int {
	parts := strings.Split(action, ".")
	n, _ := strconv.Atoi(parts[len(parts)-2])
	return n
}

func (m *mortal) touch(do func() error) error {
	if m.dead {
		return errCut
	}
	m.touches++
	if m.touches != m.effects {
		return do()
	}
	m.dead = true
	if !m.before {
		_ = do()
	}
	return errCut
}

// saga is a rig whose plan goes over three levers.
type saga struct {
	*rig
	m *mortal
}

type sagaCase struct {
	name  string
	cures int // settings that make it well
	law   bool
	stuck string
}

var sagaCases = []sagaCase{
	{name: "it helps", cures: 3},
	{name: "it helps, with a law", cures: 3, law: true},
	{name: "it does not help", cures: 99},
	{name: "it does not help, with a law", cures: 99, law: true},
	{name: "it does not help, and the newest undo fails", cures: 99, stuck: "db"},
	{name: "it does not help, and an undo fails", cures: 99, stuck: "api"},
	{name: "it helps, and an undo fails", cures: 3, stuck: "api", law: true},
}

func newSaga(t testing.TB, c sagaCase) *saga {
	m := &mortal{memory: &memory{}, k: newKnobs(), records: -1, stuck: c.stuck}
	m.k.stays, m.k.exact = c.stuck != "", c.law
	s := &saga{m: m}
	s.rig = newRig(t, func(r *rig) {
		r.trail, r.mind.steps, r.mind.levers = m.memory, 3, sagaLevers
		r.w.cures, r.w.sticky, r.w.held = c.cures, true, func() int { return len(m.k.ours()) }
		if c.law {
			under(ladder{step: 0.5})(r)
		}
	})
	s.w.sick = true
	s.rebuild()
	return s
}

// rebuild starts the agent, from the trail where there is one.
func (s *saga) rebuild() {
	ports := s.a.ports
	ports.Trail, ports.Log, ports.Levers = s.m, slog.New(slog.DiscardHandler), map[string]sre.Remediator{}
	for _, name := range sagaLevers {
		ports.Levers[name] = s.m
	}
	a, err := newWith(s.cfg, ports, s.a.mind)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := a.Restore(s.trail.all()); err != nil {
		s.t.Fatal(err)
	}
	s.a = a
}

// live runs to the end of the incident, through at most one death.
func (s *saga) live() *sre.Incident {
	s.t.Helper()
	for range 300 {
		s.at = s.at.Add(time.Second)
		s.m.k.turn(s.at)
		if err := s.a.Tick(context.Background(), s.at); err != nil {
			s.m.dead, s.m.records, s.m.effects = false, -1, 0
			s.rebuild()
			continue
		}
		if len(s.desk.view.Incidents) == 0 {
			continue
		}
		inc := &s.desk.view.Incidents[0]
		if inc.State == sre.Closed || inc.State == sre.Escalated && !s.a.owed(inc) {
			return inc
		}
	}
	s.t.Fatalf("it never ends:\n%s", s.story())
	return nil
}

// check holds the end of a saga to the promise: undone, done, or a human has the
// exact command.
func (s *saga) check(when string, inc *sre.Incident) {
	s.t.Helper()
	complain := func(format string, args ...any) {
		s.t.Helper()
		s.t.Errorf("%s: %s\n%s", when, fmt.Sprintf(format, args...), s.story())
	}
	for _, why := range slices.Concat(s.m.k.wrong, s.m.disorder) {
		complain("%s", why)
	}
	for id, n := range s.m.k.fresh {
		if n > 1 {
			complain("%s came into effect %d times", id, n)
		}
	}
	if left := s.m.k.ours(); len(left) != len(inc.InForce()) {
		complain("left in force %v, shown %d", left, len(inc.InForce()))
	}
	for _, m := range inc.InForce() {
		page := s.pager.notices[len(s.pager.notices)-1]
		command := "undo " + m.Action.ID
		if m.Phase != sre.Lost || m.Manual != command || !page.NeedsYou || !strings.Contains(page.Text, command) {
			complain("%s is %s, command %q, page %+v", m.Action.ID, m.Phase, m.Manual, page)
		}
		told := slices.ContainsFunc(s.trail.records, func(r sre.Record) bool { return r.Result != nil && r.Result.Manual == command })
		if e, ok := sre.Explain(s.desk.view, inc.ID); !ok || !told || !slices.ContainsFunc(e.Actions, func(x sre.Mitigation) bool { return x.Manual == command }) {
			complain("the command is in neither the trail nor the explanation")
		}
	}
}

func TestACrashAtEachPointOfASagaEndsDoneUndoneOrByHand(t *testing.T) {
	for _, c := range sagaCases {
		t.Run(c.name, func(t *testing.T) {
			whole := newSaga(t, c)
			end := whole.live()
			whole.check("no crash", end)
			if (len(end.InForce()) > 0) != (c.stuck != "") || whole.m.touches < 6 {
				t.Fatalf("%d touches, %d in force: the story is another\n%s", whole.m.touches, len(end.InForce()), whole.story())
			}
			for n := range whole.trail.records {
				s := newSaga(t, c)
				s.m.records = n
				s.check(fmt.Sprintf("after record %d", n), s.live())
			}
			for n := 1; n <= whole.m.touches; n++ {
				for _, before := range []bool{true, false} {
					s := newSaga(t, c)
					s.m.effects, s.m.before = n, before
					s.check(fmt.Sprintf("effect %d, before it: %t", n, before), s.live())
				}
			}
		})
	}
}

func TestCompensationsRunNewestFirstAndWaitLongerEachTime(t *testing.T) {
	s := newSaga(t, sagaCase{cures: 99, stuck: "db"})
	s.cfg.Timing.UndoAttempts = 5
	s.rebuild()
	s.live()
	var tries []time.Duration
	var order []string
	begun := time.Time{}
	for _, r := range s.trail.records {
		if r.Intent == nil || r.Intent.Permit.Purpose != sre.ToRevert {
			continue
		}
		if begun.IsZero() {
			begun = r.At
		}
		if r.Intent.Action.Target.Service == "db" {
			tries = append(tries, r.At.Sub(begun)/time.Second)
		}
		if lever := r.Intent.Action.Target.Lever; !slices.Contains(order, lever) {
			order = append(order, lever)
		}
	}
	if want := []time.Duration{0, 1, 3, 7, 15}; !slices.Equal(tries, want) {
		t.Errorf("tried after %v s, want %v", tries, want)
	}
	if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
		t.Errorf("undone in the order %v, want %v", order, want)
	}
}

func TestALeverThatWasGivenToAHumanIsTakenByNoOtherIncident(t *testing.T) {
	r := newRig(t, func(r *rig) {
		r.w.cures, r.lever.stays, r.mind.steps = 99, true, 1
		r.lever.revert = func(sre.Action) error { return errCut }
	})
	r.w.sick = true
	first := r.until(sre.Escalated)
	r.lever.revert = nil
	r.mind.twins = true
	r.run(30)
	locked := false
	for _, rec := range r.trail.records {
		if rec.IncidentID == first.ID {
			continue
		}
		if rec.Intent != nil {
			t.Errorf("%s took the lever: %+v", rec.IncidentID, rec.Intent.Action)
		}
		if rec.Decision != nil {
			locked = slices.ContainsFunc(rec.Decision.Reasons, func(x sre.Reason) bool {
				return x.Guard == "lock" && x.Allows == sre.Watch && strings.Contains(x.Text, first.ID)
			})
		}
	}
	if !locked {
		t.Errorf("no decision names the lock\n%s", r.story())
	}
}

func TestWithoutACommandThePageHasTheSettings(t *testing.T) {
	r := newRig(t)
	m := &sre.Mitigation{Action: sre.Action{ID: "i.0.0.0", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "db"}}, Before: sre.Params{"rps": 1234567.5, "class": "low"}}
	r.a.ports.Manual = nil
	if got, want := r.a.manual(m), "set shed on guard/db back to class=low rps=1234567.5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.Before = nil
	r.a.ports.Manual = func(sre.Action, sre.Params) string { return "" }
	if got, want := r.a.manual(m), "remove what action i.0.0.0 set: shed on guard/db"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
