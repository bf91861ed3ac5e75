package bundle

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// changeLine is a change as changes.jsonl has it: sre.Change's own form, or the
// shorter one with a summary.
type changeLine struct {
	ID      string         `json:"id"`
	At      *string        `json:"at"`
	Kind    sre.ChangeKind `json:"kind"`
	Service string         `json:"service"`
	From    string         `json:"from"`
	To      string         `json:"to"`
	By      string         `json:"by"`
	Note    string         `json:"note"`
	Source  string         `json:"source"`
	Summary string         `json:"summary"`
}

// ParseChanges reads changes.jsonl: one change per line, in any order. They are
// returned by time, then ID. Its error is Problems with the first bad line, or
// what r said.
func ParseChanges(name string, r io.Reader) ([]sre.Change, error) {
	var out []sre.Change
	err := eachLine(name, r, func(text []byte) *sre.Fault {
		var l changeLine
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&l); err != nil {
			return jsonFault(err, text)
		}
		if dec.More() {
			return &sre.Fault{Problem: "there is more than one value in the line" + quote(text), Allowed: "one change per line"}
		}
		c, fault := l.change()
		out = append(out, c)
		return fault
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b sre.Change) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (l *changeLine) change() (sre.Change, *sre.Fault) {
	c := sre.Change{ID: l.ID, Kind: l.Kind, Service: l.Service, From: l.From, To: l.To, By: l.By, Note: l.Note, Source: l.Source}
	if l.At == nil {
		return c, &sre.Fault{Path: "at", Problem: "is missing", Allowed: instantForm}
	}
	at, err := time.Parse(time.RFC3339Nano, *l.At)
	if err != nil || at.IsZero() {
		return c, &sre.Fault{Path: "at", Problem: fmt.Sprintf("this is %q", cut(*l.At, cutLine)), Allowed: instantForm}
	}
	c.At = at.UTC()
	switch {
	case !c.Kind.Valid():
		return c, &sre.Fault{Path: "kind", Problem: fmt.Sprintf("unknown kind %q", cut(string(c.Kind), cutLine)),
			Allowed: oneOf([]sre.ChangeKind{sre.Deploy, sre.Flag, sre.ConfigEdit, sre.ScaleChange, sre.OtherChange})}
	case c.Service == "":
		return c, &sre.Fault{Path: "service", Problem: "is missing", Allowed: "the name of a service"}
	case c.ID == "":
		return c, &sre.Fault{Path: "id", Problem: "is missing", Allowed: "what the change is called where it was made, such as a commit"}
	case c.Note != "" && l.Summary != "" && c.Note != l.Summary:
		return c, &sre.Fault{Path: "summary", Problem: "there is a note too, and it says something else", Allowed: "one of the two"}
	case c.Note == "":
		c.Note = l.Summary
	}
	return c, nil
}

// ParseTrail reads trail.jsonl: the records of an agent, one per line, by
// ascending seq. Keys that this version does not know are ignored, as a newer
// agent may have written them. Its error is Problems with the first bad line,
// or what r said.
func ParseTrail(name string, r io.Reader) ([]sre.Record, error) {
	var out []sre.Record
	err := eachLine(name, r, func(text []byte) *sre.Fault {
		var rec sre.Record
		if err := json.Unmarshal(text, &rec); err != nil {
			return jsonFault(err, text)
		}
		if fault := checkRecord(&rec); fault != nil {
			return fault
		}
		if n := len(out); n > 0 && rec.Seq <= out[n-1].Seq {
			return &sre.Fault{Path: "seq", Problem: fmt.Sprintf("%d comes after %d", rec.Seq, out[n-1].Seq), Allowed: "ascending numbers"}
		}
		out = append(out, rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkRecord sees to it that a record holds what its kind tells of, so that
// readers need not ask.
func checkRecord(r *sre.Record) *sre.Fault {
	var held bool
	switch r.Kind {
	case sre.RecordStart:
		held = r.Start != nil
	case sre.RecordSource:
		held = r.Source != nil
	case sre.RecordIncident:
		held = r.Incident != nil
	case sre.RecordDecision:
		held = r.Decision != nil
	case sre.RecordApproval:
		held = r.Approval != nil
	case sre.RecordOperator:
		held = r.Operator != nil
	case sre.RecordIntent:
		held = r.Intent != nil
	case sre.RecordResult:
		held = r.Result != nil
	case sre.RecordOutcome:
		held = r.Outcome != nil
	case sre.RecordNotice:
		held = r.Notice != nil
	case sre.RecordStop:
		held = true
	default:
		return &sre.Fault{Path: "kind", Problem: fmt.Sprintf("unknown kind %q", cut(string(r.Kind), cutLine)), Allowed: oneOf(sre.RecordKinds())}
	}
	switch {
	case !held:
		return &sre.Fault{Path: string(r.Kind), Problem: "is missing in a record of this kind"}
	case r.At.IsZero():
		return &sre.Fault{Path: "at", Problem: "is missing", Allowed: instantForm}
	}
	return nil
}

// eachLine hands over every line that is not blank and ends at the first bad
// one.
func eachLine(name string, r io.Reader, take func(text []byte) *sre.Fault) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxJSONLine)
	line := 0
	for sc.Scan() {
		line++
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		if fault := take(sc.Bytes()); fault != nil {
			return Problems{{File: name, Line: line, Fault: *fault}}
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return Problems{{File: name, Line: line + 1, Fault: sre.Fault{Problem: "the line is longer than " + size(maxJSONLine)}}}
	} else if err != nil {
		return asProblems(name, err)
	}
	return nil
}

func jsonFault(err error, text []byte) *sre.Fault {
	problem := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.ErrUnexpectedEOF) || problem == "unexpected end of JSON input" {
		problem = "the line is cut"
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		problem = fmt.Sprintf("%s has the wrong type, %s", cmp.Or(kind.Field, "the line"), kind.Value)
	}
	return &sre.Fault{Problem: cut(problem, 2*cutLine) + quote(text), Allowed: "one JSON object per line"}
}
