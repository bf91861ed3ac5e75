package agent

import (
	"testing"

	"github.com/sreagent/sreagent/sre"
)

// Added replicas may go when the work would fit on those that stay; replicas
// that were taken away, and levers that do not say what was there, are no case.
func TestReplicasGoOnlyWithRoom(t *testing.T) {
	const three = `!has_value("api", "pool", "ratio") || occupancy("api") < 0.2667`
	for name, c := range map[string]struct {
		before, params sre.Params
		want           string
	}{
		"three for one":  {sre.Params{"replicas": 1.0}, sre.Params{"replicas": 3.0}, three},
		"fewer":          {sre.Params{"replicas": 4.0}, sre.Params{"replicas": 2.0}, ""},
		"as many":        {sre.Params{"replicas": 2.0}, sre.Params{"replicas": 2.0}, ""},
		"none before":    {sre.Params{"replicas": 0.0}, sre.Params{"replicas": 2.0}, ""},
		"nobody told us": {sre.Params{}, sre.Params{"replicas": 2.0}, ""},
	} {
		m := &sre.Mitigation{Before: c.before, Action: sre.Action{Kind: sre.Scale, Target: sre.Target{Service: "api"}, Params: c.params}}
		got, judged := roomCheck(m)
		if got.Expr != c.want || judged != (c.want != "") {
			t.Errorf("%s: got %q, %t", name, got.Expr, judged)
		}
	}
}
