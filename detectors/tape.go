package detectors

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// tape carries state to bytes or back, so that one function per type lists its
// fields for both ways and they cannot differ. The first error sticks; what is
// read after it is zero.
type tape struct {
	b     []byte // written so far, or left to read
	reads bool
	err   error
	roll  *roll     // of the bank
	at    time.Time // latest snapshot of the bank
}

var errCut = errors.New("the state is cut short")

func (t *tape) take(n int) []byte {
	if t.err == nil && len(t.b) < n {
		t.err = errCut
	}
	if t.err != nil {
		return nil
	}
	out := t.b[:n]
	t.b = t.b[n:]
	return out
}

func (t *tape) u64(p *uint64) {
	if !t.reads {
		t.b = binary.LittleEndian.AppendUint64(t.b, *p)
		return
	}
	*p = 0
	if b := t.take(8); b != nil {
		*p = binary.LittleEndian.Uint64(b)
	}
}

func (t *tape) u8(p *uint8) {
	if !t.reads {
		t.b = append(t.b, *p)
		return
	}
	*p = 0
	if b := t.take(1); b != nil {
		*p = b[0]
	}
}

func (t *tape) f32(p *float32) {
	if !t.reads {
		t.b = binary.LittleEndian.AppendUint32(t.b, math.Float32bits(*p))
		return
	}
	*p = 0
	if b := t.take(4); b != nil {
		*p = math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
}

func (t *tape) f64s(ps ...*float64) {
	for _, p := range ps {
		x := math.Float64bits(*p)
		t.u64(&x)
		*p = math.Float64frombits(x)
	}
}

func (t *tape) i64s(ps ...*int64) {
	for _, p := range ps {
		x := uint64(*p)
		t.u64(&x)
		*p = int64(x)
	}
}

func (t *tape) i32s(ps ...*int32) {
	for _, p := range ps {
		x := int64(*p)
		t.i64s(&x)
		if x > math.MaxInt32 || x < math.MinInt32 {
			t.fail(errRange)
			x = 0
		}
		*p = int32(x)
	}
}

func (t *tape) ints(ps ...*int) {
	for _, p := range ps {
		x := int64(*p)
		t.i64s(&x)
		*p = int(x)
	}
}

var errRange = errors.New("a number is out of range")

func (t *tape) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *tape) bools(ps ...*bool) {
	for _, p := range ps {
		var x uint8
		if *p {
			x = 1
		}
		t.u8(&x)
		if x > 1 {
			t.fail(errRange)
		}
		*p = x == 1
	}
}

func (t *tape) recents(ps ...*recent) {
	for _, p := range ps {
		t.u8((*uint8)(p))
	}
}

func (t *tape) means(ps ...*mean) {
	for _, p := range ps {
		t.f64s(&p.v)
		t.i32s(&p.n)
		if p.n < 0 {
			t.fail(errRange)
		}
	}
}

// instant carries a time; what is read is in UTC.
func (t *tape) instant(p *time.Time) {
	set := !p.IsZero()
	t.bools(&set)
	if !set {
		*p = time.Time{}
		return
	}
	seconds, nanos := p.Unix(), int32(p.Nanosecond())
	t.i64s(&seconds)
	t.i32s(&nanos)
	if t.reads {
		*p = time.Unix(seconds, int64(nanos)).UTC()
	}
}

// count carries a length. Every counted thing takes at least a byte, so that a
// length beyond what is left is wrong, and nothing large is made for it.
func (t *tape) count(n int) int {
	t.ints(&n)
	if t.reads && (n < 0 || n > len(t.b)) {
		t.fail(errCut)
	}
	if t.err != nil {
		return 0
	}
	return n
}

func (t *tape) text(p *string) {
	n := t.count(len(*p))
	if !t.reads {
		t.b = append(t.b, *p...)
		return
	}
	*p = string(t.take(n))
}

func (t *tape) signal(s *sre.Signal) {
	t.text(&s.Name)
	t.text((*string)(&s.Kind))
	t.text((*string)(&s.Unit))
	t.bools(&s.Edge)
}

func (t *tape) change(c *sre.Change) {
	for _, s := range []*string{&c.ID, (*string)(&c.Kind), &c.Service, &c.From, &c.To, &c.By, &c.Note, &c.Source} {
		t.text(s)
	}
	t.instant(&c.At)
}

// service carries the index of a service of the roll.
func (t *tape) service(i *int) {
	t.ints(i)
	if t.reads && (*i < 0 || *i >= len(t.roll.services)) {
		t.fail(errRange)
		*i = 0
	}
}

// each carries a slice with its length, element by element.
func each[T any](t *tape, list *[]T, one func(*T)) {
	exactly(t, list, t.count(len(*list)), one)
}

// perService and perCall carry slices that have an element for every subject of
// the roll: with no length of their own, theirs cannot be a wrong one.
func perService[T any](t *tape, list *[]T, one func(*T)) {
	exactly(t, list, len(t.roll.services), one)
}

func perCall[T any](t *tape, list *[]T, one func(*T)) { exactly(t, list, len(t.roll.calls), one) }

// exactly carries the first n elements of a slice.
func exactly[T any](t *tape, list *[]T, n int, one func(*T)) {
	if !t.reads {
		for i := range (*list)[:n] {
			one(&(*list)[i])
		}
		return
	}
	*list = nil
	for k := 0; k < n && t.err == nil; k++ {
		var x T
		one(&x)
		*list = append(*list, x)
	}
}
