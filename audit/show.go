package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sreagent/sreagent/sre"
)

// ShowOptions chooses what Show writes. The zero value writes everything as
// text.
type ShowOptions struct {
	Incident string         // only records of this incident; empty for all
	Since    time.Time      // only records at or after; zero for all
	Kind     sre.RecordKind // only records of this kind; empty for all
	JSON     bool           // the records themselves, one per line, as in the trail
}

func (o ShowOptions) wants(r sre.Record) bool {
	return (o.Incident == "" || o.Incident == r.IncidentID) &&
		(o.Since.IsZero() || !r.At.Before(o.Since)) &&
		(o.Kind == "" || o.Kind == r.Kind)
}

// Show writes records for people: time, sequence number, kind, incident and one
// sentence each. It stops at the first error of the records, after writing what
// came before, and returns it.
func Show(w io.Writer, records iter.Seq2[sre.Record, error], opts ShowOptions) error {
	out := bufio.NewWriter(w)
	var readErr error
	for r, err := range records {
		if readErr = err; err != nil {
			break
		}
		if !opts.wants(r) {
			continue
		}
		if err := showRecord(out, r, opts.JSON); err != nil {
			return fmt.Errorf("show record %d: %w", r.Seq, err)
		}
	}
	if err := out.Flush(); err != nil {
		return errors.Join(readErr, fmt.Errorf("show records: %w", err))
	}
	return readErr
}

func showRecord(w io.Writer, r sre.Record, asJSON bool) error {
	if asJSON {
		data, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.Write(append(data, '\n'))
		return err
	}
	incident := r.IncidentID
	if incident == "" {
		incident = "-"
	}
	_, err := fmt.Fprintf(w, "%s  #%-6d %-8s  %s  %s\n",
		r.At.UTC().Format(time.RFC3339), r.Seq, plain(string(r.Kind)), plain(incident), plain(Sentence(r)))
	return err
}

// plain makes text safe for a terminal: one line, no control sequences.
func plain(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// Sentence tells a record in one plain sentence.
func Sentence(r sre.Record) string {
	switch {
	case r.Kind == sre.RecordStart && r.Start != nil:
		return startSentence(*r.Start)
	case r.Kind == sre.RecordSource && r.Source != nil:
		return sourceSentence(*r.Source)
	case r.Kind == sre.RecordIncident && r.Incident != nil:
		return incidentSentence(*r.Incident, r.Change)
	case r.Kind == sre.RecordDecision && r.Decision != nil:
		return decisionSentence(*r.Decision)
	case r.Kind == sre.RecordApproval && r.Approval != nil:
		return approvalSentence(*r.Approval)
	case r.Kind == sre.RecordOperator && r.Operator != nil:
		return operatorSentence(*r.Operator)
	case r.Kind == sre.RecordIntent && r.Intent != nil:
		return intentSentence(*r.Intent)
	case r.Kind == sre.RecordResult && r.Result != nil:
		return resultSentence(*r.Result)
	case r.Kind == sre.RecordOutcome && r.Outcome != nil:
		return outcomeSentence(*r.Outcome)
	case r.Kind == sre.RecordNotice && r.Notice != nil:
		return noticeSentence(*r.Notice)
	case r.Kind == sre.RecordStop:
		return "The agent stopped in good order."
	}
	return "A record of kind " + strconv.Quote(string(r.Kind)) + " without the content that this version knows."
}

func startSentence(s sre.StartRecord) string {
	text := fmt.Sprintf("Agent %s took over with epoch %d and configuration %s", or(s.Version, "of unknown version"), s.Epoch, or(s.Config, "unknown"))
	if s.DryRun {
		text += ", in dry run"
	}
	return text + "."
}

func sourceSentence(h sre.SourceHealth) string {
	if !h.Up {
		return "The sources went down" + because(h.Err) + "; the agent only watches."
	}
	if len(h.Failed) > 0 {
		return fmt.Sprintf("The sources answer, but %d of %d queries failed: %s.", len(h.Failed), h.Queries, strings.Join(h.Failed, ", "))
	}
	return fmt.Sprintf("The sources answer all %d queries.", h.Queries)
}

func incidentSentence(i sre.Incident, change string) string {
	top := i.Diagnosis.Top()
	text := "Incident is " + or(string(i.State), "in no state")
	if change != "" {
		text += " (" + change + ")"
	}
	text += fmt.Sprintf(": %s %s", or(string(i.Severity), "unrated"), or(string(top.Mechanism), string(sre.Unknown)))
	if top.Service != "" {
		text += " at " + top.Service
	}
	text += fmt.Sprintf(", probability %s, confidence %s (at least %s)", percent(top.Probability), percent(i.Confidence.P), percent(i.Confidence.Lower))
	if n := len(i.InForce()); n > 0 {
		text += fmt.Sprintf(", %d mitigations in force", n)
	}
	if i.Outcome != "" {
		text += ", outcome " + string(i.Outcome)
	}
	return text + because(i.Escalation) + "."
}

func decisionSentence(d sre.Decision) string {
	subject := "no runbook"
	if d.Runbook != "" {
		subject = "runbook " + d.Runbook
	}
	text := fmt.Sprintf("Decided to %s on %s, confidence at least %s", or(string(d.Stance), string(sre.Watch)), subject, percent(d.Confidence.Lower))
	var against, agree []string
	for _, r := range d.Reasons {
		if r.Allows == sre.Act {
			agree = append(agree, r.Guard)
		} else {
			against = append(against, fmt.Sprintf("%s allows only %s (%s)", r.Guard, or(string(r.Allows), string(sre.Watch)), r.Text))
		}
	}
	if len(agree) > 0 {
		text += "; for it: " + strings.Join(agree, ", ")
	}
	if len(against) > 0 {
		text += "; against it: " + strings.Join(against, "; ")
	}
	if !d.ValidUntil.IsZero() {
		text += "; valid until " + clock(d.ValidUntil)
	}
	return text + "."
}

func approvalSentence(a sre.Approval) string {
	if a.Response == sre.Expired {
		return fmt.Sprintf("Nobody answered decision %s in time.", a.Decision)
	}
	text := fmt.Sprintf("%s (%s) %s decision %s", or(a.By, "Somebody"), or(string(a.Role), "no role"), or(string(a.Response), "did not answer"), a.Decision)
	return text + because(a.Comment) + "."
}

func operatorSentence(o sre.OperatorRecord) string {
	if m := o.Mandate; m != nil && o.Refused == "" {
		text := fmt.Sprintf("%s (%s) said %s of the mandate of %s", or(o.By, "Somebody"), or(string(o.Role), "no role"), m.Verb, m.MandateKey)
		if m.From != "" && m.To != "" {
			text += fmt.Sprintf(", from %s to %s", m.From, m.To)
		}
		if m.Cause != "" {
			text += ", for " + m.Cause
		}
		return text + because(or(m.Text, o.Reason)) + "."
	}
	return fmt.Sprintf("%s (%s) gave the command %s%s.", or(o.By, "Somebody"), or(string(o.Role), "no role"), o.Command, because(o.Reason))
}

func intentSentence(i sre.IntentRecord) string {
	verb := "About to " + or(string(i.Permit.Purpose), "touch")
	if i.DryRun {
		verb = "Would " + or(string(i.Permit.Purpose), "touch") + " (dry run)"
	}
	text := fmt.Sprintf("%s %s on %s%s", verb, i.Action.Kind, i.Action.Target, settings(i.Action.Params))
	if len(i.Before) > 0 {
		text += ", found before:" + settings(i.Before)
	}
	if i.Detail != "" {
		text += ", " + i.Detail
	}
	if i.Control != nil && i.Permit.Purpose == sre.ToAdjust {
		text += ", moved by law " + i.Action.Law + because(i.Control.Why)
	}
	if !i.Expires.IsZero() {
		text += ", to lapse at " + clock(i.Expires)
	}
	return text + fmt.Sprintf(", permitted by %s, epoch %d, action %s.", or(i.Permit.By, "nobody"), i.Epoch, i.Action.ID)
}

func resultSentence(r sre.ResultRecord) string {
	how := "answered"
	if r.Probed {
		how = "was probed"
	}
	text := fmt.Sprintf("The target of action %s %s after %s: %s", r.Action, how, or(string(r.Purpose), "a touch"), or(string(r.Phase), "not started"))
	if r.Code != "" {
		text += ", " + string(r.Code)
	}
	if r.State.Foreign {
		text += ", moved by somebody else"
	}
	if len(r.State.Current) > 0 {
		text += ", now:" + settings(r.State.Current)
	}
	text += because(r.Err)
	if r.Manual != "" {
		text += "; undo by hand: " + r.Manual
	}
	return text + "."
}

func outcomeSentence(o sre.OutcomeRecord) string {
	return fmt.Sprintf("Runbook %s against %s at %s: %s; the chance that it would help was put at %s.",
		or(o.Runbook, "unknown"), or(string(o.Mechanism), string(sre.Unknown)), or(o.Service, "no single service"), or(string(o.Outcome), "outcome not known"), percent(o.Predicted))
}

func noticeSentence(n sre.Notice) string {
	text := fmt.Sprintf("People were told (%s, %s): %s", or(string(n.Severity), "unrated"), or(string(n.State), "no state"), or(n.Title, n.Text))
	if n.NeedsYou {
		text += "; an answer is wanted"
	}
	if n.Resolved {
		text += "; resolved"
	}
	return text + "."
}

func settings(p sre.Params) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, " %s=%v", name, p[name])
	}
	return b.String()
}

func because(reason string) string {
	if reason = strings.TrimRight(strings.TrimSpace(reason), "."); reason == "" {
		return ""
	}
	return ", because: " + reason
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func percent(p float64) string { return strconv.FormatFloat(p*100, 'f', 0, 64) + " %" }

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
