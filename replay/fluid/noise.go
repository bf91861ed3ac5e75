package fluid

import "math"

// draw returns a Poisson number with the given mean. It is a function of its
// arguments, so that clones draw alike and nothing needs to be carried along.
func draw(seed uint64, stream int, tick int64, mean float64) float64 {
	if mean <= 0 {
		return 0
	}
	s := mixed(mixed(seed^0x9e3779b97f4a7c15*uint64(stream+1)) ^ uint64(tick))
	if mean >= 50 {
		u, v := uniform(s), uniform(s+1)
		z := math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*v)
		return max(0, math.Round(mean+math.Sqrt(mean)*z))
	}
	u := uniform(s)
	p := math.Exp(-mean)
	n := 0.0
	for sum := p; sum < u && n < 1000; sum += p {
		n++
		p *= mean / n
	}
	return n
}

// mixed is the finaliser of splitmix64.
func mixed(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// uniform is a number in [0, 1).
func uniform(s uint64) float64 { return float64(mixed(s)>>11) / (1 << 53) }
