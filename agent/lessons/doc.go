// Package lessons holds no code of the agent. Its tests know what other agents
// got wrong: a table of faults, each of which is planted into a copy of one file
// when the test of its lesson is built, and must make that test fail. A test that
// passes with its fault planted shows nothing.
//
// It owns the table and the check that docs/lessons.md, the table and the tests
// name the same lessons. The tests themselves stand beside what they test, under
// names that begin with TestLesson. It never changes a file of the tree.
//
// Read plants_test.go. `make plants` plants them all.
package lessons
