package runbooks

import (
	"time"

	"cmp"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// Facts is all that a runbook may know about an incident at one instant.
type Facts struct {
	Snapshot   *sre.Snapshot
	Diagnosis  *sre.Diagnosis
	Confidence sre.Confidence
	Incident   string           // ID, the first part of action IDs
	Attempt    int              // how often a plan was started before, from 0
	Tried      []string         // keys of cures that did not help, as TriedKey writes them
	Levers     []sre.Capability // what can be moved; only Match looks at them

	// Cause is the service that checks are judged at. Give the plan's cause for
	// the checks of a plan, since the diagnosis may have moved on; empty stands
	// for the service of the first hypothesis.
	Cause string

	// Changes are those of late, oldest first: where nobody knows the cause, one
	// of them may be it.
	Changes []sre.Change

	// Anywhere says that the checks are those of a plan that needs no cause: its
	// root is nothing, and its entries are all that there are.
	Anywhere bool
}

// TriedKey is the key under which Facts.Tried names a runbook that did not help
// against a cause.
func TriedKey(runbook, cause string) string { return runbook + "/" + cause }

// scene is what the variables of an expression stand for.
type scene struct {
	facts       Facts
	root        string
	mechanism   sre.Mechanism
	probability float64
	change      *sre.Change // that the hypothesis suspects
	severity    sre.Severity
	callers     []string
	entries     []string
	affected    []string
	blastShare  float64
	target      string // the service whose setting a parameter is for; empty elsewhere
	likely      string // likeliest cause, where the scene has no root
	callee      string // of its call, where that is what is set

	// alternatives are the services of the other hypotheses, likeliest first.
	alternatives []string
	dataQuality  float64
}

func newScene(f Facts) *scene {
	s := &scene{facts: f, mechanism: sre.Unknown, severity: sre.Info, root: f.Cause}
	if f.Anywhere {
		s.root = ""
	}
	var blast sre.BlastRadius
	if d := f.Diagnosis; d != nil {
		top := d.Top()
		if s.root == "" && !f.Anywhere {
			s.root = top.Service
		}
		for _, h := range d.Hypotheses {
			if h.Service == s.root && s.root != "" {
				s.mechanism, s.probability, s.change = h.Mechanism, h.Probability, h.Change
				break
			}
		}
		s.alternatives = others(d, s.root)
		if len(d.Blast.Services) > 0 && d.Blast.Services[0] == s.root {
			blast = d.Blast
		}
		s.affected, s.dataQuality = d.Affected, d.DataQuality
		for _, p := range d.Precursors {
			if p.Severity.Rank() > s.severity.Rank() {
				s.severity = p.Severity
			}
		}
	}
	s.surround(blast)
	if f.Anywhere {
		s.change = s.lateChange()
	}
	return s
}

// anywhere is the same scene without a cause.
func (s *scene) anywhere() *scene {
	f := s.facts
	f.Cause, f.Anywhere = "", true
	out := newScene(f)
	out.mechanism = s.mechanism
	return out
}

// suspectFor is how long before the trouble began a change may have been made to
// be suspected where no cause is known.
const suspectFor = 10 * time.Minute

// lateChange is the suspected change of trouble without a known cause: that of
// the likeliest hypothesis with a deploy or a flag, else the latest of these at a
// service in trouble or on a way to one, else what a hypothesis suspects. Settings
// change often and seldom bring down a fleet.
func (s *scene) lateChange() *sre.Change {
	d := s.facts.Diagnosis
	if d == nil {
		return nil
	}
	rolledOut := func(c *sre.Change) bool { return c != nil && (c.Kind == sre.Deploy || c.Kind == sre.Flag) }
	for _, h := range d.Hypotheses {
		if rolledOut(h.Change) {
			return h.Change
		}
	}
	hurt := s.hurt()
	for _, c := range slices.Backward(s.facts.Changes) {
		if rolledOut(&c) && slices.Contains(hurt, c.Service) && d.Onset.Sub(c.At) <= suspectFor {
			return &c
		}
	}
	for _, h := range d.Hypotheses {
		if h.Change != nil {
			return h.Change
		}
	}
	return nil
}

// surround fills what the graph tells about the root. Where no entry is known
// behind it, traffic from outside can only come in at the root itself.
func (s *scene) surround(blast sre.BlastRadius) {
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		if i, ok := snap.Graph.Index(s.root); ok {
			s.callers = slices.Compact(snap.Graph.Callers(s.root))
			if len(blast.Services) == 0 {
				blast = snap.Graph.BlastRadius(i, func(service int) sre.Reading {
					return snap.Value(service, sre.Traffic, sre.PerSecond)
				})
			}
		}
	}
	s.blastShare = blast.EntryShare
	s.entries = slices.Sorted(slices.Values(blast.Entries))
	if s.facts.Anywhere {
		s.blastShare, s.entries = 1, s.allEntries()
	}
	if len(s.entries) == 0 && s.root != "" {
		s.entries = []string{s.root}
	}
}

// allEntries are the entry services of the graph, by name.
func (s *scene) allEntries() (out []string) {
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		for _, i := range snap.Graph.Entries() {
			out = append(out, snap.Graph.Services[i].Name)
		}
	}
	slices.Sort(out)
	return out
}

// fleet is the number of services that are known.
func (s *scene) fleet() int {
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		return len(snap.Graph.Services)
	}
	return 0
}

// hurt are the services with a sign of trouble and all that stand on the ways
// from outside to them, by name: what waits for a service in trouble shows it a
// little later.
func (s *scene) hurt() []string {
	out := slices.Clone(s.affected)
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		for _, name := range s.affected {
			if i, known := snap.Graph.Index(name); known {
				for _, up := range snap.Graph.Upstream(i) {
					out = append(out, snap.Graph.Services[up].Name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// everyone are all services that are ours to move, by name.
func (s *scene) everyone() (out []string) {
	if snap := s.facts.Snapshot; snap != nil && snap.Graph != nil {
		for _, service := range snap.Graph.Services {
			if !service.External {
				out = append(out, service.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// callsInto are the calls into some services, by name.
func (s *scene) callsInto(services []string) (out []sre.Target) {
	if s.facts.Snapshot == nil || s.facts.Snapshot.Graph == nil {
		return nil
	}
	for _, callee := range services {
		for _, caller := range s.facts.Snapshot.Graph.Callers(callee) {
			out = append(out, sre.Target{Service: caller, Callee: callee})
		}
	}
	return inOrder(out)
}

func inOrder(targets []sre.Target) []sre.Target {
	slices.SortFunc(targets, func(a, b sre.Target) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Callee, b.Callee))
	})
	return slices.Compact(targets)
}

// callsBehind are all calls on the ways from outside to the root: those of its
// callers, of their callers, and so on, by name.
func (s *scene) callsBehind() (out []sre.Target) {
	snap := s.facts.Snapshot
	if snap == nil || snap.Graph == nil {
		return nil
	}
	g := snap.Graph
	root, ok := g.Index(s.root)
	if !ok {
		return nil
	}
	for _, callee := range append([]int{root}, g.Upstream(root)...) {
		for _, e := range g.CallersOf(callee) {
			if from := g.Edges[e].From; from != root {
				out = append(out, sre.Target{Service: g.Services[from].Name, Callee: g.Services[callee].Name})
			}
		}
	}
	return inOrder(out)
}

// variables binds the names of the language.
func (s *scene) variables() map[string]any {
	return map[string]any{
		"root": s.root, "mechanism": string(s.mechanism), "severity": string(s.severity),
		"probability": s.probability, "confidence": s.facts.Confidence.Lower,
		"blast_share": s.blastShare, "data_quality": s.dataQuality,
		"affected": s.affected, "callers": s.callers, "entries": s.entries,
		"attempt": s.facts.Attempt, "target": s.target, "callee": s.callee, "fleet": s.fleet(),
		"alternatives": s.alternatives,
		"has_change":   s.change != nil, "change_kind": s.changeKind(), "change_service": s.changeService(),
	}
}
