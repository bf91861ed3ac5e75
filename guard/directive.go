package guard

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Kind names a setting that a directive can hold.
type Kind string

// The closed set of kinds.
const (
	KindShed        Kind = "shed"         // rps, critical, high, normal, low: requests per second
	KindRetryBudget Kind = "retry_budget" // ratio: retries per first attempt; callee "" is every callee
	KindQueueBound  Kind = "queue_bound"  // length: requests that may wait
	KindBreaker     Kind = "breaker"      // failure_ratio, min_requests, open_seconds, consecutive, probes; of one callee
	KindTimeout     Kind = "timeout"      // seconds; callee "" is the handling of requests
	KindKillSwitch  Kind = "kill_switch"  // percent of keys switched off; name is the feature
)

// Kinds lists every kind in a fixed order.
func Kinds() []Kind {
	return []Kind{KindShed, KindRetryBudget, KindQueueBound, KindBreaker, KindTimeout, KindKillSwitch}
}

// MaxTTL is the longest time for which a directive may be held without renewal:
// a directive is a lease.
const MaxTTL = 24 * time.Hour

const maxName = 200 // bytes of an ID, a callee or a feature

// Params are the absolute settings of a directive, by name.
type Params map[string]float64

// Directive is an order to hold one setting until Expires. Its ID is the
// idempotency key: the same ID again renews it.
type Directive struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Callee  string    `json:"callee"`
	Name    string    `json:"name"`
	Params  Params    `json:"params"`
	Epoch   uint64    `json:"epoch"` // of the writer; lower than the highest accepted one is refused
	Seq     uint64    `json:"seq"`   // order within an epoch
	Expires time.Time `json:"expires"`
}

// Phase is where a directive stands in its life.
type Phase string

// The phases of a directive.
const (
	PhaseHeld      Phase = "held"      // in force as ordered
	PhaseReturning Phase = "returning" // on its way back to the default
	PhaseGone      Phase = "gone"      // the default is in force; only in answers to DELETE
)

// DirectiveState is a directive as the guard holds it.
type DirectiveState struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Callee  string    `json:"callee"`
	Name    string    `json:"name"`
	Params  Params    `json:"params"`  // in force now
	Default Params    `json:"default"` // to which it returns; empty is no limit
	Epoch   uint64    `json:"epoch"`
	Seq     uint64    `json:"seq"`
	Expires time.Time `json:"expires"`
	Phase   Phase     `json:"phase"`
	Step    int       `json:"step"`           // of the return
	Note    string    `json:"note,omitempty"` // why it may have no effect
}

// State is all that is in force at a guard.
type State struct {
	Service    string                     `json:"service"`
	Epoch      uint64                     `json:"epoch"`      // highest accepted
	Settings   map[Kind]map[string]Params `json:"settings"`   // in force, by kind and by callee or feature
	Directives []DirectiveState           `json:"directives"` // sorted by kind, callee and name
	Breakers   map[string]string          `json:"breakers"`   // closed, half-open or open, by callee, or callee/backend; without those that have none

	Circuits map[string]BreakerStats   `json:"circuits,omitempty"` // the same with counts
	Backends map[string][]BackendState `json:"backends,omitempty"` // by callee
}

// Refusal is the body of every answer that is not a success.
type Refusal struct {
	Error string `json:"error"`
	Epoch uint64 `json:"epoch,omitempty"` // highest accepted, on 409
}

// knob is one setting that at most one directive holds at a time.
type knob struct {
	kind   Kind
	callee string
	name   string
}

func (d Directive) knob() knob { return knob{d.Kind, d.Callee, d.Name} }

// label tells apart the knobs of one kind: the callee, or the feature.
func (k knob) label() string {
	if k.kind == KindKillSwitch {
		return k.name
	}
	return k.callee
}

type bounds struct {
	min, max float64
	required bool
}

const maxRate = 1e9

var paramBounds = map[Kind]map[string]bounds{
	KindShed: {
		"rps": {0, maxRate, false}, "critical": {0, maxRate, false}, "high": {0, maxRate, false},
		"normal": {0, maxRate, false}, "low": {0, maxRate, false},
	},
	KindRetryBudget: {"ratio": {0, 100, true}},
	KindQueueBound:  {"length": {0, 1e9, true}},
	KindBreaker:     {"failure_ratio": {0.01, 1, true}, "min_requests": {1, 1e6, false}, "open_seconds": {0.001, 3600, false}, "consecutive": {0, 1e6, false}, "probes": {1, 1000, false}},
	KindTimeout:     {"seconds": {0.001, 3600, true}},
	KindKillSwitch:  {"percent": {0, 100, true}},
}

// validate reports every fault of a directive that arrived at now.
func (d Directive) validate(now time.Time) error {
	var f faults
	f.check(validName(d.ID), "id", "is %q; allowed: 1 to %d bytes without control characters", d.ID, maxName)
	f.check(d.Callee == "" || validName(d.Callee), "callee", "is too long or has control characters")
	f.check(d.Name == "" || validName(d.Name), "name", "is too long or has control characters")
	f.check(d.Expires.After(now), "expires", "is %s, which is not in the future", d.Expires.Format(time.RFC3339))
	f.check(d.Expires.Sub(now) <= MaxTTL, "expires", "is %s; allowed: at most %s ahead", d.Expires.Format(time.RFC3339), MaxTTL)
	allowed, known := paramBounds[d.Kind]
	if !known {
		f.check(false, "kind", "is %q; allowed: %v", d.Kind, Kinds())
		return errors.Join(f...)
	}
	d.validateTarget(&f)
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		_, given := d.Params[name]
		f.check(given || !allowed[name].required, "params."+name, "is missing")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Params)) {
		b, ok := allowed[name]
		v := d.Params[name]
		f.check(ok, "params."+name, "is unknown; allowed: %v", slices.Sorted(maps.Keys(allowed)))
		f.check(!ok || v >= b.min && v <= b.max, "params."+name, "is %v; allowed: %v to %v", v, b.min, b.max)
		whole := slices.Contains([]string{"length", "min_requests", "consecutive", "probes"}, name)
		f.check(!whole || v == math.Trunc(v), "params."+name, "is %v; allowed: whole numbers", v)
	}
	f.check(d.Kind != KindShed || len(d.Params) > 0, "params", "is empty; allowed: rps or a class")
	return errors.Join(f...)
}

func (d Directive) validateTarget(f *faults) {
	switch d.Kind {
	case KindShed, KindQueueBound:
		f.check(d.Callee == "", "callee", "is %q; %s has none", d.Callee, d.Kind)
	case KindBreaker:
		f.check(d.Callee != "", "callee", "is missing; a breaker belongs to one callee")
	case KindKillSwitch:
		f.check(d.Callee == "", "callee", "is %q; %s has none", d.Callee, d.Kind)
		f.check(d.Name != "", "name", "is missing; it names the feature")
	case KindRetryBudget, KindTimeout:
	}
	f.check(d.Kind == KindKillSwitch || d.Name == "", "name", "is %q; %s has none", d.Name, d.Kind)
}

func validName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// RefusedError is why a directive was not accepted.
type RefusedError struct {
	Reason string // invalid, stale_epoch, stale_seq or storage, as in the metric
	Epoch  uint64 // highest accepted
	Err    error
}

// Error returns the reason and its cause.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s: %v", e.Reason, e.Err) }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }
