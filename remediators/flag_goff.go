package remediators

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/sreagent/sreagent/sre"
)

// goff writes definitions of GO Feature Flag:
// https://gofeatureflag.org/docs/configure_flag/flag_format. Every rule hands
// over its share; the same keys stay off as the share grows, since GO Feature
// Flag orders shares by the name of the variation.
type goff struct {
	inMetadata
	cohortKey string
}

type goffFlag struct {
	Variations map[string]json.RawMessage `json:"variations"`
	Targeting  []map[string]any           `json:"targeting"`
	Default    map[string]any             `json:"defaultRule"`
	Disable    bool                       `json:"disable"`
	Scheduled  []any                      `json:"scheduledRollout"`
}

func parseGOFF(definition []byte) (goffFlag, error) {
	var flag goffFlag
	dec := json.NewDecoder(bytes.NewReader(definition))
	dec.UseNumber()
	if err := dec.Decode(&flag); err != nil {
		return flag, sre.Failedf("the definition is unreadable: %v", err)
	}
	return flag, nil
}

// present is the percent that is off by the definition itself: all or nothing.
func (f goff) present(definition []byte, wanted string) (float64, error) {
	flag, err := parseGOFF(definition)
	if err != nil {
		return 0, err
	}
	off, err := offVariant(wanted, flag.Variations)
	if err == nil && len(flag.Targeting) == 0 && flag.Default["variation"] == off {
		return 100, nil
	}
	return 0, err
}

func (f goff) rewrite(definition []byte, cuts []cut, wanted string) ([]byte, error) {
	flag, err := parseGOFF(definition)
	if err != nil {
		return nil, err
	}
	off, err := offVariant(wanted, flag.Variations)
	switch {
	case err != nil || len(cuts) == 0:
		return definition, err
	case flag.Disable:
		return nil, sre.Refusedf("the flag is disabled: its callers serve their own default whatever is written")
	case len(flag.Scheduled) > 0:
		return nil, sre.Refusedf("the flag has a scheduled rollout, which would change what is written")
	case cuts[0] == (cut{"", 100}):
		if definition, err = dropMember(definition, "targeting"); err != nil {
			return nil, err
		}
		return f.set(definition, "defaultRule", map[string]any{"variation": off})
	}
	rules, fallback := []map[string]any{}, flag.Default
	all := 0.0
	if cuts[0].cohort == "" {
		all, cuts = cuts[0].percent, cuts[1:]
	}
	for _, c := range cuts {
		rule, err := f.cohortRule(flag, c, off)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	for _, rule := range flag.Targeting {
		if rule, err = handOver(rule, all, off); err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if fallback, err = handOver(fallback, all, off); err != nil {
		return nil, err
	}
	if len(rules) > 0 {
		if definition, err = f.set(definition, "targeting", rules); err != nil {
			return nil, err
		}
	}
	return f.set(definition, "defaultRule", fallback)
}

func (goff) set(definition []byte, key string, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return setMember(definition, key, text)
}

// cohortRule comes first and so answers for all of the cohort: a part of it can
// only be switched off where the flag has one variation for everybody else.
func (f goff) cohortRule(flag goffFlag, c cut, off string) (map[string]any, error) {
	rule := map[string]any{"name": "sreagent " + c.cohort, "query": f.cohortKey + ` eq "` + c.cohort + `"`}
	if c.percent == 100 {
		rule["variation"] = off
		return rule, nil
	}
	rest, ok := flag.Default["variation"].(string)
	if !ok || len(flag.Targeting) > 0 {
		return nil, sre.Refusedf("the flag has rules of its own: a cohort of it can only be switched off as a whole")
	}
	rule["variation"] = rest
	return handOver(rule, c.percent, off)
}

// handOver gives the percent of a rule's keys to the off variation.
func handOver(rule map[string]any, percent float64, off string) (map[string]any, error) {
	out := make(map[string]any, len(rule))
	maps.Copy(out, rule)
	if percent == 0 {
		return out, nil
	}
	shares := map[string]float64{}
	if one, ok := rule["variation"].(string); ok {
		shares[one] = 100
	}
	if many, ok := rule["percentage"].(map[string]any); ok {
		for name, v := range many {
			share, err := strconv.ParseFloat(fmt.Sprint(v), 64)
			if err != nil {
				return nil, sre.Refusedf("percentage of %s is %v, which is no number", name, v)
			}
			shares[name] = share
		}
	}
	if _, ok := rule["progressiveRollout"]; ok || len(shares) == 0 {
		return nil, sre.Refusedf("the flag has a rule without fixed shares, which can only be switched off as a whole")
	}
	for name := range shares {
		shares[name] *= (100 - percent) / 100
	}
	shares[off] += percent
	if shares[off] > 99.9995 { // GO Feature Flag counts in thousandths of a percent
		delete(out, "percentage")
		out["variation"] = off
		return out, nil
	}
	delete(out, "variation")
	out["percentage"] = shares
	return out, nil
}
