package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// transcriptEvery is how often a transcript tells how users fare.
const transcriptEvery = 30 * time.Second

// Transcript writes a result as a story for people and golden files: what was
// done to the world, how its users fared, what the agent believed, decided and
// moved, and the figures at the end. Times are since the first tick.
func Transcript(r *Result) []byte {
	t := &teller{r: r, decided: map[string]string{}, state: map[string]sre.State{}}
	fmt.Fprintf(&t.out, "%s, agent %s, seed %d\n", r.Scenario, r.Agent, r.Seed)
	if r.Title != "" {
		fmt.Fprintf(&t.out, "%s\n", r.Title)
	}
	t.out.WriteByte('\n')
	t.body()
	t.end()
	return t.out.Bytes()
}

type teller struct {
	r       *Result
	out     bytes.Buffer
	decided map[string]string // by incident, what was told last of its decision
	state   map[string]sre.State
	moments string // the last one told; one that says the same is passed over
}

func (t *teller) line(at time.Time, format string, args ...any) {
	since := at.Sub(t.r.Start)
	fmt.Fprintf(&t.out, "%3d:%02d  %s\n", int(since.Minutes()), int(since.Seconds())%60, fmt.Sprintf(format, args...))
}

// body tells moments, marks and records in order of time.
func (t *teller) body() {
	marks, ends := t.r.Marks, t.r.Marks
	ends = slices.DeleteFunc(slices.Clone(ends), func(m Mark) bool { return m.Ends.IsZero() })
	slices.SortStableFunc(ends, func(a, b Mark) int { return a.Ends.Compare(b.Ends) })
	digests := replay.Digests(t.r.Records)
	n := 0 // records told
	for _, m := range t.r.Story {
		for ; len(marks) > 0 && !marks[0].At.After(m.At); marks = marks[1:] {
			t.line(marks[0].At, "* %s", marks[0].Text)
		}
		for ; len(ends) > 0 && !ends[0].Ends.After(m.At); ends = ends[1:] {
			t.line(ends[0].Ends, "* over: %s", ends[0].Text)
		}
		if m.At.Sub(t.r.Start)%transcriptEvery == 0 {
			t.moment(m)
		}
		for n < len(t.r.Records) && !t.r.Records[n].At.After(m.At) {
			if crowd := crowdAt(t.r.Records[n:]); crowd >= crowded {
				t.crowd(&t.r.Records[n], crowd)
				n += crowd
				continue
			}
			t.record(&t.r.Records[n])
			n++
		}
		for ; len(digests) > 0 && !digests[0].At.After(m.At); digests = digests[1:] {
			t.decision(&digests[0])
		}
	}
}

// crowded is how many levers of a kind, moved one after the other at one tick,
// are told in one line.
const crowded = 12

// crowdAt counts the first records of a list that tell of the same move of the
// same kind of lever at the same time.
func crowdAt(records []sre.Record) int {
	n := 0
	for n < len(records) {
		first, in := records[0].Intent, records[n].Intent
		if in == nil || first == nil || in.Permit.Purpose == sre.ToRenew || in.Permit.Purpose != first.Permit.Purpose ||
			in.Action.Kind != first.Action.Kind || !records[n].At.Equal(records[0].At) {
			break
		}
		n++
	}
	return n
}

func (t *teller) crowd(first *sre.Record, n int) {
	a := first.Intent.Action
	a.Target.Lever = ""
	t.line(first.At, "%s %s on %s and %d more, the first %s", first.Intent.Permit.Purpose, a.Kind, a.Target.String()[1:], n-1, paramsOf(a.Params))
}

func (t *teller) moment(m Moment) {
	s := fmt.Sprintf("goodput %.3f of %.0f/s, %.2f attempts each", m.Goodput, m.Offered, m.Work)
	if m.Queue >= 1 {
		s += fmt.Sprintf(", %.0f wait at %s", m.Queue, m.Worst)
	}
	if s == t.moments {
		return
	}
	t.moments = s
	t.line(m.At, "  %s", s)
}

// record tells what a record brings that decisions do not.
func (t *teller) record(r *sre.Record) {
	switch {
	case r.Incident != nil:
		t.incident(r)
	case r.Source != nil && r.Source.Up:
		t.line(r.At, "agent sees")
	case r.Source != nil:
		t.line(r.At, "agent is blind: %s", r.Source.Err)
	case r.Approval != nil:
		t.line(r.At, "%s %s", orNobody(r.Approval.By), r.Approval.Response)
	case r.Operator != nil:
		t.line(r.At, "%s: %s", r.Operator.By, r.Operator.Command)
	case r.Intent != nil && r.Intent.Permit.Purpose != sre.ToRenew:
		a := r.Intent.Action
		a.Target.Lever = ""
		t.line(r.At, "%s %s on %s %s", r.Intent.Permit.Purpose, a.Kind, a.Target.String()[1:], paramsOf(a.Params))
	case r.Result != nil && (r.Result.Code != "" || r.Result.Phase == sre.Lapsed || r.Result.Phase == sre.Released):
		t.line(r.At, "%s of %s: %s %s%s", r.Result.Purpose, r.Result.Action, r.Result.Phase, r.Result.Code, after(": ", r.Result.Err))
	case r.Outcome != nil:
		t.line(r.At, "learned: %s against %s at %s: %s", r.Outcome.Runbook, r.Outcome.Mechanism, r.Outcome.Service, r.Outcome.Outcome)
	}
}

func orNobody(by string) string {
	if by == "" {
		return "nobody answered:"
	}
	return by + ":"
}

func after(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func paramsOf(p sre.Params) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		text := fmt.Sprint(p[name])
		if f, ok := p.Float(name); ok {
			text = strconv.FormatFloat(f, 'g', 4, 64)
		}
		parts = append(parts, name+"="+text)
	}
	return strings.Join(parts, " ")
}

func (t *teller) incident(r *sre.Record) {
	inc := r.Incident
	if t.state[inc.ID] == inc.State {
		return
	}
	was := t.state[inc.ID]
	t.state[inc.ID] = inc.State
	top := inc.Diagnosis.Top()
	switch {
	case was == "":
		t.line(r.At, "incident %s: %s at %s (%.2f), severity %s", inc.Fingerprint, top.Mechanism, orUnseen(top.Service), top.Probability, inc.Severity)
	case inc.State == sre.Escalated:
		t.line(r.At, "incident %s: escalated%s", inc.Fingerprint, after(": ", inc.Escalation))
	case inc.State == sre.Diagnosed:
		t.line(r.At, "incident %s: diagnosed as %s at %s (%.2f)", inc.Fingerprint, top.Mechanism, orUnseen(top.Service), top.Probability)
	default:
		t.line(r.At, "incident %s: %s", inc.Fingerprint, strings.ReplaceAll(string(inc.State), "_", " "))
	}
}

func orUnseen(service string) string {
	if service == "" {
		return "something unseen"
	}
	return service
}

// decision tells a decision with the reasons that hold it back, or that it is
// free to act; one that says the same again is passed over.
func (t *teller) decision(d *replay.Digest) {
	var held []string
	for _, r := range d.Reasons {
		if r.Allows.Rank() == d.Verdict.Rank() && d.Verdict != sre.Act {
			held = append(held, r.Guard+": "+r.Text)
		}
	}
	key := string(d.Verdict) + " " + d.Runbook + " " + guardsOf(d)
	if t.decided[d.Incident] == key {
		return
	}
	t.decided[d.Incident] = key
	s := fmt.Sprintf("decision %s", d.Verdict)
	if d.Runbook != "" {
		s += fmt.Sprintf(" on %s for %s at %s", d.Runbook, d.Mechanism, orUnseen(d.Cause))
	}
	t.line(d.At, "%s, confidence %.2f at least %.2f", s, d.Confidence.P, d.Confidence.Lower)
	for _, h := range held {
		fmt.Fprintf(&t.out, "          because %s\n", h)
	}
}

func guardsOf(d *replay.Digest) string {
	var names []string
	for _, r := range d.Reasons {
		if r.Allows.Rank() == d.Verdict.Rank() {
			names = append(names, r.Guard)
		}
	}
	return strings.Join(names, " ")
}

func (t *teller) end() {
	r := t.r
	fmt.Fprintf(&t.out, "\ngoodput %s before, %s at its worst, %s at the end\n", share(r.GoodputBefore), share(r.GoodputMin), share(r.GoodputAfter))
	switch {
	case r.Recovered:
		fmt.Fprintf(&t.out, "recovered after %.0f s\n", *r.RecoveredAfterSeconds)
	default:
		fmt.Fprintf(&t.out, "not recovered\n")
	}
	cascade := "no cascade"
	if r.Cascade {
		cascade = "cascade"
	}
	fmt.Fprintf(&t.out, "%s, %d services in trouble%s\n", cascade, r.ServicesAffected, t.affected())
	if r.Agent == string(On) {
		seen := "nothing detected"
		if r.DetectedAfterSeconds != nil {
			seen = fmt.Sprintf("detected after %.0f s", *r.DetectedAfterSeconds)
		}
		fmt.Fprintf(&t.out, "%s, %d actions, %d harmful, %d false\n", seen, len(r.applied()), r.HarmfulActions, r.FalseActions)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&t.out, "NOT AS EXPECTED: %s\n", f)
	}
}

// share writes a goodput so that only a whole one reads as one.
func share(v float64) string {
	return strconv.FormatFloat(math.Floor(v*1000+1e-9)/1000, 'f', 3, 64)
}

// mostNamed bounds the services that a transcript names.
const mostNamed = 12

func (t *teller) affected() string {
	names := slices.Sorted(maps.Keys(t.r.Affected))
	if len(names) == 0 {
		return ""
	}
	if len(names) > mostNamed {
		return ": " + strings.Join(names[:mostNamed], ", ") + ", ..."
	}
	return ": " + strings.Join(names, ", ")
}

// JSON writes the figures of a result as one indented object.
func (r *Result) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write result of %s: %w", r.Scenario, err)
	}
	return append(text, '\n'), nil
}
