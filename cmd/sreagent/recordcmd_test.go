package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/replay"
	"github.com/sreagent/sreagent/replay/bundle"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

func TestARecordingHoldsWhatAReplayNeeds(t *testing.T) {
	r := newRecorded(t)
	flags := r.flags("out")
	flags.title = "The cart was slow"
	said := r.mustRecord(t, flags)
	for _, want := range []string{"no trail in", "recording: 100 %", "out: 6 series, ", "2026-03-01T13:40:10Z to 2026-03-01T14:00:00Z"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	cfg, err := loadConfig(flags.configFile)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := makePlan(flags, cfg, recordNow)
	if err != nil {
		t.Fatal(err)
	}
	b := openFolder(t, flags.out)
	if diff := cmp.Diff(r.expected(plan), samplesIn(t, b)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	want := bundle.Incident{
		ID: "record-20260301T134010Z-20260301T140000Z", Title: "The cart was slow", Source: "record",
		Start: plan.Start, End: plan.End, Interval: model.Duration(10 * time.Second), Notes: recordedNotes,
	}
	if diff := cmp.Diff(want, b.Incident); diff != "" {
		t.Errorf("incident (-want +got):\n%s", diff)
	}
	topology, err := sources.ParseTopology("topology.yaml", b.Topology)
	if err != nil {
		t.Fatal(err)
	}
	two := 2
	if diff := cmp.Diff([]sources.TopologyEdge{{From: "web", To: "db", Timeout: "1s", Retries: &two}, {From: "web", To: "cart"}}, topology.Edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	signals, err := sources.ParseSignals(b.Signals)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cfg.Signals.Queries(), signals); diff != "" {
		t.Errorf("signals (-want +got):\n%s", diff)
	}
	if len(b.Changes) != 1 || b.Changes[0].To != "v2" || !b.Changes[0].At.Equal(time.Date(2026, 3, 1, 13, 50, 10, 0, time.UTC)) {
		t.Errorf("changes: %+v", b.Changes)
	}
	if b.HasTrail {
		t.Error("a trail came from nowhere")
	}
	text, err := os.ReadFile(filepath.Join(flags.out, bundle.IncidentFile))
	if err != nil || strings.Contains(string(text), r.url) {
		t.Errorf("%v, the address is in\n%s", err, text)
	}
}

func TestAnArchiveHoldsTheSame(t *testing.T) {
	r := newRecorded(t)
	plain, packed := r.flags("out"), r.flags("out.tar.zst")
	r.mustRecord(t, plain)
	r.mustRecord(t, packed)
	f, err := os.Open(packed.out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	b, err := bundle.OpenArchive(f, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	whole := openFolder(t, plain.out)
	if diff := cmp.Diff(samplesIn(t, whole), samplesIn(t, b)); diff != "" {
		t.Errorf("samples (-folder +archive):\n%s", diff)
	}
	if diff := cmp.Diff(whole.Incident, b.Incident); diff != "" {
		t.Errorf("incident (-folder +archive):\n%s", diff)
	}
	if diff := cmp.Diff(whole.Changes, b.Changes); diff != "" {
		t.Errorf("changes (-folder +archive):\n%s", diff)
	}
}

func TestASpanWithoutSamplesIsNoRecording(t *testing.T) {
	r := newRecorded(t)
	flags := r.flags("out")
	flags.from, flags.to = "2026-03-01T08:00:00Z", "2026-03-01T08:30:00Z"
	_, err := r.record(t.Context(), flags, recordNow)
	var f *failure
	if !errors.As(err, &f) || !strings.Contains(err.Error(), "no sample between 2026-03-01T08:00:00Z and 2026-03-01T08:30:00Z") {
		t.Errorf("err = %v", err)
	}
	if entries, _ := filepath.Glob(flags.out + "*"); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestMistakesInACommandAreNamed(t *testing.T) {
	r := newRecorded(t)
	for _, c := range []struct {
		edit func(*recordFlags)
		want string
		code int
	}{
		{func(f *recordFlags) { f.configFile = filepath.Join(r.dir, "missing.yaml") }, "read configuration", exitFailed},
		{func(f *recordFlags) { f.from = "never" }, `--from: "never" is no time`, exitUsage},
		{func(f *recordFlags) { f.url = "http://user:secret@host" }, "--url: url: carries a user name", exitUsage},
		{func(f *recordFlags) { f.out += ".tar.gz" }, "a .tar.gz is read but not written", exitUsage},
		{func(f *recordFlags) { f.trail, f.noTrail = "x", true }, "--trail and --no-trail", exitUsage},
		{func(f *recordFlags) { f.trail = filepath.Join(r.dir, "nowhere") }, "no trail here", exitUsage},
	} {
		flags := r.flags("out")
		c.edit(&flags)
		_, err := r.record(t.Context(), flags, recordNow)
		var f *failure
		code := exitUsage
		if errors.As(err, &f) {
			code = f.code
		}
		if err == nil || code != c.code || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("exit %d, %v; want %d, %q", code, err, c.code, c.want)
		}
	}
}

func TestTheTrailOfTheSpanIsTaken(t *testing.T) {
	r := newRecorded(t)
	start := time.Date(2026, 3, 1, 13, 40, 10, 0, time.UTC)
	flag := sre.Change{ID: "flag-1", At: start.Add(time.Minute), Kind: sre.Flag, Service: "web", Source: "api"}
	old := sre.Change{ID: "deploy-0", At: start.Add(-10 * time.Hour), Kind: sre.Deploy, Service: "web", Source: "api"}
	seen := sre.Change{ID: "seen", At: start.Add(time.Minute), Kind: sre.Deploy, Service: "cart", Source: "version_label"}
	incident := func(at time.Time, changes ...sre.Change) sre.Record {
		inc := &sre.Incident{ID: "inc-1", State: sre.Suspected, OpenedAt: start.Add(-time.Hour), UpdatedAt: at}
		for _, c := range changes {
			inc.Diagnosis.Hypotheses = append(inc.Diagnosis.Hypotheses, sre.Hypothesis{Service: c.Service, Mechanism: sre.BadChange, Change: &c})
		}
		return sre.Record{At: at, Kind: sre.RecordIncident, IncidentID: inc.ID, Incident: inc}
	}
	records := []sre.Record{
		{At: start.Add(-2 * time.Hour), Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "1"}},
		incident(start.Add(-10*time.Second), old),
		incident(start, flag, old, seen),
		incident(start.Add(10*time.Minute), flag),
		incident(recordNow.Truncate(10 * time.Second)),
		incident(recordNow.Add(time.Minute), sre.Change{ID: "later", At: recordNow}),
	}
	writeTrail(t, filepath.Join(r.dir, "trail"), records)
	flags := r.flags("out")
	r.mustRecord(t, flags)
	b := openFolder(t, flags.out)
	var seqs []uint64
	for _, rec := range b.Trail {
		seqs = append(seqs, rec.Seq)
	}
	if diff := cmp.Diff([]uint64{2, 3, 4}, seqs); diff != "" || !b.HasTrail {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	var ids []string
	for _, c := range b.Changes {
		ids = append(ids, c.ID)
	}
	if len(ids) != 2 || ids[0] != "flag-1" || b.Changes[1].Source != "version_label" {
		t.Errorf("changes: %v", ids)
	}

	whole := r.flags("whole")
	whole.memory = true
	r.mustRecord(t, whole)
	if b := openFolder(t, whole.out); len(b.Trail) != 5 || b.Trail[0].Seq != 0 || len(b.Changes) != 2 {
		t.Errorf("--memory: %d records and changes %v", len(b.Trail), b.Changes)
	}
	without := r.flags("without")
	without.noTrail = true
	r.mustRecord(t, without)
	if b := openFolder(t, without.out); b.HasTrail || len(b.Changes) != 1 {
		t.Errorf("--no-trail: %v, %v", b.HasTrail, b.Changes)
	}
}

// An agent that watched and found nothing to record is not the same as none.
func TestAQuietAgentHasATrail(t *testing.T) {
	r := newRecorded(t)
	started := sre.Record{At: recordNow.Add(-2 * time.Hour), Kind: sre.RecordStart, Start: &sre.StartRecord{Version: "1"}}
	stopped := sre.Record{At: recordNow.Add(-time.Hour), Kind: sre.RecordStop}
	for name, c := range map[string]struct {
		records []sre.Record
		want    bool
	}{"watching": {[]sre.Record{started}, true}, "stopped": {[]sre.Record{started, stopped}, false}} {
		flags := r.flags(name)
		flags.trail = filepath.Join(r.dir, name+"-trail")
		writeTrail(t, flags.trail, c.records)
		r.mustRecord(t, flags)
		if b := openFolder(t, flags.out); b.HasTrail != c.want || len(b.Trail) > 0 {
			t.Errorf("%s: trail %v with %d records", name, b.HasTrail, len(b.Trail))
		}
	}
}

func writeTrail(t *testing.T, dir string, records []sre.Record) {
	t.Helper()
	trail, err := audit.Open(audit.Options{Dir: dir, Now: func() time.Time { return recordNow }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].Seq = uint64(i)
	}
	if err := errors.Join(trail.Append(t.Context(), records), trail.Close()); err != nil {
		t.Fatal(err)
	}
}

// Two presets that fill one signal are two queries to the agent and one in a
// bundle; a real engine must give the same numbers for both.
func TestTheQueriesOfTwoPresetsBecomeOne(t *testing.T) {
	store, err := replay.OpenStore(t.TempDir(), replay.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	at := recordNow
	sample := func(name, label, service string, value float64) replay.Sample {
		return replay.Sample{Metric: model.Metric{"__name__": model.LabelValue(name), model.LabelName(label): model.LabelValue(service)}, Value: value}
	}
	zero := sample("y", "app", "none", 0)
	if err := store.Append(at, []replay.Sample{
		sample("x", "service", "both", 1), sample("y", "app", "both", 2), sample("y", "app", "second", 3),
		sample("x", "service", "odd", 0), sample("y", "app", "odd", 4), zero,
	}); err != nil {
		t.Fatal(err)
	}
	one := sources.OnePerName([]sources.SignalQuery{
		{Name: "a", Query: "sum by (service) (x / (x != bool 0))", ServiceLabel: "service"},
		{Name: "a", Query: "sum by (app) (y / (y != bool 0))", ServiceLabel: "app"},
	})
	res, err := store.Query(t.Context(), one[0].Query, at)
	if err != nil {
		t.Fatal(err)
	}
	vector, _ := res.Value.(model.Vector)
	got := map[string]string{}
	for _, s := range vector {
		if len(s.Metric) != 1 {
			t.Errorf("labels beside the service: %s", s.Metric)
		}
		got[string(s.Metric["service"])] = s.Value.String()
	}
	// 0/0 of the first gives way to a number of the second, and stands where
	// there is none.
	if diff := cmp.Diff(map[string]string{"both": "1", "second": "3", "odd": "4", "none": "NaN"}, got); diff != "" {
		t.Errorf("%s\n(-want +got):\n%s", one[0].Query, diff)
	}
}
