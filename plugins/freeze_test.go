//go:build unix

package plugins

import (
	"syscall"
	"testing"
)

// freeze stops a process, which then neither answers nor ends.
func freeze(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
