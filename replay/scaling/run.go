package scaling

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/agent/control"
	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/replay/world"
	"github.com/sreagent/sreagent/sre"
)

// Load is the demand as a multiple of the usual one, by the time since the start.
type Load func(since time.Duration) float64

// Setting is one run: a service of Replicas replicas, each good for 100 requests
// per second, under Usual requests per second times Load.
type Setting struct {
	Load       Load
	For        time.Duration
	Every      time.Duration
	StartDelay time.Duration
	Replicas   int
	Usual      float64
	Tune       sre.Params
	Trouble    func(since time.Duration) bool // what the agent says of the service; nil is never
}

// Result is what came of a run.
type Result struct {
	Goodput   float64 // answered in time, as a share of what was asked
	Worst     float64 // the same over the worst tick
	Moves     int     // changes of the number of replicas
	Turns     int     // changes of its direction
	Hours     float64 // replica-hours
	Most      float64 // replicas at one time
	Shrunk    int     // moves down while there was trouble
	Trace     []Point
	EndAmount float64
}

// Point is one tick.
type Point struct {
	Since    time.Duration
	Load     float64
	Replicas float64
}

const perReplica = 100.0

var start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func (s Setting) blueprint() fluid.Blueprint {
	return fluid.Blueprint{
		Seed: 1,
		Services: []fluid.ServiceSpec{{
			Name: "shop", Work: 10 * time.Millisecond, Rate: perReplica, Workers: 50, Replicas: s.Replicas, QueueBound: 200, StartDelay: s.StartDelay,
		}},
		Clients: []fluid.ClientSpec{{
			Name: "users", Entry: 0, Rate: s.Usual, Timeout: time.Second, Mix: [fluid.Classes]float64{0.1, 0.2, 0.5, 0.2},
		}},
	}
}

// Run lets a law scale the service, one tick after another.
func Run(s Setting, law control.Law) (Result, error) {
	w, err := world.New(s.blueprint(), world.Options{Start: start, Seed: 1})
	if err != nil {
		return Result{}, err
	}
	r := runner{setting: s, law: law, world: w, action: sre.Action{
		ID: "scale", Kind: sre.Scale, Target: sre.Target{Lever: "platform", Service: "shop"},
		Params: sre.Params{"replicas": float64(s.Replicas)}, TTL: time.Hour, Law: "scale", Tune: s.Tune,
	}}
	r.Worst = 1
	for since := s.Every; since <= s.For; since += s.Every {
		if err := r.tick(since); err != nil {
			return Result{}, err
		}
	}
	if r.asked > 0 {
		r.Goodput = r.good / r.asked
	}
	r.EndAmount = r.replicas()
	return r.Result, nil
}

type runner struct {
	Result
	setting Setting
	law     control.Law
	world   *world.World
	action  sre.Action
	memory  sre.Control
	seq     uint64
	way     float64

	asked, good float64
	before      fluid.ClientTotals
}

func (r *runner) replicas() float64 {
	n, _ := r.action.Params.Float("replicas")
	return n
}

func (r *runner) tick(since time.Duration) error {
	s := r.setting
	load := s.Load(since - s.Every)
	r.world.Model().SetLoad(0, load)
	at := start.Add(since)
	r.world.AdvanceTo(at)
	r.count()
	r.Hours += r.replicas() * s.Every.Hours()
	r.Most = max(r.Most, r.replicas())
	r.Trace = append(r.Trace, Point{Since: since, Load: load, Replicas: r.replicas()})
	snap, err := r.world.Source().Observe(context.Background(), at)
	if err != nil {
		return fmt.Errorf("observe: %w", err)
	}
	trouble := s.Trouble != nil && s.Trouble(since)
	move := r.law.Next(r.memory, control.Scene{
		Now: at, Every: s.Every, Snapshot: snap, Action: r.action, Since: start, Trouble: trouble,
		Before: sre.Params{"replicas": float64(s.Replicas)},
	})
	r.memory = move.Memory
	n, ok := move.Params.Float("replicas")
	if !ok || n == r.replicas() {
		return nil
	}
	return r.move(at, n, trouble)
}

func (r *runner) move(at time.Time, n float64, trouble bool) error {
	way := math.Copysign(1, n-r.replicas())
	r.Moves++
	if r.way != 0 && way != r.way {
		r.Turns++
	}
	if way < 0 && trouble {
		r.Shrunk++
	}
	r.way = way
	r.seq++
	r.action.Params = sre.Params{"replicas": n}
	d := sre.Directive{Action: r.action, Epoch: 1, Seq: r.seq, Expires: at.Add(time.Hour)}
	if err := r.world.Platform().Apply(context.Background(), d); err != nil {
		return fmt.Errorf("scale to %g: %w", n, err)
	}
	return nil
}

// count adds what the clients saw since the last tick.
func (r *runner) count() {
	now := r.world.Model().Client(0)
	asked, good := now.Offered-r.before.Offered, now.Good-r.before.Good
	r.before = now
	r.asked, r.good = r.asked+asked, r.good+good
	if asked > 0 {
		r.Worst = min(r.Worst, good/asked)
	}
}

// Formula is what the law Scale is compared with: ceil(n*use/target) at every
// tick, within the same bounds, with a tolerance and nothing else.
type Formula struct{ Target, Most float64 }

// Next implements control.Law.
func (f Formula) Next(memory sre.Control, s control.Scene) control.Move {
	n, _ := s.Action.Params.Float("replicas")
	use := s.Snapshot.Value(0, sre.Saturation, sre.Ratio)
	ready := s.Snapshot.Value(0, sre.Replicas, sre.Count)
	if !use.OK() || !ready.OK() || math.Abs(use.Value/f.Target-1) <= 0.1 {
		return control.Move{Memory: memory}
	}
	wanted := min(max(1, math.Ceil(ready.Value*use.Value/f.Target)), f.Most)
	if wanted == n {
		return control.Move{Memory: memory}
	}
	return control.Move{Params: sre.Params{"replicas": wanted}, Memory: memory}
}
