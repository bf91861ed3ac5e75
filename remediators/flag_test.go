package remediators

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

const flagdText = `{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {
    "other":   { "state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on" },
    "recs": {
      "state": "ENABLED",
      "variants": { "on": true, "off": false },
      "defaultVariant": "on"
    },
    "reviews": {"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off","metadata":{"team":"r"},
      "targeting":{"if":[{"in":["@staff",{"var":"email"}]},"on",{"fractional":[["on",60],["off",40]]}]}}
  },
  "$evaluators": {}
}
`

const goffYAML = `# flags of the shop
other:
  variations: {enabled: true, disabled: false}
  defaultRule: {variation: enabled}   # stays

recs:
  variations:
    enabled: true
    disabled: false
  defaultRule:
    variation: enabled

# what people say
reviews:
  variations: {enabled: true, disabled: false}
  targeting:
    - query: staff eq true
      variation: enabled
  defaultRule:
    percentage: {enabled: 60, disabled: 40}
`

const goffJSON = `{"other":{"variations":{"enabled":true,"disabled":false},"defaultRule":{"variation":"enabled"}},
 "recs":{"variations":{"enabled":true,"disabled":false},"defaultRule":{"variation":"enabled"}},
 "reviews":{"variations":{"enabled":true,"disabled":false},"defaultRule":{"percentage":{"enabled":60,"disabled":40}}}}
`

// flagTree has two features below shop/checkout, and a cohort of one of them.
func flagTree(lever string) SwitchTree {
	return SwitchTree{
		{Name: "shop", Service: "shop", Level: 4},
		{Name: "shop/checkout", Service: "shop", Level: 3},
		{Name: "shop/checkout/recs", Lever: lever, Service: "shop", Flag: "recs", Level: 1, Cost: .1, Drill: true},
		{Name: "shop/checkout/recs@beta", Service: "shop", Level: 1},
		{Name: "shop/checkout/reviews", Lever: lever, Service: "shop", Flag: "reviews", Level: 2, Cost: .05},
	}
}

func flagAction(id, name string, percent float64) sre.Action {
	return sre.Action{
		ID: id, Kind: sre.KillSwitch, TTL: time.Minute,
		Target: sre.Target{Lever: "flags", Service: "shop", Name: name}, Params: sre.Params{"percent": percent},
	}
}

func badFlagActions() []sre.Action {
	with := func(change func(*sre.Action)) sre.Action {
		a := flagAction("bad", "shop/checkout/recs", 5)
		change(&a)
		return a
	}
	return []sre.Action{
		with(func(a *sre.Action) { a.ID = "" }),
		with(func(a *sre.Action) { a.Params = nil }),
		with(func(a *sre.Action) { a.Params = sre.Params{"percent": 101.0} }),
		with(func(a *sre.Action) { a.Params = sre.Params{"percent": 2.5} }),
		with(func(a *sre.Action) { a.Params = sre.Params{"percent": 5.0, "rps": 1.0} }),
		with(func(a *sre.Action) { a.Params = sre.Params{"percent": 5.0, "drill": true} }), // no drill cohort
		with(func(a *sre.Action) { a.Target.Name = "recs" }),
		with(func(a *sre.Action) { a.Target.Service = "bank" }),
		with(func(a *sre.Action) { a.Target.Callee = "pay" }),
		with(func(a *sre.Action) { a.Kind = sre.Shed }),
	}
}

// flagConfig puts a flag file into a folder of its own.
func flagConfig(t *testing.T, format, name, text string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	cfg.Flags = []FlagsConfig{{Name: "flags", Format: format, File: filepath.Join(t.TempDir(), name)}}
	cfg.KillSwitches = flagTree("flags")
	must(t, os.WriteFile(cfg.Flags[0].File, []byte(text), 0o640))
	return cfg
}

func flagLeverOf(t *testing.T, cfg Config) *flagLever {
	t.Helper()
	levers, err := New(cfg, Options{Now: testTime})
	must(t, err)
	l := levers[0].(*flagLever)
	t.Cleanup(l.client.CloseIdleConnections)
	if s, ok := l.store.(unleashStore); ok {
		t.Cleanup(s.client.CloseIdleConnections)
	}
	return l
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// definitions is what readers see: every flag without the lever's state.
func definitions(t *testing.T, l *flagLever) string {
	t.Helper()
	f := l.store.(flagFile)
	content := []byte(readText(t, f.path))
	names, err := f.layout.names(content)
	must(t, err)
	var out strings.Builder
	for _, name := range names {
		raw, err := f.layout.get(content, name)
		must(t, err)
		definition, _, err := l.rules.split(raw)
		must(t, err)
		text, err := canonical(definition)
		must(t, err)
		out.WriteString(name + " " + string(text) + "\n")
	}
	return out.String()
}

// slowDisk misbehaves between the lever and its file.
type slowDisk struct {
	mu           sync.Mutex
	writes       int
	cut, stalled bool
}

func (s *slowDisk) set(cut, stalled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut, s.stalled = cut, stalled
}

func (s *slowDisk) load(ctx context.Context, path string) ([]byte, error) {
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled {
		<-ctx.Done()
	}
	return loadFile(ctx, path)
}

func (s *slowDisk) save(path string, content []byte, mode os.FileMode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	err := replaceFile(path, content, mode)
	if s.cut {
		return errors.Join(errors.New("the folder was not synced"), err)
	}
	return err
}

func flagFileSubject(t *testing.T, format, name, text, target string) *subject {
	cfg := flagConfig(t, format, name, text)
	disk := &slowDisk{}
	open := func() *flagLever {
		l := flagLeverOf(t, cfg)
		f := l.store.(flagFile)
		f.load, f.save = disk.load, disk.save
		l.store = f
		return l
	}
	l := open()
	return &subject{
		lever: l, action: flagAction("inc-1.kill.1", target, 25), other: flagAction("inc-2.kill.1", target, 5), bad: badFlagActions(),
		inForce: func() string { return definitions(t, l) },
		writes:  func() int { disk.mu.Lock(); defer disk.mu.Unlock(); return disk.writes },
		cut:     func() { disk.set(true, false) },
		stall:   func() { disk.set(false, true) },
		mend:    func() { disk.set(false, false) },
		restart: func() sre.Remediator { return open() },
		config:  &cfg,
	}
}

// flagSubjects are the levers of flags, for the suite.
func flagSubjects() map[string]func(*testing.T) *subject {
	return map[string]func(*testing.T) *subject{
		"flags/flagd": func(t *testing.T) *subject {
			return flagFileSubject(t, flagdFormat, "flags.json", flagdText, "shop/checkout/recs")
		},
		"flags/flagd_targeted": func(t *testing.T) *subject {
			return flagFileSubject(t, flagdFormat, "flags.json", flagdText, "shop/checkout/reviews")
		},
		"flags/flagd_cohort": func(t *testing.T) *subject {
			return flagFileSubject(t, flagdFormat, "flags.json", flagdText, "shop/checkout/recs@beta")
		},
		"flags/flagd_product": func(t *testing.T) *subject {
			s := flagFileSubject(t, flagdFormat, "flags.json", flagdText, "shop/checkout")
			s.lever.(*flagLever).cfg.MaxScope = ProductScope
			restart := s.restart
			s.restart = func() sre.Remediator {
				l := restart().(*flagLever)
				l.cfg.MaxScope = ProductScope
				return l
			}
			return s
		},
		"flags/goff_yaml": func(t *testing.T) *subject {
			return flagFileSubject(t, goffFormat, "flags.yaml", goffYAML, "shop/checkout/reviews")
		},
		"flags/goff_json": func(t *testing.T) *subject {
			return flagFileSubject(t, goffFormat, "flags.json", goffJSON, "shop/checkout/recs")
		},
		"flags/unleash": unleashSubject,
	}
}

func applyFlag(t *testing.T, l *flagLever, seq uint64, a sre.Action) error {
	t.Helper()
	return l.Apply(t.Context(), sre.Directive{Action: a, Epoch: 1, Seq: seq, Expires: testTime().Add(time.Minute)})
}

func revertFlag(t *testing.T, l *flagLever, seq uint64, a sre.Action) {
	t.Helper()
	must(t, l.Revert(t.Context(), sre.Directive{Action: a, Epoch: 1, Seq: seq}))
}

// Everything but the flag that is moved stays byte for byte, and the flag comes
// back as it was written but for the fencing token in its metadata.
func TestFlagFilesKeepForeignBytes(t *testing.T) {
	cases := map[string]struct{ format, name, text string }{
		"flagd": {flagdFormat, "flags.json", flagdText}, "goff json": {goffFormat, "flags.json", goffJSON}, "goff yaml": {goffFormat, "flags.yaml", goffYAML},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := flagConfig(t, c.format, c.name, c.text)
			l := flagLeverOf(t, cfg)
			a := flagAction("a", "shop/checkout/recs", 25)
			must(t, applyFlag(t, l, 1, a))
			must(t, applyFlag(t, l, 2, flagAction("a", "shop/checkout/recs", 100)))
			revertFlag(t, l, 3, a)
			got := readText(t, cfg.Flags[0].File)
			before, after, _ := strings.Cut(c.text, "recs")
			after = after[strings.Index(after, "reviews"):]
			if !strings.HasPrefix(got, before) || !strings.HasSuffix(got, after) {
				t.Errorf("bytes of other flags changed:\n%s", cmp.Diff(c.text, got))
			}
			info, err := os.Stat(cfg.Flags[0].File)
			must(t, err)
			if info.Mode().Perm() != 0o640 {
				t.Errorf("the file's mode is %v", info.Mode())
			}
		})
	}
}

func TestFlagForeignEditIsReleased(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l, a := flagLeverOf(t, cfg), flagAction("a", "shop/checkout/recs", 25)
	must(t, applyFlag(t, l, 1, a))
	edit := func(from, to string) {
		text := readText(t, cfg.Flags[0].File)
		if !strings.Contains(text, from) {
			t.Fatalf("%q is not in\n%s", from, text)
		}
		must(t, os.WriteFile(cfg.Flags[0].File, []byte(strings.ReplaceAll(text, from, to)), 0o600))
	}
	edit(`"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on" }`,
		`"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off" }`) // of another flag
	if st, err := l.Probe(t.Context(), a); err != nil || st.Foreign || !st.InEffect {
		t.Fatalf("an edit of another flag: %+v, %v", st, err)
	}
	edit(`["off",25],["on",75]`, `["off",40],["on",60]`)
	if st, err := l.Probe(t.Context(), a); err != nil || !st.Foreign || st.InEffect {
		t.Fatalf("an edit of the flag: %+v, %v", st, err)
	}
	held := definitions(t, l)
	wantCode(t, applyFlag(t, l, 2, flagAction("a", "shop/checkout/recs", 100)), sre.CodeRefused)
	must(t, l.Sweep(t.Context(), testTime().Add(time.Hour)))
	revertFlag(t, l, 3, a)
	if diff := cmp.Diff(held, definitions(t, l)); diff != "" {
		t.Errorf("what somebody else wrote was changed:\n%s", diff)
	}
	if st, err := l.Probe(t.Context(), a); err != nil || st.Foreign || st.Owner != "" {
		t.Errorf("after the release: %+v, %v", st, err)
	}
}

// A switch holds until no scope above it does, in any order.
func TestFlagScopesAreTheStrictest(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	cfg.Flags[0].MaxScope = ProductScope
	l := flagLeverOf(t, cfg)
	start := definitions(t, l)
	product, feature := flagAction("p", "shop/checkout", 25), flagAction("f", "shop/checkout/recs", 5)
	must(t, applyFlag(t, l, 1, feature))
	must(t, applyFlag(t, l, 2, product))
	st, err := l.Probe(t.Context(), feature)
	if err != nil || !st.InEffect || !strings.Contains(st.Detail, "shop/checkout has 25 %") {
		t.Fatalf("below a stricter scope: %+v, %v", st, err)
	}
	if text := definitions(t, l); strings.Count(text, `["off",25]`) != 2 || strings.Contains(text, `["off",5]`) {
		t.Errorf("want 25 %% of both flags off:\n%s", text)
	}
	revertFlag(t, l, 3, product)
	if text := definitions(t, l); !strings.Contains(text, `["off",5]`) || strings.Contains(text, `["off",25]`) {
		t.Errorf("want 5 %% of one flag off:\n%s", text)
	}
	revertFlag(t, l, 4, feature)
	if diff := cmp.Diff(start, definitions(t, l)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
}

func TestFlagMaxScope(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	for _, name := range []string{"shop", "shop/checkout"} {
		err := applyFlag(t, l, 1, flagAction("a", name, 5))
		wantCode(t, err, sre.CodeRefused)
		if !strings.Contains(err.Error(), "takes a person") {
			t.Error(err)
		}
	}
	if readText(t, cfg.Flags[0].File) != flagdText {
		t.Error("the file was written")
	}
	c, err := l.Describe(t.Context())
	must(t, err)
	if diff := cmp.Diff([]string{"shop", "shop/checkout"}, c.Person); diff != "" {
		t.Errorf("what takes a person:\n%s", diff)
	}
	must(t, l.Apply(t.Context(), sre.Directive{
		Action: flagAction("a", "shop", 5), Epoch: 1, Seq: 2, Expires: testTime().Add(time.Minute), Approved: "ada",
	}))
}

func TestFlagSweep(t *testing.T) {
	cfg := flagConfig(t, goffFormat, "flags.yaml", goffYAML)
	l := flagLeverOf(t, cfg)
	start := definitions(t, l)
	must(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/reviews", 100)))
	held := readText(t, cfg.Flags[0].File)
	must(t, l.Sweep(t.Context(), testTime().Add(time.Minute-1)))
	if readText(t, cfg.Flags[0].File) != held {
		t.Error("reverted before it lapsed")
	}
	must(t, l.Sweep(t.Context(), testTime().Add(time.Minute)))
	if diff := cmp.Diff(start, definitions(t, l)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
	wantCode(t, l.Apply(t.Context(), sre.Directive{Action: flagAction("a", "shop/checkout/reviews", 1), Epoch: 1, Seq: 0, Expires: testTime().Add(time.Minute)}), sre.CodeRefused)
}

func TestFlagReactivationCheck(t *testing.T) {
	server := httptest.NewServer(nil) // answers 404
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	cfg.KillSwitches[2].Reactivation = ReactivationConfig{HTTP: server.URL}
	l := flagLeverOf(t, cfg)
	a := flagAction("a", "shop/checkout/recs", 25)
	must(t, applyFlag(t, l, 1, a))
	must(t, applyFlag(t, l, 2, flagAction("a", "shop/checkout/recs", 100)))
	wantCode(t, applyFlag(t, l, 3, a), sre.CodeRefused)
	l.tree[2].Reactivation = ReactivationConfig{TCP: server.Listener.Addr().String()}
	must(t, applyFlag(t, l, 4, a)) // something listens there
	server.Close()
	wantCode(t, applyFlag(t, l, 5, flagAction("a", "shop/checkout/recs", 5)), sre.CodeRefused)
	revertFlag(t, l, 6, a) // undo is never blocked
}

func TestFlagFileFailures(t *testing.T) {
	cases := map[string]struct {
		text string
		want sre.Code
	}{
		"not JSON":      {`{"flags":`, sre.CodeFailed},
		"empty":         {``, sre.CodeFailed},
		"no flags":      {`{}`, sre.CodeFailed},
		"no such flag":  {`{"flags":{}}`, sre.CodeRefused},
		"disabled":      {`{"flags":{"recs":{"state":"DISABLED","variants":{"on":true,"off":false},"defaultVariant":"on"}}}`, sre.CodeRefused},
		"no variant":    {`{"flags":{"recs":{"state":"ENABLED","variants":{"a":true},"defaultVariant":"a"}}}`, sre.CodeRefused},
		"broken state":  {`{"flags":{"recs":{"variants":{"off":false},"metadata":{"sreagent":"x"}}}}`, sre.CodeFailed},
		"trailing text": {`{"flags":{"recs":{}}} x`, sre.CodeFailed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := flagConfig(t, flagdFormat, "flags.json", c.text)
			wantCode(t, applyFlag(t, flagLeverOf(t, cfg), 1, flagAction("a", "shop/checkout/recs", 5)), c.want)
			if readText(t, cfg.Flags[0].File) != c.text {
				t.Error("the file was written")
			}
		})
	}
}

// Somebody who writes while the lever works wins.
func TestFlagFileConcurrentWriter(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	f := l.store.(flagFile)
	loads := 0
	f.load = func(ctx context.Context, path string) ([]byte, error) {
		if loads++; loads == 2 {
			must(t, os.WriteFile(path, []byte(flagdText+"\n"), 0o600))
		}
		return loadFile(ctx, path)
	}
	l.store = f
	wantCode(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/recs", 5)), sre.CodeRefused)
	if readText(t, cfg.Flags[0].File) != flagdText+"\n" {
		t.Error("the other writer's file was written over")
	}
}

func TestFlagDrillWritesNothing(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	stages, err := l.Drill(t.Context(), flagAction("a", "shop/checkout/recs", 0), []float64{0, 1, 5, 25, 100})
	must(t, err)
	if len(stages) != 5 || !strings.Contains(stages[3].Flags["recs"], `["off",25],["on",75]`) || !strings.Contains(stages[4].Flags["recs"], `"defaultVariant": "off"`) {
		t.Errorf("%+v", stages)
	}
	if readText(t, cfg.Flags[0].File) != flagdText {
		t.Error("the drill wrote")
	}
}

// The splices hold against decoding, changing and encoding.
func TestJSONSplicesAgainstMaps(t *testing.T) {
	spaces := []string{"", " ", "\n\t", "  "}
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-d"\\é{}]{0,3}`), 0, 4, rapid.ID[string]).Draw(t, "keys")
		space := rapid.SampledFrom(spaces)
		var text strings.Builder
		text.WriteString(space.Draw(t, "s") + "{" + space.Draw(t, "s"))
		model := map[string]any{}
		for i, key := range keys {
			name, _ := json.Marshal(key)
			value := rapid.SampledFrom([]string{`1`, `"x}"`, `{"a":[1,{}]}`, `null`, `[ ]`}).Draw(t, "value")
			var v any
			_ = json.Unmarshal([]byte(value), &v)
			model[key] = v
			if i > 0 {
				text.WriteString("," + space.Draw(t, "s"))
			}
			text.WriteString(string(name) + space.Draw(t, "s") + ":" + space.Draw(t, "s") + value + space.Draw(t, "s"))
		}
		text.WriteString("}" + space.Draw(t, "s"))
		key := rapid.SampledFrom(append([]string{"new"}, keys...)).Draw(t, "key")
		got, err := setMember([]byte(text.String()), key, []byte(`"set"`))
		if rapid.Bool().Draw(t, "drop") {
			got, err = dropMember([]byte(text.String()), key)
			delete(model, key)
		} else {
			model[key] = "set"
		}
		if err != nil {
			t.Fatal(err)
		}
		var have map[string]any
		if err := json.Unmarshal(got, &have); err != nil || !cmp.Equal(have, model) {
			t.Fatalf("%s became %s: %v\n%s", text.String(), got, err, cmp.Diff(model, have))
		}
	})
}
