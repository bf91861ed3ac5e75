package bundle

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// garbage is a file of a gibibyte that is made as it is read.
type garbage struct {
	fstest.MapFS
	name, pattern string
}

func (g garbage) Open(name string) (fs.File, error) {
	f, err := g.MapFS.Open(name)
	if err == nil && name == g.name {
		return garbageFile{f, &discard{pattern: g.pattern, left: 1 << 30}}, nil
	}
	return f, err
}

type garbageFile struct {
	fs.File
	r *discard
}

func (f garbageFile) Read(p []byte) (int, error) { return f.r.Read(p) }

// TestBroken breaks a good bundle in every way that people break one, each in
// one place. One clear line must come of it.
func TestBroken(t *testing.T) {
	zst := string(packBytes(t, Zstd, []byte(goodMetrics[:len(goodMetrics)-6])))
	gz := string(packBytes(t, Gzip, []byte(goodMetrics)))
	only := func(name, text string) map[string]string { return map[string]string{name: text} }
	metrics := func(name, text string) map[string]string { return map[string]string{MetricsFile: "", name: text} }
	query := func(q string) map[string]string { return only(SignalsFile, "signals:\n  - {query: "+q+"}\n") }
	folders := []struct {
		name string
		fsys fs.FS
	}{
		{"empty folder", fstest.MapFS{}},
		{"no incident", broken(only(IncidentFile, ""))},
		{"no topology", broken(only(TopologyFile, ""))},
		{"blank topology", broken(only(TopologyFile, " \n"))},
		{"no signals", broken(only(SignalsFile, ""))},
		{"no metrics", broken(only(MetricsFile, ""))},
		{"metrics twice", broken(only(MetricsFile+".gz", gz))},
		{"large incident", broken(only(IncidentFile, goodIncident+strings.Repeat("# padding\n", maxIncident/10)))},
		{"wrong kind of fault", broken(only(IncidentFile, strings.Replace(goodIncident, "slow_dependency", "slow_cat", 1)))},
		{"start after end", broken(only(IncidentFile, strings.Replace(goodIncident, "start: 2026", "start: 2027", 1)))},
		{"wrong kind of change", broken(only(ChangesFile, `{"at":"2026-01-01T00:00:00Z","kind":"depoly","service":"a","id":"x"}`))},
		{"trail out of order", broken(only(TrailFile, `{"seq":2,"at":"2026-01-01T00:00:00Z","kind":"stop"}`+"\n"+`{"seq":1,"at":"2026-01-01T00:00:00Z","kind":"stop"}`))},
		{"trail is garbage", garbage{memory(goodFiles()), TrailFile, "\x00\xff\n"}},
		{"changes are garbage", garbage{memory(goodFiles()), ChangesFile, "0123456789"}},
		{"signal that finds nothing", broken(query("nothing_here"))},
		{"signal that is no query", broken(query("'sum('"))},
		{"wrong unit", broken(only(SignalsFile, "signals:\n  - {query: a, unit: furlongs}\n"))},
		{"metrics empty", broken(metrics("metrics.om.zst", string(packBytes(t, Zstd, nil))))},
		{"metrics cut", broken(only(MetricsFile, goodMetrics[:len(goodMetrics)-20]))},
		{"metrics cut at a line", broken(only(MetricsFile, goodMetrics[:len(goodMetrics)-6]))},
		{"packed metrics cut short", broken(metrics("metrics.om.gz", gz[:len(gz)-9]))},
		{"packed metrics without end", broken(metrics("metrics.om.zst", zst))},
		{"metrics not gzip", broken(metrics("metrics.om.gz", goodMetrics))},
		{"metrics not zstd", broken(metrics("metrics.om.zst", goodMetrics))},
		{"packed and not named so", broken(only(MetricsFile, gz))},
		{"out of order", broken(only(MetricsFile, "a 1 1767225660\na 1 1767225600\n# EOF\n"))},
		{"two values", broken(only(MetricsFile, "a 1 1767225660\na 2 1767225660\n# EOF\n"))},
		{"bad timestamp", broken(only(MetricsFile, "a 1 2026-01-01T00:00:00Z\n# EOF\n"))},
		{"no timestamp", broken(only(MetricsFile, "a 1\n# EOF\n"))},
		{"milliseconds", broken(only(MetricsFile, "a 1 1767225600000\n# EOF\n"))},
		{"another day", broken(only(MetricsFile, "a 1 1667225600\n# EOF\n"))},
		{"no samples", broken(only(MetricsFile, "# EOF\n"))},
		{"text of the old format", broken(only(MetricsFile, "# a comment\na 1 1767225600\n# EOF\n"))},
		{"native histogram", broken(only(MetricsFile, "a {count:1} 1767225600\n# EOF\n"))},
		{"gibibyte of lines", garbage{memory(goodFiles()), MetricsFile, "garbage without end\n"}},
		{"gibibyte of zeros", garbage{memory(goodFiles()), MetricsFile, "\x00"}},
		{"gibibyte of half a sample", garbage{memory(goodFiles()), MetricsFile, `a{x="`}},
	}
	var out strings.Builder
	for _, c := range folders {
		r, err := Check(t.Context(), c.fsys, Limits{}, Grammar{Signals: queriesOf})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Errors) != 1 {
			t.Errorf("%s: %d errors: %q", c.name, len(r.Errors), r.Errors)
		}
		fmt.Fprintf(&out, "%s:\n", c.name)
		for _, e := range r.Errors {
			fmt.Fprintf(&out, "    %s\n", e)
		}
	}
	archives := []struct {
		name string
		text []byte
	}{
		{"archive that leads out", tape(t, entry{name: "../../etc/cron.d/x", content: "x"})},
		{"archive with a link", tape(t, entry{name: "incident.yaml", kind: '2'})},
		{"archive that is cut", packBytes(t, Zstd, tape(t, goodEntries("")...))[:200]},
		{"archive of another thing", []byte("PK\x03\x04")},
		{"archive without metrics", tape(t, goodEntries("a/")[:2]...)},
	}
	for _, c := range archives {
		_, err := OpenArchive(bytes.NewReader(c.text), Limits{})
		fmt.Fprintf(&out, "%s:\n    %s\n", c.name, strings.ReplaceAll(fmt.Sprint(err), "\n", "\n    "))
	}
	golden(t, "broken.txt", out.String())
}
