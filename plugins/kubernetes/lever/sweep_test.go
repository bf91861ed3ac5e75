package lever

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"
)

// empty is a cluster with nothing in it, and no network.
type empty struct{ asked *atomic.Int64 }

func (e empty) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked.Add(1)
	return &http.Response{
		StatusCode: http.StatusNotFound, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)),
	}, nil
}

// A process that is only asked what it can do, as by plugins describe, is over
// before its first sweep: it touches nothing.
func TestTheFirstSweepIsAfterAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		server := &rest.Config{Host: "http://cluster", QPS: -1, WrapTransport: func(http.RoundTripper) http.RoundTripper { return empty{&asked} }}
		l, err := New(testConfig(), server, Options{})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx)
		}()
		synctest.Wait()
		if n := asked.Load(); n != 0 {
			t.Errorf("%d requests at the start", n)
		}
		time.Sleep(time.Duration(l.cfg.SweepInterval))
		synctest.Wait()
		if asked.Load() == 0 {
			t.Error("no sweep after the interval")
		}
		cancel()
		<-done
	})
}
