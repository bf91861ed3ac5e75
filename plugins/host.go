package plugins

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Host is the set of running plugins.
type Host struct {
	plugins []*Plugin
}

// New returns the configured plugins, none of which runs. The error holds the
// faults of the configuration.
func New(cs Configs, o Options) (*Host, error) {
	if faults := cs.Validate(); len(faults) > 0 {
		return nil, faults
	}
	h := &Host{}
	if len(cs) == 0 {
		return h, nil
	}
	o = o.withDefaults()
	m := newMetrics(o.Registerer)
	for _, c := range cs {
		h.plugins = append(h.plugins, newPlugin(c, o, m))
	}
	return h, nil
}

// Start starts every plugin, once, and returns when each is up or has failed its
// first start. A plugin that failed is no error: its lever is known, says why it
// is down, and is started again and again, as an agent with one broken lever is
// of more use than none. Where ctx ends first all are closed.
func (h *Host) Start(ctx context.Context) error {
	for _, p := range h.plugins {
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		p.cancel = cancel
		go p.run(life)
	}
	for _, p := range h.plugins {
		select {
		case <-p.settled:
		case <-ctx.Done():
			h.Close()
			return ctx.Err()
		}
	}
	return nil
}

// Plugins returns the plugins in the order of the configuration.
func (h *Host) Plugins() []*Plugin { return h.plugins }

// Close ends every plugin and all that they forked, at the same time, and waits
// for it: a plugin that is asked to end and does not is killed. A host that was
// not started has nothing to close.
func (h *Host) Close() {
	var wg sync.WaitGroup
	for _, p := range h.plugins {
		wg.Go(func() {
			if p.cancel != nil {
				p.cancel()
				<-p.done
			}
		})
	}
	wg.Wait()
}

// Inspect starts the binary of one configuration, without restarting it, has it
// describe itself, and hands it to look as a lever. It ends the process before
// it returns. The error says what is wrong with the plugin. An empty name takes
// whatever the plugin calls itself.
func Inspect(ctx context.Context, c Config, o Options, look func(context.Context, sre.Capability, sre.Remediator) error) error {
	o = o.withDefaults()
	c = c.withDefaults()
	v := newVoice(o.Log.With("plugin", cmp.Or(c.Name, filepath.Base(c.Path))), newMetrics(o.Registerer).dropped.WithLabelValues(c.Name))
	started, cancel := context.WithTimeout(ctx, time.Duration(c.StartTimeout))
	defer cancel()
	s, err := launch(started, c, v)
	if err != nil {
		return err
	}
	defer s.close(true)
	if err := s.ping(started); err != nil {
		return errors.New("ping: it does not answer as healthy: " + err.Error())
	}
	described, err := s.describe(started, c.Name)
	if err != nil {
		return err
	}
	return look(ctx, described, s.lever)
}
