package scenario

import (
	"time"

	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/sre"
)

// Result is what came of one run of a scenario.
type Result struct {
	Scenario              string   `json:"scenario"`
	Agent                 string   `json:"agent"`          // on or off
	GoodputBefore         float64  `json:"goodput_before"` // share of users' requests answered well and in time, 0 to 1
	GoodputMin            float64  `json:"goodput_min"`
	GoodputAfter          float64  `json:"goodput_after"`
	Recovered             bool     `json:"recovered"`
	RecoveredAfterSeconds *float64 `json:"recovered_after_seconds"` // since the first fault; null where it did not recover
	Cascade               bool     `json:"cascade"`                 // trouble spread beyond the services at fault
	ServicesAffected      int      `json:"services_affected"`
	Actions               []Moved  `json:"actions"`
	HarmfulActions        int      `json:"harmful_actions"` // goodput was worse for them
	FalseActions          int      `json:"false_actions"`   // on what was not at fault
	DetectedAfterSeconds  *float64 `json:"detected_after_seconds"`
	Failures              []string `json:"failures,omitempty"` // expectations that did not hold

	Seed     uint64          `json:"seed"`
	Start    time.Time       `json:"start"`
	Title    string          `json:"title"`
	Story    []Moment        `json:"-"` // goodput over time, one per tick
	Marks    []Mark          `json:"-"`
	Records  []sre.Record    `json:"-"`
	Graph    *sre.Graph      `json:"-"`
	Affected map[string]bool `json:"-"` // services that were in trouble

	firstAction *float64 // seconds since the first fault
}

// Moved is one lever that the agent moved. Renewals are left out.
type Moved struct {
	ID      string         `json:"id"`
	At      time.Time      `json:"at"`
	Kind    sre.ActionKind `json:"kind"`
	Target  string         `json:"target"` // service, caller->callee, or service#name
	Params  sre.Params     `json:"params"`
	Purpose sre.Purpose    `json:"purpose"`
	Phase   sre.Phase      `json:"phase"`
	Harmful bool           `json:"harmful,omitempty"`
	False   bool           `json:"false,omitempty"`
}

// Moment is the state of the world at one tick, as its users felt it since the
// tick before.
type Moment struct {
	At      time.Time
	Goodput float64 // share of wanted requests answered well and in time
	Offered float64 // wanted requests per second
	Work    float64 // attempts per wanted request, over all edges
	Worst   string  // service with the longest queue
	Queue   float64 // its length in requests

	good, wanted float64 // requests
}

// Mark is something that happened: a fault, its end, a line of the script.
type Mark struct {
	At   time.Time
	Text string
	Ends time.Time // zero for a moment
}

// Applied counts the levers that were moved to help, and moved in earnest.
func (r *Result) Applied() int { return len(r.applied()) }

// applied returns the levers that were moved to help, and moved in earnest.
func (r *Result) applied() []*Moved {
	var out []*Moved
	for i := range r.Actions {
		if a := &r.Actions[i]; a.Purpose == sre.ToApply && a.Phase != sre.Simulated && a.Phase != sre.Failed {
			out = append(out, a)
		}
	}
	return out
}

// incidents returns every incident as it last stood, in the order of opening.
func (r *Result) incidents() []*sre.Incident {
	line := replay.Timeline{Records: r.Records}
	return line.Incidents()
}

// belief returns the cause of the first decision that would do something, else
// that of the last decision, else of the last incident.
func (r *Result) belief() (string, sre.Mechanism) {
	digests := replay.Digests(r.Records)
	for _, d := range digests {
		if d.Verdict != sre.Watch {
			return d.Cause, d.Mechanism
		}
	}
	if n := len(digests); n > 0 {
		return digests[n-1].Cause, digests[n-1].Mechanism
	}
	if all := r.incidents(); len(all) > 0 {
		top := all[len(all)-1].Diagnosis.Top()
		return top.Service, top.Mechanism
	}
	return "", sre.Unknown
}

// movements reads the levers out of a trail.
func movements(records []sre.Record) []Moved {
	out := []Moved{}
	type key struct {
		id      string
		purpose sre.Purpose
	}
	at := map[key]int{}
	for i := range records {
		if in := records[i].Intent; in != nil && in.Permit.Purpose != sre.ToRenew {
			a := in.Action
			target := a.Target
			target.Lever = ""
			m := Moved{
				ID: a.ID, At: records[i].At, Kind: a.Kind, Target: target.String()[1:], Params: a.Params,
				Purpose: in.Permit.Purpose, Phase: sre.Intended,
			}
			at[key{a.ID, m.Purpose}] = len(out)
			out = append(out, m)
		}
		if res := records[i].Result; res != nil {
			if n, known := at[key{res.Action, res.Purpose}]; known {
				out[n].Phase = res.Phase
			}
		}
	}
	return out
}
