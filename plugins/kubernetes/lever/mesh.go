package lever

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// breakerKnob moves outlier detection and connection pool of a DestinationRule.
type breakerKnob struct{ Service }

// meshField is where a parameter stands below spec.trafficPolicy, and whether
// it is a duration there.
type meshField struct {
	param    string
	path     []string
	duration bool
}

var meshFields = []meshField{
	{"consecutive", []string{"outlierDetection", "consecutive5xxErrors"}, false},
	{"open_seconds", []string{"outlierDetection", "baseEjectionTime"}, true},
	{"interval_seconds", []string{"outlierDetection", "interval"}, true},
	{"max_ejected_percent", []string{"outlierDetection", "maxEjectionPercent"}, false},
	{"max_connections", []string{"connectionPool", "tcp", "maxConnections"}, false},
	{"max_pending", []string{"connectionPool", "http", "http1MaxPendingRequests"}, false},
}

func (f meshField) at() []string { return append([]string{"spec", "trafficPolicy"}, f.path...) }

func (k breakerKnob) places(context.Context, *Lever) ([]object, error) {
	return []object{{resource: destinationRules, namespace: k.Namespace, name: k.DestinationRule, apply: true}}, nil
}

func (k breakerKnob) path(*unstructured.Unstructured) []string {
	return []string{"spec", "trafficPolicy"}
}

func (k breakerKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	have := sre.Params{}
	for _, f := range meshFields {
		v, found, err := unstructured.NestedFieldNoCopy(u.Object, f.at()...)
		if err != nil {
			return nil, sre.Refusedf("%s: %v", describe(u), err)
		}
		if !found {
			have[f.param] = nil // so that going back takes it away again
			continue
		}
		n, err := meshNumber(v)
		if err != nil {
			return nil, sre.Refusedf("%s: %s: %v", describe(u), strings.Join(f.path, "."), err)
		}
		have[f.param] = n
		spell(have, f.param, v)
	}
	return have, nil
}

// kept begins the names of settings that are there to go back to and that no
// action names.
const kept = "kept."

// spell keeps a duration as it was written where we would write it otherwise.
func spell(have sre.Params, param string, v any) {
	n, _ := have.Float(param)
	if text, ok := v.(string); ok && text != seconds(n) {
		have[kept+param] = text
	}
}

// spelled is how a duration is to be written.
func spelled(set sre.Params, param string) string {
	if text, ok := set.Text(kept + param); ok {
		return text
	}
	n, _ := set.Float(param)
	return seconds(n)
}

// respell forgets the spelling of a value that is not wanted.
func respell(want, have sre.Params, param string) {
	if n, ok := have.Float(param); ok && n != want[param] {
		want[kept+param] = nil
	}
}

func meshNumber(v any) (float64, error) {
	switch v := v.(type) {
	case int64:
		return float64(v), nil
	case float64:
		return v, nil
	case string:
		d, err := time.ParseDuration(v)
		return d.Seconds(), err
	}
	return 0, fmt.Errorf("%v is no number", v)
}

func (k breakerKnob) want(_ context.Context, _ *Lever, _ *unstructured.Unstructured, have sre.Params, a sre.Action) (sre.Params, error) {
	if len(a.Params) == 0 {
		return nil, sre.Invalidf("breaker: no parameter is given")
	}
	want := sre.Params{}
	for name := range a.Params {
		n, _ := a.Params.Float(name)
		want[name] = n
		respell(want, have, name)
	}
	for _, f := range meshFields {
		if n, ok := want.Float(f.param); ok && !f.duration && n != math.Trunc(n) {
			return nil, sre.Invalidf("breaker: parameter %q is %v, want a whole number", f.param, n)
		}
	}
	return want, nil
}

// write returns only the fields that are ours to say: those that are set, and
// those that we own already, which the server would take away if left out.
func (k breakerKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	out := ours(u)
	have, err := k.read(context.Background(), nil, u)
	if err != nil {
		return nil, err
	}
	for _, f := range meshFields {
		n, ok := set.Float(f.param)
		text := kept + f.param
		if !ok || have[f.param] == n && have[text] == set[text] && !owns(u, f.at()) {
			continue
		}
		var v any = int64(n)
		if f.duration {
			v = spelled(set, f.param)
		}
		if err := unstructured.SetNestedField(out.Object, v, f.at()...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func seconds(n float64) string { return time.Duration(n * float64(time.Second)).String() }

// ours is the empty intent on u: its name, the version that was read, and the
// annotations that the lever keeps there.
func ours(u *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{}}
	out.SetAPIVersion(u.GetAPIVersion())
	out.SetKind(u.GetKind())
	out.SetName(u.GetName())
	out.SetNamespace(u.GetNamespace())
	out.SetResourceVersion(u.GetResourceVersion())
	notes := map[string]string{}
	for name, text := range u.GetAnnotations() {
		if strings.HasPrefix(name, Prefix) {
			notes[name] = text
		}
	}
	out.SetAnnotations(notes)
	return out
}

// owns reports whether server-side apply has put the field into our hands.
func owns(u *unstructured.Unstructured, path []string) bool {
	return slices.ContainsFunc(u.GetManagedFields(), func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == Manager && m.Operation == metav1.ManagedFieldsOperationApply && owned(m, path)
	})
}
