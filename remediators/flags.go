package remediators

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"

	"github.com/sreagent/sreagent/sre"
)

// The parameters of a kill switch. Immediate and calm_seconds are for the law
// that moves the percent; a lever only takes note of them.
const (
	percentParam   = "percent"
	drillParam     = "drill"
	immediateParam = "immediate"
	calmParam      = "calm_seconds"
)

// flagChange is given a flag's text, nil where there is none, and returns what
// it shall be.
type flagChange func(i int, raw []byte) ([]byte, error)

// flagStore reads and writes flags as a flag system holds them. Errors are
// *sre.ActionError.
type flagStore interface {
	names(ctx context.Context) ([]string, error) // flags that may carry the lever's state
	read(ctx context.Context, flags []string) ([][]byte, error)
	edit(ctx context.Context, flags []string, change flagChange) error
}

// flagRules know the definitions of one flag system. They are pure.
type flagRules interface {
	// split takes the lever's state out of a flag, join puts it in.
	split(raw []byte) (definition []byte, st *flagState, err error)
	join(definition []byte, st *flagState) ([]byte, error)
	// present is the percent that a definition without a hold has off.
	present(definition []byte, off string) (float64, error)
	// rewrite makes the cuts in a definition without any.
	rewrite(definition []byte, cuts []cut, off string) ([]byte, error)
}

// flagLever moves the kill switches of one flag system. It keeps nothing: its
// state is at each flag. A switch above features moves all of their flags.
type flagLever struct {
	cfg    FlagsConfig
	tree   SwitchTree
	store  flagStore
	rules  flagRules
	client *http.Client // of reactivation checks and drills
	log    *slog.Logger
	now    func() time.Time
	meter  meter
}

func newFlags(c FlagsConfig, tree SwitchTree, stateDir string, o Options, m *metrics) (*flagLever, error) {
	l := describedFlags(c, tree)
	l.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	l.log = o.Log.With("component", "remediators", "lever", c.Name)
	l.now = o.Now
	l.meter = newMeter(m, c.Name, o.Now)
	if c.Format == unleashFormat {
		client, err := promconfig.NewClientFromConfig(c.HTTP, c.Name)
		if err != nil {
			return nil, fmt.Errorf("make the http client: %w", err)
		}
		client.CheckRedirect = l.client.CheckRedirect
		l.store = unleashStore{cfg: c, client: client, tree: tree, turn: make(chan struct{}, 1)}
		return l, nil
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the locks: %w", err)
	}
	file := flagFile{
		path: c.File, layout: jsonFlags{}, load: loadFile, save: replaceFile,
		lock: ledgerFile{path: filepath.Join(stateDir, c.Name)},
	}
	if c.Format == flagdFormat {
		file.layout = jsonFlags{under: "flags"}
	} else if filepath.Ext(c.File) != ".json" {
		file.layout = yamlFlags{}
	}
	l.store = file
	return l, nil
}

// describedFlags is a lever that can describe itself and check actions, and
// reaches nothing.
func describedFlags(c FlagsConfig, tree SwitchTree) *flagLever {
	l := &flagLever{cfg: c, tree: tree}
	switch c.Format {
	case flagdFormat:
		l.rules = flagd{bucketBy: c.BucketBy, cohortKey: c.cohortKey()}
	case goffFormat:
		l.rules = goff{cohortKey: c.cohortKey()}
	case unleashFormat:
		l.rules = unleash{}
	}
	return l
}

// Describe lists the parameters of a kill switch and the services that have one.
func (l *flagLever) Describe(context.Context) (sre.Capability, error) {
	services, person := map[string]bool{}, []string(nil)
	for _, k := range l.tree {
		if len(l.tree.flags(l.cfg.Name, k.Name)) == 0 {
			continue
		}
		if k.Service != "" {
			services[k.Service] = true
		}
		if l.wide(k.Name) {
			person = append(person, k.Name)
		}
	}
	slices.Sort(person)
	return sre.Capability{
		Name: l.cfg.Name, Version: leverVersion, Targets: slices.Sorted(maps.Keys(services)), Person: person,
		Kinds: []sre.KindSpec{{Kind: sre.KillSwitch, Reversible: true, Params: []sre.ParamSpec{
			number(percentParam, true, 0, 100, "percent", "share of keys for which the switch that the target names is off; whole numbers"),
			{Name: drillParam, Type: "bool", Help: "only the drill cohort, which has no users, is switched off"},
			{Name: immediateParam, Type: "bool", Help: "for the law staged: everything at once"},
			number(calmParam, false, 1, 86400, "seconds", "for the law staged: clean time before each step back"),
		}}},
	}, nil
}

// flip is an action held against the tree.
type flip struct {
	name    string // of the switch
	cohort  string
	percent float64
	flags   []KillSwitchConfig
	checks  []ReactivationConfig
}

func (f flip) names() []string {
	out := make([]string, len(f.flags))
	for i, k := range f.flags {
		out[i] = k.Flag
	}
	return out
}

// target finds what the action moves, whatever its parameters are.
func (l *flagLever) target(a sre.Action) (flip, error) {
	k, ok := l.tree.Find(a.Target.Name)
	f := flip{name: k.Name}
	f.flags = l.tree.flags(l.cfg.Name, k.Name)
	switch {
	case a.ID == "":
		return f, sre.Invalidf("the action has no id")
	case a.Kind != sre.KillSwitch:
		return f, sre.Invalidf("a flag system cannot %s", a.Kind)
	case !ok:
		return f, sre.Invalidf("there is no kill switch %q", a.Target.Name)
	case k.Service != a.Target.Service:
		return f, sre.Invalidf("kill switch %s belongs to service %q, not %q", k.Name, k.Service, a.Target.Service)
	case a.Target.Callee != "":
		return f, sre.Invalidf("a kill switch takes no callee")
	case len(f.flags) == 0:
		return f, sre.Invalidf("no flag of lever %s stands below %s", l.cfg.Name, k.Name)
	}
	_, f.cohort, _ = strings.Cut(k.Name, "@")
	for _, c := range append([]KillSwitchConfig{k}, f.flags...) {
		if c.Reactivation != (ReactivationConfig{}) && !slices.Contains(f.checks, c.Reactivation) {
			f.checks = append(f.checks, c.Reactivation)
		}
	}
	if drill, _ := a.Params[drillParam].(bool); drill {
		if !k.Drill || l.cfg.Drill.Cohort == "" {
			return f, sre.Invalidf("kill switch %s may not be drilled: it takes drill: true and a drill.cohort of lever %s", k.Name, l.cfg.Name)
		}
		f.cohort = l.cfg.Drill.Cohort
		f.name += "@drill:" + f.cohort // a lease of its own: a drill never moves a real one
		f.checks = nil
	}
	if l.cfg.Format == unleashFormat && f.cohort != "" {
		return f, sre.Invalidf("a strategy of Unleash cannot leave out a cohort")
	}
	return f, nil
}

// resolve holds the action against the schema too.
func (l *flagLever) resolve(ctx context.Context, a sre.Action) (flip, error) {
	f, err := l.target(a)
	if err != nil {
		return f, err
	}
	c, _ := l.Describe(ctx) // never fails
	spec, _ := c.Kind(sre.KillSwitch)
	if err := spec.Check(a.Params); err != nil {
		return f, err
	}
	f.percent, _ = a.Params.Float(percentParam)
	if f.percent != math.Trunc(f.percent) {
		return f, sre.Invalidf("percent is %v, want a whole number", f.percent)
	}
	return f, nil
}

// Apply switches the share off until d.Expires, for each flag at or below the
// switch. Lowering the share needs the reactivation checks to be well.
func (l *flagLever) Apply(ctx context.Context, d sre.Directive) (err error) {
	defer l.meter.track(opApply)(&err)
	f, err := l.resolve(ctx, d.Action)
	if err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	if !d.Expires.After(l.now()) {
		return sre.Refusedf("the directive lapsed at %s", d.Expires.UTC().Format(time.RFC3339))
	}
	if d.Approved == "" && l.wide(d.Action.Target.Name) {
		s, _ := ScopeOf(d.Action.Target.Name)
		return sre.Refusedf("%s is a whole %s, wider than the max_scope %s of lever %s: it takes a person", d.Action.Target.Name, s, l.cfg.maxScope(), l.cfg.Name)
	}
	if err := l.mayLower(ctx, f, d); err != nil {
		return err
	}
	return l.store.edit(ctx, f.names(), func(i int, raw []byte) ([]byte, error) {
		if raw == nil {
			return nil, sre.Refusedf("there is no such flag")
		}
		definition, st, err := l.rules.split(raw)
		if err != nil {
			return nil, err
		}
		return l.hold(definition, st, f, d, f.flags[i].Off)
	})
}

// wide reports whether a switch reaches further than the agent may by itself.
func (l *flagLever) wide(name string) bool {
	s, _ := ScopeOf(name)
	return s.reach() < l.cfg.maxScope().reach()
}

// mayLower asks the reactivation checks when a lease of this action would be
// eased. Undo and expiry do not ask: they are never blocked.
func (l *flagLever) mayLower(ctx context.Context, f flip, d sre.Directive) error {
	if len(f.checks) == 0 {
		return nil
	}
	all, err := l.store.read(ctx, f.names())
	if err != nil {
		return err
	}
	lower := slices.ContainsFunc(all, func(raw []byte) bool {
		_, st, err := l.rules.split(raw)
		return raw != nil && err == nil && st.Holds[f.name].Owner == d.Action.ID && st.Holds[f.name].Percent > f.percent
	})
	if !lower {
		return nil
	}
	for _, c := range f.checks {
		if err := c.healthy(ctx, l.client); err != nil {
			return sre.Refusedf("the reactivation check of %s fails, it stays off as it is: %v", f.name, err)
		}
	}
	return nil
}

// hold enters a lease and makes the definition follow.
func (l *flagLever) hold(definition []byte, st *flagState, f flip, d sre.Directive, off string) ([]byte, error) {
	if st.Holds[f.name].Owner == d.Action.ID && st.foreign(definition) {
		return nil, sre.Refusedf("somebody else has changed it since; it is left alone")
	}
	if err := st.fence(f.name, d); err != nil {
		return nil, err
	}
	base := st.base(definition)
	if st.Holds == nil {
		st.Holds = map[string]flagHold{}
	}
	st.Holds[f.name] = flagHold{Owner: d.Action.ID, Percent: f.percent, Cohort: f.cohort, Expires: d.Expires.UTC()}
	return l.settle(base, st, off)
}

// settle writes the definition that the holds ask for, from one without any.
func (l *flagLever) settle(base []byte, st *flagState, off string) ([]byte, error) {
	st.Before, st.Sum = "", ""
	if len(st.Holds) == 0 {
		st.Holds = nil
		return l.rules.join(base, st)
	}
	next, err := l.rules.rewrite(base, st.cuts(), off)
	if err != nil {
		return nil, err
	}
	st.Before, st.Sum = string(base), sumOf(next)
	return l.rules.join(next, st)
}

// Revert ends the action's leases. A flag that nothing holds off any more is
// what it was; one that somebody else has changed stays as they left it.
func (l *flagLever) Revert(ctx context.Context, d sre.Directive) (err error) {
	defer l.meter.track(opRevert)(&err)
	f, err := l.target(d.Action)
	if err != nil {
		return err
	}
	return l.store.edit(ctx, f.names(), func(i int, raw []byte) ([]byte, error) {
		if raw == nil {
			return nil, nil
		}
		definition, st, err := l.rules.split(raw)
		if err != nil {
			return nil, err
		}
		if err := st.fence(f.name, d); err != nil {
			return nil, err
		}
		if st.Holds[f.name].Owner != d.Action.ID {
			return raw, nil
		}
		return l.release(definition, st, f.flags[i], func(name string, _ flagHold) bool { return name == f.name })
	})
}

// release ends the leases that match.
func (l *flagLever) release(definition []byte, st *flagState, k KillSwitchConfig, over func(string, flagHold) bool) ([]byte, error) {
	if st.foreign(definition) {
		l.log.Warn("a flag that somebody else changed is left alone", "flag", k.Flag)
		st.Holds = nil
		return l.settle(definition, st, k.Off)
	}
	base := st.base(definition)
	maps.DeleteFunc(st.Holds, over)
	return l.settle(base, st, k.Off)
}

// Probe reads every flag of the switch, and touches none.
func (l *flagLever) Probe(ctx context.Context, a sre.Action) (st sre.TargetState, err error) {
	defer l.meter.track(opProbe)(&err)
	f, err := l.resolve(ctx, a)
	if err != nil {
		return st, err
	}
	all, err := l.store.read(ctx, f.names())
	if err != nil {
		return st, err
	}
	st.InEffect = true
	least, before, notes := 100.0, 100.0, []string(nil)
	for i, raw := range all {
		one, was, err := l.look(&st, f, a, i, raw)
		if err != nil {
			return sre.TargetState{}, fmt.Errorf("flag %s: %w", f.flags[i].Flag, err)
		}
		least, before = min(least, one), min(before, was)
		if note := l.above(f, i, raw); note != "" {
			notes = append(notes, note)
		}
	}
	st.InEffect = st.InEffect && !st.Foreign
	st.Current, st.Default = sre.Params{percentParam: least}, sre.Params{percentParam: before}
	if note := l.lookAsDrill(ctx, f, a); note != "" {
		notes = append(notes, note)
	}
	st.Detail = strings.Join(notes, "; ")
	return st, nil
}

// look adds one flag to what is known of the switch, and returns the percent
// that is off now and without any hold.
func (l *flagLever) look(st *sre.TargetState, f flip, a sre.Action, i int, raw []byte) (now, before float64, err error) {
	if raw == nil {
		return 0, 0, sre.Refusedf("there is no such flag")
	}
	definition, s, err := l.rules.split(raw)
	if err != nil {
		return 0, 0, untouched(err)
	}
	held, ours := s.Holds[f.name]
	foreign := s.foreign(definition)
	st.Epoch = max(st.Epoch, s.Epoch)
	base := definition
	if len(s.Holds) > 0 && !foreign {
		base = []byte(s.Before)
	}
	if before, err = l.rules.present(base, f.flags[i].Off); err != nil {
		return 0, 0, err
	}
	if f.cohort != "" && !ours {
		before = 0
	}
	if !ours || foreign {
		st.InEffect = false
		st.Foreign = st.Foreign || ours
		if ours {
			st.Owner, st.Expires = held.Owner, held.Expires
		}
		return before, before, nil
	}
	st.Owner, st.Expires = held.Owner, held.Expires
	st.Foreign = st.Foreign || held.Owner != a.ID
	st.InEffect = st.InEffect && held.Percent == f.percent
	return held.Percent, before, nil
}

// above tells of a wider switch that has more of a flag off.
func (l *flagLever) above(f flip, i int, raw []byte) string {
	_, s, err := l.rules.split(raw)
	if err != nil {
		return ""
	}
	set := map[string]float64{}
	for name, h := range s.Holds {
		set[name] = h.Percent
	}
	name := f.flags[i].Name
	percent, by := EffectiveOff(name, set)
	if by == "" || by == f.name {
		return ""
	}
	return fmt.Sprintf("%s has %g %% of flag %s off", by, percent, f.flags[i].Flag)
}

// Sweep ends the leases that have lapsed by now.
func (l *flagLever) Sweep(ctx context.Context, now time.Time) (err error) {
	flags, err := l.store.names(ctx)
	if err == nil && len(flags) == 0 {
		return nil
	}
	defer l.meter.track(opSweep)(&err)
	var errs []error
	for _, flag := range flags {
		errs = append(errs, l.sweepOne(ctx, flag, now))
	}
	if err = errors.Join(append(errs, err)...); err != nil && ctx.Err() == nil {
		l.log.Error("lapsed kill switches could not be reverted", "err", err)
	}
	return err
}

func (l *flagLever) sweepOne(ctx context.Context, flag string, now time.Time) error {
	k := KillSwitchConfig{Flag: flag}
	if i := slices.IndexFunc(l.tree, func(k KillSwitchConfig) bool { return k.Lever == l.cfg.Name && k.Flag == flag }); i >= 0 {
		k = l.tree[i]
	}
	lapsed := func(_ string, h flagHold) bool { return !now.Before(h.Expires) }
	due := func(raw []byte) (definition []byte, st *flagState, over bool, err error) {
		definition, st, err = l.rules.split(raw)
		if err != nil && !bytes.Contains(raw, []byte(holdsMark)) {
			return nil, nil, false, nil // whatever is wrong with it, it has no lease of ours
		}
		if err != nil {
			return nil, nil, false, untouched(fmt.Errorf("flag %s: how long it is held off cannot be read: %w", flag, err))
		}
		return definition, st, slices.ContainsFunc(slices.Collect(maps.Values(st.Holds)), func(h flagHold) bool { return lapsed("", h) }), nil
	}
	all, err := l.store.read(ctx, []string{flag})
	if err != nil {
		return err
	}
	if _, _, over, err := due(all[0]); !over {
		return err
	}
	return l.store.edit(ctx, []string{flag}, func(_ int, raw []byte) ([]byte, error) {
		definition, st, over, err := due(raw)
		if !over {
			return raw, err
		}
		next, err := l.release(definition, st, k, lapsed)
		if err == nil && !bytes.Equal(raw, next) {
			l.log.Info("a lapsed kill switch was reverted", "flag", flag)
		}
		return next, err
	})
}
