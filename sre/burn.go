package sre

import "time"

// Burn says how fast one service uses up the error budget of its objective: 1
// is exactly the rate at which it is earned. A rule holds where both its long
// and its short window burn faster than its threshold (The Site Reliability
// Workbook, chapter 5).
type Burn struct {
	Service   string        `json:"service"`
	Objective float64       `json:"objective"` // share of requests that must succeed, 0 to 1
	Long      time.Duration `json:"long"`      // nanoseconds in JSON
	Short     time.Duration `json:"short"`
	LongRate  float64       `json:"long_rate"`
	ShortRate float64       `json:"short_rate"`
	Threshold float64       `json:"threshold"`
	Page      bool          `json:"page"` // wakes somebody, not only a ticket
	Since     time.Time     `json:"since"`
}
