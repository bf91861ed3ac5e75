package lever

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// routeKnob moves timeout or retries of every HTTP route of a VirtualService.
type routeKnob struct {
	Service
	kind sre.ActionKind
}

func (k routeKnob) places(context.Context, *Lever) ([]object, error) {
	return []object{{resource: virtualServices, namespace: k.Namespace, name: k.VirtualService, apply: true}}, nil
}

func (k routeKnob) field() (param string, path []string) {
	if k.kind == sre.Timeout {
		return "seconds", []string{"timeout"}
	}
	return "ratio", []string{"retries", "attempts"}
}

func (k routeKnob) path(*unstructured.Unstructured) []string { return []string{"spec", "http"} }

// read returns the one value that all routes have; where they differ, the
// values are kept by their place, to go back to.
func (k routeKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	param, path := k.field()
	routes, _, err := unstructured.NestedSlice(u.Object, "spec", "http")
	if err != nil {
		return nil, sre.Refusedf("%s: %v", describe(u), err)
	}
	have := sre.Params{kept + "routes": identity(routes)}
	for i, r := range routes {
		route, ok := r.(map[string]any)
		if !ok {
			return nil, sre.Refusedf("%s: HTTP route %d is no route", describe(u), i)
		}
		v, found, err := unstructured.NestedFieldNoCopy(route, path...)
		if err != nil {
			return nil, sre.Refusedf("%s: HTTP route %d: %v", describe(u), i, err)
		}
		var n any
		if found {
			if n, err = meshNumber(v); err != nil {
				return nil, sre.Refusedf("%s: HTTP route %d: %v", describe(u), i, err)
			}
		}
		name := fmt.Sprintf("%s.%d", param, i)
		have[name] = n
		if k.kind == sre.Timeout {
			spell(have, name, v)
		}
	}
	return have, nil
}

// identity tells a list of routes from another: what each is for, and not how
// much of it goes where, which canaries move all the time.
func identity(routes []any) string {
	type what struct {
		Name, Match  any
		Destinations []any
	}
	var all []what
	for _, r := range routes {
		route, _ := r.(map[string]any)
		w := what{Name: route["name"], Match: route["match"]}
		to, _, _ := unstructured.NestedSlice(route, "route")
		for _, t := range to {
			each, _ := t.(map[string]any)
			w.Destinations = append(w.Destinations, each["destination"])
		}
		all = append(all, w)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err.Error() // what came as JSON goes as JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func (k routeKnob) want(_ context.Context, _ *Lever, u *unstructured.Unstructured, have sre.Params, a sre.Action) (sre.Params, error) {
	param, _ := k.field()
	n, _ := a.Params.Float(param)
	if k.kind == sre.RetryBudget {
		n = math.Floor(n) // the mesh counts whole retries; never more than was asked for
	}
	want := sre.Params{}
	for name := range have {
		if strings.HasPrefix(name, param+".") {
			want[name] = n
			respell(want, have, name)
		}
	}
	if len(want) == 0 {
		return nil, sre.Refusedf("%s has no HTTP route", describe(u))
	}
	return want, nil
}

func (k routeKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	out := ours(u)
	param, path := k.field()
	routes, _, err := unstructured.NestedSlice(u.Object, "spec", "http")
	if err != nil {
		return nil, err
	}
	for i, r := range routes {
		route := r.(map[string]any)
		name := fmt.Sprintf("%s.%d", param, i)
		n, ok := set.Float(name)
		switch {
		case !ok:
			unstructured.RemoveNestedField(route, path...)
			if left, _ := route[path[0]].(map[string]any); left != nil && len(left) == 0 {
				delete(route, path[0])
			}
		case k.kind == sre.Timeout:
			err = unstructured.SetNestedField(route, spelled(set, name), path...)
		default:
			err = unstructured.SetNestedField(route, int64(n), path...)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, unstructured.SetNestedSlice(out.Object, routes, "spec", "http")
}
