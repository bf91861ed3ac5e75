package backtest

import (
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Result is a back-test of one policy over a corpus.
type Result struct {
	Bundles []Bundle           `json:"bundles"`
	Summary map[string]Summary `json:"summary"` // by source, never pooled
	// World is over all bundles of the simulated world, whose sources are the
	// mechanisms of one and the same generator; nil where there are none.
	World   *Summary `json:"world,omitempty"`
	Partial bool     `json:"partial,omitempty"`
	Config  string   `json:"config,omitempty"` // digest
}

// Bundle is what the agent made of one recording.
type Bundle struct {
	ID               string  `json:"id"`
	Source           string  `json:"source"`
	FaultFreeSeconds float64 `json:"fault_free_seconds"`
	FalseAlarms      int     `json:"false_alarms"`
	TimeInAlarmRatio float64 `json:"time_in_alarm_ratio"` // of fault-free time
	WrongActions     int     `json:"wrong_actions"`
	Faults           []Fault `json:"faults"`
	ElapsedSeconds   float64 `json:"-"`
	Error            string  `json:"error,omitempty"`
	Samples          int     `json:"samples"`
	RecordingSeconds float64 `json:"recording_seconds"`
	// OracleNormal is what the ranking says of stretches without a fault.
	OracleNormal      OracleNormal `json:"oracle_normal"`
	Actions           int          `json:"actions"` // that were done
	FalseAlarmTargets []Alarm      `json:"false_alarm_targets,omitempty"`
	// WrongProposals counts actions that would have been wrong and that the agent
	// asked a human about.
	WrongProposals int           `json:"wrong_proposals"`
	Services       int           `json:"services"` // of the graph, at the end
	Notifications  Notifications `json:"notifications"`
	// OtherDecisions are those that belong to no fault.
	OtherDecisions []Decision `json:"other_decisions,omitempty"`
}

// Alarm is one incident that people were told of: see Observer.
type Alarm struct {
	At       time.Time  `json:"at"`
	Until    *time.Time `json:"until,omitempty"` // nil where it was on at the end
	Service  string     `json:"service"`         // the first suspect when people were told; empty for unknown
	Incident string     `json:"incident,omitempty"`
}

// Fault is how the agent met one fault of the truth.
type Fault struct {
	Services         []string    `json:"services"`
	Fault            string      `json:"fault,omitempty"`
	InjectedAt       time.Time   `json:"injected_at"`
	DetectedAt       *time.Time  `json:"detected_at"`
	DelaySeconds     *float64    `json:"delay_seconds"`
	LeadSeconds      *float64    `json:"lead_seconds,omitempty"` // before the human alert; negative is after it
	Mechanism        string      `json:"mechanism,omitempty"`    // that the agent named first
	AlarmService     string      `json:"alarm_service,omitempty"`
	OracleRanking    []Suspect   `json:"oracle_ranking"`  // with the time of injection given
	Ranking          []Suspect   `json:"ranking"`         // from the agent's own alarm, when people were first told
	SettledRanking   []Suspect   `json:"settled_ranking"` // the same at the end of the fault's time
	Decisions        []Decision  `json:"decisions"`
	WrongActions     []string    `json:"wrong_actions,omitempty"`   // done, each with why it was wrong
	WrongProposals   []string    `json:"wrong_proposals,omitempty"` // asked about only
	Confidence       *Confidence `json:"confidence,omitempty"`      // of the first ranking
	OracleRank       int         `json:"oracle_rank"`               // of the first true service, from 1; 0 where it is missing
	OwnRank          int         `json:"rank"`
	CandidateCount   int         `json:"candidates"`
	Trace            bool        `json:"trace"`                       // the metrics of its services, or of an entry, show it
	Kind             string      `json:"true_mechanism,omitempty"`    // of the truth
	SettledMechanism string      `json:"settled_mechanism,omitempty"` // named first at the end of the fault's time
	Harm             *Harm       `json:"harm,omitempty"`
}

// Suspect is one entry of a ranking, the most probable first.
type Suspect struct {
	Service     string  `json:"service"`
	Probability float64 `json:"probability"`
}

// Confidence is a probability with its lower bound. That of a ranking is the
// probability of its first service, and the same less the share of readings that
// were not fresh.
type Confidence struct {
	P     float64 `json:"p"`
	Lower float64 `json:"lower"`
}

// Decision is one decision of the gate.
type Decision struct {
	At         time.Time  `json:"at"`
	Incident   string     `json:"incident,omitempty"`
	Verdict    sre.Stance `json:"verdict"`
	Runbook    string     `json:"runbook"`
	Confidence Confidence `json:"confidence"`
	Actions    []Action   `json:"actions"`
	Reasons    []string   `json:"reasons"`
}

// Action is one action that a decision was about.
type Action struct {
	Kind   sre.ActionKind `json:"kind"`
	Target string         `json:"target"`
	Params sre.Params     `json:"params"`
}

// Share is a proportion with its 95 % interval.
type Share struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	N     int     `json:"n"`
}

// Ranks is how well a ranking named the true services: AC@k is the mean over
// faults of the true services among the first k over min(k, true services);
// Avg@5 is the mean of AC@1 to AC@5.
type Ranks struct {
	AC1  Share `json:"ac_at_1"`
	AC3  Share `json:"ac_at_3"`
	AC5  Share `json:"ac_at_5"`
	Avg5 Share `json:"avg_at_5"`
}

// Summary is a corpus of one source.
type Summary struct {
	Bundles           int         `json:"bundles"` // those that could be read
	Failed            int         `json:"failed,omitempty"`
	Faults            int         `json:"faults"`
	FaultFreeSeconds  float64     `json:"fault_free_seconds"`
	Detected          Share       `json:"detected"`
	DetectedOfTraced  Share       `json:"detected_of_traced"` // of the faults that left a trace in the metrics
	DelaySeconds      Spread      `json:"delay_seconds"`
	LeadSeconds       Spread      `json:"lead_seconds"`
	Oracle            Ranks       `json:"oracle"`
	EndToEnd          Ranks       `json:"end_to_end"`
	Settled           Ranks       `json:"settled"` // end to end, with the last ranking instead of the first
	FalseAlarms       int         `json:"false_alarms"`
	FalseAlarmsPerDay float64     `json:"false_alarms_per_day"`
	TimeInAlarmRatio  float64     `json:"time_in_alarm_ratio"`
	Actions           int         `json:"actions"` // that were done
	WrongActions      int         `json:"wrong_actions"`
	WrongProposals    int         `json:"wrong_proposals"`
	Specificity       Share       `json:"specificity"` // of stretches without a fault, those in which the ranking blames nobody
	Calibration       Calibration `json:"calibration"`
	// FalseAlarmsPerHour is with its exact Poisson interval, over time without
	// fault.
	FalseAlarmsPerHour Rate `json:"false_alarms_per_hour"`
	// FleetWeeks is the same per week of 1,000 services.
	FleetWeeks    Rate          `json:"false_alarms_per_fleet_week"`
	Notifications Notifications `json:"notifications"`
	// ByFault scores the same by the kind of fault, in the words of the source;
	// nil where there is one kind or none.
	ByFault map[string]ByFault `json:"by_fault,omitempty"`
	// Foresight is what only the simulated world can tell; nil elsewhere.
	Foresight *Foresight `json:"foresight,omitempty"`
}

// ByFault is how the faults of one kind were met.
type ByFault struct {
	Faults           int   `json:"faults"`
	Detected         Share `json:"detected"`
	DetectedOfTraced Share `json:"detected_of_traced"`
	Oracle           Ranks `json:"oracle"`
	EndToEnd         Ranks `json:"end_to_end"`
	Settled          Ranks `json:"settled"`
}

// Spread is a sample of seconds by its quartiles.
type Spread struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	P25    float64 `json:"p25"`
	P75    float64 `json:"p75"`
}

// Calibration says what the probability of the first suspect was worth, over the
// faults that were detected and got a ranking.
type Calibration struct {
	N            int            `json:"n"`
	Brier        float64        `json:"brier"`
	BrierSkill   float64        `json:"brier_skill"` // against the base rate; 0 where all answers were equally right
	ECE          Share          `json:"ece"`         // with a bootstrap interval
	Bins         []Bin          `json:"bins"`        // of equal mass
	RiskCoverage []RiskCoverage `json:"risk_coverage"`
	AURC         float64        `json:"aurc"`
	Noise        bool           `json:"noise"` // fewer than 100 labels: ECE is mostly noise
}

// Bin is one bin of a reliability diagram.
type Bin struct {
	N         int     `json:"n"`
	Predicted float64 `json:"predicted"`
	Observed  float64 `json:"observed"`
}

// RiskCoverage is the share of wrong answers among those given, when only the
// most certain share Coverage of them is given.
type RiskCoverage struct {
	Coverage float64 `json:"coverage"`
	Risk     float64 `json:"risk"`
}
