package sre

// Rung is the place of an action kind in the escalating order of cures:
// 1 for retries and the other local guards, 2 for shedding,
// 3 for optional features, 4 for the suspect change, 5 for scale, 6 for moving
// entry traffic elsewhere, 7 for what ends something. Unknown kinds are last.
func (k ActionKind) Rung() int {
	switch k {
	case RetryBudget, QueueBound, Breaker, Timeout:
		return 1
	case Shed:
		return 2
	case KillSwitch:
		return 3
	case Rollback:
		return 4
	case Scale:
		return 5
	case TrafficShift:
		return 6
	case Drain, Restart:
	}
	return 7
}

// Structural reports whether a kind changes what runs or where traffic goes,
// and not only a limit that an enforcer holds.
func (k ActionKind) Structural() bool { return k.Rung() >= 4 }
