package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// The closed set of origins of a change.
const (
	originAPI     = "api"
	originVersion = "version_label"
)

const (
	maxPending    = 10_000          // reported changes that wait for a tick
	maxRemembered = 10_000          // IDs kept to recognise a repetition
	maxText       = 1 << 10         // bytes in one field of a reported change
	maxAhead      = 5 * time.Minute // clocks differ; further ahead is a mistake
)

// ErrReportsOff says that the configuration takes no changes from the API.
var ErrReportsOff = errors.New("changes.api is off")

// ErrReportsFull says that too many reported changes wait for the next tick.
var ErrReportsFull = errors.New("too many changes wait for the next tick")

// Report takes one change from outside; the next snapshot at or after its time
// carries it. A change without an ID gets one derived from its content, one
// without a time is dated now, and one whose ID was reported before is taken
// for a repetition and ignored. Mistakes are returned as sre.Faults.
func (s *Source) Report(ctx context.Context, c sre.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.reports.add(c, s.now())
}

// reports holds what was reported until a tick takes it.
type reports struct {
	open bool

	mu      sync.Mutex
	pending []sre.Change
	known   map[string]bool
	order   []string // IDs, oldest first
}

func newReports(open bool) *reports { return &reports{open: open, known: make(map[string]bool)} }

func (r *reports) add(c sre.Change, now time.Time) error {
	if !r.open {
		return ErrReportsOff
	}
	if c.Kind == "" {
		c.Kind = sre.OtherChange
	}
	if c.At.IsZero() {
		c.At = now
	}
	if c.Source == "" {
		c.Source = originAPI
	}
	if faults := checkChange(c, now); len(faults) > 0 {
		return faults
	}
	if c.ID == "" {
		c.ID = changeID(c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[c.ID] {
		return nil
	}
	if len(r.pending) >= maxPending {
		return ErrReportsFull
	}
	r.known[c.ID] = true
	r.order = append(r.order, c.ID)
	if len(r.order) > maxRemembered {
		delete(r.known, r.order[0])
		r.order = r.order[1:]
	}
	r.pending = append(r.pending, c)
	return nil
}

// take returns the pending changes of up to at.
func (r *reports) take(at time.Time) []sre.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	var due []sre.Change
	r.pending = slices.DeleteFunc(r.pending, func(c sre.Change) bool {
		if c.At.After(at) {
			return false
		}
		due = append(due, c)
		return true
	})
	return due
}

func checkChange(c sre.Change, now time.Time) sre.Faults {
	var f sre.Faults
	if !c.Kind.Valid() {
		f.Add("kind", "is "+strconv.Quote(string(c.Kind)),
			join([]sre.ChangeKind{sre.Deploy, sre.Flag, sre.ConfigEdit, sre.ScaleChange, sre.OtherChange}))
	}
	if c.Service == "" {
		f.Add("service", "is missing", "the name of the service that was changed")
	}
	if c.At.After(now.Add(maxAhead)) {
		f.Add("at", "is in the future", "a time up to now")
	}
	for _, field := range []struct{ name, text string }{
		{"id", c.ID}, {"service", c.Service}, {"from", c.From}, {"to", c.To}, {"by", c.By}, {"note", c.Note}, {"source", c.Source},
	} {
		if len(field.text) > maxText {
			f.Add(field.name, fmt.Sprintf("has %d bytes", len(field.text)), fmt.Sprintf("at most %d", maxText))
		}
	}
	return f
}

// changeID derives the ID of a change from its content, so that the same change
// told twice is one.
func changeID(c sre.Change) string {
	c.ID, c.At = "", c.At.UTC()
	content, err := json.Marshal(c)
	if err != nil {
		panic("a change is plain data: " + err.Error())
	}
	sum := sha256.Sum256(content)
	return "change-" + hex.EncodeToString(sum[:8])
}

// versionWatch notices services that run a version which they did not run
// before.
type versionWatch struct{ services map[string]*versionsOf }

// versionsOf is what is known of one service's versions.
type versionsOf struct {
	seen    map[string]time.Time // when each version was last seen
	last    time.Time            // when any was
	current string               // what a deploy would replace
}

func newVersionWatch() *versionWatch { return &versionWatch{services: make(map[string]*versionsOf)} }

func (w *versionWatch) forget() { clear(w.services) }

// see compares the versions of one tick, sorted by service and version, with
// those before.
func (w *versionWatch) see(samples []sample, at time.Time, lookback time.Duration) []sre.Change {
	var out []sre.Change
	for start := 0; start < len(samples); {
		end := start
		var versions []string
		for ; end < len(samples) && samples[end].a == samples[start].a; end++ {
			if v := samples[end].value; v != 0 && !math.IsNaN(v) {
				versions = append(versions, samples[end].b)
			}
		}
		if len(versions) > 0 {
			out = append(out, w.seeService(samples[start].a, versions, at, lookback)...)
		}
		start = end
	}
	return out
}

func (w *versionWatch) seeService(service string, versions []string, at time.Time, lookback time.Duration) []sre.Change {
	v, known := w.services[service]
	if !known {
		// What ran before the first look is not known, so nothing changed yet.
		v = &versionsOf{seen: make(map[string]time.Time), current: strings.Join(versions, ",")}
		w.services[service] = v
	}
	var out []sre.Change
	replaced := v.current
	for _, version := range versions {
		if _, running := v.seen[version]; known && !running {
			c := sre.Change{At: at, Kind: sre.Deploy, Service: service, From: replaced, To: version, Source: originVersion}
			c.ID = changeID(c)
			out = append(out, c)
			v.current = version
		}
		v.seen[version] = at
	}
	v.last = at
	v.retire(lookback)
	return out
}

// retire drops the versions that have been gone for longer than lookback while
// others ran. A service that is not seen at all loses none: a gap in the data
// is no deploy.
func (v *versionsOf) retire(lookback time.Duration) {
	for version, seen := range v.seen {
		if v.last.Sub(seen) > lookback {
			delete(v.seen, version)
		}
	}
	for part := range strings.SplitSeq(v.current, ",") {
		if _, running := v.seen[part]; running {
			return
		}
	}
	left := make([]string, 0, len(v.seen))
	for version := range v.seen {
		left = append(left, version)
	}
	slices.Sort(left)
	v.current = strings.Join(left, ",")
}
