package guard

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func tokensFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func line(client, token string) string {
	return fmt.Sprintf("%s sha256:%x\n", client, sha256.Sum256([]byte(token)))
}

// asks sends a request and returns the status, and who the handler saw.
func asks(g *Guard, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	g.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := ClientFrom(r.Context())
		_, _ = io.WriteString(w, fmt.Sprint(name, ok, " ", r.Header.Get(ClientHeader), " ", r.Header.Get("Authorization")))
	})).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return w.Code, ""
	}
	return w.Code, w.Body.String()
}

func TestBearerTokens(t *testing.T) {
	cfg := shopConfig()
	cfg.Auth = AuthConfig{
		TokensFile: tokensFile(t, "# clients\n\n"+line("web", "s1")+line("web", "s2")+line("batch", "s3")),
		Exempt:     []string{"/healthz"},
	}
	g, _ := clockedGuard(t, cfg)
	for token, want := range map[string]string{"Bearer s1": "webtrue web ", "bearer  s2 ": "webtrue web ", "Bearer s3": "batchtrue batch "} {
		if status, seen := asks(g, request(t, "Authorization", token, ClientHeader, "root")); status != 200 || seen != want {
			t.Errorf("%s: %d %q, want %q", token, status, seen, want)
		}
	}
	for _, token := range []string{"", "Bearer", "Bearer ", "Bearer s", "Bearer s4", "Basic s1", "s1"} {
		if status, _ := asks(g, request(t, "Authorization", token)); status != http.StatusUnauthorized {
			t.Errorf("%q: %d", token, status)
		}
	}
	if got := counted(g, Normal, 0, unauthorized); got != 7 {
		t.Errorf("%v counted as unauthorized, want 7", got)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
	r.Header.Set(ClientHeader, "root")
	if status, seen := asks(g, r); status != 200 || seen != "false  " {
		t.Errorf("an exempt path: %d %q", status, seen)
	}
	cfg.Auth.Optional = true
	lax, _ := clockedGuard(t, cfg)
	if status, seen := asks(lax, request(t, ClientHeader, "root")); status != 200 || seen != "false  " {
		t.Errorf("optional: %d %q", status, seen)
	}
	if status, _ := asks(lax, request(t, "Authorization", "Bearer wrong")); status != http.StatusUnauthorized {
		t.Errorf("a wrong token where it is optional: %d", status)
	}
}

// TestAWrongTokenIsNotNoToken: beside certificates too.
func TestAWrongTokenIsNotNoToken(t *testing.T) {
	cfg := shopConfig()
	cfg.Auth = AuthConfig{TokensFile: tokensFile(t, line("web", "s1")), MTLS: true, Optional: true, Exempt: []string{"/healthz"}}
	g, _ := clockedGuard(t, cfg)
	if status, _ := asks(g, request(t, "Authorization", "Bearer wrong")); status != http.StatusUnauthorized {
		t.Errorf("a wrong token passes as none: %d", status)
	}
	if status, seen := asks(g, request(t)); status != 200 || seen != "false  " {
		t.Errorf("no token: %d %q", status, seen)
	}
	r := request(t, "Authorization", "Bearer of-the-service")
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: "web"}}
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}
	if status, seen := asks(g, r); status != 200 || seen != "webtrue web Bearer of-the-service" {
		t.Errorf("a certificate beside another's token: %d %q", status, seen)
	}
}

func TestTokenFilesThatMakeNoSense(t *testing.T) {
	for _, content := range []string{"", "# none\n", "web\n", "web s1\n", "web sha256:12\n", "web sha1:" + line("", "x")[8:], line("we\x01b", "x")} {
		cfg := shopConfig()
		cfg.Auth.TokensFile = tokensFile(t, content)
		if _, err := New(cfg); err == nil {
			t.Errorf("%q is taken", content)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add(line("web", "s1"))
	f.Fuzz(func(t *testing.T, content string) {
		tokens, err := parseTokens([]byte(content))
		if (err == nil) != (len(tokens) > 0) {
			t.Fatalf("%d tokens, %v", len(tokens), err)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	cfg := shopConfig()
	cfg.Auth = AuthConfig{MTLS: true, Subjects: []string{"web"}}
	g, _ := clockedGuard(t, cfg)
	for name, want := range map[string]int{"web": 200, "stranger": 401, "": 401} {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		r := request(t)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		if status, _ := asks(g, r); status != http.StatusUnauthorized {
			t.Errorf("%q unverified: %d", name, status)
		}
		r.TLS.VerifiedChains = [][]*x509.Certificate{{cert}}
		if status, seen := asks(g, r); status != want || want == 200 && seen != "webtrue web " {
			t.Errorf("%q: %d %q, want %d", name, status, seen, want)
		}
	}
}
