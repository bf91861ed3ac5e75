package remediators

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// maxRendered bounds each rendered part of a request, in bytes.
const maxRendered = 64 << 10

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// templateFuncs are all that templates may call beside the built-in ones: none
// reads a file, the environment or a clock.
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"path":    func(v any) string { return url.PathEscape(fmt.Sprint(v)) },
		"query":   func(v any) string { return url.QueryEscape(fmt.Sprint(v)) },
		"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"unix":    time.Time.Unix,
		"call":    func() (string, error) { return "", errors.New("call is not available") },
	}
}

// requestTemplate is a WebhookRequest that has been read.
type requestTemplate struct {
	WebhookRequest
	url, body *template.Template
	headers   map[string]*template.Template
}

func compileRequest(r WebhookRequest) (*requestTemplate, error) {
	out := &requestTemplate{WebhookRequest: r, headers: map[string]*template.Template{}}
	read := func(name, text string) (*template.Template, error) {
		return template.New(name).Funcs(templateFuncs()).Option("missingkey=error").Parse(text)
	}
	var err error
	if out.url, err = read("url", r.URL); err != nil {
		return nil, err
	}
	if out.body, err = read("body", r.Body); err != nil {
		return nil, err
	}
	for _, h := range sortedKeys(r.Headers) {
		if out.headers[h], err = read("headers."+h, r.Headers[h]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rendered is one request, whole.
type rendered struct {
	method, url, body, key string
	headers                http.Header
}

// limited is a writer that refuses to grow without end.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("more than %d bytes", maxRendered)
	}
	return l.Buffer.Write(p)
}

func templateData(o order) map[string]any {
	plain := func(p sre.Params) map[string]any {
		if p == nil {
			return map[string]any{}
		}
		return maps.Clone(p)
	}
	t := o.action.Target
	return map[string]any{
		"id": o.action.ID, "kind": string(o.action.Kind), "service": t.Service, "callee": t.Callee, "name": t.Name,
		"params": plain(o.action.Params), "restore": plain(o.restore), "purpose": o.purpose, "key": o.key(),
		"epoch": o.epoch, "seq": o.seq, "expires": o.expires.UTC(),
	}
}

// render writes the request for an order. Nothing is sent when it fails.
func (t *requestTemplate) render(o order) (rendered, error) {
	data := templateData(o)
	run := func(tmpl *template.Template) (string, error) {
		var out limited
		if err := tmpl.Execute(&out, data); err != nil {
			return "", sre.Invalidf("%v", err)
		}
		return out.String(), nil
	}
	r := rendered{method: t.Method, key: o.key(), headers: http.Header{}}
	var err error
	if r.url, err = run(t.url); err != nil {
		return r, err
	}
	if err := checkURL(r.url); err != nil {
		return r, err
	}
	if r.body, err = run(t.body); err != nil {
		return r, err
	}
	for _, h := range sortedKeys(t.headers) {
		value, err := run(t.headers[h])
		if err != nil {
			return r, err
		}
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return r, sre.Invalidf("header %s would hold a control character", h)
		}
		r.headers.Set(h, value)
	}
	if r.body != "" && r.headers.Get("Content-Type") == "" {
		r.headers.Set("Content-Type", "application/json")
	}
	if strings.Contains(r.headers.Get("Content-Type"), "json") && r.body != "" && !json.Valid([]byte(r.body)) {
		return r, sre.Invalidf("the body would not be JSON")
	}
	return r, nil
}

// checkURL refuses what a value may have made of a URL. It does not quote it, as
// it may hold what is confidential.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return sre.Invalidf("the url cannot be read: %v", withoutURL(err))
	case u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
		return sre.Invalidf("the url is not http or https to a host")
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return sre.Invalidf("the url holds a blank or a control character")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return sre.Invalidf("the url climbs out of its path")
		}
	}
	return nil
}

func validPointer(p string) bool { return strings.HasPrefix(p, "/") }

// pointAt follows a JSON pointer (RFC 6901) through objects.
func pointAt(doc any, pointer string) (any, bool) {
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, ok := doc.(map[string]any)
		if !ok {
			return nil, false
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if doc, ok = object[token]; !ok {
			return nil, false
		}
	}
	return doc, true
}
