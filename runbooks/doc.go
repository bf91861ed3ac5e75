// Package runbooks owns the runbook language: reading and checking the files,
// choosing a runbook for a diagnosed incident, making it concrete as a plan of
// absolute settings, and judging the checks of a plan against what is seen. It
// also carries the shipped library.
//
// It never touches a lever, reads a clock or keeps state about an incident:
// the same files and the same facts give the same plan, byte for byte.
//
// A check that asks for a reading which is not fresh is judged as no data,
// whatever the rest of the expression says. Read language.go for what an
// expression may use, load.go for how files become a Library, match.go for how
// a plan is made and evaluate.go for how a check is judged. docs/runbooks.md is
// the reference for people who write runbooks.
package runbooks
