package guard

import (
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// matcher says which requests a limit counts.
type matcher struct {
	exact, prefix string
	methods       []string
	classes       [priorities]bool
}

func newMatcher(m LimitMatch) matcher {
	out := matcher{methods: m.Methods}
	if p := strings.TrimRight(m.Path, "/"); p != "" {
		out.exact, out.prefix = p, p+"/"
	}
	for p := range out.classes {
		out.classes[p] = len(m.Priorities) == 0 || slices.Contains(m.Priorities, Priority(p).String())
	}
	return out
}

func (m *matcher) matches(method, cleaned string, class Priority) bool {
	return m.classes[class] && (len(m.methods) == 0 || slices.Contains(m.methods, method)) &&
		(m.exact == "" || cleaned == m.exact || strings.HasPrefix(cleaned, m.prefix))
}

// cleaned is the path without what would lead around a prefix, such as //.
func cleaned(r *http.Request) string { return path.Clean(r.URL.Path) }

// clients finds who made a request.
type clients struct {
	header  string
	trusted []netip.Prefix
}

func newClients(cfg ClientConfig) clients {
	c := clients{header: http.CanonicalHeaderKey(cfg.Header)}
	for _, network := range cfg.TrustedProxies {
		c.trusted = append(c.trusted, netip.MustParsePrefix(network).Masked())
	}
	return c
}

// Marks keep clients of one kind apart from those of another that bear the
// same name.
const (
	markAuthenticated = 'a'
	markHeader        = 'h'
	markAddress       = 'i'
)

// append adds the client of r to key: who was authenticated, else the header
// where it can be believed, else the address. An IPv6 client is its /64, of
// which one machine can use every address.
func (c *clients) append(key []byte, r *http.Request) []byte {
	if name, ok := ClientFrom(r.Context()); ok {
		return append(append(key, markAuthenticated), name...)
	}
	addr := peer(r)
	believed := c.trusts(addr)
	if c.header != "" && (believed || len(c.trusted) == 0) {
		if v := r.Header[c.header]; len(v) > 0 && v[0] != "" {
			return append(append(key, markHeader), v[0]...)
		}
	}
	if believed {
		addr = c.forwarded(addr, r.Header["X-Forwarded-For"])
	}
	raw := addr.As16()
	if addr.Is6() {
		clear(raw[8:])
	}
	return append(append(key, markAddress), raw[:]...)
}

// peer is where the connection comes from; not valid on a Unix socket.
func peer(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap().WithZone("")
}

// trustsPeer reports whether r comes from a proxy whose word counts.
func (c *clients) trustsPeer(r *http.Request) bool { return c.trusts(peer(r)) }

// forwarded returns the last address that no trusted proxy has.
func (c *clients) forwarded(addr netip.Addr, lines []string) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		for rest := lines[i]; rest != ""; {
			at := strings.LastIndexByte(rest, ',')
			hop, err := netip.ParseAddr(strings.TrimSpace(rest[at+1:]))
			if err != nil {
				return addr
			}
			if addr = hop.Unmap().WithZone(""); !c.trusts(addr) {
				return addr
			}
			rest = rest[:max(0, at)]
		}
	}
	return addr
}

func (c *clients) trusts(addr netip.Addr) bool {
	for _, network := range c.trusted {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// appendKey adds to key what the limit tells requests apart by.
func (r *rule) appendKey(key []byte, c *clients, req *http.Request, path string, class Priority) []byte {
	for _, per := range r.cfg.Per {
		switch per {
		case "global":
		case "client":
			key = c.append(key, req)
		case "priority":
			key = append(key, class.String()...)
		case "route":
			key = append(append(append(key, req.Method...), ' '), route(path)...)
		default: // header:NAME, in canonical form
			if v := req.Header[per[len("header:"):]]; len(v) > 0 {
				key = append(key, v[0]...)
			}
		}
		key = append(key, 0) // no part can hold it
	}
	return key
}

// route is the first two segments of a path: what follows is often an identity.
func route(path string) string {
	segments := 0
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if segments++; segments == 2 {
				return path[:i]
			}
		}
	}
	return path
}
