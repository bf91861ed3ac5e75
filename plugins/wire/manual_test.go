package wire

import (
	"strings"
	"testing"
)

// A person runs these commands: they come whole, and as they look, or not at all.
func TestCommandsAreTakenWholeOrNotAtAll(t *testing.T) {
	for _, good := range []string{"", "curl -X DELETE 'http://shop/x'\n\techo done", "echo ä"} {
		if got, err := checkCommands(good); err != nil || got != good {
			t.Errorf("%q: got %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{strings.Repeat("x", maxCommands+1), "echo safe\rrm -rf x", "\x1b[8mrm\x1b[0m", "echo \u202ex", "\xff"} {
		if got, err := checkCommands(bad); err == nil || got != "" {
			t.Errorf("%.20q is taken: %q", bad, got)
		}
	}
}
