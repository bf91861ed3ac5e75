package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sources"
	"github.com/sreagent/sreagent/sre"
)

const crooked = `entries: [gateway]
edges:
  - {from: gateway, to: cart, timeout: 500ms}
  - {from: cart, to: db, timeout: 2s, retries: 0}
  - {from: batch, to: store}
  - {from: store, to: queue}
  - {from: queue, to: store}
priorities: {lonely: 3}
`

func TestCheckTopology(t *testing.T) {
	dir := folder(t, map[string]string{"crooked.yaml": crooked, "bad.yaml": "edges:\n  - {from: a, to: a}\n  - {from: a}\n", "straight.yaml": "edges: [{from: a, to: b, timeout: 1s, retries: 1}]\n"})
	crookedFile, badFile := filepath.Join(dir, "crooked.yaml"), filepath.Join(dir, "bad.yaml")
	code, out, errs := cli(t, "check", "topology", crookedFile)
	want := strings.ReplaceAll(`FILE:3:5: warning: gateway gives up on cart after 500ms, which may need 2s (gateway -> cart -> db); gateway->cart timeout 500ms is shorter than cart's own 2s; set at least 2.1s, or lower cart->db to 470ms
FILE: warning: calls run in a circle: queue -> store -> queue
FILE: warning: no entry leads to 4 services: batch, lonely, queue, store
FILE: of 5 edges the timeout of 3 and the retries of 4 are not known
FILE: 7 services, 5 edges, entered at gateway; 1 timeout inversion
`, "FILE", crookedFile)
	if diff := cmp.Diff(want, out); diff != "" || code != exitOK || errs != "" {
		t.Errorf("exit %d %s\n%s", code, errs, diff)
	}
	code, out, errs = cli(t, "check", "topology", "--strict", filepath.Join(dir, "straight.yaml"), crookedFile)
	if code != exitFailed || !strings.Contains(errs, "1 timeout inversion in the way of --strict") || !strings.Contains(out, "entered at a; 0 timeout inversions") {
		t.Errorf("exit %d %s\n%s", code, errs, out)
	}
	if code, _, errs := cli(t, "check", "topology", "--strict", filepath.Join(dir, "straight.yaml")); code != exitOK {
		t.Errorf("exit %d %s", code, errs)
	}
	// What is wrong with one file does not hide the others.
	code, out, errs = cli(t, "check", "topology", "-o", "json", badFile, crookedFile)
	var reports []topologyReport
	if err := json.Unmarshal([]byte(out), &reports); err != nil || code != exitFailed || len(reports) != 1 || reports[0].Inversions[0].Line != 3 {
		t.Errorf("exit %d %v\n%s", code, err, out)
	}
	for _, want := range []string{badFile + ":2:", "is the caller itself", badFile + ":3:", "to is missing"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in\n%s", want, errs)
		}
	}
	if code, _, _ := cli(t, "check", "topology"); code != exitUsage {
		t.Errorf("no file: exit %d", code)
	}
	if code, _, errs := cli(t, "check", "topology", filepath.Join(dir, "none.yaml")); code != exitFailed || !strings.Contains(errs, "no such file") {
		t.Errorf("exit %d %s", code, errs)
	}
}

func TestCheckTopologyOfARecording(t *testing.T) {
	path := writeBundle(t, t.TempDir(), "cart")
	code, out, _ := cli(t, "check", "topology", path)
	if code != exitOK || out != path+"/topology.yaml: 2 services, 1 edge, entered at gateway; 0 timeout inversions\n" {
		t.Errorf("exit %d %s", code, out)
	}
}

func TestCheckTopologyKeepsTheTerminalSafe(t *testing.T) {
	dir := folder(t, map[string]string{"evil.yaml": "edges: [{from: \"a\\e[2J\", to: b}]\n"})
	code, out, _ := cli(t, "check", "topology", filepath.Join(dir, "evil.yaml"))
	if code != exitOK || strings.Contains(out, "\x1b") || !strings.Contains(out, `a\x1b[2J`) {
		t.Errorf("exit %d %q", code, out)
	}
}

// Edges that hold at different times are never looked at together.
func TestATopologyThatChangesIsCheckedAsItIsEachTime(t *testing.T) {
	const text = `entries: [a]
edges:
  - {from: a, to: b, timeout: 100ms, valid_to: 2026-03-01T00:00:00Z}
  - {from: a, to: b, timeout: 5s, valid_from: 2026-03-01T00:00:00Z}
  - {from: b, to: c, valid_from: 2026-03-01T00:00:00Z, valid_to: 2026-04-01T00:00:00Z}
  - {from: c, to: b, valid_from: 2026-04-01T00:00:00Z}
`
	topology, err := sources.ParseTopology("t", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(instants(topology)); n != 3 {
		t.Errorf("%d instants", n)
	}
	dir := folder(t, map[string]string{"t.yaml": text})
	r, err := reportTopology(filepath.Join(dir, "t.yaml"))
	if err != nil || len(r.Inversions) != 0 || len(r.Cycles) != 0 || !slices.Equal(r.Unreachable, []string{"c"}) {
		t.Errorf("%v %+v", err, r)
	}
}

// Circles against a dumb twin: a service is in a circle when it can reach itself.
func TestCirclesAreRealAndAllAreFound(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		services := []sre.Service{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "e"}, {Name: "f"}}
		var edges []sre.Edge
		for range rapid.IntRange(0, 12).Draw(rt, "edges") {
			e := sre.Edge{From: rapid.IntRange(0, 5).Draw(rt, "from"), To: rapid.IntRange(0, 5).Draw(rt, "to")}
			if e.From != e.To {
				edges = append(edges, e)
			}
		}
		g := sre.NewGraph(services, edges)
		within := map[string]bool{}
		for _, c := range cycles(g) {
			for i, name := range c {
				from, _ := g.Index(name)
				to, _ := g.Index(c[(i+1)%len(c)])
				if _, ok := g.EdgeIndex(from, to); !ok {
					rt.Fatalf("%v: nobody calls %s from %s", c, c[(i+1)%len(c)], name)
				}
			}
			start, _ := g.Index(c[0])
			for _, i := range g.Downstream(start) {
				if slices.Contains(g.Downstream(i), start) {
					within[g.Services[i].Name] = true
				}
			}
			within[c[0]] = true
		}
		for i, s := range g.Services {
			round := slices.ContainsFunc(g.CalleesOf(i), func(e int) bool {
				to := g.Edges[e].To
				return to == i || slices.Contains(g.Downstream(to), i)
			})
			if round != within[s.Name] {
				rt.Fatalf("%s: in a circle %v, found %v", s.Name, round, within[s.Name])
			}
		}
	})
}
