//go:build e2e

package remediators

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// load sends requests of each class for as long as more says so, and counts
// the admitted ones.
func (h *realHAProxy) load(t *testing.T, more func(sent int64) bool) (admitted, sent map[string]int64) {
	transport := &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", h.web) },
		MaxIdleConnsPerHost: 8,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	admitted, sent = map[string]int64{}, map[string]int64{}
	var wg sync.WaitGroup
	for _, class := range classes() {
		wg.Go(func() {
			for n := int64(0); more(n); n++ {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop/", nil)
				req.Header.Set("X-Priority", class)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				mu.Lock()
				sent[class]++
				switch {
				case resp.StatusCode == http.StatusOK:
					admitted[class]++
				case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
					t.Errorf("status %d", resp.StatusCode)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return admitted, sent
}

func TestE2ESharesUnderLoad(t *testing.T) {
	h := startRealHAProxy(t)
	// HAProxy draws each request: two points are six standard deviations.
	const n = 20000
	thousands := func(sent int64) bool { return sent < n }
	a := proxyAction(sre.Shed, "", sre.Params{"normal_share": 70.0, "low_share": 20.0, "high_share": 0.0})
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	got, _ := h.load(t, thousands)
	for class, want := range map[string]float64{"critical": 100, "high": 0, "normal": 70, "low": 20} {
		if share := 100 * float64(got[class]) / n; math.Abs(share-want) > 2 {
			t.Errorf("%s: %.2f %% admitted, want %v within 2 points", class, share, want)
		}
	}
	t.Logf("admitted of %d: %v", n, got)
	must(t, h.lever.Revert(t.Context(), h.directive(a, 5, 2)))
	const few = 500
	got, _ = h.load(t, func(sent int64) bool { return sent < few })
	for _, class := range classes() {
		if got[class] != few {
			t.Errorf("%s: %d of %d admitted after the revert", class, got[class], few)
		}
	}
}

func TestE2ECapUnderLoad(t *testing.T) {
	h := startRealHAProxy(t)
	const rps = 100
	a := proxyAction(sre.Shed, "", sre.Params{"rps": float64(rps)})
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	start := time.Now()
	got, sent := h.load(t, func(int64) bool { return time.Since(start) < 4*time.Second })
	seconds := time.Since(start).Seconds()
	var admitted, offered int64
	for _, class := range classes() {
		admitted, offered = admitted+got[class], offered+sent[class]
	}
	t.Logf("offered %d in %.1f s, admitted %v", offered, seconds, got)
	if offered < 10*rps {
		t.Skip("the machine is too slow to overload the cap")
	}
	// One second of the cap may pass before HAProxy's window is full.
	if float64(admitted) > rps*(seconds+1) || admitted < rps {
		t.Errorf("%d admitted in %.1f s under a cap of %d per second", admitted, seconds, rps)
	}
	if got["critical"] <= got["low"] {
		t.Errorf("critical got %d, low %d: the cap does not prefer", got["critical"], got["low"])
	}
}

// Each class has a cap of its own, and what it leaves is not given to another.
func TestE2EClassCapsUnderLoad(t *testing.T) {
	h := startRealHAProxy(t)
	caps := map[string]int64{"high": 80, "normal": 40, "low": 0}
	a := proxyAction(sre.Shed, "", sre.Params{"high": 80.0, "normal": 40.0, "low": 0.0})
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	start := time.Now()
	got, sent := h.load(t, func(int64) bool { return time.Since(start) < 4*time.Second })
	seconds := time.Since(start).Seconds()
	t.Logf("offered %v in %.1f s, admitted %v", sent, seconds, got)
	if got["critical"] != sent["critical"] {
		t.Errorf("critical: %d of %d admitted without a cap", got["critical"], sent["critical"])
	}
	for class, limit := range caps {
		if sent[class] < 8*limit {
			t.Skip("the machine is too slow to overload the caps")
		}
		// One second of the cap may pass before HAProxy's window is full.
		if float64(got[class]) > float64(limit)*(seconds+1) || got[class] < limit {
			t.Errorf("%s: %d admitted in %.1f s under a cap of %d per second", class, got[class], seconds, limit)
		}
	}
}

func TestE2ERestartWithinALease(t *testing.T) {
	for _, name := range []string{"killed, with a state file", "killed, without", "reloaded, with a state file", "reloaded, without"} {
		t.Run(name, func(t *testing.T) {
			withFile := strings.HasSuffix(name, "with a state file")
			h := startRealHAProxy(t)
			if withFile {
				h.cfg.HAProxy[0].StateFile = h.stateFile
				h.reopen(t)
			}
			start := h.inForce(t)
			actions := []sre.Action{admitAction(), weightAction(), maxconnAction(), proxyAction(sre.Drain, "s2", nil)}
			for i, a := range actions {
				must(t, h.lever.Apply(t.Context(), h.directive(a, 5, uint64(i+1))))
			}
			held := h.inForce(t)
			if strings.HasPrefix(name, "killed") {
				h.stop()
				wantCode(t, h.lever.Apply(t.Context(), h.directive(admitAction(), 5, 9)), sre.CodeFailed)
				h.start(t)
			} else {
				h.reload(t)
			}
			for i, a := range actions {
				// The map has its file; the state file has all but connection limits.
				st, err := h.lever.Probe(t.Context(), a)
				must(t, err)
				if st.InEffect != (i == 0 || withFile && i != 2) || st.Foreign || st.Epoch != 5 {
					t.Errorf("%s right after the restart: %+v", a.Kind, st)
				}
			}
			must(t, h.reopen(t).Sweep(t.Context(), h.now))
			if diff := cmp.Diff(held, h.inForce(t)); diff != "" {
				t.Errorf("not held on:\n%s", diff)
			}
			h.now = h.now.Add(time.Hour)
			must(t, h.lever.Sweep(t.Context(), h.now))
			if diff := cmp.Diff(start, h.inForce(t)); diff != "" {
				t.Errorf("not what it was:\n%s", diff)
			}
		})
	}
}

// A drained server keeps its sessions until the deadline, and comes back slowly.
func TestE2EDrainClosesAndReturns(t *testing.T) {
	h := startRealHAProxy(t)
	h.cfg.HAProxy[0].Backends["shop"] = HAProxyBackend{Backend: "be_shop", SlowStart: model.Duration(time.Minute), ServerRPS: map[string]float64{"s1": 1000, "s2": 1000}}
	h.reopen(t)
	start := h.inForce(t)
	sessions := func() (n float64) {
		loads, err := h.lever.api.loads(t.Context(), "be_shop", nil)
		must(t, err)
		for _, l := range loads {
			if l.name == "s1" {
				n = l.sessions
			}
		}
		return n
	}
	h.hang.Store(true)
	ended := make(chan struct{}, 2)
	for range 2 { // one lands on each server
		go func() {
			conn, err := net.Dial("unix", h.web)
			if err == nil {
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
				_, _ = io.ReadAll(conn)
				_ = conn.Close()
			}
			ended <- struct{}{}
		}()
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for range 1000 {
			if ok() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal(what)
	}
	eventually("no session on s1", func() bool { return sessions() == 1 })
	a := drainAction()
	a.Params = sre.Params{paramWait: 30.0}
	must(t, h.lever.Apply(t.Context(), h.directive(a, 5, 1)))
	must(t, h.lever.Sweep(t.Context(), h.now.Add(29*time.Second)))
	if n := sessions(); n != 1 {
		t.Errorf("%v sessions before the deadline", n)
	}
	must(t, h.lever.Sweep(t.Context(), h.now.Add(30*time.Second)))
	eventually("the session on s1 was not closed", func() bool { return sessions() == 0 })
	<-ended
	must(t, h.lever.Revert(t.Context(), h.directive(a, 5, 2)))
	if got := h.inForce(t); !strings.Contains(got, "weight:10 ") {
		t.Errorf("the server did not come back slowly:\n%s", got)
	}
	must(t, h.lever.Sweep(t.Context(), h.now.Add(30*time.Second)))
	h.now = h.now.Add(time.Minute)
	must(t, h.lever.Sweep(t.Context(), h.now))
	if diff := cmp.Diff(start, h.inForce(t)); diff != "" {
		t.Errorf("not what it was:\n%s", diff)
	}
	h.release()
	<-ended
}
