package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// plainEvery is how often an unchanged goodput is printed.
const plainEvery = 5

// plainScreen prints lines, for pipes, logs and small screens.
type plainScreen struct {
	out   io.Writer
	began time.Time
	reply chan answer
	over  chan struct{} // closed when nobody listens any more

	quiet     int // seconds since the last one that was printed
	lastRatio float64

	mu   sync.Mutex
	open string // decision that waits for an answer
}

func newPlain(out io.Writer, o Options) *plainScreen {
	p := &plainScreen{out: out, began: time.Now(), reply: make(chan answer), over: make(chan struct{}), quiet: plainEvery}
	if !o.Yes {
		// A read of a terminal cannot be taken back: this ends with its input.
		go p.listen(o.In)
	}
	return p
}

func (p *plainScreen) line(format string, args ...any) {
	at := time.Since(p.began).Round(time.Second)
	// Nobody to tell is no reason to stop: the result still counts.
	_, _ = fmt.Fprintf(p.out, "%3d:%02d  %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}

func (p *plainScreen) phase(title string) { p.line("== %s", title) }

func (p *plainScreen) tell(text string) { p.line("%s", text) }

func (p *plainScreen) second(s GoodputSample, retries float64) {
	ratio := s.Total.Ratio()
	p.quiet++
	if p.quiet < plainEvery && math.Abs(ratio-p.lastRatio) < 0.1 {
		return
	}
	p.quiet, p.lastRatio = 0, ratio
	p.line("goodput %3.0f %%  retries %3.0f/s  %s", ratio*100, retries, bar(ratio, 20))
}

func (p *plainScreen) show(*sre.View) {}

func (p *plainScreen) ask(q question) {
	for _, l := range q.lines {
		p.line("  %s", l)
	}
	// It is open before anybody can read that it is: an answer may come at once.
	p.mu.Lock()
	p.open = q.decision
	p.mu.Unlock()
	p.line("Answer y or n, then Enter.")
}

func (p *plainScreen) withdraw() { p.take() }

// take returns the decision that waits, and closes the question.
func (p *plainScreen) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := p.open
	p.open = ""
	return open
}

func (p *plainScreen) answers() <-chan answer { return p.reply }

// listen turns lines into answers. Lines without a question are ignored.
func (p *plainScreen) listen(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var yes bool
		switch strings.ToLower(strings.TrimSpace(lines.Text())) {
		case "y", "yes":
			yes = true
		case "n", "no":
		default:
			continue
		}
		if decision := p.take(); decision != "" {
			select {
			case p.reply <- answer{decision, yes}:
			case <-p.over:
				return
			}
		}
	}
}

func (p *plainScreen) close(r Result, err error) {
	close(p.over)
	for _, l := range summary(r, err) {
		p.line("%s", l)
	}
}

// summary is the end of the story.
func summary(r Result, err error) []string {
	if errors.Is(err, context.Canceled) {
		return []string{"Stopped."}
	}
	lines := []string{
		fmt.Sprintf("Without the agent: goodput %.0f %% before, %.0f %% in the end.", r.WithoutAgent.GoodputBefore*100, r.WithoutAgent.GoodputAfterTrigger*100),
		fmt.Sprintf("With the agent:    goodput %.0f %% before, %.0f %% in the end.", r.WithAgent.GoodputBefore*100, r.WithAgent.GoodputAfterTrigger*100),
	}
	if r.WithAgent.RecoveredAfter != nil && r.WithAgent.DetectedAfter != nil && r.WithAgent.FirstActionAfter != nil {
		lines = append(lines, fmt.Sprintf("Detected after %.0f s, acted after %.0f s, recovered after %.0f s; %d levers moved, %d moved back.",
			*r.WithAgent.DetectedAfter, *r.WithAgent.FirstActionAfter, *r.WithAgent.RecoveredAfter, len(r.WithAgent.Actions), r.WithAgent.Reverted))
	}
	if err != nil {
		lines = append(lines, "It did not end well: "+err.Error())
	}
	return lines
}

// bar draws a share of width cells.
func bar(ratio float64, width int) string {
	full := int(math.Round(max(0, min(1, ratio)) * float64(width)))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
