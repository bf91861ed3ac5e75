package fluid

import "math"

const (
	erlangServers = 64  // rows of the table
	erlangSteps   = 128 // columns, from no load to full load
	// fullest is the load beyond which the steady state means nothing, because
	// it would take minutes to hours to come about.
	fullest = 0.98
)

// erlang holds Erlang's C formula, the chance of finding all of c servers busy,
// for c servers in row c and a load of j/erlangSteps each in column j.
var erlang = erlangTable()

func erlangTable() *[erlangServers + 1][erlangSteps + 1]float32 {
	var t [erlangServers + 1][erlangSteps + 1]float32
	for j := range erlangSteps {
		rho := float64(j) / erlangSteps
		for c := 1; c <= erlangServers; c++ {
			blocked := 1.0 // Erlang's B by its recursion
			for i := 1; i <= c; i++ {
				blocked = float64(c) * rho * blocked / (float64(i) + float64(c)*rho*blocked)
			}
			t[c][j] = float32(blocked / (1 - rho*(1-blocked)))
		}
	}
	for c := 1; c <= erlangServers; c++ {
		t[c][erlangSteps] = 1
	}
	return &t
}

// allBusy is the chance that a request finds c servers busy at load rho; c may
// be a fraction. Above erlangServers it errs on the high side, where the wait
// that follows from it is small against the time of service.
func allBusy(c, rho float64) float64 {
	x := rho * erlangSteps
	j := int(x)
	if j >= erlangSteps {
		return 1
	}
	x -= float64(j)
	at := func(row int) float64 {
		a, b := float64(erlang[row][j]), float64(erlang[row][j+1])
		return a + (b-a)*x
	}
	switch {
	case c <= 1:
		return at(1)
	case c >= erlangServers:
		return at(erlangServers)
	}
	i := int(c)
	y := c - float64(i)
	if y == 0 {
		return at(i)
	}
	return at(i)*(1-y) + at(i+1)*y
}

// sure is the number of mean times after which waiting longer is taken to be
// impossible: one in a million. It spares the healthy majority of calls an
// exponential, and keeps their retries at exactly none.
const sure = 13.8

// tardy is the chance that the rest of a request, exponential with the mean
// rest, takes longer than the time left.
func tardy(left, rest float64) float64 {
	switch {
	case left <= 0:
		return 1
	case left >= sure*rest:
		return 0
	}
	return math.Exp(-left / rest)
}
