package oncall

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/sreagent/sreagent/sre"
)

const (
	tokenPrefix  = "sreagent_" // lets secret scanners recognise a leaked token
	tokenBytes   = 32
	saltBytes    = 16
	maxTokenLen  = 512     // of a presented token; hashing more would be work for a stranger
	maxTokenFile = 1 << 20 // bytes
	hashScheme   = "sha256"
)

// Identity is who an authenticated caller is and what that person may do.
type Identity struct {
	Name string
	Role sre.Role
}

// Tokens is the set of API tokens, as hashes. It is immutable: to reload, load
// a new one and swap the pointer.
type Tokens struct {
	entries []tokenEntry
}

type tokenEntry struct {
	who  Identity
	sum  [sha256.Size]byte
	salt []byte
}

type tokenFile struct {
	Tokens []tokenLine `yaml:"tokens"`
}

type tokenLine struct {
	Name string   `yaml:"name"`
	Role sre.Role `yaml:"role"`
	Hash string   `yaml:"hash"`
}

// LoadTokens reads a token file. Errors name the file and all that is wrong
// with it.
func LoadTokens(path string) (*Tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open token file: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	if len(text) > maxTokenFile {
		return nil, fmt.Errorf("token file %s: larger than %d bytes", path, maxTokenFile)
	}
	t, err := ParseTokens(text)
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return t, nil
}

// ParseTokens reads the text of a token file. Unknown keys are refused. Errors
// are YAML errors with a position, or sre.Faults.
func ParseTokens(text []byte) (*Tokens, error) {
	var file tokenFile
	if err := decodeStrict(text, &file); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var faults sre.Faults
	t := &Tokens{}
	seen := make(map[string]bool, len(file.Tokens))
	for i, line := range file.Tokens {
		at := sre.Item("tokens", i)
		entry, problems := line.parse()
		faults.Under(at, problems)
		if line.Name != "" && seen[line.Name] {
			faults.Add(at+".name", strconv.Quote(line.Name)+" stands twice", "one entry per name")
		}
		seen[line.Name] = true
		t.entries = append(t.entries, entry)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return t, nil
}

// decodeStrict decodes YAML and refuses unknown keys. An empty text leaves into
// as it is.
func decodeStrict(text []byte, into any) (err error) {
	// The decoder panics on some malformed tags, such as a list that is only
	// "!x". A bad file on reload must not end the agent.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("malformed YAML: %v", p)
		}
	}()
	err = yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (l tokenLine) parse() (tokenEntry, sre.Faults) {
	var faults sre.Faults
	e := tokenEntry{who: Identity{Name: l.Name, Role: l.Role}}
	if strings.TrimSpace(l.Name) == "" || l.Name != plain(l.Name) {
		faults.Add("name", "is empty or not printable", "the name that records and pages show")
	}
	if l.Role.Rank() == 0 {
		faults.Add("role", "unknown role "+strconv.Quote(string(l.Role)), "viewer, operator, approver, admin")
	}
	scheme, rest, _ := strings.Cut(l.Hash, ":")
	sumHex, saltHex, _ := strings.Cut(rest, ":")
	sum, sumErr := hex.DecodeString(sumHex)
	salt, saltErr := hex.DecodeString(saltHex)
	// The value is not repeated in the message: it may be a token that was
	// pasted by mistake.
	if scheme != hashScheme || sumErr != nil || saltErr != nil || len(sum) != sha256.Size || len(salt) < saltBytes {
		faults.Add("hash", "is not a token hash", "sha256:<64 hex digits>:<salt, 32 hex digits or more>")
		return e, faults
	}
	e.sum, e.salt = [sha256.Size]byte(sum), salt
	return e, faults
}

// Len returns the number of tokens.
func (t *Tokens) Len() int {
	if t == nil {
		return 0
	}
	return len(t.entries)
}

// Authenticate returns who presents the token. It compares with every entry in
// constant time, so that the time taken tells nothing about which entry was
// close or how many come before a match.
func (t *Tokens) Authenticate(token string) (Identity, bool) {
	if t == nil || token == "" || len(token) > maxTokenLen {
		return Identity{}, false
	}
	found := -1
	for i := range t.entries {
		sum := saltedSum(t.entries[i].salt, token)
		equal := subtle.ConstantTimeCompare(sum[:], t.entries[i].sum[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Identity{}, false
	}
	return t.entries[found].who, true
}

// NewToken draws a new token of 256 bits from rand, such as
// crypto/rand.Reader.
func NewToken(rand io.Reader) (string, error) {
	secret := make([]byte, tokenBytes)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return "", fmt.Errorf("draw a token: %w", err)
	}
	return tokenPrefix + hex.EncodeToString(secret), nil
}

// HashToken returns the hash of a token for the token file, with a salt drawn
// from rand. A fast hash is right here: a slow one slows the guessing of
// passwords that people make up, while a token of 256 random bits cannot be
// guessed at any speed, and a slow hash on every request would be a lever for
// an attacker.
func HashToken(rand io.Reader, token string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := io.ReadFull(rand, salt); err != nil {
		return "", fmt.Errorf("draw a salt: %w", err)
	}
	sum := saltedSum(salt, token)
	return hashScheme + ":" + hex.EncodeToString(sum[:]) + ":" + hex.EncodeToString(salt), nil
}

func saltedSum(salt []byte, token string) [sha256.Size]byte {
	return sha256.Sum256(append(bytes.Clone(salt), token...))
}
