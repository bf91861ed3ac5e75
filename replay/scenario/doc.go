// Package scenario tells stories to the simulated world: text files that hold a
// topology, faults, people's answers and what is expected, and runs of them with
// and without the agent, scored and written down.
//
// Parse reads a file, Run plays it, Transcript writes what happened; Library
// holds the stories that come with the agent. It never reads a file, a clock or
// a source of chance: the same text and seed give the same result, byte for
// byte. Start reading at scenario.go for the parts of a story, directives.go for
// the grammar and run.go for how one is played; docs/scenarios.md is the
// reference for authors.
package scenario
