package remediators

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/sreagent/sreagent/sre"
)

// maxAnswer bounds what is read from a guard, in bytes.
const maxAnswer = 1 << 20

// phaseHeld is the phase of a directive that is in force; every other phase is
// on its way back to the default.
const phaseHeld = "held"

// wireDirective is what is sent to a guard.
type wireDirective struct {
	ID      string     `json:"id"`
	Kind    string     `json:"kind"`
	Callee  string     `json:"callee,omitempty"`
	Name    string     `json:"name,omitempty"`
	Params  sre.Params `json:"params"`
	Epoch   uint64     `json:"epoch"`
	Seq     uint64     `json:"seq"`
	Expires time.Time  `json:"expires"`
}

// wireState is one directive as a guard reports it.
type wireState struct {
	wireDirective
	Default sre.Params `json:"default"`
	Phase   string     `json:"phase"`
	Step    int        `json:"step"`
}

// wireGuard is the whole state of a guard.
type wireGuard struct {
	Service    string                           `json:"service"`
	Epoch      uint64                           `json:"epoch"`
	Settings   map[string]map[string]sre.Params `json:"settings"` // in force, by kind and by callee or feature
	Directives []wireState                      `json:"directives"`
}

// wireError is the body of a refusal.
type wireError struct {
	Error string `json:"error"`
	Epoch uint64 `json:"epoch"`
}

// do sends one request to a guard and decodes its answer into out. The error
// tells what is known: nothing was sent (failed), the guard said no (invalid,
// refused), or the request may have taken effect (unknown).
func (g *guardLever) do(ctx context.Context, method, address string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.cfg.Timeout))
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return sre.Invalidf("encode the directive: %v", err)
		}
	}
	// A connection is handed over before the first byte leaves: until then
	// the guard cannot have heard of the request.
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, address, bytes.NewReader(body))
	if err != nil {
		return sre.Invalidf("make the request: %v", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		if sent.Load() {
			return sre.Unknownf(err, "no answer from the guard")
		}
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "the guard was not reached", Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return sre.Unknownf(err, "the guard's answer was cut")
	}
	if len(answer) > maxAnswer {
		return sre.Unknownf(errors.New("answer too long"), "the guard's answer is unreadable")
	}
	return classify(resp.StatusCode, answer, out)
}

// classify turns a status and a body into what is known of the request.
func classify(status int, answer []byte, out any) error {
	switch {
	case status == http.StatusOK:
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return sre.Unknownf(err, "the guard's answer is unreadable")
		}
		return nil
	case status == http.StatusBadRequest:
		return sre.Invalidf("the guard says %s", refusal(answer))
	case status == http.StatusConflict:
		var e wireError
		if err := json.Unmarshal(answer, &e); err != nil {
			return sre.Refusedf("the guard holds a newer fencing token")
		}
		return sre.Refusedf("the guard holds a newer fencing token, epoch %d: %s", e.Epoch, refusal(answer))
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return sre.Refusedf("the guard does not accept the token (status %d)", status)
	case status >= 400 && status < 500:
		return sre.Refusedf("the guard answers status %d: %s", status, refusal(answer))
	}
	return sre.Unknownf(fmt.Errorf("status %d", status), "the guard answers neither yes nor no")
}

// refusal returns the guard's own words, short enough for a reason.
func refusal(answer []byte) string {
	var e wireError
	text := ""
	if err := json.Unmarshal(answer, &e); err == nil {
		text = e.Error
	}
	if text == "" {
		text = string(bytes.TrimSpace(answer))
	}
	text = words(text)
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200])
	}
	if text == "" {
		text = "nothing"
	}
	return text
}

// words makes what a target says fit for a line on a terminal: blanks for line
// ends, and nothing that moves a cursor or turns the text around.
func words(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case !unicode.IsPrint(c):
			return -1
		}
		return c
	}, s)
}
