package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is one directive in the guard's wire format.
type wire struct {
	ID      string             `json:"id"`
	Kind    string             `json:"kind"`
	Callee  string             `json:"callee,omitempty"`
	Params  map[string]float64 `json:"params"`
	Epoch   uint64             `json:"epoch"`
	Seq     uint64             `json:"seq"`
	Expires time.Time          `json:"expires"`
	owner   string             // service whose guard is moved
}

// cure is what an agent does about the retry storm at the leaf.
func cure(expires time.Time) []wire {
	out := []wire{
		{ID: "clamp-catalog", Kind: "retry_budget", Callee: Leaf, Params: map[string]float64{"ratio": 0.1}, owner: "catalog"},
		{ID: "clamp-cart", Kind: "retry_budget", Callee: Leaf, Params: map[string]float64{"ratio": 0.1}, owner: "cart"},
		{ID: "bound", Kind: "queue_bound", Params: map[string]float64{"length": 43}, owner: Leaf},
	}
	for i := range out {
		out[i].Epoch, out[i].Seq, out[i].Expires = 1, uint64(i+1), expires
	}
	return out
}

// control sends one request to a guard's control endpoints.
func control(t *testing.T, s *Shop, service, method, path string, body any) []byte {
	t.Helper()
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			t.Fatal(err)
		}
	}
	for _, info := range s.Services() {
		if info.Name != service {
			continue
		}
		req, err := http.NewRequestWithContext(t.Context(), method, info.ControlURL+path, &payload)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+s.Token())
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s %s%s: %d %s", method, service, path, res.StatusCode, answer)
		}
		return answer
	}
	t.Fatalf("no service %s", service)
	return nil
}

// watch prints every second that becomes known and calls done on it, until done
// says true.
func watch(t *testing.T, s *Shop, from time.Time, done func(GoodputSample) bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		for _, sample := range s.Since(from) {
			from = sample.Second.Add(time.Second)
			t.Logf("%s goodput %.2f of %3d, retries at the leaf %3.0f/s, missed %d",
				sample.Second.Format("15:04:05"), sample.Total.Ratio(), sample.Total.Offered, s.Retries(), s.Missed())
			if done(sample) {
				return
			}
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// within tries until it succeeds: a scrape or a request that a busy machine is
// too late for is followed by another one.
func within(t *testing.T, try func() error) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(2 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// The shop's whole point, on real sockets and in real time: a cut of a few
// seconds leaves it down, a clamp on retries and a bound on the queue bring it
// back, and it stays up when both are gone.
func TestShopStaysDownUntilCured(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute of real time")
	}
	s, err := StartShop(t.Context(), ShopOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	started := time.Now()
	watch(t, s, started, func(g GoodputSample) bool {
		return g.Second.Sub(started) > 4*time.Second
	})
	if before := Sum(s.Since(started.Add(time.Second)), started, time.Now()).Ratio(); before < 0.99 {
		t.Errorf("goodput before is %.3f, want all", before)
	}

	const cutFor = 5 * time.Second
	if err := s.Trigger(0.6, cutFor); err != nil {
		t.Fatal(err)
	}
	ended := time.Now().Add(cutFor)
	t.Log("capacity of the leaf is cut")
	watch(t, s, ended, func(g GoodputSample) bool {
		if g.Total.Ratio() >= 0.2 {
			t.Errorf("%v after the trigger goodput is %.2f, want it below 0.2", g.Second.Sub(ended), g.Total.Ratio())
		}
		return g.Second.Sub(ended) > 25*time.Second
	})

	// Thousands of dead requests wait, but no socket waits with them.
	files, err := os.ReadDir("/proc/self/fd")
	t.Logf("%d goroutines, %d open files", runtime.NumGoroutine(), len(files))
	if err == nil && len(files) > 500 {
		t.Errorf("%d open files", len(files))
	}
	if n := runtime.NumGoroutine(); n > 4*longQueue {
		t.Errorf("%d goroutines", n)
	}

	t.Log("cured")
	cured := time.Now()
	for _, d := range cure(cured.Add(time.Minute)) {
		control(t, s, d.owner, http.MethodPut, "/guard/v1/directives", d)
	}
	good := 0
	watch(t, s, cured, func(g GoodputSample) bool {
		good++
		if g.Total.Ratio() <= 0.95 {
			good = 0
		}
		if g.Second.Sub(cured) > 15*time.Second {
			t.Fatalf("no recovery within 15 s")
		}
		return good == 3
	})

	t.Log("lifted")
	lifted := time.Now()
	for _, d := range cure(lifted) {
		control(t, s, d.owner, http.MethodDelete, fmt.Sprintf("/guard/v1/directives/%s?epoch=1&seq=%d", d.ID, d.Seq+10), nil)
	}
	watch(t, s, lifted, func(g GoodputSample) bool {
		if g.Total.Ratio() <= 0.95 {
			t.Errorf("%v after the lift goodput is %.2f", g.Second.Sub(lifted), g.Total.Ratio())
		}
		return g.Second.Sub(lifted) > 15*time.Second
	})
}

func TestShopIsWhatItSays(t *testing.T) {
	s, err := StartShop(t.Context(), ShopOptions{Dir: t.TempDir(), ScrapeInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for range 2 {
			if err := s.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if err := s.Trigger(0.5, time.Second); err == nil {
			t.Error("a stopped shop was triggered")
		}
	}()
	started := time.Now()
	var got GoodputSample
	watch(t, s, started, func(g GoodputSample) bool {
		got = g
		if g.Total.Offered == DefaultRate {
			return g.Second.Sub(started) > time.Second
		}
		// A machine that stands still misses slots, and the shop says so.
		if s.Missed() == 0 || g.Total.Offered > DefaultRate {
			t.Fatalf("offered %d in a second and missed %d, want %d", g.Total.Offered, s.Missed(), DefaultRate)
		}
		return false
	})
	if len(got.Classes) != 4 || got.Classes[0].Class != "critical" || got.Classes[0].Offered != DefaultRate/10 {
		t.Errorf("classes %+v", got.Classes)
	}
	if len(s.Services()) != len(plan()) || s.Services()[0].Name != Entry {
		t.Errorf("services %+v", s.Services())
	}

	client, err := api.NewClient(api.Config{Address: s.PrometheusURL()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	for expr, want := range map[string]int{
		`up == 1`: len(plan()),
		`guard_requests_total{service="inventory",attempt="first",outcome="ok"} > 0`: 4, // one for each class
		`guard_client_attempts_total{attempt="first",outcome="ok"} > 0`:              8, // one for each edge
		`guard_workers{service="inventory"} == 6`:                                    1,
		`guard_request_duration_seconds_count{service="gateway",job="gateway"} > 0`:  1,
		`guard_setting{service="cart",kind="timeout",callee="inventory"} == 1`:       1,
	} {
		within(t, func() error {
			v, _, _, err := promv1.NewAPI(client).Query(t.Context(), expr, time.Now())
			if err != nil {
				return err
			}
			if n := len(v.(model.Vector)); n != want {
				return fmt.Errorf("%s: %d series, want %d: %v", expr, n, want, v)
			}
			return nil
		})
	}

	var state struct {
		Service string `json:"service"`
	}
	if err := json.Unmarshal(control(t, s, "payments", http.MethodGet, "/guard/v1/state", nil), &state); err != nil || state.Service != "payments" {
		t.Errorf("state %+v, %v", state, err)
	}
	res, err := http.Get(s.Services()[0].ControlURL + "/guard/v1/state")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("state without a token: %d, want 401", res.StatusCode)
	}
	for _, bad := range []struct {
		cut float64
		d   time.Duration
	}{{0, time.Second}, {1, time.Second}, {-1, time.Second}, {math.NaN(), time.Second}, {0.5, 0}} {
		if err := s.Trigger(bad.cut, bad.d); err == nil {
			t.Errorf("a cut of %g for %v was accepted", bad.cut, bad.d)
		}
	}
}

func TestShopThatCannotOpenLeavesNothing(t *testing.T) {
	if s, err := StartShop(t.Context(), ShopOptions{Dir: "/dev/null"}); err == nil {
		_ = s.Stop(context.Background())
		t.Fatal("a metric store in /dev/null was opened")
	}
}

// A kill switch takes the optional call away and nothing else.
func TestKillSwitchTakesTheOptionalFeature(t *testing.T) {
	s, err := StartShop(t.Context(), ShopOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	body := map[string]any{
		"id": "k", "kind": "kill_switch", "name": "recommendations", "params": map[string]any{"percent": 100},
		"epoch": 1, "seq": 1, "expires": time.Now().Add(time.Minute),
	}
	control(t, s, "storefront", http.MethodPut, "/guard/v1/directives", body)
	if s.byName["storefront"].guard.Allowed("recommendations", "7") {
		t.Fatal("the kill switch is not in force")
	}
	within(t, func() error {
		res, err := http.Get(s.byName["storefront"].url + pathBrowse + "?user=7")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("browsing without recommendations: %d", res.StatusCode)
		}
		return nil
	})
}
