//go:build e2e

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"go.yaml.in/yaml/v3"

	"github.com/sreagent/sreagent/plugins/kubernetes/lever"
	"github.com/sreagent/sreagent/sre"
)

const adminToken = "of-the-test-alone"

// patience is what nothing takes in a cluster that is well.
const patience = model.Duration(time.Minute)

// cluster is a real API server with controllers and simulated nodes.
type cluster struct {
	admin   *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	out, err := exec.Command("sh", "../../deploy/controlplane.sh", "--where").Output()
	must(t, err)
	bin := strings.TrimSpace(string(out))
	if _, err := os.Stat(bin); err != nil {
		t.Skipf("no control plane: build it once with deploy/controlplane.sh (%v)", err)
	}
	dir := t.TempDir()
	tokens := filepath.Join(dir, "tokens")
	must(t, os.WriteFile(tokens, []byte(adminToken+",admin,1,\"system:masters\"\n"), 0o600))
	cmd := exec.Command(bin, "--dir", dir, "--tokens", tokens, "--admin-token", adminToken)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	cmd.Stderr = log
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("control plane:\n%s", text[max(0, len(text)-4000):])
		}
	})
	line, err := bufio.NewReader(pipe).ReadString('\n')
	host, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("the control plane does not start: %v\n%s", err, text[max(0, len(text)-4000):])
	}
	go io.Copy(io.Discard, pipe)
	c := &cluster{admin: &rest.Config{
		Host: host, BearerToken: adminToken, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}}
	c.client, err = kubernetes.NewForConfig(c.admin)
	must(t, err)
	c.dynamic, err = dynamic.NewForConfig(c.admin)
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks the code of an error and that its text says why.
func refused(t *testing.T, err error, code sre.Code, words string) {
	t.Helper()
	if sre.CodeOf(err) != code || !strings.Contains(err.Error(), words) {
		t.Fatalf("error is %v, want %s with %q", err, code, words)
	}
}

// wait looks again until what is said holds; the time limit is only for a
// cluster that is broken.
func wait(t *testing.T, what string, holds func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience))
	defer cancel()
	for {
		ok, err := holds()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s (%v)", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// world is one test's namespace, its shop and the lever in front of it.
type world struct {
	*cluster
	ns    string
	lever *lever.Lever
	cfg   lever.Config
}

func (c *cluster) world(t *testing.T, change ...func(*lever.Config)) *world {
	t.Helper()
	ns, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"}}, metav1.CreateOptions{})
	must(t, err)
	w := &world{cluster: c, ns: ns.Name, cfg: lever.DefaultConfig()}
	t.Cleanup(w.clear)
	w.cfg.Timeout = patience
	w.cfg.Actions = lever.Kinds()
	w.cfg.Nodes = []string{"node-1", "node-2"}
	w.cfg.ArgoNamespace = w.ns
	w.cfg.Services = []lever.Service{{
		Service: "shop", Namespace: w.ns, Workload: "deployment/shop", MinReplicas: 1, MaxReplicas: 20,
		DestinationRule: "shop", VirtualService: "shop",
	}}
	for _, f := range change {
		f(&w.cfg)
	}
	w.lever = w.open(t, c.admin)
	return w
}

// clear takes the pods of a test away, which others would meet on the nodes.
// There is no garbage collector to do it.
func (w *world) clear() {
	for _, r := range []schema.GroupVersionResource{
		{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}, {Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"}, {Group: "apps", Version: "v1", Resource: "replicasets"}, {Version: "v1", Resource: "pods"},
	} {
		_ = w.dynamic.Resource(r).Namespace(w.ns).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{})
	}
}

func (w *world) open(t *testing.T, as *rest.Config) *lever.Lever {
	t.Helper()
	l, err := lever.New(w.cfg, as, lever.Options{})
	must(t, err)
	return l
}

// deploy creates the shop and waits until it is whole.
func (w *world) deploy(t *testing.T, image string, change ...func(*appsv1.Deployment)) {
	t.Helper()
	labels := map[string]string{"app": "shop"}
	replicas, deadline := int32(3), int32(2)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "shop"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, ProgressDeadlineSeconds: &deadline, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "shop", Image: image}}},
			},
		},
	}
	for _, f := range change {
		f(d)
	}
	_, err := w.client.AppsV1().Deployments(w.ns).Create(t.Context(), d, metav1.CreateOptions{FieldManager: "deployer"})
	must(t, err)
	w.whole(t, image)
}

func (w *world) shop(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d, err := w.client.AppsV1().Deployments(w.ns).Get(t.Context(), "shop", metav1.GetOptions{})
	must(t, err)
	return d
}

// whole waits until every replica has the image and is available.
func (w *world) whole(t *testing.T, image string) {
	t.Helper()
	wait(t, "all of "+image, func() (bool, error) {
		d := w.shop(t)
		n := *d.Spec.Replicas
		return d.Spec.Template.Spec.Containers[0].Image == image && d.Status.ObservedGeneration == d.Generation &&
			d.Status.UpdatedReplicas == n && d.Status.AvailableReplicas == n && d.Status.Replicas == n, fmt.Errorf("%+v", d.Status)
	})
}

// edit changes the shop as a person with kubectl does.
func (w *world) edit(t *testing.T, change func(*appsv1.Deployment)) {
	t.Helper()
	for {
		d := w.shop(t)
		change(d)
		_, err := w.client.AppsV1().Deployments(w.ns).Update(t.Context(), d, metav1.UpdateOptions{FieldManager: "somebody"})
		if !apierrors.IsConflict(err) {
			must(t, err)
			return
		}
	}
}

func (w *world) image(t *testing.T, image string) {
	t.Helper()
	w.edit(t, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

// stuck waits until the controller gives the roll-out up.
func (w *world) stuck(t *testing.T) {
	t.Helper()
	wait(t, "ProgressDeadlineExceeded", func() (bool, error) {
		for _, c := range w.shop(t).Status.Conditions {
			if c.Reason == "ProgressDeadlineExceeded" {
				return true, nil
			}
		}
		return false, nil
	})
}

func (w *world) action(id string, kind sre.ActionKind, p sre.Params) sre.Action {
	return sre.Action{ID: id, Kind: kind, TTL: time.Hour, Params: p, Target: sre.Target{Lever: "kubernetes", Service: "shop"}}
}

func at(a sre.Action, epoch, seq uint64) sre.Directive {
	return sre.Directive{Action: a, Epoch: epoch, Seq: seq, Expires: time.Now().Add(time.Hour)}
}

func (w *world) probe(t *testing.T, a sre.Action) sre.TargetState {
	t.Helper()
	st, err := w.lever.Probe(t.Context(), a)
	must(t, err)
	return st
}

func (w *world) at(group, version, resource string) dynamic.ResourceInterface {
	return w.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).Namespace(w.ns)
}

func object(kind, apiVersion, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec,
	}}
}

// define creates a custom resource whose spec has these fields and keeps those
// it does not know, and waits until it is served.
func (c *cluster) define(t *testing.T, group, version, kind string, fields ...map[string]any) {
	t.Helper()
	spec := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	for _, f := range fields {
		spec["properties"] = f
	}
	plural := strings.ToLower(kind) + "s"
	crd := object("CustomResourceDefinition", "apiextensions.k8s.io/v1", plural+"."+group, map[string]any{
		"group": group, "scope": "Namespaced",
		"names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind)},
		"versions": []any{map[string]any{
			"name": version, "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type":       "object",
				"properties": map[string]any{"spec": spec},
			}},
		}},
	})
	crds := c.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err := crds.Create(t.Context(), crd, metav1.CreateOptions{})
	must(t, err)
	served := c.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
	wait(t, kind+" is served", func() (bool, error) {
		_, err := served.List(t.Context(), metav1.ListOptions{})
		return err == nil, err
	})
}

// manifests returns the objects of an action's manifest.
func manifests(t *testing.T, kind sre.ActionKind, namespace string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	d := yaml.NewDecoder(strings.NewReader(lever.Manifest(kind, namespace)))
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		out = append(out, u)
	}
}

// account returns the way in of the plugin's service account, with the rights
// of these manifests and no other.
func (w *world) account(t *testing.T, kinds ...sre.ActionKind) *rest.Config {
	t.Helper()
	return w.accountWith(t, func(*unstructured.Unstructured) {}, kinds...)
}

func (w *world) accountWith(t *testing.T, change func(*unstructured.Unstructured), kinds ...sre.ActionKind) *rest.Config {
	t.Helper()
	for _, kind := range kinds {
		for _, u := range manifests(t, kind, w.ns) {
			change(u)
			var at dynamic.ResourceInterface = w.dynamic.Resource(schema.GroupVersionResource{
				Group: "rbac.authorization.k8s.io", Version: "v1", Resource: strings.ToLower(u.GetKind()) + "s",
			})
			if u.GetNamespace() != "" {
				at = w.at("rbac.authorization.k8s.io", "v1", "rolebindings")
			}
			_, err := at.Create(t.Context(), u, metav1.CreateOptions{})
			must(t, err)
			t.Cleanup(func() { must(t, at.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{})) })
		}
	}
	as := rest.CopyConfig(w.admin)
	as.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:sreagent:sreagent", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	return as
}
