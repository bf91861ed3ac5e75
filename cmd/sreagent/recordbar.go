package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// meter shows how far long work is: as a bar where a terminal watches, as a
// line per tenth where not.
type meter struct {
	to    io.Writer
	what  string
	total int
	done  int
	bar   *progressbar.ProgressBar // nil where no terminal watches
}

// newMeter begins at done of total.
func newMeter(to io.Writer, what string, done, total int) *meter {
	m := &meter{to: to, what: what, total: total, done: done}
	if f, ok := to.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		m.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(to), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(barWidth(width(f), len(what), total)), progressbar.OptionClearOnFinish())
		_ = m.bar.Set(done)
	}
	return m
}

// barWidth leaves room on a line for what stands around the bar: percentage,
// count and times. A bar that wraps is never wiped away again.
func barWidth(columns, what, total int) int {
	return max(1, min(30, columns-what-2*len(strconv.Itoa(total))-32))
}

// step notes that one more of the total is done.
func (m *meter) step() {
	before := 10 * m.done / m.total
	m.done++
	if m.bar != nil {
		_ = m.bar.Set(m.done) // what cannot be shown is no reason to stop
		return
	}
	if tenths := 10 * m.done / m.total; tenths > before {
		_, _ = fmt.Fprintf(m.to, "%s: %d %% (%d of %d)\n", m.what, 10*tenths, m.done, m.total)
	}
}

// close leaves the terminal as it was.
func (m *meter) close() {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
}
