package diagnosis

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Engine makes findings. It is not safe for concurrent use.
type Engine struct {
	cfg     Config
	changes []sre.Change // of the last ChangeWindow, by time, then ID
	rises   []rise       // by service
	book    *book        // the incidents of this tick

	said, saying map[string]int // at how many ticks in a row a merge or a split was called for

	past past
	held map[string]map[string]float64 // what was believed of each open incident, by service
}

// New returns an engine that knows of no change. The configuration must have
// passed Validate.
func New(cfg Config) *Engine { return &Engine{cfg: cfg} }

// Diagnose groups the precursors of one tick into one finding per fault and
// ranks the causes of each. Incidents are the open ones and those that were
// closed within half an hour. A group that touches an open incident is news of
// it; one that looks like a closed one has come back as that; and incidents that
// turn out to be one fault, or two, are named. Signs that are only worth a note
// make no finding of their own. Findings come most severe first, then by
// fingerprint.
func (e *Engine) Diagnose(s *sre.Snapshot, ps []sre.Precursor, incidents []sre.Incident) []sre.Finding {
	e.remember(s)
	e.held = believed(incidents)
	e.past.keep(s, slices.ContainsFunc(ps, grave))
	nodes := collect(s.Graph, ps)
	e.follow(s, nodes)
	var findings []sre.Finding
	for _, g := range e.groups(s, nodes, incidents) {
		findings = append(findings, e.finding(s, g))
	}
	slices.SortStableFunc(findings, func(a, b sre.Finding) int {
		return cmp.Or(
			cmp.Compare(b.Severity.Rank(), a.Severity.Rank()),
			cmp.Compare(a.Fingerprint, b.Fingerprint),
			cmp.Compare(a.Incident, b.Incident),
		)
	})
	e.reopen(findings)
	return findings
}

// reopen gives findings that belong to no open incident to the closed one that
// has come back, once.
func (e *Engine) reopen(findings []sre.Finding) {
	taken := map[string]bool{}
	for i := range findings {
		f := &findings[i]
		if f.Incident != "" || f.SplitFrom != "" {
			continue
		}
		if id := e.book.reopened(&f.Diagnosis); id != "" && !taken[id] {
			f.Incident, taken[id] = id, true
		}
	}
}

// remember keeps the changes that may still be to blame.
func (e *Engine) remember(s *sre.Snapshot) {
	known := func(c sre.Change) bool {
		return slices.ContainsFunc(e.changes, func(old sre.Change) bool {
			return old.ID == c.ID && old.Service == c.Service && old.At.Equal(c.At)
		})
	}
	for _, c := range s.Changes {
		if !known(c) {
			e.changes = append(e.changes, c)
		}
	}
	horizon := s.At.Add(-time.Duration(e.cfg.ChangeWindow) - time.Duration(e.cfg.MergeWindow))
	e.changes = slices.DeleteFunc(e.changes, func(c sre.Change) bool { return c.At.Before(horizon) })
	slices.SortStableFunc(e.changes, func(a, b sre.Change) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
	})
}

func (e *Engine) finding(s *sre.Snapshot, g group) sre.Finding {
	d := sre.Diagnosis{
		At:         s.At,
		Onset:      g.onset(),
		Affected:   g.affected(),
		Precursors: g.precursors(),
	}
	d.Hypotheses = e.causes(s, g)
	f := sre.Finding{Incident: g.incident, Merges: g.merges, SplitFrom: g.splitFrom, Storm: g.storm}
	root, top := -1, d.Top()
	if i, ok := s.Graph.Index(top.Service); ok {
		root = i
		d.Blast = s.Graph.BlastRadius(i, func(j int) sre.Reading { return s.Value(j, sre.Traffic, sre.PerSecond) })
	}
	if root < 0 {
		d.Note = "no service that is seen explains the signs: something outside the graph may be the cause"
	}
	d.DataQuality = quality(s, g, root)
	f.Severity = e.severity(s, g, root, d.Blast.EntryShare)
	named := top.Service
	if named == "" {
		named = "?" + g.strongest().name
	}
	f.Fingerprint = fingerprint(named, top.Mechanism)
	f.Diagnosis = d
	return f
}

// causes ranks the causes of a group. What an open incident is about stays as it
// was while nothing but the error budget speaks: users still suffer, which says
// nothing new of why.
func (e *Engine) causes(s *sre.Snapshot, g group) []sre.Hypothesis {
	if inc := e.book.byID[g.incident]; inc != nil && g.onlyBurns() && len(inc.Diagnosis.Hypotheses) > 0 {
		return slices.Clone(inc.Diagnosis.Hypotheses)
	}
	g = e.recalled(s, g)
	candidates, callers := e.rank(s, g)
	return e.hypotheses(s, g, candidates, callers)
}

// fingerprint is the same for the same cause, and short enough to be read out.
func fingerprint(service string, m sre.Mechanism) string {
	sum := sha256.Sum256([]byte(service + "|" + string(m)))
	return hex.EncodeToString(sum[:6])
}

// quality returns the share of fresh readings among the services that the
// finding rests on, half of it for the root. Services that are only known
// through their callers have no readings of their own to miss.
func quality(s *sre.Snapshot, g group, root int) float64 {
	var sum, n float64
	for _, nd := range g.nodes {
		if nd.serious && !s.Graph.Services[nd.index].External {
			sum += s.FreshShare(nd.index)
			n++
		}
	}
	all := 1.
	if n > 0 {
		all = sum / n
	}
	if root >= 0 && !s.Graph.Services[root].External {
		all = (all + s.FreshShare(root)) / 2
	}
	if !s.Health.Up {
		all /= 2
	}
	return all
}
