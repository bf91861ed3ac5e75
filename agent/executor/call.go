package executor

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/sreagent/sreagent/sre"
)

// maxAstray is how many calls of one lever may be left behind. Further ones are
// refused until one of them comes back: a lever that hangs must not fill the
// memory with calls.
const maxAstray = 4

// graceShare is the part of a call's time that a lever gets on top, to come back
// with its own words after its context has ended.
const graceShare = 4

// astray counts the calls of one lever that have not come back in time.
type astray struct {
	mu   sync.Mutex
	left int
}

func (s *astray) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left >= maxAstray
}

// journey is one call: either it comes back, or it is left behind.
type journey struct {
	back, left bool
}

// comeBack ends a call; one that was left behind counts no more.
func (s *astray) comeBack(j *journey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.back = true
	if j.left {
		s.left--
	}
}

// leave gives a call up, unless it has just come back.
func (s *astray) leave(j *journey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.back {
		return false
	}
	j.left = true
	s.left++
	return true
}

// call runs one call of a lever, which need not honour its context: at the
// deadline it is left behind, and what became of it is unknown. A call that
// panics has an unknown outcome too.
func call[T any](ctx context.Context, e *Executor, lever string, do func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	if e.cfg.Timeout <= 0 {
		return do(ctx)
	}
	lost := e.astray[lever]
	if lost.full() {
		var nothing T
		return nothing, sre.Refusedf("lever %s hangs: %d calls have not come back", lever, maxAstray)
	}
	ctx, stop := context.WithTimeout(ctx, e.cfg.Timeout+e.cfg.Timeout/graceShare)
	defer stop()
	inner, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	back, j := make(chan answer, 1), &journey{}
	go func() {
		defer cancel()
		got := answer{err: sre.Unknownf(nil, "lever %s broke down", lever)}
		defer func() {
			if broke := recover(); broke != nil {
				got.err = sre.Unknownf(fmt.Errorf("%v", broke), "lever %s broke down", lever)
			}
			lost.comeBack(j)
			back <- got
		}()
		got.value, got.err = do(inner)
	}()
	select {
	case got := <-back:
		return got.value, got.err
	case <-ctx.Done():
	}
	if !lost.leave(j) {
		got := <-back
		return got.value, got.err
	}
	var nothing T
	return nothing, sre.Unknownf(ctx.Err(), "lever %s has not come back in %s", lever, e.cfg.Timeout)
}

// own returns an action whose settings the lever may keep and change: a call
// that was left behind still holds them.
func own(a sre.Action) sre.Action {
	a.Params = maps.Clone(a.Params)
	return a
}
