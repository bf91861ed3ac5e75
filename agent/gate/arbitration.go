package gate

import "github.com/sreagent/sreagent/sre"

// weighArbitration hands on what the arbiter found on other writers and on
// cures that failed before. Where nobody asked it, it has nothing to say.
func weighArbitration(_ Policy, q Question) sre.Reason {
	switch r := q.Arbitration; {
	case r.Text != "":
		return r
	case r.Allows != "":
		return less(r.Allows, "the arbiter finds nothing", "the arbiter allows %s and says no more", r.Allows)
	}
	return reason(sre.Act, "no other writer was looked for")
}
