package guard

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

// Header names that carry the class and the attempt from hop to hop, in
// canonical form.
const (
	PriorityHeader = "X-Priority"
	AttemptHeader  = "X-Retry-Attempt"
)

// Priority is the class of a request. The zero value is Normal, the class of a
// request that says nothing.
type Priority uint8

// The closed set of classes. Under a rate cap Low is refused first and Critical
// last.
const (
	Normal Priority = iota
	Critical
	High
	Low
)

var priorityNames = [...]string{Normal: "normal", Critical: "critical", High: "high", Low: "low"}

const priorities = len(priorityNames)

// String returns the class as it stands in the header and in metrics.
func (p Priority) String() string {
	if int(p) >= priorities {
		return priorityNames[Normal]
	}
	return priorityNames[p]
}

// ParsePriority reads the value of the priority header. Whatever is not a known
// class is Normal: a caller gains nothing from a value that it made up.
func ParsePriority(s string) Priority {
	for p, name := range priorityNames {
		if strings.EqualFold(s, name) {
			return Priority(p)
		}
	}
	return Normal
}

type priorityKey struct{}

// WithPriority returns a context whose outgoing calls carry p.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityFrom returns the class that Middleware found on the request that ctx
// belongs to, and whether there is one.
func PriorityFrom(ctx context.Context) (Priority, bool) {
	p, ok := ctx.Value(priorityKey{}).(Priority)
	return p, ok
}

// maxAttempt bounds what is counted on from a caller's number, which can be any.
const maxAttempt = 1000

// attemptOf reads how many attempts came before this one; what cannot be read
// counts as a first attempt.
func attemptOf(h http.Header) int {
	s := h.Get(AttemptHeader)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
