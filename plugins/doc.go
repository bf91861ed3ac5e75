// Package plugins runs levers that live in other processes. It starts each
// configured binary, holds it against its checksum, speaks to it over gRPC with
// mutual TLS, restarts it when it dies or hangs, and is to the agent an
// sre.Remediator like any other.
//
// A plugin is trusted with its target and with nothing else. It never sees a
// permit, only directives; it inherits neither the environment nor the standard
// input of the daemon; every call is bounded in time and every answer in size;
// what it answers is checked by plugins/wire; what it logs is limited. When the
// process ends, all that it forked into its process group ends with it.
//
// Read plugin.go for the life of one plugin, session.go for one process of it,
// process_linux.go for how that process is held. Authors of plugins begin with
// plugins/sdk and plugins/example.
package plugins
