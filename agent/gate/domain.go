package gate

import "github.com/sreagent/sreagent/sre"

// rounding is how far sums and quotients of floats may leave their domain
// before they are taken for nonsense.
const rounding = 1e-9

// isShare reports whether a number is one from 0 to 1. Written so that what is no
// number is none: every comparison with it is false.
func isShare(v float64) bool { return v >= -rounding && v <= 1+rounding }

// nonsense is the reason for a value that no sound source gives. What brought it
// about may have spoiled other values too, so nothing is concluded from it.
func nonsense(allows sre.Stance, what string, value any) sre.Reason {
	return less(allows, what+" is one that can be", "%s is %v, which cannot be", what, value)
}
