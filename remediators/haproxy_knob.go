package remediators

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// knob is one setting of HAProxy that one action holds at a time.
type knob interface {
	// name is the knob's key in the ledger.
	name() string
	// parse turns parameters into settings, by parameter name.
	parse(p sre.Params) (settings, error)
	// params is the way back, with HAProxy's own default where there is no entry.
	params(s settings) sre.Params
	// read returns the settings in force, by parameter name.
	read(ctx context.Context) (settings, error)
	// check refuses a write that would leave nobody to serve.
	check(ctx context.Context, write settings) error
	// write sets and reads back.
	write(ctx context.Context, write settings) error
	// settle takes the settings that were ours out of the files, where a write
	// that was cut short may have left them: what is in force stays in force.
	settle(ours, inForce settings) error
	// manual returns the Runtime API commands for the same by hand, and the
	// shell commands for the files that must agree.
	manual(s settings) (commands, shell []string)
}

// The parameter that caps a backend as a whole, and the end of those that admit
// a share of a class; a class by itself is the parameter of its cap.
const (
	rpsParam    = "rps"
	shareSuffix = "_share"
)

func classes() []string { return []string{"critical", "high", "normal", "low"} }

// admitParams lists what an admit map holds of one backend.
func admitParams() []string {
	params := []string{rpsParam}
	for _, class := range classes() {
		params = append(params, class, class+shareSuffix)
	}
	return params
}

// settable reports whether a number can be written to HAProxy, and what was read
// of it to the trail. People write into maps what they like, infinity too.
func settable(v float64) bool { return v >= 0 && v <= math.MaxInt32 }

// classKnob is what is admitted to one backend: a cap on and a share of each
// class, and a cap on the whole, as entries of the admit map.
type classKnob struct {
	admit   admitMap
	backend string
	key     func(param string) string
}

// forUndo returns the knob as an undo uses it.
func forUndo(k knob) knob {
	if c, ok := k.(classKnob); ok {
		c.admit.undo = true
		return c
	}
	return k
}

func (k classKnob) name() string { return "admit " + k.backend }

func (k classKnob) parse(p sre.Params) (settings, error) {
	out := settings{}
	for _, param := range admitParams() {
		if _, given := p[param]; !given {
			continue
		}
		v, ok := p.Float(param)
		switch {
		case !ok:
			return nil, sre.Invalidf("parameter %q is not a number", param)
		case !settable(v):
			return nil, sre.Invalidf("parameter %q is %v, which HAProxy cannot hold", param, v)
		case !strings.HasSuffix(param, shareSuffix):
			// The map holds whole numbers. A cap never rounds up, but one above
			// nothing never becomes nothing.
			v = max(math.Floor(v), min(math.Ceil(v), 1))
		case v != math.Trunc(v):
			return nil, sre.Invalidf("parameter %q is %v, want a whole percentage", param, v)
		}
		out[param] = strconv.FormatInt(int64(v), 10)
	}
	if len(out) == 0 {
		return nil, sre.Invalidf("shed names neither a class nor rps")
	}
	return out, nil
}

func (k classKnob) params(s settings) sre.Params {
	out := sre.Params{}
	for _, class := range classes() {
		out[class+shareSuffix] = 100.0
	}
	for param, value := range s {
		if f, err := strconv.ParseFloat(value, 64); err == nil && settable(f) {
			out[param] = f
		}
	}
	return out
}

func (k classKnob) read(ctx context.Context) (settings, error) {
	all, err := k.admit.settings(ctx)
	if err != nil {
		return nil, err
	}
	return k.pick(all), nil
}

// pick keeps this backend's entries of a map.
func (k classKnob) pick(all settings) settings {
	out := settings{}
	for _, param := range admitParams() {
		out[param] = all[k.key(param)]
	}
	return out
}

func (k classKnob) check(context.Context, settings) error { return nil }

func (k classKnob) write(ctx context.Context, write settings) error {
	return k.admit.set(ctx, k.entries(write))
}

func (k classKnob) entries(s settings) settings {
	out := settings{}
	for param, value := range s {
		if param == epochKey {
			out[epochKey] = value
			continue
		}
		out[k.key(param)] = value
	}
	return out
}

func (k classKnob) settle(ours, inForce settings) error {
	if k.admit.file == "" {
		return nil
	}
	all, err := k.admit.fileSettings()
	if err != nil {
		return sre.Failedf("read the map file: %v", err)
	}
	onDisk, stale := k.pick(all), settings{}
	for param, value := range ours {
		if onDisk[param] == value && inForce[param] != value {
			stale[param] = inForce[param]
		}
	}
	_, err = k.admit.setFile(k.entries(stale))
	return err
}

func (k classKnob) manual(s settings) (commands, shell []string) {
	all := k.entries(s)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		pattern := "/^[[:blank:]]*" + strings.NewReplacer(".", `\.`, "/", `\/`).Replace(key) + "[[:blank:]]/"
		command, edit := "set map "+k.admit.name+" "+key+" "+all[key], pattern+"s/.*/"+strings.ReplaceAll(key, "/", `\/`)+" "+all[key]+"/"
		if all[key] == "" {
			command, edit = "del map "+k.admit.name+" "+key, pattern+"d"
		}
		commands = append(commands, command)
		if k.admit.file != "" {
			shell = append(shell, "sed -i "+shellQuote(edit)+" "+shellQuote(k.admit.file))
		}
	}
	return commands, shell
}

// The settings of a server, which are parameter names too.
const (
	paramWeight  = "weight"
	paramState   = "state"
	paramMaxconn = "maxconn"
	paramWait    = "wait_seconds" // of a drain
)

// serverKnob is one setting of one server.
type serverKnob struct {
	api             runtimeAPI
	backend, server string
	param           string
	capacity        map[string]float64 // of the backend's servers, requests per second
}

func (k serverKnob) name() string { return k.param + " " + k.path() }

func (k serverKnob) path() string { return k.backend + "/" + k.server }

func (k serverKnob) parse(p sre.Params) (settings, error) {
	if k.param == paramState {
		if _, given := p[paramState]; !given {
			return settings{paramState: "drain"}, nil
		}
		state, ok := p.Text(paramState)
		if !ok || state != "ready" && state != "drain" && state != "maint" {
			return nil, sre.Invalidf("parameter \"state\" is %v, want drain or ready", p[paramState])
		}
		return settings{paramState: state}, nil
	}
	v, ok := p.Float(k.param)
	if !ok {
		return nil, sre.Invalidf("parameter %q is missing", k.param)
	}
	if v != math.Trunc(v) || !settable(v) {
		return nil, sre.Invalidf("parameter %q is %v, want a whole number", k.param, v)
	}
	return settings{k.param: strconv.FormatInt(int64(v), 10)}, nil
}

func (k serverKnob) params(s settings) sre.Params {
	if k.param == paramState {
		return sre.Params{paramState: s[paramState]}
	}
	f, err := strconv.ParseFloat(s[k.param], 64)
	if err != nil || !settable(f) {
		return sre.Params{}
	}
	return sre.Params{k.param: f}
}

func (k serverKnob) read(ctx context.Context) (settings, error) {
	if k.param == paramMaxconn {
		limit, err := k.api.maxconn(ctx, k.backend, k.server)
		return settings{paramMaxconn: limit}, err
	}
	servers, err := k.api.servers(ctx, k.backend)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(servers, func(s proxyServer) bool { return s.name == k.server })
	if i < 0 {
		return nil, sre.Invalidf("haproxy has no server %s", k.path())
	}
	if k.param == paramWeight {
		return settings{paramWeight: servers[i].weight}, nil
	}
	return settings{paramState: servers[i].state}, nil
}

func (k serverKnob) check(ctx context.Context, write settings) error {
	if err := k.checkLast(ctx, write); err != nil {
		return err
	}
	return k.checkHeadroom(ctx, write)
}

func (k serverKnob) checkLast(ctx context.Context, write settings) error {
	if write[paramWeight] != "0" && write[paramState] != "drain" {
		return nil
	}
	servers, err := k.api.servers(ctx, k.backend)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if s.name != k.server && s.up {
			return nil
		}
	}
	return sre.Refusedf("%s is the last server of its backend that takes traffic", k.path())
}

func (k serverKnob) write(ctx context.Context, write settings) error {
	want, given := write[k.param]
	if !given {
		return nil
	}
	if err := k.api.write(ctx, k.command(want)); err != nil {
		return err
	}
	now, err := k.read(ctx)
	if err != nil {
		return sre.Unknownf(err, "%s was set but could not be read back", k.name())
	}
	if now[k.param] != want {
		return sre.Failedf("haproxy holds %s=%q after the write, not %q", k.name(), now[k.param], want)
	}
	return nil
}

func (k serverKnob) command(value string) string {
	if k.param == paramMaxconn {
		return "set maxconn server " + k.path() + " " + value
	}
	return "set server " + k.path() + " " + k.param + " " + value
}

func (k serverKnob) settle(settings, settings) error { return nil }

func (k serverKnob) manual(s settings) (commands, shell []string) {
	return []string{k.command(s[k.param])}, nil
}
