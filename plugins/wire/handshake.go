package wire

// Version is the newest version of the protocol that this module speaks. The
// host and a plugin agree on the newest that both speak.
const Version = 1

// Name is the one service of a plugin in go-plugin's set.
const Name = "remediator"

// The cookie tells a plugin that it was started by sreagent and not by a
// person at a shell. It is no secret and protects nothing: the checksum, mutual
// TLS and the socket's folder do.
const (
	CookieKey   = "SREAGENT_PLUGIN"
	CookieValue = "sreagent.plugin.v1"
)
