package lever

import (
	"context"
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/sreagent/sreagent/sre"
)

// resource is a kind of object, as the API's paths have it.
type resource struct{ group, version, name string }

var (
	deployments      = resource{"apps", "v1", "deployments"}
	statefulSets     = resource{"apps", "v1", "statefulsets"}
	replicaSets      = resource{"apps", "v1", "replicasets"}
	autoscalers      = resource{"autoscaling", "v2", "horizontalpodautoscalers"}
	nodes            = resource{"", "v1", "nodes"}
	destinationRules = resource{"networking.istio.io", "v1", "destinationrules"}
	virtualServices  = resource{"networking.istio.io", "v1", "virtualservices"}
	applications     = resource{"argoproj.io", "v1alpha1", "applications"}
	kustomizations   = resource{"kustomize.toolkit.fluxcd.io", "v1", "kustomizations"}
	helmReleases     = resource{"helm.toolkit.fluxcd.io", "v2", "helmreleases"}
)

var workloads = map[string]resource{"deployment": deployments, "statefulset": statefulSets}

// object is the place of one object; apply says that it is written by
// server-side apply, which keeps other managers' fields out of the write.
type object struct {
	resource
	namespace, name string
	apply           bool
}

func (o object) String() string {
	s := o.resource.name
	if o.group != "" {
		s += "." + o.group
	}
	if o.namespace == "" {
		return s + " " + o.name
	}
	return s + " " + o.namespace + "/" + o.name
}

func (l *Lever) at(r resource, namespace string) dynamic.ResourceInterface {
	client := l.dynamic.Resource(schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.name})
	if namespace == "" {
		return client
	}
	return client.Namespace(namespace)
}

func (l *Lever) get(ctx context.Context, o object) (*unstructured.Unstructured, error) {
	u, err := l.at(o.resource, o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return nil, readFailed(err, "get", o)
	}
	return u, nil
}

func (l *Lever) list(ctx context.Context, r resource, namespace, labels string) ([]unstructured.Unstructured, error) {
	all, err := l.at(r, namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, readFailed(err, "list", object{resource: r, namespace: namespace})
	}
	return all.Items, nil
}

// put writes u where it still has the version that was read. A dry run goes
// through validation and admission and is not stored.
func (l *Lever) put(ctx context.Context, o object, u *unstructured.Unstructured, dryRun bool) error {
	var dry []string
	if dryRun {
		dry = []string{metav1.DryRunAll}
	}
	var err error
	verb := "update"
	if o.apply {
		verb = "patch"
		_, err = l.at(o.resource, o.namespace).Apply(ctx, o.name, u, metav1.ApplyOptions{FieldManager: Manager, Force: true, DryRun: dry})
	} else {
		_, err = l.at(o.resource, o.namespace).Update(ctx, u, metav1.UpdateOptions{FieldManager: Manager, DryRun: dry})
	}
	switch {
	case err == nil:
		return nil
	case dryRun && !apierrors.IsConflict(err):
		return readFailed(err, verb, o)
	}
	return writeFailed(err, verb, o)
}

// refusal returns what the API server said where it said no for certain.
func refusal(err error, verb string, o object) error {
	where := ""
	if o.namespace != "" {
		where = " in namespace " + o.namespace
	}
	switch {
	case apierrors.IsForbidden(err):
		group := ""
		if o.group != "" {
			group = "." + o.group
		}
		return &sre.ActionError{Code: sre.CodeRefused, Err: err, Reason: fmt.Sprintf("not allowed to %s %s%s%s", verb, o.resource.name, group, where)}
	case apierrors.IsUnauthorized(err):
		return &sre.ActionError{Code: sre.CodeRefused, Err: err, Reason: "the API server does not know us"}
	case apierrors.IsNotFound(err):
		return &sre.ActionError{Code: sre.CodeRefused, Err: err, Reason: o.String() + " is not there"}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &sre.ActionError{Code: sre.CodeInvalid, Err: err, Reason: "the API server takes no such " + o.String()}
	case apierrors.IsTooManyRequests(err):
		return &sre.ActionError{Code: sre.CodeRefused, Err: err, Reason: "the API server is overloaded"}
	case apierrors.IsRequestEntityTooLargeError(err), apierrors.IsMethodNotSupported(err):
		return &sre.ActionError{Code: sre.CodeRefused, Err: err, Reason: "the API server takes no such write"}
	}
	return nil
}

// readFailed is for requests that change nothing, whatever became of them.
func readFailed(err error, verb string, o object) error {
	if no := refusal(err, verb, o); no != nil {
		return no
	}
	return &sre.ActionError{Code: sre.CodeFailed, Err: err, Reason: verb + " " + o.String()}
}

// writeFailed keeps a conflict as it is, and knows nothing about a write that
// was not answered.
func writeFailed(err error, verb string, o object) error {
	if apierrors.IsConflict(err) {
		return err
	}
	if no := refusal(err, verb, o); no != nil {
		return no
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &sre.ActionError{Code: sre.CodeFailed, Err: err, Reason: verb + " " + o.String()}
	}
	return sre.Unknownf(err, "%s %s", verb, o)
}
