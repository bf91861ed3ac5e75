package bundle

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sreagent/sreagent/sre"
)

// Problem is one mistake in one file of a bundle, with its place where it has
// one.
type Problem struct {
	File   string // as it stands in the bundle; empty where Fault says it all
	Line   int    // from 1; 0 where the file as a whole is meant
	Column int    // from 1; 0 where the line as a whole is meant
	Fault  sre.Fault

	err error // what lies beneath, for those who branch on it
}

// String writes the problem as file:line:column: what is wrong; what is
// allowed.
func (p Problem) String() string {
	if p.File == "" {
		return p.Fault.String()
	}
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
		if p.Column > 0 {
			s += ":" + strconv.Itoa(p.Column)
		}
	}
	return s + ": " + p.Fault.String()
}

// Problems is all that is wrong with a bundle, file by file.
type Problems []Problem

// Error lists the problems, one per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors beneath, such as fs.ErrPermission.
func (p Problems) Unwrap() []error {
	var out []error
	for _, problem := range p {
		if problem.err != nil {
			out = append(out, problem.err)
		}
	}
	return out
}

// orNil keeps an empty list from becoming an error that is not nil.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// wrong is a problem with a file as a whole.
func wrong(file, problem, allowed string) Problem {
	return Problem{File: file, Fault: sre.Fault{Problem: problem, Allowed: allowed}}
}

// unreadable is a problem that a read met: a compressed file that ends too
// early or that is none, or whatever the file system says.
func unreadable(file string, err error) Problem {
	p := wrong(file, err.Error(), "")
	p.err = err
	var packed *packError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.Fault.Problem = "the file is cut: its compressed text ends too early"
	case errors.As(err, &packed):
		p.Fault.Problem = "the compressed text is damaged: " + packed.Error()
	}
	return p
}

// asProblems turns any error into problems of a file.
func asProblems(file string, err error) Problems {
	var ps Problems
	if err == nil || errors.As(err, &ps) {
		return ps
	}
	return Problems{unreadable(file, err)}
}

// clip shortens a text to at most n bytes, at a rune's border.
func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for back := 0; back < utf8.UTFMax && n > 0 && !utf8.RuneStart(text[n]); back++ {
		n--
	}
	return text[:n]
}

// cut shortens a text and shows that it did.
func cut(text string, n int) string {
	if short := clip(text, n); len(short) < len(text) {
		return short + "..."
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999Z07:00") }

func stampMillis(ms int64) string { return stamp(time.UnixMilli(ms)) }

// size writes a number of bytes as people say it.
func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
