package oncall

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSignIsTheDocumentedFormula(t *testing.T) {
	// printf '1773489600.{"a":1}' | openssl dgst -sha256 -hmac key
	got := Sign([]byte("key"), []byte(`{"a":1}`), noon)
	const want = "t=1773489600,v1=ed2d4c08539185f3216b0283e06ecb75ee61370754b51f0cadc921a5419f0892"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	key, body := []byte("key"), []byte(`{"a":1}`)
	good := Sign(key, body, noon)
	for name, c := range map[string]struct {
		key, body, header string
		now               time.Time
		ok                bool
	}{
		"good":               {"key", `{"a":1}`, good, noon, true},
		"at the bound":       {"key", `{"a":1}`, good, noon.Add(5 * time.Minute), true},
		"too old":            {"key", `{"a":1}`, good, noon.Add(5*time.Minute + time.Second), false},
		"from the future":    {"key", `{"a":1}`, good, noon.Add(-5*time.Minute - time.Second), false},
		"other key":          {"kez", `{"a":1}`, good, noon, false},
		"other body":         {"key", `{"a":2}`, good, noon, false},
		"other time":         {"key", `{"a":1}`, strings.Replace(good, "t=1", "t=2", 1), noon, false},
		"empty":              {"key", `{"a":1}`, "", noon, false},
		"no sum":             {"key", `{"a":1}`, "t=1773489600", noon, false},
		"not hex":            {"key", `{"a":1}`, "t=1773489600,v1=zz", noon, false},
		"one of two sums":    {"key", `{"a":1}`, good + ",v1=00", noon, true}, // while a key is rotated
		"unknown scheme too": {"key", `{"a":1}`, good + ",v2=00", noon, true},
	} {
		err := Verify([]byte(c.key), []byte(c.body), c.header, c.now, 5*time.Minute)
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrBadSignature)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEverySignatureVerifiesAndNoFlippedBitDoes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(rt, "key")
		body := rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(rt, "body")
		header := Sign(key, body, noon)
		if err := Verify(key, body, header, noon, 0); err != nil {
			rt.Fatal(err)
		}
		i := rapid.IntRange(0, len(body)*8-1).Draw(rt, "bit")
		body[i/8] ^= 1 << (i % 8)
		if Verify(key, body, header, noon, 0) == nil {
			rt.Fatal("a changed body verifies")
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=00", []byte("x"))
	f.Add(",,=,t=,v1", []byte(""))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if Verify([]byte("a key that nobody guesses"), body, header, noon, 100*365*24*time.Hour) == nil {
			t.Fatalf("%q verifies", header)
		}
	})
}

func TestNewPagerFindsFaultsBeforeTheFirstIncident(t *testing.T) {
	cfg := hookConfig()
	cfg.Webhooks[0].SecretFile = filepath.Join(t.TempDir(), "none")
	if _, err := NewPager(cfg, PagerOptions{}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "webhooks[0]") {
		t.Errorf("missing secret: %v", err)
	}
	cfg.Webhooks[0].URL = "ftp://x"
	if _, err := NewPager(cfg, PagerOptions{}); err == nil || !strings.Contains(err.Error(), "webhooks[0].url") {
		t.Errorf("bad URL: %v", err)
	}
}
