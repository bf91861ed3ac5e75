package remediators

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// spread gives each server its part of the traffic, as a balancer by weights
// does, and no more than that.
func (w *proxyWorld) spread(rate, sessions int) {
	w.with(func() {
		total := 0
		for _, s := range w.servers {
			if s.admin == 0 && s.op != 0 {
				total += s.weight
			}
		}
		for _, s := range w.servers {
			s.rate, s.sessions = 0, 0
			if s.admin == 0 && s.op != 0 && total > 0 {
				s.rate, s.sessions = rate*s.weight/total, sessions*s.weight/total
			}
			s.peak = max(s.peak, s.rate)
		}
	})
}

func TestHAProxyShiftNeedsHeadroom(t *testing.T) {
	cases := map[string]struct {
		receiver fakeServer
		capacity float64
		want     sre.Code
		text     string
	}{
		"sessions fit":        {fakeServer{sessions: 20, rate: 100, maxconn: 100}, 0, "", ""},
		"sessions do not fit": {fakeServer{sessions: 20, rate: 100, maxconn: 40}, 0, sre.CodeRefused, "would overload be_shop/s2: it has 20.0 of 40.0 sessions"},
		"rate fits":           {fakeServer{sessions: 20, rate: 100}, 300, "", ""},
		"rate does not fit":   {fakeServer{sessions: 20, rate: 100}, 200, sre.CodeRefused, "requests per second"},
		"one of both":         {fakeServer{sessions: 20, rate: 100, maxconn: 100}, 110, sre.CodeRefused, "a weight of "},
		"proved before":       {fakeServer{sessions: 20, rate: 100, peak: 300}, 0, "", ""},
		"never proved":        {fakeServer{sessions: 20, rate: 100, peak: 120}, 0, sre.CodeRefused, "would get"},
		"requests wait":       {fakeServer{sessions: 20, rate: 100, maxconn: 1000, queued: 3}, 0, sre.CodeRefused, "3 requests already wait"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newProxyWorld(t, "unix")
			if c.capacity > 0 {
				w.cfg.HAProxy[0].Backends["shop"] = HAProxyBackend{Backend: "be_shop", ServerRPS: map[string]float64{"s2": c.capacity}}
				w.reopen(t)
			}
			w.with(func() {
				w.servers["be_shop/s1"] = &fakeServer{weight: 100, op: 2, sessions: 20, rate: 100, peak: 100}
				c.receiver.weight, c.receiver.op = 100, 2
				w.servers["be_shop/s2"] = &c.receiver
			})
			for i, a := range []sre.Action{weightAction(), drainAction()} {
				err := w.lever.Apply(t.Context(), w.directive(a, 5, uint64(i+1), time.Minute))
				if sre.CodeOf(err) != c.want || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: %v, want %q with %q", a.Kind, err, c.want, c.text)
				}
				must(t, w.lever.Revert(t.Context(), w.directive(a, 5, uint64(i+3), time.Minute)))
			}
		})
	}
}

// TestHAProxyShiftNeverOverloadsTheReceiver moves weights and states at random,
// in a simulated pool that spreads its traffic by them: no server that gains by
// a shift is brought above what it can take, and no renewal is refused.
func TestHAProxyShiftNeverOverloadsTheReceiver(t *testing.T) {
	fewerChecks(t, "20")
	rapid.Check(t, func(rt *rapid.T) {
		w := newProxyWorld(t, "unix")
		limits := map[string]float64{}
		n := rapid.IntRange(2, 5).Draw(rt, "servers")
		w.with(func() {
			clear(w.servers)
			for i := range n {
				name := fmt.Sprintf("s%d", i)
				w.servers["be_shop/"+name] = &fakeServer{weight: rapid.IntRange(1, 256).Draw(rt, "weight"), op: 2, maxconn: rapid.SampledFrom([]int{0, 20, 80, 300}).Draw(rt, "maxconn")}
				if rapid.Bool().Draw(rt, "known") {
					limits[name] = float64(rapid.IntRange(20, 2000).Draw(rt, "rps"))
				}
			}
		})
		w.cfg.HAProxy[0].Backends["shop"] = HAProxyBackend{Backend: "be_shop", ServerRPS: limits}
		w.reopen(t)
		rate, sessions := rapid.IntRange(0, 1500).Draw(rt, "rate"), rapid.IntRange(0, 200).Draw(rt, "sessions")
		for step := range uint64(8) {
			w.spread(rate, sessions)
			before := map[string]fakeServer{}
			w.with(func() {
				for path, s := range w.servers {
					before[path] = *s
				}
			})
			server := fmt.Sprintf("s%d", rapid.IntRange(0, n-1).Draw(rt, "server"))
			a := proxyAction(sre.Drain, server, sre.Params{"state": rapid.SampledFrom([]string{"drain", "ready"}).Draw(rt, "state")})
			if rapid.Bool().Draw(rt, "by weight") {
				a = proxyAction(sre.TrafficShift, server, sre.Params{"weight": float64(rapid.IntRange(0, 256).Draw(rt, "to"))})
			}
			a.ID = fmt.Sprintf("action-%d", step)
			err := w.lever.Apply(t.Context(), w.directive(a, 5, 2*step+1, time.Minute))
			if code := sre.CodeOf(err); code != "" && code != sre.CodeRefused {
				rt.Fatal(err)
			}
			w.spread(rate, sessions)
			w.with(func() {
				for path, s := range w.servers {
					was, capacity := before[path], limits[strings.TrimPrefix(path, "be_shop/")]
					// In whole numbers the sum that the lever sees may be short by
					// almost one per server.
					if s.sessions > was.sessions+n && s.maxconn > 0 && s.sessions > s.maxconn+n ||
						s.rate > was.rate+n && capacity > 0 && float64(s.rate) > capacity+float64(n) ||
						s.rate > was.rate+n && capacity == 0 && s.maxconn == 0 && s.rate > was.peak+n {
						rt.Fatalf("%v brought %s from %+v to %+v of %v", a.Params, path, was, *s, capacity)
					}
					if err != nil && (s.weight != was.weight || s.admin != was.admin) {
						rt.Fatalf("a refusal moved %s", path)
					}
				}
			})
			if err == nil {
				if err := w.lever.Apply(t.Context(), w.directive(a, 5, 2*step+2, time.Minute)); err != nil {
					rt.Fatalf("the renewal: %v", err)
				}
			}
		}
	})
}

func TestHAProxyNearestWeightThatFits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var loads []serverLoad
		for i := range rapid.IntRange(1, 4).Draw(rt, "servers") {
			num := func(label string) float64 { return float64(rapid.IntRange(0, 300).Draw(rt, label)) }
			loads = append(loads, serverLoad{name: fmt.Sprint(i), weight: num("weight"), sessions: num("sessions"), limit: num("limit"), rate: num("rate"), capacity: num("capacity")})
		}
		want := float64(rapid.IntRange(0, 256).Draw(rt, "want"))
		receiver, _ := overloaded(loads, "0", want)
		got, ok := fits(loads, "0", want)
		if receiver == "" && (!ok || got != want) {
			rt.Fatalf("%v fits, got %v", want, got)
		}
		if still, why := overloaded(loads, "0", got); ok && still != "" {
			rt.Fatalf("%v overloads %s: %s", got, still, why)
		}
	})
}
