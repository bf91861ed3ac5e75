package guard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

func newBacklog(t interface{ Fatal(...any) }, bound int, cfg PressureConfig) *Backlog[int] {
	b, err := NewBacklog[int](bound, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBacklogRefusesWhatMakesNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		bound int
		cfg   PressureConfig
	}{
		"no bound": {0, PressureConfig{}}, "high above bound": {3, PressureConfig{High: 4}}, "low at high": {3, PressureConfig{High: 2, Low: 2}},
		"odd mode": {3, PressureConfig{High: 2, Mode: "drop"}}, "adaptive": {3, PressureConfig{High: 2, Order: OrderAdaptive}},
	} {
		if _, err := NewBacklog[int](c.bound, c.cfg); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestBacklogAgreesWithItsModel: order, bound and hysteresis of reject mode,
// against a slice and the two rules of the marks.
func TestBacklogAgreesWithItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := rapid.IntRange(1, 8).Draw(t, "bound")
		high := rapid.IntRange(1, bound).Draw(t, "high")
		low := rapid.IntRange(0, high-1).Draw(t, "low")
		b := newBacklog(t, bound, PressureConfig{High: high, Low: low, Mode: PressureReject})
		stopped, cancel := context.WithCancel(context.Background())
		cancel()
		var model []int
		pressed := false
		for i, push := range rapid.SliceOfN(rapid.Bool(), 50, 150).Draw(t, "pushes") {
			_, turned := b.Pressure()
			before := pressed
			if push {
				err := b.Push(stopped, i)
				if (err == nil) == pressed || err != nil && !errors.Is(err, ErrBacklogFull) {
					t.Fatalf("push under pressure %v: %v", pressed, err)
				}
				if err == nil {
					model = append(model, i)
				}
			} else if item, err := b.Pop(stopped); (err == nil) != (len(model) > 0) {
				t.Fatalf("pop of %d: %v", len(model), err)
			} else if err == nil {
				if item != model[0] {
					t.Fatalf("popped %d, want %d", item, model[0])
				}
				model = model[1:]
			}
			pressed = len(model) >= high || pressed && len(model) > low
			on, _ := b.Pressure()
			told := false
			select {
			case <-turned:
				told = true
			default:
			}
			if on != pressed || told != (before != pressed) || b.Len() != len(model) || len(model) > bound {
				t.Fatalf("%d held at bound %d, pressure %v (told %v), want %d and %v", b.Len(), bound, on, told, len(model), pressed)
			}
		}
	})
}

func TestBacklogBlocksUntilTheLowMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBacklog(t, 4, PressureConfig{High: 4, Low: 1})
		for i := range 4 {
			if err := b.Push(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		answers := make(chan error, 2)
		go func() { answers <- b.Push(ctx, 98) }()
		synctest.Wait()
		leave()
		if err := <-answers; !errors.Is(err, context.Canceled) {
			t.Errorf("a producer that left: %v", err)
		}
		go func() { answers <- b.Push(t.Context(), 99) }()
		for i := range 3 {
			synctest.Wait()
			if len(answers) > 0 {
				t.Fatalf("let in at %d, above the low mark", b.Len())
			}
			if item, err := b.Pop(t.Context()); err != nil || item != i {
				t.Fatal(item, err)
			}
		}
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
		b.Close()
		b.Close()
		if err := b.Push(t.Context(), 1); !errors.Is(err, ErrBacklogClosed) {
			t.Errorf("push after close: %v", err)
		}
		for _, want := range []int{3, 99} {
			if item, err := b.Pop(t.Context()); err != nil || item != want {
				t.Errorf("%d, %v after close, want %d", item, err, want)
			}
		}
		if _, err := b.Pop(t.Context()); !errors.Is(err, ErrBacklogClosed) {
			t.Errorf("pop of an empty closed one: %v", err)
		}
	})
}

func TestBacklogLosesNothingUnderSixtyFourGoroutines(t *testing.T) {
	b := newBacklog(t, 16, PressureConfig{High: 12, Low: 4})
	const producers, each = 32, 200
	var produce, consume sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[int]int)
	for p := range producers {
		produce.Go(func() {
			for i := range each {
				if err := b.Push(t.Context(), p*each+i); err != nil {
					t.Error(err)
				}
			}
		})
		consume.Go(func() {
			for {
				item, err := b.Pop(t.Context())
				if err != nil {
					return
				}
				mu.Lock()
				seen[item]++
				mu.Unlock()
			}
		})
	}
	produce.Wait()
	b.Close()
	consume.Wait()
	for i := range producers * each {
		if seen[i] != 1 {
			t.Fatalf("item %d came %d times", i, seen[i])
		}
	}
}
