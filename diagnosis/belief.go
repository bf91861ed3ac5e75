package diagnosis

import "github.com/sreagent/sreagent/sre"

// believed returns how probable each service was as the cause of each open
// incident when that was last looked at.
func believed(open []sre.Incident) map[string]map[string]float64 {
	out := make(map[string]map[string]float64, len(open))
	for i := range open {
		held := map[string]float64{}
		for _, h := range open[i].Diagnosis.Hypotheses {
			if h.Service != "" {
				held[h.Service] = max(held[h.Service], h.Probability)
			}
		}
		out[open[i].ID] = held
	}
	return out
}
