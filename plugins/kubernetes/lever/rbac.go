package lever

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sreagent/sreagent/sre"
)

// right is what one action needs on one resource.
type right struct {
	resource
	cluster bool // of the whole cluster, not of the service's namespace
	verbs   []string
}

var (
	readWrite = []string{"get", "update"}
	findWrite = []string{"get", "list", "update"}
	applies   = []string{"get", "patch"}
)

// GitOps is the name under which Manifest gives the rights to pause GitOps
// owners, which no single action has.
const GitOps sre.ActionKind = "gitops"

// rights is the one table of what each action may do in the cluster: the
// manifests, the check and the documentation are made from it.
var rights = map[sre.ActionKind][]right{
	sre.Rollback: {{resource: deployments, verbs: readWrite}, {resource: replicaSets, verbs: []string{"list", "update"}}},
	sre.Scale: {
		{resource: deployments, verbs: readWrite}, {resource: statefulSets, verbs: readWrite},
		{resource: autoscalers, verbs: []string{"get", "list", "update"}},
	},
	sre.Restart: {{resource: deployments, verbs: readWrite}, {resource: statefulSets, verbs: readWrite}},
	sre.Drain: {
		{resource: nodes, cluster: true, verbs: readWrite},
		{resource: resource{"", "v1", "pods"}, cluster: true, verbs: []string{"list"}},
		{resource: resource{"", "v1", "pods/eviction"}, cluster: true, verbs: []string{"create"}},
		{resource: resource{"apps", "v1", "daemonsets"}, cluster: true, verbs: []string{"get"}},
	},
	sre.Breaker:     {{resource: destinationRules, verbs: applies}},
	sre.Timeout:     {{resource: virtualServices, verbs: applies}},
	sre.RetryBudget: {{resource: virtualServices, verbs: applies}},
	GitOps: {
		{resource: applications, cluster: true, verbs: findWrite},
		{resource: kustomizations, cluster: true, verbs: findWrite},
		{resource: helmReleases, cluster: true, verbs: findWrite},
	},
}

// Manifest returns the role of one action as YAML, and the binding that gives
// it to the service account sreagent in the namespace sreagent: a ClusterRole,
// bound in the namespace of the services where the action stays within it.
func Manifest(kind sre.ActionKind, namespace string) string {
	var b strings.Builder
	name := "sreagent-" + strings.ReplaceAll(string(kind), "_", "-")
	fmt.Fprintf(&b, "# What the action %s may do. Made from the table in plugins/kubernetes/lever/rbac.go.\n", kind)
	fmt.Fprintf(&b, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: %s\nrules:\n", name)
	cluster := false
	for _, r := range rights[kind] {
		cluster = cluster || r.cluster
		fmt.Fprintf(&b, "  - apiGroups: [%q]\n    resources: [%q]\n    verbs: [%s]\n", r.group, r.name, strings.Join(r.verbs, ", "))
	}
	binding, in := "RoleBinding", "  namespace: "+namespace+"\n"
	if cluster {
		binding, in = "ClusterRoleBinding", ""
	}
	fmt.Fprintf(&b, "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata:\n  name: %s\n%s", binding, name, in)
	fmt.Fprintf(&b, "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: %s\n", name)
	b.WriteString("subjects:\n  - kind: ServiceAccount\n    name: sreagent\n    namespace: sreagent\n")
	return b.String()
}

// Check asks the API server whether it allows what the configuration does, and
// returns one sentence for each right that is missing.
func (l *Lever) Check(ctx context.Context) ([]string, error) {
	var namespaces []string
	for _, s := range l.cfg.Services {
		if !slices.Contains(namespaces, s.Namespace) {
			namespaces = append(namespaces, s.Namespace)
		}
	}
	slices.Sort(namespaces)
	var missing []string
	for _, kind := range l.cfg.kinds() {
		for _, r := range rights[kind] {
			where := namespaces
			if r.cluster {
				where = []string{""}
			}
			for _, namespace := range where {
				lacks, err := l.lacks(ctx, kind, r, namespace)
				if err != nil {
					return nil, err
				}
				missing = append(missing, lacks...)
			}
		}
	}
	return missing, nil
}

func (l *Lever) lacks(ctx context.Context, kind sre.ActionKind, r right, namespace string) ([]string, error) {
	var missing []string
	for _, verb := range r.verbs {
		name, sub, _ := strings.Cut(r.name, "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: r.group, Version: r.version, Resource: name, Subresource: sub,
			},
		}}
		answer, err := l.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask what is allowed: %w", err)
		}
		if !answer.Status.Allowed {
			where := "in the whole cluster"
			if namespace != "" {
				where = "in namespace " + namespace
			}
			missing = append(missing, fmt.Sprintf("%s: not allowed to %s %s %s", kind, verb, r.title(), where))
		}
	}
	return missing, nil
}

func (r resource) title() string {
	if r.group == "" {
		return r.name
	}
	return r.name + "." + r.group
}

// kinds lists the keys of the table that the configuration needs.
func (c Config) kinds() []sre.ActionKind {
	kinds := slices.Clone(c.Actions)
	if c.PauseGitOps && slices.ContainsFunc(kinds, func(k sre.ActionKind) bool { return k != sre.Drain }) {
		kinds = append(kinds, GitOps) // nodes have no such owner
	}
	return kinds
}

// Roles returns the manifests of all actions that the configuration allows.
func Roles(cfg Config) string {
	var namespaces, parts []string
	for _, s := range cfg.Services {
		if !slices.Contains(namespaces, s.Namespace) {
			namespaces = append(namespaces, s.Namespace)
		}
	}
	for _, kind := range cfg.kinds() {
		for i, namespace := range namespaces {
			if text := Manifest(kind, namespace); i == 0 || strings.Contains(text, "kind: RoleBinding") {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, "---\n")
}
