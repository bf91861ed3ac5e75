package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// safely runs a command that repeats what strangers wrote: the names, queries
// and notes of a recording. Nothing of it may steer a terminal, neither in what
// the command prints nor in its error.
func safely(run command) command {
	return func(ctx context.Context, std streams) error {
		out := &safeWriter{to: std.out}
		std.out = out
		err := errors.Join(run(ctx, std), out.flush())
		if err != nil {
			return safeError{err}
		}
		return nil
	}
}

// safeError is an error whose text may be shown on a terminal.
type safeError struct{ err error }

func (e safeError) Error() string { return safe(e.err.Error()) }
func (e safeError) Unwrap() error { return e.err }

// safe writes a text without what steers a terminal.
func safe(text string) string {
	var b strings.Builder
	w := &safeWriter{to: &b}
	_, _ = io.WriteString(w, text) // a builder takes all
	_ = w.flush()
	return b.String()
}

// safeWriter replaces what cannot be printed by escapes, line ends and tabs
// aside. JSON stays JSON and means the same: its writer leaves raw only what
// gets an escape here that JSON has too.
type safeWriter struct {
	to   io.Writer
	rest []byte // the beginning of a character whose end was not written yet
}

// Write takes all of p, or fails as the writer beneath does.
func (w *safeWriter) Write(p []byte) (int, error) {
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
		w.rest = nil
	}
	out := make([]byte, 0, len(text)+16)
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			w.rest = append([]byte(nil), text...)
			break
		}
		r, n := utf8.DecodeRune(text)
		out = appendSafe(out, r, text[:n])
		text = text[n:]
	}
	if _, err := w.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what is left of a text that ends within a character.
func (w *safeWriter) flush() error {
	var out []byte
	for _, b := range w.rest {
		out = appendSafe(out, utf8.RuneError, []byte{b})
	}
	w.rest = nil
	if len(out) == 0 {
		return nil
	}
	_, err := w.to.Write(out)
	return err
}

func appendSafe(out []byte, r rune, text []byte) []byte {
	switch {
	case r == utf8.RuneError && len(text) == 1, r < ' ' && r != '\n' && r != '\t':
		return fmt.Appendf(out, `\x%02x`, text[0])
	case r == '\n' || r == '\t' || unicode.IsPrint(r):
		return append(out, text...)
	case r > 0xffff:
		high, low := utf16.EncodeRune(r)
		return fmt.Appendf(out, `\u%04x\u%04x`, high, low)
	}
	return fmt.Appendf(out, `\u%04x`, r)
}
