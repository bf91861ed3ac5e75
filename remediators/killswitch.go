package remediators

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// Scope is how wide a kill switch reaches. The zero value is no scope.
type Scope string

// The closed set of scopes, from the widest to the narrowest.
const (
	PlatformScope Scope = "platform"
	ProductScope  Scope = "product"
	FeatureScope  Scope = "feature"
	CohortScope   Scope = "cohort" // some users of a feature
)

// Scopes lists every scope from the widest to the narrowest.
func Scopes() []Scope { return []Scope{PlatformScope, ProductScope, FeatureScope, CohortScope} }

// reach orders scopes: the lower, the wider; -1 is no scope.
func (s Scope) reach() int { return slices.Index(Scopes(), s) }

// switchName is platform, platform/product, platform/product/feature or
// platform/product/feature@cohort.
var switchName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*){0,2}$|^[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*){2}@[a-z0-9][a-z0-9_.-]*$`)

// ScopeOf returns the scope that a switch's name tells, or false where it is no
// name of a switch.
func ScopeOf(name string) (Scope, bool) {
	if !switchName.MatchString(name) {
		return "", false
	}
	if strings.Contains(name, "@") {
		return CohortScope, true
	}
	return Scopes()[strings.Count(name, "/")], true
}

// Ancestors returns the names of the switches above one, from the widest to
// the narrowest, and not the switch itself.
func Ancestors(name string) []string {
	var out []string
	for i, c := range name {
		if c == '/' || c == '@' {
			out = append(out, name[:i])
		}
	}
	return out
}

// Within reports whether a switch is another one or stands below it.
func Within(name, above string) bool {
	return name == above || slices.Contains(Ancestors(name), above)
}

// EffectiveOff returns the percent that is off at a switch when these are set,
// by name, and the name that decides: the strictest of the switch and all above
// it, the widest of equals. A cohort counts for its own users alone, and so
// never for the feature it belongs to.
func EffectiveOff(name string, set map[string]float64) (percent float64, by string) {
	for _, n := range append(Ancestors(name), name) {
		if set[n] > percent {
			percent, by = set[n], n
		}
	}
	return min(percent, 100), by
}

// KillSwitchConfig is one switch of the tree.
type KillSwitchConfig struct {
	Name    string   `yaml:"name"`    // platform/product/feature@cohort, or a part of it from the left
	Lever   string   `yaml:"lever"`   // a lever of the flags section, or guard; empty for a scope that only holds others
	Flag    string   `yaml:"flag"`    // the flag's name there; only features have one
	Service string   `yaml:"service"` // whose capacity it saves
	Owner   string   `yaml:"owner"`   // team or person to ask
	Level   int      `yaml:"level"`   // business weight of losing it: 1 (nobody minds) to 4
	Cost    float64  `yaml:"cost"`    // share of the service's CPU that it takes, as measured by tests
	Role    sre.Role `yaml:"role"`    // who may flip it; empty: by its scope
	// Duration is how long it stays off when nobody says otherwise; 0 is 10m.
	Duration model.Duration `yaml:"duration"`
	// Off is the flag's variant that is served when the switch is off: the
	// safe default. Empty is the system's own: off, disabled or false.
	Off          string             `yaml:"off"`
	Reactivation ReactivationConfig `yaml:"reactivation"`
	Drill        bool               `yaml:"drill"` // may be rehearsed on the drill cohort
}

// ReactivationConfig is what has to be well before the percent that is off is
// lowered. At most one of HTTP and TCP; without either the plan's own check
// decides alone.
type ReactivationConfig struct {
	HTTP    string         `yaml:"http"`    // URL that has to answer 200 to 299
	TCP     string         `yaml:"tcp"`     // host:port that has to accept a connection
	Timeout model.Duration `yaml:"timeout"` // 0 is 1s
}

const defaultSwitchDuration = 10 * time.Minute

// For returns how long the switch stays off when nobody says otherwise.
func (k KillSwitchConfig) For() time.Duration {
	if k.Duration == 0 {
		return defaultSwitchDuration
	}
	return time.Duration(k.Duration)
}

// Needs returns the role that may flip the switch: the configured one, else
// admin for a platform, approver for a product, operator below.
func (k KillSwitchConfig) Needs() sre.Role {
	if k.Role != "" {
		return k.Role
	}
	switch s, _ := ScopeOf(k.Name); s {
	case FeatureScope, CohortScope:
		return sre.Operator
	case ProductScope:
		return sre.Approver
	case PlatformScope:
	}
	return sre.Admin
}

// SwitchTree is the kill switches of a configuration.
type SwitchTree []KillSwitchConfig

// Find returns the switch of a name.
func (t SwitchTree) Find(name string) (KillSwitchConfig, bool) {
	i := slices.IndexFunc(t, func(k KillSwitchConfig) bool { return k.Name == name })
	if i < 0 {
		return KillSwitchConfig{}, false
	}
	return t[i], true
}

// MayFlip reports whether a person with the role may flip the switch: nil, or
// an *sre.ActionError with code refused that names the role that it takes. It
// takes the strictest role of the switch and of every switch above it that was
// given one, and viewers may flip none.
func (t SwitchTree) MayFlip(role sre.Role, name string) error {
	k, ok := t.Find(name)
	if !ok {
		return sre.Invalidf("there is no kill switch %q", name)
	}
	if need := t.needs(k); role.Rank() < need.Rank() {
		return sre.Refusedf("kill switch %s needs the role %s; this is the role %q", name, need, role)
	}
	return nil
}

// needs is the role that flips a switch, with what stands above it.
func (t SwitchTree) needs(k KillSwitchConfig) sre.Role {
	need := k.Needs()
	for _, above := range Ancestors(k.Name) {
		if a, ok := t.Find(above); ok && a.Role.Rank() > need.Rank() && k.Role == "" {
			need = a.Role
		}
	}
	if need.Rank() < sre.Operator.Rank() {
		need = sre.Operator
	}
	return need
}

// Switches lists the tree by name, as people and the agent know it: with the
// role that each takes and the levers that it moves.
func (t SwitchTree) Switches() []sre.Switch {
	var out []sre.Switch
	for _, k := range t {
		scope, _ := ScopeOf(k.Name)
		out = append(out, sre.Switch{
			Name: k.Name, Scope: string(scope), Service: k.Service, Owner: k.Owner, Level: k.Level, Cost: k.Cost,
			Role: t.needs(k), Duration: k.For(), Drill: k.Drill, Targets: t.targets(k),
		})
	}
	slices.SortFunc(out, func(a, b sre.Switch) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// targets lists what a switch moves: itself at each flag system with a flag at or
// below it, and each such feature of a guard, which knows no scopes and no cohorts.
func (t SwitchTree) targets(k KillSwitchConfig) []sre.Target {
	feature, cohort, _ := strings.Cut(k.Name, "@")
	var out []sre.Target
	for _, below := range t {
		if below.Flag == "" || !Within(below.Name, feature) {
			continue
		}
		target := sre.Target{Lever: below.Lever, Service: k.Service, Name: k.Name}
		if below.Lever == guardName {
			target = sre.Target{Lever: guardName, Service: below.Service, Name: below.Flag}
		}
		if (below.Lever != guardName || cohort == "") && !slices.Contains(out, target) {
			out = append(out, target)
		}
	}
	slices.SortFunc(out, func(a, b sre.Target) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// flags lists, in order, the features of a lever at or below a switch. A cohort
// leads to the feature that it belongs to.
func (t SwitchTree) flags(lever, name string) []KillSwitchConfig {
	feature, _, _ := strings.Cut(name, "@")
	var out []KillSwitchConfig
	for _, k := range t {
		if k.Lever == lever && k.Flag != "" && Within(k.Name, feature) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b KillSwitchConfig) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// validate returns every fault of the tree; levers are the names that exist.
func (t SwitchTree) validate(levers map[string]bool) sre.Faults {
	var f sre.Faults
	seen, flags := map[string]bool{}, map[string]string{}
	for i, k := range t {
		path := sre.Item("", i)
		f.Under(path, k.validate(levers))
		if seen[k.Name] {
			f.Add(path+".name", "appears twice", "one entry per switch")
		}
		seen[k.Name] = true
		if k.Flag == "" {
			continue
		}
		at := k.Lever + "\x00" + k.Flag
		if other, taken := flags[at]; taken {
			f.Add(path+".flag", "is moved by "+other+" already", "one switch per flag")
		}
		flags[at] = k.Name
	}
	for i, k := range t {
		for _, above := range Ancestors(k.Name) {
			if !seen[above] && switchName.MatchString(k.Name) {
				f.Add(sre.Item("", i)+".name", "stands below "+above+", which is not declared", "an entry for each scope above")
			}
		}
	}
	return f
}

func (k KillSwitchConfig) validate(levers map[string]bool) sre.Faults {
	var f sre.Faults
	scope, ok := ScopeOf(k.Name)
	if !ok {
		f.Add("name", "is not the name of a switch", "platform/product/feature@cohort, or a part of it from the left")
	}
	if ok && (scope == FeatureScope) != (k.Flag != "") {
		f.Add("flag", "does not fit a "+string(scope), "a flag for each feature, and none above or below it")
	}
	if k.Lever != "" && !levers[k.Lever] || k.Flag != "" && k.Lever == "" {
		f.Add("lever", fmt.Sprintf("%q is no lever", k.Lever), strings.Join(slices.Sorted(maps.Keys(levers)), ", "))
	}
	if k.Level < 1 || k.Level > 4 {
		f.Add("level", fmt.Sprintf("is %d", k.Level), "1 (nobody minds its loss) to 4")
	}
	if !(k.Cost >= 0 && k.Cost <= 1) {
		f.Add("cost", fmt.Sprintf("is %v", k.Cost), "the share of the service's CPU, 0 to 1")
	}
	if k.Role != "" && k.Role.Rank() < sre.Operator.Rank() {
		f.Add("role", fmt.Sprintf("%q may not flip switches", k.Role), "operator, approver or admin")
	}
	if k.Duration < 0 {
		f.Add("duration", "is negative", "a duration such as 10m")
	}
	if k.Service != "" && !serviceName.MatchString(k.Service) {
		f.Add("service", "is not a service name", serviceName.String())
	}
	if k.Lever != "" && k.Service == "" {
		f.Add("service", "is empty", "the service whose capacity the switch saves")
	}
	f.Under("reactivation", k.Reactivation.validate())
	return f
}

func (c ReactivationConfig) validate() sre.Faults {
	var f sre.Faults
	if c.HTTP != "" && c.TCP != "" {
		f.Add("tcp", "stands beside http", "one of the two")
	}
	if u, err := url.Parse(c.HTTP); c.HTTP != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil) {
		f.Add("http", "is not a URL", "http://host:port/path or https://host:port/path")
	}
	if _, port, err := net.SplitHostPort(c.TCP); c.TCP != "" && (err != nil || port == "") {
		f.Add("tcp", "is not an address", "host:port")
	}
	if c.Timeout < 0 {
		f.Add("timeout", "is negative", "a duration such as 1s")
	}
	return f
}
