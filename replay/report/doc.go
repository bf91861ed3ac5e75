// Package report writes what came of a replay, a scenario or a back-test as one
// HTML file that needs nothing else: no network, no font, no script.
//
// It owns the pages and the collecting of time series for them. It never runs
// an agent, never judges, and never reads a clock: the same input gives the same
// bytes. All names in its input count as hostile, since they come from files of
// strangers: they are cleaned in words.go and escaped by html/template.
//
// Read replay.go, scenario.go and backtest.go for the three pages, recorder.go
// for the time series, story.go for how records become a story, and chart.go for
// how gonum's plots become part of a page.
package report
