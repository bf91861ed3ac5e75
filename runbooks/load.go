package runbooks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// LoadLayers loads the roots of several file systems, one over the other: a
// runbook replaces the one of the same name in the layers before it, which is
// how a user's own folder changes a shipped runbook. A *LoadError lists all
// faults of all layers.
func LoadLayers(layers ...fs.FS) (*Library, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	out := &Library{lang: lang}
	var faults []Fault
	for _, layer := range layers {
		l, err := load(lang, layer, ".")
		var found *LoadError
		switch {
		case errors.As(err, &found):
			faults = append(faults, found.Faults...)
		case err != nil:
			return nil, err
		default:
			out = out.under(l)
		}
	}
	if len(faults) > 0 {
		return nil, &LoadError{Faults: faults}
	}
	return out, nil
}

// Load reads every *.yaml and *.yml file of a folder, one runbook each, and
// checks them. Names that start with a dot and folders are passed over. A
// *LoadError lists all faults of all files; other errors come from the file
// system.
func Load(fsys fs.FS, dir string) (*Library, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	return load(lang, fsys, dir)
}

func load(lang *language, fsys fs.FS, dir string) (*Library, error) {
	entries, err := fs.ReadDir(fsys, dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read runbooks: %w", err)
	}
	var texts []Text
	for _, e := range entries {
		if e.IsDir() || !isRunbookFile(e.Name()) {
			continue
		}
		file := path.Join(dir, e.Name())
		content, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("read runbooks: %w", err)
		}
		texts = append(texts, Text{File: file, Content: content})
	}
	return loadTexts(lang, texts)
}

// Text is a runbook file that has been read: File is how messages name it.
type Text struct {
	File    string
	Content []byte
}

// LoadTexts checks runbooks that have been read, one each. A *LoadError lists
// all faults of all of them.
func LoadTexts(texts ...Text) (*Library, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	return loadTexts(lang, texts)
}

func loadTexts(lang *language, texts []Text) (*Library, error) {
	l := &Library{lang: lang}
	var faults []Fault
	first := map[string]cursor{}
	for _, text := range texts {
		rb, found := parseRunbook(lang, text.File, text.Content)
		faults = append(faults, found...)
		if rb == nil {
			continue
		}
		if before, taken := first[rb.Name]; taken {
			faults = append(faults, rb.at.fault(
				fmt.Sprintf("runbook name %q is taken by %s", rb.Name, before.file), "a name that no other file has"))
			continue
		}
		first[rb.Name] = rb.at
		l.ordered = append(l.ordered, rb)
	}
	if err := loadError(faults); err != nil {
		return nil, err
	}
	l.sort()
	return l, nil
}

// IsTest reports whether a file's name says that it holds tests of runbooks:
// NAME.test.yaml. Such files stand beside runbooks and are none.
func IsTest(name string) bool {
	return strings.HasSuffix(name, ".test.yaml") || strings.HasSuffix(name, ".test.yml")
}

func isRunbookFile(name string) bool {
	return !strings.HasPrefix(name, ".") && !IsTest(name) && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

// parseRunbook returns the checked runbook, or its faults. With faults the
// runbook is nil, or carries nothing but its name when that could be read.
func parseRunbook(lang *language, file string, content []byte) (*runbook, []Fault) {
	doc, top, faults := parseDocument(file, content)
	if len(faults) > 0 {
		return nil, faults
	}
	v := validator{lang: lang}
	rb := v.document(doc, top)
	sum := sha256.Sum256(content)
	rb.Version, rb.File = hex.EncodeToString(sum[:])[:12], file
	return rb, v.faults
}
