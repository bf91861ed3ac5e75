//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/guard"
)

// The sidecar stands before a service that knows nothing of it: it forwards,
// holds a directive, and lets it go.
func TestE2ETheSidecarGuardsAServiceFromBesideIt(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write([]byte("served")) }))
	t.Cleanup(behind.Close)
	config := filepath.Join(t.TempDir(), "guard.yaml")
	must(t, os.WriteFile(config, []byte("service: shop\nworkers: 8\ntoken: "+guardToken+"\nreturn: {steps: 2, every: 200ms}\n"), 0o600))
	front, control := freeAddress(t), freeAddress(t)
	c := start(t, "sreguard", nil, binary(t, "sreguard", "github.com/sreagent/sreagent/guard/sidecar"),
		"--config.file="+config, "--listen="+front, "--upstream="+behind.URL, "--control.listen="+control)
	answers(t, c, "http://"+control+"/-/healthy")

	if code, body := get("http://" + front + "/"); code != http.StatusOK || body != "served" {
		t.Errorf("through the sidecar: %d %q", code, body)
	}
	directive := guard.Directive{
		ID: "e2e", Kind: guard.KindShed, Params: guard.Params{"rps": 1, "normal": 0}, Epoch: 1, Seq: 1, Expires: time.Now().Add(time.Minute),
	}
	if code := direct(t, control, "wrong", directive); code != http.StatusUnauthorized {
		t.Errorf("a directive with a wrong token: %d", code)
	}
	if code := direct(t, control, guardToken, directive); code != http.StatusOK {
		t.Errorf("a directive: %d", code)
	}
	if code, _ := get("http://" + front + "/"); code != http.StatusTooManyRequests {
		t.Errorf("a request of a class that is shed: %d", code)
	}
	if code, page := get("http://" + control + "/metrics"); code != http.StatusOK || !strings.Contains(page, `guard_directives{kind="shed",service="shop"} 1`) {
		t.Errorf("metrics: %d\n%s", code, page)
	}
	directive.Epoch, directive.Seq, directive.Expires = 2, 1, time.Now().Add(3*time.Second)
	if code := direct(t, control, guardToken, directive); code != http.StatusOK {
		t.Errorf("a renewal: %d", code)
	}
	eventually(t, time.Minute, "a service that is open again", func() bool {
		code, _ := get("http://" + front + "/")
		return code == http.StatusOK
	})
	directive.Epoch, directive.Expires = 1, time.Now().Add(time.Minute)
	if code := direct(t, control, guardToken, directive); code != http.StatusConflict {
		t.Errorf("a superseded writer: %d", code)
	}
	if code := c.terminate(t, 30*time.Second); code != exitOK {
		t.Errorf("exit %d after SIGTERM", code)
	}
}

// direct sends a directive to a guard and returns the status.
func direct(t *testing.T, control, token string, d guard.Directive) int {
	t.Helper()
	body, err := json.Marshal(d)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+control+"/guard/v1/directives", bytes.NewReader(body))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	must(t, err)
	_ = res.Body.Close()
	return res.StatusCode
}
