// Package runbooktest runs the tests that authors write for their runbooks: from
// series in promtool's notation, a graph and a given diagnosis it says which
// runbook is chosen, what its plan would do, and how its checks are judged at any
// instant; from a policy, experience and answers of people what the agent's gate
// decides; and from a story what comes of an agent that has these runbooks.
//
// It owns the form of the files, the snapshots that are made of them, and the
// comparison with what was expected. It decides nothing and reads no file: its
// caller hands over texts and the library under test, and stories are played by
// replay/scenario.
//
// Read file.go for the form, scene.go for how series become snapshots, run.go for
// how an expectation is held, decide.go for decisions and world.go for
// stories. docs/testing-runbooks.md is the reference for authors.
package runbooktest
