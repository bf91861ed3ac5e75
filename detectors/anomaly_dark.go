package detectors

import (
	"fmt"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// darkness follows whether a service is still heard of. Readings that stop say
// nothing by themselves; that they stop while its callers fail does.
type darkness struct {
	heard int32
	mute  int32 // ticks in a row without a reading
	since int64 // last reading, nanoseconds since 1970
}

// darkAfter is how many ticks in a row must pass without a reading: one may be
// lost or late.
const darkAfter = 2

// darken appends a sign for a service that has fallen silent while a caller of
// it fails.
func (d *anomaly) darken(s *sre.Snapshot, i int, found []sre.Precursor) []sre.Precursor {
	k, t := &d.svcs[i].dark, &d.now
	if d.brief[i].heard {
		k.mute, k.since = 0, t.at
		k.heard = min(k.heard+1, 1<<30)
		return found
	}
	if k.heard < d.need {
		return found
	}
	k.mute = min(k.mute+1, 1<<30)
	if k.mute < darkAfter {
		return found
	}
	for _, e := range s.Graph.CallersOf(i) {
		from := s.Graph.Edges[e].From
		ratio, usual := d.v.now[from].errors, d.v.usual[from].errors.value(needed)
		if !known(ratio) || ratio <= or(usual, 0)+harmless {
			continue
		}
		service, caller := s.Graph.Services[i].Name, s.Graph.Services[from].Name
		return append(found, sre.Precursor{
			Detector: d.Name(), Mechanism: sre.Unknown, Service: service, Kind: sre.Errors,
			Severity: sre.Warning, Score: darkScore, Since: time.Unix(0, k.since).UTC(),
			Evidence: []sre.Evidence{{
				Signal: "silence", Subject: service, Now: float64(t.at-k.since) / 1e9, Normal: 0, Unit: sre.Seconds, Weight: .5,
				Meaning: fmt.Sprintf("nothing has been heard of %s for %s", service, span(float64(t.at-k.since)/1e9)),
			}, {
				Signal: "error_ratio", Subject: caller, Now: ratio, Normal: or(usual, 0), Unit: sre.Ratio, Weight: .5,
				Meaning: fmt.Sprintf("%s of requests to its caller %s fail (usual %s)", percent(ratio), caller, percent(or(usual, 0))),
			}},
		})
	}
	return found
}

// darkScore is the strength of silence as a sign: it names the service but not
// what ails it.
const darkScore = .7
