package agent

import (
	"slices"

	"github.com/sreagent/sreagent/sre"
)

const (
	// sure is the score from which a sign belongs to the signature.
	sure = 0.5
	// keepMarks bounds a signature.
	keepMarks = 32
)

// signature says in marks what a situation is like, so that the learner can tell
// whether anything like it was ever seen: which mechanisms show themselves, what
// is abnormal at the cause and on the calls to it, where in the graph it stands,
// and how far the trouble has come. Names of services are no part of it. Each
// mark is coarse on purpose: what differs by a little is not new.
func signature(t *turn, inc *sre.Incident) []string {
	top := inc.Diagnosis.Top()
	marks := []string{"cause:" + string(top.Mechanism)}
	for _, p := range inc.Diagnosis.Precursors {
		if p.Score < sure && !serious(p) {
			continue
		}
		marks = append(marks, "sign:"+string(p.Mechanism))
		switch {
		case p.Service == top.Service && p.Caller == "":
			marks = append(marks, "root:"+string(p.Kind)+heading(p))
		case p.Service == top.Service:
			marks = append(marks, "calls:"+string(p.Kind))
		}
	}
	marks = append(marks, "age:"+band(t.now.Sub(inc.Diagnosis.Onset).Seconds(), 45, 120, "new", "young", "old"),
		"behind:"+band(inc.Diagnosis.Blast.EntryShare, .2, .8, "little", "part", "all"))
	if inc.Attempt > 0 {
		marks = append(marks, "again")
	}
	if top.Change != nil {
		marks = append(marks, "change:"+string(top.Change.Kind))
	}
	marks = append(marks, shape(t.snap, top.Service, len(inc.Diagnosis.Affected))...)
	if ratio, known := trouble(t); known {
		marks = append(marks, "entries:"+band(ratio, .05, .5, "well", "hurt", "down"))
	}
	slices.Sort(marks)
	marks = slices.Compact(marks)
	return marks[:min(len(marks), keepMarks)]
}

// heading says whether a reading is below what is normal, above, or far above.
func heading(p sre.Precursor) string {
	if len(p.Evidence) == 0 || !isFinite(p.Evidence[0].Now) || !isFinite(p.Evidence[0].Normal) {
		return ""
	}
	now, normal := p.Evidence[0].Now, p.Evidence[0].Normal
	return ":" + band(now-normal, 0, max(4*normal, 0), "low", "high", "far")
}

// shape is where in the graph a cause stands, and how much of the fleet is
// affected.
func shape(s *sre.Snapshot, service string, affected int) []string {
	if s == nil || s.Graph == nil || len(s.Graph.Services) == 0 {
		return nil
	}
	out := []string{"affected:" + band(float64(affected)/float64(len(s.Graph.Services)), .2, .6, "few", "some", "most")}
	if i, known := s.Graph.Index(service); known {
		out = append(out, "class:"+class(s, service), "callers:"+band(float64(len(s.Graph.CallersOf(i))), 1.5, 3.5, "one", "few", "many"))
	}
	return out
}

// band names where a value lies: below the first limit, below the second, or
// above.
func band(v, low, high float64, below, between, above string) string {
	switch {
	case v < low:
		return below
	case v < high:
		return between
	}
	return above
}
