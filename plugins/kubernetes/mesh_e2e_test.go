//go:build e2e

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sreagent/sreagent/sre"
)

func (c *cluster) meshAbsent(t *testing.T) {
	w := c.world(t)
	refused(t, w.lever.Apply(t.Context(), at(w.action("i.a", sre.Timeout, sre.Params{"seconds": 2.0}), 1, 1)), sre.CodeRefused, "virtualservices.networking.istio.io")
}

func fields(of map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": of}
}

// trafficPolicySchema has Istio's fields in Istio's form, as far as the lever
// goes: ownership of a field depends on the form.
func trafficPolicySchema() map[string]any {
	whole, text := map[string]any{"type": "integer"}, map[string]any{"type": "string"}
	return map[string]any{"host": text, "trafficPolicy": fields(map[string]any{
		"outlierDetection": fields(map[string]any{
			"consecutive5xxErrors": whole, "interval": text, "baseEjectionTime": text, "maxEjectionPercent": whole,
		}),
		"connectionPool": fields(map[string]any{
			"tcp":  fields(map[string]any{"maxConnections": whole}),
			"http": fields(map[string]any{"http1MaxPendingRequests": whole}),
		}),
	})}
}

func routesSchema() map[string]any {
	route := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return map[string]any{"http": map[string]any{"type": "array", "items": route}}
}

func (w *world) meshObjects(t *testing.T) {
	t.Helper()
	rule := object("DestinationRule", "networking.istio.io/v1", "shop", map[string]any{
		"host": "shop", "trafficPolicy": map[string]any{"outlierDetection": map[string]any{"consecutive5xxErrors": int64(7), "interval": "10s"}},
	})
	route := func(host string) map[string]any {
		return map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": host}}}}
	}
	first, second := route("shop"), route("shop-beta")
	first["timeout"] = "3s"
	second["retries"] = map[string]any{"attempts": int64(3), "perTryTimeout": "1s"}
	service := object("VirtualService", "networking.istio.io/v1", "shop", map[string]any{"hosts": []any{"shop"}, "http": []any{first, second}})
	_, err := w.at("networking.istio.io", "v1", "destinationrules").Create(t.Context(), rule, metav1.CreateOptions{FieldManager: "deployer"})
	must(t, err)
	_, err = w.at("networking.istio.io", "v1", "virtualservices").Create(t.Context(), service, metav1.CreateOptions{FieldManager: "deployer"})
	must(t, err)
}

func (w *world) spec(t *testing.T, resource string) map[string]any {
	t.Helper()
	u, err := w.at("networking.istio.io", "v1", resource).Get(t.Context(), "shop", metav1.GetOptions{})
	must(t, err)
	spec, _, err := unstructured.NestedMap(u.Object, "spec")
	must(t, err)
	return spec
}

func (c *cluster) mesh(t *testing.T) {
	w := c.world(t)
	w.meshObjects(t)
	rules, routes := w.spec(t, "destinationrules"), w.spec(t, "virtualservices")
	steps := []sre.Action{
		w.action("i.breaker", sre.Breaker, sre.Params{"consecutive": 3.0, "open_seconds": 30.0, "max_connections": 50.0}),
		w.action("i.timeout", sre.Timeout, sre.Params{"seconds": 0.5}),
		w.action("i.retries", sre.RetryBudget, sre.Params{"ratio": 0.0}),
	}
	for i, a := range steps {
		must(t, w.lever.Apply(t.Context(), at(a, 1, uint64(i))))
	}
	for _, a := range steps {
		if st := w.probe(t, a); !st.InEffect {
			t.Errorf("%s: %+v", a.ID, st)
		}
	}
	tuned := w.spec(t, "destinationrules")
	want := map[string]any{
		"outlierDetection": map[string]any{"consecutive5xxErrors": int64(3), "baseEjectionTime": "30s", "interval": "10s"},
		"connectionPool":   map[string]any{"tcp": map[string]any{"maxConnections": int64(50)}},
	}
	if diff := cmp.Diff(want, tuned["trafficPolicy"]); diff != "" {
		t.Errorf("the rule is not as wanted:\n%s", diff)
	}
	u, err := w.at("networking.istio.io", "v1", "destinationrules").Get(t.Context(), "shop", metav1.GetOptions{})
	must(t, err)
	owned := ""
	for _, m := range u.GetManagedFields() {
		if m.Manager == "sreagent" && m.Operation == metav1.ManagedFieldsOperationApply {
			owned = m.FieldsV1.GetRawString()
		}
	}
	if !strings.Contains(owned, "f:maxConnections") || strings.Contains(owned, "f:interval") || strings.Contains(owned, "f:host") {
		t.Errorf("we own %s", owned)
	}
	for i, a := range steps {
		must(t, w.lever.Revert(t.Context(), at(a, 1, uint64(10+i))))
	}
	if diff := cmp.Diff(rules, w.spec(t, "destinationrules")); diff != "" {
		t.Errorf("the rule is not what it was:\n%s", diff)
	}
	if diff := cmp.Diff(routes, w.spec(t, "virtualservices")); diff != "" {
		t.Errorf("the routes are not what they were:\n%s", diff)
	}
	// A second action that names other fields takes none of the first ones away.
	again := w.action("i.again", sre.Breaker, sre.Params{"max_pending": 9.0})
	must(t, w.lever.Apply(t.Context(), at(again, 1, 20)))
	if n, _, _ := unstructured.NestedInt64(w.spec(t, "destinationrules"), "trafficPolicy", "outlierDetection", "consecutive5xxErrors"); n != 7 {
		t.Errorf("consecutive5xxErrors is %d", n)
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"trafficPolicy": map[string]any{"connectionPool": map[string]any{"http": map[string]any{"http1MaxPendingRequests": 10}}}}})
	must(t, err)
	_, err = w.at("networking.istio.io", "v1", "destinationrules").Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"})
	must(t, err)
	if st := w.probe(t, again); !st.Foreign || !strings.Contains(st.Detail, "somebody") {
		t.Errorf("after a foreign write: %+v", st)
	}
	must(t, w.lever.Revert(t.Context(), at(again, 1, 21)))
	if n, _, _ := unstructured.NestedInt64(w.spec(t, "destinationrules"), "trafficPolicy", "connectionPool", "http", "http1MaxPendingRequests"); n != 10 {
		t.Errorf("a foreign value was overwritten: %d", n)
	}
}
