package oncall

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

func TestWebhookRetriesWithTheSameKey(t *testing.T) {
	for name, c := range map[string]struct {
		codes []int
		times []time.Duration
	}{
		"500 then 200":        {[]int{500, 200}, []time.Duration{0, time.Second}},
		"429 then 503 then 2": {[]int{429, 503, 204}, []time.Duration{0, time.Second, 3 * time.Second}},
		"400 is final":        {[]int{400}, []time.Duration{0}},
		"404 is final":        {[]int{404}, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, hookConfig(), func(n int, _ *http.Request) int { return c.codes[min(n, len(c.codes))-1] })
				n := notice(b.start)
				b.notify(t, n)
				pass(time.Hour)
				if diff := cmp.Diff(c.times, b.times()); diff != "" {
					t.Fatal(diff)
				}
				first := b.requests()[0]
				for _, r := range b.requests() {
					if r.header.Get(IdempotencyHeader) != first.header.Get(IdempotencyHeader) || !bytes.Equal(r.body, first.body) {
						t.Error("an attempt differs from the first")
					}
					if r.header.Get("Content-Type") != "application/json" || r.path != "/in" || r.header.Get(SignatureHeader) != "" {
						t.Errorf("request %+v", r)
					}
				}
				var got sre.Notice
				if err := json.Unmarshal(first.body, &got); err != nil || !cmp.Equal(got, n) {
					t.Errorf("body %s, %v", first.body, err)
				}
				n.State = sre.Acting
				b.notify(t, n)
				last := b.requests()[len(b.requests())-1]
				if k := last.header.Get(IdempotencyHeader); k == first.header.Get(IdempotencyHeader) || !strings.HasPrefix(k, "inc-7-") {
					t.Errorf("another state has the key %q", k)
				}
			})
		})
	}
}

func TestWebhookBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, hookConfig(), always(500))
		b.notify(t, notice(b.start))
		pass(5 * time.Minute)
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}
		for i := range want {
			want[i] *= time.Second
		}
		if diff := cmp.Diff(want, b.times()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWebhookNewestStateWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, hookConfig(), func(n int, _ *http.Request) int { return map[bool]int{true: 500, false: 200}[n == 1] })
		n, other := notice(b.start), notice(b.start)
		other.Incident = "inc-8"
		b.notify(t, n)
		b.notify(t, other)
		n.State = sre.Escalated
		b.notify(t, n)
		pass(time.Second)
		var got []string
		for _, r := range b.requests() {
			var n sre.Notice
			if err := json.Unmarshal(r.body, &n); err != nil {
				t.Fatal(err)
			}
			got = append(got, n.Incident+" "+string(n.State))
		}
		if diff := cmp.Diff([]string{"inc-7 diagnosed", "inc-7 escalated", "inc-8 diagnosed"}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWebhookMinSeverity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := hookConfig()
		cfg.Webhooks[0].MinSeverity = sre.Critical
		b := newBench(t, cfg, always(200))
		n := notice(b.start)
		b.notify(t, n)
		if len(b.requests()) != 0 {
			t.Fatal("a warning was told")
		}
		n.Severity = sre.Critical
		b.notify(t, n)
		n.Severity = sre.Info // whoever was told hears how it ends
		b.notify(t, n)
		n.Resolved = true
		b.notify(t, n)
		n.Resolved = false // and it is news again afterwards
		b.notify(t, n)
		if len(b.requests()) != 3 {
			t.Errorf("%d requests, want 3", len(b.requests()))
		}
	})
}

func TestWebhookIsSignedWithTheSecretInForce(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(s string) {
		if err := os.WriteFile(secret, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	synctest.Test(t, func(t *testing.T) {
		cfg := hookConfig()
		cfg.Webhooks[0].SecretFile = secret
		b := newBench(t, cfg, always(200))
		n := notice(b.start)
		b.notify(t, n)
		write("second")
		n.State = sre.Acting
		b.notify(t, n)
		for i, key := range []string{"first", "second"} {
			r := b.requests()[i]
			if err := Verify([]byte(key), r.body, r.header.Get(SignatureHeader), time.Now(), time.Minute); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		// Without its secret a notice waits; it is never sent unsigned.
		write("")
		n.State = sre.Verifying
		b.notify(t, n)
		if len(b.requests()) != 2 {
			t.Fatal("sent without a secret")
		}
		write("third")
		pass(time.Second)
		if len(b.requests()) != 3 {
			t.Error("not sent after the secret came back")
		}
		if log := b.log.String(); strings.Contains(log, "third") || !strings.Contains(log, "not signed") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestTheLogKeepsTheSecretsOfAURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Webhooks: []WebhookConfig{{URL: "http://hook.example/services/T0/hush"}}}
		b := newBench(t, cfg, always(0))
		b.notify(t, notice(b.start))
		pass(sendTimeout)
		if log := b.log.String(); !strings.Contains(log, "deadline") || strings.Contains(log, "hush") {
			t.Errorf("log: %s", log)
		}
	})
}
