package gate

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/agent/arbiter"
	"github.com/sreagent/sreagent/sre"
)

// Policy is the mandate that operators give the agent: the `policy` section of
// the configuration. Its zero value lets the agent watch and nothing else.
type Policy struct {
	// Mode is the most that the agent may do: watch, ask or act.
	Mode sre.Stance `yaml:"mode"`
	// DryRun lets everything happen but the touch of a lever itself.
	DryRun bool `yaml:"dry_run"`
	// Thresholds are the lower bounds of confidence that each stance needs.
	Thresholds Thresholds `yaml:"thresholds"`
	// EvidenceMaxAge is how old a diagnosis may be when it is acted on.
	EvidenceMaxAge model.Duration `yaml:"evidence_max_age"`
	// ApprovalTimeout is how long a question waits for a human.
	ApprovalTimeout model.Duration `yaml:"approval_timeout"`
	// MinDataQuality is the least share of fresh readings, 0 to 1.
	MinDataQuality float64 `yaml:"min_data_quality"`
	// InForce bounds the services with a mitigation in force, fleet-wide.
	InForce sre.Limit `yaml:"in_force"`
	// BlastRadius bounds the entry traffic (percent) and the services (number)
	// that stand behind what a plan moves, for acting alone.
	BlastRadius sre.Limit `yaml:"blast_radius"`
	// ActionsPerHour bounds new mitigations by their number.
	ActionsPerHour int `yaml:"actions_per_hour"`
	// MaxRecurrences is how often an incident may come back before a human is
	// asked again.
	MaxRecurrences int `yaml:"max_recurrences"`
	// Protected names services on which the agent always asks, by name or glob.
	Protected []string `yaml:"protected"`
	// Autonomy bounds the agent by kind, service and runbook: the first rule that
	// is about an action decides, below the mode.
	Autonomy []Autonomy `yaml:"autonomy"`
	// Approvals is how many people must approve, by the plan's risk.
	Approvals Approvals `yaml:"approvals"`
	// Freezes are times in which the agent does not act alone.
	Freezes []Freeze `yaml:"freezes"`
	// Budgets bound what may be in force at once, by kind, service and time.
	Budgets []Budget `yaml:"budgets"`

	// Arbitration bounds what the agent does where others write too.
	Arbitration arbiter.Policy `yaml:"arbitration"`

	calendar *calendar // of Freezes and Budgets, understood by New
	fault    string    // the first one that Validate found, asked by New; nobody acts on such a policy
}

// Thresholds are lower bounds of confidence, 0 to 1.
type Thresholds struct {
	ActLow    float64 `yaml:"act_low"`    // to act alone on a low-risk plan
	ActMedium float64 `yaml:"act_medium"` // to act alone on a medium-risk plan
	Ask       float64 `yaml:"ask"`        // to ask at all
}

// DefaultPolicy watches only, with limits that are sane once the mode is
// raised.
func DefaultPolicy() Policy {
	return Policy{
		Mode:            sre.Watch,
		Thresholds:      Thresholds{ActLow: 0.6, ActMedium: 0.8, Ask: 0.1},
		EvidenceMaxAge:  model.Duration(time.Minute),
		ApprovalTimeout: model.Duration(15 * time.Minute),
		MinDataQuality:  0.5,
		InForce:         sre.Limit{Percent: 25, Number: 10},
		BlastRadius:     sre.Limit{Percent: 50, Number: 20},
		ActionsPerHour:  20,
		MaxRecurrences:  1,
		Arbitration:     arbiter.DefaultPolicy(),
	}
}

// Validate returns what is wrong with the policy.
func (p Policy) Validate() sre.Faults {
	var f sre.Faults
	if !slices.Contains([]sre.Stance{sre.Watch, sre.Ask, sre.Act}, p.Mode) {
		f.Add("mode", fmt.Sprintf("unknown mode %q", p.Mode), "watch, ask, act")
	}
	share := func(path string, v float64) {
		if !(v >= 0 && v <= 1) {
			f.Add(path, fmt.Sprintf("%v is not a share", v), "0 to 1")
		}
	}
	share("thresholds.ask", p.Thresholds.Ask)
	share("thresholds.act_low", p.Thresholds.ActLow)
	share("thresholds.act_medium", p.Thresholds.ActMedium)
	if p.Thresholds.Ask > p.Thresholds.ActLow {
		f.Add("thresholds.ask", fmt.Sprintf("%v is above act_low %v", p.Thresholds.Ask, p.Thresholds.ActLow), "ask <= act_low <= act_medium")
	}
	if p.Thresholds.ActLow > p.Thresholds.ActMedium {
		f.Add("thresholds.act_low", fmt.Sprintf("%v is above act_medium %v", p.Thresholds.ActLow, p.Thresholds.ActMedium), "ask <= act_low <= act_medium")
	}
	share("min_data_quality", p.MinDataQuality)
	positive := func(path string, d model.Duration) {
		if d <= 0 {
			f.Add(path, fmt.Sprintf("%s is not positive", d), "a duration above 0, such as 1m")
		}
	}
	positive("evidence_max_age", p.EvidenceMaxAge)
	positive("approval_timeout", p.ApprovalTimeout)
	f.Under("in_force", limitFaults(p.InForce))
	f.Under("blast_radius", limitFaults(p.BlastRadius))
	f.Under("arbitration.touched", limitFaults(p.Arbitration.Touched))
	if p.ActionsPerHour < 0 {
		f.Add("actions_per_hour", fmt.Sprintf("%d is negative", p.ActionsPerHour), "0 or more")
	}
	if p.MaxRecurrences < 0 {
		f.Add("max_recurrences", fmt.Sprintf("%d is negative", p.MaxRecurrences), "0 or more")
	}
	f.Under("", patterns("protected", p.Protected))
	f.Under("", p.validateRules())
	return f
}

// validateRules returns what is wrong with the lists of rules.
func (p Policy) validateRules() sre.Faults {
	var f sre.Faults
	f.Under("approvals", p.Approvals.validate())
	f.Under("arbitration", p.Arbitration.Validate())
	for i, rule := range p.Autonomy {
		f.Under(sre.Item("autonomy", i), rule.validate())
	}
	for i, freeze := range p.Freezes {
		f.Under(sre.Item("freezes", i), freeze.validate())
	}
	for i, budget := range p.Budgets {
		f.Under(sre.Item("budgets", i), budget.validate())
	}
	return f
}

func limitFaults(l sre.Limit) sre.Faults {
	var f sre.Faults
	if !(l.Percent >= 0 && l.Percent <= 100) {
		f.Add("percent", fmt.Sprintf("%v is not a percentage", l.Percent), "0 to 100")
	}
	if l.Number < 0 {
		f.Add("number", fmt.Sprintf("%d is negative", l.Number), "0 or more")
	}
	return f
}
