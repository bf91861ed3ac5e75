package lever

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

// Prefix begins the names of the annotations that the lever writes.
const Prefix = "sreagent.io/"

// Manager is the field manager of every write.
const Manager = "sreagent"

// lease is the annotation of one action kind on the object it moves. Without an
// action it is only the mark of the last writer, kept so that an older one is
// still refused.
type lease struct {
	Epoch   uint64     `json:"epoch"`
	Seq     uint64     `json:"seq"`
	Action  string     `json:"action,omitempty"`
	Service string     `json:"service,omitempty"`
	Expires time.Time  `json:"expires,omitzero"`
	Before  sre.Params `json:"before,omitempty"` // found before the first move
	Set     sre.Params `json:"set,omitempty"`    // written by the last one
	// Released is set once somebody else has moved the setting: that action is
	// over and is never put in force again.
	Released bool `json:"released,omitempty"`
}

func (l lease) held() bool { return l.Action != "" && !l.Released }

// foreign reports whether somebody else moved what this lease holds.
func (l lease) foreign(have sre.Params) bool {
	return l.Action != "" && (l.Released || !same(have, l.Set))
}

// released is the mark that is left when the lease is over.
func (l lease) over() lease { return lease{Epoch: l.Epoch, Seq: l.Seq} }

// admit refuses a writer that is behind the one that wrote last: of this kind,
// or, by its fencing token, of any kind on the same object.
func (l lease) admit(d sre.Directive, epoch uint64) error {
	if d.Epoch < epoch {
		return sre.Refusedf("fencing token %d is stale: the object has seen %d", d.Epoch, epoch)
	}
	if d.Epoch == l.Epoch && d.Seq < l.Seq {
		return sre.Refusedf("sequence %d is stale: the object has seen %d of epoch %d", d.Seq, l.Seq, l.Epoch)
	}
	return nil
}

func readLease(u *unstructured.Unstructured, kind sre.ActionKind) (lease, error) {
	var l lease
	text, ok := u.GetAnnotations()[Prefix+string(kind)]
	if !ok {
		return l, nil
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return l, sre.Refusedf("annotation %s%s of %s is not ours to read: %v", Prefix, kind, describe(u), err)
	}
	if copied(u, Prefix+string(kind)) {
		return lease{Epoch: l.Epoch}, nil
	}
	return l, nil
}

func writeLease(u *unstructured.Unstructured, kind sre.ActionKind, l lease) error {
	text, err := json.Marshal(l)
	if err != nil {
		return sre.Invalidf("settings cannot be recorded: %v", err)
	}
	notes := u.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[Prefix+string(kind)] = string(text)
	u.SetAnnotations(notes)
	return nil
}

// copied reports whether the annotation was written by others alone. kubectl
// rollout undo brings back the annotations of an old ReplicaSet, to which the
// controller had copied those of the Deployment: such a lease is long over.
func copied(u *unstructured.Unstructured, note string) bool {
	path := []string{"metadata", "annotations", note}
	others := false
	for _, m := range u.GetManagedFields() {
		if !owned(m, path) {
			continue
		}
		if m.Manager == Manager {
			return false
		}
		others = true
	}
	return others
}

// highest returns the highest fencing token that any kind has left on u.
func highest(u *unstructured.Unstructured) (uint64, error) {
	var epoch uint64
	for _, kind := range Kinds() {
		l, err := readLease(u, kind)
		if err != nil {
			return 0, err
		}
		epoch = max(epoch, l.Epoch)
	}
	return epoch, nil
}

// managers names the field managers other than us that own the field, or any
// part of it.
func managers(u *unstructured.Unstructured, path []string) []string {
	var names []string
	for _, m := range u.GetManagedFields() {
		if m.Manager != Manager && owned(m, path) && !slices.Contains(names, m.Manager) {
			names = append(names, m.Manager)
		}
	}
	return names
}

// writers says who moved the field after us.
func writers(u *unstructured.Unstructured, path []string) string {
	names := managers(u, path)
	if len(names) == 0 {
		return "somebody else"
	}
	return strings.Join(names, ", ")
}

// owned reports whether a field manager owns the field or any part of it.
func owned(m metav1.ManagedFieldsEntry, path []string) bool {
	var set map[string]any
	if m.FieldsV1 == nil || json.Unmarshal(m.FieldsV1.GetRawBytes(), &set) != nil {
		return false
	}
	keys := make([]string, len(path))
	for i, p := range path {
		keys[i] = "f:" + p
	}
	_, found, _ := unstructured.NestedFieldNoCopy(set, keys...)
	return found
}

func describe(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return fmt.Sprintf("%s %s", u.GetKind(), u.GetName())
	}
	return fmt.Sprintf("%s %s/%s", u.GetKind(), u.GetNamespace(), u.GetName())
}

// same compares settings as JSON has them: 3 and 3.0 are one number, what is
// nothing may be absent, and a pod template that was restarted is still the same.
func same(a, b sre.Params) bool {
	x, errX := json.Marshal(normal(a))
	y, errY := json.Marshal(normal(b))
	return errX == nil && errY == nil && string(x) == string(y)
}

func normal(p sre.Params) sre.Params {
	out := sre.Params{}
	for name, v := range p {
		switch {
		case v == nil:
		case name == template:
			out[name] = bare(v)
		default:
			out[name] = v
		}
	}
	return out
}
