package sre

import "time"

// RiskHorizon is how far ahead a risk looks.
const RiskHorizon = 2 * time.Minute

// Risk is the probability that a service, or one call to it, tips into a cascade
// within RiskHorizon, over all mechanisms that speak for it.
type Risk struct {
	Service     string     `json:"service"`
	Caller      string     `json:"caller,omitempty"` // set for the risk of the call Caller -> Service
	Probability float64    `json:"probability"`      // 0 to 1
	Mechanism   Mechanism  `json:"mechanism"`        // the likeliest one
	Evidence    []Evidence `json:"evidence"`         // of the likeliest mechanism, strongest first, at most three
}

// Impact is what a cascade is expected to cost one service.
type Impact struct {
	Service string        `json:"service"`
	Entry   bool          `json:"entry,omitempty"`
	Lost    float64       `json:"lost"`            // share of its requests that fail or come late, at worst, 0 to 1
	After   time.Duration `json:"after,omitempty"` // from now until it is hit; nanoseconds in JSON
}

// Bases of an impact: the algebra on the graph, or a run of the model ahead.
const (
	ByGraph = "graph"
	ByModel = "model"
)
