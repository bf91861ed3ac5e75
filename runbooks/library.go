package runbooks

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Library is a checked set of runbooks with the language that judges their
// expressions. It may be used from several goroutines.
type Library struct {
	lang    *language
	ordered []*runbook // by priority, highest first, then by name
}

// Info is what a list of runbooks shows of one.
type Info struct {
	Name        string          `json:"name"`
	Version     string          `json:"version"` // digest of the file's text
	File        string          `json:"file"`
	Owner       string          `json:"owner"`
	Author      string          `json:"author,omitempty"` // who wrote it, by the name that approvals are given in
	Description string          `json:"description"`
	NotFor      string          `json:"not_for,omitempty"` // when it is wrong to use
	Priority    int             `json:"priority"`
	Mechanisms  []sre.Mechanism `json:"mechanisms"`
	When        string          `json:"when,omitempty"`
	Risk        sre.RiskClass   `json:"risk"`
	Steps       []string        `json:"steps"` // names, in the order of the file, those of every branch
}

// List describes the runbooks in the order in which Match tries them.
func (l *Library) List() []Info {
	out := make([]Info, len(l.ordered))
	for i, rb := range l.ordered {
		out[i] = rb.Info
		out[i].Mechanisms = slices.Clone(rb.Mechanisms)
		out[i].Steps = slices.Clone(rb.Steps)
	}
	return out
}

// Len returns the number of runbooks.
func (l *Library) Len() int { return len(l.ordered) }

// under returns the runbooks of l and of top, in which a runbook of top
// replaces one of l with the same name.
func (l *Library) under(top *Library) *Library {
	out := &Library{lang: l.lang, ordered: slices.Clone(top.ordered)}
	for _, rb := range l.ordered {
		if !slices.ContainsFunc(top.ordered, func(t *runbook) bool { return t.Name == rb.Name }) {
			out.ordered = append(out.ordered, rb)
		}
	}
	out.sort()
	return out
}

func (l *Library) sort() {
	slices.SortFunc(l.ordered, func(a, b *runbook) int {
		return cmp.Or(b.Priority-a.Priority, strings.Compare(a.Name, b.Name))
	})
}

// runbook is a checked file.
type runbook struct {
	Info
	at      cursor // of the name, for faults about the whole
	spec    cursor
	flow    []stage
	hold    time.Duration
	liftGap time.Duration
	relapse string

	// anywhere runbooks are made for trouble whose cause is not known: they see
	// no root and move none.
	anywhere  bool
	callAfter time.Duration // 0 calls nobody for the time that passes
	callText  string
}

type step struct {
	at      cursor
	name    string
	when    string
	actions []action
	verify  sre.Check
	lease   time.Duration
	onFail  sre.OnFail
	ahead   string // why it goes before cheaper cures
}

type action struct {
	at     cursor
	kind   sre.ActionKind
	lever  string
	target targetPart
	callee string
	name   string
	params []param // by name
	law    string
	ttl    time.Duration

	// optional actions are left out of a plan where the lever can move none of
	// their targets.
	optional bool

	// where must hold of a target when the step starts, else that target is left
	// out of it.
	where string
	// irreversible actions are declared as such: there is nothing to restore.
	irreversible bool
}

// param is one setting: a literal, or an expression that is evaluated when a
// plan is made.
type param struct {
	at    cursor
	name  string
	value any // float64, string or bool
	expr  string
	typ   string // number, string or bool
}

// The selectors of a target.
const (
	selectRoot          = "root"
	selectCallers       = "callers"
	selectAllCallers    = "all_callers"
	selectEntries       = "entries"
	selectCallees       = "callees"
	selectSuspect       = "suspect_change"
	selectAffected      = "affected"
	selectAffectedCalls = "affected_calls"
	selectFleet         = "fleet"
	selectFleetCalls    = "fleet_calls"

	allowedTargets = "root, callers, all_callers, callees, entries, suspect_change, affected, affected_calls, fleet, fleet_calls, or service: NAME"
)

// selectors are all words that a target may be.
var selectors = []string{
	selectRoot, selectCallers, selectAllCallers, selectCallees, selectEntries, selectSuspect, selectAffected, selectAffectedCalls, selectFleet, selectFleetCalls,
}
