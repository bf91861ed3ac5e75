package scenario

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed library/*.scenario
var libraryFiles embed.FS

const fileEnding = ".scenario"

// Library returns the scenarios that come with the agent, one file each at the
// root of the file system.
func Library() fs.FS {
	sub, err := fs.Sub(libraryFiles, "library")
	if err != nil {
		panic("scenario: library folder: " + err.Error()) // the path is a constant
	}
	return sub
}

// Names returns the names of the library's scenarios, without ending, sorted.
func Names() []string {
	entries, err := fs.ReadDir(Library(), ".")
	if err != nil {
		panic("scenario: read library: " + err.Error()) // embedded
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), fileEnding); ok {
			names = append(names, name)
		}
	}
	return names
}

// Load parses a scenario of the library by its name.
func Load(name string) (*Scenario, error) {
	text, err := fs.ReadFile(Library(), name+fileEnding)
	if err != nil {
		return nil, fmt.Errorf("read scenario %q: %w", name, err)
	}
	return Parse(name+fileEnding, text)
}
