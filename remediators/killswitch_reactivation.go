package remediators

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// Reactivation asks the reactivation checks of the switches that an action
// moves, and of the features below them, each once. It returns nil when all are
// well or there are none; a check that cannot be asked is not well.
func (t SwitchTree) Reactivation(ctx context.Context, client *http.Client, a sre.Action) error {
	var asked []ReactivationConfig
	for _, k := range t {
		if !slices.Contains(t.targets(k), a.Target) || a.Target.Lever != guardName && k.Name != a.Target.Name {
			continue
		}
		feature, _, _ := strings.Cut(k.Name, "@")
		for _, below := range t {
			c := below.Reactivation
			same := below.Name == k.Name || below.Flag != "" && below.Lever == a.Target.Lever && Within(below.Name, feature)
			if c == (ReactivationConfig{}) || !same || a.Target.Lever == guardName && below.Flag != a.Target.Name || slices.Contains(asked, c) {
				continue
			}
			asked = append(asked, c)
			if err := c.healthy(ctx, client); err != nil {
				return fmt.Errorf("the reactivation check of %s is not well: %w", below.Name, err)
			}
		}
	}
	return nil
}

// healthy asks the check once: nil when it answers well or there is none.
func (c ReactivationConfig) healthy(ctx context.Context, client *http.Client) error {
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case c.TCP != "":
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	case c.HTTP != "":
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.HTTP, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode < 200 || resp.StatusCode > 299 {
			return fmt.Errorf("%s answers status %d", c.HTTP, resp.StatusCode)
		}
	}
	return nil
}
