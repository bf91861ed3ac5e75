package remediators

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestScopeOf(t *testing.T) {
	cases := map[string]Scope{
		"p": PlatformScope, "p/checkout": ProductScope, "p/checkout/recs": FeatureScope, "p/checkout/recs@beta": CohortScope,
		"": "", "/": "", "p/": "", "p@beta": "", "p/a/b/c": "", "p/a/b@": "", "P": "", "p/a b": "",
	}
	for name, want := range cases {
		if got, ok := ScopeOf(name); got != want || ok != (want != "") {
			t.Errorf("%q is %q, %t; want %q", name, got, ok, want)
		}
	}
	if diff := cmp.Diff([]string{"p", "p/a", "p/a/b"}, Ancestors("p/a/b@c")); diff != "" {
		t.Error(diff)
	}
}

// A switch is off at least as much as everything above it, and only because of
// what is set there.
func TestEffectiveOffIsTheStrictest(t *testing.T) {
	names := []string{"p", "p/a", "p/b", "p/a/x", "p/a/y", "p/a/x@c", "p/a/x@d"}
	rapid.Check(t, func(t *rapid.T) {
		set := map[string]float64{}
		for _, name := range names {
			if rapid.Bool().Draw(t, "is set") {
				set[name] = float64(rapid.IntRange(0, 100).Draw(t, "percent"))
			}
		}
		for _, name := range names {
			percent, by := EffectiveOff(name, set)
			want := 0.0 // the twin: any other name that this one begins with
			for _, above := range names {
				if name == above || len(name) > len(above) && name[:len(above)] == above && (name[len(above)] == '/' || name[len(above)] == '@') {
					want = max(want, set[above])
				}
			}
			if percent != want || (by == "") != (want == 0) || by != "" && (set[by] != want || !Within(name, by)) {
				t.Fatalf("%s is %g %% off by %q, want %g; set %v", name, percent, by, want, set)
			}
			for _, above := range Ancestors(name) {
				if higher, _ := EffectiveOff(above, set); higher > percent {
					t.Fatalf("%s is %g %% off and %s below it %g", above, higher, name, percent)
				}
			}
		}
	})
}

func TestMayFlip(t *testing.T) {
	tree := SwitchTree{
		{Name: "p"}, {Name: "p/a"}, {Name: "p/a/x"}, {Name: "p/a/x@c"},
		{Name: "p/b", Role: sre.Admin}, {Name: "p/b/y"}, {Name: "p/b/z", Role: sre.Operator},
	}
	cases := map[string]sre.Role{
		"p": sre.Admin, "p/a": sre.Approver, "p/a/x": sre.Operator, "p/a/x@c": sre.Operator,
		"p/b": sre.Admin, "p/b/y": sre.Admin, "p/b/z": sre.Operator,
	}
	all := []sre.Role{"", sre.Viewer, sre.Operator, sre.Approver, sre.Admin}
	for name, need := range cases {
		for _, role := range all {
			err := tree.MayFlip(role, name)
			if may := slices.Index(all, role) >= slices.Index(all, need); may != (err == nil) || !may && sre.CodeOf(err) != sre.CodeRefused {
				t.Errorf("%q flips %s: %v; it needs %s", role, name, err, need)
			}
		}
	}
	wantCode(t, tree.MayFlip(sre.Admin, "p/c"), sre.CodeInvalid)
}

func TestSwitchesNameTheirRolesAndTargets(t *testing.T) {
	tree := SwitchTree{
		{Name: "p", Service: "web"}, {Name: "p/a", Service: "web", Role: sre.Admin},
		{Name: "p/a/x", Service: "web", Lever: "flags", Flag: "x"}, {Name: "p/a/x@c", Service: "web", Lever: "flags"},
		{Name: "p/a/y", Service: "api", Lever: guardName, Flag: "y"}, {Name: "p/a/y@c", Service: "api"},
	}
	got := map[string]string{}
	for _, k := range tree.Switches() {
		parts := []string{string(k.Role)}
		for _, target := range k.Targets {
			parts = append(parts, target.String())
		}
		got[k.Name] = strings.Join(parts, " ")
		if err := tree.MayFlip(k.Role, k.Name); err != nil {
			t.Error(err)
		}
	}
	want := map[string]string{
		"p": "admin flags/web#p guard/api#y", "p/a": "admin flags/web#p/a guard/api#y", "p/a/x": "admin flags/web#p/a/x",
		"p/a/x@c": "admin flags/web#p/a/x@c", "p/a/y": "admin guard/api#y", "p/a/y@c": "admin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFlagConfigFaults(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		want   []string
	}{
		"good":             {func(*Config) {}, nil},
		"no format":        {func(c *Config) { c.Flags[0].Format = "ld" }, []string{"flags[0].format"}},
		"no file":          {func(c *Config) { c.Flags[0].File = "" }, []string{"flags[0].file"}},
		"yaml for flagd":   {func(c *Config) { c.Flags[0].File = "a.yaml" }, []string{"flags[0].file"}},
		"unleash":          {func(c *Config) { c.Flags[0].Format = unleashFormat }, []string{"flags[0].url", "flags[0].environment", "flags[0].file"}},
		"platform by self": {func(c *Config) { c.Flags[0].MaxScope = PlatformScope }, []string{"flags[0].max_scope"}},
		"name taken":       {func(c *Config) { c.Flags[0].Name = "guard" }, []string{"flags[0].name", "kill_switches[2].lever", "kill_switches[4].lever"}},
		"reader, no key":   {func(c *Config) { c.Flags[0].Drill.Reader = "http://x" }, []string{"flags[0].drill.reader"}},
		"twice":            {func(c *Config) { c.KillSwitches = append(c.KillSwitches, c.KillSwitches[2]) }, []string{"kill_switches[5].name", "kill_switches[5].flag"}},
		"no parent":        {func(c *Config) { c.KillSwitches = c.KillSwitches[2:3] }, []string{"kill_switches[0].name", "kill_switches[0].name"}},
		"one switch": {func(c *Config) {
			c.KillSwitches[4] = KillSwitchConfig{
				Name: "shop/checkout/reviews", Lever: "flags", Flag: "reviews", Level: 5, Cost: 2, Role: sre.Viewer, Duration: -1,
				Reactivation: ReactivationConfig{HTTP: "ftp://x", TCP: "x", Timeout: -1},
			}
		}, []string{
			"kill_switches[4].level", "kill_switches[4].cost", "kill_switches[4].role", "kill_switches[4].duration", "kill_switches[4].service",
			"kill_switches[4].reactivation.tcp", "kill_switches[4].reactivation.http", "kill_switches[4].reactivation.tcp", "kill_switches[4].reactivation.timeout",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
			c.change(&cfg)
			var got []string
			for _, f := range cfg.Validate() {
				got = append(got, f.Path)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("paths:\n%s\n%v", diff, cfg.Validate())
			}
		})
	}
}

func TestReactivationChecksAreAskedForWhatIsMoved(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(well.Close)
	ill := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(ill.Close)
	check := func(s *httptest.Server) ReactivationConfig { return ReactivationConfig{HTTP: s.URL} }
	tree := SwitchTree{
		{Name: "p", Service: "web"}, {Name: "p/a", Service: "web"}, {Name: "p/b", Service: "web"},
		{Name: "p/a/x", Service: "web", Lever: "flags", Flag: "x", Reactivation: check(well)},
		{Name: "p/b/y", Service: "web", Lever: "flags", Flag: "y", Reactivation: check(ill)},
		{Name: "p/b/z", Service: "web", Lever: guardName, Flag: "z", Reactivation: ReactivationConfig{TCP: "127.0.0.1:1"}},
		{Name: "p/b/w", Service: "web", Lever: guardName, Flag: "w"},
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		target sre.Target
		want   string
	}{
		{sre.Target{Lever: "flags", Service: "web", Name: "p/a/x"}, ""},
		{sre.Target{Lever: "flags", Service: "web", Name: "p/a"}, ""},
		{sre.Target{Lever: "flags", Service: "web", Name: "p/b/y"}, "status 502"},
		{sre.Target{Lever: "flags", Service: "web", Name: "p"}, "p/b/y is not well"},
		{sre.Target{Lever: guardName, Service: "web", Name: "w"}, ""},
		{sre.Target{Lever: guardName, Service: "web", Name: "z"}, "p/b/z is not well"},
		{sre.Target{Lever: "webhook", Service: "web", Name: "p"}, ""},
	} {
		err := tree.Reactivation(t.Context(), client, sre.Action{Kind: sre.KillSwitch, Target: c.target})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.target, err, c.want)
		}
	}
}
