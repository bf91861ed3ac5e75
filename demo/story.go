package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/sreagent/sreagent/sre"
)

// Agent is the agent as the story sees it.
type Agent interface {
	// View returns the picture after the latest tick; nil before the first.
	View() *sre.View
	// Submit hands in what a person asked, and waits for what became of it.
	Submit(ctx context.Context, in sre.Input) (sre.Answer, error)
	// Stop ends the agent and closes its trail.
	Stop(ctx context.Context) error
	// VerifyAudit proves the trail. It is called after Stop.
	VerifyAudit(ctx context.Context) (bool, error)
}

// AgentEnv is all that an agent is told about the shop.
type AgentEnv struct {
	PrometheusURL string
	Topology      []byte            // a topology file
	Guards        map[string]string // base URL of the guard's control endpoints, by service
	Token         string            // bearer token of all guards
	Dir           string            // empty, for the agent's own files; removed when the story is over
}

// Options sets up a story.
type Options struct {
	Out        io.Writer // where it is told
	In         io.Reader // where approvals are answered; may be nil with Yes
	Progress   io.Writer // with JSON: where it is told instead; nil discards
	Yes        bool      // approve what the agent asks
	Headless   bool      // plain lines even where Out is a terminal
	JSON       bool      // Out gets the Result as one JSON object and nothing else
	Width      func() int
	StartAgent func(ctx context.Context, env AgentEnv) (Agent, error)
	Logger     *slog.Logger

	startStage func(ctx context.Context, dir string) (stage, error) // tests bring their own shop
}

// stage is the shop as the story sees it.
type stage interface {
	Services() []ServiceInfo
	Token() string
	TopologyYAML() []byte
	PrometheusURL() string
	Trigger(cut float64, d time.Duration) error
	Since(from time.Time) []GoodputSample
	Retries() float64
	Stop(ctx context.Context) error
}

// How the story is paced. Every wait ends with what is waited for; these are
// spans to watch, and bounds.
const (
	baseline     = 15 * time.Second
	cutShare     = 0.6
	cutFor       = 5 * time.Second
	watchDown    = 60 * time.Second // after the trigger, without the agent
	watchAfter   = 15 * time.Second // after the last mitigation is lifted
	startWithin  = 60 * time.Second
	endWithin    = 6 * time.Minute // from the cut to the last lift, a person's thinking included
	stopWithin   = 20 * time.Second
	answerWithin = 15 * time.Second
	lookEvery    = 200 * time.Millisecond
)

// Run tells the whole story: the shop's fall without the agent, then with it.
// The Result holds what was seen so far even where there is an error: one that
// wraps ErrPromise when the story did not end as promised, ErrRejected when the
// person at the keyboard said no, or the context's when it was cut short.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.check(); err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp("", "sreagent-demo-")
	if err != nil {
		return Result{}, fmt.Errorf("make a folder for the demo: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	scr := newScreen(o, cancel)
	t := &teller{o: o, dir: dir, screen: scr}
	err = t.tell(ctx)
	scr.close(t.result, err)
	err = errors.Join(err, os.RemoveAll(dir))
	if o.JSON {
		err = errors.Join(err, writeJSON(o.Out, t.result))
	}
	return t.result, err
}

func writeJSON(w io.Writer, r Result) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // targets read "cart->inventory"
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func (o *Options) check() error {
	switch {
	case o.Out == nil:
		return errors.New("demo: no output")
	case o.StartAgent == nil:
		return errors.New("demo: no agent to start")
	case !o.Yes && o.In == nil:
		return errors.New("demo: nobody can answer an approval: give an input or say yes beforehand")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.startStage == nil {
		o.startStage = func(ctx context.Context, dir string) (stage, error) {
			return StartShop(ctx, ShopOptions{Dir: dir, Logger: o.Logger})
		}
	}
	return nil
}

// screen is where the story is shown. Its methods are called by one goroutine.
type screen interface {
	phase(title string)
	tell(text string)                        // one line of the story
	second(s GoodputSample, retries float64) // what became of one second
	show(v *sre.View)                        // what the agent believes
	ask(q question)                          // puts a question, which takes the place of an earlier one
	withdraw()                               // takes the question back
	answers() <-chan answer
	close(r Result, err error) // shows how it ended, and gives the terminal back
}

// question is an approval that the agent wants.
type question struct {
	incident, decision string
	lines              []string
}

// answer is what the person said to a question.
type answer struct {
	decision string
	yes      bool
}

// newScreen draws where a terminal watches and prints lines elsewhere. quit is
// called when the person wants to leave.
func newScreen(o Options, quit func()) screen {
	out := o.Out
	if o.JSON {
		if out = o.Progress; out == nil {
			out = io.Discard
		}
	}
	if f, ok := out.(*os.File); ok && !o.Headless && !o.JSON && term.IsTerminal(int(f.Fd())) {
		return newTerminal(f, o, quit)
	}
	return newPlain(out, o)
}

// teller runs the phases.
type teller struct {
	o      Options
	dir    string
	screen screen
	result Result
}

func (t *teller) tell(ctx context.Context) error {
	t.screen.phase("Phase 1 of 2: the shop alone")
	err := t.onStage(ctx, "shop-1", t.alone)
	if err != nil && !errors.Is(err, ErrPromise) {
		return err
	}
	t.screen.phase("Phase 2 of 2: the shop with the agent")
	return errors.Join(err, t.onStage(ctx, "shop-2", t.withAgent))
}

// onStage runs one phase on a shop of its own.
func (t *teller) onStage(ctx context.Context, name string, phase func(context.Context, *scene) error) error {
	shop, err := t.o.startStage(ctx, filepath.Join(t.dir, name))
	if err != nil {
		return fmt.Errorf("start the shop: %w", err)
	}
	err = phase(ctx, newScene(shop, t.screen))
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(err, shop.Stop(stopCtx))
}
