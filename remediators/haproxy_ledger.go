package remediators

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// ledgerVersion is the version of the file format.
const ledgerVersion = 1

// lockRetry is how long to wait before asking again for a ledger that another
// process, or the lever of a configuration that is being replaced, has open.
const lockRetry = 5 * time.Millisecond

// The phases of a hold. Anything but phaseHeld means that a write was begun
// whose end is not on record, so both ends of it count as ours.
const (
	phaseApplying  = "applying"
	phaseReverting = "reverting"
	phaseReleased  = "released" // somebody else took the setting over; never touched again
)

// ledger is what HAProxy cannot hold itself, by knob.
type ledger struct {
	Version int              `json:"version"`
	Epoch   uint64           `json:"epoch"` // highest fencing token accepted
	Marks   map[string]mark  `json:"marks"` // last write accepted
	Holds   map[string]*hold `json:"holds"` // settings away from their first value

	lost bool // stands in for a ledger that could not be read; never saved
}

// mark is the place of a write in the order of all writes.
type mark struct {
	Epoch uint64 `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// hold is one lease: who moved a knob, from what, to what, until when.
type hold struct {
	Action   sre.Action `json:"action"`
	Phase    string     `json:"phase"`
	Before   settings   `json:"before"` // to which the knob goes back
	From     settings   `json:"from"`   // found at the last write
	Set      settings   `json:"set"`
	Expires  time.Time  `json:"expires"`
	Instance string     `json:"instance"` // HAProxy process that was written to

	Since  time.Time   `json:"since,omitzero"`   // first write of the action
	Closed bool        `json:"closed,omitempty"` // the wait for the drained server's sessions is over
	Return *slowReturn `json:"return,omitempty"` // a server on its way back, and no action's lease
}

// holds reports whether a value is one that this hold has put there.
func (h *hold) holds(key, value string) bool {
	return value == h.Set[key] || h.Phase != phaseHeld && value == h.From[key]
}

// foreign reports whether somebody else has moved the knob. Values that a
// restart has lost were moved by nobody.
func (h *hold) foreign(have settings, instance string) bool {
	if h.Phase == phaseReleased {
		return true
	}
	if instance != h.Instance {
		return false
	}
	for key := range h.Set {
		back := h.Phase == phaseReverting && have[key] == h.Before[key]
		if !back && !h.holds(key, have[key]) {
			return true
		}
	}
	return false
}

// back returns what has to be written for the knob to return, and the keys
// that are left alone because their value is not ours.
func (h *hold) back(have settings) (write settings, left []string) {
	write = settings{}
	for _, key := range slices.Sorted(maps.Keys(h.Set)) {
		switch {
		case have[key] == h.Before[key]:
		case h.holds(key, have[key]):
			write[key] = h.Before[key]
		default:
			left = append(left, key)
		}
	}
	return write, left
}

// keep forgets every key that is not among those wanted.
func (h *hold) keep(want settings) {
	for _, key := range slices.Sorted(maps.Keys(h.Set)) {
		if _, wanted := want[key]; !wanted {
			delete(h.Set, key)
			delete(h.From, key)
			delete(h.Before, key)
		}
	}
}

// matches reports whether every key of want has its value.
func (s settings) matches(want settings) bool {
	for key, value := range want {
		if s[key] != value {
			return false
		}
	}
	return true
}

// ledgerFile keeps a ledger on disk. It is read again at each use, so that two
// levers on one file, as during a reload, never act on an old copy.
type ledgerFile struct{ path string }

// lock makes this process the only writer until unlock.
func (f ledgerFile) lock(ctx context.Context) (unlock func(), err error) {
	l, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the ledger's lock: %w", err)
	}
	for {
		err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = l.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = l.Close()
			return nil, fmt.Errorf("lock the ledger: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = l.Close()
			return nil, fmt.Errorf("wait for the ledger: %w", ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// load reads the ledger; one that does not exist is empty.
func (f ledgerFile) load() (*ledger, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return newLedger(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	led, err := parseLedger(b)
	if err != nil {
		return nil, fmt.Errorf("read the ledger %s: %w", f.path, err)
	}
	return led, nil
}

func newLedger() *ledger {
	return &ledger{Version: ledgerVersion, Marks: map[string]mark{}, Holds: map[string]*hold{}}
}

func parseLedger(b []byte) (*ledger, error) {
	led := newLedger()
	led.Version = 0
	if err := json.Unmarshal(b, led); err != nil {
		return nil, err
	}
	if led.Version != ledgerVersion {
		return nil, fmt.Errorf("version %d is not %d", led.Version, ledgerVersion)
	}
	if led.Marks == nil {
		led.Marks = map[string]mark{}
	}
	if led.Holds == nil {
		led.Holds = map[string]*hold{}
	}
	for _, name := range slices.Sorted(maps.Keys(led.Holds)) {
		if led.Holds[name] == nil {
			return nil, fmt.Errorf("hold %q is empty", name)
		}
	}
	return led, nil
}

// save makes the ledger durable.
func (f ledgerFile) save(led *ledger) error {
	b, err := json.MarshalIndent(led, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the ledger: %w", err)
	}
	if err := replaceFile(f.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}
