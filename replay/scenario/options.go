package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// option is one key=value, or one bare word, that a directive takes. Set says
// what is wrong with a value and what is allowed, or nothing.
type option[T any] struct {
	name string
	form string // of the value; empty for a bare word
	help string
	set  func(t *T, v string) (problem, allowed string)
}

func durationOption[T any](name, help string, least, most time.Duration, at func(*T) *time.Duration) option[T] {
	return option[T]{name, "DURATION", help, func(t *T, v string) (string, string) {
		d, problem, allowed := parseDuration(v, least, most)
		if problem == "" {
			*at(t) = d
		}
		return problem, allowed
	}}
}

func numberOption[T any](name, help string, least, most float64, at func(*T) *float64) option[T] {
	form := "NUMBER"
	if most == 1 {
		form = "SHARE"
	}
	return option[T]{name, form, help, func(t *T, v string) (string, string) {
		f, problem, allowed := parseNumber(v, least, most)
		if problem == "" {
			*at(t) = f
		}
		return problem, allowed
	}}
}

func countOption[T any](name, help string, least, most int, at func(*T) *int) option[T] {
	return option[T]{name, "COUNT", help, func(t *T, v string) (string, string) {
		n, problem, allowed := parseCount(v, least, most)
		if problem == "" {
			*at(t) = n
		}
		return problem, allowed
	}}
}

func nameOption[T any](name, help string, at func(*T) *string) option[T] {
	return option[T]{name, "NAME", help, func(t *T, v string) (string, string) {
		if !validName(v) {
			return fmt.Sprintf("%q is not a name", v), nameForm
		}
		*at(t) = v
		return "", ""
	}}
}

func flagOption[T any](name, help string, at func(*T) *bool) option[T] {
	return option[T]{name, "", help, func(t *T, _ string) (string, string) {
		*at(t) = true
		return "", ""
	}}
}

// readOptions sets what words say in t and reports every mistake.
func readOptions[T any](p *parser, l line, words []string, known []option[T], t *T) {
	seen := map[string]bool{}
	for _, w := range words {
		key, value, valued := strings.Cut(w, "=")
		i := slices.IndexFunc(known, func(o option[T]) bool { return o.name == key })
		switch {
		case i < 0:
			p.fault(l.no, fmt.Sprintf("unknown option %q", key), optionNames(known))
			continue
		case seen[key]:
			p.fault(l.no, fmt.Sprintf("option %q is given twice", key), "each once")
			continue
		case known[i].form == "" && valued:
			p.fault(l.no, fmt.Sprintf("option %q takes no value", key), key)
			continue
		case known[i].form != "" && (!valued || value == ""):
			p.fault(l.no, fmt.Sprintf("option %q has no value", key), key+"="+known[i].form)
			continue
		}
		seen[key] = true
		if problem, allowed := known[i].set(t, value); problem != "" {
			p.fault(l.no, key+": "+problem, allowed)
		}
	}
}

func optionNames[T any](known []option[T]) string {
	names := make([]string, len(known))
	for i, o := range known {
		names[i] = o.name
		if o.form != "" {
			names[i] += "=" + o.form
		}
	}
	return strings.Join(names, ", ")
}
