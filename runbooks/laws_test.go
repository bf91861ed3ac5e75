package runbooks

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

// lawNames are those that the agent brings along.
var lawNames = []string{"overload", "scale", "staged"}

func TestALawThatDoesNotExistIsAMistakeAtItsPlace(t *testing.T) {
	l := fromText(t, string(variant(t, `rps: "${0.9 * served(root)}"`+"\n", `rps: "${0.9 * served(root)}"`+"\n          law: shedding\n")))
	for _, c := range []struct {
		names []string
		want  string
	}{
		{lawNames, `one.yaml:22:16: no control law is named "shedding"; allowed: overload, scale, staged`},
		{nil, `one.yaml:22:16: no control law is named "shedding"; allowed: none`},
	} {
		err := l.CheckLaws(c.names)
		if err == nil {
			t.Fatal("taken for a law")
		}
		if diff := cmp.Diff(c.want, err.Error()); diff != "" {
			t.Errorf("message (-want +got):\n%s", diff)
		}
	}
	if err := l.CheckLaws([]string{"shedding"}); err != nil {
		t.Error(err)
	}
}

func TestShippedShedsAreMovedByTheOverloadLaw(t *testing.T) {
	if err := shipped(t).CheckLaws(lawNames); err != nil {
		t.Error(err)
	}
	sheds := 0
	shipped(t).eachAction(func(a action) {
		if a.kind == sre.Shed {
			sheds++
		}
		if (a.kind == sre.Shed) != (a.law == "overload") {
			t.Errorf("%s of %s has law %q", a.kind, a.at.file, a.law)
		}
	})
	if sheds == 0 {
		t.Error("no sheds to look at")
	}
}

func TestAPlanCarriesTheLaw(t *testing.T) {
	plan, rejected := only(t, "overload").Match(newShop(sre.Overload).facts())
	if plan == nil {
		t.Fatalf("no plan: %v", rejected)
	}
	for i, st := range plan.Steps {
		for _, a := range st.Actions {
			want := ""
			if a.Kind == sre.Shed {
				want = "overload"
			}
			if a.Law != want {
				t.Errorf("step %d: %s has law %q, want %q", i, a.Kind, a.Law, want)
			}
		}
	}
	if last := plan.Steps[1].Actions; last[len(last)-1].Kind != sre.Shed {
		t.Errorf("the second step ends with %s", last[len(last)-1].Kind)
	}
}
