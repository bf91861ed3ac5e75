// Package incidents draws seeded incidents: random fleets of services in the
// simulated world in which one thing goes wrong, by every mechanism there is, or
// in which nothing does. They measure an agent where the truth is known to the
// instant, on worlds that nobody has looked at.
//
// It owns what a case is made of, the truth about it (who was at fault, when
// users began to suffer, from when on it would not heal by itself) and the ways
// to make measurements worse. It never judges an agent, which is
// replay/backtest's, and holds no physics, which are replay/fluid's. The same
// options give the same cases, byte for byte, each for itself, in any order.
//
// Read case.go first (what a case is), then mechanisms.go (how each is made),
// benign.go, truth.go and disturb.go.
package incidents
