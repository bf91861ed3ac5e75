package backtest

import (
	"math"
	"slices"
	"strings"
)

// WorldPrefix begins the source of every bundle that comes of the simulated
// world; what follows names the mechanism, or "benign".
const WorldPrefix = "world/"

// Foresight scores faults of which the truth is known to the instant. Faults
// that users felt count; those that healed before anybody felt them may be
// alarmed about, or not, and are counted apart.
type Foresight struct {
	Felt           int    `json:"felt"`
	Healed         int    `json:"healed"`
	HealedAlarmed  int    `json:"healed_alarmed"` // of those that healed, the ones that people were told of
	Lasting        int    `json:"lasting"`        // of those felt, the ones that outlive their trigger
	Detected       Share  `json:"detected"`       // of those felt, as all that follows
	EndToEnd       Ranks  `json:"end_to_end"`
	Settled        Ranks  `json:"settled"`
	Oracle         Ranks  `json:"oracle"`
	Mechanism      Share  `json:"mechanism"`         // named rightly when people were first told
	SettledMech    Share  `json:"settled_mechanism"` // at the end
	DelaySeconds   Spread `json:"delay_seconds"`
	Warned         Share  `json:"warned"`          // had a right sign before no return, or before harm where there is a return
	WarnedWithRoom Share  `json:"warned_in_time"`  // at least 30 s before, where the trigger leaves that much
	LeadSeconds    Spread `json:"lead_seconds"`    // of the first right sign, where the trigger leaves 30 s; without a sign the whole case late
	WarnedInSight  Share  `json:"warned_in_sight"` // at least 30 s before, where 30 s are left two ticks after the injection
	SightLead      Spread `json:"sight_lead"`      // lead of those
	NoReturnLead   Spread `json:"no_return_lead"`  // the same for those with a point of no return
	HarmLead       Spread `json:"harm_lead"`       // the same for those with none, to the harm
}

// never is the lead in seconds that stands for no warning at all.
const never = -600

func foresightOf(faults []Fault) *Foresight {
	var felt []Fault
	f := &Foresight{}
	for i := range faults {
		switch h := faults[i].Harm; {
		case h == nil:
		case h.Felt:
			felt = append(felt, faults[i])
			if h.Lasting {
				f.Lasting++
			}
		default:
			f.Healed++
			if faults[i].DetectedAt != nil {
				f.HealedAlarmed++
			}
		}
	}
	f.Felt = len(felt)
	if f.Felt+f.Healed == 0 {
		return nil
	}
	var detected, mechanism, settled, warned, inTime, leads, inSight, sights, returns, harms, delays []float64
	for i := range felt {
		x := &felt[i]
		detected = append(detected, one(x.DetectedAt != nil))
		if x.DelaySeconds != nil {
			delays = append(delays, *x.DelaySeconds)
		}
		mechanism = append(mechanism, one(x.Mechanism == x.Kind))
		settled = append(settled, one(x.SettledMechanism == x.Kind))
		lead := float64(never)
		if x.Harm.LeadSeconds != nil {
			lead = *x.Harm.LeadSeconds
		}
		warned = append(warned, one(lead > 0))
		if x.Harm.RoomSeconds == nil || *x.Harm.RoomSeconds < fewestLead {
			continue
		}
		inTime, leads = append(inTime, one(lead >= fewestLead)), append(leads, lead)
		if s := x.Harm.SightSeconds; s != nil && *s >= fewestLead {
			inSight, sights = append(inSight, one(lead >= fewestLead)), append(sights, lead)
		}
		if x.Harm.NoReturnAt != nil {
			returns = append(returns, lead)
		} else {
			harms = append(harms, lead)
		}
	}
	f.Detected, f.DelaySeconds = meanOf(detected), SpreadOf(delays)
	f.EndToEnd = ranksOf(felt, func(f *Fault) []Suspect { return f.Ranking })
	f.Settled = ranksOf(felt, func(f *Fault) []Suspect { return f.SettledRanking })
	f.Oracle = ranksOf(felt, func(f *Fault) []Suspect { return f.OracleRanking })
	f.Mechanism, f.SettledMech = meanOf(mechanism), meanOf(settled)
	f.Warned, f.WarnedWithRoom = meanOf(warned), meanOf(inTime)
	f.WarnedInSight, f.SightLead = meanOf(inSight), SpreadOf(sights)
	f.LeadSeconds, f.NoReturnLead, f.HarmLead = SpreadOf(leads), SpreadOf(returns), SpreadOf(harms)
	return f
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Rate is a number of events per unit of exposure with its exact 95 % Poisson
// interval (Garwood, Biometrika 1936).
type Rate struct {
	Value    float64 `json:"value"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	N        int     `json:"n"`        // events
	Exposure float64 `json:"exposure"` // in the unit that the rate is per
}

// Garwood returns the rate of n events in an exposure. Without exposure nothing
// is known: 0, with an upper end of 0.
func Garwood(n int, exposure float64) Rate {
	r := Rate{N: n, Exposure: exposure}
	if exposure <= 0 {
		return r
	}
	r.Value = float64(n) / exposure
	if n > 0 {
		r.Low = poissonMean(n-1, .975) / exposure
	}
	r.High = poissonMean(n, .025) / exposure
	return r
}

// poissonMean is the mean at which at most n events have the probability p.
func poissonMean(n int, p float64) float64 {
	low, high := 0., 2*float64(n)+20
	for range 100 {
		if middle := (low + high) / 2; atMost(n, middle) > p {
			low = middle
		} else {
			high = middle
		}
	}
	return (low + high) / 2
}

// atMost is the probability of at most n events where mean are expected.
func atMost(n int, mean float64) float64 {
	sum, logged := 0., -mean
	for k := range n + 1 {
		if k > 0 {
			logged += math.Log(mean) - math.Log(float64(k))
		}
		sum += math.Exp(logged)
	}
	return sum
}

// worldOf summarises all bundles of the simulated world together.
func worldOf(bundles []Bundle) *Summary {
	of := slices.DeleteFunc(slices.Clone(bundles), func(b Bundle) bool { return !strings.HasPrefix(b.Source, WorldPrefix) })
	if len(of) == 0 {
		return nil
	}
	s := summaryOf(of)
	return &s
}
