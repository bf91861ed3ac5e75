package detectors

func (v *vitals) carry(t *tape) {
	t.instant(&v.start)
	perService(t, &v.usual, func(u *usual) { u.carry(t) })
	perService(t, &v.onset, func(x *float64) { t.f64s(x) })
	for _, list := range []*[]mean{&v.fanout, &v.edgeLat, &v.edgeDev} {
		perCall(t, list, func(m *mean) { t.means(m) })
	}
	if !t.reads {
		return
	}
	v.at = t.at
	// What is only of one tick is made anew at the next.
	v.now = make([]pulse, len(v.usual))
	v.settings = make([]settings, len(v.usual))
	v.inbound = make([]edgeSums, len(v.usual))
}

func (u *usual) carry(t *tape) {
	t.means(&u.traffic, &u.errors, &u.latency, &u.tail, &u.queue, &u.retryShare, &u.replicas, &u.pool, &u.cache,
		&u.queueDev, &u.errorDev, &u.latencyDev, &u.poolDev, &u.cacheDev, &u.capacity, &u.good)
	t.f64s(&u.peak, &u.before)
}
