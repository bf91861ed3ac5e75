// Package rival holds anomaly rules as Prometheus users write them, to be
// measured beside our own detectors on the same samples: adaptive bands around
// an hourly mean, after the description of grafana/promql-anomaly-detection
// (adaptive strategy), in our own words.
//
// It owns the rules and their evaluation by the embedded engine. It is for
// measuring only: no agent uses it. Read Rules first, then Group.Evaluate.
package rival

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
)

// Names of the series that the rules read and write.
const (
	Raw   = "signal"             // the measurements: labels service and signal
	Mid   = "signal:mid"         // mean of the last hour
	Noise = "signal:noise"       // standard deviation of the last hour, where it is large against the mean
	Band  = "signal:band"        // half of the width of the band
	Upper = "signal:upper"       // least upper bound that an anomaly exceeds
	Lower = "signal:lower"       // greatest lower bound that an anomaly falls below
	Alert = "signal:is_abnormal" // what is beyond, before it has lasted
)

// Lasting is how long a series must be abnormal to be told of.
const Lasting = 5 * time.Minute

// Rule is a recording rule.
type Rule struct {
	Record string
	Expr   string
}

// Rules returns the group in the order of evaluation: the mean and the standard
// deviation of an hour, the latter only where it is more than half of the mean
// and then averaged over 26 hours; bands of two of them; a margin of half of the
// mean that every anomaly has to leave as well; and the same bands as they were
// a day and a week ago, half an hour ahead, so that what happens at this hour on
// other days is none. Traffic that is next to none in an hour is not judged.
func Rules() []Rule {
	rules := []Rule{
		{Mid, "avg_over_time(" + Raw + "[1h])"},
		{Noise, fmt.Sprintf("stddev_over_time(%s[1h]) > 0.5 * %s", Raw, Mid)},
		{Band, "2 * avg_over_time(" + Noise + "[26h])"},
	}
	for _, side := range []struct{ record, op, sign string }{{Upper, ">", "+"}, {Lower, "<", "-"}} {
		farther := func(record, bound, other string) {
			rules = append(rules, Rule{record, fmt.Sprintf("(%s %s %s) or %s", bound, side.op, other, other)})
		}
		margin := side.record + "_margin"
		rules = append(rules, Rule{margin, fmt.Sprintf("%s %s 0.5 * %s", Mid, side.sign, Mid)})
		farther(side.record+"_today", fmt.Sprintf("(%s %s %s)", Mid, side.sign, Band), margin)
		farther(side.record+"_day", seasonal("23h30m", side.sign), side.record+"_today")
		farther(side.record, seasonal("167h30m", side.sign), side.record+"_day")
	}
	return append(rules, Rule{Alert, fmt.Sprintf("(%[1]s > %[2]s or %[1]s < %[3]s) unless %[4]s{signal=\"traffic\"} <= 5 / 60", Raw, Upper, Lower, Mid)})
}

// seasonal is the band of the hour that ended an offset ago.
func seasonal(offset, sign string) string {
	window := Mid + "[1h] offset " + offset
	return fmt.Sprintf("(avg_over_time(%s) %s 2 * stddev_over_time(%s))", window, sign, window)
}

// Group evaluates the rules and remembers what has been abnormal since when. It
// is not safe for concurrent use.
type Group struct {
	rules []Rule
	since map[string]time.Time
}

// NewGroup returns the group of Rules without history.
func NewGroup() *Group { return &Group{rules: Rules(), since: map[string]time.Time{}} }

// Evaluate evaluates every rule at an instant, stores what it records, and
// returns the series that have been abnormal for Lasting, sorted. Its errors are
// the store's.
func (g *Group) Evaluate(ctx context.Context, s *replay.Store, at time.Time) ([]string, error) {
	var abnormal model.Vector
	for _, r := range g.rules {
		res, err := s.Query(ctx, r.Expr, at)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Record, err)
		}
		found, _ := res.Value.(model.Vector)
		recorded := make([]replay.Sample, len(found))
		for i, x := range found {
			metric := x.Metric.Clone()
			metric[model.MetricNameLabel] = model.LabelValue(r.Record)
			recorded[i] = replay.Sample{Metric: metric, Value: float64(x.Value)}
		}
		if err := s.Append(at, recorded); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Record, err)
		}
		abnormal = found
	}
	return g.lasting(abnormal, at), nil
}

func (g *Group) lasting(abnormal model.Vector, at time.Time) []string {
	still := make(map[string]time.Time, len(abnormal))
	for _, x := range abnormal {
		name := string(x.Metric["service"]) + " " + string(x.Metric["signal"])
		still[name] = at
		if since, known := g.since[name]; known {
			still[name] = since
		}
	}
	g.since = still
	var out []string
	for _, name := range slices.Sorted(maps.Keys(still)) {
		if at.Sub(still[name]) >= Lasting {
			out = append(out, name)
		}
	}
	return out
}
