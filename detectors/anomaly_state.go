package detectors

func (d *anomaly) carry(t *tape) {
	t.i64s(&d.now.at) // the next tick must know whether it missed one
	d.svc.carry(t, len(t.roll.services))
	d.edge.carry(t, len(t.roll.calls))
	perService(t, &d.svcs, func(s *standing) { s.carry(t) })
}

// carry leaves out what is only of one tick.
func (s *standing) carry(t *tape) {
	h := &s.past
	t.f64s(&h.border, &h.excess, &h.over, &h.n, &h.run, &h.peak)
	t.recents(&s.hits)
	t.bools(&s.on)
	t.i64s(&s.changed, &s.dark.since)
	t.i32s(&s.dark.heard, &s.dark.mute)
}

func (g *grid) carry(t *tape, subjects int) {
	each(t, &g.rows, func(r *gridRow) {
		t.signal(&r.sig)
		t.bools(&r.coarse)
		r.read()
		r.common.carry(t)
		exactly(t, &r.series, subjects, func(a *series) { a.carry(t) })
	})
}

func (s *surprise) carry(t *tape) {
	over, n, run, heavy := float64(s.over), float64(s.n), float64(s.run), s.heaviest()
	t.f64s(&s.border, &s.excess, &over, &n, &run, &s.peak, &heavy)
	if over < 0 || over > mostOver || n < 0 || n > mostSeen || run < 0 || run > longestRun {
		t.fail(errRange)
		return
	}
	s.over, s.n, s.run, s.failures = uint8(over), int32(n), uint8(run), heavy == heaviestFailures
}

// carry of a series that has seen nothing is a single byte.
func (a *series) carry(t *tape) {
	used := *a != series{}
	t.bools(&used)
	if !used {
		return
	}
	t.means(&a.level)
	t.f64s(&a.off, &a.gathered, &a.worst, &a.least, &a.most, &a.oldLeast, &a.oldMost,
		&a.failed, &a.asked, &a.low, &a.high, &a.sum, &a.begin, &a.tableErr, &a.fastErr)
	a.odd.carry(t)
	t.i64s(&a.onset, &a.quiet, &a.seen, &a.epoch)
	t.i32s(&a.slot, &a.count, &a.halves, &a.compared)
	t.recents(&a.hits)
	t.u8(&a.calm)
	t.bools(&a.falling, &a.active, &a.lowing, &a.muted)
	if a.slot < 0 || a.slot >= weekBuckets {
		t.fail(errRange)
		return
	}
	a.excused = a.low <= a.high
	has := a.table != nil
	t.bools(&has)
	if !has {
		return
	}
	if a.table == nil {
		a.table = &calendar{}
	}
	for i := range a.table.day {
		t.f32(&a.table.day[i])
	}
	for i := range a.table.week {
		t.f32(&a.table.week[i])
	}
}
