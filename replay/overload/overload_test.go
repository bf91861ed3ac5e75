package overload

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

const asked = 10 * time.Second // the tick of the targets

// TestTheTargetsHold holds the law to its targets, over the whole matrix. A short
// run takes a cell of each kind.
func TestTheTargetsHold(t *testing.T) {
	t.Parallel()
	hold(t, Case{Every: asked}, 5, 0, Score.Misses)
}

// TestWithoutOccupancy holds it to the same where nobody measures workers or
// processors, but for a return that takes half a minute longer when data is old
// and has gaps, and but for one run of all.
func TestWithoutOccupancy(t *testing.T) {
	t.Parallel()
	hold(t, Case{Every: asked, NoPool: true}, 5, .002, func(s Score) bool {
		s.Back -= 30 * time.Second
		return s.Misses()
	})
}

// TestChain holds it to the same for a service that two entries call, one of them
// through a middle, where their retries are clamped first.
func TestChain(t *testing.T) {
	t.Parallel()
	hold(t, Case{Every: asked, Place: AtLeaf, Budget: clamped}, 2, 0, Score.Misses)
}

const clamped = .1 // retries per first attempt

// hold plays the matrix for several seeds of lost looks, of which a share may miss.
func hold(t *testing.T, base Case, seeds uint64, may float64, misses func(Score) bool) {
	t.Helper()
	ours, stride, runs := Rivals()[0], 1, 0
	var missed []string
	if testing.Short() {
		seeds, stride = 1, 5
	}
	for seed := range seeds {
		base.Seed = seed
		cells := Matrix(base)
		for k := 0; k < len(cells); k += stride {
			s, err := Run(cells[k], ours.Law)
			if err != nil {
				t.Fatal(err)
			}
			runs++
			if misses(s) {
				missed = append(missed, fmt.Sprintf("seed %d, %s: %s", seed, cells[k], s))
			}
		}
	}
	if float64(len(missed)) > may*float64(runs) {
		t.Errorf("%d of %d runs miss:\n%s", len(missed), runs, strings.Join(missed, "\n"))
	}
}

type tableLine struct {
	title string
	law   Rival
	base  Case
	fresh bool // computed anew by every full run of the tests
}

// lines are those of docs/overload.md, table by table.
func lines() (out []tableLine) {
	ours := Rivals()[0]
	for _, every := range []time.Duration{5, 10, 15, 30} {
		for k, rival := range Rivals() {
			base := Case{Every: every * time.Second}
			out = append(out, tableLine{"one service", rival, base, k == 0 && base.Every == asked})
		}
	}
	for k, rival := range Rivals() {
		out = append(out, tableLine{"occupancy is not measured", rival, Case{Every: asked, NoPool: true}, k == 0})
	}
	for _, place := range []Place{AtLeaf, AtEntries} {
		for _, budget := range []float64{0, clamped} {
			name := "rate cap (ours) " + place.String()
			if budget > 0 {
				name += ", retries clamped first"
			}
			out = append(out, tableLine{"chain", Rival{name, ours.Law}, Case{Every: asked, Place: place, Budget: budget}, place == AtLeaf})
		}
	}
	for _, rival := range Rivals()[1:] {
		rival.Name += " " + AtLeaf.String()
		base := Case{Every: asked, Place: AtLeaf}
		if rival.Law != nil {
			rival.Name += ", retries clamped first"
			base.Budget = clamped
		}
		out = append(out, tableLine{"chain", rival, base, false})
	}
	return out
}

// TestPage checks that the tables of docs/overload.md are what comes out today.
// OVERLOAD_TABLE=1 prints all of them, OVERLOAD_TABLE=misses our cells that miss too.
func TestPage(t *testing.T) {
	t.Parallel()
	show := os.Getenv("OVERLOAD_TABLE")
	if testing.Short() && show == "" {
		t.Skip("whole matrices are not for short runs")
	}
	raw, err := os.ReadFile("../../docs/overload.md")
	if err != nil {
		t.Fatal(err)
	}
	title := ""
	for _, l := range lines() {
		if show == "" && !l.fresh {
			continue
		}
		if show != "" && l.title != title {
			title = l.title
			fmt.Printf("\n%s\n\n%s", title, Header)
		}
		var missed func(Case, Score)
		if show == "misses" && strings.HasPrefix(l.law.Name, Rivals()[0].Name) {
			missed = func(c Case, s Score) { fmt.Printf("%s: %s\n", c, s) }
		}
		line, err := Line(l.law, Matrix(l.base), missed)
		if err != nil {
			t.Fatal(err)
		}
		if show != "" {
			fmt.Print(line)
		} else if runtime.GOARCH == "amd64" && !strings.Contains(string(raw), line) { // elsewhere sums round otherwise
			t.Errorf("docs/overload.md, %s, says something else than\n%smake overload prints all tables", l.title, line)
		}
	}
}
