package executor

import (
	"fmt"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// lastYear is the last that JSON can carry in a time.
const lastYear = 9999

// recordable returns what a lever said of itself in a form that the trail can
// carry: a lever that answers nonsense must not stop the agent's memory.
func recordable(s sre.TargetState) sre.TargetState {
	s.Current, s.Default = recordableParams(s.Current), recordableParams(s.Default)
	if y := s.Expires.Year(); y < 0 || y > lastYear {
		s.Expires = time.Time{}
	}
	return s
}

// recordableParams drops what is not a number and bounds what is infinite.
func recordableParams(p sre.Params) sre.Params {
	if p == nil {
		return nil
	}
	out := make(sre.Params, len(p))
	for name, v := range p {
		switch v := v.(type) {
		case float64:
			if !math.IsNaN(v) {
				out[name] = min(max(v, -math.MaxFloat64), math.MaxFloat64)
			}
		case string, bool, int, int64, uint64, nil:
			out[name] = v
		default:
			out[name] = fmt.Sprint(v)
		}
	}
	return out
}
