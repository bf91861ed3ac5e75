package remediators

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

func hookAction(id string, percent float64) sre.Action {
	return sre.Action{
		ID: id, Kind: sre.KillSwitch, TTL: time.Minute,
		Target: sre.Target{Lever: "hook", Service: "shop", Name: "banner"}, Params: sre.Params{"percent": percent},
	}
}

func hookConfig(t *testing.T, url string, probed bool) Config {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	must(t, os.WriteFile(secret, []byte(hookSecret+"\n"), 0o600))
	c := WebhookConfig{
		Name: "hook", SecretFile: secret, HTTP: promconfig.DefaultHTTPClientConfig, Timeout: model.Duration(time.Hour),
		Schema: SchemaConfig{
			Kind: sre.KillSwitch, Services: []string{"shop"},
			Params: []ParamConfig{{Name: "percent", Type: "number", Required: true, Max: 100, Unit: "percent"}},
		},
	}
	address := url + "/flags/{{ .service | path }}/{{ .name | path }}"
	body := `{"percent": {{ json .params.percent }}, "epoch": {{ .epoch }}, "seq": {{ .seq }}, "until": {{ .expires | rfc3339 | json }}}`
	c.Apply = WebhookRequest{Method: http.MethodPost, URL: address, Body: body}
	c.Revert = &WebhookRequest{Method: http.MethodDelete, URL: address}
	if probed {
		c.Apply.Method = http.MethodPut
		c.Revert = &WebhookRequest{Method: http.MethodPut, URL: address, Body: `{"percent": {{ json .restore.percent }}}`}
		c.Probe = &WebhookProbe{URL: address, Params: map[string]string{"percent": "/flag/percent"}}
	}
	cfg := DefaultConfig()
	cfg.StateDir = filepath.Join(dir, "levers")
	cfg.Webhook = []WebhookConfig{c}
	return cfg
}

// openLeased opens the one lever of a configuration.
func openLeased(t *testing.T, cfg Config, now func() time.Time) *leasedLever {
	t.Helper()
	levers, err := New(cfg, Options{Now: now})
	must(t, err)
	l := levers[0].(*leasedLever)
	if w, ok := l.driver.(*webhook); ok {
		w.pause = time.Nanosecond
		w.now = testTime
	}
	return l
}

func badLeasedActions(good sre.Action, param string) []sre.Action {
	with := func(change func(*sre.Action)) sre.Action {
		a := good
		a.Params = sre.Params{param: good.Params[param]}
		change(&a)
		return a
	}
	return []sre.Action{
		with(func(a *sre.Action) { a.Params = nil }),
		with(func(a *sre.Action) { a.Params[param] = 1e9 }),
		with(func(a *sre.Action) { a.Params[param] = -1.0 }),
		with(func(a *sre.Action) { a.Params[param] = "5" }),
		with(func(a *sre.Action) { a.Params["urgent"] = 1.0 }),
		with(func(a *sre.Action) { a.Kind = sre.Drain }),
		with(func(a *sre.Action) { a.ID = "" }),
		with(func(a *sre.Action) { a.ID = "a\r\nX-Evil: 1" }),
		with(func(a *sre.Action) { a.ID = "--force" }),
		with(func(a *sre.Action) { a.Target.Service = "bank" }),
		with(func(a *sre.Action) { a.Target.Callee = "pay" }),
		with(func(a *sre.Action) { a.Target.Name = "../../admin" }),
		with(func(a *sre.Action) { a.Target.Name = "--all" }),
	}
}

// leasedSubject fills in what does not depend on the target.
func leasedSubject(t *testing.T, cfg Config, a, other sre.Action, param string) *subject {
	now := newClock()
	l := openLeased(t, cfg, now.Now)
	return &subject{
		lever: l, config: &cfg, action: a, other: other, bad: badLeasedActions(a, param),
		restart: func() sre.Remediator { l = openLeased(t, cfg, now.Now); return l },
		advance: func(d time.Duration) { must(t, l.Sweep(t.Context(), now.advance(d))) },
	}
}

func webhookSubject(t *testing.T, probed bool) *subject {
	r, url := startReceiver(t)
	s := leasedSubject(t, hookConfig(t, url, probed), hookAction("inc-1.kill.1", 25), hookAction("inc-2.kill.1", 100), "percent")
	s.inForce, s.recorded = r.inForce, !probed
	s.writes = func() int { r.mu.Lock(); defer r.mu.Unlock(); return r.writes }
	s.cut = func() { r.with(func() { r.percent["cut"] = 1 }) }
	s.stall = func() { r.set(stallUntilGone) }
	s.mend = func() {
		r.set(nil)
		r.with(func() { delete(r.percent, "cut") })
	}
	return s
}

func answer(status int, body string, headers ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

func hookDirective(a sre.Action, seq uint64) sre.Directive {
	return sre.Directive{Action: a, Epoch: 5, Seq: seq, Expires: testTime().Add(time.Minute)}
}

func TestWebhookClassifiesAnswers(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		want   sre.Code
		reason string
	}{
		"yes":          {200, "anything", "", ""},
		"later":        {202, "", "", ""},
		"nonsense":     {400, `{"error":"percent is odd"}`, sre.CodeInvalid, "percent is odd"},
		"entity":       {422, ``, sre.CodeInvalid, "422"},
		"not allowed":  {403, `no`, sre.CodeRefused, "no"},
		"conflict":     {409, `stale epoch`, sre.CodeRefused, "stale epoch"},
		"too many":     {429, ``, sre.CodeRefused, "429"},
		"timeout":      {408, ``, sre.CodeUnknown, "408"},
		"redirect":     {307, ``, sre.CodeUnknown, "redirect"},
		"internal":     {500, ``, sre.CodeUnknown, "500"},
		"unknown word": {299, ``, sre.CodeUnknown, "299"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, url := startReceiver(t)
			l := openLeased(t, hookConfig(t, url, false), testTime)
			r.set(answer(c.status, c.body, "Location", url+"/elsewhere"))
			err := l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1))
			wantCode(t, err, c.want)
			if err != nil && !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v does not say %q", err, c.reason)
			}
			if n := len(r.seen()); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
			st, err := l.Probe(t.Context(), hookAction("a", 5))
			must(t, err)
			if held := st.Owner == "a"; held != (c.want == "" || c.want == sre.CodeUnknown) {
				t.Errorf("after %s: %+v", c.want, st)
			}
		})
	}
}

func TestWebhookRetriesOnlyWhatIsSafe(t *testing.T) {
	cut := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	echo := func(w http.ResponseWriter, req *http.Request) bool {
		return answer(503, "", keyHeader, req.Header.Get(keyHeader))(w, req)
	}
	cases := map[string]struct {
		method    string
		misbehave func(http.ResponseWriter, *http.Request) bool
		want      int
	}{
		"post, cut":          {http.MethodPost, cut, 1},
		"post, 503":          {http.MethodPost, answer(503, ""), 1},
		"post, 503, echoed":  {http.MethodPost, echo, 3},
		"post, other's echo": {http.MethodPost, answer(503, "", keyHeader, "x"), 1},
		"patch, cut":         {http.MethodPatch, cut, 1},
		"put, cut":           {http.MethodPut, cut, 3},
		"put, 503":           {http.MethodPut, answer(503, ""), 3},
		"put, 409":           {http.MethodPut, answer(409, ""), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, url := startReceiver(t)
			cfg := hookConfig(t, url, false)
			cfg.Webhook[0].Apply.Method = c.method
			r.set(c.misbehave)
			err := openLeased(t, cfg, testTime).Apply(t.Context(), hookDirective(hookAction("a", 5), 1))
			if err == nil {
				t.Fatal("apply succeeded")
			}
			seen := r.seen()
			if len(seen) != c.want {
				t.Errorf("%d requests, want %d", len(seen), c.want)
			}
			for _, line := range seen {
				if line != c.method+" /flags/shop/banner a/apply/5-1" {
					t.Errorf("request %q", line)
				}
			}
		})
	}
}

// An answer of no after a silence proves nothing of the attempt before it.
func TestWebhookSilenceThenNoIsUnknown(t *testing.T) {
	r, url := startReceiver(t)
	cfg := hookConfig(t, url, false)
	cfg.Webhook[0].Apply.Method = http.MethodPut
	l := openLeased(t, cfg, testTime)
	r.set(func(w http.ResponseWriter, req *http.Request) bool {
		if len(r.seen()) == 1 {
			panic(http.ErrAbortHandler)
		}
		return answer(409, "")(w, req)
	})
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)), sre.CodeUnknown)
}

func TestWebhookNotReachedIsFailed(t *testing.T) {
	_, url := startReceiver(t)
	cfg := hookConfig(t, url, false)
	server := httptest.NewServer(http.NotFoundHandler())
	gone := server.URL
	server.Close()
	cfg.Webhook[0].Apply.URL = gone + "/"
	l := openLeased(t, cfg, testTime)
	err := l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1))
	wantCode(t, err, sre.CodeFailed)
	if st, err := l.Probe(t.Context(), hookAction("a", 5)); err != nil || st.Owner != "" {
		t.Errorf("after a request that never left: %+v, %v", st, err)
	}
}

func TestWebhookProbeAnswers(t *testing.T) {
	cases := map[string]func(http.ResponseWriter, *http.Request) bool{
		"not JSON":   answer(200, "<html>"),
		"wrong type": answer(200, `{"flag":{"percent":"none"}}`),
		"too long":   answer(200, strings.Repeat(" ", maxAnswer+1)),
		"status":     answer(204, ""),
	}
	for name, misbehave := range cases {
		t.Run(name, func(t *testing.T) {
			r, url := startReceiver(t)
			l := openLeased(t, hookConfig(t, url, true), testTime)
			r.set(misbehave)
			_, err := l.Probe(t.Context(), hookAction("a", 5))
			wantCode(t, err, sre.CodeFailed)
			wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)), sre.CodeFailed)
			if r.writes != 0 {
				t.Error("it wrote without knowing what is there")
			}
		})
	}
}

// A receiver that says yes and does nothing is found out by the read back.
func TestWebhookReadsBack(t *testing.T) {
	r, url := startReceiver(t)
	l := openLeased(t, hookConfig(t, url, true), testTime)
	r.set(func(w http.ResponseWriter, req *http.Request) bool {
		return req.Method != http.MethodGet && answer(200, "")(w, req)
	})
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)), sre.CodeFailed)
	if st, err := l.Probe(t.Context(), hookAction("a", 5)); err != nil || st.Owner != "" || st.InEffect {
		t.Errorf("after a lie: %+v, %v", st, err)
	}
}

func TestWebhookForeignChangeIsReleased(t *testing.T) {
	r, url := startReceiver(t)
	l := openLeased(t, hookConfig(t, url, true), testTime)
	a := hookAction("a", 5)
	must(t, l.Apply(t.Context(), hookDirective(a, 1)))
	r.with(func() { r.percent["/flags/shop/banner"] = 77 })
	st, err := l.Probe(t.Context(), a)
	must(t, err)
	if !st.Foreign || st.InEffect {
		t.Errorf("after somebody's hand: %+v", st)
	}
	wantCode(t, l.Apply(t.Context(), hookDirective(a, 2)), sre.CodeRefused)
	must(t, l.Sweep(t.Context(), testTime().Add(time.Hour)))
	if got := r.inForce(); got != `{"/flags/shop/banner":77}` {
		t.Errorf("in force is %s, want what somebody chose", got)
	}
}

// The key that a ledger elsewhere knows nothing of is undone all the same.
func TestWebhookRevertsWhatAnotherLedgerHolds(t *testing.T) {
	for _, probed := range []bool{true, false} {
		r, url := startReceiver(t)
		cfg := hookConfig(t, url, probed)
		start := r.inForce()
		must(t, openLeased(t, cfg, testTime).Apply(t.Context(), hookDirective(hookAction("a", 5), 1)))
		cfg.StateDir = filepath.Join(t.TempDir(), "elsewhere")
		d := hookDirective(hookAction("a", 5), 2)
		d.Restore = sre.Params{"percent": 0.0}
		must(t, openLeased(t, cfg, testTime).Revert(t.Context(), d))
		if diff := cmp.Diff(start, r.inForce()); diff != "" {
			t.Errorf("probed %t, not what it was:\n%s", probed, diff)
		}
	}
}

func TestWebhookSecret(t *testing.T) {
	r, url := startReceiver(t)
	cfg := hookConfig(t, url, false)
	l := openLeased(t, cfg, testTime)
	must(t, os.WriteFile(cfg.Webhook[0].SecretFile, []byte("wrong"), 0o600))
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)), sre.CodeRefused)
	must(t, os.WriteFile(cfg.Webhook[0].SecretFile, []byte("\n"), 0o600))
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 2)), sre.CodeFailed)
	must(t, os.Remove(cfg.Webhook[0].SecretFile))
	err := l.Apply(t.Context(), hookDirective(hookAction("a", 5), 3))
	wantCode(t, err, sre.CodeFailed)
	must(t, os.WriteFile(cfg.Webhook[0].SecretFile, []byte(hookSecret), 0o600)) // it is read again
	must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 4)))
	if n := len(r.seen()); n != 2 {
		t.Errorf("%d requests, want the two that could be signed", n)
	}
	text := l.Manual(hookAction("a", 5), nil)
	if strings.Contains(text, hookSecret) || !strings.Contains(text, "$(cat '"+cfg.Webhook[0].SecretFile+"')") || !strings.Contains(text, "a/revert/5-5") {
		t.Errorf("the command for people:\n%s", text)
	}
}

func TestWebhookTTLSendsRenewals(t *testing.T) {
	for _, ttl := range []bool{false, true} {
		r, url := startReceiver(t)
		cfg := hookConfig(t, url, false)
		cfg.Webhook[0].Schema.TTL = ttl
		l := openLeased(t, cfg, testTime)
		must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 1)))
		must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 2)))
		if sent := len(r.seen()) == 2; sent != ttl {
			t.Errorf("ttl %t: requests %v", ttl, r.seen())
		}
	}
}

// What cannot be undone is never done twice, not even after a silence.
func TestWebhookIrreversible(t *testing.T) {
	r, url := startReceiver(t)
	cfg := hookConfig(t, url, false)
	cfg.Webhook[0].Revert = nil
	cfg.Webhook[0].Schema.TTL = true
	l := openLeased(t, cfg, testTime)
	c, err := l.Describe(t.Context())
	must(t, err)
	if c.Kinds[0].Reversible {
		t.Error("described as reversible")
	}
	must(t, l.Revert(t.Context(), hookDirective(hookAction("a", 5), 1)))
	must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 2)))
	must(t, l.Apply(t.Context(), hookDirective(hookAction("a", 5), 3)))
	wantCode(t, l.Revert(t.Context(), hookDirective(hookAction("a", 5), 4)), sre.CodeRefused)
	r.set(answer(500, ""))
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("b", 5), 5)), sre.CodeUnknown)
	r.set(nil)
	wantCode(t, l.Apply(t.Context(), hookDirective(hookAction("b", 5), 6)), sre.CodeUnknown)
	if n := len(r.seen()); n != 2 {
		t.Errorf("%d requests, want 2: %v", n, r.seen())
	}
	if l.Manual(hookAction("a", 5), nil) != "" {
		t.Error("a command to undo what cannot be undone")
	}
	must(t, l.Sweep(t.Context(), testTime().Add(time.Hour)))
	if st, err := l.Probe(t.Context(), hookAction("b", 5)); err != nil || st.Owner != "" {
		t.Errorf("after the lapse: %+v, %v", st, err)
	}
}

func TestWebhookFaults(t *testing.T) {
	cases := map[string]struct {
		change func(*WebhookConfig)
		want   string
	}{
		"name":          {func(c *WebhookConfig) { c.Name = "guard" }, "webhook[0].name"},
		"kind":          {func(c *WebhookConfig) { c.Schema.Kind = "explode" }, "webhook[0].schema.kind"},
		"service":       {func(c *WebhookConfig) { c.Schema.Services[0] = "a/b" }, "webhook[0].schema.services[0]"},
		"param name":    {func(c *WebhookConfig) { c.Schema.Params[0].Name = "A" }, "webhook[0].schema.params[0].name"},
		"range":         {func(c *WebhookConfig) { c.Schema.Params[0].Max = 0 }, "webhook[0].schema.params[0].max"},
		"unit":          {func(c *WebhookConfig) { c.Schema.Params[0].Unit = "" }, "webhook[0].schema.params[0].unit"},
		"type":          {func(c *WebhookConfig) { c.Schema.Params[0].Type = "float" }, "webhook[0].schema.params[0].type"},
		"pattern":       {func(c *WebhookConfig) { c.Schema.Params[0].Pattern = "x" }, "webhook[0].schema.params[0].pattern"},
		"method":        {func(c *WebhookConfig) { c.Apply.Method = "TRACE" }, "webhook[0].apply.method"},
		"scheme":        {func(c *WebhookConfig) { c.Apply.URL = "ftp://x" }, "webhook[0].apply.url"},
		"host template": {func(c *WebhookConfig) { c.Apply.URL = "http://{{ .name }}/" }, "webhook[0].apply.url"},
		"user in url":   {func(c *WebhookConfig) { c.Apply.URL = "http://me:pw@x/" }, "webhook[0].apply.url"},
		"template":      {func(c *WebhookConfig) { c.Apply.Body = "{{ env }}" }, "webhook[0].apply"},
		"credential":    {func(c *WebhookConfig) { c.Apply.Headers = map[string]string{"authorization": "x"} }, "webhook[0].apply.headers.authorization"},
		"header":        {func(c *WebhookConfig) { c.Apply.Headers = map[string]string{"a b": "x"} }, "webhook[0].apply.headers.a b"},
		"expect":        {func(c *WebhookConfig) { c.Apply.Expect = []int{302} }, "webhook[0].apply.expect[0]"},
		"retries":       {func(c *WebhookConfig) { n := 11; c.Retries = &n }, "webhook[0].retries"},
		"timeout":       {func(c *WebhookConfig) { c.Timeout = -1 }, "webhook[0].timeout"},
		"probe params":  {func(c *WebhookConfig) { c.Probe.Params = nil }, "webhook[0].probe.params.percent"},
		"pointer":       {func(c *WebhookConfig) { c.Probe.Params["percent"] = "percent" }, "webhook[0].probe.params.percent"},
		"epoch":         {func(c *WebhookConfig) { c.Probe.Epoch = "epoch" }, "webhook[0].probe.epoch"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := hookConfig(t, "http://127.0.0.1:1", true)
			if faults := cfg.Validate(); len(faults) > 0 {
				t.Fatal(faults)
			}
			c.change(&cfg.Webhook[0])
			_, err := New(cfg, Options{})
			var faults sre.Faults
			if !errors.As(err, &faults) || faults[0].Path != c.want {
				t.Errorf("New says %v, want a fault of %s", err, c.want)
			}
		})
	}
}

func TestLeasedConfigFromYAML(t *testing.T) {
	cfg := parseConfig(t, `
webhook:
  - name: hook
    schema: {kind: restart, services: [shop]}
    apply: {url: "https://x/{{ .service }}"}
exec:
  - name: tool
    schema: {kind: restart}
    apply: {argv: [/bin/true]}
`)
	if faults := cfg.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	w := cfg.Webhook[0]
	if !w.HTTP.EnableHTTP2 || w.retries() != 2 || w.timeout() != 5*time.Second || w.Apply.withDefaults().Method != http.MethodPost {
		t.Errorf("webhook: %+v", w)
	}
	if e := cfg.Exec[0]; e.timeout() != 10*time.Second || e.maxOutput() != 64<<10 {
		t.Errorf("exec: %+v", e)
	}
	cfg.Webhook[0].SecretFile = "secret"
	cfg.SetDirectory("/etc/sreagent")
	if got := cfg.Webhook[0].SecretFile; got != "/etc/sreagent/secret" {
		t.Errorf("the secret's file is %s", got)
	}
	for _, unknown := range []string{"webhook: [{name: hook, colour: red}]", "exec: [{name: tool, shell: true}]"} {
		cfg := DefaultConfig()
		if err := yaml.NewDecoder(strings.NewReader(unknown), yaml.Strict()).Decode(&cfg); err == nil {
			t.Errorf("%s is accepted", unknown)
		}
	}
	cfg.StateDir = t.TempDir()
	levers, err := New(cfg, Options{Now: testTime})
	must(t, err)
	described, err := Capabilities(cfg)
	must(t, err)
	for _, l := range levers {
		want, err := l.Describe(t.Context())
		must(t, err)
		if !slices.ContainsFunc(described, func(c sre.Capability) bool { return cmp.Equal(c, want) }) {
			t.Errorf("a rehearsal is not told of %+v", want)
		}
	}
}
