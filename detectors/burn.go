package detectors

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// burnRule speaks where a long and a short window both burn the error budget
// faster than its threshold: the long one proves that it matters, the short one
// that it still goes on.
type burnRule struct {
	long, short time.Duration
	threshold   float64 // multiples of the rate at which the budget is earned
	severity    sre.Severity
	page        bool
}

// burnRules are the three of The Site Reliability Workbook (chapter 5, table
// 5-8) for a budget of 30 days, and between them the agent's own, which starts a
// diagnosis within half a minute and wakes nobody. The gravest comes first.
func burnRules() [4]burnRule {
	return [4]burnRule{
		{time.Hour, 5 * time.Minute, 14.4, sre.Critical, true},
		{6 * time.Hour, 30 * time.Minute, 6, sre.Critical, true},
		{5 * time.Minute, 30 * time.Second, 60, sre.Warning, false},
		{72 * time.Hour, 6 * time.Hour, 1, sre.Warning, false},
	}
}

// burnOwn is the rule of burnRules whose short window tells what happens now.
const burnOwn = 2

// burnRate watches the error budgets of entry services and of those whose
// objective is stated. A budget that nobody stated is no smaller than what the
// service usually fails: an objective that it has never kept would alarm for
// ever.
type burnRate struct {
	cfg    SLOConfig
	stated map[string]float64

	graph   *sre.Graph
	tracked []burnService
	slot    map[int]int // by service index
	rings   [4]burnRing
	since   []int64 // by service and rule: when the short window began to burn, nanoseconds since 1970, 0 while it does not
	at      time.Time
	tick    time.Duration
	burns   []sre.Burn
}

// burnService is one watched service.
type burnService struct {
	index  int
	name   string
	stated float64 // 0 where nobody stated an objective
	usual  mean    // share of requests that fail, for assumed objectives
	seen   float64 // seconds for which it was read
	active bool    // an entry still, or listed
}

func newBurnRate(cfg Config) *burnRate {
	b := &burnRate{cfg: cfg.SLO, stated: map[string]float64{}, slot: map[int]int{}}
	for _, s := range cfg.SLO.Services {
		b.stated[s.Service] = s.Objective
	}
	return b
}

const burnName = "burn_rate"

// Name returns "burn_rate".
func (b *burnRate) Name() string { return burnName }

// usualBudgetMemory is the time constant, in seconds, of what a service usually
// fails. It is long against a page and short against a quarter.
const usualBudgetMemory = 6 * 3600

// mostUsual is the largest share of failures that counts as usual: an outage
// that lasted since the agent began is none the less an outage.
const mostUsual = .05

// wildTraffic bounds what is believed of a rate, in requests per second, so that
// sums stay finite.
const wildTraffic = 1e12

// Detect counts the requests since the snapshot before and appends a sign for
// every watched service whose budget burns. A frozen service's usual share of
// failures stays; its budget goes on burning.
func (b *burnRate) Detect(s *sre.Snapshot, frozen []bool, found []sre.Precursor) []sre.Precursor {
	dt := b.begin(s)
	b.watch(s.Graph)
	middle := s.At.Add(-dt / 2).UnixNano()
	for r := range b.rings {
		b.rings[r].advance(middle, len(b.tracked))
	}
	cols := findColumns(s.Signals)
	b.burns = b.burns[:0]
	for k := range b.tracked {
		svc := &b.tracked[k]
		traffic := cell(&s.Service, cols.traffic, svc.index)
		ratio := cols.errorRatio(&s.Service, svc.index, traffic)
		if known(ratio) && svc.active {
			svc.seen += dt.Seconds()
			b.count(k, clip(ratio), min(max(0, or(traffic, 1)), wildTraffic)*dt.Seconds())
			if !isFrozen(frozen, svc.index) {
				svc.usual.add(min(clip(ratio), mostUsual), decay(dt.Seconds(), usualBudgetMemory))
			}
		}
		found = b.judge(s.At, k, found)
	}
	slices.SortStableFunc(b.burns, func(x, y sre.Burn) int {
		return cmp.Or(cmp.Compare(y.ShortRate, x.ShortRate), cmp.Compare(x.Service, y.Service), cmp.Compare(y.Threshold, x.Threshold))
	})
	return found
}

// begin returns how much time the snapshot's readings stand for: what lies
// before a gap in the snapshots is not known.
func (b *burnRate) begin(s *sre.Snapshot) time.Duration {
	dt := s.Interval
	if dt <= 0 {
		dt = time.Second
	}
	if b.tick != dt {
		b.tick = dt
		b.since = nil
		for r, rule := range burnRules() {
			b.rings[r] = newBurnRing(rule.long, rule.short, dt)
			b.rings[r].grow(len(b.tracked))
		}
		b.since = make([]int64, len(b.rings)*len(b.tracked))
	}
	if !b.at.IsZero() {
		dt = min(dt, s.At.Sub(b.at))
	}
	b.at = s.At
	return dt
}

// watch follows the graph: services come, and an entry may turn out to have a
// caller.
func (b *burnRate) watch(g *sre.Graph) {
	if b.graph == g {
		return
	}
	b.graph = g
	for k := range b.tracked {
		b.tracked[k].active = b.tracked[k].stated > 0
	}
	for _, i := range g.Entries() {
		b.follow(g, i)
	}
	for _, s := range b.cfg.Services {
		if i, ok := g.Index(s.Service); ok {
			b.follow(g, i)
		}
	}
}

func (b *burnRate) follow(g *sre.Graph, i int) {
	k, ok := b.slot[i]
	if !ok {
		k = len(b.tracked)
		b.slot[i] = k
		name := g.Services[i].Name
		b.tracked = append(b.tracked, burnService{index: i, name: name, stated: b.stated[name]})
		for r := range b.rings {
			b.rings[r].grow(k + 1)
			b.since = append(b.since, 0)
		}
	}
	b.tracked[k].active = true
}

func (b *burnRate) count(k int, ratio, requests float64) {
	for r := range b.rings {
		b.rings[r].add(k, requests, ratio*requests)
	}
}

// budget returns the share of a service's requests that may fail.
func (b *burnRate) budget(svc *burnService) float64 {
	if svc.stated > 0 {
		return 1 - svc.stated
	}
	return max(1-b.cfg.Objective, svc.usual.v)
}

// burned is what one rule says of one service.
type burned struct {
	rule             burnRule
	short, long      float64 // burn rates
	failed, requests float64 // in the short window
	since            int64
	budget, share    float64 // share: of the short window's requests that failed
	own, surely, now bool    // now: it still burns
}

// judge asks every rule about one service and makes one sign of the gravest.
func (b *burnRate) judge(at time.Time, k int, found []sre.Precursor) []sre.Precursor {
	svc := &b.tracked[k]
	if !svc.active {
		return found
	}
	now := at.UnixNano()
	budget := b.budget(svc)
	latest, latestFailed := b.rings[burnOwn].sum(k, now, b.rings[burnOwn].short)
	burning := latest <= 0 || latestFailed >= budget*latest
	var gravest burned
	rules := burnRules()
	for r := range b.rings {
		if !rules[r].page && r != burnOwn && svc.stated == 0 {
			continue // a ticket about a promise that nobody made
		}
		v, ok := b.ask(now, k, r, rules[r], budget)
		if !ok {
			continue
		}
		v.now = burning
		b.burns = append(b.burns, v.burn(svc.name))
		if gravest.rule.long == 0 {
			gravest = v
		}
	}
	if gravest.rule.long == 0 {
		return found
	}
	return append(found, gravest.sign(svc.name))
}

// ask reports what a rule says, and whether it holds. The short window is summed
// first: it is cheap, and mostly calm.
func (b *burnRate) ask(now int64, k, r int, rule burnRule, budget float64) (burned, bool) {
	ring, since := &b.rings[r], &b.since[k*len(b.rings)+r]
	requests, failed := ring.sum(k, now, ring.short)
	if requests <= 0 || failed <= rule.threshold*budget*requests {
		if requests > 0 {
			*since = 0
		}
		return burned{}, false
	}
	if *since == 0 {
		*since = now
	}
	if *since == now {
		return burned{}, false // nobody is woken by a single reading
	}
	all, bad := ring.sum(k, now, ring.long)
	if b.tracked[k].seen < time.Duration(ring.short).Seconds() || all < b.cfg.MinEvents || bad < b.cfg.MinFailures || bad <= rule.threshold*budget*all {
		return burned{}, false
	}
	return burned{
		rule: rule, own: r == burnOwn, short: failed / requests / budget, long: bad / all / budget,
		failed: failed, requests: requests, since: *since, budget: budget, share: failed / requests,
		surely: wilson(failed/requests, requests) >= rule.threshold*budget,
	}, true
}

func (v *burned) burn(service string) sre.Burn {
	return sre.Burn{
		Service: service, Objective: 1 - v.budget, Long: v.rule.long, Short: v.rule.short,
		LongRate: v.long, ShortRate: v.short, Threshold: v.rule.threshold, Page: v.rule.page,
		Since: time.Unix(0, v.since).UTC(),
	}
}

// severity is a note for a budget that has burned and no longer does, for the
// agent's own rule while chance may explain it.
func (v *burned) severity() sre.Severity {
	if !v.now || v.own && !v.surely {
		return sre.Info
	}
	return v.rule.severity
}

func (v *burned) sign(service string) sre.Precursor {
	return sre.Precursor{
		Detector: burnName, Mechanism: sre.Unknown, Service: service, Kind: sre.Errors,
		Severity: v.severity(),
		Score:    clip(1 - v.rule.threshold/(2*min(v.short, v.long))),
		Since:    time.Unix(0, v.since).UTC(),
		Evidence: []sre.Evidence{
			{
				Signal: "burn_rate_short", Subject: service, Now: v.short, Normal: 1, Unit: sre.Count, Weight: .6,
				Meaning: fmt.Sprintf("%.3g %% of the requests to %s failed in the latest %s; its objective of %.4g %% allows %.2g %%",
					100*v.share, service, spell(v.rule.short), 100*(1-v.budget), 100*v.budget),
			},
			{
				Signal: "burn_rate_long", Subject: service, Now: v.long, Normal: 1, Unit: sre.Count, Weight: .4,
				Meaning: fmt.Sprintf("in the latest %s its error budget was used %.3g times as fast as it is earned; the rule speaks from %.3g on",
					spell(v.rule.long), v.long, v.rule.threshold),
			},
		},
	}
}

// spell writes a window as people do.
func spell(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d > time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	case d == time.Hour:
		return "hour"
	case d >= time.Minute:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	return fmt.Sprintf("%.0f seconds", d.Seconds())
}

// Burns returns the rules that hold after the latest snapshot, the fastest burn
// first, then by service. The slice is the caller's own.
func (b *Bank) Burns() []sre.Burn { return slices.Clone(b.burn.burns) }
