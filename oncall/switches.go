package oncall

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

// SwitchState is a kill switch and what holds it off now. Where two incidents
// hold parts of it, the one with the most off is named.
type SwitchState struct {
	sre.Switch
	Off      float64   `json:"off"` // percent that was switched off here; what stands above may have more off
	Incident string    `json:"incident,omitempty"`
	By       string    `json:"by,omitempty"` // who ordered or cleared it
	Until    time.Time `json:"until,omitzero"`
	Drilling bool      `json:"drilling,omitempty"`
}

// SwitchBody is what POST /api/v1/switches/{name} takes.
type SwitchBody struct {
	State     string         `json:"state"`             // off or on
	Percent   float64        `json:"percent,omitempty"` // 1 to 100; 0 is 100
	For       model.Duration `json:"for,omitempty"`     // 0 is the switch's own duration
	Immediate bool           `json:"immediate,omitempty"`
	Drill     bool           `json:"drill,omitempty"`
	Reason    string         `json:"reason,omitempty"`
}

func (a *api) switches(*http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	out := make([]SwitchState, len(v.Switches))
	for i, k := range v.Switches {
		out[i] = switchState(k, v.Incidents)
	}
	return out, nil
}

func switchState(k sre.Switch, incidents []sre.Incident) SwitchState {
	s := SwitchState{Switch: k}
	for i := range incidents {
		inc := &incidents[i]
		for _, m := range inc.InForce() {
			percent, _ := m.Action.Params.Float("percent")
			if m.Action.Kind != sre.KillSwitch || !slices.Contains(k.Targets, m.Action.Target) || percent < s.Off {
				continue
			}
			s.Off, s.Incident, s.By, s.Until, s.Drilling = percent, inc.ID, m.Permit.By, m.RenewTill, false
			if inc.Order != nil {
				s.By, s.Until, s.Drilling = inc.Order.By, inc.Order.Until, inc.Order.Drill
			}
		}
	}
	return s
}

// flip serves an operator's own move of a kill switch. Which role it takes is
// the switch's; the agent checks it, and has a refusal on record.
func (a *api) flip() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body SwitchBody
		in := sre.Input{Kind: sre.InputSwitch, Name: r.PathValue("name")}
		err := readBody(w, r, &body)
		if err == nil {
			err = checkText("reason", body.Reason, maxComment)
		}
		if err == nil {
			err = a.checkSwitch(in.Name, body)
		}
		in.Reason = body.Reason
		in.Switch = &sre.SwitchChange{
			Name: in.Name, On: body.State == "on", Percent: body.Percent, For: time.Duration(body.For),
			Immediate: body.Immediate, Drill: body.Drill,
		}
		a.submit(w, r, who, in, err)
	}
}

func (a *api) checkSwitch(name string, body SwitchBody) error {
	v, err := a.view()
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(v.Switches, func(k sre.Switch) bool { return k.Name == name }):
		return refuse(NotFound, "no kill switch %q; GET /api/v1/switches lists them", name)
	case body.State != "on" && body.State != "off":
		return refuse(BadData, `"state" is %q; allowed: off, on`, body.State)
	case body.State == "on" && body != (SwitchBody{State: "on", Reason: body.Reason}):
		return refuse(BadData, `with "state": "on" only "reason" is taken: it is on again as it was before`)
	case body.Drill && body.Percent != 0:
		return refuse(BadData, `"percent" does not go with "drill": a drill switches the whole drill cohort off`)
	}
	return nil
}

// flags serves the flag file of a lever, for the http sync of flagd and the like.
func (a *api) flags(w http.ResponseWriter, r *http.Request, _ Identity) {
	h, ok := a.o.Flags[r.PathValue("lever")]
	if !ok {
		writeRefusal(w, refuse(NotFound, "no lever %q has flags that can be read", r.PathValue("lever")))
		return
	}
	h.ServeHTTP(w, r)
}

// Switches returns the kill switches and what holds them off.
func (c *Client) Switches(ctx context.Context) ([]SwitchState, error) {
	return call[[]SwitchState](ctx, c, http.MethodGet, "/api/v1/switches", nil)
}

// Switch flips a kill switch.
func (c *Client) Switch(ctx context.Context, name string, body SwitchBody) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/switches/"+url.PathEscape(name), body)
}
