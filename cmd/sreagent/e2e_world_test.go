//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"text/template"
	"time"

	"github.com/sreagent/sreagent/demo"
	"github.com/sreagent/sreagent/guard"
)

const guardToken = "e2e-guard-token"

// service is one process of the shop.
type service struct {
	Name    string
	Address string
	URL     string      // of the service itself
	relay   *guardRelay // through which the agent reaches its guard
}

// site is everything around the agent: the shop as processes, its load, a
// Prometheus and an Alertmanager.
type site struct {
	dir        string
	services   []*service
	byName     map[string]*service
	load       *demo.Load
	prometheus *server
	promURL    string
	promArgs   []string
	alertURL   string // empty where there is no Alertmanager
}

// worldOptions are what differs between tests.
type worldOptions struct {
	alertmanager bool
	entry        func(t *testing.T, w *site) (url string, transport http.RoundTripper) // where the load goes; nil is the gateway
}

// startWorld starts the shop with its load, and the servers.
func startWorld(t *testing.T, o worldOptions) *site {
	t.Helper()
	w := &site{dir: t.TempDir(), byName: map[string]*service{}}
	w.startShop(t)
	w.startPrometheus(t)
	if o.alertmanager {
		w.startAlertmanager(t)
	}
	gateway, entry := w.byName[demo.Entry].URL, http.RoundTripper(demo.NewTransport())
	if o.entry != nil {
		gateway, entry = o.entry(t, w)
	}
	w.startLoad(t, gateway, entry)
	return w
}

func (w *site) startShop(t *testing.T) {
	t.Helper()
	urls := map[string]string{}
	for _, name := range demo.ServiceNames() {
		s := &service{Name: name, Address: freeAddress(t)}
		s.URL = "http://" + s.Address
		s.relay = startGuardRelay(t, s)
		urls[name] = s.URL
		w.services = append(w.services, s)
		w.byName[name] = s
	}
	self, err := os.Executable()
	must(t, err)
	for _, s := range w.services {
		options, err := json.Marshal(demo.ServiceOptions{Name: s.Name, Address: s.Address, Callees: urls, Token: guardToken})
		must(t, err)
		c := start(t, s.Name, []string{childEnv + "=" + string(options)}, self)
		defer answers(t, c, s.URL+"/metrics")
	}
}

func (w *site) startPrometheus(t *testing.T) {
	t.Helper()
	address := freeAddress(t)
	w.promURL = "http://" + address
	config := filepath.Join(w.dir, "prometheus.yml")
	render(t, "prometheus.yml", config, struct{ Services []*service }{w.services})
	w.promArgs = []string{
		installed(t, "prometheus"), "--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(w.dir, "prometheus"),
		"--web.listen-address=" + address, "--log.level=warn",
	}
	w.againPrometheus(t)
}

// againPrometheus starts the Prometheus with the data that it has.
func (w *site) againPrometheus(t *testing.T) {
	t.Helper()
	w.prometheus = start(t, "prometheus", nil, w.promArgs...)
	answers(t, w.prometheus, w.promURL+"/-/ready")
}

func (w *site) startAlertmanager(t *testing.T) {
	t.Helper()
	address := freeAddress(t)
	w.alertURL = "http://" + address
	config, err := filepath.Abs("testdata/e2e/alertmanager.yml")
	must(t, err)
	c := start(t, "alertmanager", nil, installed(t, "prometheus-alertmanager"), "--config.file="+config,
		"--storage.path="+filepath.Join(w.dir, "alertmanager"), "--web.listen-address="+address, "--cluster.listen-address=")
	answers(t, c, w.alertURL+"/-/ready")
}

func (w *site) startLoad(t *testing.T, url string, transport http.RoundTripper) {
	t.Helper()
	load, err := demo.NewLoad(time.Now().Truncate(time.Second).Add(time.Second), demo.LoadOptions{
		URL: url, Rate: demo.DefaultRate, Deadline: demo.DefaultDeadline, Transport: transport,
		MaxInFlight: int(2 * demo.DefaultRate * demo.DefaultDeadline.Seconds()),
	})
	must(t, err)
	w.load = load
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if c, ok := transport.(*http.Transport); ok {
			c.CloseIdleConnections()
		}
	})
}

// render fills a template of testdata/e2e in.
func render(t *testing.T, name, into string, data any) {
	t.Helper()
	parsed, err := template.ParseFiles("testdata/e2e/" + name)
	must(t, err)
	var text bytes.Buffer
	must(t, parsed.Execute(&text, data))
	must(t, os.WriteFile(into, text.Bytes(), 0o600))
}

// healthy waits for a span of good answers from now on.
func (w *site) healthy(t *testing.T, seconds int) {
	t.Helper()
	from := time.Now()
	eventually(t, time.Minute, "a healthy shop", func() bool {
		_, ok := w.recovered(from, seconds)
		return ok
	})
}

// recovered returns the first second, since an instant, from which goodput was
// good for so many seconds in a row.
func (w *site) recovered(from time.Time, seconds int) (time.Time, bool) {
	streak := 0
	var began time.Time
	for _, s := range w.load.Since(from) {
		if s.Total.Ratio() <= 0.95 {
			streak = 0
			continue
		}
		if streak == 0 {
			began = s.Second
		}
		if streak++; streak == seconds {
			return began, true
		}
	}
	return time.Time{}, false
}

// cut takes 60 % of the leaf's capacity away for 5 s, and returns when it will
// be whole again.
func (w *site) cut(t *testing.T) time.Time {
	t.Helper()
	leaf := w.byName[demo.Leaf].URL
	must(t, demo.SlowDown(t.Context(), client, leaf, guardToken, 2.5))
	ends := time.Now().Add(5 * time.Second)
	over := make(chan struct{})
	time.AfterFunc(time.Until(ends), func() {
		defer close(over)
		if err := demo.SlowDown(context.Background(), client, leaf, guardToken, 1); err != nil && !t.Failed() {
			t.Errorf("end of the cut: %v", err)
		}
	})
	t.Cleanup(func() { <-over })
	return ends
}

// down waits until a second after the fault has failed: it feeds itself.
func (w *site) down(t *testing.T, since time.Time) {
	t.Helper()
	eventually(t, time.Minute, "a shop that stays down", func() bool {
		settled := w.load.Since(since)
		return len(settled) > 0 && settled[len(settled)-1].Total.Ratio() < 0.5
	})
}

// guardState is what a guard says of itself.
type guardState struct {
	Epoch      uint64                     `json:"epoch"`
	Settings   map[string]json.RawMessage `json:"settings"`
	Directives []struct {
		guard.Directive
		Phase guard.Phase `json:"phase"`
	} `json:"directives"`
}

// guardState reads the state of a guard, past the relay.
func (w *site) guardState(t *testing.T, name string) guardState {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.byName[name].URL+"/guard/v1/state", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+guardToken)
	res, err := client.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	var s guardState
	must(t, json.NewDecoder(res.Body).Decode(&s))
	return s
}

// inForce counts the directives of all guards.
func (w *site) inForce(t *testing.T) int {
	t.Helper()
	n := 0
	for _, s := range w.services {
		n += len(w.guardState(t, s.Name).Directives)
	}
	return n
}
