// Package fluid is the physics of the simulated world: services with pools,
// queues, timeouts, retries, caches, breakers and replicas, as a fluid that
// moves in steps of constant length. It owns the equations and the counters of
// what flowed. It never reads a clock, draws from no source but its seed, knows
// nothing of metrics, directives or agents (replay/world does), and makes no
// judgement.
//
// Read Blueprint first (what is fixed), then ServiceControl and Condition (what
// levers and faults change), Model.Step (the order of a step), flow.go and
// settle.go (what happens to requests).
//
// # A step
//
//	replace  replicas that are due come up, those that hold too much crash
//	look     callees first: capacity, waits, chances to be late, what that
//	         means for the callers' workers and for their own success
//	flow     callers first, by service: timeouts of what waits, new attempts
//	         and planned retries, caps and bounds, service in order of
//	         arrival, and each caller's answers
//
// Every queue keeps what it admitted step by step (cumulative curves, after
// Newell), so that waits are those of first come, first served, and a timeout
// strikes exactly what has waited that long. Work that nobody waits for any more
// is worked on all the same, and calls its callees, unless Deadlines is set. Each
// call relation keeps its attempts by number, so that retries end after the
// last, and a budget can refuse them.
//
// # Equations
//
//	capacity  mu = min(rate * ready * phi(Q) * kappa, workers * ready / H)
//	decay     phi(Q) = 1 - (1-floor) * min(1, Q/onset)
//	hold      H = work + sum over calls of m * attempts * E[min(W, T)], the
//	          largest instead of the sum for parallel ones: how slowness climbs
//	wait      Q/mu, and below saturation the mean of Erlang's C formula,
//	          approached with the relaxation time of M/M/1, 1/(mu*(1-sqrt(rho))^2)
//	lateness  P(W > T) = exp(-(T - waited)/(stochastic wait + H)), 1 from T on
//	failure   f = 1 - (1-errors) * product over hard calls of 1 - min(1,m)*p,
//	          p the share of calls whose last attempt failed
//	retries   failed, late, timed-out and refused attempts come back after the
//	          back-off; tokens += budget * first attempts, ten seconds' worth kept
//	cache     h' = (good answers for misses)/keys * (hmax - h): a miss whose
//	          answer comes too late fills nothing
//
// What must come out is taken from the literature on metastable failures: Bronson
// et al. (HotOS'21), Huang et al. (OSDI'22; its theorem 2, its MongoDB cases and
// the garbage-collection run of its public artefact), Isaacs et al. (HotOS'25).
// Retry budgets follow Finagle and gRPC, breakers Envoy. TestPublishedResults
// prints the published numbers beside ours; of those the waits of M/M/c test only
// that the formula is approached, as it is built in. TestAgainstDiscreteEvents
// compares with a simulation of single requests that shares no equation with the
// model, and TestLaws checks conservation and Little's law at every step of random
// worlds.
//
// # What it is good for
//
// Whether a fault spreads and lasts, through which services, how fast, and what
// a lever does about it: queues, retry storms, pools, caches, crashes and their
// feedback over seconds to hours, for one service or ten thousand.
//
// # Where it is wrong
//
//   - It is a mean field. All replicas and connections of a service are alike:
//     no head-of-line blocking, no unlucky connection, no one slow replica that
//     a balancer should avoid (a bad version is a share of the capacity). Model
//     such parts as services of their own.
//   - Nothing tips over by chance unless Noise is on, and then only through the
//     arrivals: close below the point of no return a real system falls sooner.
//   - The tail of a latency is exponential. Chances below one in a million are
//     taken as none.
//   - Retries come back after exactly their back-off: without jitter, in step.
//   - Whatever a caller makes of a callee's failures and latency is the mean of
//     the last seconds, not of each request. Serial calls go on after a failed
//     one; all the calls of a request start in the step in which its work does.
//   - The classes of what waits are mixed evenly: priorities decide who is let
//     in, not who is served first.
//   - Requests that a crash finds in a worker's hands are answered as if nothing
//     had happened; those in the queue are lost.
//   - Calls in a circle lag by a step for each round.
//   - Clients come at their rate whatever they see, up to Concurrency.
//   - Counted at the moment of decision: an answer counts when its work begins,
//     a loss on the network when it is sent.
package fluid
