package series_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/replay/series"
)

// corpus returns the folder of the recorded series, or skips.
func corpus(t *testing.T, sub string) string {
	t.Helper()
	dir := os.Getenv("SREAGENT_CORPUS")
	if dir == "" {
		t.Skip("SREAGENT_CORPUS names no folder of recorded incidents")
	}
	return filepath.Join(dir, sub)
}

// scored is one series after a run.
type scored struct {
	path  string
	times []string
	score []float64
	alarm []bool
	label []bool
}

// detectAll runs the default settings over a folder.
func detectAll(t *testing.T, dir string) []scored {
	t.Helper()
	results := map[string]*sink{}
	files, err := series.Walk(context.Background(), os.DirFS(dir), func(path string) (io.WriteCloser, error) {
		results[path] = &sink{}
		return results[path], nil
	}, detectors.DefaultStreamConfig())
	if err != nil {
		t.Fatal(err)
	}
	var all []scored
	for _, f := range files {
		if f.Skipped != "" {
			if strings.HasSuffix(f.Path, ".csv") {
				t.Errorf("%s was skipped: %s", f.Path, f.Skipped)
			}
			continue
		}
		s := scored{path: f.Path}
		for _, row := range table(t, results[f.Path].Bytes()) {
			v, err := strconv.ParseFloat(row[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			s.times = append(s.times, strings.Replace(row[0][:19], "T", " ", 1))
			s.score = append(s.score, v)
			s.alarm = append(s.alarm, row[3] == "1")
		}
		source, err := os.ReadFile(filepath.Join(dir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		rows := table(t, bytes.TrimPrefix(source, []byte("\xef\xbb\xbf")))
		if len(rows) != len(s.times) {
			t.Errorf("%s: %d rows in, %d rows out", f.Path, len(rows), len(s.times))
		}
		for _, row := range rows {
			s.label = append(s.label, len(row) > 2 && row[2] != "0" && row[2] != "")
		}
		all = append(all, s)
	}
	return all
}

func table(t *testing.T, b []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

type sink struct{ bytes.Buffer }

func (*sink) Close() error { return nil }

// profile is how NAB weighs hits and misses.
type profile struct{ hit, alarm, miss float64 }

var profiles = []struct {
	name string
	p    profile
	best float64 // floor with the best threshold
	half float64 // floor with the threshold .5
}{
	{"standard", profile{1, .11, 1}, 75, 74},
	{"reward_low_FP_rate", profile{1, .22, 1}, 71, 68},
	{"reward_low_FN_rate", profile{1, .11, 2}, 80, 78},
}

// TestNAB scores the labelled series by the rules of NAB v1.1, as score_nab.py
// of the corpus does, with one threshold for all of them.
func TestNAB(t *testing.T) {
	dir := corpus(t, "nab")
	all := detectAll(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "windows.json"))
	if err != nil {
		t.Fatal(err)
	}
	var windows map[string][][2]string
	if err := json.Unmarshal(text, &windows); err != nil {
		t.Fatal(err)
	}
	if len(all) != len(windows) {
		t.Errorf("%d series, %d of them labelled", len(all), len(windows))
	}
	for _, c := range profiles {
		var files [][]point
		for _, s := range all {
			files = append(files, points(s, windows[s.path], c.p))
		}
		best, at := search(files, c.p)
		half := score(files, .5, c.p)
		t.Logf("%s: score %.2f at threshold %.3f; at .5: %.2f", c.name, best, at, half)
		if best < c.best || half < c.half {
			t.Errorf("%s: score %.2f and %.2f at .5, want at least %.0f and %.0f", c.name, best, half, c.best, c.half)
		}
		var halves [2][][]point
		for i, f := range files {
			halves[i%2] = append(halves[i%2], f)
		}
		_, a := search(halves[0], c.p)
		_, b := search(halves[1], c.p)
		t.Logf("%s: with the threshold of the other half %.2f, %.2f", c.name, score(halves[0], b, c.p), score(halves[1], a, c.p))
	}
}

// point is one row: its score, what an alarm there is worth, and its window:
// one of its file, or outside, or in probation.
type point struct {
	score, worth float64
	window       int
}

const (
	outside   = -1
	probation = -2
)

func sigmoid(x float64) float64 {
	if x > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*x)) - 1
}

func points(s scored, windows [][2]string, p profile) []point {
	first := map[string]int{}
	for i, at := range s.times {
		if _, ok := first[at]; !ok {
			first[at] = i
		}
	}
	trial := int(min(.15*float64(len(s.times)), 750))
	out := make([]point, len(s.times))
	begun, open := 0, false
	right, width, before, beforeWidth := 0, 0., -1, 0.
	for i, at := range s.times {
		if begun < len(windows) && at == clock(windows[begun][0]) {
			right = first[clock(windows[begun][1])]
			width = float64(right - i + 1)
			begun, open = begun+1, true
		}
		out[i] = point{s.score[i], -p.alarm, outside}
		if open {
			out[i].worth = sigmoid(-float64(right-i+1)/width) * p.hit / sigmoid(-1)
			out[i].window = begun - 1
		} else if before >= 0 {
			out[i].worth = sigmoid(float64(i-before)/(beforeWidth-1)) * p.alarm
		}
		if i < trial {
			out[i].window = probation
		}
		if open && i == right {
			before, beforeWidth, open = i, width, false
		}
	}
	return out
}

func clock(text string) string { return strings.Replace(text[:19], "T", " ", 1) }

func score(files [][]point, threshold float64, p profile) float64 {
	sum, n := 0., 0.
	for _, f := range files {
		won := map[int]float64{}
		for _, x := range f {
			if x.window >= 0 {
				if _, ok := won[x.window]; !ok {
					won[x.window] = -p.miss
				}
			}
			switch {
			case x.score < threshold:
			case x.window >= 0:
				won[x.window] = max(won[x.window], x.worth)
			case x.window == outside:
				sum += x.worth
			}
		}
		for i := range len(won) + 8 { // in order, for the sum is of floats
			sum += won[i]
		}
		n += float64(len(won))
	}
	return 100 * (sum + p.miss*n) / (n * (p.hit + p.miss))
}

// search returns the best score with one threshold for all files.
func search(files [][]point, p profile) (best, at float64) {
	var candidates []float64
	for _, f := range files {
		for _, x := range f {
			candidates = append(candidates, x.score)
		}
	}
	slices.SortFunc(candidates, func(a, b float64) int { return cmp.Compare(b, a) })
	candidates = slices.Compact(candidates)
	best = math.Inf(-1)
	for i := 0; i < len(candidates); i += max(1, len(candidates)/200) {
		if s := score(files, candidates[i], p); s > best {
			best, at = s, candidates[i]
		}
	}
	return best, at
}

// TestCloud scores the alarms on the labelled production series by event, as
// score_cloud.py of the corpus does.
func TestCloud(t *testing.T) {
	var labels, found, alarms, right float64
	for _, s := range detectAll(t, corpus(t, "cloud")) {
		warm := 20
		if s.times[0][14:16] != s.times[1][14:16] {
			warm = 144
		}
		for i := range warm {
			s.alarm[i] = false
		}
		segments := slices.DeleteFunc(runs(s.label), func(r [2]int) bool { return r[1] < warm })
		hits := runs(s.alarm)
		touch := func(seg, hit [2]int) bool { return hit[0] <= seg[1]+3 && hit[1] >= seg[0] }
		for _, seg := range segments {
			if slices.ContainsFunc(hits, func(h [2]int) bool { return touch(seg, h) }) {
				found++
			}
		}
		for _, h := range hits {
			if slices.ContainsFunc(segments, func(seg [2]int) bool { return touch(seg, h) }) {
				right++
			}
		}
		labels += float64(len(segments))
		alarms += float64(len(hits))
	}
	recall, precision := found/labels, right/alarms
	f1 := 2 * recall * precision / (recall + precision)
	t.Logf("%.0f events: recall %.3f, %.0f alarms: precision %.3f, F1 %.3f", labels, recall, alarms, precision, f1)
	if f1 < .76 {
		t.Errorf("F1 %.3f, want at least .76", f1)
	}
}

// runs returns the first and last row of every run of flags; gaps of up to two
// rows do not end a run.
func runs(flags []bool) (out [][2]int) {
	for i, on := range flags {
		switch {
		case !on:
		case len(out) > 0 && i-out[len(out)-1][1] <= 3:
			out[len(out)-1][1] = i
		default:
			out = append(out, [2]int{i, i})
		}
	}
	return out
}
