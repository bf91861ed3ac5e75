package detectors

import (
	"cmp"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// Mechanisms of one service must not fight: most of them end with full workers,
// a backlog and repeated calls, so what is left when all have spoken is a
// reading of the same trouble several times. The one whose physics explains the
// others is named, in this order:
//
//  0. a pool that leaks: its line began before anything was slow, and nothing
//     but its members given back ends what follows;
//  1. a retry storm at its action level: above V = 1 with a backlog near the
//     point of no return it outlives whatever began it, so it comes first
//     however it began;
//  2. survivor overload: lost replicas explain occupancy, backlog, and replicas
//     that come and go;
//  3. oscillation: a control that swings makes every other reading swing;
//  4. cache loss: it explains the load of the backend and the wait of the owner;
//  5. a bad change: nothing else changed, and the peers are well;
//  6. timeouts that do not nest: slowness alone would have been survived;
//  7. a retry storm at its warning level: with room for all retries there is
//     none, so without it they are why answers are late;
//  8. a slow dependency: its own answers are late, with room left;
//  9. a pool held by somebody else's slowness;
//  10. capacity decay: less is served with all workers busy;
//  11. plain overload: nothing explains the load but the load.
var precedence = []sre.Mechanism{
	sre.SurvivorOverload, sre.Oscillation, sre.CacheLoss, sre.BadChange, sre.TimeoutInversion, sre.RetryStorm,
	sre.SlowDependency, sre.PoolExhaustion, sre.CapacityDecay, sre.Overload,
}

// evidenceOnly is what a reading is worth that another mechanism explains.
const evidenceOnly = .8

// goldenSignal is the detector whose mechanisms are only a first guess.
const goldenSignal = "golden_signal"

// settle gives every service that has several mechanisms at once one that
// leads: it takes the gravest severity and the highest score and risk of all,
// and the others stay as its evidence, at most warnings and below it. Golden
// signals are no mechanisms, error budgets tell who suffers and not why, and
// notes are not heard.
func (b *Bank) settle(found []sre.Precursor) {
	b.order = b.order[:0]
	for i := range found {
		p := &found[i]
		if p.Detector != goldenSignal && p.Detector != burnName && p.Severity.Rank() > sre.Info.Rank() {
			b.order = append(b.order, i)
		}
	}
	slices.SortFunc(b.order, func(i, j int) int {
		return cmp.Or(
			cmp.Compare(found[i].Service, found[j].Service), cmp.Compare(place(&found[i]), place(&found[j])), cmp.Compare(i, j))
	})
	for low := 0; low < len(b.order); {
		high := low + 1
		for high < len(b.order) && found[b.order[high]].Service == found[b.order[low]].Service {
			high++
		}
		settleOne(found, b.order[low:high])
		low = high
	}
}

// settleOne has the first mechanism of one service's signs lead.
func settleOne(found []sre.Precursor, signs []int) {
	lead := found[signs[0]].Mechanism
	severity, score, risk := sre.Info, 0., 0.
	for _, i := range signs {
		p := &found[i]
		score, risk = max(score, p.Score), max(risk, p.Risk)
		if p.Severity.Rank() > severity.Rank() {
			severity = p.Severity
		}
	}
	if found[signs[len(signs)-1]].Mechanism == lead {
		return
	}
	for _, i := range signs {
		p := &found[i]
		if p.Mechanism == lead {
			p.Severity, p.Score, p.Risk = severity, score, risk
			continue
		}
		p.Severity = sre.Warning
		p.Score, p.Risk = min(p.Score, mostWarning, score*evidenceOnly), min(p.Risk, risk*evidenceOnly)
	}
}

func place(p *sre.Precursor) int {
	if p.Detector == leakName {
		return -2
	}
	if p.Mechanism == sre.RetryStorm && p.Severity == sre.Critical {
		return -1
	}
	if k := slices.Index(precedence, p.Mechanism); k >= 0 {
		return k
	}
	return len(precedence)
}
