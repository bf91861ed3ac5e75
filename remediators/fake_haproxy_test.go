package remediators

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeHAProxy speaks the part of the Runtime API that the lever uses, with
// HAProxy 2.6's own texts and traps, and can misbehave.
type fakeHAProxy struct {
	mu       sync.Mutex
	network  string
	address  string
	pid      int
	maps     map[string]*fakeMap
	servers  map[string]*fakeServer // by backend/server
	commands []string
	budget   int // commands that are still answered; negative for no limit

	before func(command string) // runs ahead of a command, lock held
	cut    string               // commands with this prefix take effect and are not answered
	stall  string               // commands with this prefix are never answered
	ignore string               // commands with this prefix have no effect and an empty reply
	reply  map[string]string    // answers instead of the real ones, by prefix

	listener net.Listener
	done     chan struct{}
	wg       sync.WaitGroup
}

type fakeMap struct {
	current, next int
	entries       []entry
	pending       map[int][]entry
}

type fakeServer struct {
	weight, admin, maxconn, op   int
	sessions, queued, rate, peak int
}

func startFakeHAProxy(t *testing.T, network string) *fakeHAProxy {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "admin.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeHAProxy{
		network: network, address: l.Addr().String(), pid: 100, budget: -1,
		maps: map[string]*fakeMap{}, reply: map[string]string{},
		servers: map[string]*fakeServer{
			"be_shop/s1": {weight: 100, op: 2}, "be_shop/s2": {weight: 100, op: 2, maxconn: 50},
		},
		listener: l, done: make(chan struct{}),
	}
	f.wg.Go(f.serve)
	t.Cleanup(func() {
		close(f.done)
		_ = l.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fakeHAProxy) serve() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() {
			defer func() { _ = conn.Close() }()
			f.answer(conn)
		})
	}
}

func (f *fakeHAProxy) answer(conn net.Conn) {
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	command, payload := strings.TrimSuffix(line, "\n"), ""
	if verb, ok := strings.CutSuffix(command, " <<"); ok {
		command = verb
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\n" {
				break
			}
			payload += line
		}
	}
	f.mu.Lock()
	if f.stall != "" && strings.HasPrefix(command, f.stall) {
		f.mu.Unlock()
		<-f.done
		return
	}
	defer f.mu.Unlock()
	if f.budget == 0 {
		return
	}
	if f.budget > 0 {
		f.budget--
	}
	if f.before != nil {
		f.before(command)
	}
	f.commands = append(f.commands, command)
	out := f.run(command, payload)
	if f.cut != "" && strings.HasPrefix(command, f.cut) {
		return
	}
	_, _ = conn.Write([]byte(out))
}

func (f *fakeHAProxy) run(command, payload string) string {
	for prefix, text := range f.reply {
		if strings.HasPrefix(command, prefix) {
			return text
		}
	}
	if f.ignore != "" && strings.HasPrefix(command, f.ignore) {
		return "\n"
	}
	w := strings.Fields(command)
	at := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	switch verb := at(0) + " " + at(1); verb {
	case "show info":
		return fmt.Sprintf("Name: HAProxy\nPid: %d\nUptime_sec: 3\nStart_time_sec: 1700000000\n\n", f.pid)
	case "show map", "prepare map", "add map", "commit map", "clear map", "set map", "del map":
		return f.runMap(at(0), w[2:], payload)
	case "show servers":
		return f.showServers(cmp.Or(at(3), "be_shop"))
	case "show stat":
		return f.showStat(at(2))
	case "shutdown sessions":
		s := f.servers[at(3)]
		if s == nil {
			return "No such server.\n\n"
		}
		s.sessions = 0
		return "\n"
	case "set server", "set maxconn":
		return f.setServer(w)
	}
	return "Unknown command. Please enter one of the following commands only:\n  help\n\n"
}

func (f *fakeHAProxy) runMap(verb string, w []string, payload string) string {
	version := -1
	if len(w) > 0 && strings.HasPrefix(w[0], "@") {
		version, _ = strconv.Atoi(w[0][1:])
		w = w[1:]
	}
	m := f.maps[w[0]]
	if m == nil {
		return "Unknown map identifier. Please use #<id> or <file>.\n\n"
	}
	if version > m.next {
		return "Version number in the future, please use 'prepare map' before.\n\n"
	}
	switch verb {
	case "show":
		list := m.entries
		if version >= 0 {
			list = m.pending[version]
		}
		var out strings.Builder
		for i, e := range list {
			fmt.Fprintf(&out, "0x%x %s %s\n", 0x5500+i, e.key, e.value)
		}
		return out.String() + "\n"
	case "prepare":
		m.next++
		return fmt.Sprintf("New version created: %d\n\n", m.next)
	case "add":
		for line := range strings.Lines(payload) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if _, err := strconv.ParseInt(value, 10, 64); err != nil {
				return fmt.Sprintf("unable to parse '%s'.\n\n", value)
			}
			m.pending[version] = append(m.pending[version], entry{key, value})
		}
	case "clear":
		delete(m.pending, version)
	case "commit":
		if version <= m.current {
			return "Version number out of range.\n\n"
		}
		m.current, m.entries = version, m.pending[version]
		delete(m.pending, version)
	case "set":
		return f.setMap(m, w[1], w[2])
	case "del":
		m.entries = slices.DeleteFunc(m.entries, func(e entry) bool { return e.key == w[1] })
	}
	return "\n"
}

func (f *fakeHAProxy) setMap(m *fakeMap, key, value string) string {
	i := slices.IndexFunc(m.entries, func(e entry) bool { return e.key == key })
	if i < 0 {
		return "entry not found.\n\n"
	}
	// The trap: a bad value is passed over without a word.
	if _, err := strconv.ParseInt(value, 10, 64); err == nil {
		m.entries[i].value = value
	}
	return "\n"
}

func (f *fakeHAProxy) backendServers(backend string) []string {
	var names []string
	for _, path := range slices.Sorted(maps.Keys(f.servers)) {
		if name, ok := strings.CutPrefix(path, backend+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

func (f *fakeHAProxy) showServers(backend string) string {
	names := f.backendServers(backend)
	if len(names) == 0 {
		return "Can't find backend.\n\n"
	}
	var out strings.Builder
	out.WriteString("1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change\n")
	for i, name := range names {
		s := f.servers[backend+"/"+name]
		fmt.Fprintf(&out, "4 %s %d %s 127.0.0.1 %d %d %d 100 1\n", backend, i+1, name, s.op, s.admin, s.weight)
	}
	return out.String() + "\n"
}

func (f *fakeHAProxy) showStat(backend string) string {
	names := f.backendServers(backend)
	if len(names) == 0 {
		return "No such proxy.\n\n"
	}
	var out strings.Builder
	out.WriteString("# pxname,svname,qcur,scur,slim,rate,rate_max,status,\n")
	for _, name := range names {
		limit := ""
		s := f.servers[backend+"/"+name]
		if s.maxconn > 0 {
			limit = strconv.Itoa(s.maxconn)
		}
		fmt.Fprintf(&out, "%s,%s,%d,%d,%s,%d,%d,no check,\n", backend, name, s.queued, s.sessions, limit, s.rate, s.peak)
	}
	return out.String() + "\n"
}

func (f *fakeHAProxy) setServer(w []string) string {
	path, what, value := w[2], w[3], w[len(w)-1]
	if w[1] == "maxconn" {
		path, what = w[3], paramMaxconn
	}
	backend, _, _ := strings.Cut(path, "/")
	if len(f.backendServers(backend)) == 0 {
		return "No such backend.\n\n"
	}
	s := f.servers[path]
	if s == nil {
		return "No such server.\n\n"
	}
	n, err := strconv.Atoi(value)
	switch what {
	case paramMaxconn:
		if err != nil {
			return "maxconn string empty or preceded by garbage\n"
		}
		s.maxconn = n
	case paramWeight:
		if err != nil || n < 0 || n > 256 {
			return "Absolute weight can only be between 0 and 256 inclusive.\n\n"
		}
		s.weight = n
	case paramState:
		admin, ok := map[string]int{"ready": 0, "drain": 8, "maint": 1}[value]
		if !ok {
			return "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"
		}
		s.admin = admin
	}
	return "\n"
}

// inForce is everything that matters, as text; the fencing token is not among
// it, since it never goes back.
func (f *fakeHAProxy) inForce() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.maps)) {
		for _, e := range f.maps[name].entries {
			if e.key != epochKey {
				fmt.Fprintf(&out, "%s=%s\n", e.key, e.value)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(f.servers)) {
		fmt.Fprintf(&out, "%s %+v\n", path, *f.servers[path])
	}
	return out.String()
}

// with changes the fake under its lock.
func (f *fakeHAProxy) with(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// wrote counts the commands that touch what is in force.
func (f *fakeHAProxy) wrote() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.commands {
		if strings.HasPrefix(c, "commit") || strings.HasPrefix(c, "set") || strings.HasPrefix(c, "del") {
			n++
		}
	}
	return n
}
