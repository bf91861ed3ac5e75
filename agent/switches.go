package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/sre"
)

const (
	// stagedLaw leads a kill switch up in stages.
	stagedLaw = "staged"
	// firstStage is the percent with which it begins.
	firstStage = 1
	// longestOrder bounds the lease of an order.
	longestOrder = 24 * time.Hour

	orderRunbook = "order"
	percentParam = "percent"
	drillParam   = "drill"
)

// order is an input that is answered when it is known what came of it.
type order struct {
	input    string
	incident string
	on       bool
}

// hearSwitch takes what an operator wants of a kill switch: off opens an
// incident of the operator's own, on ends it. What is refused is on record too.
func (a *Agent) hearSwitch(t *turn, in sre.Input) {
	if in.Switch == nil {
		a.answer(t, in, false, "no kill switch is named")
		return
	}
	in.Name = in.Switch.Name
	i := slices.IndexFunc(a.cfg.Switches, func(k sre.Switch) bool { return k.Name == in.Name })
	if i < 0 {
		a.refuseSwitch(t, in, false, fmt.Sprintf("there is no kill switch %q", in.Name))
		return
	}
	if in.Switch.On {
		a.switchOn(t, in, a.cfg.Switches[i])
		return
	}
	inc, why := a.ordered(t, in, a.cfg.Switches[i])
	if why != "" {
		a.refuseSwitch(t, in, false, why)
		return
	}
	decision := a.gate.Decide(a.question(t, inc))
	if decision.Stance != sre.Act {
		a.refuseSwitch(t, in, against(decision) == gate.GuardRole, whyNot(&decision))
		return
	}
	if err := a.book.put(*inc); err != nil {
		a.refuseSwitch(t, in, false, err.Error())
		return
	}
	inc = a.book.incidents[inc.ID]
	in.Incident = inc.ID
	a.command(t, in)
	a.remember(t, inc, "order")
	t.orders = append(t.orders, order{input: in.ID, incident: inc.ID})
}

// against is the guard that holds a decision back.
func against(d sre.Decision) string {
	for _, r := range d.Reasons {
		if r.Allows == d.Stance {
			return r.Guard
		}
	}
	return ""
}

func (a *Agent) refuseSwitch(t *turn, in sre.Input, role bool, why string) {
	a.note(t, sre.Record{Kind: sre.RecordOperator, Operator: &sre.OperatorRecord{
		Command: in.Kind, Name: in.Name, By: in.By, Role: in.Role, Reason: in.Reason, Refused: why,
	}})
	t.answers = append(t.answers, sre.Answer{Input: in.ID, Reason: why, Forbidden: role})
}

// ordered is the incident of an order, or why there can be none.
func (a *Agent) ordered(t *turn, in sre.Input, k sre.Switch) (*sre.Incident, string) {
	o := sre.Order{SwitchChange: *in.Switch, By: in.By, Role: in.Role, Needs: k.Role, At: t.now, Reason: in.Reason}
	if o.Percent == 0 {
		o.Percent = 100
	}
	if o.For == 0 {
		o.For = k.Duration
	}
	switch {
	case len(k.Targets) == 0:
		return nil, fmt.Sprintf("no flag stands at or below %s: there is nothing to switch off", k.Name)
	case o.Drill && !k.Drill:
		return nil, k.Name + " may not be drilled: its configuration does not say drill: true"
	case !(o.Percent >= 1 && o.Percent <= 100) || o.Percent != float64(int(o.Percent)):
		return nil, fmt.Sprintf("percent is %v; allowed: a whole number from 1 to 100", o.Percent)
	case o.For < 2*a.cfg.Interval || o.For > longestOrder:
		return nil, fmt.Sprintf("it cannot be off for %s; allowed: %s to %s", o.For, 2*a.cfg.Interval, longestOrder)
	}
	if other := a.orderOf(k.Name); other != nil {
		return nil, fmt.Sprintf("%s is off by %s until %s already, incident %s: switch it on first", k.Name,
			other.Order.By, other.Order.Until.UTC().Format(time.TimeOnly), other.ID)
	}
	o.Until = t.now.Add(o.For)
	id := "order-" + strings.NewReplacer("/", "-", "@", "-").Replace(k.Name) + "-" + t.now.UTC().Format("20060102T150405")
	for n := 2; a.book.incidents[id] != nil; n++ {
		id = fmt.Sprintf("%s-%d", strings.TrimSuffix(id, fmt.Sprintf("-%d", n-1)), n)
	}
	return &sre.Incident{
		ID: id, Fingerprint: "order/" + k.Name, State: sre.Planned, Severity: sre.Info, Order: &o,
		OpenedAt: t.now, UpdatedAt: t.now, StateSince: t.now, LastSeen: t.now, Plan: orderPlan(id, k, o),
	}, ""
}

// orderPlan is one step with an action for each lever that the switch moves.
// The levers hold the whole lease: an operator's switch does not go back early
// because the agent is away.
func orderPlan(id string, k sre.Switch, o sre.Order) *sre.Plan {
	law, percent := stagedLaw, min(firstStage, o.Percent)
	if o.Immediate || o.Drill {
		law, percent = "", o.Percent
	}
	step := sre.Step{Name: "switch off " + k.Name, Lease: o.For, Reversible: true}
	for i, target := range k.Targets {
		params := sre.Params{percentParam: percent}
		if o.Drill {
			params[drillParam] = true
		}
		step.Actions = append(step.Actions, sre.Action{
			ID: fmt.Sprintf("%s.0.0.%d", id, i), Kind: sre.KillSwitch, Target: target, Params: params, TTL: o.For, Law: law,
		})
	}
	return &sre.Plan{Runbook: orderRunbook, Risk: sre.MediumRisk, Cause: k.Service, Reason: o.Reason, Steps: []sre.Step{step}}
}

// orderOf is the open order on a switch.
func (a *Agent) orderOf(name string) *sre.Incident {
	for _, inc := range a.book.open() {
		if inc.Order != nil && inc.Order.Name == name && inc.Order.Ended == "" {
			return inc
		}
	}
	return nil
}

// switchOn ends the order on a switch. What an incident of the agent's own holds
// off is undone there, with all that belongs to it.
func (a *Agent) switchOn(t *turn, in sre.Input, k sre.Switch) {
	need := k.Role
	if need.Rank() < sre.Operator.Rank() {
		need = sre.Operator
	}
	if in.Role.Rank() < need.Rank() {
		a.refuseSwitch(t, in, true, fmt.Sprintf("role %s is needed, %q has %q", need, in.By, in.Role))
		return
	}
	inc := a.orderOf(k.Name)
	if inc == nil {
		why := k.Name + " is not switched off by anybody here"
		for _, h := range a.book.held() {
			if h.Kind == sre.KillSwitch && slices.Contains(k.Targets, h.Target) {
				why = fmt.Sprintf("%s is held off by incident %s: undo that", k.Name, h.Incident)
			}
		}
		a.refuseSwitch(t, in, false, why)
		return
	}
	in.Incident = inc.ID
	a.command(t, in)
	a.end(t, inc, "switched on by "+in.By)
	t.orders = append(t.orders, order{input: in.ID, incident: inc.ID, on: true})
}

// end has an order taken back. The order is replaced: views that were published
// share the old one.
func (a *Agent) end(t *turn, inc *sre.Incident, why string) {
	o := *inc.Order
	o.Ended = why
	inc.Order = &o
	a.remember(t, inc, "order")
}

// whileOrdered leads an operator's order through the lifecycle of incidents:
// what it sets is in force until its time is over or somebody ends it.
func (a *Agent) whileOrdered(t *turn, inc *sre.Incident) bool {
	switch inc.State {
	case sre.Planned:
		a.decide(t, inc)
		clearance, _, err := a.gate.Clear(a.question(t, inc), inc.Decision, nil)
		if err != nil {
			inc.Escalation = err.Error()
			return a.fire(t, inc, evEscalate)
		}
		return a.clear(t, inc, pass{clearance: clearance, now: t.now})
	case sre.Acting:
		if a.over(t, inc) && mustUndo(inc) {
			return a.fire(t, inc, evUndo)
		}
		return a.whileActing(t, inc)
	case sre.Verifying:
		return a.fire(t, inc, evImprove)
	case sre.Resolved:
		return a.whileOff(t, inc)
	case sre.Lifting:
		return a.whileSwitchedOn(t, inc)
	case sre.Escalated:
		if len(inc.InForce()) == 0 {
			return a.fire(t, inc, evConclude)
		}
		inc.Severity = sre.Critical // somebody has to look
	case sre.Suspected, sre.Diagnosed, sre.AwaitingApproval, sre.Reverting, sre.Closed:
	}
	return false
}

// over reports whether an order is to be taken back.
func (a *Agent) over(t *turn, inc *sre.Incident) bool {
	return inc.Order.Ended != "" || !t.now.Before(inc.Order.Until)
}

func (a *Agent) whileOff(t *turn, inc *sre.Incident) bool {
	held := inc.InForce()
	switch {
	case len(held) == 0:
		return a.fire(t, inc, evConclude)
	case a.over(t, inc), inc.Order.Seen != "":
		return a.fire(t, inc, evLift)
	case inc.Order.Drill:
		for _, m := range held {
			a.book.unsettled[m.Action.ID] = true // looked at on the next tick
		}
	}
	return false
}

func (a *Agent) whileSwitchedOn(t *turn, inc *sre.Incident) bool {
	if len(inc.InForce()) == 0 {
		return a.fire(t, inc, evLifted)
	}
	for i := range inc.Mitigations {
		switch m := &inc.Mitigations[i]; {
		case m.Phase == sre.Lost:
			inc.Escalation = stuck(*m)
			return a.fire(t, inc, evUndo)
		case m.Phase == sre.InEffect && !wanted(t, m.Action) && a.dueAgain(t, m):
			a.wantRevert(t, inc, m, endedBy(inc.Order))
		}
	}
	return false
}

func endedBy(o *sre.Order) string {
	switch {
	case o.Ended != "":
		return o.Ended
	case o.Drill:
		return "the drill is over"
	}
	return "the time is over"
}

// drilled keeps what was found while a drill was in effect.
func (a *Agent) drilled(inc *sre.Incident, r sre.ResultRecord) {
	if inc.Order == nil || !inc.Order.Drill || !r.Probed || r.Phase != sre.InEffect {
		return
	}
	o := *inc.Order
	if o.Seen != "" {
		o.Seen += "; "
	}
	if o.Seen += r.State.Detail; r.State.Detail == "" {
		o.Seen += "in effect; no reader is configured that could be asked what it sees"
	}
	inc.Order = &o
}

// ordered moves a kill switch towards what was ordered: what is missing is
// trouble to the law, which goes on in its stages and never beyond.
func ordered(law control.Law, memory sre.Control, s control.Scene, o *sre.Order) control.Move {
	now, _ := s.Action.Params.Float(percentParam)
	s.Trouble = now < o.Percent
	move := law.Next(memory, s)
	to, moves := move.Params.Float(percentParam)
	switch {
	case !moves:
		move.Memory.Why = fmt.Sprintf("%g of the %g %% that were ordered are off; %s", now, o.Percent, move.Memory.Why)
	case to > o.Percent:
		to = o.Percent
		move.Params[percentParam] = to
		fallthrough
	default:
		move.Memory.Why = fmt.Sprintf("ordered by %s: from %g to %g of %g %% off", o.By, now, to, o.Percent)
	}
	return move
}

// answerOrders says what came of the orders of this tick, now that the levers
// have been touched.
func (a *Agent) answerOrders(t *turn) {
	for _, o := range t.orders {
		inc := a.book.incidents[o.incident]
		answer := sre.Answer{Input: o.input, Incident: o.incident}
		if o.on {
			answer.Accepted, answer.Reason = true, switchedOn(inc)
		} else {
			answer.Accepted, answer.Reason = switchedOff(inc)
		}
		t.answers = append(t.answers, answer)
	}
}

func switchedOff(inc *sre.Incident) (bool, string) {
	o, until := inc.Order, inc.Order.Until.UTC().Format(time.TimeOnly)
	var bad []string
	open := false
	for _, m := range inc.Mitigations {
		switch m.Phase {
		case sre.Simulated:
			return true, "dry run: nothing was touched"
		case sre.InEffect:
		case sre.Intended, sre.Undoing, sre.Lost:
			open = true
		case sre.NotStarted, sre.Undone, sre.Failed, sre.Released, sre.Lapsed:
			bad = append(bad, fmt.Sprintf("%s: %s", m.Action.Target, orElse(m.Err, "not started")))
		}
	}
	switch {
	case len(bad) > 0 || len(inc.Mitigations) == 0:
		return false, "not switched off: " + orElse(strings.Join(bad, "; "), inc.Escalation)
	case open:
		return true, "sent, and not yet known to be in effect: see incident " + inc.ID
	case o.Drill:
		return true, "the drill has begun: incident " + inc.ID + " tells what is seen"
	}
	now, _ := inc.Mitigations[0].Action.Params.Float(percentParam)
	if now < o.Percent {
		return true, fmt.Sprintf("%g %% off, in stages to %g %%, until %s", now, o.Percent, until)
	}
	return true, fmt.Sprintf("%g %% off until %s", now, until)
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func switchedOn(inc *sre.Incident) string {
	if left := len(inc.InForce()); left > 0 {
		return fmt.Sprintf("%d of %d not yet taken back: see incident %s", left, len(inc.Mitigations), inc.ID)
	}
	return "on again"
}

// orderNotice words an order. It pages nobody unless it cannot be taken back.
func orderNotice(inc *sre.Incident, n sre.Notice) (sre.Notice, bool) {
	o := inc.Order
	n.Title = fmt.Sprintf("kill switch %s, ordered by %s", o.Name, o.By)
	n.Labels = map[string]string{"service": orUnknown(inc.Plan.Cause), "switch": o.Name}
	switch inc.State {
	case sre.Planned, sre.Acting, sre.Verifying:
		n.Text = "Being switched off."
	case sre.Resolved:
		n.Text = fmt.Sprintf("Off until %s, as ordered.", o.Until.UTC().Format(time.TimeOnly))
	case sre.Lifting, sre.Reverting:
		n.Text = "Being switched on again: " + endedBy(o) + manual(inc)
		n.NeedsYou = manual(inc) != ""
	case sre.Escalated:
		n.Text = "It is yours now: " + inc.Escalation + manual(inc)
		n.NeedsYou = true
	case sre.Closed:
		n.Resolved, n.EndsAt, n.Text = true, inc.ClosedAt, "Over: "+orElse(inc.Escalation, endedBy(o))
		if o.Seen != "" {
			n.Text += "; " + o.Seen
		}
	case sre.Suspected, sre.Diagnosed, sre.AwaitingApproval:
	}
	return n, inc.Severity.Rank() >= sre.Warning.Rank()
}
