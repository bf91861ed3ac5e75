package remediators

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/sreagent/sreagent/sre"
)

// flagd writes definitions of flagd: https://flagd.dev/reference/flag-definitions.
// A share is a fractional rule: the same keys stay off as the share grows.
type flagd struct {
	inMetadata
	bucketBy, cohortKey string
}

// flagdFlag is what has to be known of a definition.
type flagdFlag struct {
	State          string                     `json:"state"`
	Variants       map[string]json.RawMessage `json:"variants"`
	DefaultVariant string                     `json:"defaultVariant"`
	Targeting      json.RawMessage            `json:"targeting"`
}

func (f flagdFlag) targeted() bool {
	t := bytes.TrimSpace(f.Targeting)
	return len(t) > 0 && !bytes.Equal(t, []byte("{}")) && !bytes.Equal(t, []byte("null"))
}

// offVariant is the variant that a feature is switched off with: the configured
// one, else the first usual name that the flag has.
func offVariant[V any](wanted string, variants map[string]V) (string, error) {
	names := []string{"off", "disabled", "false"}
	if wanted != "" {
		names = []string{wanted}
	}
	i := slices.IndexFunc(names, func(n string) bool { _, ok := variants[n]; return ok })
	if i < 0 {
		return "", sre.Refusedf("the flag has none of the variants %q to switch it off with", names)
	}
	return names[i], nil
}

// present is the percent that is off by the definition itself: all or nothing.
func (f flagd) present(definition []byte, wanted string) (float64, error) {
	var flag flagdFlag
	if err := json.Unmarshal(definition, &flag); err != nil {
		return 0, sre.Failedf("the definition is unreadable: %v", err)
	}
	off, err := offVariant(wanted, flag.Variants)
	if err == nil && flag.DefaultVariant == off && !flag.targeted() {
		return 100, nil
	}
	return 0, err
}

func (f flagd) rewrite(definition []byte, cuts []cut, wanted string) ([]byte, error) {
	var flag flagdFlag
	if err := json.Unmarshal(definition, &flag); err != nil {
		return nil, sre.Failedf("the definition is unreadable: %v", err)
	}
	if flag.State == "DISABLED" {
		return nil, sre.Refusedf("the flag is DISABLED: its callers serve their own default whatever is written")
	}
	off, err := offVariant(wanted, flag.Variants)
	if err != nil || len(cuts) == 0 {
		return definition, err
	}
	if cuts[0] == (cut{"", 100}) {
		// No rule stands between anybody and the default any more, those without
		// a targeting key included.
		name, err := json.Marshal(off)
		if err != nil {
			return nil, err
		}
		if definition, err = setMember(definition, "defaultVariant", name); err != nil {
			return nil, err
		}
		return dropMember(definition, "targeting")
	}
	rule, err := json.Marshal(f.rule(flag, cuts, off))
	if err != nil {
		return nil, err
	}
	return setMember(definition, "targeting", rule)
}

// rule is the targeting that switches off and else does what was there.
func (f flagd) rule(flag flagdFlag, cuts []cut, off string) any {
	rest := flag.DefaultVariant
	if !flag.targeted() && len(cuts) == 1 && cuts[0].cohort == "" && rest != "" && rest != off {
		return f.fraction(off, rest, cuts[0].percent)
	}
	var otherwise any // null leads to the default variant
	if flag.targeted() {
		otherwise = flag.Targeting
	}
	var branches []any
	for _, c := range cuts {
		var is any = map[string]any{"==": []any{f.fraction(off, "on "+off, c.percent), off}}
		if c.cohort != "" {
			member := map[string]any{"==": []any{map[string]any{"var": f.cohortKey}, c.cohort}}
			if is = any(map[string]any{"and": []any{member, is}}); c.percent == 100 {
				is = member
			}
		}
		branches = append(branches, is, off)
	}
	return map[string]any{"if": append(branches, otherwise)}
}

// fraction gives off to a percent of the keys. All rules of a flag put a key at
// the same place, so that who is off at 5 percent is off at 25 too.
func (f flagd) fraction(off, rest string, percent float64) any {
	shares := []any{[]any{off, percent}, []any{rest, 100 - percent}}
	if f.bucketBy != "" {
		by := map[string]any{"cat": []any{map[string]any{"var": "$flagd.flagKey"}, map[string]any{"var": f.bucketBy}}}
		shares = append([]any{by}, shares...)
	}
	return map[string]any{"fractional": shares}
}
