package remediators

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// TestHAProxyAlwaysComesBack takes a lever through any sequence of actions,
// renewals, reverts, lapses, lost replies and restarts of either side. A dumb
// twin knows only who was last accepted on each knob. Once all leases have
// lapsed, everything is what it was.
func TestHAProxyAlwaysComesBack(t *testing.T) {
	fewerChecks(t, "25")
	actions := []sre.Action{admitAction(), other(admitAction()), weightAction(), other(weightAction()), drainAction()}
	for i := range actions {
		actions[i].ID = fmt.Sprintf("action-%d", i)
	}
	rapid.Check(t, func(rt *rapid.T) {
		w := newProxyWorld(t, "unix")
		start := w.inForce() + w.file(t)
		seq := uint64(0)
		owner := map[string]string{}
		name := func(a sre.Action) string { k, _ := w.lever.knob(a); return k.name() }
		draw := func() sre.Action { return rapid.SampledFrom(actions).Draw(rt, "action") }
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(rt *rapid.T) {
				a := draw()
				seq++
				if err := w.lever.Apply(t.Context(), w.directive(a, 5, seq, time.Minute)); err != nil {
					rt.Fatalf("apply %s: %v", a.ID, err)
				}
				owner[name(a)] = a.ID
			},
			"revert": func(rt *rapid.T) {
				a := draw()
				seq++
				if err := w.lever.Revert(t.Context(), w.directive(a, 5, seq, 0)); err != nil {
					rt.Fatalf("revert %s: %v", a.ID, err)
				}
				if owner[name(a)] == a.ID {
					delete(owner, name(a))
				}
			},
			"cut": func(rt *rapid.T) {
				a := draw()
				seq++
				w.with(func() { w.budget = rapid.IntRange(0, 14).Draw(rt, "commands") })
				_ = w.lever.Apply(t.Context(), w.directive(a, 5, seq, time.Minute))
				w.with(func() { w.budget = -1 })
				// Unknown: probe, and here always withdraw.
				seq++
				if err := w.lever.Revert(t.Context(), w.directive(a, 5, seq, 0)); err != nil {
					rt.Fatalf("revert %s: %v", a.ID, err)
				}
				// What was held before is held still, or was given back with it.
				st, err := w.lever.Probe(t.Context(), a)
				if err != nil || st.Owner != "" && (st.Owner != owner[name(a)] || st.Owner == a.ID) {
					rt.Fatalf("after a withdrawal: %+v, %v; the twin says %q", st, err, owner[name(a)])
				}
				owner[name(a)] = st.Owner
			},
			"lapse": func(rt *rapid.T) {
				w.now = w.now.Add(2 * time.Minute)
				if err := w.lever.Sweep(t.Context(), w.now); err != nil {
					rt.Fatal(err)
				}
				clear(owner)
			},
			"restart the agent": func(*rapid.T) { w.reopen(t) },
			"": func(rt *rapid.T) {
				for _, a := range actions {
					st, err := w.lever.Probe(t.Context(), a)
					if err != nil {
						rt.Fatal(err)
					}
					if st.InEffect != (owner[name(a)] == a.ID) || st.Owner != owner[name(a)] {
						rt.Fatalf("%s: %+v, the twin says %q", a.ID, st, owner[name(a)])
					}
				}
			},
		})
		if err := w.lever.Sweep(t.Context(), w.now.Add(time.Hour)); err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(start, w.inForce()+w.file(t)); diff != "" {
			rt.Fatalf("not what it was:\n%s", diff)
		}
	})
}

// fewerChecks keeps a property on sockets and disks short, unless the command
// line asks for another number.
func fewerChecks(t *testing.T, n string) {
	checks := flag.Lookup("rapid.checks")
	if old := checks.Value.String(); old == checks.DefValue {
		must(t, checks.Value.Set(n))
		t.Cleanup(func() { _ = checks.Value.Set(old) })
	}
}

func drawSettings(rt *rapid.T, label string) settings {
	return rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "a.b", "c"}), rapid.SampledFrom([]string{"", "1", "20"})).Draw(rt, label)
}

// The twin of both editors: read everything, change it, compare.
func TestEditorsAgreeWithTheTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{
			"a 1", "a 2", "  b\t3", "# a 4", "", "c 5 6", "a.b 7", "d 8\r", "ab 9",
		})).Draw(rt, "lines")
		content := strings.Join(lines, "\n")
		changes := drawSettings(rt, "changes")
		edited := editMapFile([]byte(content), changes)
		want := settings{}
		for _, e := range listMap(content) {
			if _, seen := want[e.key]; !seen {
				want[e.key] = e.value
			}
		}
		for key, value := range changes {
			delete(want, key)
			if value != "" {
				want[key] = value
			}
		}
		if diff := cmp.Diff(want, first(listMap(string(edited)))); diff != "" {
			rt.Fatalf("file:\n%s", diff)
		}
		if diff := cmp.Diff(want, first(edit(listMap(content), changes))); diff != "" {
			rt.Fatalf("memory:\n%s", diff)
		}
		if string(editMapFile(edited, changes)) != string(edited) {
			rt.Fatal("editing twice is not editing once")
		}
		for _, line := range lines {
			if strings.HasPrefix(line, "#") && !strings.Contains(string(edited), line) {
				rt.Fatal("a comment is gone")
			}
		}
	})
}

func listMap(content string) []entry {
	var out []entry
	for line := range strings.Lines(content) {
		if key, value, ok := mapLine(line); ok {
			out = append(out, entry{key, value})
		}
	}
	return out
}

// A map larger than one payload still changes at once and whole.
func TestHAProxyLargeMap(t *testing.T) {
	w := newProxyWorld(t, "unix")
	w.with(func() {
		m := w.maps[w.mapFile]
		for i := range 2000 {
			m.entries = append(m.entries, entry{fmt.Sprintf("tenant-%04d.low", i), "50"})
		}
	})
	before := w.inForce()
	must(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)))
	must(t, w.lever.Revert(t.Context(), w.directive(admitAction(), 5, 2, time.Minute)))
	if diff := cmp.Diff(before, w.inForce()); diff != "" {
		t.Errorf("entries were lost:\n%s", diff)
	}
}

func FuzzEditMapFile(f *testing.F) {
	f.Add([]byte(mapText), "be_shop.low", "20")
	f.Add([]byte("a 1"), "a", "")
	f.Add([]byte("\r\n \t\n#\n"), "x", "0")
	f.Fuzz(func(t *testing.T, content []byte, key, value string) {
		if !proxyWord.MatchString(key) || strings.HasPrefix(key, "#") || value != "" && !proxyWord.MatchString(value) {
			t.Skip()
		}
		edited := editMapFile(content, settings{key: value})
		if got := first(listMap(string(edited)))[key]; got != value {
			t.Errorf("%q is %q after setting %q", key, got, value)
		}
	})
}

func FuzzParseLedger(f *testing.F) {
	f.Add([]byte(`{"version":1,"epoch":5,"marks":{"x":{"epoch":5,"seq":1}},"holds":{"x":{"action":{"id":"a"},"set":{"low":"1"}}}}`))
	f.Add([]byte(`{"version":1,"holds":{"x":null}}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		led, err := parseLedger(b)
		if err != nil {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(led.Holds)) {
			led.Holds[name].foreign(settings{}, "")
			led.Holds[name].back(settings{})
		}
		file := ledgerFile{path: t.TempDir() + "/ledger.json"}
		must(t, file.save(led))
		again, err := file.load()
		must(t, err)
		if len(again.Holds) != len(led.Holds) || again.Epoch != led.Epoch {
			t.Errorf("%+v became %+v", led, again)
		}
	})
}

func FuzzRuntimeReplies(f *testing.F) {
	f.Add("1\n# be_id be_name srv_name srv_op_state srv_admin_state srv_uweight\n4 be s1 2 8 100\n")
	f.Add("# pxname,svname,slim,\nbe,s1,50,\n")
	f.Add("0x55 be.low 20\n")
	f.Fuzz(func(t *testing.T, reply string) {
		if servers, err := parseServers(reply); err == nil {
			for _, s := range servers {
				if s.state != "ready" && s.state != "drain" && s.state != "maint" {
					t.Errorf("state %q", s.state)
				}
			}
		}
		_, _ = parseMaxconn(reply, "s1")
		if list, err := parseMap(reply); err == nil {
			for _, e := range list {
				if strings.ContainsAny(e.key, " \n") {
					t.Errorf("key %q", e.key)
				}
			}
		}
	})
}

func BenchmarkEditMapFile(b *testing.B) {
	var content strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&content, "backend-%d.low 100\n", i)
	}
	text, changes := []byte(content.String()), settings{"backend-500.low": "20", epochKey: "7"}
	b.ReportAllocs()
	for b.Loop() {
		editMapFile(text, changes)
	}
}

func BenchmarkReplaceFile(b *testing.B) {
	path := b.TempDir() + "/file"
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := replaceFile(path, []byte("y"), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
