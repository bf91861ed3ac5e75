package suite

import (
	"testing"
)

func TestDrawnStoriesParse(t *testing.T) {
	if _, err := Generate(300, 5); err != nil {
		t.Fatal(err)
	}
}
