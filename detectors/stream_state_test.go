package detectors_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/sreagent/sreagent/detectors"
)

func savedStream() []byte {
	r := dice(11)
	d := newStream()
	play(d, time.Minute, 700, func(int) float64 { return 100 + r.normal() })
	return d.State()
}

// seal puts the right checksum at the end.
func seal(state []byte) []byte {
	body := state[:len(state)-4]
	return binary.LittleEndian.AppendUint32(body[:len(body):len(body)], crc32.ChecksumIEEE(body))
}

func TestStreamRefusesBrokenState(t *testing.T) {
	good := savedStream()
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }},
		{"longer", func(b []byte) []byte { return append(b, 0) }},
		{"other version", func(b []byte) []byte { b[7]++; return seal(b) }},
		{"one bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"negative count", func(b []byte) []byte { b[15] |= 0x80; return seal(b) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newStream()
			before := d.State()
			err := d.Restore(c.edit(append([]byte(nil), good...)))
			if !errors.Is(err, detectors.ErrStreamState) {
				t.Errorf("error %v, want one that wraps ErrStreamState", err)
			}
			if string(before) != string(d.State()) {
				t.Error("the stream changed")
			}
		})
	}
	if err := newStream().Restore(seal(good)); err != nil {
		t.Errorf("the unbroken state: %v", err)
	}
}

// FuzzStreamRestore: whatever a state holds, a stream that accepts it goes on
// without a panic and saves the same bytes again.
func FuzzStreamRestore(f *testing.F) {
	good := savedStream()
	f.Add(uint16(0), uint64(0))
	f.Add(uint16(len(good)-100), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, offset uint16, bits uint64) {
		b := append([]byte(nil), good...)
		i := int(offset) % (len(b) - 12)
		binary.LittleEndian.PutUint64(b[i:], binary.LittleEndian.Uint64(b[i:])^bits)
		b = seal(b)
		d := newStream()
		if err := d.Restore(b); err != nil {
			if !errors.Is(err, detectors.ErrStreamState) {
				t.Fatal(err)
			}
			return
		}
		if string(b) != string(d.State()) {
			t.Fatal("saved bytes differ from the restored ones")
		}
		for i := range 500 {
			d.Next(streamStart.Add(time.Duration(i)*time.Minute), float64(i%7))
		}
	})
}
