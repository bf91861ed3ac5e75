package guard

// PressureHeader is set on every answer while the queue is between its marks:
// whoever sends work can send less before it is refused.
const PressureHeader = "X-Guard-Pressure"

// What happens to newcomers while there is pressure.
const (
	PressureBlock  = "block"  // they wait, up to the queue's bound
	PressureReject = "reject" // they are refused until the queue is down to the low mark
)

// The order in which waiting requests get a worker.
const (
	OrderFIFO     = "fifo"
	OrderAdaptive = "adaptive" // newest first while there is pressure
)

// PressureConfig is when a queue counts as under pressure, and what then.
type PressureConfig struct {
	High  int    `yaml:"high" json:"high"` // waiting requests at which pressure begins; 0 is never
	Low   int    `yaml:"low" json:"low"`   // and at which it ends
	Mode  string `yaml:"mode" json:"mode"`
	Order string `yaml:"order" json:"order"`
}

func (p PressureConfig) validate(f *faults, bound int) {
	f.check(p.High == 0 || p.High > 0 && p.High <= bound, "pressure.high", "is %d; allowed: 0 for off, to %d, the queue", p.High, bound)
	f.check(p.Low >= 0 && (p.Low < p.High || p.High == 0), "pressure.low", "is %d; allowed: 0 to below high", p.Low)
	f.check(p.Mode == "" || p.Mode == PressureBlock || p.Mode == PressureReject, "pressure.mode", "is %q; allowed: block, reject", p.Mode)
	f.check(p.Order == "" || p.Order == OrderFIFO || p.Order == OrderAdaptive, "pressure.order", "is %q; allowed: fifo, adaptive", p.Order)
	f.check(p.High > 0 || p.Mode != PressureReject && p.Order != OrderAdaptive, "pressure.high", "is 0, without which mode and order mean nothing; allowed: 1 or more")
}

// watermark is a threshold with hysteresis: on at high, off at low.
type watermark struct {
	high, low int // high 0 is never on
	on        bool
}

// level takes a length and reports whether the mark has turned.
func (w *watermark) level(n int) bool {
	was := w.on
	switch {
	case w.high == 0:
		w.on = false
	case n >= w.high:
		w.on = true
	case n <= w.low:
		w.on = false
	}
	return w.on != was
}

// Pressure reports whether the queue is under pressure.
func (g *Guard) Pressure() bool { return g.queue.pressed.Load() }
