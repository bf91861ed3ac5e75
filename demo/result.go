package demo

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// ErrPromise is wrapped by the error of a story that did not end as it should.
var ErrPromise = errors.New("promise broken")

// ErrRejected is wrapped by the error of a story in which the person at the
// keyboard rejected the cure, so that the shop stayed down.
var ErrRejected = errors.New("the cure was rejected")

// Result is what the story showed. Goodput is a share of the offered first
// attempts, from 0 to 1; seconds count from the moment at which the capacity
// was cut, and are null for what never came.
type Result struct {
	WithoutAgent  Phase1 `json:"without_agent"`
	WithAgent     Phase2 `json:"with_agent"`
	AuditVerified bool   `json:"audit_verified"`
}

// Phase1 is what the shop did by itself. After the trigger means the last
// seconds that were watched, as it does in Phase2.
type Phase1 struct {
	GoodputBefore       float64 `json:"goodput_before"`
	GoodputAfterTrigger float64 `json:"goodput_after_trigger"`
	Recovered           bool    `json:"recovered"`
}

// Phase2 is what the shop did with the agent.
type Phase2 struct {
	GoodputBefore       float64        `json:"goodput_before"`
	GoodputAfterTrigger float64        `json:"goodput_after_trigger"`
	Recovered           bool           `json:"recovered"`
	DetectedAfter       *float64       `json:"detected_after_seconds"`
	FirstActionAfter    *float64       `json:"first_action_after_seconds"`
	RecoveredAfter      *float64       `json:"recovered_after_seconds"`
	Actions             []ActionResult `json:"actions"`
	Reverted            int            `json:"reverted"`
}

// ActionResult is one lever that was moved.
type ActionResult struct {
	Kind       sre.ActionKind `json:"kind"`
	Target     string         `json:"target"`
	Params     sre.Params     `json:"params"`
	Verdict    sre.Stance     `json:"verdict"` // of the decision: ask, or act
	ApprovedBy string         `json:"approved_by"`
}

// What the story promises.
const (
	downBelow       = 0.5 // every second without the agent, after the trigger
	healthyAbove    = 0.95
	recoveryWithin  = 60 * time.Second // of the detection
	recoveredStreak = 5                // healthy seconds in a row that count as recovered
)

// recoveredAt returns the first second of the first streak of healthy ones.
func recoveredAt(samples []GoodputSample) (time.Time, bool) {
	streak := 0
	for i, s := range samples {
		if s.Total.Ratio() < healthyAbove {
			streak = 0
			continue
		}
		if streak++; streak == recoveredStreak {
			return samples[i-recoveredStreak+1].Second, true
		}
	}
	return time.Time{}, false
}

// highest returns the sample with the best goodput.
func highest(samples []GoodputSample) GoodputSample {
	var best GoodputSample
	for _, s := range samples {
		if s.Total.Ratio() > best.Total.Ratio() {
			best = s
		}
	}
	return best
}

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrPromise, fmt.Sprintf(format, args...))
}

// seconds returns how long after from an instant lies, to the millisecond; nil
// for the zero time.
func seconds(from, at time.Time) *float64 {
	if at.IsZero() {
		return nil
	}
	s := round3(max(0, at.Sub(from).Seconds()))
	return &s
}

func round3(x float64) float64 { return math.Round(x*1000) / 1000 }
