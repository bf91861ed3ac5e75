package scenario

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExpectations holds of which arm of one story each claim is true.
func TestExpectations(t *testing.T) {
	text, err := fs.ReadFile(Library(), "retry-storm.scenario")
	if err != nil {
		t.Fatal(err)
	}
	story, _, _ := strings.Cut(string(text), "\nexpect ")
	first := strings.Count(story, "\n") + 2
	claims := []struct {
		claim   string
		off, on string // what is found where it does not hold
	}{
		{"recovered", "a goodput of 0.000 at the end after 1.000 before", ""},
		{"not recovered", "", "recovery after 50 s"},
		{"recovered within 45s", "a goodput of 0.000 at the end after 1.000 before", "recovery after 50 s"},
		{"recovered within 75s", "a goodput of 0.000 at the end after 1.000 before", ""},
		{"cascade", "", ""},
		{"no cascade", "a cascade, 3 services in trouble", "a cascade, 3 services in trouble"},
		{"detected", "no detection", ""},
		{"not detected", "", "detection after 5 s"},
		{"detected within 4s", "no detection", "detection after 5 s"},
		{"action queue_bound on inventory", "no action", ""},
		{"action on inventory", "no action", ""},
		{"no action rollback", "", ""},
		{"action retry_budget on inventory", "no action", "queue_bound on inventory"},
		{"no actions", "", "queue_bound on inventory"},
		{"cause inventory", "no cause", ""},
		{"cause inventory overload", "no cause", "retry_storm at inventory"},
		{"verdict act", "no decision", ""},
		{"verdict ask", "no decision", "verdict act"},
		{"escalated", "no escalation", "no escalation"},
		{"lifted", "", ""},
		{"goodput_after >= 98%", "0", ""},
		{"goodput_min < 1", "", ""},
		{"services_affected = 3", "", ""},
		{"actions > 1", "0", "1"},
		{"harmful <= 0", "", ""},
		{"recovered_after < 100", "+Inf", ""},
		{"detected_after = 5", "+Inf", ""},
		{"first_action_after = 25", "+Inf", ""},
		{"incidents >= 1", "0", ""},
	}
	for _, c := range claims {
		story += "\nexpect " + c.claim
	}
	s := parsed(t, story)
	for _, on := range []bool{false, true} {
		var want []string
		for i, c := range claims {
			found := c.off
			if on {
				found = c.on
			}
			if found != "" {
				want = append(want, fmt.Sprintf("small.scenario:%d: expected %s, found %s", first+i, c.claim, found))
			}
		}
		if diff := cmp.Diff(want, play(t, s, Options{Agent: on}).Failures); diff != "" {
			t.Errorf("agent %v, failures (-want +got):\n%s", on, diff)
		}
	}
}

// TestExpectationsOfAnArm holds that a claim about one arm leaves the other
// alone, and that what is still in effect is not lifted.
func TestExpectationsOfAnArm(t *testing.T) {
	text, err := fs.ReadFile(Library(), "people-reject.scenario")
	if err != nil {
		t.Fatal(err)
	}
	story, _, _ := strings.Cut(string(text), "\npolicy ")
	s := parsed(t, strings.Replace(story, "\nrun 12m", "\nrun 3m", 1)+"\nexpect on lifted\nexpect off recovered\nexpect on escalated\n")
	off, on := play(t, s, Options{}).Failures, play(t, s, Options{Agent: true}).Failures
	if len(off) != 1 || !strings.Contains(off[0], "expected recovered") {
		t.Errorf("without the agent: %q", off)
	}
	want := []string{"expected lifted, found queue_bound on guard/inventory is in_effect", "expected escalated, found no escalation"}
	if len(on) != 2 || !strings.HasSuffix(on[0], want[0]) || !strings.HasSuffix(on[1], want[1]) {
		t.Errorf("with the agent: %q, want %q", on, want)
	}
}
