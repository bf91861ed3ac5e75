package sources

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

func TestVersionLabels(t *testing.T) {
	const tick = 15 * time.Second
	for _, tc := range []struct {
		name  string
		ticks []string // versions running at each tick; - is no answer for the service
		want  []string // changes as tick:from>to
	}{
		{"first sight is no change", []string{"v1", "v1"}, nil},
		{"first sight of two is no change", []string{"v1 v2", "v1 v2"}, nil},
		{"replaced", []string{"v1", "v2", "v2"}, []string{"1:v1>v2"}},
		{"rolled out beside the old one", []string{"v1", "v1 v2", "v2"}, []string{"1:v1>v2"}},
		{"second deploy", []string{"v1", "v2", "v3"}, []string{"1:v1>v2", "2:v2>v3"}},
		{"roll back after the old one is gone", []string{"v1", "v2", "v2", "v2", "v2", "v1"}, []string{"1:v1>v2", "5:v2>v1"}},
		{"a pod missed for one tick", []string{"v1 v2", "v2", "v1 v2"}, nil},
		{"canary withdrawn, then the next", []string{"v1", "v1 v2", "v1", "v1", "v1", "v1", "v1 v3"}, []string{"1:v1>v2", "6:v1>v3"}},
		{"a gap in the data is no deploy", []string{"v1", "-", "-", "-", "-", "-", "v1"}, nil},
		{"a deploy within a gap", []string{"v1", "-", "-", "-", "-", "-", "v2"}, []string{"6:v1>v2"}},
		{"new after two at first sight", []string{"v1 v2", "v3"}, []string{"1:v1,v2>v3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFleet(t)
			f.set("rps", byService("cart", 1))
			f.setAt("versions", func(at time.Time) model.Vector {
				v := model.Vector{point(1, "app", "other", "tag", "x"), point(0, "app", "cart", "tag", "scaled-to-zero")}
				if running := tc.ticks[int(at.Sub(t0)/tick)]; running != "-" {
					for version := range strings.FieldsSeq(running) {
						v = append(v, point(1, "app", "cart", "tag", version))
					}
				}
				return v
			})
			cfg := configFor(f.URL, serviceSignal("rps"))
			cfg.Prometheus.Lookback = model.Duration(2 * tick)
			cfg.Changes.VersionLabels = []VersionLabel{{Query: "versions", ServiceLabel: "app", VersionLabel: "tag"}}
			s := newSource(t, cfg)
			var got []string
			ids := map[string]bool{}
			for i := range tc.ticks {
				at := t0.Add(time.Duration(i) * tick)
				for _, c := range observe(t, s, at).Changes {
					got = append(got, fmt.Sprintf("%d:%s>%s", i, c.From, c.To))
					if c.Kind != sre.Deploy || c.Service != "cart" || !c.At.Equal(at) || c.Source != "version_label" || c.ID == "" || ids[c.ID] {
						t.Errorf("change %+v", c)
					}
					ids[c.ID] = true
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReportedChangesComeWithTheNextSnapshotOnce(t *testing.T) {
	f := newFleet(t)
	f.set("rps", byService("cart", 1))
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	ctx := context.Background()
	late := sre.Change{ID: "b", At: t0.Add(-time.Minute), Kind: sre.Flag, Service: "cart", To: "on", By: "ann", Source: "flags"}
	early := sre.Change{ID: "z", At: t0.Add(-time.Hour), Kind: sre.Deploy, Service: "web"}
	ahead := sre.Change{ID: "a", At: t0.Add(20 * time.Second), Kind: sre.ConfigEdit, Service: "web"}
	for _, c := range []sre.Change{late, early, late, ahead} {
		if err := s.Report(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	early.Source, ahead.Source = "api", "api"
	for i, want := range [][]sre.Change{{early, late}, nil, {ahead}, nil} {
		got := observe(t, s, t0.Add(time.Duration(i)*15*time.Second)).Changes
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("tick %d (-want +got):\n%s", i, diff)
		}
	}
	if err := s.Report(ctx, late); err != nil {
		t.Fatal(err)
	}
	if got := observe(t, s, t0.Add(time.Hour)).Changes; len(got) != 0 {
		t.Errorf("a repetition came through: %+v", got)
	}
}

func TestReportFillsInWhatIsMissing(t *testing.T) {
	f := newFleet(t)
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	ctx := context.Background()
	for range 2 { // the same content twice is one change
		if err := s.Report(ctx, sre.Change{Service: "cart", To: "v2"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Report(ctx, sre.Change{Service: "cart", To: "v3"}); err != nil {
		t.Fatal(err)
	}
	got := observe(t, s, t0).Changes
	if len(got) != 2 || got[0].ID == "" || got[0].ID == got[1].ID {
		t.Fatalf("changes %+v", got)
	}
	for _, c := range got {
		if !c.At.Equal(t0) || c.Kind != sre.OtherChange || c.Source != "api" {
			t.Errorf("change %+v", c)
		}
	}
}

func TestReportRefuses(t *testing.T) {
	f := newFleet(t)
	ctx, cancel := context.WithCancel(context.Background())
	s := newSource(t, configFor(f.URL, serviceSignal("rps")))
	for _, tc := range []struct {
		name   string
		change sre.Change
		want   string
	}{
		{"no service", sre.Change{Kind: sre.Deploy}, "service: is missing; allowed: the name of the service that was changed"},
		{"unknown kind", sre.Change{Kind: "magic", Service: "cart"}, `kind: is "magic"; allowed: deploy, flag, config, scale, other`},
		{"future", sre.Change{Service: "cart", At: t0.Add(time.Hour)}, "at: is in the future; allowed: a time up to now"},
		{"long", sre.Change{Service: "cart", Note: strings.Repeat("x", 2000)}, "note: has 2000 bytes; allowed: at most 1024"},
	} {
		err := s.Report(ctx, tc.change)
		var faults sre.Faults
		if !errors.As(err, &faults) || err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	if got := observe(t, s, t0.Add(24*time.Hour)).Changes; len(got) != 0 {
		t.Errorf("refused changes came through: %+v", got)
	}
	cancel()
	if err := s.Report(ctx, sre.Change{Service: "cart"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of its context: %v", err)
	}
	cfg := configFor(f.URL, serviceSignal("rps"))
	cfg.Changes.API = false
	if err := newSource(t, cfg).Report(context.Background(), sre.Change{Service: "cart"}); !errors.Is(err, ErrReportsOff) {
		t.Errorf("with the API off: %v", err)
	}
}

func TestReportsAreBounded(t *testing.T) {
	r := newReports(true)
	for i := range maxPending {
		if err := r.add(sre.Change{ID: fmt.Sprint(i), Service: "cart"}, t0); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.add(sre.Change{ID: "more", Service: "cart"}, t0); !errors.Is(err, ErrReportsFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if n := len(r.take(t0)); n != maxPending {
		t.Errorf("%d taken", n)
	}
	if err := r.add(sre.Change{ID: "more", Service: "cart"}, t0); err != nil {
		t.Errorf("after the tick: %v", err)
	}
	if len(r.known) > maxRemembered || len(r.order) != len(r.known) {
		t.Errorf("%d IDs known, %d in order", len(r.known), len(r.order))
	}
}
