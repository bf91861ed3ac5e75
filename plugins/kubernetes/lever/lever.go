package lever

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sreagent/sreagent/sre"
)

// Version of the lever, as Describe tells it.
const Version = "1"

// Options are the ports of the lever. Each may be left out.
type Options struct {
	Log *slog.Logger
	Now func() time.Time
}

// Lever moves the workloads of one cluster. It holds no state of its own: two
// of them at one cluster are as good as one.
type Lever struct {
	cfg     Config
	dynamic dynamic.Interface
	client  kubernetes.Interface
	log     *slog.Logger
	now     func() time.Time
}

var _ sre.Remediator = (*Lever)(nil)

// Connect reads how to reach the cluster, from the kubeconfig or the pod's
// service account, and returns the lever. It talks to no server.
func Connect(cfg Config, o Options) (*Lever, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = cfg.Kubeconfig
	var server *rest.Config
	var err error
	if cfg.Kubeconfig == "" {
		server, err = rest.InClusterConfig()
	} else {
		server, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	return New(cfg, server, o)
}

// New returns the lever of the cluster behind server. It talks to no server.
// The error holds the faults of the configuration.
func New(cfg Config, server *rest.Config, o Options) (*Lever, error) {
	if faults := cfg.Validate(); len(faults) > 0 {
		return nil, faults
	}
	server = rest.CopyConfig(server)
	server.Timeout = time.Duration(cfg.Timeout)
	server.UserAgent = "sreagent-kubernetes/" + Version
	server.ContentType, server.AcceptContentTypes = "application/json", "application/json" // that is what proxies and audit logs can read
	if server.QPS == 0 {
		server.QPS, server.Burst = 50, 100
	}
	dyn, err := dynamic.NewForConfig(server)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	client, err := kubernetes.NewForConfig(server)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Lever{cfg: cfg, dynamic: dyn, client: client, log: o.Log, now: o.Now}, nil
}

func number(name string, required bool, lo, hi float64, unit, help string) sre.ParamSpec {
	return sre.ParamSpec{Name: name, Type: "number", Required: required, Min: lo, Max: hi, Unit: unit, Help: help}
}

func kindSpecs() []sre.KindSpec {
	return []sre.KindSpec{
		{Kind: sre.Rollback, Reversible: true, Params: []sre.ParamSpec{
			number("revision", false, 1, 1e9, "", "revision to go back to; the last one that was seen fully available where it is not said"),
		}},
		{Kind: sre.Scale, Reversible: true, Params: []sre.ParamSpec{
			number("replicas", true, 0, 1e5, "replicas", "how many are wanted; the least of an autoscaler where there is one"),
		}},
		{Kind: sre.Restart},
		{Kind: sre.Drain, Reversible: true},
		{Kind: sre.Breaker, Reversible: true, Params: []sre.ParamSpec{
			number("consecutive", false, 1, 1e6, "errors", "5xx answers in a row that eject a host"),
			number("open_seconds", false, 1, 3600, "seconds", "how long a host is ejected at first"),
			number("interval_seconds", false, 1, 3600, "seconds", "between two looks at the hosts"),
			number("max_ejected_percent", false, 0, 100, "percent", "most hosts that may be ejected"),
			number("max_connections", false, 1, 1e6, "connections", "most TCP connections to the callee"),
			number("max_pending", false, 1, 1e6, "requests", "most requests that wait for a connection"),
		}},
		{Kind: sre.Timeout, Reversible: true, Params: []sre.ParamSpec{
			number("seconds", true, 0.001, 3600, "seconds", "of a request, its retries included"),
		}},
		{Kind: sre.RetryBudget, Reversible: true, Params: []sre.ParamSpec{
			number("ratio", true, 0, 100, "ratio", "retries per first attempt; the mesh counts whole ones, so it is rounded down"),
		}},
	}
}

// Describe says what is allowed by the configuration. It asks no server: Check
// says what the cluster allows.
func (l *Lever) Describe(context.Context) (sre.Capability, error) {
	c := sre.Capability{Name: l.cfg.Name, Version: Version}
	for _, spec := range kindSpecs() {
		if slices.Contains(l.cfg.Actions, spec.Kind) {
			c.Kinds = append(c.Kinds, spec)
		}
	}
	for _, s := range l.cfg.Services {
		c.Targets = append(c.Targets, s.Service)
	}
	slices.Sort(c.Targets)
	return c, nil
}

// check returns the knob that an action turns, or says why it makes no sense.
func (l *Lever) check(a sre.Action) (knob, error) {
	if a.ID == "" {
		return nil, sre.Invalidf("the action has no ID")
	}
	c, _ := l.Describe(context.Background())
	spec, ok := c.Kind(a.Kind)
	if !ok {
		return nil, sre.Invalidf("%s is not allowed here; allowed: %s", a.Kind, list(l.cfg.Actions))
	}
	if err := spec.Check(a.Params); err != nil {
		return nil, err
	}
	name := a.Target.Service
	mesh := a.Kind == sre.Breaker || a.Kind == sre.Timeout || a.Kind == sre.RetryBudget
	if a.Target.Callee != "" {
		if !mesh {
			return nil, sre.Invalidf("%s takes no callee", a.Kind)
		}
		name = a.Target.Callee
	}
	if a.Kind == sre.Drain {
		if !slices.Contains(l.cfg.Nodes, a.Target.Name) {
			return nil, sre.Invalidf("node %q is not among those that drain may touch", a.Target.Name)
		}
		return drainKnob{node: a.Target.Name}, nil
	}
	if a.Target.Name != "" {
		return nil, sre.Invalidf("%s takes no name", a.Kind)
	}
	s, ok := l.cfg.service(name)
	if !ok {
		return nil, sre.Invalidf("service %q is not configured", name)
	}
	return knobOf(a.Kind, s), nil
}

func knobOf(kind sre.ActionKind, s Service) knob {
	switch kind {
	case sre.Rollback:
		return rollbackKnob{s}
	case sre.Scale:
		return scaleKnob{s}
	case sre.Restart:
		return restartKnob{s}
	case sre.Breaker:
		return breakerKnob{s}
	case sre.Timeout, sre.RetryBudget:
		return routeKnob{s, kind}
	case sre.Shed, sre.QueueBound, sre.KillSwitch, sre.TrafficShift, sre.Drain:
	}
	return nil
}
