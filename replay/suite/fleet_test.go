package suite

import (
	"slices"
	"strings"
	"testing"
)

// topology is what of a story does not depend on what befalls the fleet.
func topology(story string) []string {
	return slices.DeleteFunc(strings.Split(story, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "title") || strings.HasPrefix(line, "seed") || strings.HasPrefix(line, "at ")
	})
}

func TestAFleetStaysWhateverBefallsIt(t *testing.T) {
	first, _ := DrawIn(3, 1, Starved)
	for seed, kind := range []Trouble{Starved, Slowed, Failing, Rush, Lost, Severed, Leak, Doubled, Harmless, Deployed, Flapping} {
		story, atFault := DrawIn(3, uint64(seed), kind)
		if !slices.Equal(topology(first), topology(story)) {
			t.Errorf("%s: the fleet has changed:\n%s", kind, story)
		}
		if again, _ := DrawIn(3, uint64(seed), kind); again != story {
			t.Errorf("%s: the same seed tells another story", kind)
		}
		want := map[Trouble]int{Harmless: 0, Doubled: 2}
		n, special := want[kind]
		if !special {
			n = 1
		}
		if len(atFault) != n {
			t.Errorf("%s: %q are at fault, want %d", kind, atFault, n)
		}
		for _, name := range atFault {
			if !strings.Contains(story, "service "+name+" ") {
				t.Errorf("%s: %s is at fault and not in the fleet", kind, name)
			}
		}
	}
	if other, _ := DrawIn(4, 1, Starved); slices.Equal(topology(first), topology(other)) {
		t.Error("two fleets are the same")
	}
}
