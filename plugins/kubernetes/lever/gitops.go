package lever

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sreagent/sreagent/sre"
)

const (
	pauseNote = Prefix + "pause"
	// pauseLabel is how a pause is found when what it was made for is gone.
	pauseLabel = Prefix + "paused"
)

// owner is the GitOps object that would undo a move of what it owns.
type owner struct {
	at    object
	path  []string // the field that pauses it
	value any      // what that field is while paused; nil: absent
	guess bool     // the label is in use elsewhere too: it need not exist
}

// paused is the annotation on a GitOps object: who holds it paused until when.
type pauseLease struct {
	Epoch   uint64               `json:"epoch"`
	Holders map[string]time.Time `json:"holders"`
	Before  any                  `json:"before,omitempty"` // of the field; none where it was absent
}

// owner returns the GitOps object that an object is tracked by, or nil. It is
// refused where a controller that cannot be paused owns the object.
func (l *Lever) owner(s sight) (*owner, error) {
	if s.at.namespace == "" {
		return nil, nil
	}
	if c := metav1.GetControllerOf(s.u); c != nil {
		return nil, sre.Refusedf("%s is controlled by %s %s, which would undo the change and cannot be paused", describe(s.u), c.Kind, c.Name)
	}
	o := l.tracked(s.u)
	if o == nil || l.cfg.PauseGitOps {
		return o, nil
	}
	if o.guess {
		return nil, nil
	}
	return nil, sre.Refusedf("%s is kept by %s, which would undo the change; pause_gitops is off", describe(s.u), o.at)
}

func (l *Lever) tracked(u *unstructured.Unstructured) *owner {
	labels, notes := u.GetLabels(), u.GetAnnotations()
	argo := func(id string, guess bool) *owner {
		namespace, name, ok := strings.Cut(id, "_")
		if !ok {
			namespace, name = l.cfg.ArgoNamespace, id
		}
		o := ownerAt(applications, namespace, name)
		o.guess = guess
		return o
	}
	flux := func(r resource, group string) *owner {
		return ownerAt(r, labels[group+"/namespace"], labels[group+"/name"])
	}
	app, of, _ := strings.Cut(notes["argocd.argoproj.io/tracking-id"], ":")
	switch {
	case app != "" && of == trackingOf(u):
		return argo(app, false)
	case labels["argocd.argoproj.io/instance"] != "":
		return argo(labels["argocd.argoproj.io/instance"], false)
	case labels["kustomize.toolkit.fluxcd.io/name"] != "":
		return flux(kustomizations, "kustomize.toolkit.fluxcd.io")
	case labels["helm.toolkit.fluxcd.io/name"] != "":
		return flux(helmReleases, "helm.toolkit.fluxcd.io")
	case labels["app.kubernetes.io/instance"] != "":
		return argo(labels["app.kubernetes.io/instance"], true)
	}
	return nil
}

func ownerAt(r resource, namespace, name string) *owner {
	o := &owner{at: object{resource: r, namespace: namespace, name: name}, path: []string{"spec", "suspend"}, value: true}
	if r == applications {
		o.path, o.value = []string{"spec", "syncPolicy", "automated"}, nil
	}
	return o
}

// trackingOf is how Argo CD writes down which object it tracks. It takes no
// notice of an annotation that names another, which is a copy.
func trackingOf(u *unstructured.Unstructured) string {
	return fmt.Sprintf("%s/%s:%s/%s", u.GroupVersionKind().Group, u.GetKind(), u.GetNamespace(), u.GetName())
}

func (l *Lever) ownerState(ctx context.Context, o *owner) (*unstructured.Unstructured, pauseLease, error) {
	p := pauseLease{Holders: map[string]time.Time{}}
	u, err := l.at(o.at.resource, o.at.namespace).Get(ctx, o.at.name, metav1.GetOptions{})
	if err != nil {
		if o.guess && apierrors.IsNotFound(err) {
			return nil, p, nil
		}
		return nil, p, readFailed(err, "get", o.at)
	}
	if text, ok := u.GetAnnotations()[pauseNote]; ok {
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, p, sre.Refusedf("annotation %s of %s is not ours to read: %v", pauseNote, describe(u), err)
		}
	}
	return u, p, nil
}

func (o *owner) field(u *unstructured.Unstructured) any {
	v, _, _ := unstructured.NestedFieldCopy(u.Object, o.path...)
	return v
}

func (o *owner) isPaused(u *unstructured.Unstructured) bool { return o.field(u) == o.value }

func (o *owner) set(u *unstructured.Unstructured, v any) error {
	if v == nil {
		unstructured.RemoveNestedField(u.Object, o.path...)
		return nil
	}
	return unstructured.SetNestedField(u.Object, v, o.path...)
}

func (p pauseLease) write(u *unstructured.Unstructured) error {
	notes := u.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	labels := u.GetLabels()
	delete(notes, pauseNote)
	delete(labels, pauseLabel)
	if len(p.Holders) > 0 {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[pauseLabel] = "true"
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		notes[pauseNote] = string(text)
	}
	u.SetAnnotations(notes)
	u.SetLabels(labels)
	return nil
}

// pause keeps the owner from undoing an action until the action expires. It is
// written before the action: a crash between the two leaves only a pause that
// lapses.
func (l *Lever) pause(ctx context.Context, o *owner, d sre.Directive) error {
	return l.again(func() error {
		u, p, err := l.ownerState(ctx, o)
		if err != nil || u == nil {
			return err
		}
		if c := metav1.GetControllerOf(u); c != nil {
			return sre.Refusedf("%s is made by %s %s, which would undo the pause", describe(u), c.Kind, c.Name)
		}
		if d.Epoch < p.Epoch {
			return sre.Refusedf("fencing token %d is stale: %s has seen %d", d.Epoch, describe(u), p.Epoch)
		}
		switch {
		case len(p.Holders) == 0 && o.isPaused(u):
			return nil // by somebody else, whose it stays
		case len(p.Holders) == 0:
			p.Before = o.field(u)
		case !o.isPaused(u):
			return sre.Refusedf("%s was resumed by %s while paused: released", describe(u), writers(u, o.path))
		}
		if err := l.lasting(ctx, o, u); err != nil {
			return err
		}
		p.Epoch, p.Holders[d.Action.ID] = d.Epoch, d.Expires
		if err := o.set(u, o.value); err != nil {
			return sre.Refusedf("%s cannot be paused: %v", describe(u), err)
		}
		if err := p.write(u); err != nil {
			return err
		}
		return l.put(ctx, o.at, u, false)
	})
}

// resume gives up the pause of an action; the last one lets the owner go on.
func (l *Lever) resume(ctx context.Context, o *owner, id string, epoch uint64) error {
	return l.drop(ctx, o, epoch, func(holder string, _ time.Time) bool { return holder == id })
}

// unpause gives up the pauses that are done, even where the configuration that
// allowed them is gone. Whom we may not read where nothing says that it is
// there, or that it may be paused, we have not paused.
func (l *Lever) unpause(ctx context.Context, s sight, epoch uint64, done func(string, time.Time) bool) error {
	o := l.tracked(s.u)
	if s.at.namespace == "" || o == nil {
		return nil
	}
	err := l.drop(ctx, o, epoch, done)
	if sre.CodeOf(err) == sre.CodeRefused && (o.guess || !l.cfg.PauseGitOps) {
		return nil
	}
	return err
}

// unpauseAll gives up pauses wherever they are. Whom we may not list, we leave to
// the sweep of what it keeps.
func (l *Lever) unpauseAll(ctx context.Context, epoch uint64, done func(string, time.Time) bool) error {
	if !l.cfg.PauseGitOps {
		return nil
	}
	var errs []error
	for _, r := range []resource{applications, kustomizations, helmReleases} {
		all, err := l.list(ctx, r, "", pauseLabel)
		if err != nil && sre.CodeOf(err) != sre.CodeRefused {
			errs = append(errs, err)
		}
		for _, u := range all {
			errs = append(errs, l.drop(ctx, ownerAt(r, u.GetNamespace(), u.GetName()), epoch, done))
		}
	}
	return errors.Join(errs...)
}

func (l *Lever) drop(ctx context.Context, o *owner, epoch uint64, done func(string, time.Time) bool) error {
	return l.again(func() error {
		u, p, err := l.ownerState(ctx, o)
		if apierrors.IsNotFound(err) || err == nil && u == nil {
			return nil // what is not there undoes nothing
		}
		if err != nil {
			return err
		}
		before := len(p.Holders)
		maps.DeleteFunc(p.Holders, done)
		if len(p.Holders) == before {
			return nil
		}
		p.Epoch = max(p.Epoch, epoch)
		if len(p.Holders) == 0 && o.isPaused(u) {
			if err := o.set(u, p.Before); err != nil {
				return sre.Failedf("%s cannot be resumed: %v", describe(u), err)
			}
		}
		if err := p.write(u); err != nil {
			return err
		}
		return l.put(ctx, o.at, u, false)
	})
}

// keptBy says, before anything is moved, who else writes the object and is paused
// while an action holds it; nothing where nobody is known or can be read.
func (l *Lever) keptBy(ctx context.Context, s sight) string {
	o, err := l.owner(s)
	if err != nil || o == nil {
		return ""
	}
	u, _, err := l.ownerState(ctx, o)
	switch {
	case err != nil || u == nil:
		return ""
	case o.isPaused(u):
		return fmt.Sprintf("kept by %s, which is paused", o.at)
	}
	return fmt.Sprintf("kept by %s, which is paused for as long as an action holds", o.at)
}

// paused says what became of the owner, for a person to read.
func (l *Lever) paused(ctx context.Context, o *owner) (string, error) {
	u, p, err := l.ownerState(ctx, o)
	if err != nil || u == nil {
		return "", err
	}
	state := describe(u) + " is not paused"
	if o.isPaused(u) {
		state = describe(u) + " is paused"
	}
	if len(p.Holders) == 0 {
		return state, nil
	}
	until := slices.MaxFunc(slices.Collect(maps.Values(p.Holders)), time.Time.Compare)
	return fmt.Sprintf("%s by sreagent until %s and will undo nothing till then", state, until.UTC().Format(time.RFC3339)), nil
}
