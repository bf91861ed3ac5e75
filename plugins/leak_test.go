package plugins

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// A plugin that dies again and again costs nothing that lasts: no file, no
// folder, no goroutine.
func TestRestartsLeaveNothingBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("open files are counted in /proc")
	}
	folder, err := os.MkdirTemp("", "p") // short: the path of a socket has 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	t.Setenv("TMPDIR", folder)
	c := newClock()
	h := start(t, as(t, "ends in apply"), Options{After: c.after})
	defer h.Close()
	c.next(time.Hour) // up
	restart := func() {
		wantCode(t, h.Plugins()[0].Apply(t.Context(), directive(1)), sre.CodeUnknown)
		for w := range c.asked {
			if w.d != time.Hour { // it is down, and waits for its next start
				w.fire <- time.Time{}
				break
			}
		}
		c.next(time.Hour) // up again
	}
	restart()
	opened, routines := openFiles(t), runtime.NumGoroutine()
	const starts = 6
	for range starts {
		restart()
	}
	// A leak is one of them with each start. The last process but one may still
	// be letting go.
	leaks := func() bool { return openFiles(t)-opened >= starts || runtime.NumGoroutine()-routines >= starts }
	for deadline := time.Now().Add(bound * generous); leaks(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d files and %d goroutines after %d more starts, %d and %d before", openFiles(t), runtime.NumGoroutine(), starts, opened, routines)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 1 {
		t.Errorf("folders of sockets: %v, %v", left, err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
