package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runAlone runs services, callees before callers, until the test ends, and
// returns their base URLs. They listen when it returns.
func runAlone(t *testing.T, names ...string) map[string]string {
	t.Helper()
	urls := map[string]string{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, len(names))
	running := 0
	t.Cleanup(func() {
		cancel()
		for range running {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	for _, name := range names {
		s, err := openService(ServiceOptions{Name: name, Address: "127.0.0.1:0", Callees: urls, Token: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		urls[name] = s.url
		running++
		go func() { ended <- s.run(ctx) }()
	}
	return urls
}

func answerOf(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestServicesOfOneProcessEachMakeAShop(t *testing.T) {
	urls := runAlone(t, Leaf, "catalog")
	client := &http.Client{Transport: NewTransport()}
	defer client.CloseIdleConnections()
	within(t, func() error {
		if code, body := answerOf(t, client, urls["catalog"]+"/browse?user=1"); code != http.StatusOK || body != "catalog ok\n" {
			return fmt.Errorf("catalog answers %d %q", code, body)
		}
		return nil
	})
	_, page := answerOf(t, client, urls[Leaf]+"/metrics")
	if !regexp.MustCompile(`guard_requests_total{attempt="first",outcome="ok",priority="normal",service="inventory"} [1-9]`).MatchString(page) {
		t.Errorf("the call did not reach the leaf:\n%s", page)
	}
}

func TestSlowDownNeedsTheTokenAndANumber(t *testing.T) {
	urls := runAlone(t, Leaf)
	client := &http.Client{Transport: NewTransport()}
	defer client.CloseIdleConnections()
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
