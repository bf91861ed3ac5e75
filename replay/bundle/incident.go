package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

const instantForm = "a time with its zone, such as 2022-08-22T03:51:19Z"

// ParseIncident reads incident.yaml. Unknown keys are mistakes, but under
// truth, where sources add words of their own. Its error is Problems: all of
// them, with line and column.
func ParseIncident(name string, text []byte) (Incident, error) {
	r := &incidentReader{file: name, places: map[string]*yaml.Node{}}
	var inc Incident
	root, err := soleDocument(text)
	if err != nil {
		return inc, r.yamlError(err)
	}
	r.incident(root, &inc)
	if len(r.problems) > 0 {
		return inc, r.sorted()
	}
	for _, fault := range inc.Validate() {
		r.problems = append(r.problems, r.place(fault))
	}
	return inc, r.sorted()
}

var errNoMapping = errors.New("the file is empty")

func soleDocument(text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errNoMapping
		}
		return nil, err
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(root.Content) == 0 {
		return nil, errNoMapping
	}
	return root.Content[0], nil
}

// incidentReader walks the nodes of incident.yaml and remembers where each path
// stands, so that what Validate says can be placed.
type incidentReader struct {
	file     string
	places   map[string]*yaml.Node
	problems Problems
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// yamlError places what the library says, which knows the line at most.
func (r *incidentReader) yamlError(err error) error {
	p := wrong(r.file, strings.TrimPrefix(err.Error(), "yaml: "), "")
	if errors.Is(err, errNoMapping) {
		p.Fault.Allowed = incidentKeys
	} else if hit := yamlLine.FindStringSubmatch(p.Fault.Problem); hit != nil {
		p.Line, _ = strconv.Atoi(hit[1])
		p.Fault.Problem = hit[2]
	}
	p.Fault.Problem = cut(strings.ReplaceAll(p.Fault.Problem, "\n", " "), 2*cutLine)
	return Problems{p}
}

const incidentKeys = "alerts, end, id, interval, licence, notes, source, start, title, truth"

func (r *incidentReader) add(n *yaml.Node, path, problem, allowed string) {
	r.problems = append(r.problems, Problem{File: r.file, Line: n.Line, Column: n.Column, Fault: sre.Fault{Path: path, Problem: problem, Allowed: allowed}})
}

// place finds where a fault stands: at its path, else at the nearest parent
// that the file has.
func (r *incidentReader) place(f sre.Fault) Problem {
	p := Problem{File: r.file, Line: 1, Column: 1, Fault: f}
	for path := f.Path; ; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
		if n, ok := r.places[path]; ok {
			p.Line, p.Column = n.Line, n.Column
			return p
		}
		if path == "" {
			return p
		}
	}
}

// sorted returns the problems in the order of the file.
func (r *incidentReader) sorted() error {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return r.problems.orNil()
}

func (r *incidentReader) incident(n *yaml.Node, inc *Incident) {
	r.mapping(n, "", false, map[string]func(*yaml.Node, string){
		"id": r.text(&inc.ID), "title": r.text(&inc.Title), "source": r.text(&inc.Source), "licence": r.text(&inc.Licence),
		"notes": r.text(&inc.Notes), "start": r.instant(&inc.Start), "end": r.instant(&inc.End), "interval": r.duration(&inc.Interval),
		"alerts": func(n *yaml.Node, path string) {
			r.list(n, path, func(n *yaml.Node, path string) {
				var a Alert
				r.mapping(n, path, false, map[string]func(*yaml.Node, string){
					"service": r.text(&a.Service), "signal": r.text(&a.Signal), "at": r.instant(&a.At),
				})
				inc.Alerts = append(inc.Alerts, a)
			})
		},
		"truth": func(n *yaml.Node, path string) {
			r.mapping(n, path, true, map[string]func(*yaml.Node, string){
				"faults": func(n *yaml.Node, path string) {
					r.list(n, path, func(n *yaml.Node, path string) { inc.Truth.Faults = append(inc.Truth.Faults, r.fault(n, path)) })
				},
			})
		},
	})
}

func (r *incidentReader) fault(n *yaml.Node, path string) Fault {
	var f Fault
	r.mapping(n, path, true, map[string]func(*yaml.Node, string){
		"services": r.texts(&f.Services), "fault": r.text(&f.Fault), "injected_at": r.instant(&f.InjectedAt), "ends_at": r.instant(&f.EndsAt),
		"remediation": r.text(&f.Remediation), "blast_radius": r.texts(&f.BlastRadius),
		"mechanism": func(n *yaml.Node, path string) {
			var s string
			r.text(&s)(n, path)
			f.Mechanism = sre.Mechanism(s)
		},
		"change": func(n *yaml.Node, path string) {
			var s string
			r.text(&s)(n, path)
			f.Change = &s
		},
	})
	return f
}

// mapping hands each value to the field of its key. A lax mapping may hold
// other keys too, of which nothing is read.
func (r *incidentReader) mapping(n *yaml.Node, path string, lax bool, fields map[string]func(*yaml.Node, string)) {
	r.places[path] = n
	if n.Kind != yaml.MappingNode {
		r.add(n, path, "this is "+describe(n), "a mapping of "+strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, known := fields[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.add(key, path, "a key is "+describe(key), "a word")
		case !known && lax:
		case !known:
			r.add(key, path, fmt.Sprintf("unknown key %q", cut(key.Value, cutLine)), strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		case seen[key.Value]:
			r.add(key, path, fmt.Sprintf("the key %q stands twice", key.Value), "each key once")
		default:
			seen[key.Value] = true
			below := key.Value
			if path != "" {
				below = path + "." + key.Value
			}
			r.places[below] = value
			field(value, below)
		}
	}
}

func (r *incidentReader) list(n *yaml.Node, path string, item func(*yaml.Node, string)) {
	if n.Kind != yaml.SequenceNode {
		r.add(n, path, "this is "+describe(n), "a list")
		return
	}
	for i, child := range n.Content {
		at := sre.Item(path, i)
		r.places[at] = child
		item(child, at)
	}
}

// describe says what a node is, in place of what it should have been. Aliases
// are refused as everything else that a field does not expect: no recording
// needs them, and a chain of them can be made to grow without bound.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.ShortTag() == "!!null":
		return "empty"
	}
	return strconv.Quote(cut(n.Value, cutLine))
}

func (r *incidentReader) scalar(n *yaml.Node, path, allowed string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.add(n, path, "this is "+describe(n), allowed)
		return "", false
	}
	return n.Value, true
}

func (r *incidentReader) text(dst *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) { *dst, _ = r.scalar(n, path, `a text; "" for none`) }
}

func (r *incidentReader) texts(dst *[]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		r.list(n, path, func(n *yaml.Node, path string) {
			if s, ok := r.scalar(n, path, "a name"); ok {
				*dst = append(*dst, s)
			}
		})
	}
}

func (r *incidentReader) instant(dst *time.Time) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		s, ok := r.scalar(n, path, instantForm)
		if !ok {
			return
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.IsZero() {
			r.add(n, path, "this is "+describe(n), instantForm)
			return
		}
		*dst = t.UTC()
	}
}

func (r *incidentReader) duration(dst *model.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		const allowed = "a duration with its unit, such as 60s or 5m"
		s, ok := r.scalar(n, path, allowed)
		if !ok {
			return
		}
		d, err := model.ParseDuration(s)
		if err != nil {
			r.add(n, path, "this is "+describe(n), allowed)
			return
		}
		*dst = d
	}
}
