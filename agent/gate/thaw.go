package gate

import (
	"slices"
	"time"
)

// thawWithin is how far ahead the end of a freeze is looked for: who is woken does
// not plan further.
const thawWithin = 48 * time.Hour

// thaw says when a freeze that is in force ends, by the minute, as its times are.
func (p Policy) thaw(f Freeze, now time.Time) string {
	i := slices.IndexFunc(p.Freezes, func(g Freeze) bool { return g.Name == f.Name && g.Owner == f.Owner && g.Reason == f.Reason })
	if i < 0 {
		return "ends"
	}
	times := p.times()
	for at := now.Truncate(time.Minute).Add(time.Minute); at.Sub(now) <= thawWithin; at = at.Add(time.Minute) {
		if !times.frozen(i, at) {
			return "ends at " + at.UTC().Format("2006-01-02 15:04 UTC")
		}
	}
	return "ends, in more than 2 days"
}
