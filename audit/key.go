package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	keyName   = "trail.key"
	pubSuffix = ".pub"
	maxKey    = 4 << 10
)

// signingKey is the key pair of a trail.
type signingKey struct {
	signer   note.Signer
	verifier note.Verifier
	public   string
}

// loadKey reads the signing key, or makes one where a trail begins. A trail that
// has checkpoints has a key: going on with a fresh one would hide its loss.
func loadKey(o Options) (signingKey, error) {
	raw, err := readSmall(o.KeyFile, maxKey)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case made:
		if _, err := os.Stat(filepath.Join(o.Dir, checkpointName)); err == nil {
			return signingKey{}, fmt.Errorf("signing key %s is missing, but the trail %s was begun with one", o.KeyFile, o.Dir)
		}
		if raw, err = makeKey(o); err != nil {
			return signingKey{}, fmt.Errorf("make signing key: %w", err)
		}
	case err != nil:
		return signingKey{}, fmt.Errorf("read signing key: %w", err)
	}
	key, err := parseKey(strings.TrimSpace(string(raw)))
	if err != nil {
		return signingKey{}, fmt.Errorf("read signing key %s: %w", o.KeyFile, err)
	}
	if o.Origin != "" && o.Origin != key.signer.Name() {
		return signingKey{}, fmt.Errorf("signing key %s belongs to origin %q, not %q", o.KeyFile, key.signer.Name(), o.Origin)
	}
	if info, err := os.Stat(o.KeyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		o.Log.Warn("signing key can be read by others", slog.String("file", o.KeyFile), slog.String("mode", info.Mode().Perm().String()))
	}
	return key, nil
}

func makeKey(o Options) ([]byte, error) {
	origin := o.Origin
	if origin == "" {
		origin = defaultOrigin
	}
	if !validOrigin(origin) {
		return nil, fmt.Errorf("origin %q cannot name a signer", origin)
	}
	private, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(o.KeyFile), 0o700); err != nil {
		return nil, err
	}
	return []byte(private), writeAtomic(o.KeyFile, []byte(private+"\n"), 0o600)
}

// parseKey reads an encoded note signing key, which holds the private half only,
// and derives the public one.
func parseKey(private string) (signingKey, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return signingKey{}, err
	}
	public, err := publicOf(private)
	if err != nil {
		return signingKey{}, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return signingKey{}, err
	}
	return signingKey{signer: signer, verifier: verifier, public: public}, nil
}

// publish writes the public key beside the signing key and into the trail's
// folder, where it is not yet. One that differs is never
// overwritten: it tells of a key that was exchanged under a living trail.
func publish(o Options, key signingKey) error {
	inside := filepath.Join(o.Dir, keyName+pubSuffix)
	beside := o.KeyFile + pubSuffix
	for _, path := range []string{inside, beside} {
		old, err := readSmall(path, maxKey)
		if err == nil {
			if !bytes.Equal(bytes.TrimSpace(old), []byte(key.public)) {
				return fmt.Errorf("public key %s is not that of the signing key %s", path, o.KeyFile)
			}
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = writeAtomic(path, []byte(key.public+"\n"), 0o644)
		}
		if err == nil {
			continue
		}
		if path == inside {
			return fmt.Errorf("write public key: %w", err)
		}
		// A key mounted read-only has no room beside it; the copy in the trail serves.
		o.Log.Warn("public key cannot be put beside the signing key", slog.String("file", path), slog.Any("err", err))
	}
	return nil
}

// publicOf turns an encoded private note key into the encoded public one.
func publicOf(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("malformed signing key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("malformed signing key")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("malformed signing key")
	}
	return note.NewEd25519VerifierKey(parts[2], public)
}
