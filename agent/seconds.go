package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// second adds to an approval how many people must give theirs and who has
// already; or it says why this one does not count: nobody counts twice.
func (a *Agent) second(inc *sre.Incident, approval *sre.Approval) string {
	rules := a.gate.Policy().Approvals
	if why := rules.Excludes(inc.Plan, approval.By); why != "" {
		return why
	}
	need := rules.Of(inc.Plan)
	if need <= 1 {
		return ""
	}
	approval.Need = need
	if before := inc.Approval; before != nil && before.Decision == approval.Decision && before.Partial() {
		approval.With = append(slices.Clone(before.With), before.By)
	}
	if slices.Contains(approval.With, approval.By) {
		return fmt.Sprintf("%s has approved already: %d of %d, somebody else is needed", approval.By, len(approval.With), need)
	}
	return ""
}

// halfway keeps an approval that others have to second. Nothing else happens yet.
func (a *Agent) halfway(t *turn, inc *sre.Incident, in sre.Input, approval *sre.Approval) {
	inc.Approval = approval
	a.note(t, sre.Record{Kind: sre.RecordApproval, IncidentID: inc.ID, Approval: approval})
	by := append(slices.Clone(approval.With), approval.By)
	a.answer(t, in, true, fmt.Sprintf("approved: %d of %d, by %s; others are needed before anything is done",
		len(by), approval.Need, strings.Join(by, ", ")))
}
