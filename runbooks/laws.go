package runbooks

import (
	"fmt"
	"slices"
	"strings"
)

// CheckLaws reports every action whose control law is not among names, those
// that the agent knows. The error is a *LoadError. An agent that is given such a
// runbook all the same leaves the lever as it was applied.
func (l *Library) CheckLaws(names []string) error {
	allowed := strings.Join(slices.Sorted(slices.Values(names)), ", ")
	if allowed == "" {
		allowed = "none"
	}
	var faults []Fault
	l.eachAction(func(a action) {
		if a.law != "" && !slices.Contains(names, a.law) {
			faults = append(faults, a.at.field("law").fault(fmt.Sprintf("no control law is named %q", a.law), allowed))
		}
	})
	return loadError(faults)
}
