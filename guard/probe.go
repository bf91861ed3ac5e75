package guard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// watch begins the active checks of an endpoint: the first at once, the next an
// interval after each has ended, so that a slow check never overlaps itself.
func (g *Guard) watch(callee string, e *endpoint, cfg HealthConfig) {
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var arm func(after time.Duration)
	check := func() {
		limit, done := context.WithTimeout(ctx, time.Duration(cfg.Timeout))
		err := probe(limit, client, e, cfg)
		done()
		g.checked(ctx, callee, e, cfg, err)
		arm(time.Duration(cfg.Interval))
	}
	arm = func(after time.Duration) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		stop := g.clock.AfterFunc(after, check)
		e.stop = func() { cancel(); stop() }
	}
	arm(0)
}

// probe asks the backend once: by GET where there is a path, else by connecting.
func probe(ctx context.Context, client *http.Client, e *endpoint, cfg HealthConfig) error {
	if cfg.Path == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(e))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url.JoinPath(cfg.Path).String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	discard(resp.Body)
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("GET %s answers %s", cfg.Path, resp.Status)
	}
	return nil
}

func hostPort(e *endpoint) string {
	if e.url.Port() != "" {
		return e.url.Host
	}
	if e.url.Scheme == "https" {
		return net.JoinHostPort(e.url.Hostname(), "443")
	}
	return net.JoinHostPort(e.url.Hostname(), "80")
}

// checked counts one result. A backend goes down and comes up only after as many
// equal results as the configuration says.
func (g *Guard) checked(ctx context.Context, callee string, e *endpoint, cfg HealthConfig, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil { // ended meanwhile
		return
	}
	failed, down := err != nil, e.down.Load()
	if failed {
		e.lastErr = err.Error()
	}
	if failed == down {
		e.streak = 0
		return
	}
	e.streak++
	if need := cfg.Unhealthy; failed && e.streak < need {
		return
	}
	if need := cfg.Healthy; !failed && e.streak < need {
		return
	}
	e.streak = 0
	e.down.Store(failed)
	if failed {
		g.log.Warn("backend is down", "callee", callee, "backend", e.name, "err", err)
	} else {
		e.returned = g.clock.Now()
		g.log.Info("backend is up", "callee", callee, "backend", e.name)
	}
	if e.metrics != nil {
		e.metrics.setHealthy(!failed)
	}
}

// unwatch ends the checks of an endpoint. Whatever they said is forgotten.
func (e *endpoint) unwatch() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stop != nil {
		e.stop()
	}
	e.stop, e.streak = nil, 0
	e.down.Store(false)
	if e.metrics != nil {
		e.metrics.setHealthy(true)
	}
}
