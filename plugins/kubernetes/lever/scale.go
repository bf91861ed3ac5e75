package lever

import (
	"context"
	"math"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// scaleKnob moves how many replicas a workload has: its own number, or the
// least of the autoscaler that would overrule it.
type scaleKnob struct{ Service }

func (k scaleKnob) places(ctx context.Context, l *Lever) ([]object, error) {
	at := k.workload()
	all, err := l.list(ctx, autoscalers, k.Namespace, "")
	if err != nil {
		return nil, err
	}
	out := []object{at}
	for _, hpa := range all {
		scaler := object{resource: autoscalers, namespace: k.Namespace, name: hpa.GetName()}
		ref, _, _ := unstructured.NestedStringMap(hpa.Object, "spec", "scaleTargetRef")
		if strings.EqualFold(ref["kind"]+"/"+ref["name"], k.Workload) {
			out = slices.Insert(out, 0, scaler)
		} else if held, err := readLease(&hpa, sre.Scale); err == nil && held.Action != "" && held.Service == k.Service.Service {
			out = append(out, scaler) // it has turned to another workload since
		}
	}
	return out, nil
}

func replicasField(u *unstructured.Unstructured) string {
	if u.GetKind() == "HorizontalPodAutoscaler" {
		return "minReplicas"
	}
	return "replicas"
}

func (k scaleKnob) path(u *unstructured.Unstructured) []string {
	return []string{"spec", replicasField(u)}
}

func (k scaleKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	n, found, err := unstructured.NestedInt64(u.Object, "spec", replicasField(u))
	if err != nil {
		return nil, sre.Refusedf("%s: %v", describe(u), err)
	}
	if !found {
		n = 1 // the API's own default
	}
	return sre.Params{"replicas": float64(n)}, nil
}

func (k scaleKnob) want(ctx context.Context, l *Lever, u *unstructured.Unstructured, _ sre.Params, a sre.Action) (sre.Params, error) {
	n, _ := a.Params.Float("replicas")
	if n != math.Trunc(n) {
		return nil, sre.Invalidf("replicas is %v, want a whole number", n)
	}
	if int(n) < k.MinReplicas || int(n) > k.MaxReplicas {
		return nil, sre.Refusedf("replicas is %v, and %s may have %d to %d", n, k.Service.Service, k.MinReplicas, k.MaxReplicas)
	}
	if most, ok, _ := unstructured.NestedInt64(u.Object, "spec", "maxReplicas"); ok && int64(n) > most {
		return nil, sre.Refusedf("replicas is %v, and %s allows at most %d", n, describe(u), most)
	}
	if replicasField(u) == "minReplicas" && n > 0 {
		w, err := l.get(ctx, k.workload())
		if err != nil {
			return nil, err
		}
		if have, err := k.read(ctx, l, w); err != nil || have["replicas"] == 0.0 {
			return nil, sre.Refusedf("%s has 0 replicas, at which its autoscaler does nothing", describe(w))
		}
	}
	return sre.Params{"replicas": n}, nil
}

func (k scaleKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	n, _ := set.Float("replicas")
	return u, unstructured.SetNestedField(u.Object, int64(n), "spec", replicasField(u))
}
