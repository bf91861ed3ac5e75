package overload

import (
	"context"
	"fmt"
	"time"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// Place is where the service that is overloaded stands, and where it is capped.
type Place int

// The places that are measured.
const (
	Alone     Place = iota // one service, capped at itself
	AtLeaf                 // behind two entries, one of them through a middle; capped at itself
	AtEntries              // the same, with the cap split between the entries by their first attempts
)

// String names the place as tables do.
func (p Place) String() string {
	return [...]string{"alone", "at the leaf", "at the entries"}[p]
}

// The service that is overloaded is the first of every blueprint.
const shop = "shop"

// entries are the indices of those services of the chain that users call.
var entries = []int{2, 3}

func blueprint(p Place) fluid.Blueprint {
	ms := time.Millisecond
	leaf := fluid.ServiceSpec{Name: shop, Work: 10 * ms, Rate: capacity, Workers: 100, QueueBound: 800}
	users := fluid.ClientSpec{Name: "users", Rate: demand, Timeout: time.Second, Retries: 2, Backoff: 100 * ms, Mix: [fluid.Classes]float64{.05, .15, .5, .3}}
	if p == Alone {
		return fluid.Blueprint{Step: 50 * ms, Services: []fluid.ServiceSpec{leaf}, Clients: []fluid.ClientSpec{users}}
	}
	wide := func(name string) fluid.ServiceSpec { // never short of anything itself
		return fluid.ServiceSpec{Name: name, Work: 5 * ms, Rate: 1e5, Workers: 1e5}
	}
	call := func(from, to int) fluid.EdgeSpec {
		return fluid.EdgeSpec{From: from, To: to, Calls: 1, Timeout: time.Second, Retries: 1, Backoff: 100 * ms, Hard: true}
	}
	others := users
	users.Entry, users.Rate = entries[0], .6*demand
	others.Name, others.Entry, others.Rate = "others", entries[1], .4*demand
	return fluid.Blueprint{
		Step:     50 * ms,
		Services: []fluid.ServiceSpec{leaf, wide("middle"), wide("web"), wide("api")},
		Edges:    []fluid.EdgeSpec{call(2, 1), call(1, 0), call(3, 0)},
		Clients:  []fluid.ClientSpec{users, others},
	}
}

// gates are the services at which requests are let in or not.
func (p Place) gates() []int {
	if p == Alone {
		return []int{0}
	}
	return append([]int{0}, entries...)
}

// clients is how many populations of users there are.
func (p Place) clients() int {
	if p == Alone {
		return 1
	}
	return len(entries)
}

// move puts a cap in force where the place wants it; nil params take it back. A
// cap at the entries is that of the leaf in first attempts: split by those that
// reach each entry, and less by what retries on the way make of one.
func (r *run) move(at time.Time, seen *sre.Snapshot, params sre.Params) error {
	if r.c.Place != AtEntries {
		return r.put(at, shop, params)
	}
	u := upstream(seen)
	if !u.ok && params != nil {
		return nil
	}
	sum := u.first[0] + u.first[1]
	rps, capped := params.Float("rps")
	for k, name := range doors {
		var part sre.Params
		if capped {
			part = sre.Params{"rps": rps / u.calls * u.first[k] / sum}
		}
		if err := r.put(at, name, part); err != nil {
			return err
		}
	}
	return nil
}

// doors are the names of the entries.
var doors = [2]string{"web", "api"}

// way is what a snapshot says about the way from the entries to the leaf.
type way struct {
	ok     bool
	first  [2]float64 // first attempts that reach each entry, per second
	turned float64    // away by the caps of the entries, per second
	calls  float64    // of the leaf per request that is let in
}

func upstream(s *sre.Snapshot) (w way) {
	leaf, _ := s.Graph.Index(shop)
	arrive, in := s.Value(leaf, sre.Traffic, sre.PerSecond), 0.
	w.ok = arrive.OK()
	for k, name := range doors {
		i, _ := s.Graph.Index(name)
		traffic, retries := s.Value(i, sre.Traffic, sre.PerSecond), s.Value(i, sre.Retries, sre.PerSecond)
		shed := s.Value(i, sre.Errors, sre.PerSecond)
		w.ok = w.ok && traffic.OK() && retries.OK()
		w.first[k] = max(1, traffic.Value-retries.Value)
		w.turned += shed.Value
		in += traffic.Value - shed.Value
	}
	w.calls = max(1, arrive.Value/max(1, in))
	return w
}

func (r *run) put(at time.Time, service string, params sre.Params) error {
	r.seq++
	a := r.action
	a.ID, a.Target.Service, a.Params = "cap-"+service, service, params
	d := sre.Directive{Action: a, Epoch: 1, Seq: r.seq, Expires: at.Add(10 * time.Minute)}
	if params == nil {
		return r.w.Lever().Revert(context.Background(), d)
	}
	return r.w.Lever().Apply(context.Background(), d)
}

// retrying are the calls on the ways to the leaf.
var retrying = [][2]string{{"web", "middle"}, {"middle", shop}, {"api", shop}}

// clampRetries gives every caller of the chain a retry budget.
func (r *run) clampRetries(at time.Time) error {
	if r.c.Budget <= 0 || r.c.Place == Alone {
		return nil
	}
	for _, pair := range retrying {
		r.seq++
		a := sre.Action{
			ID: fmt.Sprintf("budget-%s-%s", pair[0], pair[1]), Kind: sre.RetryBudget, Params: sre.Params{"ratio": r.c.Budget},
			Target: sre.Target{Lever: "guard", Service: pair[0], Callee: pair[1]},
		}
		if err := r.w.Lever().Apply(context.Background(), sre.Directive{Action: a, Epoch: 1, Seq: r.seq, Expires: at.Add(20 * time.Minute)}); err != nil {
			return err
		}
	}
	return nil
}

// before is what the law sees of a service that is capped further up: what the
// entries turned away is offered too, and failed.
func (p Place) before(s *sre.Snapshot) *sre.Snapshot {
	i, _ := s.Graph.Index(shop)
	traffic, failing := s.Value(i, sre.Traffic, sre.PerSecond), s.ErrorRatio(i)
	if p != AtEntries || !traffic.OK() || !failing.OK() {
		return s
	}
	u := upstream(s)
	good, all := traffic.Value*(1-failing.Value), traffic.Value+u.turned*u.calls
	sum := without(s)
	set := func(kind sre.SignalKind, unit sre.Unit, v float64) {
		row, _ := s.Signal(kind, unit)
		sum.Service.Set(row, i, sre.Reading{Value: v, State: sre.Present})
	}
	set(sre.Traffic, sre.PerSecond, all)
	set(sre.Errors, sre.Ratio, 1-good/max(1, all))
	return sum
}
