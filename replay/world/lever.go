package world

import (
	"context"
	"errors"
	"hash/fnv"
	"math"

	"github.com/sreagent/sreagent/sre"
)

// The names of the world's levers, as targets use them.
const (
	guardName    = "guard"
	platformName = "platform"
)

// Lever returns the guards of all services as one lever called "guard". It takes
// the kinds and parameters of the lever that moves real guards, and a guard
// answers as a real one: it fences writers by epoch and sequence, returns to its
// defaults step by step when a lease expires or is reverted, and tells the truth
// to a probe. Three things are coarser than in reality: the features of one
// service that are switched off share one percentage, the largest; a timeout
// without a callee bounds every call of the handler, not the handler's own work;
// and what a script or a person writes into the model's controls is not known to
// the guard as a default, so that a lease that ends goes back to the blueprint.
//
// A directive takes effect at the step that the world has reached, its expiry at
// the first step that is not before it.
func (w *World) Lever() sre.Remediator { return lever{w, w.guard} }

// Platform returns the platform that runs the services as one lever called
// "platform": scale, rollback, drain and traffic_shift. One fencing token guards
// all of it. Scale and rollback hold until they are reverted; new replicas, and
// the former version, are ready after the service's start delay.
func (w *World) Platform() sre.Remediator { return lever{w, w.platform} }

func param(name string, required bool, lo, hi float64, unit, help string) sre.ParamSpec {
	return sre.ParamSpec{Name: name, Type: "number", Required: required, Min: lo, Max: hi, Unit: unit, Help: help}
}

func guardKinds() []sre.KindSpec {
	const most = 1e9
	const perSecond = "requests per second"
	kind := func(k sre.ActionKind, edge bool, params ...sre.ParamSpec) sre.KindSpec {
		return sre.KindSpec{Kind: k, Reversible: true, TTL: true, Edge: edge, Params: params}
	}
	return []sre.KindSpec{
		kind(sre.Shed, false,
			param("rps", false, 0, most, perSecond, "cap on all admitted requests; lower classes are shed first"),
			param("critical", false, 0, most, perSecond, "cap of this class alone"),
			param("high", false, 0, most, perSecond, "cap of this class alone"),
			param("normal", false, 0, most, perSecond, "cap of this class alone"),
			param("low", false, 0, most, perSecond, "cap of this class alone")),
		kind(sre.RetryBudget, false, param("ratio", true, 0, 100, "ratio", "retries per first attempt; without a callee, to all callees")),
		kind(sre.QueueBound, false, param("length", true, 0, most, "requests", "most requests that may wait")),
		kind(sre.Breaker, true,
			param("failure_ratio", true, 0.01, 1, "ratio", "share of failures that opens the breaker"),
			param("min_requests", false, 1, 1e6, "requests", "fewest requests to judge by"),
			param("open_seconds", false, 0.001, 3600, "seconds", "time before a trial request"),
			param("consecutive", false, 0, 1e6, "failures", "failures in a row that open it too; 0 is off")),
		kind(sre.Timeout, false, param("seconds", true, 0.001, 3600, "seconds", "per attempt; without a callee, of the handler")),
		kind(sre.KillSwitch, false, param("percent", true, 0, 100, "percent", "share of keys for which the feature is off")),
	}
}

func platformKinds() []sre.KindSpec {
	return []sre.KindSpec{
		{Kind: sre.Rollback, Reversible: true},
		{Kind: sre.Scale, Reversible: true, Params: []sre.ParamSpec{
			param("replicas", true, 0, 1e5, "replicas", "how many are wanted"),
		}},
		{Kind: sre.TrafficShift, Reversible: true, TTL: true, Edge: true, Params: []sre.ParamSpec{
			param("weight", true, 0, 1, "ratio", "share of the calls that go to the callee"),
		}},
		{Kind: sre.Drain, Reversible: true, TTL: true, Params: []sre.ParamSpec{
			param("replicas", false, 0, 1e5, "replicas", "how many take no new work; one where it is not said"),
		}},
	}
}

// whole are the parameters that count things.
var whole = []string{"consecutive", "length", "min_requests", "replicas"}

// lever is one ledger as a remediator.
type lever struct {
	w *World
	l *ledger
}

// Capabilities is what the levers of every world can do, guard first.
func Capabilities() []sre.Capability {
	return []sre.Capability{{Name: guardName, Kinds: guardKinds()}, {Name: platformName, Kinds: platformKinds()}}
}

// Describe says what the lever can do.
func (v lever) Describe(ctx context.Context) (sre.Capability, error) {
	if err := inTime(ctx); err != nil {
		return sre.Capability{}, err
	}
	return v.l.kinds, nil
}

// inTime refuses a call that comes too late. Nothing was touched by then.
func inTime(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "not begun", Err: err}
	}
	return nil
}

// checkTarget holds an action's target against what the lever can move.
func (v lever) checkTarget(a sre.Action) (knob, error) {
	spec, ok := v.l.kinds.Kind(a.Kind)
	t := a.Target
	perCallee := a.Kind == sre.Breaker || a.Kind == sre.RetryBudget || a.Kind == sre.Timeout || a.Kind == sre.TrafficShift
	switch {
	case !ok:
		return knob{}, sre.Invalidf("%s cannot %s", v.l.name, a.Kind)
	case a.ID == "":
		return knob{}, sre.Invalidf("the action has no id")
	case spec.Edge && t.Callee == "":
		return knob{}, sre.Invalidf("%s needs a callee", a.Kind)
	case t.Callee != "" && !perCallee:
		return knob{}, sre.Invalidf("%s takes no callee", a.Kind)
	case (a.Kind == sre.KillSwitch) != (t.Name != ""):
		return knob{}, sre.Invalidf("target name %q: the name of a feature is for kill_switch, which needs one", t.Name)
	}
	return v.w.knobOf(a)
}

// check holds a directive against the schema.
func (v lever) check(d *sre.Directive) (knob, error) {
	a := &d.Action
	k, err := v.checkTarget(*a)
	if err != nil {
		return k, err
	}
	spec, _ := v.l.kinds.Kind(a.Kind)
	if err := spec.Check(a.Params); err != nil {
		return k, err
	}
	for _, name := range whole {
		if x, ok := a.Params.Float(name); ok && x != math.Trunc(x) {
			return k, sre.Invalidf("%s: parameter %q is %v, want a whole number", a.Kind, name, x)
		}
	}
	switch {
	case a.Kind == sre.Drain && len(a.Params) == 0:
		a.Params = sre.Params{"replicas": 1.}
	case a.Kind == sre.Rollback:
		a.Params = sre.Params{}
	case len(a.Params) == 0:
		return k, sre.Invalidf("%s sets nothing", a.Kind)
	}
	return k, nil
}

// Probe reads what is in effect at the action's target.
func (v lever) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	if err := inTime(ctx); err != nil {
		return sre.TargetState{}, err
	}
	k, err := v.checkTarget(a)
	if err != nil {
		return sre.TargetState{}, err
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	return v.l.probe(k, a), nil
}

// Apply sets the action's values, to lapse at d.Expires where its kind lapses.
func (v lever) Apply(ctx context.Context, d sre.Directive) error {
	if err := inTime(ctx); err != nil {
		return err
	}
	k, err := v.check(&d)
	if err != nil {
		return err
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	now := v.w.clock()
	if spec, _ := v.l.kinds.Kind(k.kind); spec.TTL {
		switch {
		case d.Expires.IsZero():
			return sre.Invalidf("the directive has no expiry")
		case !d.Expires.After(now):
			return sre.Invalidf("the directive has expired")
		case d.Expires.Sub(now) > maxTTL:
			return sre.Invalidf("the directive is to hold for %s; allowed: at most %s", d.Expires.Sub(now), maxTTL)
		}
	}
	if err := v.l.put(k, d); err != nil {
		return err
	}
	if v.w.loses(d) {
		return sre.Unknownf(errors.New("the answer was lost"), "%s %s", d.Action.Kind, d.Action.Target)
	}
	return nil
}

// loses reports whether the answer to an apply is lost. It follows from the
// directive alone, so that the order of concurrent calls leaves no trace.
func (w *World) loses(d sre.Directive) bool {
	if w.o.LoseAnswers == 0 {
		return false
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(d.Action.ID)) // cannot fail
	return draw(w.o.Seed, h.Sum64(), d.Seq)*float64(w.o.LoseAnswers) < 1
}

// Revert withdraws the action, step by step where that lets load in.
func (v lever) Revert(ctx context.Context, d sre.Directive) error {
	if err := inTime(ctx); err != nil {
		return err
	}
	k, err := v.checkTarget(d.Action)
	if err != nil {
		return err
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	return v.l.remove(k, d)
}

// probe reads what holds at a knob.
func (l *ledger) probe(k knob, a sre.Action) sre.TargetState {
	st := sre.TargetState{Epoch: l.post(k).epoch, Default: l.w.defaults(k)}
	x := l.leases[k]
	if x == nil {
		st.Current = l.w.current(k)
		st.Default = copyParams(st.Current)
		return st
	}
	st.Owner, st.Expires = x.action.ID, x.expires
	if !l.held(x) {
		st.Current = l.w.current(k)
		st.Foreign, st.Detail = true, "the setting was changed beside the lever"
		return st
	}
	st.Current = copyParams(x.inForce())
	st.Foreign = !x.returning && x.action.ID != a.ID
	st.InEffect = !x.returning && x.action.ID == a.ID && covers(st.Current, a.Params)
	switch {
	case x.returning:
		st.Detail = "the directive lapsed, its setting goes back to the default"
	case x.rolling:
		st.Detail = "the former version is being started"
	case x.action.ID == a.ID && !st.InEffect:
		st.Detail = "the directive is held with other settings"
	}
	return st
}

func copyParams(p sre.Params) sre.Params {
	out := make(sre.Params, len(p))
	for name := range p {
		out[name], _ = p.Float(name)
	}
	return out
}

// covers reports whether every wanted setting is in force.
func covers(inForce, wanted sre.Params) bool {
	for name := range wanted {
		want, _ := wanted.Float(name)
		if have, ok := inForce.Float(name); !ok || have != want {
			return false
		}
	}
	return true
}
