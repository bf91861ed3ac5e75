package oncall

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/sre"
)

const (
	maxComment = 2000            // characters
	maxName    = 100             // characters
	maxSkew    = 5 * time.Minute // how far in the future a reported change may lie
)

// Receipt is what became of a command. Queued means that the agent had not
// answered in time and may still carry it out.
type Receipt struct {
	Input    string `json:"input"`
	Accepted bool   `json:"accepted"`
	Queued   bool   `json:"queued"`
	Reason   string `json:"reason"`
	Incident string `json:"incident,omitempty"` // that the command opened or ended
}

type answerBody struct {
	Decision string `json:"decision"` // the decision that was on the screen
	Comment  string `json:"comment"`
}

type pauseBody struct {
	Name   string         `json:"name"`
	Reason string         `json:"reason"`
	For    model.Duration `json:"for,omitempty"` // 0 is until it is taken back
}

type resumeBody struct {
	Name string `json:"name"`
}

// answer serves approve and reject. The caller must name the decision that was
// shown: an answer to another question than the current one is refused here,
// and once more by the agent, whose state may be newer than the view.
func (a *api) answer(kind sre.InputKind) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		in, err := a.incidentInput(w, r, kind)
		if err == nil {
			err = a.checkQuestion(in)
		}
		a.submit(w, r, who, in, err)
	}
}

// order serves close and undo, which speak about an incident and not about a
// question.
func (a *api) order(kind sre.InputKind) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		in, err := a.incidentInput(w, r, kind)
		a.submit(w, r, who, in, err)
	}
}

func (a *api) incidentInput(w http.ResponseWriter, r *http.Request, kind sre.InputKind) (sre.Input, error) {
	var body answerBody
	in := sre.Input{Kind: kind, Incident: r.PathValue("id")}
	if err := readBody(w, r, &body); err != nil {
		return in, err
	}
	if err := checkText("comment", body.Comment, maxComment); err != nil {
		return in, err
	}
	in.Decision, in.Reason = body.Decision, body.Comment
	v, err := a.view()
	if err != nil {
		return in, err
	}
	if _, ok := findIncident(v, in.Incident); !ok {
		return in, refuse(NotFound, "no incident %q", in.Incident)
	}
	return in, nil
}

func (a *api) checkQuestion(in sre.Input) error {
	if in.Decision == "" {
		return refuse(BadData, `"decision" is missing: name the decision that you were shown (GET /api/v1/approvals)`)
	}
	v, err := a.view()
	if err != nil {
		return err
	}
	inc, ok := findIncident(v, in.Incident)
	switch {
	case !ok:
		return refuse(NotFound, "no incident %q", in.Incident)
	case inc.Decision == nil:
		return refuse(Conflict, "incident %s asks nothing; its state is %s", inc.ID, inc.State)
	case inc.Decision.ID != in.Decision:
		return refuse(Conflict, "decision %s is no longer current: the incident is at %s; look again before you answer", in.Decision, inc.Decision.ID)
	}
	return nil
}

func (a *api) pause() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body pauseBody
		err := errors.Join(readBody(w, r, &body), checkName(body.Name), checkText("reason", body.Reason, maxComment))
		a.submit(w, r, who, sre.Input{Kind: sre.InputPause, Name: body.Name, Reason: body.Reason, For: time.Duration(body.For)}, err)
	}
}

func (a *api) resume() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var body resumeBody
		err := errors.Join(readBody(w, r, &body), checkName(body.Name))
		a.submit(w, r, who, sre.Input{Kind: sre.InputResume, Name: body.Name}, err)
	}
}

// submit hands the input to the desk and writes what came of it. A non-nil err
// is what was wrong with the request.
func (a *api) submit(w http.ResponseWriter, r *http.Request, who Identity, in sre.Input, err error) {
	if err != nil {
		writeRefusal(w, err)
		return
	}
	in.By, in.Role = who.Name, who.Role
	ctx, cancel := context.WithTimeout(r.Context(), a.o.AnswerTimeout)
	defer cancel()
	answer, err := a.desk.Submit(ctx, in)
	log := a.o.Log.With("command", in.Kind, "by", in.By, "role", in.Role, "incident", in.Incident)
	var queued *QueuedError
	switch {
	case errors.As(err, &queued):
		log.Info("command queued without an answer", "input", queued.Input)
		writeData(w, http.StatusAccepted, Receipt{Input: queued.Input, Queued: true, Reason: "queued, not yet answered"})
	case err != nil:
		log.Info("command not queued", "err", err)
		writeRefusal(w, refuse(Unavailable, "%v", err))
	case answer.Forbidden:
		log.Info("command refused for the role", "input", answer.Input, "reason", answer.Reason)
		writeRefusal(w, refuse(Forbidden, "%s", answer.Reason))
	case !answer.Accepted:
		log.Info("command refused", "input", answer.Input, "reason", answer.Reason)
		writeRefusal(w, refuse(Conflict, "%s", answer.Reason))
	default:
		log.Info("command accepted", "input", answer.Input, "reason", answer.Reason)
		writeData(w, http.StatusOK, Receipt{Input: answer.Input, Accepted: true, Reason: answer.Reason, Incident: answer.Incident})
	}
}

func (a *api) change() serveFunc {
	return func(w http.ResponseWriter, r *http.Request, who Identity) {
		var c sre.Change
		err := readBody(w, r, &c)
		if err == nil {
			err = a.completeChange(&c, who)
		}
		if err == nil && a.o.Changes == nil {
			err = refuse(Unavailable, "this agent takes no reports of changes")
		}
		if err != nil {
			writeRefusal(w, err)
			return
		}
		if err := a.o.Changes.Report(r.Context(), c); err != nil {
			writeRefusal(w, refuse(Unavailable, "take the change: %v", err))
			return
		}
		a.o.Log.Info("change reported", "change", c.ID, "kind", c.Kind, "service", c.Service, "by", c.By, "reported_by", who.Name)
		writeData(w, http.StatusOK, c)
	}
}

// completeChange checks a reported change and fills in what may be left out.
// The derived ID makes a repeated report the same change where its time is
// given.
func (a *api) completeChange(c *sre.Change, who Identity) error {
	now := a.o.Now()
	if c.At.IsZero() {
		c.At = now
	}
	if c.Kind == "" {
		c.Kind = sre.OtherChange
	}
	if c.By == "" {
		c.By = who.Name
	}
	switch {
	case c.Service == "":
		return refuse(BadData, `"service" is missing`)
	case !c.Kind.Valid():
		return refuse(BadData, `"kind" is %q; allowed: deploy, flag, config, scale, other`, c.Kind)
	case c.At.After(now.Add(maxSkew)):
		return refuse(BadData, `"at" is %s, which is more than %s in the future`, c.At.Format(time.RFC3339), span(maxSkew))
	}
	for _, f := range []struct {
		name, text string
		limit      int
	}{
		{"id", c.ID, maxName}, {"service", c.Service, maxName}, {"from", c.From, maxComment}, {"to", c.To, maxComment},
		{"by", c.By, maxName}, {"note", c.Note, maxComment},
	} {
		if err := checkText(f.name, f.text, f.limit); err != nil {
			return err
		}
	}
	c.Source = "api"
	if c.ID == "" {
		// A struct of strings and a time always encodes.
		raw, _ := json.Marshal(c)
		sum := sha256.Sum256(raw)
		c.ID = "api-" + hex.EncodeToString(sum[:8])
	}
	return nil
}

func checkName(name string) error {
	if name == "" {
		return refuse(BadData, `"name" is missing: a pause has a name, so that the same one can be taken back`)
	}
	return checkText("name", name, maxName)
}

func checkText(field, text string, limit int) error {
	if n := utf8.RuneCountInString(text); n > limit {
		return refuse(BadData, "%q has %d characters; allowed: up to %d", field, n, limit)
	}
	return nil
}
