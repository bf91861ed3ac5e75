package audit

import (
	"testing"

	"github.com/sreagent/sreagent/sre"
)

// One tick's worth, on disk and signed.
func BenchmarkAppend20(b *testing.B) {
	trail := open(b, options(b.TempDir()))
	batch := records(0, 20)
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch {
			batch[i].Seq = trail.Next() + uint64(i)
		}
		mustAppend(b, trail, batch)
	}
	mustClose(b, trail)
}

func BenchmarkEncode20(b *testing.B) {
	batch := records(0, 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(batch, frontier{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	recs := story()
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range recs {
			Redact(r)
		}
	}
}

func BenchmarkVerify100k(b *testing.B) {
	o := options(b.TempDir())
	o.SegmentBytes = 8 << 20
	key := build(b, o, 100_000, 20_000)
	var bytes int64
	segments, err := listSegments(o.Dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range segments {
		bytes += int64(len(read(b, s.path)))
	}
	b.Run("whole", func(b *testing.B) {
		b.SetBytes(bytes)
		b.ReportAllocs()
		for b.Loop() {
			if r := verify(b, o.Dir, key); !r.OK() {
				b.Fatal(r)
			}
		}
	})
	edit(b, o.Dir, 0, func(l []string) []string { l[3], l[4] = l[4], l[3]; return l })
	b.Run("damaged", func(b *testing.B) {
		b.SetBytes(bytes)
		b.ReportAllocs()
		for b.Loop() {
			if r := verify(b, o.Dir, key); len(r.Findings) != 1 {
				b.Fatal(r)
			}
		}
	})
}

func BenchmarkReadDir(b *testing.B) {
	o := options(b.TempDir())
	build(b, o, 10_000, 5_000)
	b.ReportAllocs()
	for b.Loop() {
		var last sre.Record
		for r, err := range ReadDir(o.Dir) {
			if err != nil {
				b.Fatal(err)
			}
			last = r
		}
		if last.Seq != 9_999 {
			b.Fatal(last.Seq)
		}
	}
}
