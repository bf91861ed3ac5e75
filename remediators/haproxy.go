package remediators

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// haproxyLever moves one HAProxy process. HAProxy knows neither leases nor
// fencing tokens, so the order of every write is: check the token, read what
// is there, record the intent in the ledger, write, read back, record the end.
type haproxyLever struct {
	cfg    HAProxyConfig
	api    runtimeAPI
	ledger ledgerFile
	log    *slog.Logger
	now    func() time.Time
	meter  meter
}

func newHAProxy(c HAProxyConfig, stateDir string, o Options, m *metrics) (*haproxyLever, error) {
	network, address, _ := c.address()
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the ledgers: %w", err)
	}
	h := &haproxyLever{
		cfg:    c,
		api:    runtimeAPI{network: network, address: address, timeout: timeout},
		ledger: ledgerFile{path: filepath.Join(stateDir, c.Name+".json")},
		log:    o.Log.With("component", "remediators", "lever", c.Name),
		now:    o.Now,
		meter:  newMeter(m, c.Name, o.Now),
	}
	// A ledger that cannot be read hides settings that nobody would ever
	// revert: better not to start than to start without it.
	if _, err := h.ledger.load(); err != nil {
		return nil, err
	}
	return h, nil
}

// kinds lists what this HAProxy can do; without an admit map it cannot shed
// by class.
func (h *haproxyLever) kinds() []sre.KindSpec {
	var shed []sre.ParamSpec
	if h.cfg.AdmitMap != "" {
		for _, class := range classes() {
			shed = append(shed,
				number(class, false, 0, 1e9, "requests per second", "cap on the admitted requests of this class; without a target name"),
				number(class+shareSuffix, false, 0, 100, "percent", "share of this class that is admitted; without a target name"))
		}
		shed = append(shed, number(rpsParam, false, 0, 1e9, "requests per second", "cap on all admitted requests; without a target name"))
	}
	shed = append(shed, number(paramMaxconn, false, 1, 1e9, "connections", "most connections of the server that the target names"))
	return []sre.KindSpec{
		{Kind: sre.Shed, Reversible: true, Params: shed},
		{Kind: sre.Drain, Reversible: true, Params: []sre.ParamSpec{
			{Name: paramState, Type: "string", Help: "drain (the default) or ready, for the server that the target names"},
			number(paramWait, false, 0, 86400, "seconds", "how long its sessions may take to end; then they are closed. Without it they are left"),
		}},
		{Kind: sre.TrafficShift, Reversible: true, Params: []sre.ParamSpec{
			number(paramWeight, true, 0, 256, "", "weight of the server that the target names, among its backend's"),
		}},
	}
}

// Describe lists the kinds and the configured services.
func (h *haproxyLever) Describe(context.Context) (sre.Capability, error) {
	return sre.Capability{Name: h.cfg.Name, Version: leverVersion, Kinds: h.kinds(), Targets: h.cfg.services()}, nil
}

// resolve holds the action against the schema and finds its knob and the
// wanted settings.
func (h *haproxyLever) resolve(a sre.Action) (knob, settings, error) {
	spec, ok := sre.Capability{Kinds: h.kinds()}.Kind(a.Kind)
	if !ok {
		return nil, nil, sre.Invalidf("haproxy cannot %s", a.Kind)
	}
	if err := spec.Check(a.Params); err != nil {
		return nil, nil, err
	}
	k, err := h.knob(a)
	if err != nil {
		return nil, nil, err
	}
	if _, server := a.Params[paramMaxconn]; a.Kind == sre.Shed && server != (a.Target.Name != "") || server && len(a.Params) > 1 {
		return nil, nil, sre.Invalidf("shed takes maxconn alone with a server as target name, and else classes or rps")
	}
	if state, _ := a.Params.Text(paramState); state == "maint" {
		return nil, nil, sre.Invalidf("parameter \"state\" is maint, want drain or ready")
	}
	want, err := k.parse(a.Params)
	return k, want, err
}

// knob finds what the action moves, whatever its parameters are.
func (h *haproxyLever) knob(a sre.Action) (knob, error) {
	b, ok := h.cfg.Backends[a.Target.Service]
	server := a.Target.Name
	switch {
	case a.ID == "":
		return nil, sre.Invalidf("the action has no id")
	case !ok:
		return nil, sre.Invalidf("no backend is configured for service %q", a.Target.Service)
	case a.Target.Callee != "":
		return nil, sre.Invalidf("haproxy takes no callee")
	case a.Kind == sre.Shed && server == "":
		if h.cfg.AdmitMap == "" {
			return nil, sre.Invalidf("no admit_map is configured")
		}
		key := func(param string) string { return h.cfg.admitParam(b.Backend, param) }
		return classKnob{admit: h.admit(), backend: b.Backend, key: key}, nil
	case server == "":
		return nil, sre.Invalidf("%s needs a server as target name", a.Kind)
	case !validServer(server) || len(b.Servers) > 0 && !slices.Contains(b.Servers, server):
		return nil, sre.Invalidf("server %q is not among those that may be moved", server)
	}
	param, ok := map[sre.ActionKind]string{sre.Shed: paramMaxconn, sre.Drain: paramState, sre.TrafficShift: paramWeight}[a.Kind]
	if !ok {
		return nil, sre.Invalidf("haproxy cannot %s", a.Kind)
	}
	return serverKnob{api: h.api, backend: b.Backend, server: server, param: param, capacity: b.ServerRPS}, nil
}

func (h *haproxyLever) admit() admitMap {
	m := admitMap{api: h.api, name: h.cfg.AdmitMap, file: h.cfg.AdmitMap}
	if h.cfg.RuntimeOnly {
		m.file = ""
	}
	return m
}

// open takes the ledger for writing.
func (h *haproxyLever) open(ctx context.Context) (*ledger, func(), error) {
	unlock, err := h.ledger.lock(ctx)
	if err != nil {
		return nil, nil, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	led, err := h.ledger.load()
	if err != nil {
		unlock()
		return nil, nil, &sre.ActionError{Code: sre.CodeFailed, Reason: "nothing was touched", Err: err}
	}
	return led, unlock, nil
}

// openForUndo takes the ledger like open; but a ledger that cannot be had does
// not block an undo, which then rests on what the agent remembers.
func (h *haproxyLever) openForUndo(ctx context.Context) (*ledger, func(), error) {
	led, unlock, err := h.open(ctx)
	if err == nil || ctx.Err() != nil {
		return led, unlock, err
	}
	h.log.Error("undoing without the ledger", "err", err)
	led = newLedger()
	led.lost = true
	return led, func() {}, nil
}

// proxyEpoch returns the highest fencing token that HAProxy itself has on
// record; 0 without an admit map.
func (h *haproxyLever) proxyEpoch(ctx context.Context) (uint64, error) {
	if h.cfg.AdmitMap == "" {
		return 0, nil
	}
	all, err := h.admit().settings(ctx)
	if err != nil {
		return 0, err
	}
	// Text that is no number was not written by an agent and fences nobody.
	epoch, _ := strconv.ParseUint(all[epochKey], 10, 64)
	return epoch, nil
}

// fence refuses a writer that has been replaced, and enters the write in the
// ledger's order. raise tells that HAProxy's own record has to follow.
func (h *haproxyLever) fence(ctx context.Context, led *ledger, k knob, d sre.Directive) (raise bool, err error) {
	proxy, err := h.proxyEpoch(ctx)
	if err != nil {
		return false, err
	}
	if highest := max(led.Epoch, proxy); d.Epoch < highest {
		return false, sre.Refusedf("fencing token %d is stale, %d was accepted", d.Epoch, highest)
	}
	if m := led.Marks[k.name()]; m.Epoch == d.Epoch && d.Seq < m.Seq {
		return false, sre.Refusedf("write %d of epoch %d is stale, %d was accepted", d.Seq, d.Epoch, m.Seq)
	}
	led.Epoch = d.Epoch
	led.Marks[k.name()] = mark{Epoch: d.Epoch, Seq: d.Seq}
	return d.Epoch > proxy && h.cfg.AdmitMap != "", nil
}

// write moves the knob, together with HAProxy's record of the fencing token
// where that has to rise.
func (h *haproxyLever) write(ctx context.Context, k knob, s settings, raise bool, epoch uint64) error {
	token := settings{epochKey: strconv.FormatUint(epoch, 10)}
	if _, inMap := k.(classKnob); inMap {
		if raise {
			s = mergeSettings(s, token)
		}
		if len(s) == 0 {
			return nil
		}
		return k.write(ctx, s)
	}
	if raise {
		// A token that may or may not have risen says nothing about the knob.
		if err := notYet(h.admit().set(ctx, token)); err != nil {
			return err
		}
	}
	if err := k.write(ctx, s); err != nil {
		return err
	}
	if server, ok := k.(serverKnob); ok && server.param != paramMaxconn && len(s) > 0 {
		h.saveState(ctx)
	}
	return nil
}

func mergeSettings(base, over settings) settings {
	out := make(settings, len(base)+len(over))
	maps.Copy(out, base)
	maps.Copy(out, over)
	return out
}
