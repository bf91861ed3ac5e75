package oncall

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const (
	alertName = "SreagentIncident"
	// A firing alert ends by itself after so many intervals without a repeat,
	// as Prometheus has it: when the agent dies, its alerts must not stand for
	// ever.
	lapseIntervals = 4
	maxBatch       = 256 // alerts per request
)

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// amAlert is an alert of Alertmanager's v2 API.
type amAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// alertState is what one Alertmanager must know about one incident.
type alertState struct {
	notice  sre.Notice
	version uint64 // grows with each notice
	changed bool   // not sent yet as it stands
	sentAt  time.Time
	// To an Alertmanager the labels are the alert. When severity or cause
	// change, the alert under the old labels must be ended, or it would stand
	// beside the new one.
	labels   map[string]string   // last sent, or tried: a failed attempt may have arrived
	outdated []map[string]string // sent before and to be ended
}

// alertmanager is a receiver that speaks POST /api/v2/alerts.
type alertmanager struct {
	*post
	resend   time.Duration
	external string

	mu     sync.Mutex
	alerts map[string]*alertState // by incident
	order  []string               // incidents by arrival
}

func newAlertmanager(cfg AlertmanagerConfig, external string, p *post) *alertmanager {
	p.url = trimSlash(cfg.URL) + "/api/v2/alerts"
	resend := cfg.ResendInterval
	if resend == 0 {
		resend = DefaultResendInterval
	}
	return &alertmanager{post: p, resend: time.Duration(resend), external: trimSlash(external), alerts: make(map[string]*alertState)}
}

func (a *alertmanager) accept(n sre.Notice) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, known := a.alerts[n.Incident]
	if !known {
		s = &alertState{}
		a.alerts[n.Incident] = s
		a.order = append(a.order, n.Incident)
	}
	s.notice, s.changed = n, true
	s.version++
	fits := len(a.order) <= maxQueued
	if !fits {
		a.forget(evict(a.order, func(id string) sre.Severity { return a.alerts[id].notice.Severity }))
		a.metrics.add(a.kind, pageDropped, 1)
	}
	a.signal()
	return fits
}

func (a *alertmanager) forget(incident string) {
	delete(a.alerts, incident)
	a.order = slices.DeleteFunc(a.order, func(id string) bool { return id == incident })
}

// sentAlert remembers what of a state went into a batch.
type sentAlert struct {
	incident string
	version  uint64
	ended    int // outdated label sets in the batch
	resolved bool
}

func (a *alertmanager) flush(ctx context.Context, now time.Time) time.Time {
	for {
		if now.Before(a.retryAt) {
			return a.retryAt
		}
		batch, sent := a.collect(now)
		if len(batch) == 0 {
			return a.nextDue()
		}
		// A slice of strings and times always encodes.
		body, _ := json.Marshal(batch)
		// 400 and 422 are about the alerts. Any other refusal is about the way
		// there, such as a wrong password, and is cured by people while the
		// alerts wait.
		v := a.send(ctx, body, nil, len(sent), func(code int) bool {
			return code != http.StatusBadRequest && code != http.StatusUnprocessableEntity
		})
		if v == tryAgain {
			return a.retryAt
		}
		a.settle(sent, now)
	}
}

// collect makes the alerts that are due: changed ones, and firing ones whose
// repeat is due.
func (a *alertmanager) collect(now time.Time) ([]amAlert, []sentAlert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var batch []amAlert
	var sent []sentAlert
	for _, id := range a.order {
		s := a.alerts[id]
		if !s.changed && now.Before(s.sentAt.Add(a.resend)) {
			continue
		}
		if len(batch) >= maxBatch {
			break
		}
		labels := alertLabels(s.notice)
		if s.labels != nil && !maps.Equal(s.labels, labels) {
			s.outdated = append(s.outdated, s.labels)
		}
		s.labels = labels
		// A label set may come back into use before its end was sent.
		s.outdated = slices.DeleteFunc(s.outdated, func(old map[string]string) bool { return maps.Equal(old, labels) })
		for _, old := range s.outdated {
			batch = append(batch, amAlert{Labels: old, StartsAt: s.notice.StartsAt, EndsAt: endOf(sre.Notice{StartsAt: s.notice.StartsAt, EndsAt: now}, now)})
		}
		batch = append(batch, a.alert(s.notice, labels, now))
		sent = append(sent, sentAlert{id, s.version, len(s.outdated), s.notice.Resolved})
	}
	return batch, sent
}

// settle notes what the Alertmanager has taken, or has refused for good.
func (a *alertmanager) settle(sent []sentAlert, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range sent {
		s, ok := a.alerts[x.incident]
		if !ok {
			continue
		}
		s.sentAt = now
		s.outdated = s.outdated[x.ended:]
		if s.version != x.version {
			continue // a newer notice came meanwhile and is sent next
		}
		s.changed = false
		if x.resolved {
			a.forget(x.incident)
		}
	}
}

func (a *alertmanager) nextDue() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	var next time.Time
	for _, id := range a.order {
		if due := a.alerts[id].sentAt.Add(a.resend); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

func (a *alertmanager) alert(n sre.Notice, labels map[string]string, now time.Time) amAlert {
	out := amAlert{
		Labels:      labels,
		Annotations: map[string]string{"summary": n.Title, "description": n.Text, "state": string(n.State)},
		StartsAt:    n.StartsAt,
		EndsAt:      now.Add(lapseIntervals * a.resend),
	}
	if n.NeedsYou {
		out.Annotations["needs_you"] = "true"
	}
	if a.external != "" {
		out.GeneratorURL = a.external + "/api/v1/incidents/" + url.PathEscape(n.Incident) + "/explain"
	}
	if n.Resolved {
		out.EndsAt = endOf(n, now)
	}
	return out
}

// endOf returns an end that is not in the future, since an alert that ends
// later than now is firing, and not before the start, which would be refused.
func endOf(n sre.Notice, now time.Time) time.Time {
	end := n.EndsAt
	if end.IsZero() || end.After(now) {
		end = now
	}
	if end.Before(n.StartsAt) {
		end = n.StartsAt
	}
	return end
}

// alertLabels returns the identity of an alert: the notice's own labels, such
// as service and mechanism, below the fixed ones. Empty values mean no label to
// Alertmanager and are left out.
func alertLabels(n sre.Notice) map[string]string {
	labels := make(map[string]string, len(n.Labels)+3)
	for name, value := range n.Labels {
		if value != "" && labelName.MatchString(name) {
			labels[name] = value
		}
	}
	labels["alertname"] = alertName
	labels["incident"] = n.Incident
	labels["severity"] = string(n.Severity)
	if n.Severity == "" {
		delete(labels, "severity")
	}
	return labels
}
