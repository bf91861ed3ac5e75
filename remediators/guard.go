package remediators

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	promconfig "github.com/prometheus/common/config"

	"github.com/sreagent/sreagent/sre"
)

// leverVersion is the version that both levers report: that of their
// parameters, which runbooks rely on.
const leverVersion = "1"

// guardLever moves the guards of services. It holds nothing between calls: a
// guard keeps its own leases and its own fencing token.
type guardLever struct {
	cfg    GuardConfig
	client *http.Client
	urls   map[string]string
	meter  meter
}

func newGuard(c GuardConfig, o Options, m *metrics) (*guardLever, error) {
	hc := c.HTTP
	if c.TokenFile != "" {
		hc.Authorization = &promconfig.Authorization{Type: "Bearer", CredentialsFile: c.TokenFile}
	}
	client, err := promconfig.NewClientFromConfig(hc, guardName)
	if err != nil {
		return nil, fmt.Errorf("make the guard's http client: %w", err)
	}
	// A redirect is no answer of a guard, and following one would carry the
	// token elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	urls := make(map[string]string, len(c.Targets))
	for _, t := range c.Targets {
		urls[t.Service] = strings.TrimSuffix(t.URL, "/")
	}
	return &guardLever{cfg: c, client: client, urls: urls, meter: newMeter(m, guardName, o.Now)}, nil
}

func number(name string, required bool, lo, hi float64, unit, help string) sre.ParamSpec {
	return sre.ParamSpec{Name: name, Type: "number", Required: required, Min: lo, Max: hi, Unit: unit, Help: help}
}

func guardKinds() []sre.KindSpec {
	const most = 1e9
	kind := func(k sre.ActionKind, edge bool, params ...sre.ParamSpec) sre.KindSpec {
		return sre.KindSpec{Kind: k, Reversible: true, TTL: true, Edge: edge, Params: params}
	}
	const perSecond = "requests per second"
	return []sre.KindSpec{
		kind(sre.Shed, false,
			number("rps", false, 0, most, perSecond, "cap on all admitted requests; lower classes are shed first"),
			number("critical", false, 0, most, perSecond, "cap of this class alone"),
			number("high", false, 0, most, perSecond, "cap of this class alone"),
			number("normal", false, 0, most, perSecond, "cap of this class alone"),
			number("low", false, 0, most, perSecond, "cap of this class alone")),
		kind(sre.RetryBudget, false, number("ratio", true, 0, 100, "ratio", "retries per first attempt; without a callee, to all callees")),
		kind(sre.QueueBound, false, number("length", true, 0, most, "requests", "most requests that may wait")),
		kind(sre.Breaker, true,
			number("failure_ratio", true, 0.01, 1, "ratio", "share of failures that opens the breaker"),
			number("min_requests", false, 1, 1e6, "requests", "fewest requests to judge by"),
			number("open_seconds", false, 0.001, 3600, "seconds", "time before a trial request"),
			number("consecutive", false, 0, 1e6, "failures", "failures in a row that open it too; 0 is off")),
		kind(sre.Timeout, false, number("seconds", true, 0.001, 3600, "seconds", "per attempt; without a callee, of the handler")),
		kind(sre.KillSwitch, false, number("percent", true, 0, 100, "percent", "share of keys for which the feature is off")),
	}
}

// Describe lists the kinds that a guard enforces.
func (g *guardLever) Describe(context.Context) (sre.Capability, error) {
	c := sre.Capability{Name: guardName, Version: leverVersion, Kinds: guardKinds()}
	if g.cfg.URLTemplate == "" {
		for service := range g.urls {
			c.Targets = append(c.Targets, service)
		}
		slices.Sort(c.Targets)
	}
	return c, nil
}

// check holds the action against the schema and finds the guard's address.
func (g *guardLever) check(a sre.Action) (string, error) {
	base, err := g.checkTarget(a)
	if err != nil {
		return "", err
	}
	spec, _ := sre.Capability{Kinds: guardKinds()}.Kind(a.Kind)
	if len(a.Params) == 0 {
		return "", sre.Invalidf("%s sets nothing", a.Kind)
	}
	return base, spec.Check(a.Params)
}

func (g *guardLever) checkTarget(a sre.Action) (string, error) {
	spec, ok := sre.Capability{Kinds: guardKinds()}.Kind(a.Kind)
	t := a.Target
	switch {
	case !ok:
		return "", sre.Invalidf("a guard cannot %s", a.Kind)
	case a.ID == "" || a.ID == "." || a.ID == "..":
		return "", sre.Invalidf("action id %q cannot stand in a URL", a.ID)
	case spec.Edge && t.Callee == "":
		return "", sre.Invalidf("%s needs a callee", a.Kind)
	case t.Callee != "" && a.Kind != sre.Breaker && a.Kind != sre.RetryBudget && a.Kind != sre.Timeout:
		return "", sre.Invalidf("%s takes no callee", a.Kind)
	case (a.Kind == sre.KillSwitch) != (t.Name != ""):
		return "", sre.Invalidf("target name %q: the name of a feature is for kill_switch, which needs one", t.Name)
	}
	if base, ok := g.urls[t.Service]; ok {
		return base, nil
	}
	if g.cfg.URLTemplate == "" || !serviceName.MatchString(t.Service) {
		return "", sre.Invalidf("no guard is configured for service %q", t.Service)
	}
	return strings.TrimSuffix(strings.ReplaceAll(g.cfg.URLTemplate, servicePlaceholder, t.Service), "/"), nil
}

// Probe reads the guard's own state.
func (g *guardLever) Probe(ctx context.Context, a sre.Action) (_ sre.TargetState, err error) {
	defer g.meter.track(opProbe)(&err)
	base, err := g.checkTarget(a)
	if err != nil {
		return sre.TargetState{}, err
	}
	var got wireGuard
	if err := g.do(ctx, http.MethodGet, base+"/guard/v1/state", nil, &got); err != nil {
		return sre.TargetState{}, err
	}
	if got.Service != "" && got.Service != a.Target.Service {
		return sre.TargetState{}, sre.Refusedf("the guard at the address of %s says it guards %s", a.Target.Service, got.Service)
	}
	return targetState(got, a), nil
}

// targetState reads what holds at the action's knob. A guard has one
// directive per knob: the last writer's.
func targetState(got wireGuard, a sre.Action) sre.TargetState {
	st := sre.TargetState{Epoch: got.Epoch}
	i := slices.IndexFunc(got.Directives, func(d wireState) bool {
		return d.Kind == string(a.Kind) && d.Callee == a.Target.Callee && d.Name == a.Target.Name
	})
	if i < 0 {
		st.Current = configured(got.Settings, a)
		st.Default = st.Current
		return st
	}
	d := got.Directives[i]
	st.Current, st.Default = d.Params, d.Default
	st.Owner, st.Expires = d.ID, d.Expires
	held := d.Phase == phaseHeld
	st.Foreign = held && d.ID != a.ID
	st.InEffect = held && d.ID == a.ID && covers(d.Params, a.Params)
	switch {
	case !held:
		st.Detail = fmt.Sprintf("directive %s is %s, step %d", d.ID, d.Phase, d.Step)
	case d.ID == a.ID && !st.InEffect:
		st.Detail = "the directive is held with other settings"
	}
	return st
}

// configured reads what the guard enforces by itself at the action's knob; nil
// is no limit.
func configured(settings map[string]map[string]sre.Params, a sre.Action) sre.Params {
	label := a.Target.Callee
	if a.Kind == sre.KillSwitch {
		label = a.Target.Name
	}
	if found := settings[string(a.Kind)][label]; found != nil {
		return found
	}
	return sre.Params{} // read, and there is no limit
}

// covers reports whether every wanted setting is in force.
func covers(inForce, wanted sre.Params) bool {
	for name, w := range wanted {
		want, isNumber := wanted.Float(name)
		have, ok := inForce.Float(name)
		if isNumber && ok && want == have {
			continue
		}
		if isNumber || inForce[name] != w {
			return false
		}
	}
	return true
}

// Apply sends the directive, then holds the guard's answer against it.
func (g *guardLever) Apply(ctx context.Context, d sre.Directive) (err error) {
	defer g.meter.track(opApply)(&err)
	base, err := g.check(d.Action)
	if err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	a := d.Action
	var got wireState
	err = g.do(ctx, http.MethodPut, base+"/guard/v1/directives", wireDirective{
		ID: a.ID, Kind: string(a.Kind), Callee: a.Target.Callee, Name: a.Target.Name,
		Params: a.Params, Epoch: d.Epoch, Seq: d.Seq, Expires: d.Expires.UTC(),
	}, &got)
	switch {
	case err != nil:
		return err
	case got.ID == "":
		return sre.Unknownf(fmt.Errorf("no directive in the answer"), "the guard's answer is unreadable")
	case got.ID != a.ID:
		return sre.Failedf("the guard holds directive %s instead", got.ID)
	case got.Phase != phaseHeld:
		return sre.Failedf("the guard took the directive, which is %s already", got.Phase)
	case !covers(got.Params, a.Params):
		return sre.Failedf("the guard enforces %v, not %v", got.Params, a.Params)
	}
	return nil
}

// Revert withdraws the directive; the guard returns to its own default step by
// step, so that recovery is not a second trigger.
func (g *guardLever) Revert(ctx context.Context, d sre.Directive) (err error) {
	defer g.meter.track(opRevert)(&err)
	base, err := g.checkTarget(d.Action)
	if err != nil {
		return err
	}
	query := url.Values{"epoch": {strconv.FormatUint(d.Epoch, 10)}, "seq": {strconv.FormatUint(d.Seq, 10)}}
	return g.do(ctx, http.MethodDelete, directiveURL(base, d.Action.ID)+"?"+query.Encode(), nil, nil)
}

func directiveURL(base, id string) string { return base + "/guard/v1/directives/" + url.PathEscape(id) }

// Manual returns the commands that withdraw the action's directive at once. A
// guard refuses a stale writer, a person too, so the first command asks for the
// token that it has accepted last. The guard knows its own default; restore is
// not used.
func (g *guardLever) Manual(a sre.Action, _ sre.Params) string {
	base, err := g.checkTarget(a)
	if err != nil {
		return ""
	}
	curl := "curl -sS"
	if g.cfg.TokenFile != "" {
		curl += ` -H "Authorization: Bearer $(cat ` + shellQuote(g.cfg.TokenFile) + `)"`
	}
	highest := func(field string) string {
		return `$(printf '%s' "$state" | grep -o '"` + field + `":[0-9]*' | cut -d: -f2 | sort -n | tail -n 1)`
	}
	return "state=$(" + curl + " " + shellQuote(base+"/guard/v1/state") + ")\n" +
		curl + " -X DELETE " + shellQuote(directiveURL(base, a.ID)) +
		`"?epoch=` + highest("epoch") + `&seq=` + highest("seq") + `&now=true"`
}

// shellQuote makes one word of a POSIX shell command.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
