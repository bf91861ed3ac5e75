package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// name is the lever's name: that of the plugin in sreagent's configuration.
const name = "flagfile"

// percent is the one parameter: the share of requests, 0 to 100, for which a
// feature is off.
const percent = "percent"

// word is what may stand in a file name and as a flag.
var word = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// lever switches features off in the files of a folder: SERVICE.json holds
// {"flag": percent off}. Beside each stands SERVICE.ledger, with what the flags
// cannot hold themselves: who set them, until when, and what was there before.
type lever struct {
	dir string
	now func() time.Time
	mu  sync.Mutex
}

// Describe says that flags can be switched, that it can be undone, and that it
// lapses by itself.
func (l *lever) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: name, Version: "1", Kinds: []sre.KindSpec{spec()}}, nil
}

func spec() sre.KindSpec {
	return sre.KindSpec{Kind: sre.KillSwitch, Reversible: true, TTL: true, Params: []sre.ParamSpec{{
		Name: percent, Type: "number", Required: true, Min: 0, Max: 100, Unit: "percent",
		Help: "share of requests for which the feature is off",
	}}}
}

// check refuses what makes no sense, before anything is read.
func check(a sre.Action) error {
	switch {
	case a.Kind != sre.KillSwitch:
		return sre.Invalidf("%s cannot %s", name, a.Kind)
	case a.ID == "":
		return sre.Invalidf("the action has no ID")
	case !word.MatchString(a.Target.Service):
		return sre.Invalidf("%q is not the name of a service", a.Target.Service)
	case !word.MatchString(a.Target.Name):
		return sre.Invalidf("the target's name %q is not that of a flag", a.Target.Name)
	case a.Target.Callee != "":
		return sre.Invalidf("a flag has no callee")
	}
	return nil
}

// Probe reads the flag and its ledger.
func (l *lever) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	if err := check(a); err != nil {
		return sre.TargetState{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.open(ctx, a.Target)
	if err != nil {
		return sre.TargetState{}, err
	}
	have, e := s.flags[a.Target.Name], s.entry(a.Target.Name)
	want, _ := a.Params.Float(percent)
	_, asked := a.Params[percent]
	foreign := e.foreign(have)
	return sre.TargetState{
		InEffect: e.Owner == a.ID && have == e.Set && !foreign && (!asked || have == want),
		Current:  sre.Params{percent: have},
		Owner:    e.Owner,
		Foreign:  foreign || e.Owner != "" && e.Owner != a.ID,
		Epoch:    s.Epoch,
		Expires:  e.Expires,
	}, nil
}

// Apply sets the flag. The ledger is written first: whoever finds it after a
// crash knows what was there before.
func (l *lever) Apply(ctx context.Context, d sre.Directive) error {
	if err := check(d.Action); err != nil {
		return err
	}
	if err := spec().Check(d.Action.Params); err != nil {
		return err
	}
	if d.Expires.IsZero() {
		return sre.Invalidf("the directive has no expiry")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.open(ctx, d.Action.Target)
	if err != nil {
		return err
	}
	if err := s.accept(d); err != nil {
		return err
	}
	flag := d.Action.Target.Name
	have, e := s.flags[flag], s.entry(flag)
	switch {
	case e.foreign(have):
		return sre.Refusedf("somebody else has set %s of %s to %v; it is left alone", flag, s.service, have)
	case e.Owner == "":
		e.Before = have
	}
	e.Owner, e.Expires, e.Prior = d.Action.ID, d.Expires, have
	e.Set, _ = d.Action.Params.Float(percent)
	return s.write(flag, e, e.Set)
}

// Revert goes back to what was there before the first Apply. What somebody else
// has changed since is released and left as it is.
func (l *lever) Revert(ctx context.Context, d sre.Directive) error {
	if err := check(d.Action); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.open(ctx, d.Action.Target)
	if err != nil {
		return err
	}
	if err := s.accept(d); err != nil {
		return err
	}
	if s.entry(d.Action.Target.Name).Owner != d.Action.ID {
		return nil
	}
	return s.release(d.Action.Target.Name)
}

// sweep reverts what has lapsed.
func (l *lever) sweep(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(l.dir, "*"+ledgerSuffix))
	if err != nil {
		return err
	}
	var all []error
	for _, file := range files {
		base := filepath.Base(file)
		s, err := l.open(ctx, sre.Target{Service: base[:len(base)-len(ledgerSuffix)]})
		if err != nil {
			all = append(all, err)
			continue
		}
		for flag, e := range s.Entries {
			if e.Owner != "" && !e.Expires.After(l.now()) {
				all = append(all, s.release(flag))
			}
		}
	}
	return errors.Join(all...)
}

// open reads the files of a target's service. Nothing has been touched where it
// fails.
func (l *lever) open(ctx context.Context, t sre.Target) (*store, error) {
	if err := ctx.Err(); err != nil {
		return nil, sre.Refusedf("not begun: %v", err)
	}
	s := &store{dir: l.dir, service: t.Service, flags: map[string]float64{}}
	switch err := s.read(); {
	case errors.Is(err, os.ErrNotExist):
		return nil, sre.Invalidf("there is no file of flags for service %q", t.Service)
	case err != nil:
		return nil, sre.Failedf("%v", err)
	}
	if _, ok := s.flags[t.Name]; !ok && t.Name != "" {
		return nil, sre.Invalidf("service %s has no flag %q", t.Service, t.Name)
	}
	return s, nil
}

// accept refuses a stale writer and remembers a newer one with the next write.
func (s *store) accept(d sre.Directive) error {
	if d.Epoch < s.Epoch || d.Epoch == s.Epoch && d.Seq < s.Seq {
		return sre.Refusedf("stale: directive %d of epoch %d, but %d of epoch %d was accepted", d.Seq, d.Epoch, s.Seq, s.Epoch)
	}
	s.Epoch, s.Seq = d.Epoch, d.Seq
	return nil
}

// release gives a flag back: at its old value, unless somebody else has set it.
func (s *store) release(flag string) error {
	have, e := s.flags[flag], s.entry(flag)
	if e.foreign(have) {
		if err := s.write(flag, entry{}, have); err != nil {
			return err
		}
		return sre.Refusedf("somebody else has set %s of %s to %v; it is released and left alone", flag, s.service, have)
	}
	// The value first: a crash in between leaves a ledger that is swept again.
	if err := s.writeFlag(flag, e.Before); err != nil {
		return err
	}
	return s.write(flag, entry{}, e.Before)
}

// unknown is for a write that may have reached the disk or not.
func unknown(err error, what string) error {
	return sre.Unknownf(err, "write %s", what)
}
