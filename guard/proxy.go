package guard

import (
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// ProxyCallee is the callee under which a proxy's upstream stands in
// configuration, directives and metrics.
const ProxyCallee = "upstream"

// NewProxy returns a reverse proxy to upstream with g's limits before it and
// g's client side, for the callee ProxyCallee, behind it. It answers 504 when
// the upstream is too slow, 503 when the circuit is open and 502 when the
// upstream cannot be reached.
func NewProxy(g *Guard, upstream *url.URL) http.Handler {
	return g.Middleware(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport: g.Transport(ProxyCallee, nil),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				g.log.Debug("upstream gave no answer", "err", err)
			}
			switch {
			case errors.Is(err, ErrBreakerOpen):
				refuse(w, http.StatusServiceUnavailable, "upstream is not called for now")
			case isTimeout(err):
				http.Error(w, "upstream took too long", http.StatusGatewayTimeout)
			default:
				http.Error(w, "upstream cannot be reached", http.StatusBadGateway)
			}
		},
	})
}
