package lever

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

func (f *fake) pods() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, name := range []string{"a", "b", "bare"} {
		if f.objects["pods/web/"+name] != nil {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func TestDrainGoesOnWhileItHolds(t *testing.T) {
	f := newFake(t)
	f.fill()
	f.set(func() { f.held["b"] = http.StatusTooManyRequests })
	l, a := testLever(t, f), action("i.a", sre.Drain, nil)
	must(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)))
	if st := probe(t, l, a); st.InEffect || st.Owner != a.ID || st.Detail != "1 pods are still to leave" {
		t.Errorf("held by a budget: %+v", st)
	}
	f.set(func() { clear(f.held) })
	must(t, l.Sweep(t.Context(), testTime()))
	if st := probe(t, l, a); !st.InEffect {
		t.Errorf("after the budget: %+v", st)
	}
}

// One pod that cannot be evicted keeps no other.
func TestOnePodHoldsNoOther(t *testing.T) {
	for code, want := range map[int]sre.Code{
		http.StatusTooManyRequests: "", http.StatusConflict: "", http.StatusNotFound: "",
		http.StatusForbidden: sre.CodeFailed, http.StatusInternalServerError: sre.CodeUnknown, // as with two budgets for one pod
	} {
		f := newFake(t)
		f.fill()
		f.set(func() { f.held["a"] = code })
		l, a := testLever(t, f), action("i.a", sre.Drain, nil)
		err := l.Apply(t.Context(), directive(a, 5, 1, time.Minute))
		if sre.CodeOf(err) != want || f.pods() != "a" {
			t.Errorf("%d: %v, and %q are left", code, err, f.pods())
		}
		if err != nil && !strings.Contains(err.Error(), "web/a") {
			t.Errorf("%d: %v does not name the pod", code, err)
		}
		if st := probe(t, l, a); st.InEffect || st.Owner != a.ID {
			t.Errorf("%d: %+v", code, st)
		}
	}
}

// A pod of a namespace that is being deleted goes by itself.
func TestAPodOfADyingNamespaceIsLeftToIt(t *testing.T) {
	f := newFake(t)
	f.fill()
	f.set(func() { f.held["a"], f.cause = http.StatusForbidden, "NamespaceTerminating" })
	must(t, testLever(t, f).Apply(t.Context(), directive(action("i.a", sre.Drain, nil), 5, 1, time.Minute)))
}

// A pod that nothing would start again comes after the node was closed: that is
// said, as a failure where a refusal would say that nothing was touched.
func TestAPodThatCannotGoComesLater(t *testing.T) {
	f := newFake(t)
	f.fill()
	l, a := testLever(t, f), action("i.a", sre.Drain, nil)
	bare := doc{"apiVersion": "v1", "kind": "Pod", "metadata": doc{"name": "bare", "namespace": "web"}, "spec": doc{"nodeName": "node-1"}}
	f.set(func() { f.before = func(_, _ string) { f.objects["pods/web/bare"] = bare } })
	wantCode(t, l.Apply(t.Context(), directive(a, 5, 1, time.Minute)), sre.CodeFailed)
	st := probe(t, l, a)
	if st.InEffect || st.Owner != a.ID || !strings.Contains(st.Detail, "web/bare") {
		t.Errorf("with a pod that cannot go: %+v", st)
	}
	if f.pods() != "bare" {
		t.Errorf("%q are left", f.pods())
	}
	must(t, l.Revert(t.Context(), directive(a, 5, 2, time.Minute)))
}
