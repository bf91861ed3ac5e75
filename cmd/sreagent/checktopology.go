package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/graph/topo"

	"github.com/sreagent/sreagent/detectors"
	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

// inversion is a caller that gives up before its callee can have answered.
type inversion struct {
	Caller  string        `json:"caller"`
	Callee  string        `json:"callee"`
	Timeout time.Duration `json:"timeout"` // of the caller, nanoseconds
	Needs   time.Duration `json:"needs"`   // what the callee may take with its own calls and retries, nanoseconds
	Chain   []string      `json:"chain"`   // of calls that makes it so
	Fix     string        `json:"fix"`
	Line    int           `json:"line,omitempty"`
	Column  int           `json:"column,omitempty"`
}

// checkTimeouts finds the static timeout inversions of a graph, in the order in
// which to mend them. What services take themselves is not known from a file.
func checkTimeouts(g *sre.Graph) []inversion {
	var out []inversion
	for _, f := range detectors.CheckTimeouts(g, nil) {
		if f.Needs > f.Timeout { // else it cannot be told: how many timeouts are not known is reported by itself
			out = append(out, inversion{Caller: f.Caller, Callee: f.Callee, Timeout: f.Timeout, Needs: f.Needs, Chain: f.Chain, Fix: f.Fix})
		}
	}
	return out
}

// topologyReport is what is known of one topology file without running anything.
type topologyReport struct {
	File        string      `json:"file"`
	Services    int         `json:"services"`
	Edges       int         `json:"edges"`
	Entries     []string    `json:"entries"`
	Inversions  []inversion `json:"timeout_inversions"`
	Unreachable []string    `json:"unreachable"` // services that no entry leads to, sorted
	Cycles      [][]string  `json:"cycles"`      // groups of services that call each other in a circle
	NoTimeout   int         `json:"no_timeout"`  // edges whose timeout is not known
	NoRetries   int         `json:"no_retries"`  // edges whose retries are not known
}

// checkTopology reads topology files, or those of bundles, and reports what is
// wrong, and what will be once a callee is slow. Of files that do not parse
// every mistake is told.
func checkTopology(std streams, paths []string, strict, asJSON bool) error {
	reports := []topologyReport{}
	var wrong []error
	inverted := 0
	for _, path := range paths {
		r, err := reportTopology(path)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		inverted += len(r.Inversions)
		reports = append(reports, r)
	}
	if asJSON {
		enc := json.NewEncoder(std.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(reports); err != nil {
			return err
		}
	} else {
		for _, r := range reports {
			if err := r.text(std.out); err != nil {
				return err
			}
		}
	}
	if strict && inverted > 0 {
		wrong = append(wrong, fmt.Errorf("%s in the way of --strict", count(inverted, "timeout inversion")))
	}
	if err := errors.Join(wrong...); err != nil {
		return failed(err)
	}
	return nil
}

// topologyText reads a topology file, or that of a bundle, and says how to call
// it.
func topologyText(path string) (name string, text []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return path, nil, fmt.Errorf("read topology: %w", err)
	}
	archive := strings.HasSuffix(path, ".tar") || strings.HasSuffix(path, ".zst")
	if !info.IsDir() && !archive {
		text, err = os.ReadFile(path)
		if err != nil {
			err = fmt.Errorf("read topology: %w", err)
		}
		return path, text, err
	}
	files, err := bundleFiles(path)
	if err != nil {
		return path, nil, err
	}
	text, err = fs.ReadFile(files, "topology.yaml")
	if err != nil {
		return path, nil, fmt.Errorf("%s: read topology: %w", path, err)
	}
	return path + "/topology.yaml", text, nil
}

func reportTopology(path string) (topologyReport, error) {
	name, text, err := topologyText(path)
	if err != nil {
		return topologyReport{}, err
	}
	t, err := sources.ParseTopology(name, text)
	if err != nil {
		return topologyReport{}, err
	}
	r := topologyReport{File: name, Edges: len(t.Edges), Entries: []string{}, Inversions: []inversion{}, Unreachable: []string{}, Cycles: [][]string{}}
	services := map[string]bool{}
	for _, e := range t.Edges {
		services[e.From], services[e.To] = true, true
		spec := e.Spec()
		if spec.Timeout == 0 {
			r.NoTimeout++
		}
		if !spec.HasRetries {
			r.NoRetries++
		}
	}
	for _, s := range declared(t) {
		services[s] = true
	}
	r.Services = len(services)
	for _, at := range instants(t) {
		r.add(t, at)
	}
	slices.Sort(r.Entries)
	slices.Sort(r.Unreachable)
	slices.SortFunc(r.Cycles, func(a, b []string) int { return slices.Compare(a, b) })
	r.place(text, t)
	return r, nil
}

// declared lists the services that a topology names outside of its edges.
func declared(t *sources.Topology) []string {
	out := slices.Clone(t.Entries)
	for name := range t.Priorities {
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// instants are the times at which a topology changes, the beginning included:
// between two of them it is one graph.
func instants(t *sources.Topology) []time.Time {
	out := []time.Time{{}}
	for _, e := range t.Edges {
		out = append(out, e.ValidFrom, e.ValidTo)
	}
	slices.SortFunc(out, time.Time.Compare)
	return slices.CompactFunc(out, time.Time.Equal)
}

// graphAt is the graph of a topology at an instant. Services have their names'
// order, so that the findings have one.
func graphAt(t *sources.Topology, at time.Time) *sre.Graph {
	var edges []sources.TopologyEdge
	names := declared(t)
	for _, e := range t.Edges {
		if (e.ValidFrom.IsZero() || !at.Before(e.ValidFrom)) && (e.ValidTo.IsZero() || at.Before(e.ValidTo)) {
			edges = append(edges, e)
			names = append(names, e.From, e.To)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	services := make([]sre.Service, len(names))
	for i, name := range names {
		services[i] = sre.Service{Name: name, Entry: slices.Contains(t.Entries, name), Weight: t.Priorities[name]}
	}
	index := func(name string) int {
		i, _ := slices.BinarySearch(names, name)
		return i
	}
	list := make([]sre.Edge, len(edges))
	for i, e := range edges {
		list[i] = sre.Edge{From: index(e.From), To: index(e.To), Spec: e.Spec()}
	}
	return sre.NewGraph(services, list)
}

// add looks at the graph of one stretch of time and adds what is new.
func (r *topologyReport) add(t *sources.Topology, at time.Time) {
	g := graphAt(t, at)
	note := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	reached := make([]bool, len(g.Services))
	entries := g.Entries()
	for _, e := range entries {
		note(&r.Entries, g.Services[e].Name)
		reached[e] = true
		for _, i := range g.Downstream(e) {
			reached[i] = true
		}
	}
	for i, ok := range reached {
		if !ok {
			note(&r.Unreachable, g.Services[i].Name)
		}
	}
	for _, cycle := range cycles(g) {
		if !slices.ContainsFunc(r.Cycles, func(have []string) bool { return slices.Equal(have, cycle) }) {
			r.Cycles = append(r.Cycles, cycle)
		}
	}
	for _, x := range checkTimeouts(g) {
		same := func(have inversion) bool {
			return have.Caller == x.Caller && have.Callee == x.Callee && have.Timeout == x.Timeout && have.Needs == x.Needs
		}
		if !slices.ContainsFunc(r.Inversions, same) {
			r.Inversions = append(r.Inversions, x)
		}
	}
}

// cycles finds the groups of services that call each other in a circle: the
// strongly connected components of more than one service. Of each it returns one
// way round.
func cycles(g *sre.Graph) [][]string {
	calls := simple.NewDirectedGraph()
	for _, e := range g.Edges {
		calls.SetEdge(simple.Edge{F: simple.Node(e.From), T: simple.Node(e.To)})
	}
	var out [][]string
	for _, component := range topo.TarjanSCC(calls) {
		if len(component) > 1 {
			group := make([]int, len(component))
			for i, n := range component {
				group[i] = int(n.ID())
			}
			out = append(out, circle(g, group))
		}
	}
	return out
}

// circle is one way round a group, from its first service by name back to the
// last one before it: the shortest.
func circle(g *sre.Graph, group []int) []string {
	inside := map[int]bool{}
	for _, i := range group {
		inside[i] = true
	}
	start := slices.Min(group)
	from := map[int]int{start: -1}
	for queue := []int{start}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		for _, e := range g.CalleesOf(i) {
			to := g.Edges[e].To
			if to == start {
				var way []string
				for j := i; j >= 0; j = from[j] {
					way = append(way, g.Services[j].Name)
				}
				slices.Reverse(way)
				return way
			}
			if _, known := from[to]; inside[to] && !known {
				from[to] = i
				queue = append(queue, to)
			}
		}
	}
	return nil
}

// place finds where the edge of each inversion stands in the file.
func (r *topologyReport) place(text []byte, t *sources.Topology) {
	var doc struct {
		Edges []yaml.Node `yaml:"edges"`
	}
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Edges) != len(t.Edges) {
		return
	}
	for i := range r.Inversions {
		x := &r.Inversions[i]
		for k, e := range t.Edges {
			if e.From == x.Caller && e.To == x.Callee && e.Spec().Timeout == x.Timeout {
				x.Line, x.Column = doc.Edges[k].Line, doc.Edges[k].Column
				break
			}
		}
	}
}

// text writes the report as a compiler would: one finding a line, with its place.
func (r *topologyReport) text(w io.Writer) error {
	var b strings.Builder
	for _, x := range r.Inversions {
		fmt.Fprintf(&b, "%s:%d:%d: warning: %s gives up on %s after %s, which may need %s (%s)", r.File, x.Line, x.Column, x.Caller, x.Callee, x.Timeout, x.Needs, strings.Join(x.Chain, " -> "))
		if x.Fix != "" {
			b.WriteString("; " + x.Fix)
		}
		b.WriteByte('\n')
	}
	for _, c := range r.Cycles {
		fmt.Fprintf(&b, "%s: warning: calls run in a circle: %s -> %s\n", r.File, strings.Join(c, " -> "), c[0])
	}
	if n := len(r.Unreachable); n > 0 {
		fmt.Fprintf(&b, "%s: warning: no entry leads to %s: %s\n", r.File, count(n, "service"), strings.Join(r.Unreachable, ", "))
	}
	if r.NoTimeout+r.NoRetries > 0 {
		fmt.Fprintf(&b, "%s: of %s the timeout of %d and the retries of %d are not known\n", r.File, count(r.Edges, "edge"), r.NoTimeout, r.NoRetries)
	}
	checked := count(len(r.Inversions), "timeout inversion")
	fmt.Fprintf(&b, "%s: %s, %s, %s; %s\n", r.File, count(r.Services, "service"), count(r.Edges, "edge"), entriesText(r.Entries), checked)
	_, err := io.WriteString(w, b.String())
	return err
}

func entriesText(entries []string) string {
	if len(entries) == 0 {
		return "no entry"
	}
	return "entered at " + strings.Join(entries, ", ")
}
