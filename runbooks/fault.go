package runbooks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one mistake in a runbook file: where it stands, what is wrong and
// what is allowed. Line and Column count from 1; both are 0 where the mistake
// is about the file as a whole.
type Fault struct {
	File    string
	Line    int
	Column  int
	Problem string
	Allowed string
}

// String writes the fault as "file:line:column: problem; allowed: what".
func (f Fault) String() string {
	s := f.File
	if f.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Column)
	}
	s += ": " + f.Problem
	if f.Allowed != "" {
		s += "; allowed: " + f.Allowed
	}
	return s
}

// LoadError lists every fault that was found in a set of runbook files, by
// file, line and column. It never has an empty list.
type LoadError struct {
	Faults []Fault
}

// Error writes one fault per line.
func (e *LoadError) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// loadError sorts faults and wraps them; nil where there are none.
func loadError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	return &LoadError{Faults: faults}
}
