package detectors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sreagent/sreagent/sre"
)

// keeper is a part of the bank that remembers something between two ticks. It
// carries its memory to bytes or back, and is new when it reads. The settings
// are no part of it.
type keeper interface{ carry(t *tape) }

// bankMagic opens every saved state and names its version: any change of what
// one of the keepers writes is a new one.
const bankMagic = "sbank002"

// ErrBankState is what Restore returns for bytes that State did not write, or
// that a bank of other detectors wrote.
var ErrBankState = errors.New("not a saved bank of detectors")

// call names an edge by its ends.
type call struct{ from, to string }

// roll is the order of subjects that a state was saved in.
type roll struct {
	services []string
	calls    []call
}

func rollOf(g *sre.Graph) roll {
	var r roll
	if g == nil {
		return r
	}
	for i := range g.Services {
		r.services = append(r.services, g.Services[i].Name)
	}
	for _, e := range g.Edges {
		r.calls = append(r.calls, call{g.Services[e.From].Name, g.Services[e.To].Name})
	}
	return r
}

// opens reports whether a graph begins with the subjects of the roll, in their
// order.
func (r *roll) opens(g *sre.Graph) bool {
	if len(g.Services) < len(r.services) || len(g.Edges) < len(r.calls) {
		return false
	}
	for i, name := range r.services {
		if g.Services[i].Name != name {
			return false
		}
	}
	for i, c := range r.calls {
		e := g.Edges[i]
		if g.Services[e.From].Name != c.from || g.Services[e.To].Name != c.to {
			return false
		}
	}
	return true
}

func (r *roll) carry(t *tape) {
	each(t, &r.services, t.text)
	each(t, &r.calls, func(c *call) {
		t.text(&c.from)
		t.text(&c.to)
	})
}

// keepers lists what remembers, by name, in a fixed order.
func (b *Bank) keepers() (names []string, parts []keeper) {
	names, parts = []string{"vitals"}, []keeper{b.vitals}
	for _, d := range b.detectors {
		if k, ok := d.(keeper); ok {
			names, parts = append(names, d.Name()), append(parts, k)
		}
	}
	return names, parts
}

// State returns all that the bank has learned. A bank of the same settings
// restored from it goes on exactly as this one would, provided that its first
// snapshot has the graph of this one's last, or one that begins with it; over
// another graph it starts anew.
func (b *Bank) State() []byte {
	t := tape{b: []byte(bankMagic)}
	b.carry(&t)
	names, parts := b.keepers()
	for i, k := range parts {
		part := tape{roll: &b.roll, at: b.at}
		k.carry(&part)
		body := string(part.b)
		t.text(&names[i])
		t.text(&body)
	}
	return binary.LittleEndian.AppendUint32(t.b, crc32.ChecksumIEEE(t.b))
}

// Restore replaces what the bank has learned by a saved state. Bytes that are
// cut, changed, of another version or of a bank of other detectors give an error
// that wraps ErrBankState and leave the bank as it was.
func (b *Bank) Restore(state []byte) error {
	const sum = 4
	if len(state) < len(bankMagic)+sum || !bytes.HasPrefix(state, []byte(bankMagic)) {
		return fmt.Errorf("%w: wrong length or version", ErrBankState)
	}
	body := state[:len(state)-sum]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(state[len(body):]) {
		return fmt.Errorf("%w: checksum differs", ErrBankState)
	}
	fresh := New(b.cfg)
	t := tape{b: body[len(bankMagic):], reads: true}
	fresh.carry(&t)
	fresh.readParts(&t)
	if t.err != nil {
		return fmt.Errorf("%w: %w", ErrBankState, t.err)
	}
	if !bytes.Equal(fresh.State(), state) {
		return fmt.Errorf("%w: nobody would write it so", ErrBankState)
	}
	*b = *fresh
	return nil
}

func (b *Bank) readParts(t *tape) {
	names, parts := b.keepers()
	for i, k := range parts {
		var name, body string
		t.text(&name)
		t.text(&body)
		if t.err == nil && name != names[i] {
			t.fail(fmt.Errorf("holds %q where %q is due", name, names[i]))
		}
		if t.err != nil {
			return
		}
		part := tape{b: []byte(body), reads: true, roll: &b.roll, at: b.at}
		k.carry(&part)
		if part.err == nil && len(part.b) > 0 {
			part.fail(errRange)
		}
		if part.err != nil {
			t.fail(fmt.Errorf("%s: %w", name, part.err))
			return
		}
	}
	if len(t.b) > 0 {
		t.fail(errors.New("more detectors than there are"))
	}
}

func (b *Bank) carry(t *tape) {
	if !t.reads && b.graph != nil {
		b.roll = rollOf(b.graph)
	}
	b.roll.carry(t)
	b.restored = b.restored || t.reads
	t.ints(&b.samples)
	t.instant(&b.at)
	each(t, &b.held, func(h *heldSign) {
		t.instant(&h.seen)
		h.carry(t)
	})
}

func (h *heldSign) carry(t *tape) {
	p := &h.sign
	for _, s := range []*string{&p.Detector, (*string)(&p.Mechanism), &p.Service, &p.Caller, (*string)(&p.Kind), (*string)(&p.Severity)} {
		t.text(s)
	}
	t.f64s(&p.Score, &p.Risk)
	t.instant(&p.Since)
	each(t, &p.Evidence, func(e *sre.Evidence) {
		for _, s := range []*string{&e.Signal, &e.Subject, (*string)(&e.Unit), &e.Meaning} {
			t.text(s)
		}
		t.f64s(&e.Now, &e.Normal, &e.Weight)
	})
}
