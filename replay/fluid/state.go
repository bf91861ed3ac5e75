package fluid

import "time"

// ServiceControl is what levers set on one service. Model.DefaultControl gives
// the settings of no lever at all; the zero value admits nothing.
type ServiceControl struct {
	Cap        float64          // admitted requests per second in all, low classes shed first; +Inf is none
	ClassCap   [Classes]float64 // per class; +Inf is none
	QueueBound float64          // +Inf is none
	Replicas   int              // wanted
	Drained    int              // replicas that take no new work
	Killed     []string         // features that are off, sorted
	KilledPart float64          // share of requests for which they are off, 0 to 1
	RolledBack bool             // the version before the last deploy runs
}

// EdgeControl is what levers set on one call relation.
type EdgeControl struct {
	Budget  float64 // retries as a share of first attempts; +Inf is none
	Timeout time.Duration
	Breaker Breaker
	Weight  float64 // share of the calls that go here, 1 is all; for traffic shifts
}

// Condition is what the world does to a service: faults.
type Condition struct {
	Capacity float64       // factor on the processor's rate, 1 is well; CPU cut, slow nodes
	Slow     time.Duration // added to the work of every request; slow disk, slow query
	Errors   float64       // share of finished work that fails by itself, 0 to 1
	Lost     int           // replicas that are down
	Leak     float64       // workers or connections lost per second and never given back
	Bad      *BadVersion   // a deploy that went wrong, until it is rolled back
}

// BadVersion is a deploy: it reaches a growing share of the replicas.
type BadVersion struct {
	Share    float64       // of replicas that run it, 0 to 1
	Capacity float64       // factor on their rate
	Slow     time.Duration // added to their work
	Errors   float64       // share of their work that fails
}

// EdgeCondition is what the world does to a call relation: the network.
type EdgeCondition struct {
	Delay time.Duration // added to every call
	Loss  float64       // share of calls that are never answered, 0 to 1
}

// ServiceTotals is what a service has counted since the start, in requests and
// seconds, and its levels now. Conservation: Arrived = Admitted + Shed +
// Rejected, and Admitted = Departed + Dropped + Queue, at every step to float64
// rounding. Departed = Good + Failed + Dead to a millionth of Admitted, because
// the callers' shares of what waits are kept in float32.
type ServiceTotals struct {
	Arrived, Admitted, Shed                   [Classes]float64
	Rejected                                  float64 // the queue was full
	Retries                                   float64 // arrivals that repeat an attempt
	Departed                                  float64 // taken from the queue and worked on
	Dropped                                   float64 // dead work dropped unserved, and queues lost with a replica
	Good                                      float64 // answered well and in time
	Failed                                    float64 // answered with an error
	Dead                                      float64 // worked on for a caller who had given up, or gave up before the answer
	Abandoned                                 float64 // given up by the caller, in the queue or before the answer
	BusySeconds, CPUSeconds, WaitSeconds      float64 // of workers, processors, and time in queue
	LatencySum                                float64 // seconds, over Departed
	DecaySeconds                              float64 // processor time lost to decay (garbage collection)
	CacheHits, CacheMisses                    float64
	PoolWaits                                 float64 // requests that found all workers busy
	Crashes                                   float64 // of replicas
	Queue, InFlight, Workers, Wait, Latency   float64 // levels: requests waiting, requests waiting or worked on, workers there are, seconds in queue and in all (means of what arrives now)
	Busy                                      float64 // level: workers with a request in hand
	Capacity, Ready, Wanted, HitRatio, BadCut float64 // levels: requests per second, replicas, replicas, 0 to 1, share of bad version
}

// EdgeTotals is what a caller has counted on one relation since the start. Every
// attempt made ends as Good, Failed or TimedOut; FastFailed were never made.
type EdgeTotals struct {
	First, Retried       float64 // attempts made
	Suppressed           float64 // retries that the budget refused
	Good, Failed         float64
	TimedOut, FastFailed float64 // attempts given up; attempts refused by an open breaker
	LatencySum           float64 // seconds, over all attempts that ended
	Open                 float64 // level: share of calls that the breaker refuses, 0 to 1
}

// ClientTotals is what a population has seen since the start.
type ClientTotals struct {
	Offered  float64 // requests that users wanted
	Attempts float64
	Good     float64 // answered well and in time
	Failed   float64 // given up after the last attempt
	Waiting  float64 // level: requests outstanding
	Held     float64 // level: requests that wait outside for the cap
}
