package demo

import (
	"context"
	"crypto/subtle"
	"fmt"
	"math"
	"net/http"
	"strconv"
)

// pathSlowdown is where a service that runs as a process is told to work more
// slowly.
const pathSlowdown = "/demo/slowdown"

// ServiceOptions sets up one service of the shop as a process of its own.
type ServiceOptions struct {
	Name    string            // of the service in the plan
	Address string            // to listen on; host:port
	Callees map[string]string // base URL of each service that it calls, by name
	Shop    ShopOptions       // only the guard's way back and the logger are used
	Token   string            // bearer token of the guard's control endpoints and of the slowdown
}

// ServiceNames returns the names of the shop's services, entry first, leaf
// last.
func ServiceNames() []string {
	nodes := plan()
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = n.name
	}
	return out
}

// TopologyYAML returns the shop's dependency graph as a topology file.
func TopologyYAML() []byte { return topologyYAML(plan()) }

// NewTransport returns a transport that carries all requests to one service as
// streams of one connection, as the shop's own services have it.
func NewTransport() *http.Transport { return newTransport() }

// RunService runs one service of the shop until ctx is done: its work, its
// guard with the control endpoints, its metrics, and PUT
// /demo/slowdown?factor=2.5, which multiplies its service time. It returns when
// nothing of it runs any more. An unknown name or callee, and an address that
// is taken, are errors.
func RunService(ctx context.Context, o ServiceOptions) error {
	s, err := openService(o)
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// openService makes a service that listens and does not answer yet. Its run
// must be called.
func openService(o ServiceOptions) (*service, error) {
	n, err := nodeNamed(o.Name)
	if err != nil {
		return nil, err
	}
	callees := map[string]*service{}
	for _, c := range n.calls {
		base, known := o.Callees[c.callee]
		if !known {
			return nil, fmt.Errorf("service %s calls %s, whose URL is not given", n.name, c.callee)
		}
		callees[c.callee] = &service{url: base}
	}
	s, err := newServiceAt(n, o.Shop.withDefaults(), o.Token, o.Address)
	if err != nil {
		return nil, err
	}
	s.link(callees)
	s.server.Handler = s.withSlowdown(s.server.Handler, o.Token)
	return s, nil
}

// run answers until ctx is done.
func (s *service) run(ctx context.Context) error {
	s.start()
	select {
	case <-ctx.Done():
		return s.stop()
	case <-s.done:
		_ = s.stop()
		return fmt.Errorf("server of %s ended by itself", s.node.name)
	}
}

func nodeNamed(name string) (node, error) {
	for _, n := range plan() {
		if n.name == name {
			return n, nil
		}
	}
	return node{}, fmt.Errorf("no service named %q in the shop", name)
}

// withSlowdown lets whoever has the token slow the service down.
func (s *service) withSlowdown(next http.Handler, token string) http.Handler {
	want := []byte("Bearer " + token)
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("PUT "+pathSlowdown, func(w http.ResponseWriter, r *http.Request) {
		if token == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "wrong token", http.StatusUnauthorized)
			return
		}
		factor, err := strconv.ParseFloat(r.URL.Query().Get("factor"), 64)
		if err != nil || math.IsInf(factor, 0) || !(factor >= 1) {
			http.Error(w, "factor is a number from 1", http.StatusBadRequest)
			return
		}
		s.slow(factor)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// SlowDown makes a service that runs as a process take factor times as long for
// its work from now on; 1 is its usual speed.
func SlowDown(ctx context.Context, client *http.Client, base, token string, factor float64) error {
	url := base + pathSlowdown + "?factor=" + strconv.FormatFloat(factor, 'g', -1, 64)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, nil)
	if err != nil {
		return fmt.Errorf("slow down: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("slow down: %w", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("slow down: status %d", res.StatusCode)
	}
	return nil
}
