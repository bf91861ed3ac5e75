// Package suite compares ways to look after a fleet over many stories: nobody, a
// static policy as teams have it, and the agent with its shipped runbooks and one
// mandate for all stories. It says how many cascades each prevented or ended,
// and what each did that it should not have.
//
// It owns the arms, the drawing of stories from a seed, and the figures. It never
// reads a file or a clock, and holds no physics and no judgement of a single run,
// which are replay/scenario's. The same stories and options give the same bytes,
// however many are played at once.
//
// Read suite.go first (what is played), then static.go (the rival), generate.go
// (drawn stories), score.go and text.go.
package suite
