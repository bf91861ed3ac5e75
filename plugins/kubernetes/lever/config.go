package lever

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/sre"
)

// Config is the plugin's configuration file.
type Config struct {
	Name          string           `yaml:"name"`           // of the lever, as runbooks and the agent's configuration have it
	Kubeconfig    string           `yaml:"kubeconfig"`     // empty: the service account of the pod
	Context       string           `yaml:"context"`        // of the kubeconfig; empty: its current one
	Timeout       model.Duration   `yaml:"timeout"`        // of one request
	SweepInterval model.Duration   `yaml:"sweep_interval"` // how often to look for what has lapsed
	Actions       []sre.ActionKind `yaml:"actions"`        // those that are allowed; none by default
	Services      []Service        `yaml:"services"`
	Nodes         []string         `yaml:"nodes"` // those that drain may touch
	EmptyDir      bool             `yaml:"empty_dir"`
	PauseGitOps   bool             `yaml:"pause_gitops"`   // else a workload with a GitOps owner is not moved
	ArgoNamespace string           `yaml:"argo_namespace"` // where Argo CD keeps its Applications
}

// Service says which objects of the cluster a service is.
type Service struct {
	Service         string `yaml:"service"`
	Namespace       string `yaml:"namespace"`
	Workload        string `yaml:"workload"` // deployment/NAME or statefulset/NAME
	MinReplicas     int    `yaml:"min_replicas"`
	MaxReplicas     int    `yaml:"max_replicas"`
	DestinationRule string `yaml:"destination_rule"` // name; for breaker
	VirtualService  string `yaml:"virtual_service"`  // name; for timeout and retry_budget
}

// DefaultConfig moves nothing.
func DefaultConfig() Config {
	return Config{
		Name: "kubernetes", Timeout: model.Duration(10 * time.Second), SweepInterval: model.Duration(10 * time.Second),
		PauseGitOps: true, ArgoNamespace: "argocd",
	}
}

// Parse reads a configuration file, strictly. The error is a sre.Faults or says
// which line is wrong.
func Parse(text []byte) (Config, error) {
	cfg := DefaultConfig()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, err
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.Namespace == "" {
			s.Namespace = "default"
		}
		if s.Workload == "" {
			s.Workload = "deployment/" + s.Service
		}
		if s.MinReplicas == 0 {
			s.MinReplicas = 1
		}
		if s.MaxReplicas == 0 {
			s.MaxReplicas = max(10, s.MinReplicas)
		}
	}
	if faults := cfg.Validate(); len(faults) > 0 {
		return Config{}, faults
	}
	return cfg, nil
}

// Kinds lists the action kinds that the lever knows, in a fixed order.
func Kinds() []sre.ActionKind {
	return []sre.ActionKind{sre.Rollback, sre.Scale, sre.Restart, sre.Drain, sre.Breaker, sre.Timeout, sre.RetryBudget}
}

// Validate names every mistake.
func (c Config) Validate() sre.Faults {
	var f sre.Faults
	if c.Name == "" {
		f.Add("name", "is empty", "a lever name")
	}
	if c.Timeout <= 0 {
		f.Add("timeout", "is "+c.Timeout.String(), "more than 0s")
	}
	if c.SweepInterval <= 0 {
		f.Add("sweep_interval", "is "+c.SweepInterval.String(), "more than 0s")
	}
	for i, k := range c.Actions {
		if !slices.Contains(Kinds(), k) {
			f.Add(sre.Item("actions", i), fmt.Sprintf("unknown action %q", k), list(Kinds()))
		}
	}
	if slices.Contains(c.Actions, sre.Drain) && len(c.Nodes) == 0 {
		f.Add("nodes", "is empty though drain is allowed", "names of nodes")
	}
	seen := map[string]bool{}
	for i, s := range c.Services {
		f.Under(sre.Item("services", i), s.faults(c.Actions))
		if seen[s.Service] {
			f.Add(sre.Item("services", i)+".service", fmt.Sprintf("%q is there twice", s.Service), "each service once")
		}
		seen[s.Service] = true
	}
	return f
}

func (s Service) faults(actions []sre.ActionKind) sre.Faults {
	var f sre.Faults
	if s.Service == "" {
		f.Add("service", "is empty", "a service name")
	}
	if kind, name, ok := strings.Cut(s.Workload, "/"); !ok || name == "" || workloads[kind] == (resource{}) {
		f.Add("workload", fmt.Sprintf("is %q", s.Workload), "deployment/NAME, statefulset/NAME")
	}
	if s.MinReplicas < 0 || s.MaxReplicas < s.MinReplicas {
		f.Add("max_replicas", fmt.Sprintf("%d to %d replicas is no range", s.MinReplicas, s.MaxReplicas), "0 <= min_replicas <= max_replicas")
	}
	if slices.Contains(actions, sre.Breaker) && s.DestinationRule == "" {
		f.Add("destination_rule", "is empty though breaker is allowed", "the name of a DestinationRule")
	}
	if (slices.Contains(actions, sre.Timeout) || slices.Contains(actions, sre.RetryBudget)) && s.VirtualService == "" {
		f.Add("virtual_service", "is empty though timeout or retry_budget is allowed", "the name of a VirtualService")
	}
	return f
}

func (c Config) service(name string) (Service, bool) {
	i := slices.IndexFunc(c.Services, func(s Service) bool { return s.Service == name })
	if i < 0 {
		return Service{}, false
	}
	return c.Services[i], true
}

func list(kinds []sre.ActionKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}
