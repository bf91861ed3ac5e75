package remediators

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// maxReply bounds what is read from the Runtime API, in bytes.
const maxReply = 16 << 20

// runtimeAPI speaks HAProxy's Runtime API: one command per connection, which
// HAProxy closes after its reply.
type runtimeAPI struct {
	network, address string
	timeout          time.Duration
}

// errCut means that the connection, or what is read of it, ended before the
// reply did.
var errCut = errors.New("the connection ended before the reply")

// ask sends one command and returns the reply without its final empty line.
// sent tells whether HAProxy may have read the command when there is an error.
func (r runtimeAPI) ask(ctx context.Context, command string) (reply string, sent bool, err error) {
	text, sent, err := r.exchange(ctx, command)
	return strings.TrimRight(text, "\n"), sent, err
}

// exchange is ask with the reply as it came.
func (r runtimeAPI) exchange(ctx context.Context, command string) (text string, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, r.network, r.address)
	if err != nil {
		return "", false, err
	}
	defer func() { _ = conn.Close() }()
	// Moving the deadline into the past wakes a read that waits when the
	// context ends early.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", true, errors.Join(ctx.Err(), err)
	}
	b, err := io.ReadAll(io.LimitReader(conn, maxReply+1))
	if err != nil {
		return "", true, errors.Join(ctx.Err(), err)
	}
	if len(b) == 0 || len(b) > maxReply || b[len(b)-1] != '\n' {
		return "", true, errCut
	}
	return string(b), true, nil
}

// whole reports whether a listing came to its end, which is an empty line. One
// that is cut between two lines looks like a shorter one.
func whole(text string) bool { return text == "\n" || strings.HasSuffix(text, "\n\n") }

// read asks for something and touches nothing: whatever goes wrong, nothing
// happened.
func (r runtimeAPI) read(ctx context.Context, command string) (string, error) {
	text, _, err := r.exchange(ctx, command)
	reply := strings.TrimRight(text, "\n")
	if err == nil {
		if err := refusedBy(reply); err != nil {
			return "", err // some refusals have no empty line behind them
		}
		if !whole(text) {
			err = errCut
		}
	}
	if err != nil {
		return "", &sre.ActionError{Code: sre.CodeFailed, Reason: "haproxy did not answer " + firstLine(command), Err: err}
	}
	return reply, nil
}

// write sends a command whose only good reply is an empty one. A good reply
// proves nothing: HAProxy gives it to a bad value too.
func (r runtimeAPI) write(ctx context.Context, command string) error {
	reply, sent, err := r.ask(ctx, command)
	switch {
	case err != nil && sent:
		return sre.Unknownf(err, "no reply from haproxy to %s", firstLine(command))
	case err != nil:
		return &sre.ActionError{Code: sre.CodeFailed, Reason: "haproxy was not reached", Err: err}
	case reply == "":
		return nil
	}
	if err := refusedBy(reply); err != nil {
		return err
	}
	return sre.Unknownf(fmt.Errorf("reply %q", firstLine(reply)), "haproxy says something unexpected to %s", firstLine(command))
}

// The texts by which HAProxy says no; there is no status code. Only the start
// of a reply counts, since a listing may quote anything.
var (
	invalidReplies = []string{
		"No such backend", "No such server", "Can't find backend", "Unknown map identifier", "entry not found",
		"unable to parse", "Absolute weight can only", "Relative weight can only", "maxconn string", "Empty weight string",
		"'set server <srv> state' expects", "Require 'backend/server'", "Malformed identifier", "Invalid",
	}
	refusedReplies = []string{
		"Permission denied", "Unknown command", "Version number", "Backend is using a static LB algorithm",
		"This command expects", "Out of memory",
	}
)

func refusedBy(reply string) error {
	text := strings.TrimLeft(reply, "\n")
	for _, p := range invalidReplies {
		if strings.HasPrefix(text, p) {
			return sre.Invalidf("haproxy says %s", words(firstLine(text)))
		}
	}
	for _, p := range refusedReplies {
		if strings.HasPrefix(text, p) {
			return sre.Refusedf("haproxy says %s", words(firstLine(text)))
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// instance names the running process: what was set at run time is gone when
// another one runs.
func (r runtimeAPI) instance(ctx context.Context) (string, error) {
	reply, err := r.read(ctx, "show info")
	if err != nil {
		return "", err
	}
	var pid, started string
	for line := range strings.Lines(reply) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Pid":
			pid = value
		case "Start_time_sec":
			started = value
		}
	}
	if pid == "" {
		return "", sre.Failedf("haproxy's show info is unreadable: no Pid")
	}
	return pid + "@" + started, nil
}

// proxyServer is one server as HAProxy reports it.
type proxyServer struct {
	name   string
	state  string // ready, drain or maint
	weight string
	up     bool // takes traffic, as far as health checks know

	running bool // health checks know of nothing bad
	alive   bool // running and ready; a weight of 0 keeps traffic off it still
}

// Bits of srv_admin_state; HAProxy's state file format documents them.
const (
	adminMaint = 0x01 | 0x02 | 0x20 | 0x40 // forced, inherited, no address, unresolved
	adminDrain = 0x08 | 0x10               // forced, inherited
)

// servers lists the servers of a backend.
func (r runtimeAPI) servers(ctx context.Context, backend string) ([]proxyServer, error) {
	reply, err := r.read(ctx, "show servers state "+backend)
	if err != nil {
		return nil, err
	}
	return parseServers(reply)
}

func parseServers(reply string) ([]proxyServer, error) {
	var columns map[string]int
	var out []proxyServer
	width := 0 // a header that names a column twice is wider than its map
	for line := range strings.Lines(reply) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == "#" {
			columns, width = map[string]int{}, len(fields)-1
			for i, name := range fields[1:] {
				columns[name] = i
			}
			continue
		}
		if columns == nil || len(fields) < width || len(fields) == 0 {
			continue
		}
		s, err := parseServer(columns, fields)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	if columns == nil {
		return nil, sre.Failedf("haproxy's show servers state is unreadable: no header")
	}
	return out, nil
}

func parseServer(columns map[string]int, fields []string) (proxyServer, error) {
	at := func(column string) string {
		if i, ok := columns[column]; ok {
			return fields[i]
		}
		return ""
	}
	admin, err := strconv.ParseUint(at("srv_admin_state"), 10, 32)
	if err != nil {
		return proxyServer{}, sre.Failedf("haproxy's show servers state is unreadable: srv_admin_state %q", at("srv_admin_state"))
	}
	s := proxyServer{name: at("srv_name"), weight: at("srv_uweight"), state: "ready"}
	switch {
	case admin&adminMaint != 0:
		s.state = "maint"
	case admin&adminDrain != 0:
		s.state = "drain"
	}
	s.running = at("srv_op_state") != "0"
	s.alive = s.running && s.state == "ready"
	s.up = s.alive && s.weight != "0"
	return s, nil
}

// maxconn returns the connection limit of a server; 0 is no limit.
func (r runtimeAPI) maxconn(ctx context.Context, backend, server string) (string, error) {
	const serversOnly = " 4 -1"
	reply, err := r.read(ctx, "show stat "+backend+serversOnly)
	if err != nil {
		return "", err
	}
	return parseMaxconn(reply, server)
}

func parseMaxconn(reply, server string) (string, error) {
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(reply, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return "", sre.Failedf("haproxy's show stat is unreadable: %v", err)
	}
	name, limit := -1, -1
	for i, column := range rows[0] {
		switch column {
		case "svname":
			name = i
		case "slim":
			limit = i
		}
	}
	if name < 0 || limit < 0 {
		return "", sre.Failedf("haproxy's show stat has no svname or no slim column")
	}
	for _, row := range rows[1:] {
		if row[name] != server {
			continue
		}
		if row[limit] == "" {
			return "0", nil
		}
		return row[limit], nil
	}
	return "", sre.Invalidf("haproxy says No such server.")
}
