package gate

import "github.com/sreagent/sreagent/sre"

// weighArbitration hands on what the arbiter found on other writers and on
// cures that failed before. Where nobody asked it, it has nothing to say.
func weighArbitration(_ Policy, q Question) sre.Reason {
	if q.Arbitration.Text == "" {
		return reason(sre.Act, "no other writer was looked for")
	}
	return q.Arbitration
}
