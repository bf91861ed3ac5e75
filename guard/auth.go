package guard

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
)

// ClientHeader carries the name of the authenticated client to the service
// behind the guard. What a caller sends under that name is removed.
const ClientHeader = "X-Guard-Client"

// AuthConfig is how callers prove who they are. With both ways on, either will
// do; with none, nobody is asked.
type AuthConfig struct {
	TokensFile string   `yaml:"tokens_file" json:"tokens_file"`             // lines of: client sha256:HEX
	MTLS       bool     `yaml:"mtls" json:"mtls"`                           // the common name of a verified client certificate
	Subjects   []string `yaml:"subjects" json:"subjects,omitempty"`         // of those certificates; empty is every verified one
	Optional   bool     `yaml:"optional" json:"optional"`                   // callers without any proof pass without a name
	Exempt     []string `yaml:"exempt_paths" json:"exempt_paths,omitempty"` // exact paths that ask for nothing, such as /healthz
}

func (a AuthConfig) enabled() bool { return a.TokensFile != "" || a.MTLS }

func (a AuthConfig) validate(f *faults, tls TLSConfig) {
	f.check(len(a.Subjects) == 0 || a.MTLS, "auth.subjects", "stands without mtls; allowed: beside mtls: true")
	f.check(!a.Optional || a.enabled(), "auth.optional", "stands alone; allowed: beside tokens_file or mtls")
	f.check(!a.MTLS || tls.ClientCAFile != "" || tls.CertFile == "", "auth.mtls", "has no authority to trust; allowed: beside tls.client_ca_file")
	for i, path := range a.Exempt {
		f.check(strings.HasPrefix(path, "/"), fmt.Sprintf("auth.exempt_paths[%d]", i), "is %q; allowed: a path that begins with /", path)
	}
}

type clientKey struct{}

// WithClient returns a context that belongs to the named client.
func WithClient(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, clientKey{}, name)
}

// ClientFrom returns the client that Middleware authenticated for the request
// that ctx belongs to, and whether there is one.
func ClientFrom(ctx context.Context) (string, bool) {
	name, ok := ctx.Value(clientKey{}).(string)
	return name, ok
}

// hashedToken is what is known of a client's token. A token must be random: a
// plain digest does not protect one that can be guessed.
type hashedToken struct {
	client string
	digest [sha256.Size]byte
}

// authenticator tells who sent a request. It is never changed, only replaced.
type authenticator struct {
	cfg    AuthConfig
	tokens []hashedToken
}

func newAuthenticator(cfg AuthConfig) (*authenticator, error) {
	a := &authenticator{cfg: cfg}
	if cfg.TokensFile == "" {
		return a, nil
	}
	data, err := os.ReadFile(cfg.TokensFile)
	if err != nil {
		return nil, fmt.Errorf("read tokens of clients: %w", err)
	}
	if a.tokens, err = parseTokens(data); err != nil {
		return nil, fmt.Errorf("%s:%w", cfg.TokensFile, err)
	}
	return a, nil
}

// parseTokens reads one client per line, its name and the digest of its token; a
// client with two lines has two tokens, which is how one is replaced.
func parseTokens(data []byte) ([]hashedToken, error) {
	var tokens []hashedToken
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, sum, found := strings.Cut(line, " ")
		digest, prefixed := strings.CutPrefix(strings.TrimSpace(sum), "sha256:")
		raw, err := hex.DecodeString(digest)
		if !found || !prefixed || err != nil || len(raw) != sha256.Size || !validName(name) {
			return nil, fmt.Errorf("%d: allowed: a client's name, a space, and sha256: with 64 hexadecimal digits", n)
		}
		tokens = append(tokens, hashedToken{name, [sha256.Size]byte(raw)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	if len(tokens) == 0 {
		return nil, errors.New(" has no token: nobody could enter")
	}
	return tokens, nil
}

// bearer finds the owner of a token. It looks at every digest, so that the time
// it takes tells nothing.
func (a *authenticator) bearer(token string) (client string, ok bool) {
	got := sha256.Sum256([]byte(token))
	found := -1
	for i := range a.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(got[:], a.tokens[i].digest[:]), i, found)
	}
	if found < 0 {
		return "", false
	}
	return a.tokens[found].client, true
}

// identify returns who sent r and by which proof; ok is false where a proof is
// wrong, or missing and needed.
func (a *authenticator) identify(r *http.Request) (client string, byToken, ok bool) {
	wrong := false
	if scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " "); found && len(a.tokens) > 0 && strings.EqualFold(scheme, "Bearer") {
		client, ok = a.bearer(strings.TrimSpace(token))
		if ok || !a.cfg.MTLS {
			return client, true, ok
		}
		wrong = true // unless a certificate says who it is: the token may be for the service
	}
	if a.cfg.MTLS && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		name := r.TLS.VerifiedChains[0][0].Subject.CommonName
		allowed := len(a.cfg.Subjects) == 0 || slices.Contains(a.cfg.Subjects, name)
		return name, false, allowed && name != ""
	}
	return "", false, !wrong && (a.cfg.Optional || slices.Contains(a.cfg.Exempt, r.URL.Path))
}

// forgesClient reports whether a service could take the header for ClientHeader:
// gateways such as WSGI and CGI do not tell - from _.
func forgesClient(name string) bool {
	if len(name) != len(ClientHeader) {
		return false
	}
	for i := range len(name) {
		if want := ClientHeader[i]; name[i]|0x20 != want|0x20 && (want != '-' || name[i] != '_') {
			return false
		}
	}
	return true
}

// authenticate returns the request as its client's, or reports that it may not
// pass. The token was meant for the guard: it goes no further.
func (g *Guard) authenticate(r *http.Request) (*http.Request, bool) {
	a := g.auth.Load()
	if !a.cfg.enabled() {
		return r, true
	}
	client, byToken, ok := a.identify(r)
	if !ok {
		return r, false
	}
	ctx := r.Context()
	if client != "" {
		ctx = WithClient(ctx, client)
	}
	out := r.WithContext(ctx)
	out.Header = r.Header.Clone()
	for name := range out.Header {
		if forgesClient(name) {
			delete(out.Header, name)
		}
	}
	if client != "" {
		out.Header.Set(ClientHeader, client)
	}
	if byToken {
		out.Header.Del("Authorization")
	}
	return out, true
}
