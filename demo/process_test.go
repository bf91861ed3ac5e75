package demo

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// runAlone runs services until the test ends, and returns their base URLs.
func runAlone(t *testing.T, names ...string) map[string]string {
	t.Helper()
	urls, addresses := map[string]string{}, map[string]string{}
	for _, name := range names {
		addresses[name] = freeAddress(t)
		urls[name] = "http://" + addresses[name]
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(names))
	for _, name := range names {
		go func() {
			ended <- RunService(ctx, ServiceOptions{Name: name, Address: addresses[name], Callees: urls, Token: "secret"})
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range names {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return urls
}

// answerOf asks until the service listens.
func answerOf(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		res, err := client.Get(url)
		if err == nil {
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			return res.StatusCode, string(body)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

func TestServicesOfOneProcessEachMakeAShop(t *testing.T) {
	urls := runAlone(t, "catalog", Leaf)
	client := &http.Client{Transport: NewTransport()}
	defer client.CloseIdleConnections()
	answerOf(t, client, urls[Leaf]+"/metrics")
	if code, body := answerOf(t, client, urls["catalog"]+"/browse?user=1"); code != http.StatusOK || body != "catalog ok\n" {
		t.Errorf("catalog answers %d %q", code, body)
	}
	if _, page := answerOf(t, client, urls[Leaf]+"/metrics"); !strings.Contains(page, `guard_requests_total{attempt="first",outcome="ok",priority="normal",service="inventory"} 1`) {
		t.Errorf("the call did not reach the leaf:\n%s", page)
	}
}

func TestSlowDownNeedsTheTokenAndANumber(t *testing.T) {
	urls := runAlone(t, Leaf)
	client := &http.Client{Transport: NewTransport()}
	defer client.CloseIdleConnections()
	answerOf(t, client, urls[Leaf]+"/metrics")
	for _, c := range []struct {
		token  string
		factor float64
		want   string
	}{
		{"secret", 2.5, ""},
		{"wrong", 2.5, "401"},
		{"secret", 0.5, "400"},
	} {
		err := SlowDown(t.Context(), client, urls[Leaf], c.token, c.factor)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("token %q, factor %g: %v, want %q", c.token, c.factor, err, c.want)
		}
	}
	began := time.Now()
	answerOf(t, client, urls[Leaf]+"/")
	if took, least := time.Since(began), leafWork*5/4; took < least {
		t.Errorf("answered after %v, want at least %v", took, least)
	}
}

func TestAProcessNeedsAServiceOfThePlanAndItsCallees(t *testing.T) {
	for name, want := range map[string]string{"nobody": "no service named", Entry: "whose URL is not given"} {
		err := RunService(t.Context(), ServiceOptions{Name: name, Address: "127.0.0.1:0", Token: "secret"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
