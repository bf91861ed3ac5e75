//go:build !linux

package plugins

import "os/exec"

// Without Linux's process groups and death signals only the plugin itself can be
// ended, and not what it forked.

func isolate(*exec.Cmd) {}

func pinThread() (unpin func()) { return func() {} }

func awaitExit(cmd *exec.Cmd) (reap func() error) {
	err := cmd.Wait()
	return func() error { return err }
}

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
