package fluid

import "time"

// Classes is the number of priority classes, the most important first:
// critical, high, normal, low.
const Classes = 4

// Blueprint is everything that is fixed in a model: who calls whom, with what
// settings, and who comes from outside.
type Blueprint struct {
	Step     time.Duration // 20 ms to 100 ms; 0 is 100 ms
	Seed     uint64        // of the noise of arrivals
	Noise    bool          // arrivals are drawn (Poisson) instead of exact
	Services []ServiceSpec
	Edges    []EdgeSpec
	Clients  []ClientSpec
}

// ServiceSpec is one service. Rates are per replica.
type ServiceSpec struct {
	Name       string
	Work       time.Duration // time of one request in a worker, without its callees
	Rate       float64       // requests per second that one replica's processor can finish
	Workers    int           // requests that one replica works on at once
	QueueBound int           // requests that may wait per service; 0 is unbounded
	Replicas   int           // at the start; 0 is 1
	StartDelay time.Duration // from asking for a replica to its being ready
	Decay      Decay
	Cache      Cache
	HeapLimit  float64       // waiting requests per replica at which a replica crashes; 0 is never
	Restart    time.Duration // of a crashed replica
	Deadlines  bool          // drops work whose caller has given up, at no cost
}

// Decay is how capacity falls with backlog, as garbage collection, locks and
// swapping make it: phi(Q) = 1 - (1-Floor)*min(1, Q/Onset).
type Decay struct {
	Floor float64 // share of capacity that is left at worst; 0 turns decay off
	Onset float64 // backlog in requests at which Floor is reached
}

// Cache stands before the callees that are marked Cached. The zero value is no
// cache.
type Cache struct {
	HitRatio float64 // steady state, 0 to 1
	Keys     float64 // good misses that fill 63 % of what is missing
}

// EdgeSpec is one call relation. Settings belong to the caller.
type EdgeSpec struct {
	From, To int
	Calls    float64       // calls per request of From
	Timeout  time.Duration // of one attempt
	Retries  int           // attempts after the first, at most MaxRetries
	Backoff  time.Duration // before an attempt is repeated
	Budget   float64       // retries as a share of first attempts; 0 is no limit
	Hard     bool          // From fails when To does
	Parallel bool          // called beside the other parallel calls of From, not after them
	Cached   bool          // only cache misses of From call
	Feature  string        // the optional feature of From that makes the call; a kill switch ends it
	Breaker  Breaker       // of the caller; the zero value is none
}

// MaxRetries bounds EdgeSpec.Retries and ClientSpec.Retries.
const MaxRetries = 5

// Breaker ends calls for a while when too many fail.
type Breaker struct {
	FailureRatio float64       // of the calls of the last seconds; 0 is no breaker
	MinRequests  float64       // fewest calls to judge by
	Consecutive  float64       // failures in a row that open it too; 0 is off
	Open         time.Duration // before trial calls
}

// ClientSpec is one population outside that calls an entry service.
type ClientSpec struct {
	Name        string
	Entry       int
	Rate        float64          // first attempts per second at a load of 1
	Mix         [Classes]float64 // shares of the priority classes; all zero is all normal
	Timeout     time.Duration
	Retries     int
	Backoff     time.Duration
	Concurrency float64 // requests that may be outstanding at once; further ones wait outside, at most Timeout; 0 is no cap
}
