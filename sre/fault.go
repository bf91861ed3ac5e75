package sre

import (
	"strconv"
	"strings"
)

// Fault is one mistake in a file that a person wrote: where it stands, what is
// wrong and what is allowed. Path is a YAML path from the root of the section
// that reports it, such as "budget.percent" or "steps[0].verify".
type Fault struct {
	Path    string
	Problem string
	Allowed string
}

// String writes the fault as "path: problem, allowed".
func (f Fault) String() string {
	s := f.Problem
	if f.Allowed != "" {
		s += "; allowed: " + f.Allowed
	}
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	return s
}

// Faults is all that is wrong with one section, in the order of its fields.
type Faults []Fault

// Error joins the faults, one per line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// Add appends a fault.
func (f *Faults) Add(path, problem, allowed string) {
	*f = append(*f, Fault{Path: path, Problem: problem, Allowed: allowed})
}

// Under appends other with its paths below prefix.
func (f *Faults) Under(prefix string, other Faults) {
	for _, fault := range other {
		switch {
		case fault.Path == "":
			fault.Path = prefix
		case prefix == "":
		case strings.HasPrefix(fault.Path, "["):
			fault.Path = prefix + fault.Path
		default:
			fault.Path = prefix + "." + fault.Path
		}
		*f = append(*f, fault)
	}
}

// Item writes the path of an element of a list.
func Item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }
