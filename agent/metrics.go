package agent

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sreagent/sreagent/sre"
)

// metrics are the agent's own. Labels are closed sets; nothing is named after
// an incident or a service.
type metrics struct {
	ticks      prometheus.Counter
	precursors *prometheus.CounterVec
	incidents  *prometheus.GaugeVec
	decisions  *prometheus.CounterVec
	reasons    *prometheus.CounterVec
	confidence prometheus.Histogram
	actions    *prometheus.CounterVec
	adjusted   *prometheus.CounterVec
	sagas      *prometheus.CounterVec
	foreign    *prometheus.CounterVec
	swings     *prometheus.CounterVec
	byHand     prometheus.Gauge
	inForce    prometheus.Gauge
	halted     prometheus.Gauge
	paused     prometheus.Gauge
	warm       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		ticks:      f.NewCounter(prometheus.CounterOpts{Name: "sreagent_ticks_total", Help: "Ticks of the agent's loop."}),
		precursors: f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_precursors_total", Help: "Early signs found, by detector."}, []string{"detector"}),
		incidents:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "sreagent_incidents", Help: "Incidents that are not closed, by lifecycle state."}, []string{"state"}),
		decisions:  f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_decisions_total", Help: "Decisions, by verdict."}, []string{"verdict"}),
		reasons:    f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_decision_limits_total", Help: "Reasons that kept a decision from acting alone, by guard."}, []string{"reason"}),
		confidence: f.NewHistogram(prometheus.HistogramOpts{Name: "sreagent_diagnosis_confidence_ratio", Help: "Lower bound of confidence of decided plans.", Buckets: prometheus.LinearBuckets(0.1, 0.1, 10)}),
		actions:    f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_actions_total", Help: "Answers of levers, by action kind, purpose and what is known now."}, []string{"kind", "purpose", "outcome"}),
		adjusted:   f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_adjustments_total", Help: "Moves of levers by control laws while in force: tighten leads away from the first state, loosen back to it."}, []string{"law", "direction"}),
		sagas:      f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_sagas_undone_total", Help: "Plans that were taken back, by how it ended: compensated, or by_hand where a human was given the command."}, []string{"outcome"}),
		foreign:    f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_foreign_writes_total", Help: "Levers that somebody else moved while the agent held them, by action kind."}, []string{"kind"}),
		swings:     f.NewCounterVec(prometheus.CounterOpts{Name: "sreagent_knob_swings_total", Help: "Levers that were found to go to and fro under a control law, by action kind."}, []string{"kind"}),
		byHand:     f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_sagas_by_hand", Help: "Levers that the agent could not take back and that a human must."}),
		inForce:    f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_mitigations_in_force", Help: "Levers that are, or may be, moved by the agent."}),
		halted:     f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_autonomy_halted", Help: "1 when the agent has stopped because it cannot record."}),
		paused:     f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_autonomy_pauses", Help: "Reasons for which nothing new is started."}),
		warm:       f.NewGauge(prometheus.GaugeOpts{Name: "sreagent_warm_up_ratio", Help: "Share of the history that baselines need which was seen."}),
	}
	for _, s := range sre.States() {
		if s != sre.Closed {
			m.incidents.WithLabelValues(string(s)).Set(0)
		}
	}
	for _, s := range []sre.Stance{sre.Watch, sre.Ask, sre.Act} {
		m.decisions.WithLabelValues(string(s))
	}
	for _, guard := range append(sre.Guards(), otherGuard) {
		m.reasons.WithLabelValues(guard)
	}
	for _, outcome := range []string{sagaCompensated, sagaByHand} {
		m.sagas.WithLabelValues(outcome)
	}
	return m
}

// How a saga that was taken back ended.
const (
	sagaCompensated = "compensated"
	sagaByHand      = "by_hand"
)

func (m *metrics) saga(outcome string) { m.sagas.WithLabelValues(outcome).Inc() }

func (m *metrics) adjustment(was *sre.Mitigation, to sre.Params) {
	direction := "tighten"
	if was.Action.Kind.Loosens(was.Before, was.Action.Params, to) {
		direction = "loosen"
	}
	m.adjusted.WithLabelValues(was.Action.Law, direction).Inc()
}

func (m *metrics) precursor(detector string) { m.precursors.WithLabelValues(detector).Inc() }

func (m *metrics) decision(d sre.Decision) {
	m.decisions.WithLabelValues(string(d.Stance)).Inc()
	m.confidence.Observe(d.Confidence.Lower)
	for _, r := range d.Reasons {
		if r.Allows != sre.Act {
			m.limited(r.Guard)
		}
	}
}

// otherGuard counts the guards whose names nobody knows, so that the label stays
// bounded.
const otherGuard = "other"

// limited counts a guard that kept a decision from being acted on alone.
func (m *metrics) limited(guard string) {
	if !slices.Contains(sre.Guards(), guard) {
		guard = otherGuard
	}
	m.reasons.WithLabelValues(guard).Inc()
}

func (m *metrics) action(kind sre.ActionKind, r sre.ResultRecord) {
	outcome := string(r.Phase)
	if r.Phase == sre.NotStarted {
		outcome = "not_started"
	}
	m.actions.WithLabelValues(string(kind), string(r.Purpose), outcome).Inc()
}

// observe sets the gauges from the picture of a tick.
func (m *metrics) observe(v *sre.View) {
	m.ticks.Inc()
	counts := map[sre.State]int{}
	live, lost := 0, 0
	for i := range v.Incidents {
		counts[v.Incidents[i].State]++
		for _, mitigation := range v.Incidents[i].InForce() {
			live++
			if mitigation.Phase == sre.Lost {
				lost++
			}
		}
	}
	m.byHand.Set(float64(lost))
	for _, s := range sre.States() {
		if s != sre.Closed {
			m.incidents.WithLabelValues(string(s)).Set(float64(counts[s]))
		}
	}
	m.inForce.Set(float64(live))
	m.paused.Set(float64(len(v.Pauses)))
	m.warm.Set(v.WarmUp)
}
