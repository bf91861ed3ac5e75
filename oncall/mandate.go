package oncall

import (
	"context"
	"errors"
	"net/http"

	"github.com/sreagent/sreagent/sre"
)

// MandateBody names a line of the mandate, and what is wanted of it.
type MandateBody struct {
	Kind    sre.ActionKind `json:"kind"`
	Service string         `json:"service"`
	Runbook string         `json:"runbook"`
	To      sre.Stance     `json:"to,omitempty"`
	Reason  string         `json:"reason,omitempty"`
}

// StopBody is what POST /api/v1/stop takes.
type StopBody struct {
	Reason string `json:"reason"`
	Revert bool   `json:"revert,omitempty"`
}

// StartBody is what POST /api/v1/start takes.
type StartBody struct {
	Reason string `json:"reason,omitempty"`
}

func (a *api) mandate(*http.Request) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	return orEmpty(v.Mandate), nil
}

func (a *api) changeMandate(verb sre.MandateVerb) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body MandateBody
		err := readBody(w, r, &body)
		if err == nil {
			err = errors.Join(body.check(), checkText("reason", body.Reason, maxComment))
		}
		a.submit(w, r, who, sre.Input{Kind: sre.InputMandate, Reason: body.Reason, Mandate: &sre.MandateChange{
			Verb: verb, To: body.To, MandateKey: sre.MandateKey{Kind: body.Kind, Service: body.Service, Runbook: body.Runbook},
		}}, err)
	}
}

func (b MandateBody) check() error {
	switch {
	case !b.Kind.Valid():
		return refuse(BadData, `"kind" is %q; GET /api/v1/mandate lists the lines`, b.Kind)
	case b.Service == "" || b.Runbook == "":
		return refuse(BadData, `"service" and "runbook" are needed; GET /api/v1/mandate lists the lines`)
	case b.To != "" && b.To != sre.Watch && b.To != sre.Ask && b.To != sre.Act:
		return refuse(BadData, `"to" is %q; allowed: watch, ask, act`, b.To)
	}
	return errors.Join(checkText("service", b.Service, maxName), checkText("runbook", b.Runbook, maxName))
}

func (a *api) stop() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body StopBody
		err := errors.Join(readBody(w, r, &body), checkText("reason", body.Reason, maxComment))
		a.submit(w, r, who, sre.Input{Kind: sre.InputStop, Reason: body.Reason, Revert: body.Revert}, err)
	}
}

func (a *api) start() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body StartBody
		err := errors.Join(readBody(w, r, &body), checkText("reason", body.Reason, maxComment))
		a.submit(w, r, who, sre.Input{Kind: sre.InputStart, Reason: body.Reason}, err)
	}
}

// Mandate returns what was earned, and what is proposed.
func (c *Client) Mandate(ctx context.Context) ([]sre.MandateLine, error) {
	return call[[]sre.MandateLine](ctx, c, http.MethodGet, "/api/v1/mandate", nil)
}

// ChangeMandate accepts, declines, demotes or restores a line of the mandate.
func (c *Client) ChangeMandate(ctx context.Context, verb sre.MandateVerb, body MandateBody) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/mandate/"+string(verb), body)
}

// Stop stops all automation; with Revert it undoes what is in force.
func (c *Client) Stop(ctx context.Context, body StopBody) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/stop", body)
}

// Start lifts the global stop.
func (c *Client) Start(ctx context.Context, reason string) (Receipt, error) {
	return call[Receipt](ctx, c, http.MethodPost, "/api/v1/start", StartBody{Reason: reason})
}
