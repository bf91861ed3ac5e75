// Package demo is a small shop that can break, and the story of its breaking:
// eight HTTP services with a guard in front of each, a load that does not slow
// down when the shop does, and a metric store that answers PromQL.
//
// It owns the shop's plan, the load, the scraping and the telling. It never
// decides anything about the shop: an agent does, from outside, through the
// same metrics and control endpoints that any shop would have, and it comes in
// through Options.StartAgent, so this package knows no agent.
//
// Read plan.go first, then shop.go and load.go, then story.go.
package demo
