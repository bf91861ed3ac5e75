package lever

import (
	"fmt"

	"github.com/sreagent/sreagent/sre"
)

// Manual returns the kubectl commands that undo an action without the agent,
// going back to restore; nothing where the target is not configured.
func (l *Lever) Manual(a sre.Action, restore sre.Params) string {
	if _, err := l.check(a); err != nil {
		return ""
	}
	if a.Kind == sre.Drain {
		return "kubectl uncordon " + a.Target.Name
	}
	name := a.Target.Service
	if a.Target.Callee != "" {
		name = a.Target.Callee
	}
	s, _ := l.cfg.service(name)
	in := " -n " + s.Namespace + " "
	switch a.Kind {
	case sre.Rollback:
		return "kubectl rollout undo" + in + s.Workload
	case sre.Scale:
		if n, ok := restore.Float("replicas"); ok {
			return fmt.Sprintf("kubectl scale%s%s --replicas=%d", in, s.Workload, int(n))
		}
		return "kubectl edit" + in + s.Workload
	case sre.Breaker:
		return "kubectl edit" + in + "destinationrule/" + s.DestinationRule
	case sre.Timeout, sre.RetryBudget:
		return "kubectl edit" + in + "virtualservice/" + s.VirtualService
	case sre.Restart:
		return "kubectl rollout status" + in + s.Workload
	case sre.Shed, sre.QueueBound, sre.KillSwitch, sre.TrafficShift, sre.Drain:
	}
	return ""
}
