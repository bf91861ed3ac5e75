package detectors

import (
	"time"

	"github.com/sreagent/sreagent/sre"
)

func (b *burnRate) carry(t *tape) {
	t.i64s((*int64)(&b.tick))
	each(t, &b.tracked, func(s *burnService) { s.carry(t) })
	if t.reads {
		b.at = t.at
		b.adopt(t)
	}
	n := len(b.tracked)
	exactly(t, &b.since, n*len(b.rings), func(x *int64) { t.i64s(x) })
	for r := range b.rings {
		b.rings[r].carry(t, n)
	}
	each(t, &b.burns, func(x *sre.Burn) { t.burn(x) })
}

// carry leaves out what the roll and the settings tell.
func (s *burnService) carry(t *tape) {
	t.service(&s.index)
	t.means(&s.usual)
	t.f64s(&s.seen)
	t.bools(&s.active)
}

// adopt finds the read services by name and lays out their windows.
func (b *burnRate) adopt(t *tape) {
	if b.tick < 0 || b.tick == 0 && len(b.tracked) > 0 {
		t.fail(errRange)
	}
	if t.err != nil {
		b.tracked = nil
		return
	}
	for k := range b.tracked {
		s := &b.tracked[k]
		if _, twice := b.slot[s.index]; twice {
			t.fail(errRange)
		}
		b.slot[s.index] = k
		s.name = t.roll.services[s.index]
		s.stated = b.stated[s.name]
	}
	if b.tick > 0 {
		for r, rule := range burnRules() {
			b.rings[r] = newBurnRing(rule.long, rule.short, b.tick)
		}
	}
}

// carry refuses a bucket that has not begun, and one whose forerunners would
// have begun before 1970.
func (r *burnRing) carry(t *tape, services int) {
	t.i64s(&r.bucket)
	if t.reads && r.bucket != 0 && (r.bucket < burnCells || r.bucket > t.at.UnixNano()/max(1, r.width)) {
		t.fail(errRange)
	}
	exactly(t, &r.open, 2*services, func(x *float64) { t.f64s(x) })
	exactly(t, &r.closed, 2*burnCells*services, t.f32)
}

func (t *tape) burn(x *sre.Burn) {
	t.text(&x.Service)
	t.f64s(&x.Objective, &x.LongRate, &x.ShortRate, &x.Threshold)
	for _, d := range []*time.Duration{&x.Long, &x.Short} {
		t.i64s((*int64)(d))
	}
	t.bools(&x.Page)
	t.instant(&x.Since)
}
