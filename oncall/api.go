package oncall

import (
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sreagent/sreagent/sre"
)

//go:embed openapi.yaml
var openAPI []byte

// TokenHeader carries a token where the Authorization header is taken by the
// basic authentication of the web configuration.
const TokenHeader = "X-Sreagent-Token"

const (
	defaultAnswerTimeout = 30 * time.Second
	recordsTimeout       = 10 * time.Second
	anonymousName        = "anonymous"
)

// ChangeSink takes changes that are reported over the API.
type ChangeSink interface {
	// Report takes one change. An error means that it was not taken.
	Report(ctx context.Context, c sre.Change) error
}

// VersionInfo says what is running.
type VersionInfo struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch,omitempty"`
	BuildDate string `json:"build_date,omitempty"`
	GoVersion string `json:"go_version"`
}

// APIOptions are what the API needs of the outside. All fields are optional.
type APIOptions struct {
	// Tokens returns the tokens in force. It is called once per request, so
	// that a reload can swap them. Without it, or while it returns nil, nobody
	// can authenticate.
	Tokens func() *Tokens
	// AllowAnonymous makes everybody without a token a viewer. It never lets
	// anybody change anything.
	AllowAnonymous bool

	Flags    map[string]http.Handler // flag files by lever, for GET /api/v1/flags/{lever}
	Changes  ChangeSink              // takes POST /api/v1/changes
	Reload   func() error            // runs POST /-/reload; an error means that the old configuration holds
	Gatherer prometheus.Gatherer
	Version  VersionInfo
	// RoutePrefix stands before every path, such as "/sreagent".
	RoutePrefix string
	// Records returns the trail's records about one incident, oldest first.
	Records func(ctx context.Context, incident string) ([]sre.Record, error)
	// AnswerTimeout bounds the wait for the agent's answer to a command; after
	// it the caller gets 202. 0 means 30 seconds.
	AnswerTimeout time.Duration

	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // on the same clock as the views; nil for the wall clock
}

type api struct {
	o       APIOptions
	desk    *Desk
	metrics *apiMetrics
	mux     *http.ServeMux
}

// NewAPI returns the handler of all routes of the agent's own HTTP server.
func NewAPI(desk *Desk, o APIOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.AnswerTimeout <= 0 {
		o.AnswerTimeout = defaultAnswerTimeout
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	o.RoutePrefix = strings.TrimRight(o.RoutePrefix, "/")
	if o.RoutePrefix != "" && !strings.HasPrefix(o.RoutePrefix, "/") {
		o.RoutePrefix = "/" + o.RoutePrefix
	}
	a := &api{o: o, desk: desk, metrics: newAPIMetrics(o.Registerer), mux: http.NewServeMux()}
	for _, rt := range a.routes() {
		a.mux.Handle(rt.method+" "+o.RoutePrefix+rt.path, a.guarded(rt))
	}
	return a
}

// route is one method and path, and the least role that may use it.
type route struct {
	method, path string
	role         sre.Role // empty: open to probes and scrapers, which carry no token
	serve        serveFunc
}

type serveFunc func(w http.ResponseWriter, r *http.Request, who Identity)

// routes is the whole surface. openapi.yaml describes the same list, and a test
// holds the two equal.
func (a *api) routes() []route {
	metrics := promhttp.HandlerFor(a.o.Gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true})
	return []route{
		{"GET", "/-/healthy", "", a.healthy},
		{"GET", "/healthz", "", a.healthy},
		{"GET", "/-/ready", "", a.ready},
		{"GET", "/readyz", "", a.ready},
		{"POST", "/-/reload", sre.Admin, data(a.reload)},
		{"PUT", "/-/reload", sre.Admin, data(a.reload)},
		{"GET", "/metrics", "", func(w http.ResponseWriter, r *http.Request, _ Identity) { metrics.ServeHTTP(w, r) }},
		{"GET", "/version", "", data(a.version)},
		{"GET", "/api/v1/openapi.yaml", "", a.openAPI},

		{"GET", "/api/v1/status", sre.Viewer, data(a.status)},
		{"GET", "/api/v1/graph", sre.Viewer, data(a.graph)},
		{"GET", "/api/v1/incidents", sre.Viewer, data(a.incidents)},
		{"GET", "/api/v1/incidents/{id}", sre.Viewer, data(a.incident)},
		{"GET", "/api/v1/incidents/{id}/explain", sre.Viewer, data(a.explainIncident)},
		{"GET", "/api/v1/explain", sre.Viewer, data(a.explain)},
		{"GET", "/api/v1/approvals", sre.Viewer, data(a.approvals)},
		{"GET", "/api/v1/switches", sre.Viewer, data(a.switches)},
		{"GET", "/api/v1/mandate", sre.Viewer, data(a.mandate)},
		{"GET", "/api/v1/flags/{lever}", sre.Viewer, a.flags},

		{"POST", "/api/v1/incidents/{id}/approve", sre.Approver, a.answer(sre.InputApprove)},
		{"POST", "/api/v1/incidents/{id}/reject", sre.Approver, a.answer(sre.InputReject)},
		{"POST", "/api/v1/incidents/{id}/close", sre.Operator, a.order(sre.InputClose)},
		{"POST", "/api/v1/incidents/{id}/undo", sre.Operator, a.order(sre.InputUndo)},
		{"POST", "/api/v1/pause", sre.Operator, a.pause()},
		{"POST", "/api/v1/resume", sre.Operator, a.resume()},
		{"POST", "/api/v1/stop", sre.Operator, a.stop()},
		{"POST", "/api/v1/start", sre.Approver, a.start()},
		{"POST", "/api/v1/mandate/accept", sre.Approver, a.changeMandate(sre.MandateAccept)},
		{"POST", "/api/v1/mandate/decline", sre.Approver, a.changeMandate(sre.MandateDecline)},
		{"POST", "/api/v1/mandate/demote", sre.Operator, a.changeMandate(sre.MandateDemote)},
		{"POST", "/api/v1/mandate/restore", sre.Approver, a.changeMandate(sre.MandateRestore)},
		{"POST", "/api/v1/changes", sre.Operator, a.change()},
		{"POST", "/api/v1/switches/{name}", sre.Operator, a.flip()},
	}
}

// data turns a function of the request into a handler that writes envelopes.
func data(f func(r *http.Request) (any, error)) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, _ Identity) {
		v, err := f(r)
		if err != nil {
			writeRefusal(w, err)
			return
		}
		writeData(w, http.StatusOK, v)
	}
}

// ServeHTTP routes one request. It asks the mux first, so that unknown paths
// and methods are answered in the same shape as everything else.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	said := &discarded{header: make(http.Header)}
	h.ServeHTTP(said, r)
	err := refuse(NotFound, "no such path: %s", r.URL.Path)
	if said.code == http.StatusMethodNotAllowed {
		allow := said.header.Get("Allow")
		w.Header().Set("Allow", allow)
		err = &refusal{kind: BadData, status: http.StatusMethodNotAllowed, text: r.Method + " is not possible here; allowed: " + allow}
	}
	sw := &statusWriter{ResponseWriter: w}
	writeRefusal(sw, err)
	a.metrics.count("none", sw.code)
}

// guarded wraps a route with authentication and counting.
func (a *api) guarded(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		defer func() { a.metrics.count(rt.path, sw.code) }()
		who, err := a.authorize(r, rt.role)
		if err != nil {
			a.o.Log.Debug("request refused", "handler", rt.path, "by", who.Name, "reason", err.Error())
			writeRefusal(sw, err)
			return
		}
		rt.serve(sw, r, who)
	})
}

// authorize returns who asks, or why the request is refused.
func (a *api) authorize(r *http.Request, need sre.Role) (Identity, error) {
	if need == "" {
		return Identity{Name: anonymousName}, nil
	}
	token := presented(r)
	if token == "" {
		if a.o.AllowAnonymous && need == sre.Viewer {
			return Identity{Name: anonymousName, Role: sre.Viewer}, nil
		}
		return Identity{Name: anonymousName}, refuse(Unauthorized, "this needs a token with the role %s: send Authorization: Bearer <token>", need)
	}
	var tokens *Tokens
	if a.o.Tokens != nil {
		tokens = a.o.Tokens()
	}
	// A wrong token is refused even where none is needed: whoever sends one
	// believes to be somebody.
	who, ok := tokens.Authenticate(token)
	if !ok {
		return Identity{Name: anonymousName}, refuse(Unauthorized, "the token is not known")
	}
	if who.Role.Rank() < need.Rank() {
		return who, refuse(Forbidden, "this needs the role %s; %s has the role %s", need, who.Name, who.Role)
	}
	return who, nil
}

func presented(r *http.Request) string {
	if t := r.Header.Get(TokenHeader); t != "" {
		return t
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// statusWriter remembers the status code for the metrics.
type statusWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the code and passes it on.
func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discarded takes the mux's own plain-text answer to an unknown path or method,
// of which only the code and the Allow header are wanted.
type discarded struct {
	header http.Header
	code   int
}

// Header returns the header of the answer.
func (d *discarded) Header() http.Header { return d.header }

// WriteHeader notes the code.
func (d *discarded) WriteHeader(code int) { d.code = code }

// Write drops the text.
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
