package demo

import (
	"fmt"
	"strings"
	"time"
)

// The numbers that make the shop metastable. Leaf capacity is
// leafWorkers/leafWork = 85.7 requests per second, and each request of the load
// needs the leaf once, so DefaultRate is 70 % of it. When every attempt at the
// leaf times out, the load on it is DefaultRate*(1+leafRetries), 2.8 times what
// it can do: that state feeds itself. It is entered once more work waits than
// the leaf does within one timeout, 86 requests.
const (
	// DefaultRate is the load in first attempts per second. It is low, and the
	// timeouts are long, so that a busy machine does not pull the trigger.
	DefaultRate = 60
	// DefaultDeadline is how long a user waits. It leaves room for all retries
	// at the leaf, so timeouts nest from the outside in.
	DefaultDeadline = 6500 * time.Millisecond

	leafWorkers = 6
	leafWork    = 70 * time.Millisecond
	leafTimeout = time.Second
	leafRetries = 3
	backoff     = 50 * time.Millisecond

	sideTimeout  = 300 * time.Millisecond // of the calls that are healthy throughout
	innerTimeout = 4600 * time.Millisecond
	outerTimeout = 6300 * time.Millisecond

	// Long enough that the shop never says no: work waits for many times the
	// timeout of whoever asked for it.
	longQueue = 3000
	// Callers of slow services need room for all that is under way, or they
	// would be the bottleneck instead of the leaf.
	roomyWorkers = 512
)

// Leaf is the service whose capacity is cut, and Entry the one that takes the
// load.
const (
	Leaf  = "inventory"
	Entry = "gateway"
)

// call is one dependency in the plan.
type call struct {
	callee   string
	path     string // only requests on this path make it; empty for all
	timeout  time.Duration
	retries  int
	share    float64 // calls per request of the caller
	optional bool    // the answer can do without
}

// node is one service in the plan.
type node struct {
	name    string
	workers int
	work    time.Duration // own time per request
	weight  float64       // business weight
	calls   []call        // made one after another
}

// plan is the shop. Only the calls at the bottom are retried, as the rules of
// the trade have it: retries at every layer would multiply, and the shop falls
// over without that.
func plan() []node {
	return []node{
		{name: Entry, workers: roomyWorkers, work: 2 * time.Millisecond, weight: 10, calls: []call{
			{callee: "storefront", path: pathBrowse, timeout: outerTimeout, share: 0.6},
			{callee: "checkout", path: pathBuy, timeout: outerTimeout, share: 0.4},
		}},
		{name: "storefront", workers: roomyWorkers, work: 4 * time.Millisecond, weight: 6, calls: []call{
			{callee: "catalog", timeout: innerTimeout, share: 1},
			{callee: "recommendations", timeout: sideTimeout, retries: leafRetries, share: 1, optional: true},
		}},
		{name: "checkout", workers: roomyWorkers, work: 4 * time.Millisecond, weight: 10, calls: []call{
			{callee: "cart", timeout: innerTimeout, share: 1},
			{callee: "payments", timeout: sideTimeout, retries: leafRetries, share: 1},
		}},
		{name: "catalog", workers: roomyWorkers, work: 6 * time.Millisecond, weight: 6, calls: []call{
			{callee: Leaf, timeout: leafTimeout, retries: leafRetries, share: 1},
		}},
		{name: "cart", workers: roomyWorkers, work: 6 * time.Millisecond, weight: 8, calls: []call{
			{callee: Leaf, timeout: leafTimeout, retries: leafRetries, share: 1},
		}},
		{name: "recommendations", workers: 32, work: 12 * time.Millisecond, weight: 1},
		{name: "payments", workers: 32, work: 15 * time.Millisecond, weight: 10},
		{name: Leaf, workers: leafWorkers, work: leafWork, weight: 8},
	}
}

// topologyYAML writes the plan in the grammar of topology files.
func topologyYAML(nodes []node) []byte {
	var b strings.Builder
	b.WriteString("# The demo shop.\nedges:\n")
	for _, n := range nodes {
		for _, c := range n.calls {
			fmt.Fprintf(&b, "  - {from: %s, to: %s, calls_per_request: %g, timeout: %dms, retries: %d, hard: %t}\n",
				n.name, c.callee, c.share, c.timeout.Milliseconds(), c.retries, !c.optional)
		}
	}
	fmt.Fprintf(&b, "entries: [%s]\npriorities:\n", Entry)
	for _, n := range nodes {
		fmt.Fprintf(&b, "  %s: %g\n", n.name, n.weight)
	}
	return []byte(b.String())
}
