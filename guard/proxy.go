package guard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// ProxyCallee is the callee under which a proxy's upstream stands in
// configuration, directives and metrics.
const ProxyCallee = "upstream"

// NewProxy returns a reverse proxy with g's limits before it and g's client side,
// for the callee ProxyCallee, behind it. Requests go to the backends that the
// configuration names for that callee, and to upstream where it names none;
// upstream may be nil beside backends. It answers 504 when the upstream is too
// slow, 503 when the circuit is open, 502 when the upstream cannot be reached and
// 400 when the request's body does not come to its end.
//
// A request whose caller has gone before it was forwarded is dropped: forwarding
// it would end at once, and must not count as work.
func NewProxy(g *Guard, upstream *url.URL) http.Handler {
	if upstream == nil {
		upstream = &url.URL{Scheme: "http", Host: ProxyCallee} // every backend replaces it
	}
	way := http.DefaultTransport.(*http.Transport).Clone()
	way.MaxIdleConns, way.MaxIdleConnsPerHost = 0, 256 // all go to a few hosts
	way.DisableCompression = true                      // what the service sends is passed on as it is
	way.Proxy = nil
	g.onClose(way.CloseIdleConnections)
	return g.middleware(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { g.rewrite(r, upstream) },
		Transport: g.Transport(ProxyCallee, way),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				g.log.Debug("upstream gave no answer", "err", err)
			}
			switch {
			case errors.Is(err, errRequestBody):
				http.Error(w, "request body cannot be read", http.StatusBadRequest)
			case errors.Is(err, ErrBreakerOpen):
				refuse(w, http.StatusServiceUnavailable, "upstream is not called for now")
			case isTimeout(err), errors.Is(context.Cause(r.Context()), context.DeadlineExceeded):
				http.Error(w, "upstream took too long", http.StatusGatewayTimeout)
			default:
				http.Error(w, "upstream cannot be reached", http.StatusBadGateway)
			}
		},
	}, func() bool { return true })
}

// rewrite makes the request for the service: what the caller wrote, except for
// what only the guard and the proxies that it trusts may say.
func (g *Guard) rewrite(r *httputil.ProxyRequest, upstream *url.URL) {
	r.Out.URL.RawQuery = r.In.URL.RawQuery // also what Go cannot parse: the service may
	r.SetURL(upstream)
	r.Out.Host = r.In.Host
	believed := g.limits.Load().clients.trustsPeer(r.In)
	if believed {
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}
	r.SetXForwarded() // adds to what is there
	for _, name := range [...]string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := r.In.Header[name]; believed && len(v) > 0 {
			r.Out.Header[name] = v
		}
	}
	if name, ok := ClientFrom(r.In.Context()); ok { // again: the caller can list it in Connection, which removes it
		r.Out.Header.Set(ClientHeader, name)
	}
	if offersH2C(r.Out.Header) { // a tunnel in which requests pass that nobody sees
		for _, name := range [...]string{"Connection", "Upgrade", "Http2-Settings"} {
			r.Out.Header.Del(name)
		}
	}
}

func offersH2C(h http.Header) bool {
	for protocol := range strings.SplitSeq(h.Get("Upgrade"), ",") {
		if strings.EqualFold(strings.TrimSpace(protocol), "h2c") {
			return true
		}
	}
	return false
}
