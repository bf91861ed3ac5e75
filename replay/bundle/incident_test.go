package bundle

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// with returns the good incident with one text replaced.
func with(t *testing.T, old, replacement string) string {
	t.Helper()
	if !strings.Contains(goodIncident, old) {
		t.Fatalf("the good incident does not hold %q", old)
	}
	return strings.Replace(goodIncident, old, replacement, 1)
}

func TestParseIncidentRefuses(t *testing.T) {
	cases := []struct{ name, old, replacement, want string }{
		{"unknown key", "notes: nothing", "note: nothing", `i:8:1: unknown key "note"; allowed: alerts, end, id, interval, licence, notes, source, start, title, truth`},
		{"unknown key of an alert", "signal: latency", "metric: latency", `i:10:21: alerts[0]: unknown key "metric"; allowed: at, service, signal`},
		{"key twice", "notes: nothing", "id: other", `i:8:1: the key "id" stands twice; allowed: each key once`},
		{"no id", "id: shop-1\n", "", `i:1:1: id: is missing; allowed: a name for the incident`},
		{"id empty", "id: shop-1", `id: ""`, `i:1:5: id: is missing; allowed: a name for the incident`},
		{"id null", "id: shop-1", "id:", `i:1:4: id: this is empty; allowed: a text; "" for none`},
		{"id with a slash", "id: shop-1", "id: ../../etc", `i:1:5: id: "../../etc" cannot name a file; allowed: at most 200 printable characters, no slash, no dot in front`},
		{"start without zone", "start: 2026-01-01T00:00:00Z", "start: 2026-01-01T00:00:00", `i:5:8: start: this is "2026-01-01T00:00:00"; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"start a number", "start: 2026-01-01T00:00:00Z", "start: 1767225600", `i:5:8: start: this is "1767225600"; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"no end", "end: 2026-01-01T00:10:00Z\n", "", `i:1:1: end: is missing; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"end before start", "end: 2026-01-01T00:10:00Z", "end: 2025-01-01T00:10:00Z", `i:6:6: end: 2025-01-01T00:10:00Z is not after start, 2026-01-01T00:00:00Z`},
		{"end in another millennium", "end: 2026-01-01T00:10:00Z", "end: 9999-01-01T00:00:00Z", `i:6:6: end: 9999-01-01T00:00:00Z is too long after start, 2026-01-01T00:00:00Z; allowed: at most 7320 days`},
		{"years of seconds", "end: 2026-01-01T00:10:00Z\ninterval: 60s", "end: 2027-01-01T00:00:00Z\ninterval: 1s", `i:7:11: interval: 1s makes more than 10000000 ticks from 2026-01-01T00:00:00Z to 2027-01-01T00:00:00Z; allowed: a shorter recording or a longer interval`},
		{"interval without unit", "interval: 60s", "interval: 60", `i:7:11: interval: this is "60"; allowed: a duration with its unit, such as 60s or 5m`},
		{"interval too short", "interval: 60s", "interval: 500ms", `i:7:11: interval: 500ms is out of range; allowed: 1s to 1h`},
		{"interval too long", "interval: 60s", "interval: 2h", `i:7:11: interval: 2h is out of range; allowed: 1s to 1h`},
		{"no interval", "interval: 60s\n", "", `i:1:1: interval: is missing; allowed: 1s to 1h`},
		{"alert without time", ", at: 2026-01-01T00:06:00Z", "", `i:10:5: alerts[0].at: is missing; allowed: a time with its zone, such as 2022-08-22T03:51:19Z`},
		{"alert long after", "at: 2026-01-01T00:06:00Z", "at: 2026-01-01T01:10:01Z", `i:10:42: alerts[0].at: 2026-01-01T01:10:01Z lies outside the recording; allowed: 2026-01-01T00:00:00Z to 2026-01-01T00:10:00Z, or at most 1h beside it`},
		{"alert without service", "service: cart, ", "", `i:10:5: alerts[0].service: is missing; allowed: the name of a service`},
		{"alerts not a list", "alerts:\n  - {service: cart, signal: latency, at: 2026-01-01T00:06:00Z}", "alerts: {}", `i:9:9: alerts: this is a mapping; allowed: a list`},
		{"truth not a mapping", "truth:\n  author: somebody", "truth: []\nx:\n  author: somebody", "i:11:8: truth: this is a list; allowed: a mapping of faults\ni:12:1: unknown key \"x\"; allowed: alerts, end, id, interval, licence, notes, source, start, title, truth"},
		{"mechanism", "mechanism: slow_dependency", "mechanism: gremlins", `i:14:37: truth.faults[0].mechanism: unknown mechanism "gremlins"; allowed: retry_storm, slow_dependency, pool_exhaustion, capacity_decay, cache_loss, survivor_overload, oscillation, overload, bad_change, timeout_inversion, unknown`},
		{"no services", "services: [cart]", "services: []", `i:14:18: truth.faults[0].services: is empty; allowed: at least one service`},
		{"service empty", "services: [cart]", `services: [cart, ""]`, `i:14:25: truth.faults[0].services[1]: is empty; allowed: the name of a service`},
		{"services a word", "services: [cart]", "services: cart", `i:14:18: truth.faults[0].services: this is "cart"; allowed: a list`},
		{"fault long before", "injected_at: 2026-01-01T00:05:00Z", "injected_at: 2025-12-31T22:59:59Z", `i:14:81: truth.faults[0].injected_at: 2025-12-31T22:59:59Z lies outside the recording; allowed: 2026-01-01T00:00:00Z to 2026-01-01T00:10:00Z, or at most 1h beside it`},
		{"fault ends before", "injected_at: 2026-01-01T00:05:00Z", "injected_at: 2026-01-01T00:05:00Z, ends_at: 2026-01-01T00:05:00Z", `i:14:112: truth.faults[0].ends_at: 2026-01-01T00:05:00Z is not after injected_at, 2026-01-01T00:05:00Z`},
		{"change null", `change: ""`, "change: null", `i:14:111: truth.faults[0].change: this is empty; allowed: a text; "" for none`},
		{"alias", "title: \"checkout: slow\"", "title: &a x", ""},
		{"alias used", "notes: nothing", "notes: *a", `i: unknown anchor 'a' referenced`},
		{"two documents", "notes: nothing", "notes: nothing\n---\nid: x", `i:9: a second document begins`},
		{"not YAML", "notes: nothing", "notes: [", `i:9: did not find expected node content`},
		{"not a mapping", goodIncident, "just words", `i:1:1: this is "just words"; allowed: a mapping of alerts, end, id, interval, licence, notes, source, start, title, truth`},
		{"empty", goodIncident, "# nothing\n", `i: the file is empty; allowed: alerts, end, id, interval, licence, notes, source, start, title, truth`},
		{"key not a word", "notes: nothing", "[a]: nothing", `i:8:1: a key is a list; allowed: a word`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseIncident("i", []byte(with(t, c.old, c.replacement)))
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != c.want {
				t.Errorf("got\n%s\nwant\n%s", text, c.want)
			}
		})
	}
}

// TestParseIncidentReportsAll wants every mistake at once, in the order of the
// file.
func TestParseIncidentReportsAll(t *testing.T) {
	_, err := ParseIncident("i", []byte("interval: soon\nstart: today\nid: [x]\n"))
	want := `i:1:11: interval: this is "soon"; allowed: a duration with its unit, such as 60s or 5m
i:2:8: start: this is "today"; allowed: a time with its zone, such as 2022-08-22T03:51:19Z
i:3:5: id: this is a list; allowed: a text; "" for none`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestParseIncidentAliases holds that a short file cannot be made to grow.
func TestParseIncidentAliases(t *testing.T) {
	text := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		text += string(c) + ": &" + string(c) + " [*" + strings.Repeat(p+",*", 8) + p + "]\n"
	}
	_, err := ParseIncident("i", []byte("alerts: *j\n"+text))
	if err == nil {
		t.Fatal("accepted")
	}
	_, err = ParseIncident("i", []byte(text+"truth: *j\n"))
	if want := "truth: this is an alias"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestIncidentRoundTrip writes incidents and reads them back.
func TestIncidentRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawIncident(t)
		if f := want.Validate(); len(f) > 0 {
			t.Fatalf("drawn wrongly: %v", f)
		}
		text, err := yaml.Marshal(want.inUTC())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseIncident("i", text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(x, y []Alert) bool { return len(x) == 0 && len(y) == 0 || cmp.Equal(x, y) })); diff != "" {
			t.Fatalf("%s\n%s", diff, text)
		}
	})
}

func drawIncident(t *rapid.T) Incident {
	word := rapid.StringMatching(`[a-zA-Z0-9äö:.#'"~\\ -]{0,12}`)
	name := rapid.StringMatching(`[a-z0-9:~'"][a-z0-9:.~ -]{0,12}[a-z]`)
	inc := Incident{
		ID: name.Draw(t, "id"), Title: word.Draw(t, "title"), Source: word.Draw(t, "source"), Licence: word.Draw(t, "licence"), Notes: word.Draw(t, "notes"),
		Start: time.UnixMilli(rapid.Int64Range(1, 4e12).Draw(t, "start")).UTC(), Interval: model.Duration(rapid.Int64Range(1, 3600).Draw(t, "interval") * 1e9),
	}
	length := rapid.Int64Range(1, 1e9).Draw(t, "length")
	inc.End = inc.Start.Add(time.Duration(length) * time.Millisecond)
	at := func(label string) time.Time {
		return inc.Start.Add(time.Duration(rapid.Int64Range(0, length).Draw(t, label)) * time.Millisecond)
	}
	for range rapid.IntRange(0, 2).Draw(t, "alerts") {
		inc.Alerts = append(inc.Alerts, Alert{Service: name.Draw(t, "service"), Signal: word.Draw(t, "signal"), At: at("alert")})
	}
	for range rapid.IntRange(1, 3).Draw(t, "faults") {
		f := Fault{
			Services: rapid.SliceOfN(name, 1, 3).Draw(t, "services"), Mechanism: rapid.SampledFrom(append(sre.Mechanisms(), "")).Draw(t, "mechanism"),
			Fault: word.Draw(t, "fault"), Remediation: word.Draw(t, "remediation"), InjectedAt: at("injected"),
		}
		if rapid.Bool().Draw(t, "ends") {
			f.EndsAt = f.InjectedAt.Add(time.Second)
		}
		if rapid.Bool().Draw(t, "changed") {
			change := word.Draw(t, "change")
			f.Change = &change
		}
		inc.Truth.Faults = append(inc.Truth.Faults, f)
	}
	return inc
}

func FuzzIncident(f *testing.F) {
	f.Add([]byte(goodIncident))
	f.Add([]byte("id: &a x\ntitle: *a\n"))
	f.Add([]byte("truth: {faults: [{services: [a], change: \"\"}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		inc, err := ParseIncident("i", text)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if faults := inc.Validate(); len(faults) > 0 {
			t.Fatalf("read without error, and yet: %v", faults)
		}
		out, err := yaml.Marshal(inc.inUTC())
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseIncident("i", out)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		twice, err := yaml.Marshal(again.inUTC())
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("written differently the second time (%v):\n%s\n%s", err, out, twice)
		}
	})
}
