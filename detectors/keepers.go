package detectors

// What the detectors of the physics keep between two ticks, beside the vitals
// that they share.

func (d *retryStorm) carry(t *tape) {
	perService(t, &d.state, func(s *stormState) { s.carry(t) })
}

func (s *stormState) carry(t *tape) {
	t.recents(&s.warnAmp, &s.actAmp, &s.margin, &s.marginUp, &s.soon)
	t.f64s(&s.queue, &s.worstAmp)
	t.means(&s.slope, &s.jitter)
	t.instant(&s.since)
	t.ints(&s.calm, &s.acted)
}

func (d *overload) carry(t *tape) {
	t.episodes(&d.state)
	d.rest.carry(t)
}

func (r *unrest) carry(t *tape) {
	for _, list := range []*[]mean{&r.mean, &r.dev, &r.lag, &r.usual} {
		perService(t, list, func(m *mean) { t.means(m) })
	}
	perService(t, &r.last, func(x *float64) { t.f64s(x) })
}

func (d *exhaustion) carry(t *tape) {
	t.instant(&d.start)
	t.instant(&d.last)
	each(t, &d.rows, func(r *trendRow) {
		t.signal(&r.sig)
		if _, bounded := limitOf(r.sig); bounded {
			perService(t, &r.trends, func(x *trend) { x.carry(t) })
		}
	})
}

func (x *trend) carry(t *tape) {
	t.f64s(&x.first, &x.w, &x.t, &x.x, &x.tt, &x.tx, &x.xx, &x.last)
	t.means(&x.recent)
	t.i32s(&x.n)
	x.episode.carry(t)
}

func (e *episode) carry(t *tape) {
	t.recents(&e.hits)
	t.i32s(&e.calm)
	t.instant(&e.since)
}

func (t *tape) episodes(list *[]episode) {
	perService(t, list, func(e *episode) { e.carry(t) })
}

func (d *slow) carry(t *tape) {
	perCall(t, &d.state, func(e *episode) { e.carry(t) })
	t.episodes(&d.callee)
	if t.reads {
		n := len(d.callee)
		d.worst, d.late, d.hurt = make([]int32, n), make([]int32, n), make([]int32, n)
	}
}

func (d *pool) carry(t *tape) { t.episodes(&d.state) }

func (d *leak) carry(t *tape) {
	perService(t, &d.state, func(x *drain) { x.carry(t) })
}

func (x *drain) carry(t *tape) {
	x.trend.carry(t)
	t.means(&x.size)
	t.bools(&x.stuck)
}

func (d *decaying) carry(t *tape) { t.episodes(&d.state) }

func (d *cacheLoss) carry(t *tape) {
	t.episodes(&d.state)
	t.episodes(&d.herd)
	if t.reads {
		d.worst = make([]int32, len(d.herd))
	}
}

func (d *survivor) carry(t *tape) {
	perService(t, &d.state, func(s *survival) { s.carry(t) })
}

func (s *survival) carry(t *tape) {
	s.episode.carry(t)
	t.f64s(&s.last, &s.crashes)
}

func (d *oscillation) carry(t *tape) {
	perService(t, &d.swing, func(z *zigzag) { z.carry(t) })
	perCall(t, &d.calls, func(z *zigzag) { z.carry(t) })
	perService(t, &d.quiet, func(x *float64) { t.f64s(x) })
}

// mostTurned bounds the turning points that are believed: they come with an
// index, and more of them than ticks in a hundred years are none.
const mostTurned = 1 << 30

func (z *zigzag) carry(t *tape) {
	z.episode.carry(t)
	t.f64s(&z.extreme, &z.harm)
	t.bools(&z.up, &z.begun)
	for i := range z.turns {
		t.f64s(&z.turns[i])
	}
	t.i32s(&z.n)
	if z.n < 0 || z.n > mostTurned {
		t.fail(errRange)
	}
}

func (d *inversion) carry(t *tape) {
	perCall(t, &d.state, func(e *episode) { e.carry(t) })
}

func (d *divergence) carry(t *tape) {
	t.episodes(&d.state)
	perService(t, &d.good, func(m *mean) { t.means(m) })
}

func (d *badChange) carry(t *tape) {
	perService(t, &d.recent, func(a *after) { a.carry(t) })
	perService(t, &d.until, func(x *float64) { t.f64s(x) })
	each(t, &d.watch, func(x *trial) { x.carry(t) })
	if len(d.watch) > mostTrials {
		t.fail(errRange)
	}
}

func (a *after) carry(t *tape) { t.means(&a.errors, &a.latency) }

func (x *trial) carry(t *tape) {
	t.change(&x.change)
	t.service(&x.service)
	t.f64s(&x.at, &x.errors, &x.latency, &x.traffic)
	t.bools(&x.ill)
	x.tests.carry(t)
}
