package remediators

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// Where a request goes is in the configuration: no value lengthens the host.
func TestWebhookHostTakesNoValue(t *testing.T) {
	for address, good := range map[string]bool{
		"https://flags.example":                                    true,
		"https://flags.example/{{ .params.percent }}":              true,
		"https://flags.example?at={{ .params.percent }}":           true,
		"https://{{ .service }}.flags.example/x":                   true,
		"https://{{ .service }}":                                   true,
		"http://[::1]:80/{{ .params.percent }}":                    true,
		"https://flags.example{{ .params.percent }}":               false,
		"https://flags.example{{ .params.percent }}/x":             false,
		"https://flags.example:80{{ .params.percent }}/x":          false,
		"https://{{ .service }}{{ .params.percent }}/x":            false,
		"http://[::1]{{ .params.percent }}/x":                      false,
		"https://flags.example{{ if true }}.elsewhere{{ end }}/x":  false,
		"https://{{ .service }}.{{ .params.percent }}.example/":    false,
		"https://flags.example{{/* */}}{{ .params.percent }}/path": false,
	} {
		cfg := hookConfig(t, "http://127.0.0.1:1", false)
		cfg.Webhook[0].Apply.URL = address
		if faults := cfg.Validate(); (len(faults) == 0) != good {
			t.Errorf("%s: %v", address, faults)
		}
	}
}

// The address of a receiver is a credential with many of them; it is not told.
func TestWebhookAddressesAreNotTold(t *testing.T) {
	for _, value := range []string{"a b", "../x", "%zz", ":"} {
		cfg := hookConfig(t, "http://127.0.0.1:1", false)
		c := &cfg.Webhook[0]
		c.Schema.Params = append(c.Schema.Params, ParamConfig{Name: "note", Type: "string", Pattern: ".*"})
		c.Apply.URL = "http://127.0.0.1:1/hooks/T0KEN/{{ .params.note }}"
		a := hookAction("a", 5)
		a.Params["note"] = value
		err := openLeased(t, cfg, testTime).Apply(t.Context(), hookDirective(a, 1))
		if err == nil || strings.Contains(err.Error(), "T0KEN") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// A pattern holds for the whole of a string, whatever is written in it.
func TestPatternsDoNotLeaveTheirGroup(t *testing.T) {
	cfg := newPool(t).config(t, true)
	cfg.Exec[0].Schema.Params[1].Pattern = "eu)|(?:us"
	faults := cfg.Validate()
	if len(faults) != 1 || faults[0].Path != "exec[0].schema.params[1].pattern" {
		t.Errorf("got %v", faults)
	}
}

// A listing that is cut between two lines is no listing.
func TestHAProxyCutListingsAreNotTaken(t *testing.T) {
	cases := map[string]struct {
		action       sre.Action
		prefix, text string
	}{
		"servers":   {weightAction(), "show servers", "1\n# srv_name srv_op_state srv_admin_state srv_uweight\ns1 2 0 100\n"},
		"receivers": {drainAction(), "show stat", "# pxname,svname,qcur,scur,slim,rate,rate_max,status,\nbe_shop,s1,0,0,,0,0,no check,\n"},
		"map":       {admitAction(), "show map", "0x1 be_shop.low 100\n"},
		"nothing":   {weightAction(), "show servers", "1\n"},
		"info":      {weightAction(), "show info", "Name: HAProxy\nPid: 100\n"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			w.with(func() { w.reply[c.prefix] = c.text })
			wantCode(t, w.lever.Apply(t.Context(), w.directive(c.action, 5, 1, time.Minute)), sre.CodeFailed)
			if n := w.wrote(); n != 0 {
				t.Errorf("%d writes on half a listing", n)
			}
		})
	}
}

// After a commit, half a listing says nothing about what was written.
func TestHAProxyCutReadBackIsUnknown(t *testing.T) {
	w := newProxyWorld(t, "unix")
	w.with(func() {
		w.before = func(command string) {
			if strings.HasPrefix(command, "commit map") {
				w.reply["show map"] = "0x1 be_shop.low 100\n"
			}
		}
	})
	wantCode(t, w.lever.Apply(t.Context(), w.directive(admitAction(), 5, 1, time.Minute)), sre.CodeUnknown)
	w.with(func() { w.before = nil; clear(w.reply) })
	st, err := w.lever.Probe(t.Context(), admitAction())
	if err != nil || !st.InEffect {
		t.Errorf("a probe says %+v, %v", st, err)
	}
}

// What a probe reads goes to the trail, which holds no infinity.
func TestProbesReadOnlyNumbersThatCanBeRecorded(t *testing.T) {
	w := newProxyWorld(t, "unix")
	for _, text := range []string{"inf", "-Inf", "NaN", "1e300"} {
		w.with(func() { w.maps[w.mapFile].entries = []entry{{"be_shop.high", text}} })
		st, err := w.lever.Probe(t.Context(), admitAction())
		must(t, err)
		if _, err := json.Marshal(st); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for _, p := range []sre.Params{st.Current, {"high": 1e300}, {"high_share": -1e300}} {
			if before := restored(classKnob{}, p); strings.Contains(before["high"]+before["high_share"], "-") {
				t.Errorf("%s would be restored as %v", text, before)
			}
		}
	}
	if before := restored(serverKnob{param: paramWeight}, sre.Params{"weight": 1e300}); before != nil {
		t.Errorf("1e300 would be restored as %v", before)
	}
	for _, text := range []string{"NaN", "Inf", "-1", "1000"} {
		off, err := unleash{}.present([]byte(`{"enabled":true,"strategies":[{"name":"flexibleRollout","parameters":{"rollout":"`+text+`"}}]}`), "")
		if err != nil || !(off >= 0 && off <= 100) {
			t.Errorf("rollout %s: %v %% off, %v", text, off, err)
		}
	}
}

// A lease that can no longer be read is not passed over in silence.
func TestFlagSweepTellsOfALeaseItCannotRead(t *testing.T) {
	later := testTime().Add(time.Hour)
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	must(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/recs", 25)))
	text := strings.Replace(readText(t, cfg.Flags[0].File), `"sreagent": "{`, `"sreagent": "`, 1)
	must(t, os.WriteFile(cfg.Flags[0].File, []byte(text), 0o600))
	if err := l.Sweep(t.Context(), later); err == nil || !strings.Contains(err.Error(), "recs") {
		t.Errorf("a broken state: the sweep says %v", err)
	}

	u, server := startUnleash(t)
	l = flagLeverOf(t, unleashConfig(t, server.URL))
	must(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/recs", 25)))
	add := func(flag string) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.flags[flag].Strategies = append(u.flags[flag].Strategies, unleashStrategy{Name: "userWithId"})
	}
	must(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/reviews", 25)))
	revertFlag(t, l, 2, flagAction("a", "shop/checkout/reviews", 25))
	add("reviews") // nothing is held there any more
	must(t, l.Sweep(t.Context(), later.Add(-time.Hour)))
	add("recs")
	if err := l.Sweep(t.Context(), later); err == nil || !strings.Contains(err.Error(), "recs") {
		t.Errorf("a second strategy: the sweep says %v", err)
	}
}

// A file that is reached by a link is written where it is.
func TestFilesBehindLinksAreWrittenWhereTheyAre(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	file := cfg.Flags[0].File
	link := filepath.Join(t.TempDir(), "flags.json")
	must(t, os.Symlink(file, link))
	cfg.Flags[0].File = link
	must(t, applyFlag(t, flagLeverOf(t, cfg), 1, flagAction("a", "shop/checkout/recs", 25)))
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info.Mode(), err)
	}
	if !strings.Contains(readText(t, file), `["off",25]`) {
		t.Error("who reads the file itself does not see the switch")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The words of a target end up on terminals.
func TestWordsOfTargetsCannotMoveACursor(t *testing.T) {
	const hostile = "no\x1b[2J\r\n\u202eroom\x00"
	r, url := startReceiver(t)
	hook := openLeased(t, hookConfig(t, url, false), testTime)
	r.set(answer(http.StatusConflict, hostile))
	plain, _ := json.Marshal(map[string]string{"error": hostile})
	guard := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(plain)
	}))
	defer guard.Close()
	proxy := newProxyWorld(t, "unix")
	proxy.with(func() { proxy.reply["set server"] = "No such server " + hostile + "\n\n" })
	for name, err := range map[string]error{
		"webhook": hook.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)),
		"exec":    runs(t, `printf 'no\033[2J\r\n\342\200\256room\000' >&2; exit 10`, nil).Apply(t.Context(), poolDirective(1)),
		"guard":   guardLeverFor(t, guard.URL).Apply(t.Context(), sre.Directive{Action: guardAction("a", 5), Expires: testTime().Add(time.Hour)}),
		"haproxy": proxy.lever.Apply(t.Context(), proxy.directive(weightAction(), 5, 1, time.Minute)),
	} {
		if err == nil || !strings.Contains(err.Error(), "no") {
			t.Errorf("%s: %v, want its words", name, err)
			continue
		}
		if strings.ContainsFunc(err.Error(), func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("%s: %q", name, err)
		}
	}
}

// Names of flags are data, in a URL and in a command for a person.
func TestFlagNamesAreQuoted(t *testing.T) {
	const flag = `a/../b?c="d"`
	asked := make(chan string, 1)
	reader := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.EscapedPath() + r.URL.RawQuery }))
	defer reader.Close()
	l := &flagLever{cfg: FlagsConfig{Drill: DrillConfig{Reader: reader.URL, Key: "k"}}, client: reader.Client()}
	_, _ = l.evaluate(t.Context(), flag, "drill")
	if diff := cmp.Diff("/ofrep/v1/evaluate/flags/a%2F..%2Fb%3Fc=%22d%22", <-asked); diff != "" {
		t.Errorf("asked for another flag:\n%s", diff)
	}
	l = &flagLever{cfg: FlagsConfig{Format: flagdFormat, File: "f.json"}, store: flagFile{layout: jsonFlags{under: "flags"}}}
	if got := l.manual(flag); !strings.Contains(got, `.flags["a/../b?c=\"d\""] |=`) {
		t.Errorf("the filter is broken: %s", got)
	}
}

// What a program started does not outlive the program.
func TestExecLeavesNoChildThatHoldsItsPipes(t *testing.T) {
	for _, code := range []string{"1", "0"} {
		l := runs(t, `exec 3> "$1/open"; sleep 3600 & exit `+code, nil)
		path := filepath.Join(l.driver.(*command).cfg.Apply.Argv[2], "open")
		must(t, syscall.Mkfifo(path, 0o600))
		done := make(chan error, 1)
		go func() { done <- l.Apply(t.Context(), poolDirective(1)) }()
		pipe, err := os.Open(path) // waits for the program to open it too
		must(t, err)
		wantCode(t, <-done, map[string]sre.Code{"1": sre.CodeUnknown}[code])
		// The pipe ends when the last process that holds it is gone: the child too.
		must(t, pipe.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := io.ReadAll(pipe); err != nil {
			t.Errorf("exit %s: the child lives on: %v", code, err)
		}
		must(t, pipe.Close())
	}
}
