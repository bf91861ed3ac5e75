package guard

import "github.com/prometheus/common/model"

// RateConfig is one rate within a hybrid limit, as a token bucket.
type RateConfig struct {
	Rate   int64          `yaml:"rate" json:"rate"`     // requests in a window
	Window model.Duration `yaml:"window" json:"window"` // default 1s
	Burst  int64          `yaml:"burst" json:"burst"`   // at once; default the rate
}

// parts are the limits that a hybrid one consists of: its sustained rate with
// its burst, the peak rate at which the burst may be spent (the dual token
// bucket of RFC 2698, with drop for colour), and the rate of each client. A
// request passes all of them or takes from none.
func (c LimitConfig) parts() []LimitConfig {
	if c.Algorithm != Hybrid {
		return []LimitConfig{c}
	}
	base := c
	base.Algorithm, base.Peak, base.Client = TokenBucket, nil, nil
	parts := []LimitConfig{base}
	if c.Peak != nil {
		peak := base
		peak.Name, peak.Rate, peak.Window, peak.Burst = c.Name+"-peak", c.Peak.Rate, c.Peak.Window, c.Peak.Burst
		parts = append(parts, peak)
	}
	if c.Client != nil {
		client := base
		client.Name, client.Per = c.Name+"-client", []string{"client"}
		client.Rate, client.Window, client.Burst = c.Client.Rate, c.Client.Window, c.Client.Burst
		parts = append(parts, client)
	}
	return parts
}
