package demo

import (
	"fmt"
	"os"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/sreagent/sreagent/sre"
)

// terminalScreen draws the story on a terminal. The story's goroutine sends it
// messages; the model belongs to the program's own goroutine.
type terminalScreen struct {
	out     *os.File
	program *tea.Program
	reply   chan answer
	over    chan struct{} // closed when nobody listens any more
	done    chan struct{} // closed when the terminal is given back
}

func newTerminal(out *os.File, o Options, quit func()) *terminalScreen {
	t := &terminalScreen{out: out, reply: make(chan answer, 1), over: make(chan struct{}), done: make(chan struct{})}
	m := terminalModel{
		picture: picture{began: time.Now()}, fixedWidth: o.Width, quit: quit,
		say: func(a answer) {
			select {
			case t.reply <- a:
			case <-t.over:
			}
		},
	}
	opts := []tea.ProgramOption{tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler()}
	// Without a reader the terminal stays as it is, and Ctrl-C comes as a signal.
	opts = append(opts, tea.WithInput(o.In))
	t.program = tea.NewProgram(m, opts...)
	go func() {
		defer close(t.done)
		if _, err := t.program.Run(); err != nil {
			o.Logger.Error("terminal view ended", "err", err)
			quit()
		}
	}()
	return t
}

// Messages to the model, one for each method of a screen.
type (
	phaseMsg  string
	tellMsg   string
	secondMsg struct {
		sample  GoodputSample
		retries float64
	}
	viewMsg     struct{ view *sre.View }
	askMsg      question
	withdrawMsg struct{}
	clockMsg    time.Time
)

func (t *terminalScreen) phase(title string) { t.program.Send(phaseMsg(title)) }
func (t *terminalScreen) tell(text string)   { t.program.Send(tellMsg(text)) }
func (t *terminalScreen) second(s GoodputSample, retries float64) {
	t.program.Send(secondMsg{s, retries})
}
func (t *terminalScreen) show(v *sre.View)       { t.program.Send(viewMsg{v}) }
func (t *terminalScreen) ask(q question)         { t.program.Send(askMsg(q)) }
func (t *terminalScreen) withdraw()              { t.program.Send(withdrawMsg{}) }
func (t *terminalScreen) answers() <-chan answer { return t.reply }

func (t *terminalScreen) close(r Result, err error) {
	close(t.over)
	t.program.Quit()
	<-t.done
	for _, l := range summary(r, err) {
		_, _ = fmt.Fprintln(t.out, l)
	}
}

// terminalModel is what bubbletea runs: it turns messages into a picture.
type terminalModel struct {
	picture    picture
	fixedWidth func() int
	quit       func()
	say        func(answer)
}

// Init starts the clock in the corner.
func (m terminalModel) Init() tea.Cmd { return tickClock() }

func tickClock() tea.Cmd {
	return tea.Tick(time.Second, func(at time.Time) tea.Msg { return clockMsg(at) })
}

// Update takes one message in.
func (m terminalModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	p := &m.picture
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		p.width, p.height = msg.Width, msg.Height
	case tea.KeyMsg:
		return m.key(msg)
	case clockMsg:
		p.now = time.Time(msg)
		return m, tickClock()
	case phaseMsg:
		p.title, p.ratios, p.view = string(msg), nil, nil
		p.addLog("== " + string(msg))
	case tellMsg:
		p.addLog(string(msg))
	case secondMsg:
		p.addSecond(msg.sample.Total.Ratio(), msg.retries)
	case viewMsg:
		p.view = msg.view
	case askMsg:
		q := question(msg)
		p.question = &q
	case withdrawMsg:
		p.question = nil
	}
	return m, nil
}

func (m terminalModel) key(msg tea.KeyMsg) (tea.Model, tea.Cmd) {
	switch msg.String() {
	case "ctrl+c", "q":
		m.picture.addLog("Stopping.")
		m.quit()
	case "y", "Y", "n", "N":
		if q := m.picture.question; q != nil {
			m.picture.question = nil
			m.say(answer{q.decision, msg.String() == "y" || msg.String() == "Y"})
		}
	}
	return m, nil
}

// View draws the picture.
func (m terminalModel) View() string {
	p := m.picture
	if m.fixedWidth != nil {
		p.width = m.fixedWidth()
	}
	return p.draw()
}
