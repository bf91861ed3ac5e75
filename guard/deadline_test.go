package guard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineOf(t *testing.T) {
	at := func(d time.Duration) time.Time { return epochStart.Add(d) }
	for name, c := range map[string]struct {
		deadline, grpc string
		want           time.Time
	}{
		"none":           {"", "", time.Time{}},
		"duration":       {"350ms", "", at(350 * time.Millisecond)},
		"instant":        {epochStart.Add(time.Second).Format(time.RFC3339Nano), "", at(time.Second)},
		"past":           {"-1s", "", at(-time.Second)},
		"odd":            {"soon", "later", time.Time{}},
		"grpc":           {"", "250m", at(250 * time.Millisecond)},
		"grpc hours":     {"", "2H", at(2 * time.Hour)},
		"grpc huge":      {"", "99999999H", time.Time{}},
		"grpc too long":  {"", "123456789S", time.Time{}},
		"grpc sign":      {"", "-1S", time.Time{}},
		"the earlier":    {"2s", "1S", at(time.Second)},
		"the other":      {"1s", "2S", at(time.Second)},
		"more than once": {"25h", "", time.Time{}},
	} {
		h := http.Header{}
		h.Set(DeadlineHeader, c.deadline)
		h.Set(grpcTimeoutHeader, c.grpc)
		if got := deadlineOf(h, epochStart); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzDeadline(f *testing.F) {
	f.Add("350ms", "1S")
	f.Add("2026-03-01T12:00:00Z", "99999999n")
	f.Fuzz(func(t *testing.T, deadline, grpc string) {
		h := http.Header{DeadlineHeader: {deadline}, grpcTimeoutHeader: {grpc}}
		if got := deadlineOf(h, epochStart); got.After(epochStart.Add(maxBudget)) {
			t.Fatalf("%v", got)
		}
	})
}

// TestPastDeadlinesCostNoWork: at arrival, while it waits, and during the work.
func TestPastDeadlinesCostNoWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := shopConfig()
		cfg.Workers, cfg.Timeout = 1, 0
		g := newTestGuard(t, cfg)
		worked := 0
		var cause error
		h := g.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			worked++
			<-r.Context().Done()
			cause = context.Cause(r.Context())
		}))
		serve := func(deadline string) int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request(t, DeadlineHeader, deadline))
			return w.Code
		}
		if code := serve("0s"); code != http.StatusGatewayTimeout || worked != 0 {
			t.Errorf("too late at arrival: %d, worked on %d", code, worked)
		}
		go serve("3s")
		synctest.Wait()
		if code := serve("1s"); code != http.StatusGatewayTimeout || worked != 1 {
			t.Errorf("too late in the queue: %d, worked on %d", code, worked)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !errors.Is(cause, context.DeadlineExceeded) || counted(g, Normal, 0, dropped) != 2 || counted(g, Normal, 0, abandoned) != 1 {
			t.Errorf("the work was ended by %v; %v dropped, %v abandoned", cause, counted(g, Normal, 0, dropped), counted(g, Normal, 0, abandoned))
		}
	})
}

func TestRemainingBudgetIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGuard(t, callerConfig(Upstream{Retries: 1, RetryBudget: -1}))
		var sent []string
		rt := g.Transport("ledger", roundTripFunc(func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get(DeadlineHeader), r.Header.Get(grpcTimeoutHeader))
			time.Sleep(time.Second)
			return &http.Response{StatusCode: 500, Body: http.NoBody}, nil
		}))
		h := g.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, in *http.Request) {
			time.Sleep(500 * time.Millisecond)
			r, _ := http.NewRequestWithContext(in.Context(), http.MethodGet, "http://ledger/", nil)
			r.Header.Set(grpcTimeoutHeader, "9S")
			resp, err := rt.RoundTrip(r)
			if err == nil {
				_ = resp.Body.Close()
			}
		}))
		h.ServeHTTP(httptest.NewRecorder(), request(t, DeadlineHeader, "4s"))
		want := []string{"3.5s", "3500000u", "2.5s", "2500000u"}
		if len(sent) != 4 || sent[0] != want[0] || sent[1] != want[1] || sent[2] != want[2] || sent[3] != want[3] {
			t.Errorf("sent %q, want %q", sent, want)
		}
	})
}
