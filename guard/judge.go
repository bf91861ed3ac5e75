package guard

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// opinion is what an attempt says about its callee's health.
type opinion int

const (
	nothing opinion = iota // neither for nor against it
	good
	bad
)

// judge says what each outcome of an attempt means to the breaker.
type judge struct {
	failure, ignored    map[int]bool // status codes, and 1 to 5 for a class of them
	ignoreTimeouts      bool
	ignoreConnErrors    bool
	countCancelledCalls bool
}

func newJudge(c *BreakerConfig) judge {
	if c == nil {
		c = &BreakerConfig{}
	}
	j := judge{
		failure: statusSet(c.FailureStatuses), ignored: statusSet(c.IgnoredStatuses),
		ignoreTimeouts: c.IgnoreTimeouts, ignoreConnErrors: c.IgnoreConnectionErrors, countCancelledCalls: c.CountCancelled,
	}
	if len(c.FailureStatuses) == 0 {
		j.failure = map[int]bool{5: true}
	}
	return j
}

// status judges an answer. A code named by itself goes before its class, and
// what is ignored before what is a failure.
func (j judge) status(code int) opinion {
	switch {
	case j.ignored[code]:
		return nothing
	case j.failure[code]:
		return bad
	case j.ignored[code/100]:
		return nothing
	case j.failure[code/100]:
		return bad
	}
	return good
}

// err judges an attempt without an answer. What the guard itself refused, and what
// the caller did not send to its end, never says anything about the callee.
func (j judge) err(caller context.Context, err error) opinion {
	late := isTimeout(err) || caller.Err() != nil
	switch {
	case errors.Is(err, ErrBreakerOpen), errors.Is(err, errRequestBody):
		return nothing
	case cancelled(caller) && !j.countCancelledCalls:
		return nothing
	case late && j.ignoreTimeouts, !late && j.ignoreConnErrors:
		return nothing
	}
	return bad
}

// statusSet reads codes such as 503 and classes such as 5xx.
func statusSet(names []string) map[int]bool {
	set := make(map[int]bool, len(names))
	for _, name := range names {
		if n, ok := parseStatus(name); ok {
			set[n] = true
		}
	}
	return set
}

func parseStatus(name string) (int, bool) {
	if class, ok := strings.CutSuffix(strings.ToLower(name), "xx"); ok {
		n, err := strconv.Atoi(class)
		return n, err == nil && n >= 1 && n <= 5 && len(class) == 1
	}
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= http.StatusContinue && n <= 599
}
