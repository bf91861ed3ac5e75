package lessons

// plant is one fault: in a file the statement old, which must stand there once,
// becomes new, and the test of a lesson in a package must fail.
type plant struct {
	lesson int
	file   string
	old    string
	new    string
}

// homes are the tests of the lessons by number, with the package that each
// stands in.
var homes = map[int]string{
	1: "agent", 2: "agent", 3: "agent", 4: "agent", 5: "agent", 6: "agent", 7: "agent", 8: "agent", 9: "agent", 10: "agent",
	11: "agent", 12: "plugins/kubernetes/lever", 13: "agent", 14: "detectors",
}

var plants = []plant{
	{1, "agent/executor/executor.go", `	if e.cfg.DryRun {`, `	if e.cfg.DryRun && o.Purpose == sre.ToApply {`},
	{1, "agent/executor/executor.go", `	if e.cfg.DryRun {`, `	if e.cfg.DryRun && o.Purpose != sre.ToRevert {`},
	{1, "agent/executor/executor.go", `	if e.cfg.DryRun {`, `	if e.cfg.DryRun && o.Permit.Person() == "" {`},

	{2, "agent/gate/guards.go", `	if !isShare(have) {`, `	if false {`},
	{2, "agent/gate/guards.go", `	if !isShare(c.P) || !isShare(c.Lower) {`, `	if false {`},
	{2, "agent/gate/guards.go", `	case sre.LowRisk, sre.MediumRisk:`, `	default:`},
	{2, "agent/gate/guards.go", `	if q.Blocked != "" {`, `	if false {`},
	{2, "agent/gate/gate.go", `		d.Stance = sre.Watch // a stance that nobody knows is the safe one`, `		d.Stance = sre.Act`},
	{2, "agent/gate/gate.go", `	case fresh.Stance == sre.Watch:`, `	case false:`},
	{2, "agent/executor/executor.go", `	if !o.Permit.Allows(o.Purpose, now) {`, `	if o.Permit.Record().ID != "" && !o.Permit.Allows(o.Purpose, now) {`},
	{2, "agent/lifecycle.go", `if p, ok := e.Args[0].(pass); ok && p.clearance.Valid(l.incident, p.now) {`, `if _, ok := e.Args[0].(pass); ok {`},

	{3, "agent/verify.go", `	if verdict == sre.Pass {`, `	if verdict != sre.Fail {`},
	{3, "agent/advance.go", `		if verdict == sre.Pass {`, `		if verdict != sre.Fail {`},
	{3, "agent/lift.go", `	case sre.Inconclusive, sre.NoData:
	}
	inc.GoodSince = time.Time{}
	return false, false`, `	case sre.Inconclusive, sre.NoData:
	}
	return false, true`},
	{3, "agent/arbiter/ledger.go", `	if o == sre.Improved {`, `	if o == sre.Improved || o == sre.NoDataOutcome {`},
	{3, "agent/gate/guards.go", `		return less(sre.Watch, "the metric store answers", "the metric store does not answer")`, `		return reason(sre.Act, "the metric store does not answer")`},
	{3, "agent/gate/gate.go", `		return Permit{}, fmt.Errorf("%w: no data to renew on", ErrStale)`, `		break`},

	{4, "agent/inputs.go", `	if errors.Is(err, gate.ErrMoreNeeded) {`, `	err = nil
	if errors.Is(err, gate.ErrMoreNeeded) {`},
	{4, "agent/inputs.go", `	case in.At.After(inc.Decision.ExpiresAt):`, `	case false:`},
	{4, "agent/inputs.go", `	if _, fresh := t.news[inc.ID]; !fresh {`, `	if false {`},
	{4, "agent/inputs.go", `	if !inc.Plan.Anywhere && inc.Plan.Cause != inc.Diagnosis.Top().Service {`, `	if false {`},
	{4, "agent/gate/gate.go", `approval.Decision == decided.ID &&`, `approval.Decision != "" &&`},
	{4, "agent/inputs.go", `	a.note(t, sre.Record{Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: approval})
	a.clear(`, `	a.clear(`},
	{4, "agent/tick.go", `	a.survey(ctx, t)
`, `	a.survey(ctx, t)
	a.act(ctx, t)
	t.wants = nil
`},

	{5, "agent/gate/guards.go", `	if age > limit || age < 0 {`, `	if age < 0 {`},
	{5, "agent/gate/guards.go", `	if age > limit || age < 0 {`, `	if age > limit {`},
	{5, "agent/gate/gate.go", `	return c.decision != "" && c.incident == incident && !now.After(c.until)`, `	return c.decision != "" && c.incident == incident`},
	{5, "agent/gate/gate.go", `	case age > lasts:`, `	case false:`},
	{5, "agent/inputs.go", `	case in.At.Before(oldest):`, `	case false && in.At.Before(oldest):`},
	{5, "agent/gate/gate.go", `		ValidUntil: q.Incident.Diagnosis.At.Add(`, `		ValidUntil: q.Now.Add(`},

	{6, "agent/lift.go", `	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`, `	if len(a.book.pauses) > 0 {
		return
	}
	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`},
	{6, "agent/lift.go", `	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`, `	if a.gate.Decide(a.question(t, inc)).Stance == sre.Watch {
		return
	}
	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`},
	{6, "agent/lift.go", `	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`, `	if a.book.lastHour(t.now) >= a.gate.Policy().ActionsPerHour {
		return
	}
	t.wants = append(t.wants, want{
		inc: inc, action: m.Action.ID, purpose: sre.ToRevert,`},
	{6, "agent/executor/executor.go", `	if o.Purpose == sre.ToApply || o.Purpose == sre.ToAdjust { // what`, `	if true { // what`},
	{6, "agent/advance.go", `	if inc.State == sre.Reverting {
		return a.whileReverting`, `	if inc.State == sre.Reverting && t.seeing {
		return a.whileReverting`},
	{6, "agent/gate/gate.go", `m.Permit.Decision, by, now.Add(time.Hour))`, `m.Permit.Decision, by, m.Permit.ValidUntil)`},

	{7, "agent/arbiter/ledger.go", `	if o == sre.Improved {`, `	if o == sre.Improved || o == sre.InconclusiveOutcome {`},
	{7, "agent/arbiter/judge.go", `		if n < p.Ineffective {`, `		if n >= 0 {`},
	{7, "agent/verify.go", `	inc.Tried = append(inc.Tried, cureKey(inc))
	inc.GaveUp = e`, `	inc.GaveUp = e`},
	{7, "agent/gate/guards.go", `	if q.Incident.Recurrences > p.MaxRecurrences {`, `	if false {`},

	{8, "agent/tick.go", `	a.epoch = a.book.starts + 1`, `	a.epoch = 1`},
	{8, "agent/levers.go", `		a.book.seq++
`, `		a.book.seq = 1
`},
	{8, "agent/levers.go", `	case w.purpose == sre.ToApply && f.State.InEffect:`, `	case false:`},
	{8, "agent/levers.go", `	case restarted && inc.State == sre.Acting:`, `	case inc.State == sre.Acting:`},
	{8, "agent/executor/executor.go", `	r.Phase = pending(o.Purpose)
`, `	r.Phase = without(o.Purpose)
`},
	{8, "agent/undo.go", `return m.Phase == sre.NotStarted && m.Epoch > 0 }`, `return false }`},

	{9, "agent/executor/executor.go", `		if err := spec.Check(action.Params); err != nil {`, `		if err := spec.Check(action.Params); err != nil {
			_ = e.touch(ctx, lever, o)`},
	{9, "agent/executor/executor.go", `		if err := spec.Check(action.Params); err != nil {`, `		if err := spec.Check(action.Params); false && err != nil {`},
	{9, "agent/advance.go", `		if verdict == sre.Pass {`, `		if verdict != sre.Fail {`},

	{10, "sre/signal.go", `	return min(byShare, l.Number)`, `	return byShare`},
	{10, "sre/signal.go", `	return min(byShare, l.Number)`, `	_ = byShare
	return l.Number`},
	{10, "sre/signal.go", `max(int(l.Percent*float64(n)/100), 1)`, `int(l.Percent * float64(n) / 100)`},
	{10, "agent/gate/guards.go", ` || len(b.Services) > p.BlastRadius.Number {`, ` {`},
	{10, "agent/gate/guards.go", `	if 100*b.EntryShare > p.BlastRadius.Percent+rounding || `, `	if `},

	{11, "agent/verify.go", `		if t.now.Sub(inc.GoodSince) >= step.Verify.HeldFor {`, `		if true {`},
	{11, "agent/verify.go", `	inc.GoodSince = time.Time{}
	if a.worse(`, `	if a.worse(`},
	{11, "agent/lift.go", `		if t.now.Sub(inc.GoodSince) >= hold(inc) {`, `		if true {`},
	{11, "agent/lift.go", `	return !inc.GoodSince.IsZero() && t.now.Sub(inc.GoodSince) >= a.liftGap(inc)`, `	return true`},
	{11, "agent/lift.go", `	return calm << min(max(inc.Recurrences, 0), patienceDoublings)`, `	return calm`},
	{11, "agent/lift.go", `	return calm && t.now.Sub(inc.GoodSince) >= hold(inc)`, `	return true || calm`},
	{11, "agent/lift.go", `lasting(t, inc) != "" { // held down`, `false { // held down`},
	{11, "agent/tick.go", `			inc.GoodSince, inc.BadTicks = time.Time{}, 0
`, ``},

	{13, "agent/advance.go", `		a.explain(t, inc)
`, `		if inc.State != sre.Suspected {
			a.explain(t, inc)
		}
`},
	{13, "agent/advance.go", `	a.explainWatch(t)
`, `	if t.seeing {
		a.explainWatch(t)
	}
`},
	{13, "agent/gate/gate.go", `		reason.Guard = guard.name
`, ``},
	{13, "agent/gate/guards.go", `	if allows != sre.Act {
		r.Change = change`, `	if allows == sre.Ask {
		r.Change = change`},
	{13, "agent/explain.go", `	return decided.Stance, decided.Reasons`, `	return decided.Stance, nil`},
	{13, "agent/explain.go", `		return sre.Watch, append([]sre.Reason{sre.Unseen(a.seen.Err)}, a.pausedBy()...)`, `		break`},
	{13, "agent/explain.go", `		e.Rejected = t.unfit[inc.ID]`, `		e.Rejected, inc.Rejected = nil, nil`},

	{12, "plugins/kubernetes/lever/gitops.go", `	if o == nil || l.cfg.PauseGitOps {
		return o, nil`, `	if o == nil || l.cfg.PauseGitOps {
		return nil, nil`},
	{12, "plugins/kubernetes/lever/gitops.go", `	if o.guess {
		return nil, nil
	}
	return nil, sre.Refusedf(`, `	return nil, nil
	return nil, sre.Refusedf(`},
	{12, "plugins/kubernetes/lever/gitops.go", `		p.Epoch, p.Holders[d.Action.ID] = d.Epoch, d.Expires
`, `		p.Epoch = d.Epoch
`},
	{12, "plugins/kubernetes/lever/gitops.go", `			if err := o.set(u, p.Before); err != nil {`, `			if err := o.set(u, o.value); err != nil {`},
	{12, "plugins/kubernetes/lever/gitops.go", `	case labels["kustomize.toolkit.fluxcd.io/name"] != "":`, `	case false:`},
	{12, "plugins/kubernetes/lever/gitops.go", `	if c := metav1.GetControllerOf(s.u); c != nil {`, `	if c := metav1.GetControllerOf(s.u); false {`},

	{14, "detectors/burn.go", ` || all < b.cfg.MinEvents || `, ` || `},
	{14, "detectors/burn.go", ` || bad < b.cfg.MinFailures || `, ` || `},
	{14, "detectors/burn.go", `	if !v.now || v.own && !v.surely {`, `	if !v.now {`},
	{14, "detectors/burn.go", `	if *since == now {`, `	if false {`},
}
