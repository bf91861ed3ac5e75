package lever

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// templateOf returns the pod template in the one form in which two are equal.
func templateOf(u *unstructured.Unstructured) (string, error) {
	value, _, err := unstructured.NestedMap(u.Object, "spec", "template")
	if err != nil {
		return "", sre.Refusedf("%s has no pod template: %v", describe(u), err)
	}
	unstructured.RemoveNestedField(value, "metadata", "labels", hashLabel)
	unstructured.RemoveNestedField(value, "metadata", "creationTimestamp")
	text, err := json.Marshal(value)
	return string(text), err
}

// restartNotes are what restarts write into a pod template, ours and kubectl's.
// Templates that differ in nothing else run the same.
var restartNotes = []string{restartNote, "kubectl.kubernetes.io/restartedAt"}

// bare returns a pod template without what only restarts it.
func bare(text any) any {
	written, ok := text.(string)
	if !ok {
		return text
	}
	var value map[string]any
	if json.Unmarshal([]byte(written), &value) != nil {
		return text
	}
	for _, note := range restartNotes {
		unstructured.RemoveNestedField(value, "metadata", "annotations", note)
	}
	if notes, found, err := unstructured.NestedMap(value, "metadata", "annotations"); found && err == nil && len(notes) == 0 {
		unstructured.RemoveNestedField(value, "metadata", "annotations")
	}
	return value
}

// alike reports whether two pod templates run the same.
func alike(a, b any) bool {
	return same(sre.Params{template: a}, sre.Params{template: b})
}

// rolls refuses what would only be written and never rolled out.
func rolls(u *unstructured.Unstructured, text string) error {
	have, err := templateOf(u)
	if err != nil || alike(have, text) || !paused(u) {
		return err
	}
	return refusePaused(u)
}

func paused(u *unstructured.Unstructured) bool {
	on, _, _ := unstructured.NestedBool(u.Object, "spec", "paused")
	return on && u.GetKind() == "Deployment"
}

func refusePaused(u *unstructured.Unstructured) error {
	return sre.Refusedf("%s is paused, so that nothing would be rolled out; kubectl rollout resume ends that", describe(u))
}
