package oncall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

// event is one thing that happens to a receiver: a notice, or time that passes
// while the other side answers with a code.
type event struct {
	Notice *sre.Notice
	Code   int
	Pass   time.Duration
}

func drawEvents(rt *rapid.T) []event {
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) event {
		if rapid.Bool().Draw(rt, "time") {
			return event{
				Code: rapid.SampledFrom([]int{200, 200, 204, 429, 500, 503}).Draw(rt, "code"),
				Pass: time.Duration(rapid.IntRange(1, 90).Draw(rt, "seconds")) * time.Second,
			}
		}
		return event{Notice: &sre.Notice{
			Incident: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "incident"),
			Severity: rapid.SampledFrom([]sre.Severity{sre.Info, sre.Warning, sre.Critical}).Draw(rt, "severity"),
			State:    rapid.SampledFrom(sre.States()).Draw(rt, "state"),
			Labels:   map[string]string{"service": rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "service")},
			Resolved: rapid.Bool().Draw(rt, "resolved"),
		}}
	}), 1, 30).Draw(rt, "events")
}

// otherSide is the far end of a pager's connection without a network.
type otherSide struct {
	mu   sync.Mutex
	code int
	take func(body []byte)
	// lossy makes every failure one that arrived all the same: the answer got
	// lost on its way back.
	lossy bool
}

func (o *otherSide) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.code < 300 || o.lossy {
		o.take(body)
	}
	return &http.Response{StatusCode: o.code, Body: io.NopCloser(bytes.NewReader(nil)), Header: make(http.Header), Request: r}, nil
}

func (o *otherSide) answer(code int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.code = code
}

func twinPost(kind string, rt http.RoundTripper) *post {
	return &post{
		url: "http://twin.example", kind: kind, client: &http.Client{Transport: rt}, metrics: newPagerMetrics(nil),
		log: slog.New(slog.DiscardHandler), woken: make(chan struct{}, 1),
	}
}

// play runs the events against a receiver and then lets the other side be well
// for long enough that everything due is delivered.
func play(t *testing.T, r receiver, far *otherSide, events []event) {
	p := &Pager{receivers: []receiver{r}}
	stop := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(stop)
		_ = p.Run(ctx)
	}()
	far.answer(200)
	for _, e := range events {
		if e.Notice != nil {
			n := *e.Notice
			n.StartsAt = time.Now()
			if err := p.Notify(ctx, []sre.Notice{n}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			continue
		}
		far.answer(e.Code)
		pass(e.Pass)
	}
	far.answer(200)
	pass(maxBackoff + time.Second)
	cancel()
	<-stop
}

// TestAlertmanagerAgainstTwin keeps what a real Alertmanager keeps, alerts by
// label set with their end, through any story of notices and failures. In the
// end it must show each open incident once, as it stands, and no other.
func TestAlertmanagerAgainstTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := drawEvents(rt)
		lossy := rapid.Bool().Draw(rt, "lossy")
		want := make(map[string]string) // open incidents: severity and service of the last notice
		for _, e := range events {
			switch n := e.Notice; {
			case n == nil:
			case n.Resolved:
				delete(want, n.Incident)
			default:
				want[n.Incident] = fmt.Sprint(n.Severity, n.Labels["service"], n.State)
			}
		}
		var got map[string]string
		synctest.Test(t, func(t *testing.T) {
			type shown struct {
				text string
				ends time.Time
				name string
			}
			store := make(map[string]shown)
			far := &otherSide{lossy: lossy, take: func(body []byte) {
				var alerts []amAlert
				if err := json.Unmarshal(body, &alerts); err != nil {
					t.Error(err)
				}
				inBatch := make(map[string]bool)
				for _, a := range alerts {
					if inBatch[fmt.Sprint(a.Labels)] {
						t.Errorf("one alert stands twice in a request: %v", a.Labels)
					}
					inBatch[fmt.Sprint(a.Labels)] = true
					if a.EndsAt.Before(a.StartsAt) {
						t.Errorf("an alert ends before it starts: %+v", a)
					}
					l := a.Labels
					store[fmt.Sprint(l)] = shown{l["severity"] + l["service"] + a.Annotations["state"], a.EndsAt, l["incident"]}
				}
			}}
			am := newAlertmanager(AlertmanagerConfig{}, "", twinPost(kindAlertmanager, far))
			play(t, am, far, events)
			got = make(map[string]string)
			for _, s := range store {
				if s.ends.After(time.Now()) {
					got[s.name] += s.text
				}
			}
			if len(am.alerts) != len(want) || len(am.order) != len(want) {
				t.Errorf("the receiver remembers %d incidents, %d are open", len(am.alerts), len(want))
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("firing alerts (-want +got):\n%s", diff)
		}
	})
}

// TestWebhookAgainstTwin checks that, through any story, the last state of each
// incident arrives, that no older state arrives after a newer one, and that
// what was never due never arrives.
func TestWebhookAgainstTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		events := drawEvents(rt)
		numbered := 0
		want := make(map[string]string)
		for i := range events {
			if n := events[i].Notice; n != nil {
				numbered++
				n.Title = fmt.Sprintf("%04d", numbered)
				want[n.Incident] = n.Title
			}
		}
		got := make(map[string]string)
		synctest.Test(t, func(t *testing.T) {
			far := &otherSide{take: func(body []byte) {
				var n sre.Notice
				if err := json.Unmarshal(body, &n); err != nil {
					t.Error(err)
				}
				if n.Title <= got[n.Incident] {
					t.Errorf("incident %s: %s after %s", n.Incident, n.Title, got[n.Incident])
				}
				got[n.Incident] = n.Title
			}}
			hook, err := newWebhook(WebhookConfig{}, twinPost(kindWebhook, far))
			if err != nil {
				t.Fatal(err)
			}
			play(t, hook, far, events)
			if len(hook.pending)+len(hook.order) != 0 {
				t.Errorf("left over: %v", hook.pending)
			}
		})
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("last states (-want +got):\n%s", diff)
		}
	})
}

// TestDeskAgainstTwin compares the desk with a plain list, one step at a time.
func TestDeskAgainstTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		capacity := rapid.IntRange(1, 5).Draw(rt, "capacity")
		d := NewDesk(DeskOptions{Capacity: capacity})
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		var twin []string
		n := 0
		rt.Repeat(map[string]func(*rapid.T){
			"submit": func(rt *rapid.T) {
				n++
				name := fmt.Sprint(n)
				_, err := d.Submit(gone, sre.Input{Name: name})
				if full := len(twin) == capacity; full != errors.Is(err, ErrDeskFull) {
					rt.Fatalf("%d of %d wait, got %v", len(twin), capacity, err)
				} else if !full {
					twin = append(twin, name)
				}
			},
			"drain": func(rt *rapid.T) {
				var got []string
				for _, in := range d.Drain(noon) {
					got = append(got, in.Name)
				}
				if diff := cmp.Diff(twin, got); diff != "" {
					rt.Fatal(diff)
				}
				twin = nil
			},
			"": func(rt *rapid.T) {
				if len(d.waiting) != 0 {
					rt.Fatalf("%d waiters leak", len(d.waiting))
				}
			},
		})
	})
}
