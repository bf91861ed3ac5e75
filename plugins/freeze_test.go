//go:build unix

package plugins

import (
	"errors"
	"syscall"
	"testing"
)

// freeze stops a process, which then neither answers nor ends. It returns when
// every thread of it stands still: until then one could answer a last call.
func freeze(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for {
		var status syscall.WaitStatus
		switch _, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); {
		case err == nil && status.Stopped():
			return
		case err != nil && !errors.Is(err, syscall.EINTR):
			t.Fatal(err)
		case err == nil:
			t.Fatalf("it ended: %v", status)
		}
	}
}
