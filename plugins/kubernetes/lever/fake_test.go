package lever

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

type doc = map[string]any

// fake is an API server that knows versions, dry runs, a simple server-side
// apply and evictions, and no controllers. The real one is in the e2e tests.
type fake struct {
	server *httptest.Server

	mu      sync.Mutex
	objects map[string]doc // by resource/namespace/name
	applied map[string]doc // last intent of our manager
	now     time.Time
	version int
	writes  int
	mode    string                 // "", cut, stall
	deny    map[string]bool        // verb resource
	before  func(verb, key string) // with the lock held, before each real write
	held    map[string]int         // pods that are not evicted, by the status that says so
	gone    string                 // a resource that is listed and cannot be got
	cause   metav1.CauseType       // of that status
}

func newFake(t *testing.T) *fake {
	f := &fake{now: testTime(), objects: map[string]doc{}, applied: map[string]doc{}, deny: map[string]bool{}, held: map[string]int{}}
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) config() *rest.Config { return &rest.Config{Host: f.server.URL, QPS: -1} }

func (f *fake) put(key string, o doc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.store(key, o)
}

func (f *fake) store(key string, o doc) {
	f.version++
	_ = unstructured.SetNestedField(o, strconv.Itoa(f.version), "metadata", "resourceVersion")
	f.objects[key] = o
}

func (f *fake) edit(key string, change func(doc)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := clone(f.objects[key])
	change(o)
	f.store(key, o)
}

// wrote counts the writes that were stored.
func (f *fake) wrote() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func clone(o doc) doc {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out doc
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	return out
}

type call struct{ verb, resource, namespace, name, sub string }

func (c call) key() string { return c.resource + "/" + c.namespace + "/" + c.name }

func parse(r *http.Request) call {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	parts = parts[map[string]int{"api": 2, "apis": 3}[parts[0]]:]
	var c call
	if parts[0] == "namespaces" && len(parts) > 2 {
		c.namespace, parts = parts[1], parts[2:]
	}
	parts = append(parts, "", "", "")
	c.resource, c.name, c.sub = parts[0], parts[1], parts[2]
	c.verb = map[string]string{"GET": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}[r.Method]
	if c.verb == "get" && c.name == "" {
		c.verb = "list"
	}
	return c
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	c := parse(r)
	f.mu.Lock()
	mode := f.mode
	f.mu.Unlock()
	if mode == "stall" {
		<-r.Context().Done()
		return
	}
	var body doc
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deny[c.verb+" "+c.resource] {
		fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no")
		return
	}
	switch {
	case c.verb == "list":
		f.list(w, r, c)
	case c.resource == "selfsubjectaccessreviews":
		a, _, _ := unstructured.NestedStringMap(body, "spec", "resourceAttributes")
		body["status"] = doc{"allowed": !f.deny[a["verb"]+" "+a["resource"]]}
		reply(w, body)
	case c.sub == "eviction":
		f.evict(w, c)
	case f.objects[c.key()] == nil || f.gone == c.resource:
		fail(w, http.StatusNotFound, metav1.StatusReasonNotFound, c.key()+" not found")
	case c.verb == "get":
		reply(w, f.objects[c.key()])
	default:
		f.write(w, r, c, body)
	}
}

func (f *fake) list(w http.ResponseWriter, r *http.Request, c call) {
	items := []any{}
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		o := f.objects[key]
		node, _, _ := unstructured.NestedString(o, "spec", "nodeName")
		if want, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "spec.nodeName="); ok && want != node {
			continue
		}
		if want := r.URL.Query().Get("labelSelector"); want == pauseLabel {
			if _, ok, _ := unstructured.NestedString(o, "metadata", "labels", want); !ok {
				continue
			}
		}
		if strings.HasPrefix(key, c.resource+"/"+c.namespace) {
			items = append(items, o)
		}
	}
	kind := map[string]string{"pods": "PodList"}[c.resource]
	if kind == "" {
		kind = "List"
	}
	reply(w, doc{"kind": kind, "apiVersion": "v1", "metadata": doc{}, "items": items})
}

func (f *fake) evict(w http.ResponseWriter, c call) {
	if code := f.held[c.name]; code != 0 {
		reason := map[int]metav1.StatusReason{
			http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests, http.StatusConflict: metav1.StatusReasonConflict,
			http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden,
			http.StatusInternalServerError: metav1.StatusReasonInternalError,
		}[code]
		fail(w, code, reason, "the pod stays", f.cause)
		return
	}
	f.writes++
	delete(f.objects, "pods/"+c.namespace+"/"+c.name)
	reply(w, doc{"kind": "Status", "apiVersion": "v1", "status": "Success"})
}

func (f *fake) write(w http.ResponseWriter, r *http.Request, c call, body doc) {
	dry := r.URL.Query().Get("dryRun") != ""
	if !dry && f.before != nil {
		f.before(c.verb, c.key())
	}
	have := f.objects[c.key()]
	sent, _, _ := unstructured.NestedString(body, "metadata", "resourceVersion")
	if want, _, _ := unstructured.NestedString(have, "metadata", "resourceVersion"); sent != "" && sent != want {
		fail(w, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified")
		return
	}
	if n, ok, _ := unstructured.NestedFieldNoCopy(body, "spec", "replicas"); ok && n == 13.0 {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "13 is unlucky")
		return
	}
	if dry {
		reply(w, have)
		return
	}
	next := body
	if c.verb == "patch" {
		next = clone(have)
		without(next, f.applied[c.key()], body)
		merge(next, body)
		f.applied[c.key()] = body
		owned := doc{"f:spec": fieldSet(body["spec"])}
		_ = unstructured.SetNestedSlice(next, []any{doc{"manager": Manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": owned}}, "metadata", "managedFields")
	}
	f.writes++
	f.store(c.key(), next)
	if f.mode == "cut" {
		panic(http.ErrAbortHandler)
	}
	reply(w, next)
}

func fieldSet(v any) any {
	out := doc{}
	if m, ok := v.(doc); ok {
		for name, sub := range m {
			out["f:"+name] = fieldSet(sub)
		}
	}
	return out
}

// without takes away what the last intent had and the new one has not.
func without(o, last, next doc) {
	for name, v := range last {
		sub, isMap := v.(doc)
		to, has := next[name].(doc)
		switch {
		case isMap && o[name] != nil:
			if !has {
				to = doc{}
			}
			without(o[name].(doc), sub, to)
			if len(o[name].(doc)) == 0 {
				delete(o, name)
			}
		case next[name] == nil:
			delete(o, name)
		}
	}
}

func merge(o, next doc) {
	for name, v := range next {
		if sub, ok := v.(doc); ok {
			if _, ok := o[name].(doc); !ok {
				o[name] = doc{}
			}
			merge(o[name].(doc), sub)
			continue
		}
		o[name] = v
	}
}

func reply(w http.ResponseWriter, o doc) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o)
}

func fail(w http.ResponseWriter, code int, reason metav1.StatusReason, text string, causes ...metav1.CauseType) {
	details := &metav1.StatusDetails{}
	for _, c := range causes {
		details.Causes = append(details.Causes, metav1.StatusCause{Type: c})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: reason, Message: text, Code: int32(code), Details: details,
	})
}

func podTemplate(image string) doc {
	return doc{"metadata": doc{"labels": doc{"app": "shop"}}, "spec": doc{"containers": []any{doc{"name": "shop", "image": image}}}}
}

// fill puts the shop into the cluster: a Deployment at revision 2, of which
// revision 1 was once whole, a node with two pods, and a mesh.
func (f *fake) fill() {
	meta := func(namespace, name string) doc {
		m := doc{"name": name, "uid": "uid-" + name, "labels": doc{}, "annotations": doc{}}
		if namespace != "" {
			m["namespace"] = namespace
		}
		return m
	}
	d := meta("web", "shop")
	d["annotations"].(doc)[revisionNote] = "2"
	f.put("deployments/web/shop", doc{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": d,
		"spec": doc{"replicas": 3, "selector": doc{"matchLabels": doc{"app": "shop"}}, "template": podTemplate("shop:2")},
	})
	for n := range 2 {
		rs := meta("web", fmt.Sprintf("shop-%d", n+1))
		rs["annotations"].(doc)[revisionNote] = strconv.Itoa(n + 1)
		if n == 0 {
			rs["annotations"].(doc)[goodNote+"-1"] = "2026-01-01T00:00:00Z"
		}
		rs["labels"].(doc)[hashLabel] = strconv.Itoa(n + 1)
		rs["ownerReferences"] = []any{doc{"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": "uid-shop", "controller": true}}
		tpl := podTemplate(fmt.Sprintf("shop:%d", n+1))
		tpl["metadata"].(doc)["labels"].(doc)[hashLabel] = strconv.Itoa(n + 1)
		f.put("replicasets/web/"+rs["name"].(string), doc{"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": rs, "spec": doc{"template": tpl}})
	}
	f.put("nodes//node-1", doc{"apiVersion": "v1", "kind": "Node", "metadata": meta("", "node-1"), "spec": doc{}})
	for _, name := range []string{"a", "b"} {
		pod := meta("web", name)
		pod["ownerReferences"] = []any{doc{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-2", "uid": "uid-shop-2", "controller": true}}
		f.put("pods/web/"+name, doc{"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": doc{"nodeName": "node-1"}})
	}
	f.put("destinationrules/web/shop", doc{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta("web", "shop"),
		"spec": doc{"host": "shop", "trafficPolicy": doc{"outlierDetection": doc{"consecutive5xxErrors": 7, "interval": "10s"}}},
	})
	f.put("virtualservices/web/shop", doc{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta("web", "shop"),
		"spec": doc{"hosts": []any{"shop"}, "http": []any{
			doc{"route": []any{doc{"destination": doc{"host": "shop"}}}, "timeout": "3s"},
			doc{"route": []any{doc{"destination": doc{"host": "shop-beta"}}}, "retries": doc{"attempts": 3, "perTryTimeout": "1s"}},
		}},
	})
}

// effects is everything in the cluster but who wrote it and our notes.
func (f *fake) effects() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]any{}
	for key, o := range f.objects {
		if !strings.HasPrefix(key, "pods/") {
			out[key] = o["spec"]
		}
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// autoscaler puts one in front of the shop.
func (f *fake) autoscaler() {
	f.put("horizontalpodautoscalers/web/shop", doc{
		"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
		"metadata": doc{"name": "shop", "namespace": "web"},
		"spec":     doc{"minReplicas": 2, "maxReplicas": 8, "scaleTargetRef": doc{"kind": "Deployment", "name": "shop"}},
	})
}

func (f *fake) time() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func testTime() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
