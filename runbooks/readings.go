package runbooks

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/sreagent/sreagent/sre"
)

// mostShown is how many readings the explanation of a verdict names.
const mostShown = 6

// From these on a service is full: the share of its workers that is busy, and
// what waits as a share of what it answers before the shortest timeout of its callers;
// a handful is no backlog.
const (
	fullPool  = 0.95
	fullQueue = 0.5
	fewWait   = 10.0
)

// notInGraph is why nothing is known of a service that nobody has seen.
const notInGraph = "is about a service that is not in the graph"

// readings answers the functions of one evaluation and remembers what was asked
// for. CEL itself forgets an error that `||` or `&&` makes irrelevant; the
// memory is what keeps a missing reading from being forgotten.
type readings struct {
	scene   *scene
	snap    *sre.Snapshot
	seen    []string // "errors(cart) = 0.2", in the order of asking
	missing []string // "errors(cart) is stale"
	asked   map[string]bool
}

func newReadings(s *scene) *readings {
	return &readings{scene: s, snap: s.facts.Snapshot, asked: map[string]bool{}}
}

// functions binds the language's functions to this evaluation.
func (r *readings) functions() map[string]cel.LateBoundFunction {
	of := func(name string, read func(service int) sre.Reading) cel.LateBoundFunction {
		return func(_ string, args ...ref.Val) ref.Val {
			return r.ask(name, string(args[0].(types.String)), read)
		}
	}
	return map[string]cel.LateBoundFunction{
		"value":       r.value,
		"has_value":   r.hasValue,
		"errors":      of("errors", func(i int) sre.Reading { return r.snap.ErrorRatio(i) }),
		"traffic":     of("traffic", func(i int) sre.Reading { return r.snap.Value(i, sre.Traffic, sre.PerSecond) }),
		"latency":     of("latency", func(i int) sre.Reading { return r.snap.Value(i, sre.Latency, sre.Seconds) }),
		"queue":       of("queue", func(i int) sre.Reading { return r.snap.Value(i, sre.Queue, sre.Count) }),
		"occupancy":   of("occupancy", func(i int) sre.Reading { return occupancy(r.snap, i) }),
		"served":      of("served", func(i int) sre.Reading { return served(r.snap, i) }),
		"retry_share": of("retry_share", func(i int) sre.Reading { return retryShare(r.snap, i) }),
		"max_errors":  r.maxErrors,
		"full":        r.full,
		"needs":       r.needs,
		"callers_of":  r.neighbours("callers_of", (*sre.Graph).Callers),
		"callees_of":  r.neighbours("callees_of", (*sre.Graph).Callees),
		"upstream":    r.neighbours("upstream", upstream),
		"is_entry":    r.isEntry,
		"can":         r.can,
		"change_age":  r.changeAge,
		"caller_timeout": func(_ string, args ...ref.Val) ref.Val {
			return types.Double(callerTimeout(r.snap, string(args[0].(types.String)), float64(args[1].(types.Double))))
		},
	}
}

// ask looks up one reading of one service. Anything but a fresh, finite number
// is missing.
func (r *readings) ask(name, service string, read func(int) sre.Reading) ref.Val {
	label := name + "(" + service + ")"
	i, known := r.index(service)
	if !known {
		return r.miss(label, notInGraph)
	}
	got := read(i)
	if got.State != sre.Present {
		return r.miss(label, "is "+got.State.String())
	}
	if math.IsNaN(got.Value) || math.IsInf(got.Value, 0) {
		return r.miss(label, "is not a number")
	}
	if !r.asked[label] {
		r.asked[label] = true
		r.seen = append(r.seen, label+" = "+strconv.FormatFloat(got.Value, 'g', 4, 64))
	}
	return types.Double(got.Value)
}

func (r *readings) miss(label, why string) ref.Val {
	if !r.asked[label] {
		r.asked[label] = true
		r.missing = append(r.missing, label+" "+why)
	}
	return types.NewErr("%s %s", label, why)
}

func (r *readings) index(service string) (int, bool) {
	if r.snap == nil || r.snap.Graph == nil {
		return 0, false
	}
	return r.snap.Graph.Index(service)
}

func (r *readings) value(_ string, args ...ref.Val) ref.Val {
	service, kind, unit := three(args)
	return r.ask("value["+kind+" "+unit+"]", service, func(i int) sre.Reading {
		return r.snap.Value(i, sre.SignalKind(kind), sre.Unit(unit))
	})
}

func (r *readings) hasValue(_ string, args ...ref.Val) ref.Val {
	service, kind, unit := three(args)
	i, known := r.index(service)
	if !known {
		return types.False
	}
	got := r.snap.Value(i, sre.SignalKind(kind), sre.Unit(unit))
	return types.Bool(got.OK() && !math.IsNaN(got.Value) && !math.IsInf(got.Value, 0))
}

func three(args []ref.Val) (service, kind, unit string) {
	return string(args[0].(types.String)), string(args[1].(types.String)), string(args[2].(types.String))
}

// maxErrors needs every service of the list: the worst one may be the one that
// is not seen. An empty list has no worst, which is no data too.
func (r *readings) maxErrors(_ string, args ...ref.Val) ref.Val {
	worst, failed := -1.0, ref.Val(nil)
	for it := args[0].(traits.Lister).Iterator(); it.HasNext() == types.True; {
		service, ok := it.Next().(types.String)
		if !ok {
			return r.miss("max_errors", "was given something that is not a service")
		}
		got := r.ask("errors", string(service), func(i int) sre.Reading { return r.snap.ErrorRatio(i) })
		if v, ok := got.(types.Double); ok {
			worst = max(worst, float64(v))
		} else if failed == nil {
			failed = got
		}
	}
	if failed != nil {
		return failed
	}
	if worst < 0 {
		return r.miss("max_errors", "was given no service")
	}
	return types.Double(worst)
}

// looked says what was read, for people.
func (r *readings) looked() string { return listed(r.seen) }

func listed(items []string) string {
	if len(items) <= mostShown {
		return strings.Join(items, ", ")
	}
	return strings.Join(items[:mostShown], ", ") + " and " + strconv.Itoa(len(items)-mostShown) + " more"
}

// occupancy is how much of the service's workers is taken, 0 to 1.
func occupancy(s *sre.Snapshot, i int) sre.Reading {
	if r := s.Value(i, sre.Pool, sre.Ratio); r.State != sre.Absent {
		return r
	}
	r := s.Value(i, sre.Pool, sre.Percent)
	return sre.Reading{Value: r.Value / 100, State: r.State}
}

// full reports whether a service has more to do than it can: its workers are all
// busy, or more waits than it answers before callers give up. Where neither is
// measured nothing says so; readings that are not fresh are no data.
func (r *readings) full(_ string, args ...ref.Val) ref.Val {
	service := string(args[0].(types.String))
	i, known := r.index(service)
	if !known {
		return r.miss("full("+service+")", notInGraph)
	}
	if occupancy(r.snap, i).State != sre.Absent {
		busy := r.ask("occupancy", service, func(i int) sre.Reading { return occupancy(r.snap, i) })
		if share, ok := busy.(types.Double); !ok {
			return busy
		} else if share > fullPool {
			return types.True
		}
	}
	if r.snap.Value(i, sre.Queue, sre.Count).State == sre.Absent || served(r.snap, i).State == sre.Absent {
		return types.False
	}
	waits := r.ask("queue", service, func(i int) sre.Reading { return r.snap.Value(i, sre.Queue, sre.Count) })
	done := r.ask("served", service, func(i int) sre.Reading { return served(r.snap, i) })
	queue, ok := waits.(types.Double)
	if !ok {
		return waits
	}
	rate, ok := done.(types.Double)
	if !ok {
		return done
	}
	return types.Bool(float64(queue) > max(fewWait, fullQueue*float64(rate)*callerTimeout(r.snap, service, 1)))
}

// served is how much work the service finishes, in requests per second: what
// succeeds, and where it is measured also the work whose caller had given up,
// since that takes capacity just the same.
func served(s *sre.Snapshot, i int) sre.Reading {
	offered, failing := s.Value(i, sre.Traffic, sre.PerSecond), s.ErrorRatio(i)
	total, state := offered.Value*(1-min(max(failing.Value, 0), 1)), min(offered.State, failing.State)
	if dead := s.Value(i, sre.Timeouts, sre.PerSecond); dead.State != sre.Absent {
		total, state = total+dead.Value, min(state, dead.State)
	}
	return sre.Reading{Value: min(total, offered.Value), State: state}
}

// retryShare is the share of what arrives at a service that is a repetition: as
// the service counts it, else as its callers count their attempts.
func retryShare(s *sre.Snapshot, i int) sre.Reading {
	if r := s.Value(i, sre.Retries, sre.Ratio); r.State != sre.Absent {
		return r
	}
	retries, traffic := s.Value(i, sre.Retries, sre.PerSecond), s.Value(i, sre.Traffic, sre.PerSecond)
	if retries.State != sre.Absent && traffic.State != sre.Absent {
		return share(retries.Value, traffic.Value, min(retries.State, traffic.State))
	}
	state, again, all, counted := sre.Present, 0.0, 0.0, false
	for _, e := range s.Graph.CallersOf(i) {
		repeated, attempts := s.EdgeValue(e, sre.Retries, sre.PerSecond), s.EdgeValue(e, sre.Traffic, sre.PerSecond)
		if repeated.State == sre.Absent || attempts.State == sre.Absent {
			continue
		}
		counted = true
		state = min(state, repeated.State, attempts.State)
		again, all = again+repeated.Value, all+attempts.Value
	}
	if !counted {
		return sre.Reading{}
	}
	return share(again, all, state)
}

func share(part, whole float64, state sre.ReadingState) sre.Reading {
	if whole <= 0 {
		return sre.Reading{State: state}
	}
	return sre.Reading{Value: min(max(part/whole, 0), 1), State: state}
}

// callerTimeout is the shortest timeout that is known of the calls into a
// service, in seconds; fallback where none is.
func callerTimeout(s *sre.Snapshot, service string, fallback float64) float64 {
	if s == nil || s.Graph == nil {
		return fallback
	}
	i, ok := s.Graph.Index(service)
	if !ok {
		return fallback
	}
	var known []float64
	for _, e := range s.Graph.CallersOf(i) {
		if t := s.Graph.Edges[e].Spec.Timeout; t > 0 {
			known = append(known, t.Seconds())
		}
	}
	if len(known) == 0 {
		return fallback
	}
	return slices.Min(known)
}
