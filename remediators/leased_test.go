package remediators

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// errCrash ends the process of the test's imagination.
var errCrash = errors.New("crash")

// shelf is a driver in memory, with a target that can crash the lever or lose
// an answer.
type shelf struct {
	value  sre.Params
	probed bool
	next   string // what befalls the next write: "", crash before, crash after, cut before, cut after, refuse
}

func (s *shelf) observe(context.Context, order) (*observed, error) {
	if !s.probed {
		return nil, nil
	}
	return &observed{current: maps.Clone(s.value)}, nil
}

func (s *shelf) apply(_ context.Context, o order) error { return s.write(maps.Clone(o.action.Params)) }

func (s *shelf) revert(_ context.Context, o order) error {
	if s.probed {
		return s.write(maps.Clone(o.restore))
	}
	return s.write(sre.Params{"percent": 0.0})
}

func (s *shelf) write(to sre.Params) error {
	befalls := s.next
	s.next = ""
	switch befalls {
	case "crash before":
		panic(errCrash)
	case "cut before":
		return sre.Unknownf(errors.New("cut"), "no answer")
	case "refuse":
		return sre.Refusedf("not now")
	}
	s.value = to
	switch befalls {
	case "crash after":
		panic(errCrash)
	case "cut after":
		return sre.Unknownf(errors.New("cut"), "no answer")
	}
	return nil
}

func (s *shelf) manual(order) string { return "echo" }

func openShelf(t testing.TB, s *shelf, dir string, now *clock) *leasedLever {
	schema := newSchema(SchemaConfig{Kind: sre.KillSwitch, Params: []ParamConfig{
		{Name: "percent", Type: "number", Required: true, Max: 100, Unit: "percent"},
	}}, true)
	l, err := newLeased("shelf", schema, s, dir, Options{Now: now.Now}.withDefaults(), newMetrics(nil))
	must(t, err)
	return l
}

// crashing runs a call that may end with the process.
func crashing(call func() error) (err error) {
	defer func() {
		if p := recover(); p == errCrash { //nolint:errorlint // the very value
			err = errCrash
		} else if p != nil {
			panic(p)
		}
	}()
	return call()
}

var befalls = []string{"", "crash before", "crash after", "cut before", "cut after", "refuse"}

// A crash between the record and the effect, and every lost answer, ends known
// or unknown: probe never claims what is not so, and the lapse leads back.
func TestLeasedCrashPoints(t *testing.T) {
	for _, probed := range []bool{true, false} {
		for _, first := range befalls {
			for _, second := range befalls {
				t.Run(fmt.Sprintf("probed=%t/%s/%s", probed, first, second), func(t *testing.T) {
					s, now, dir := &shelf{value: sre.Params{"percent": 0.0}, probed: probed}, newClock(), t.TempDir()
					a := hookAction("a", 25)
					s.next = first
					err := crashing(func() error { return openShelf(t, s, dir, now).Apply(t.Context(), hookDirective(a, 1)) })
					l := openShelf(t, s, dir, now)
					honest(t, s, l, a, err)
					s.next = second
					err = crashing(func() error { return l.Revert(t.Context(), hookDirective(a, 2)) })
					s.next = ""
					l = openShelf(t, s, dir, now)
					st, probeErr := l.Probe(t.Context(), a)
					must(t, probeErr)
					if err == nil && (st.InEffect || st.Owner != "") {
						t.Errorf("after a revert that succeeded: %+v", st)
					}
					if sre.CodeOf(err) == sre.CodeUnknown && st.InEffect {
						t.Errorf("on its way back, but in effect: %+v", st)
					}
					must(t, l.Sweep(t.Context(), now.advance(time.Hour)))
					if diff := cmp.Diff(sre.Params{"percent": 0.0}, s.value); diff != "" {
						t.Errorf("after the lapse:\n%s", diff)
					}
				})
			}
		}
	}
}

// honest holds what the lever says after an apply against what is so.
func honest(t *testing.T, s *shelf, l *leasedLever, a sre.Action, err error) {
	t.Helper()
	st, probeErr := l.Probe(t.Context(), a)
	must(t, probeErr)
	there := covers(s.value, a.Params)
	switch {
	case st.Foreign:
		t.Errorf("somebody else is blamed: %+v", st)
	case st.InEffect && !there:
		t.Errorf("in effect, says the lever, but %v is: %+v", s.value, st)
	case s.probed && there && !st.InEffect:
		t.Errorf("%v is in force and read, but not in effect: %+v", s.value, st)
	case there && st.Owner != a.ID:
		t.Errorf("%v is in force and on nobody's record: %+v", s.value, st)
	case err == nil && !st.InEffect:
		t.Errorf("apply succeeded, but %+v", st)
	case sre.CodeOf(err) == sre.CodeRefused && there:
		t.Errorf("apply was refused, but %v is in force", s.value)
	}
}

// Nothing is in force longer than its lease, whatever happens and however often
// the agent starts anew, and what was there before the first comes back.
func TestLeasedNothingOutlivesItsLease(t *testing.T) {
	fewerChecks(t, "25")
	rapid.Check(t, func(rt *rapid.T) {
		probed := rapid.Bool().Draw(rt, "probed")
		s, now := &shelf{value: sre.Params{"percent": 0.0}, probed: probed}, newClock()
		dir := filepath.Join(t.TempDir(), "levers")
		l := openShelf(t, s, dir, now)
		seq, until := uint64(0), testTime()
		draw := func() sre.Action {
			a := hookAction(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "id"), 0)
			a.Params = sre.Params{"percent": rapid.SampledFrom([]float64{5, 25, 100}).Draw(rt, "percent")}
			return a
		}
		call := func(f func() error) error {
			seq++
			s.next = rapid.SampledFrom(befalls).Draw(rt, "befalls")
			err := crashing(f)
			s.next = ""
			if errors.Is(err, errCrash) {
				l = openShelf(t, s, dir, now)
			}
			return err
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(*rapid.T) {
				d := hookDirective(draw(), seq+1)
				d.Expires = now.Now().Add(time.Minute)
				_ = call(func() error { return l.Apply(t.Context(), d) })
				until = d.Expires
			},
			"revert": func(*rapid.T) {
				d := hookDirective(draw(), seq+1)
				_ = call(func() error { return l.Revert(t.Context(), d) })
			},
			"time": func(rt *rapid.T) {
				now.advance(time.Duration(rapid.IntRange(1, 50).Draw(rt, "seconds")) * time.Second)
				must(t, l.Sweep(t.Context(), now.Now()))
			},
			"": func(rt *rapid.T) {
				if !now.Now().Before(until) {
					must(t, l.Sweep(t.Context(), now.Now()))
					if !covers(s.value, sre.Params{"percent": 0.0}) {
						rt.Fatalf("%v is in force after every lease has lapsed", s.value)
					}
				}
				st, err := l.Probe(t.Context(), hookAction("a", 0))
				if err != nil {
					rt.Fatal(err)
				}
				if st.Owner == "" && !covers(s.value, sre.Params{"percent": 0.0}) {
					rt.Fatalf("%v is in force and on nobody's record: %+v", s.value, st)
				}
				if st.Epoch > 5 {
					rt.Fatalf("epoch %d was never sent", st.Epoch)
				}
			},
		})
	})
}

func TestEncodeParams(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := sre.Params{
			"n": rapid.Float64Range(-1e12, 1e12).Draw(rt, "n"), "s": rapid.String().Draw(rt, "s"), "b": rapid.Bool().Draw(rt, "b"),
		}
		out := decodeParams(encodeParams(in))
		if in["n"] != out["n"] || in["b"] != out["b"] || in["s"] != out["s"] {
			rt.Fatalf("%v became %v", in, out)
		}
	})
	if !maps.Equal(encodeParams(sre.Params{"n": 5}), encodeParams(sre.Params{"n": 5.0})) {
		t.Error("a whole number is spelled in two ways")
	}
}

// Values from outside change neither where a request goes nor its form.
func FuzzRenderRequest(f *testing.F) {
	f.Add("shop", "banner", "inc-1", "blue", "green")
	f.Add("a", "..", "x\r\nHost: evil", `","admin":true,"x":"`, "{{ .params }}")
	f.Add("@evil", "/?#", "%2e%2e", "\x00", "\u2028")
	tmpl, err := compileRequest(WebhookRequest{
		Method: "PUT", URL: "https://flags.example/v1/{{ .service | path }}/{{ .name | path }}?zone={{ .params.zone | query }}",
		Headers: map[string]string{"X-Id": "{{ .id }}"}, Body: `{"zone": {{ json .params.zone }}, "was": {{ json .restore.zone }}}`,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, service, name, id, zone, was string) {
		a := sre.Action{ID: id, Target: sre.Target{Service: service, Name: name}, Params: sre.Params{"zone": zone}}
		r, err := tmpl.render(order{purpose: opApply, action: a, restore: sre.Params{"zone": was}})
		if err != nil {
			return
		}
		u, err := url.Parse(r.url)
		must(t, err)
		if u.Host != "flags.example" || u.Scheme != "https" || len(u.Query()) != 1 || u.Query().Get("zone") != zone || u.Fragment != "" {
			t.Errorf("url %q", r.url)
		}
		if got := u.EscapedPath(); len(strings.Split(got, "/")) != 4 {
			t.Errorf("path %q", got)
		}
		if v := r.headers.Get("X-Id"); v != "" && strings.ContainsAny(v, "\r\n\x00") {
			t.Errorf("header %q", v)
		}
		var body map[string]string
		if err := json.Unmarshal([]byte(r.body), &body); err != nil || len(body) != 2 {
			t.Errorf("body %q: %v", r.body, err)
		}
	})
}

// A value stays one argument and never becomes an option.
func FuzzArguments(f *testing.F) {
	f.Add("shop", "--all", "a b")
	f.Add("{params.zone}", "", "\x00")
	form := ExecCommand{Argv: []string{"/bin/tool", "set", "{service}", "{params.zone}", "{restore.zone}"}}
	f.Fuzz(func(t *testing.T, service, zone, was string) {
		a := sre.Action{Target: sre.Target{Service: service}, Params: sre.Params{"zone": zone}}
		got, err := arguments(form, order{action: a, restore: sre.Params{"zone": was}})
		if err != nil {
			return
		}
		if diff := cmp.Diff([]string{"/bin/tool", "set", service, zone, was}, got); diff != "" {
			t.Errorf("arguments:\n%s", diff)
		}
		for _, arg := range got {
			if arg == "" || arg[0] == '-' {
				t.Errorf("argument %q", arg)
			}
		}
	})
}
