package scenario

import (
	"time"

	"github.com/sreagent/sreagent/agent/gate"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// Scenario is one parsed story. It is not changed by running it.
type Scenario struct {
	Name       string // of the file, without folder and ending
	Title      string
	Source     string // where the story comes from; empty for our own
	Seed       uint64
	Tick       time.Duration // of the agent and of the time line
	Scrape     time.Duration // between two readings of the metrics
	ScrapeLoss float64       // share of scrapes that are lost, 0 to 1
	Window     time.Duration // over which rates are taken
	WarmUp     time.Duration // before the first tick: the past that the agent reads
	Length     time.Duration // from the first tick to the last

	Blueprint fluid.Blueprint
	Events    []Event // by time, then by line
	Truths    []Truth // what is really at fault, as the author says
	Policy    gate.Policy
	Answers   []Answer  // how people answer questions, the first that fits
	Commands  []Command // what people say unasked, by time
	Expect    []Expectation
}

// Truth is one service at fault and how the trouble feeds itself.
type Truth struct {
	Service   string
	Mechanism sre.Mechanism // Unknown where the author does not say
}

// Event is one thing that happens to the world.
type Event struct {
	Line   int
	At     time.Duration // since the first tick
	For    time.Duration // 0 is until the end of the run
	Text   string        // as written, without its time
	Benign bool          // meant to hurt nobody: not a fault

	verb    string
	service int // -1 is all of them, for a scrape gap
	edge    int
	client  int
	shape   shape
	change  sre.Change
}

// shape is how strong an event is, in the terms of the world.
type shape struct {
	condition fluid.Condition
	edge      fluid.EdgeCondition
	factor    float64       // of the load
	ramp      time.Duration // in which the factor, or the share of a deploy, is reached
	period    time.Duration // of a diurnal load; 0 is none
	evict     float64       // share of the cache
}

// Ends returns when the event is over, since the first tick; length where it
// lasts to the end of the run.
func (e *Event) Ends(length time.Duration) time.Duration {
	if e.For == 0 {
		return length
	}
	return min(e.At+e.For, length)
}

// Answer is a rule for the people of a story: what they say to a question, and
// how long they take.
type Answer struct {
	Kind    sre.InputKind // InputApprove or InputReject
	Runbook string        // of the question; empty is any
	After   time.Duration // since it was put
}

// Command is what an operator says at a given time, unasked.
type Command struct {
	At   time.Duration
	Kind sre.InputKind // InputPause, InputResume, InputUndo or InputClose
}

// Arm says with or without the agent.
type Arm string

// The arms of a story.
const (
	Both Arm = ""
	On   Arm = "on"
	Off  Arm = "off"
)

// Expectation is one claim of the author about what comes of a run.
type Expectation struct {
	Line  int
	Arm   Arm
	Text  string // the claim as written
	judge func(*Result) (holds bool, found string)
}

// Holds judges the claim by a run, whichever its arm, and says what was found.
func (e Expectation) Holds(r *Result) (holds bool, found string) { return e.judge(r) }

// Check returns one sentence for every expectation of the result's arm that
// does not hold.
func (s *Scenario) Check(r *Result) []string {
	var out []string
	for _, e := range s.Expect {
		if e.Arm != Both && string(e.Arm) != r.Agent {
			continue
		}
		if ok, found := e.judge(r); !ok {
			out = append(out, s.Name+".scenario:"+itoa(e.Line)+": expected "+e.Text+", found "+found)
		}
	}
	return out
}
