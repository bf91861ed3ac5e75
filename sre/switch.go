package sre

import (
	"fmt"
	"time"
)

// Switch is a kill switch that people may flip through the agent.
type Switch struct {
	Name     string        `json:"name"`  // platform/product/feature@cohort, or a part of it from the left
	Scope    string        `json:"scope"` // platform, product, feature or cohort
	Service  string        `json:"service,omitempty"`
	Owner    string        `json:"owner,omitempty"`
	Level    int           `json:"level"` // business weight of losing it, 1 to 4
	Cost     float64       `json:"cost"`  // share of the service's CPU, 0 to 1
	Role     Role          `json:"role"`  // the least that may flip it
	Duration time.Duration `json:"duration"`
	Drill    bool          `json:"drill"`
	Targets  []Target      `json:"targets"` // what it moves; empty where nothing below it has a flag
}

// SwitchChange is what a person wants of a kill switch.
type SwitchChange struct {
	Name      string        `json:"name"`
	On        bool          `json:"on"`        // back on, now; the other fields are not read then
	Percent   float64       `json:"percent"`   // to switch off in the end; 0 is 100
	For       time.Duration `json:"for"`       // lease; 0 is the switch's own duration
	Immediate bool          `json:"immediate"` // no stages on the way
	Drill     bool          `json:"drill"`     // only the cohort without users, and only for one look
}

// Order makes an incident one that an operator opened: it has no diagnosis, a
// plan of one step that is the operator's own, and ends at a time that is fixed.
type Order struct {
	SwitchChange
	By     string    `json:"by"`
	Role   Role      `json:"role"`
	Needs  Role      `json:"needs"` // the role that the switch asked for
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	Ended  string    `json:"ended,omitempty"` // why it is taken back before Until
	Seen   string    `json:"seen,omitempty"`  // of a drill: what was found while it was in effect
}

// title names an order in one phrase.
func (o Order) title() string {
	what := "switched off"
	if o.Drill {
		what = "drilled"
	}
	return fmt.Sprintf("%s is %s on the order of %s", o.Name, what, o.By)
}

// orderSentence says where an operator's order stands.
func orderSentence(inc *Incident) string {
	o := inc.Order
	switch {
	case inc.State == Closed && inc.Escalation != "":
		return "nothing is off: " + inc.Escalation
	case inc.State == Closed && o.Seen != "":
		return "the drill is over: " + o.Seen
	case inc.State == Closed:
		return "it is on again"
	case inc.State == Lifting || inc.State == Reverting:
		return "it is being switched on again"
	}
	return "it is off until " + clock(o.Until) + ", as ordered; nothing is judged by it"
}
