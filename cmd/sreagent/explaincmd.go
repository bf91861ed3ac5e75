package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/oncall"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sre"
)

// explainFlags are what `sreagent explain` was asked for.
type explainFlags struct {
	incident, at          string
	trail, bundle, config string
	verbose               bool
	remote                *remote
	instant               time.Time // of at; zero where none was given
}

func registerExplain(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("explain", "Explain an incident, or a tick: evidence, causes, decision with every reason, what would change it, actions, story. Without an ID, why the agent does or does not do anything.")
	var f explainFlags
	f.remote = remoteFlags(cmd)
	cmd.Arg("incident", "ID of the incident, or the beginning of it.").StringVar(&f.incident)
	cmd.Flag("at", "As it was then: RFC 3339, or how long ago, such as -20m.").StringVar(&f.at)
	cmd.Flag("trail", "Folder of an audit trail, read in place of asking an agent.").StringVar(&f.trail)
	cmd.Flag("bundle", "Folder or archive of a recording, over which an agent is run in place of asking one.").StringVar(&f.bundle)
	cmd.Flag("config", "With --bundle: configuration whose policy, runbooks and detection are used; without one the defaults, with mode act.").StringVar(&f.config)
	cmd.Flag("verbose", "With --bundle: show the agent's log.").Short('v').BoolVar(&f.verbose)
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		e, reader, err := explained(ctx, std, f)
		if err != nil {
			return safeError{err}
		}
		if f.remote.output == "json" {
			return safely(func(_ context.Context, std streams) error { return show(f.remote, std.out, e, nil) })(ctx, std)
		}
		// The renderer makes strangers' text safe itself, and colours are wanted.
		return oncall.RenderExplain(std.out, e, width(std.out), reader, style(std.out))
	}
}

// explained is the explanation that was asked for, and the time to which those
// in it are "ago": now for a running agent, its own for what is over.
func explained(ctx context.Context, std streams, f explainFlags) (e sre.Explanation, reader time.Time, err error) {
	switch {
	case f.trail != "" && f.bundle != "":
		return e, reader, errors.New("--trail and --bundle exclude each other")
	case f.bundle == "" && (f.config != "" || f.verbose):
		return e, reader, errors.New("--config and --verbose go with --bundle")
	}
	reader = time.Now()
	var b *bundle.Bundle
	if f.bundle != "" {
		if b, err = openBundle(f.bundle); err != nil {
			return e, reader, failed(err)
		}
		reader = b.Incident.End // how long ago is before the end of the recording
	}
	if f.at != "" {
		if f.instant, err = parseWhen(f.at, reader); err != nil {
			return e, reader, fmt.Errorf("--at %w", err)
		}
	}
	switch {
	case b != nil:
		e, err = explainBundle(ctx, std, f, b)
	case f.trail != "":
		e, err = explainTrail(f)
	default:
		e, err = askToExplain(ctx, f)
		return e, reader, err
	}
	return e, e.At, err
}

func askToExplain(ctx context.Context, f explainFlags) (sre.Explanation, error) {
	c, err := f.remote.client()
	if err != nil {
		return sre.Explanation{}, err
	}
	e, err := c.Explain(ctx, f.incident, f.instant)
	return e, asked(err)
}

// explainTrail explains from the records on disk. A trail that does not verify
// is still read, as it may be all that is left, and the explanation says so.
func explainTrail(f explainFlags) (sre.Explanation, error) {
	if err := inFolder(f.trail); err != nil {
		return sre.Explanation{}, err
	}
	note := "the trail verifies by the key beside it"
	if report, err := audit.Verify(f.trail, ""); err != nil {
		note = "the trail could not be verified: " + err.Error()
	} else if !report.OK() {
		note = "the trail does not verify, see `sreagent audit verify`: what it says may have been changed"
	}
	id, err := incidentOfTrail(f)
	if err != nil {
		return sre.Explanation{}, err
	}
	records, first, err := recordsFor(f.trail, id)
	if err != nil {
		return sre.Explanation{}, failed(err)
	}
	if len(records) == 0 {
		return sre.Explanation{}, failed(fmt.Errorf("%s holds no records", f.trail))
	}
	last := records[len(records)-1].At
	if !f.instant.IsZero() && f.instant.Before(first) {
		return sre.Explanation{}, failed(fmt.Errorf("--at %s is before the trail; allowed: from %s, its last record is of %s", rfc(f.instant), rfc(first), rfc(last)))
	}
	e, ok := sre.ExplainTrailAt(records, id, f.instant)
	if !ok {
		return e, failed(fmt.Errorf("at %s there was no incident %s yet", rfc(f.instant), id))
	}
	e.Quality.Notes = append(e.Quality.Notes, note)
	return e, nil
}

// incidentOfTrail finds the incident that is meant among all of a trail.
func incidentOfTrail(f explainFlags) (string, error) {
	if f.incident == "" {
		return "", nil
	}
	seen := map[string]bool{}
	var ids []string
	for r, err := range audit.ReadDir(f.trail) {
		if err != nil {
			return "", failed(err)
		}
		if r.Incident != nil && !seen[r.Incident.ID] {
			seen[r.Incident.ID] = true
			ids = append(ids, r.Incident.ID)
		}
	}
	id, err := sre.MatchIncident(ids, f.incident)
	if err != nil {
		return "", failed(err)
	}
	return id, nil
}

// recordsFor reads what concerns one incident, those that were merged into it
// and the agent's own state; everything where id is empty. A trail of months
// need not fit into memory for one incident. first is the time of the trail's
// first record.
func recordsFor(dir, id string) (records []sre.Record, first time.Time, err error) {
	for r, err := range audit.ReadDir(dir) {
		if err != nil {
			return nil, first, err
		}
		if first.IsZero() {
			first = r.At
		}
		if id == "" || r.IncidentID == "" || r.IncidentID == id || r.Incident != nil && r.Incident.MergedInto == id {
			records = append(records, r)
		}
	}
	return records, first, nil
}

// watcher keeps of a rehearsal what an explanation needs: the view at the instant
// that was asked for, and of every incident the last view in which it was open.
type watcher struct {
	until time.Time // zero for all of the recording
	last  *sre.View
	open  map[string]*sre.View
	ids   []string
}

var errSeen = errors.New("seen")

func (w *watcher) watch(t replay.Tick) error {
	if !w.until.IsZero() && t.At.After(w.until) {
		return errSeen
	}
	w.last = t.View
	for i := range t.View.Incidents {
		inc := &t.View.Incidents[i]
		known := w.open[inc.ID] != nil
		if !known {
			w.ids = append(w.ids, inc.ID)
		}
		if !known || inc.State != sre.Closed {
			w.open[inc.ID] = t.View
		}
	}
	return nil
}

// explainBundle runs the agent over a recording and explains what it believed.
func explainBundle(ctx context.Context, std streams, f explainFlags, b *bundle.Bundle) (sre.Explanation, error) {
	var none sre.Explanation
	if at := f.instant; !at.IsZero() && (at.Before(b.Incident.Start) || at.After(b.Incident.End)) {
		return none, failed(fmt.Errorf("--at %s is outside of the recording; allowed: %s to %s", rfc(at), rfc(b.Incident.Start), rfc(b.Incident.End)))
	}
	cfg, err := rehearsalConfig(f.config)
	if err != nil {
		return none, failed(err)
	}
	dir, remove, err := scratch()
	if err != nil {
		return none, failed(err)
	}
	defer remove()
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = promslog.New(&promslog.Config{Writer: std.err})
	}
	r, err := rehearse(ctx, b, cfg, dir, log)
	if err != nil {
		return none, failed(fmt.Errorf("%s: %w", f.bundle, err))
	}
	seen := &watcher{until: f.instant, open: map[string]*sre.View{}}
	step, done := watchedMeter(std.err, "replay", int(r.End.Sub(r.Start)/r.Agent.Interval)+1)
	r.Watch = func(t replay.Tick) error {
		step()
		return seen.watch(t)
	}
	line, err := r.Run(ctx)
	done()
	if errors.Is(err, errSeen) {
		err = nil
	}
	if err = errors.Join(err, r.close()); err != nil {
		return none, failed(err)
	}
	return seen.explain(f, slices.Concat(r.Memory, line.Records))
}

// explain explains an incident as it last stood while it was open, which is
// when its signs were, and tells its story to the end.
func (w *watcher) explain(f explainFlags, records []sre.Record) (sre.Explanation, error) {
	if f.incident == "" {
		return sre.ExplainTick(w.withForgotten(records)), nil
	}
	id, err := sre.MatchIncident(w.ids, f.incident)
	if err != nil {
		return sre.Explanation{}, failed(err)
	}
	v := w.last
	now, still := sre.Explain(v, id)
	if !f.instant.IsZero() && still {
		now.Retell(records)
		return now, nil
	}
	e, _ := sre.Explain(w.open[id], id)
	if still {
		e.State, e.StateSince, e.ClosedAt, e.Outcome, e.Headline = now.State, now.StateSince, now.ClosedAt, now.Outcome, now.Headline
		e.Decision, e.Actions = now.Decision, now.Actions
	}
	e.At, e.Tick = w.last.At, w.last.Tick
	e.Retell(records)
	return e, nil
}

// withForgotten is the last view with the closed incidents that the agent had
// forgotten by then: somebody who asks about a recording asks about all of it.
func (w *watcher) withForgotten(records []sre.Record) *sre.View {
	if w.last == nil {
		return nil
	}
	v := *w.last
	v.Incidents = slices.Clone(v.Incidents)
	past, _ := sre.ViewOfTrail(records, v.At)
	for _, inc := range past.Incidents {
		if !slices.ContainsFunc(v.Incidents, func(x sre.Incident) bool { return x.ID == inc.ID }) {
			v.Incidents = append(v.Incidents, inc)
		}
	}
	return &v
}

func rfc(t time.Time) string { return t.UTC().Format(time.RFC3339) }
