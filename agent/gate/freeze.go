package gate

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Freeze is a time in which the agent does not act alone, with the reason that
// people are shown and the one who answers for it.
type Freeze struct {
	Scope `yaml:",inline"`
	Name  string `yaml:"name"`
	// Reason and Owner stand in every decision that the freeze holds back.
	Reason string `yaml:"reason"`
	Owner  string `yaml:"owner"`
	// Override says whose approval opens the freeze for one plan: approver,
	// admin or nobody. Empty is approver.
	Override string `yaml:"override"`
	// Intervals are the times, in Alertmanager's grammar.
	Intervals []TimeInterval `yaml:"time_intervals"`
}

// byNobody is the override of a freeze that no approval opens.
const byNobody = "nobody"

// Budget bounds the services with a mitigation of some kinds in force, in
// percent of the fleet and in number: the smaller holds. With a schedule it is
// in force for a duration from each time that the schedule fires, without one
// always. With Per it bounds how many such actions are started in that time
// instead of how many are in force.
type Budget struct {
	Scope    `yaml:",inline"`
	Limit    sre.Limit      `yaml:"limit"`
	Schedule string         `yaml:"schedule"`
	Duration model.Duration `yaml:"duration"`
	TimeZone string         `yaml:"time_zone"`
	Reason   string         `yaml:"reason"`
	Per      model.Duration `yaml:"per"`
}

// LongestRate bounds the time that a rate is counted over.
const LongestRate = 24 * time.Hour

// longestWindow bounds how far back a schedule is searched at each decision.
const longestWindow = 7 * 24 * time.Hour

// calendar is the times of a policy, understood once.
type calendar struct {
	freezes [][]interval // nil: not understood, and so always in force
	budgets []func(time.Time) bool
}

func newCalendar(p Policy) *calendar {
	c := &calendar{}
	for _, f := range p.Freezes {
		var all []interval
		for _, ti := range f.Intervals {
			iv, faults := ti.parse()
			if len(faults) > 0 { // who did not validate gets the careful answer
				all = nil
				break
			}
			all = append(all, iv)
		}
		c.freezes = append(c.freezes, all)
	}
	for _, b := range p.Budgets {
		c.budgets = append(c.budgets, b.window())
	}
	return c
}

func (c *calendar) frozen(i int, now time.Time) bool {
	return c.freezes[i] == nil || slices.ContainsFunc(c.freezes[i], func(iv interval) bool { return iv.holds(now) })
}

// window returns when the budget is in force; always, where that is not
// understood.
func (b Budget) window() func(time.Time) bool {
	always := func(time.Time) bool { return true }
	schedule, wrong := parseCron(b.Schedule)
	in, unknown := location(b.TimeZone)
	if b.Schedule == "" || wrong != "" || unknown != "" {
		return always
	}
	lasts := min(time.Duration(b.Duration), longestWindow)
	return func(now time.Time) bool { return schedule.opened(now, lasts, in) }
}

func (f Freeze) validate() sre.Faults {
	out := f.Scope.validate()
	need := func(path, v string) {
		if v == "" {
			out.Add(path, "is missing", "text that people see when the freeze holds something back")
		}
	}
	need("name", f.Name)
	need("reason", f.Reason)
	need("owner", f.Owner)
	if !slices.Contains([]string{"", string(sre.Approver), string(sre.Admin), byNobody}, f.Override) {
		out.Add("override", fmt.Sprintf("unknown override %q", f.Override), "approver, admin, nobody")
	}
	if len(f.Intervals) == 0 {
		out.Add("time_intervals", "no time is given", "one interval or more; {} is always")
	}
	for i, ti := range f.Intervals {
		_, faults := ti.parse()
		out.Under(sre.Item("time_intervals", i), faults)
	}
	return out
}

func (b Budget) validate() sre.Faults {
	f := b.Scope.validate()
	f.Under("limit", limitFaults(b.Limit))
	if per := time.Duration(b.Per); per != 0 && (per < time.Minute || per > LongestRate) {
		f.Add("per", fmt.Sprintf("%s is out of range", b.Per), "1m to 1d, or nothing for what is in force at once")
	}
	if _, unknown := location(b.TimeZone); unknown != "" {
		f.Add("time_zone", unknown, "a name of the time zone database, such as Europe/Berlin, or UTC")
	}
	if b.Schedule == "" {
		if b.Duration != 0 {
			f.Add("duration", "is given without a schedule", "schedule and duration, or neither")
		}
		return f
	}
	if _, wrong := parseCron(b.Schedule); wrong != "" {
		f.Add("schedule", wrong, `five fields as in crontab, such as "0 9 * * mon-fri"`)
	}
	if d := time.Duration(b.Duration); d < time.Minute || d > longestWindow {
		f.Add("duration", fmt.Sprintf("%s is out of range", b.Duration), "1m to 7d")
	}
	return f
}

// frozenBy returns the freezes in force over an action at an instant.
func (p Policy) frozenBy(now time.Time, a sre.Action) []Freeze {
	var out []Freeze
	for i, f := range p.Freezes {
		if f.covers(a) && p.times().frozen(i, now) {
			out = append(out, f)
		}
	}
	return out
}

// times is the policy's calendar, as the gate understood it or anew.
func (p Policy) times() *calendar {
	if p.calendar == nil {
		return newCalendar(p)
	}
	return p.calendar
}

// opens is whose approval lifts the freeze for one plan; empty where nobody's
// does.
func (f Freeze) opens() sre.Role {
	switch f.Override {
	case byNobody:
		return ""
	case string(sre.Admin):
		return sre.Admin
	}
	return sre.Approver
}

// hardest is the freeze over a plan's actions that is the hardest to open.
func (p Policy) hardest(q Question) (Freeze, sre.Action, bool) {
	var (
		worst Freeze
		over  sre.Action
		found bool
	)
	strength := func(f Freeze) int {
		if f.opens() == "" {
			return sre.Admin.Rank() + 1
		}
		return f.opens().Rank()
	}
	for _, a := range actions(q) {
		for _, f := range p.frozenBy(q.Now, a) {
			if !found || strength(f) > strength(worst) {
				worst, over, found = f, a, true
			}
		}
	}
	return worst, over, found
}

func weighFreeze(p Policy, q Question) sre.Reason {
	f, a, found := p.hardest(q)
	if !found {
		return reason(sre.Act, "no freeze is in force")
	}
	r := reason(sre.Watch, "%s on %s is frozen by %q, %s: %s", a.Kind, a.Target, f.Name, f.Owner, f.Reason)
	r.Change = fmt.Sprintf("the freeze %q %s", f.Name, p.thaw(f, q.Now))
	if role := f.opens(); role != "" {
		r.Allows, r.Change = sre.Ask, r.Change+fmt.Sprintf(", or the role %s approves", role)
	}
	return r
}

// approverOf is the least role whose yes opens a plan: admin, where a freeze
// that asks for one is in force over any of its actions.
func (p Policy) approverOf(q Question) sre.Role {
	if f, _, found := p.hardest(q); found && f.opens() == sre.Admin {
		return sre.Admin
	}
	return sre.Approver
}

func weighBudgets(p Policy, q Question) sre.Reason {
	for i, b := range p.Budgets {
		if !p.times().budgets[i](q.Now) {
			continue
		}
		if b.Per > 0 {
			if r := b.weighRate(i, q); r.Allows != sre.Act {
				return r
			}
			continue
		}
		touched, wanted := map[string]bool{}, false
		for _, h := range q.Held {
			if b.covers(sre.Action{Kind: h.Kind, Target: h.Target}) {
				touched[h.Target.Service] = true
			}
		}
		for _, a := range actions(q) {
			if b.covers(a) {
				touched[a.Target.Service], wanted = true, true
			}
		}
		if allowed := b.Limit.Of(q.Services); wanted && len(touched) > allowed {
			r := reason(sre.Ask, "%d services would be under budget %d; %d of %d are allowed now", len(touched), i+1, allowed, q.Services)
			if b.Reason != "" {
				r.Text += ": " + b.Reason
			}
			r.Change = fmt.Sprintf("at most %d services would have such a mitigation, or the budget's time is over", allowed)
			return r
		}
	}
	return reason(sre.Act, "no budget in force is exceeded")
}
