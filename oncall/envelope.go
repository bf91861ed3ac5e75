package oncall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// ErrorType is the kind of a refused request, for programs to branch on.
type ErrorType string

// The closed set of error types.
const (
	Unauthorized ErrorType = "unauthorized" // no token where one is needed, or an unknown one
	Forbidden    ErrorType = "forbidden"    // the token's role does not suffice
	BadData      ErrorType = "bad_data"     // the request makes no sense
	NotFound     ErrorType = "not_found"
	Conflict     ErrorType = "conflict"    // what was asked does not fit what is so now
	Unavailable  ErrorType = "unavailable" // not at the moment
)

func (t ErrorType) status() int {
	switch t {
	case Unauthorized:
		return http.StatusUnauthorized
	case Forbidden:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case Conflict:
		return http.StatusConflict
	case Unavailable:
		return http.StatusServiceUnavailable
	case BadData:
	}
	return http.StatusBadRequest
}

// envelope is the frame of every JSON answer, as Prometheus users know it.
type envelope struct {
	Status    string          `json:"status"` // success or error
	Data      json.RawMessage `json:"data,omitempty"`
	ErrorType ErrorType       `json:"errorType,omitempty"`
	Error     string          `json:"error,omitempty"`
}

// refusal is an error that becomes an error envelope.
type refusal struct {
	kind   ErrorType
	status int // 0 for the usual one of the kind
	text   string
}

func (r *refusal) Error() string { return string(r.kind) + ": " + r.text }

func refuse(kind ErrorType, format string, args ...any) *refusal {
	return &refusal{kind: kind, text: fmt.Sprintf(format, args...)}
}

func writeData(w http.ResponseWriter, status int, data any) {
	raw, err := json.Marshal(data)
	if err != nil {
		writeRefusal(w, &refusal{kind: Unavailable, status: http.StatusInternalServerError, text: "encode the answer: " + err.Error()})
		return
	}
	writeEnvelope(w, status, envelope{Status: "success", Data: raw})
}

func writeRefusal(w http.ResponseWriter, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{kind: Unavailable, text: err.Error()}
	}
	status := r.status
	if status == 0 {
		status = r.kind.status()
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="sreagent"`)
	}
	writeEnvelope(w, status, envelope{Status: "error", ErrorType: r.kind, Error: r.text})
}

func writeEnvelope(w http.ResponseWriter, status int, e envelope) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	// An envelope of strings and checked JSON always encodes.
	_ = enc.Encode(e)
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A caller that has gone is no news.
	_, _ = w.Write(buf.Bytes())
}

const (
	maxBody     = 64 << 10 // bytes; the longest sensible request is a comment
	bodyTimeout = 10 * time.Second
)

// readBody decodes a JSON body into a pointer to a struct. An empty body leaves
// it as it is. Unknown fields are refused with the list of known ones, so that
// a misspelt "decision" is never taken for a missing one.
func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	// Servers without deadlines, such as recorders in tests, say so; the size
	// limit holds all the same.
	ctl := http.NewResponseController(w)
	_ = ctl.SetReadDeadline(time.Now().Add(bodyTimeout))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		// After a body that did not arrive the deadline stays: the server reads
		// what is left of it before it answers, and would wait for ever.
		_ = ctl.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &refusal{kind: BadData, status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
	case err != nil:
		return refuse(BadData, "the body did not arrive: %v", err)
	case len(bytes.TrimSpace(raw)) == 0:
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return refuse(BadData, "the body is not what this route takes: %s; allowed fields: %s",
			strings.TrimPrefix(err.Error(), "json: "), strings.Join(jsonFields(into), ", "))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refuse(BadData, "the body holds more than one JSON value")
	}
	return nil
}

func jsonFields(ptr any) []string { return fieldsOf(reflect.TypeOf(ptr).Elem()) }

func fieldsOf(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
