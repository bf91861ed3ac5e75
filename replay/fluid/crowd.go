package fluid

// crowd is the state of a population of clients beside that of its calls.
type crowd struct {
	rate, factor, most float64
	usual              float64 // factor, averaged over about half an hour
	offered, failed    float64
	mix                [Classes]float64
	outstanding, held  float64
	outside            []float64 // held requests by the step of their wish; nil without a cap
	head               int64     // nobody before this step waits outside
}

// usualSpan is the time in seconds over which a load becomes usual: long against
// a surge, short against the course of a day.
const usualSpan = 1800

func (m *Model) newCrowd(c *ClientSpec) crowd {
	k := crowd{rate: c.Rate, factor: 1, usual: 1, most: c.Concurrency, mix: normalised(c.Mix)}
	if c.Concurrency > 0 {
		n := int64(2)
		for n < m.ticks(c.Timeout)+2 {
			n *= 2
		}
		k.outside = make([]float64, n)
	}
	return k
}

// wish returns the requests that clients start in this step. With a cap on those
// outstanding the others wait outside in order, and give up after their timeout.
func (m *Model) wish(e *edge) float64 {
	k := &m.crowds[e.index]
	x := k.rate * k.factor * m.dt
	if m.tick == 1 {
		k.usual = k.factor
	}
	k.usual += (k.factor - k.usual) * m.dt / usualSpan
	if m.plan.Noise {
		x = draw(m.plan.Seed, int(e.index), m.tick, x)
	}
	k.offered += x
	if k.most == 0 {
		k.outstanding += x
		return x
	}
	mask := int64(len(k.outside) - 1)
	if gone := m.tick - e.patience; gone >= k.head {
		y := k.outside[gone&mask]
		k.failed += y
		k.held -= y
		k.head = gone + 1
	}
	k.outside[m.tick&mask] = x
	k.held += x
	begun := 0.0
	for room := k.most - k.outstanding; k.head <= m.tick && room > 0; {
		y := &k.outside[k.head&mask]
		if *y > room {
			*y -= room
			begun += room
			break
		}
		begun += *y
		room -= *y
		k.head++
	}
	k.held = max(0, k.held-begun)
	if k.head > m.tick {
		k.held = 0
	}
	k.outstanding += begun
	return begun
}
