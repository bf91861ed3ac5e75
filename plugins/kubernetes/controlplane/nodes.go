package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// simulator is scheduler and kubelet of nodes that run no container: it binds
// pods to nodes that take work, calls their containers ready at once, lets those
// whose image has ":bad" in it crash, and ends what is deleted.
type simulator struct {
	client kubernetes.Interface
	f      informers.SharedInformerFactory
	queue  workqueue.TypedRateLimitingInterface[string]
	next   int
}

func startNodes(ctx context.Context, client kubernetes.Interface, count int) error {
	for i := range count {
		node := &v1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i+1)},
			Status:     v1.NodeStatus{Conditions: []v1.NodeCondition{{Type: v1.NodeReady, Status: v1.ConditionTrue}}},
		}
		if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	s := &simulator{
		client: client, f: informers.NewSharedInformerFactory(client, 0),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](5*time.Millisecond, 100*time.Millisecond)),
	}
	add := func(o any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			s.queue.Add(key)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }}
	if _, err := s.f.Core().V1().Pods().Informer().AddEventHandler(handler); err != nil {
		return err
	}
	s.f.Core().V1().Nodes().Informer()
	s.f.Start(ctx.Done())
	s.f.WaitForCacheSync(ctx.Done())
	go s.run(ctx)
	return nil
}

func (s *simulator) run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		s.queue.ShutDown()
	}()
	for {
		key, shut := s.queue.Get()
		if shut {
			return
		}
		if err := s.sync(ctx, key); err != nil && !apierrors.IsNotFound(err) {
			s.queue.AddRateLimited(key)
		} else {
			s.queue.Forget(key)
		}
		s.queue.Done(key)
	}
}

func (s *simulator) sync(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil
	}
	pod, err := s.f.Core().V1().Pods().Lister().Pods(namespace).Get(name)
	if err != nil {
		return err
	}
	pods := s.client.CoreV1().Pods(namespace)
	switch {
	case pod.DeletionTimestamp != nil:
		return pods.Delete(ctx, name, *metav1.NewDeleteOptions(0))
	case pod.Spec.NodeName == "":
		node, err := s.pick()
		if err != nil {
			return err
		}
		return pods.Bind(ctx, &v1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, UID: types.UID(pod.UID)},
			Target:     v1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
	case pod.Status.Phase != v1.PodRunning:
		pod = pod.DeepCopy()
		start(pod)
		_, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	}
	return nil
}

// pick returns the next node in turn that takes work.
func (s *simulator) pick() (string, error) {
	list, err := s.client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for range list.Items {
		s.next++
		if node := list.Items[s.next%len(list.Items)]; !node.Spec.Unschedulable {
			return node.Name, nil
		}
	}
	return "", fmt.Errorf("no node takes work")
}

func start(pod *v1.Pod) {
	ready := v1.ConditionTrue
	now := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime, pod.Status.ContainerStatuses = v1.PodRunning, &now, nil
	for _, c := range pod.Spec.Containers {
		status := v1.ContainerStatus{Name: c.Name, Image: c.Image, Ready: true, State: v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: now}}}
		if strings.Contains(c.Image, ":bad") {
			ready = v1.ConditionFalse
			status.Ready, status.RestartCount = false, 3
			status.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	for _, t := range []v1.PodConditionType{v1.PodInitialized, v1.PodScheduled} {
		pod.Status.Conditions = append(pod.Status.Conditions, v1.PodCondition{Type: t, Status: v1.ConditionTrue, LastTransitionTime: now})
	}
	for _, t := range []v1.PodConditionType{v1.ContainersReady, v1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, v1.PodCondition{Type: t, Status: ready, LastTransitionTime: now})
	}
}
