package sre

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ActionKind names a family of levers, after the generic mitigation it is.
type ActionKind string

// The closed set of action kinds.
const (
	Shed         ActionKind = "shed"         // rate caps by priority class, requests per second
	RetryBudget  ActionKind = "retry_budget" // retries as a share of first attempts
	QueueBound   ActionKind = "queue_bound"  // how much work may wait
	Breaker      ActionKind = "breaker"
	Timeout      ActionKind = "timeout"
	KillSwitch   ActionKind = "kill_switch"
	Rollback     ActionKind = "rollback"
	Scale        ActionKind = "scale"
	TrafficShift ActionKind = "traffic_shift" // weights
	Drain        ActionKind = "drain"
	Restart      ActionKind = "restart" // irreversible: what ran is gone
)

// ActionKinds lists every kind in a fixed order.
func ActionKinds() []ActionKind {
	return []ActionKind{Shed, RetryBudget, QueueBound, Breaker, Timeout, KillSwitch, Rollback, Scale, TrafficShift, Drain, Restart}
}

// Valid reports whether k is one of the closed set.
func (k ActionKind) Valid() bool {
	return slices.Contains(ActionKinds(), k)
}

// Target is what an action moves: a service, or the calls of a service to one
// callee, or one backend of a proxy. Lever names the remediator that owns it.
type Target struct {
	Lever   string `json:"lever"`            // remediator, as in the configuration
	Service string `json:"service"`          // whose enforcement point is moved
	Callee  string `json:"callee,omitempty"` // for settings of the calls Service -> Callee
	Name    string `json:"name,omitempty"`   // flag, backend or server where one is meant
}

// String writes the target as lever/service[->callee][#name].
func (t Target) String() string {
	s := t.Lever + "/" + t.Service
	if t.Callee != "" {
		s += "->" + t.Callee
	}
	if t.Name != "" {
		s += "#" + t.Name
	}
	return s
}

// Params are the absolute settings of an action: numbers, strings or booleans
// by name. Never increments.
type Params map[string]any

// Float returns a numeric parameter.
func (p Params) Float(name string) (float64, bool) {
	switch v := p[name].(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// Text returns a string parameter.
func (p Params) Text(name string) (string, bool) {
	v, ok := p[name].(string)
	return v, ok
}

// Action is one intended change. Its ID is derived from incident, step and
// attempt, and is the idempotency key of Apply and Revert.
type Action struct {
	ID     string        `json:"id"`
	Kind   ActionKind    `json:"kind"`
	Target Target        `json:"target"`
	Params Params        `json:"params"`
	TTL    time.Duration `json:"ttl"` // nanoseconds in JSON; how long the enforcer may hold it without renewal
	// Law names the control law that moves the parameters while the action is in
	// force; empty leaves them as they are. The laws are in agent/control.
	Law string `json:"law,omitempty"`
	// Tune are the law's own settings where its defaults do not fit.
	Tune Params `json:"tune,omitempty"`
}

// Directive is an action as it is sent to an enforcement point: with the
// fencing token of the sender and the moment at which it lapses by itself.
type Directive struct {
	Action  Action
	Epoch   uint64    // fencing token: a target refuses a lower one than it has seen
	Seq     uint64    // order within an epoch
	Expires time.Time // the enforcer returns to its own defaults after this
	Restore Params    // for Revert: the settings found before the first Apply
	// Approved is the person behind an Apply: who approved the plan or ordered
	// it; empty where the policy let the agent act alone. The executor takes it
	// from the gate's permit.
	Approved string
}

// TargetState is what is in effect at a target now, as read from the target
// itself.
type TargetState struct {
	InEffect bool      `json:"in_effect"`         // the probed action holds, by its ID
	Current  Params    `json:"current"`           // settings in force, in the action's parameter names
	Default  Params    `json:"default,omitempty"` // settings to which the target returns by itself
	Owner    string    `json:"owner,omitempty"`   // action ID of the last writer; empty for none
	Foreign  bool      `json:"foreign,omitempty"` // somebody else moved it since
	Epoch    uint64    `json:"epoch,omitempty"`   // highest fencing token that the target has accepted
	Expires  time.Time `json:"expires,omitzero"`  // when the current setting lapses
	Detail   string    `json:"detail,omitempty"`
}

// ParamSpec is the schema of one parameter of an action kind.
type ParamSpec struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"` // number, string, bool
	Required bool    `json:"required,omitempty"`
	Min      float64 `json:"min,omitempty"` // numbers only
	Max      float64 `json:"max,omitempty"` // numbers only
	Unit     string  `json:"unit,omitempty"`
	Help     string  `json:"help,omitempty"`
}

// KindSpec says what a remediator can do with one action kind.
type KindSpec struct {
	Kind       ActionKind  `json:"kind"`
	Reversible bool        `json:"reversible"`
	TTL        bool        `json:"ttl"`  // the enforcer lets it lapse by itself
	Edge       bool        `json:"edge"` // the target needs a callee
	Params     []ParamSpec `json:"params"`
}

// Capability is a remediator's self-description.
type Capability struct {
	Name    string     `json:"name"` // the lever name that targets use
	Version string     `json:"version"`
	Kinds   []KindSpec `json:"kinds"`
	Targets []string   `json:"targets,omitempty"` // services it can move; empty for any
	// Person lists names of targets that it moves only with a person behind it.
	Person []string `json:"person,omitempty"`
}

// Kind returns what the remediator can do with a kind.
func (c Capability) Kind(k ActionKind) (KindSpec, bool) {
	for _, spec := range c.Kinds {
		if spec.Kind == k {
			return spec, true
		}
	}
	return KindSpec{}, false
}

// Check reports whether the parameters fit the schema: an *ActionError with
// code Invalid that names the parameter and what is allowed, or nil.
func (k KindSpec) Check(p Params) error {
	known := make(map[string]bool, len(k.Params))
	for _, spec := range k.Params {
		known[spec.Name] = true
		if err := spec.check(k.Kind, p); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !known[name] {
			return Invalidf("%s: unknown parameter %q", k.Kind, name)
		}
	}
	return nil
}

func (s ParamSpec) check(kind ActionKind, p Params) error {
	v, given := p[s.Name]
	if !given {
		if s.Required {
			return Invalidf("%s: parameter %q is missing", kind, s.Name)
		}
		return nil
	}
	switch s.Type {
	case "number":
		f, ok := p.Float(s.Name)
		if !ok || f != f {
			return Invalidf("%s: parameter %q is %v, want a number", kind, s.Name, v)
		}
		if f < s.Min || f > s.Max {
			return Invalidf("%s: parameter %q is %v, want %v to %v", kind, s.Name, f, s.Min, s.Max)
		}
	case "string":
		if _, ok := v.(string); !ok {
			return Invalidf("%s: parameter %q is %v, want a string", kind, s.Name, v)
		}
	case "bool":
		if _, ok := v.(bool); !ok {
			return Invalidf("%s: parameter %q is %v, want true or false", kind, s.Name, v)
		}
	}
	return nil
}

// Remediator moves one family of levers. Every call honours its context's
// deadline. Apply and Revert return when the change is requested, are
// idempotent by action ID, and refuse a fencing token lower than one already
// accepted. Errors are *ActionError; anything else counts as CodeUnknown.
type Remediator interface {
	// Describe says what the remediator can do. It touches nothing.
	Describe(ctx context.Context) (Capability, error)
	// Probe reads what is in effect at the action's target. It touches nothing.
	Probe(ctx context.Context, a Action) (TargetState, error)
	// Apply sets the action's absolute values, to lapse at d.Expires. Applying
	// the same action again renews it, and with other values and a higher Seq
	// moves it there; d.Restore and what Revert leads back to stay as they were.
	Apply(ctx context.Context, d Directive) error
	// Revert goes back to d.Restore, or to the target's own default where the
	// target knows it. Reverting what is not in effect is success.
	Revert(ctx context.Context, d Directive) error
}

// Code says what is known after an action failed.
type Code string

// The closed set of action error codes. The zero value counts as CodeUnknown.
const (
	CodeInvalid Code = "invalid" // the request makes no sense; nothing was touched
	CodeRefused Code = "refused" // the target said no; nothing was touched
	CodeFailed  Code = "failed"  // it was tried and did not take effect
	CodeUnknown Code = "unknown" // it may or may not have happened: probe, never retry blindly
)

// ActionError is the error of a remediator.
type ActionError struct {
	Code   Code
	Reason string
	Err    error
}

// Error returns the code and the reason.
func (e *ActionError) Error() string {
	s := string(e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *ActionError) Unwrap() error { return e.Err }

// Invalidf returns an ActionError with CodeInvalid.
func Invalidf(format string, args ...any) error {
	return &ActionError{Code: CodeInvalid, Reason: fmt.Sprintf(format, args...)}
}

// Refusedf returns an ActionError with CodeRefused.
func Refusedf(format string, args ...any) error {
	return &ActionError{Code: CodeRefused, Reason: fmt.Sprintf(format, args...)}
}

// Failedf returns an ActionError with CodeFailed.
func Failedf(format string, args ...any) error {
	return &ActionError{Code: CodeFailed, Reason: fmt.Sprintf(format, args...)}
}

// Unknownf returns an ActionError with CodeUnknown around the cause.
func Unknownf(err error, format string, args ...any) error {
	return &ActionError{Code: CodeUnknown, Reason: fmt.Sprintf(format, args...), Err: err}
}

// CodeOf returns the code of an error from a remediator: "" for nil, and
// CodeUnknown for everything that is not an ActionError.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var a *ActionError
	if errors.As(err, &a) && a.Code != "" {
		return a.Code
	}
	return CodeUnknown
}
