package control

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const tick = 10 * time.Second

// reading is one look at the service "shop"; a negative number is not measured.
type reading struct{ offered, errors, inside, occupied float64 }

func (r reading) scene(n int, state sre.ReadingState) Scene {
	signals := []sre.Signal{
		{Name: "traffic", Kind: sre.Traffic, Unit: sre.PerSecond}, {Name: "errors", Kind: sre.Errors, Unit: sre.Ratio},
		{Name: "queue", Kind: sre.Queue, Unit: sre.Count}, {Name: "pool", Kind: sre.Pool, Unit: sre.Ratio},
	}
	at := noon.Add(time.Duration(n) * tick)
	snap := &sre.Snapshot{
		At: at, Interval: tick, Signals: signals, Service: sre.NewMatrix(len(signals), 1),
		Graph: sre.NewGraph([]sre.Service{{Name: "shop"}}, nil),
	}
	for row, v := range []float64{r.offered, r.errors, r.inside, r.occupied} {
		if v >= 0 {
			snap.Service.Set(row, 0, sre.Reading{Value: v, State: state})
		}
	}
	return Scene{
		Now: at, Every: tick, Snapshot: snap, Since: noon,
		Action: sre.Action{ID: "cap", Kind: sre.Shed, Target: sre.Target{Lever: "guard", Service: "shop"}, Law: Overload},
	}
}

var (
	full = reading{offered: 1000, errors: .6, inside: 600, occupied: 1}
	free = reading{offered: 800, errors: .55, inside: 4, occupied: .36}
)

func TestOverloadCapsBelowWhatIsFinished(t *testing.T) {
	law, ok := Named(Overload)
	if !ok {
		t.Fatal("no law of that name")
	}
	move := law.Next(sre.Control{}, full.scene(0, sre.Present))
	rps, ok := move.Params.Float("rps")
	if !ok || rps > 360 || rps < 40 {
		t.Errorf("cap is %v (%s), want at most nine tenths of the 400 that are finished", move.Params, move.Memory.Why)
	}
}

// TestOverloadHoldsStillInTheDark has nothing fresh arrive, after a cap and
// before any.
func TestOverloadHoldsStillInTheDark(t *testing.T) {
	law, _ := Named(Overload)
	capped := law.Next(sre.Control{}, full.scene(0, sre.Present))
	for n := 1; n < 20; n++ {
		for name, s := range map[string]Scene{
			"stale":  free.scene(n, sre.Stale),
			"absent": free.scene(n, sre.Absent),
			"none":   {Now: noon.Add(time.Duration(n) * tick), Every: tick, Action: full.scene(0, sre.Present).Action},
			"nan":    reading{math.NaN(), 0, 0, 0}.scene(n, sre.Present),
		} {
			move := law.Next(capped.Memory, s)
			if move.Params != nil || move.Memory.Done || !reflect.DeepEqual(move.Memory.Numbers, capped.Memory.Numbers) {
				t.Errorf("tick %d, %s: %+v", n, name, move)
			}
		}
	}
}

func TestOverloadLetsGoInSteps(t *testing.T) {
	law, _ := Named(Overload)
	for name, occupied := range map[string]float64{"occupancy measured": .3, "by trial": -1} {
		move, limit := law.Next(sre.Control{}, full.scene(0, sre.Present)), 0.
		limit, _ = move.Params.Float("rps")
		n := 1
		for ; !move.Memory.Done && n < 60; n++ {
			r := reading{offered: 800, errors: max(0, 1-limit/800), inside: 4, occupied: occupied}
			move = law.Next(move.Memory, r.scene(n, sre.Present))
			if next, ok := move.Params.Float("rps"); ok {
				if next < limit || next > farthestJump*limit {
					t.Errorf("%s: from %v to %v", name, limit, next)
				}
				limit = next
			}
		}
		if !move.Memory.Done || limit <= 1200 {
			t.Errorf("%s: after %d ticks at %v, done %v: %s", name, n, limit, move.Memory.Done, move.Memory.Why)
		}
	}
}

// TestOverloadUndoesAProbe lets a probe fill the queue a little: the cap goes back
// to what went well, long before the wait is an overload.
func TestOverloadUndoesAProbe(t *testing.T) {
	law, _ := Named(Overload)
	blind := full
	blind.occupied = -1
	move := law.Next(sre.Control{}, blind.scene(0, sre.Present))
	limit, probed := 400*safety, 0.
	for n := 1; n < 12; n++ {
		before := limit
		if rps, ok := move.Params.Float("rps"); ok {
			limit = rps
		}
		r := reading{offered: 800, errors: max(0, 1-min(400, limit)/800), inside: 4, occupied: -1}
		if limit > 400 { // more than the service can do: two seconds' worth of it wait
			probed, r.inside = limit, 4+2*(limit-400)
		}
		if probed > 0 && limit < probed {
			if limit > before || limit > safety*400 || !strings.Contains(move.Memory.Why, "too many") {
				t.Errorf("after %v it is %v: %s", probed, limit, move.Memory.Why)
			}
			return
		}
		if limit > 400*(1+firstStep) {
			t.Fatalf("a first probe of %v, of a service that does 400", limit)
		}
		move = law.Next(move.Memory, r.scene(n, sre.Present))
	}
	t.Errorf("no probe was undone; the cap is %v: %s", limit, move.Memory.Why)
}

// TestOverloadTakesSlowWorkForWork has a service whose work takes longer than a
// queue may, with workers to spare: the cap does not follow what it lets in down.
func TestOverloadTakesSlowWorkForWork(t *testing.T) {
	law, _ := Named(Overload)
	move := law.Next(sre.Control{}, full.scene(0, sre.Present))
	limit, _ := move.Params.Float("rps")
	for n := 1; n < 10; n++ {
		in := min(800, limit)
		move = law.Next(move.Memory, reading{offered: 800, errors: 1 - in/800, inside: .65 * in, occupied: .7}.scene(n, sre.Present))
		if next, ok := move.Params.Float("rps"); ok {
			if next < limit {
				t.Fatalf("from %v to %v: %s", limit, next, move.Memory.Why)
			}
			limit = next
		}
	}
}

// TestOverloadLeavesABoundedQueueAlone has the queue stand at half a timeout, where
// a queue bound keeps it: what is let in is answered in time by workers that are
// never idle, and a lower cap would only waste some of them.
func TestOverloadLeavesABoundedQueueAlone(t *testing.T) {
	law, _ := Named(Overload)
	for name, occupied := range map[string]float64{"occupancy measured": 1, "not measured": -1} {
		memory, r := sre.Control{}, reading{offered: 1000, errors: .6, inside: 200, occupied: occupied}
		for n := range 6 {
			s := r.scene(n, sre.Present)
			s.Action.Params = sre.Params{"rps": 400.}
			move := law.Next(memory, s)
			if rps, ok := move.Params.Float("rps"); ok && rps < 400 {
				t.Fatalf("%s: lowered to %v: %s", name, rps, move.Memory.Why)
			}
			memory = move.Memory
		}
	}
}

// TestOverloadLiftsByItsRelease wants the lever back: the cap leaves no faster,
// and a relapse on the way brings it back at once, below what is finished.
func TestOverloadLiftsByItsRelease(t *testing.T) {
	law, _ := Named(Overload)
	for name, occupied := range map[string]float64{"occupancy measured": .45, "by trial": -1} {
		move, limit := law.Next(sre.Control{}, full.scene(0, sre.Present)), 0.
		limit, _ = move.Params.Float("rps")
		n := 1
		for ; limit < 700 && n < 60; n++ {
			s := reading{offered: 800, errors: max(0, 1-limit/800), inside: 4, occupied: occupied}.scene(n, sre.Present)
			lifting := s
			lifting.Lifting, lifting.Trouble = true, n%2 == 0
			calm := law.Next(move.Memory, s)
			if move = law.Next(move.Memory, lifting); !reflect.DeepEqual(move, calm) {
				t.Fatalf("%s: lifting makes %+v of %+v", name, move, calm)
			}
			if next, ok := move.Params.Float("rps"); ok {
				limit = next
			}
		}
		s := reading{offered: 1000, errors: .5, inside: 600, occupied: 1}.scene(n, sre.Present)
		s.Lifting = true
		move = law.Next(move.Memory, s)
		rps, ok := move.Params.Float("rps")
		if !ok || rps > safety*500 || move.Memory.Done {
			t.Errorf("%s: a relapse at %v leads to %v, done %v: %s", name, limit, move.Params, move.Memory.Done, move.Memory.Why)
		}
	}
}

// TestOverloadMovesLikeALaw draws readings: the same scene gives the same move,
// an overload never raises the cap, and no cap is below the floor or no number.
func TestOverloadMovesLikeALaw(t *testing.T) {
	law, _ := Named(Overload)
	rapid.Check(t, func(t *rapid.T) {
		memory, limit := sre.Control{}, math.Inf(1)
		for n := range 30 {
			r := reading{
				offered: rapid.Float64Range(0, 1e5).Draw(t, "offered"), errors: rapid.Float64Range(0, 1).Draw(t, "errors"),
				inside: rapid.Float64Range(0, 1e4).Draw(t, "inside"), occupied: rapid.Float64Range(0, 1).Draw(t, "occupied"),
			}
			s := r.scene(n, sre.Present)
			move := law.Next(memory, s)
			if again := law.Next(memory, s); !reflect.DeepEqual(move, again) {
				t.Fatalf("not the same twice: %+v, %+v", move, again)
			}
			memory = move.Memory
			rps, ok := move.Params.Float("rps")
			if !ok {
				continue
			}
			if rps < minimum || rps > ceiling || math.IsNaN(rps) {
				t.Fatalf("a cap of %v", rps)
			}
			served := max(minimum, r.offered*(1-r.errors))
			if r.inside/served-memory.Numbers[numWork] > waitTooLong*usualTimeout+1 && r.occupied > occupiedFull && rps > limit {
				t.Fatalf("raised from %v to %v under overload", limit, rps)
			}
			limit = rps
		}
	})
}
