package lever

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// restartKnob restarts every pod of a workload as its roll-out does: the mark
// on the pod template is the action, so that the same one restarts once.
type restartKnob struct{ Service }

const restartNote = Prefix + "restarted-by"

func (k restartKnob) places(context.Context, *Lever) ([]object, error) {
	return []object{k.workload()}, nil
}

func (k restartKnob) path(*unstructured.Unstructured) []string {
	return []string{"spec", "template", "metadata", "annotations", restartNote}
}

func (k restartKnob) read(_ context.Context, _ *Lever, u *unstructured.Unstructured) (sre.Params, error) {
	by, _, err := unstructured.NestedString(u.Object, "spec", "template", "metadata", "annotations", restartNote)
	if err != nil {
		return nil, sre.Refusedf("%s: %v", describe(u), err)
	}
	return sre.Params{"restarted_by": by}, nil
}

func (k restartKnob) want(ctx context.Context, l *Lever, u *unstructured.Unstructured, _ sre.Params, a sre.Action) (sre.Params, error) {
	have, err := k.read(ctx, l, u)
	if err != nil {
		return nil, err
	}
	if have["restarted_by"] != a.ID && paused(u) {
		return nil, refusePaused(u)
	}
	return sre.Params{"restarted_by": a.ID}, nil
}

func (k restartKnob) write(u *unstructured.Unstructured, set sre.Params) (*unstructured.Unstructured, error) {
	by, _ := set.Text("restarted_by")
	return u, unstructured.SetNestedField(u.Object, by, "spec", "template", "metadata", "annotations", restartNote)
}
