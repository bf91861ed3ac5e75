package oncall

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// roles is every role with the token that tests give it.
var roles = []sre.Role{sre.Viewer, sre.Operator, sre.Approver, sre.Admin}

func tokenOf(role sre.Role) string { return "sreagent_token-of-the-" + string(role) }

// testTokens holds one token per role; its owner's name is "a-<role>".
func testTokens(t testing.TB) *Tokens {
	t.Helper()
	lines := []string{"tokens:\n"}
	for _, r := range roles {
		lines = append(lines, tokenLineFor(t, "a-"+string(r), r, tokenOf(r)))
	}
	tokens, err := ParseTokens([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func tokenLineFor(t testing.TB, name string, role sre.Role, token string) string {
	t.Helper()
	hash, err := HashToken(rand.Reader, token)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("  - {name: %s, role: %s, hash: %q}\n", name, role, hash)
}

func TestTokensAuthenticate(t *testing.T) {
	tokens := testTokens(t)
	for _, r := range roles {
		who, ok := tokens.Authenticate(tokenOf(r))
		if want := (Identity{Name: "a-" + string(r), Role: r}); !ok || who != want {
			t.Errorf("%s: got %+v %v, want %+v", r, who, ok, want)
		}
	}
	for _, bad := range []string{"", "x", tokenOf(sre.Admin) + "x", tokenOf(sre.Admin)[1:], strings.Repeat("a", maxTokenLen+1)} {
		if who, ok := tokens.Authenticate(bad); ok || who != (Identity{}) {
			t.Errorf("%.20q is %+v", bad, who)
		}
	}
	var none *Tokens
	if _, ok := none.Authenticate("x"); ok || none.Len() != 0 {
		t.Error("no tokens let somebody in")
	}
	if tokens.Len() != len(roles) {
		t.Errorf("%d tokens", tokens.Len())
	}
}

func TestNewTokenIsLongAndHashIsSalted(t *testing.T) {
	token, err := NewToken(bytes.NewReader(bytes.Repeat([]byte{0xab}, tokenBytes)))
	if err != nil || token != tokenPrefix+strings.Repeat("ab", tokenBytes) {
		t.Fatalf("token %q, %v", token, err)
	}
	one, err1 := HashToken(rand.Reader, token)
	two, err2 := HashToken(rand.Reader, token)
	if err1 != nil || err2 != nil || one == two || strings.Contains(one, token) {
		t.Errorf("hashes %q and %q, %v %v", one, two, err1, err2)
	}
	short := bytes.NewReader([]byte{1, 2})
	if _, err := NewToken(short); err == nil {
		t.Error("a token from too little randomness")
	}
	if _, err := HashToken(bytes.NewReader(nil), token); err == nil {
		t.Error("a salt from too little randomness")
	}
}

// TestTokensAgainstTwin compares the constant-time search with a plain map.
func TestTokensAgainstTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9]{1,12}`), 0, 8, rapid.ID).Draw(rt, "tokens")
		twin := make(map[string]string)
		lines := []string{"tokens:\n"}
		for i, token := range set {
			name := fmt.Sprintf("n%d", i)
			twin[token] = name
			lines = append(lines, tokenLineFor(t, name, sre.Operator, token))
		}
		tokens, err := ParseTokens([]byte(strings.Join(lines, "")))
		if err != nil {
			rt.Fatal(err)
		}
		ask := rapid.OneOf(rapid.StringMatching(`[a-z0-9]{0,12}`), rapid.SampledFrom(append(set, "zz"))).Draw(rt, "ask")
		who, ok := tokens.Authenticate(ask)
		name, want := twin[ask]
		if ok != want || who.Name != name {
			rt.Fatalf("%q: got %q %v, want %q %v", ask, who.Name, ok, name, want)
		}
	})
}

func TestParseTokensNamesEveryFault(t *testing.T) {
	good := "sha256:" + strings.Repeat("0", 64) + ":" + strings.Repeat("1", 32)
	text := fmt.Sprintf(`tokens:
  - {name: ada, role: approver, hash: %q}
  - {name: "", role: approver, hash: %q}
  - {name: bob, role: king, hash: %q}
  - {name: ada, role: admin, hash: "sreagent_pasted-by-mistake"}
  - {name: eve, role: viewer, hash: "sha256:00:11"}
  - {name: zoe, role: viewer, hash: %q}
`, good, good, good, good[:len(good)-2])
	_, err := ParseTokens([]byte(text))
	var faults sre.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got %v, want faults", err)
	}
	var paths []string
	for _, f := range faults {
		paths = append(paths, f.Path)
	}
	want := []string{"tokens[1].name", "tokens[2].role", "tokens[3].hash", "tokens[3].name", "tokens[4].hash", "tokens[5].hash"}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(err.Error(), "pasted-by-mistake") {
		t.Errorf("the message repeats a secret: %v", err)
	}
}

func TestParseTokensRefusesUnknownKeysAndReadsNothingAsNobody(t *testing.T) {
	if _, err := ParseTokens([]byte("tokens:\n  - {name: a, rank: admin}\n")); err == nil || !strings.Contains(err.Error(), "rank") {
		t.Errorf("unknown key: %v", err)
	}
	for _, text := range []string{"", "# nobody\n", "tokens: []\n"} {
		if tokens, err := ParseTokens([]byte(text)); err != nil || tokens.Len() != 0 {
			t.Errorf("%q: %v %v", text, tokens, err)
		}
	}
}

func TestLoadTokens(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tokens:\n" + tokenLineFor(t, "ada", sre.Approver, "secret"))
	tokens, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	if who, _ := tokens.Authenticate("secret"); who.Name != "ada" {
		t.Errorf("got %+v", who)
	}
	if _, err := LoadTokens(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	write("tokens: {")
	if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("broken file: %v, want its name", err)
	}
	write(strings.Repeat("#", maxTokenFile+1))
	if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("huge file: %v", err)
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("tokens:\n" + tokenLineFor(f, "ada", sre.Approver, "secret")))
	f.Add([]byte("tokens: [{name: a, role: admin, hash: 'sha256::'}]"))
	f.Add([]byte("tokens: {"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := ParseTokens(text)
		if (tokens == nil) == (err == nil) {
			t.Fatalf("tokens %v and error %v", tokens, err)
		}
		if err != nil {
			return
		}
		for _, e := range tokens.entries {
			if e.who.Name == "" || e.who.Role.Rank() == 0 || len(e.salt) < saltBytes {
				t.Fatalf("a bad entry was taken: %+v", e.who)
			}
		}
		if who, ok := tokens.Authenticate("guess"); ok {
			t.Fatalf("a guess is %+v", who)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	lines := []string{"tokens:\n"}
	for i := range 100 {
		lines = append(lines, tokenLineFor(b, fmt.Sprintf("n%d", i), sre.Viewer, fmt.Sprint(i)))
	}
	tokens, err := ParseTokens([]byte(strings.Join(lines, "")))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tokens.Authenticate("99")
	}
}
