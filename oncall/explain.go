package oncall

import (
	"context"
	"net/http"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// explainIncident serves the reasoning about one incident, now or at an instant.
func (a *api) explainIncident(r *http.Request) (any, error) {
	return a.explanation(r, r.PathValue("id"))
}

// explain serves the reasoning of a tick, or about one incident where one is
// given.
func (a *api) explain(r *http.Request) (any, error) {
	return a.explanation(r, r.URL.Query().Get("incident"))
}

func (a *api) explanation(r *http.Request, given string) (any, error) {
	v, err := a.view()
	if err != nil {
		return nil, err
	}
	var at time.Time
	if text := r.URL.Query().Get("at"); text != "" {
		if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, refuse(BadData, "at is %q; allowed: RFC 3339, such as 2026-03-01T12:00:00Z", text)
		}
		past, from, to, kept := a.desk.ViewAt(at)
		switch {
		case kept:
			v = past
		case given == "": // the trail has no quiet ticks
			return nil, refuse(NotFound, "nothing is kept of %s; allowed: %s to %s", stamp(at), stamp(from), stamp(to))
		default:
			v = &sre.View{At: at}
		}
	}
	if given == "" {
		return sre.ExplainTick(v), nil
	}
	return a.oneIncident(r.Context(), v, given, at)
}

// oneIncident explains an incident by a view and tells its story by the trail;
// what has left the view is explained by the trail alone.
func (a *api) oneIncident(ctx context.Context, v *sre.View, given string, at time.Time) (any, error) {
	id, unknown := sre.MatchIncident(incidentIDs(v), given)
	if unknown != nil {
		id = given
	}
	records, unread := a.records(ctx, id)
	e, ok := sre.Explain(v, id)
	if ok {
		e.Retell(records)
	} else {
		e, ok = sre.ExplainTrailAt(records, id, at)
	}
	switch {
	case !ok && unread != "":
		return nil, refuse(Unavailable, "incident %q is not open, and %s", id, unread)
	case !ok && !at.IsZero():
		return nil, refuse(NotFound, "at %s there was no incident %q", stamp(at), given)
	case !ok:
		return nil, refuse(NotFound, "%v", unknown)
	}
	if unread != "" {
		e.Quality.Notes = append(e.Quality.Notes, unread)
	}
	return e, nil
}

// records returns what the trail has of an incident, and why it could not be
// read where it could not: the reasoning of the moment is worth showing without
// its past.
func (a *api) records(ctx context.Context, id string) ([]sre.Record, string) {
	if a.o.Records == nil {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	records, err := a.o.Records(ctx, id)
	if err != nil {
		a.o.Log.Error("reading the trail for an explanation", "incident", id, "err", err)
		return nil, "the trail could not be read"
	}
	return records, ""
}

func incidentIDs(v *sre.View) []string {
	ids := make([]string, len(v.Incidents))
	for i := range v.Incidents {
		ids[i] = v.Incidents[i].ID
	}
	return ids
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
