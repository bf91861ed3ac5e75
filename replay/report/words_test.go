package report

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestQuantity(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit sre.Unit
		want string
	}{
		{0.0314, sre.Ratio, "3.14 %"}, {12, sre.Percent, "12 %"}, {0.12, sre.Seconds, "120 ms"}, {0, sre.Seconds, "0 s"}, {2.5, sre.Seconds, "2.5 s"},
		{1536, sre.Bytes, "1.5 KiB"}, {5 << 30, sre.Bytes, "5 GiB"}, {340, sre.PerSecond, "340/s"}, {12345, sre.PerSecond, "12.3k/s"},
		{1e6, sre.Count, "1M"}, {-1500, sre.Count, "-1.5k"}, {math.NaN(), sre.Ratio, "unknown"}, {math.Inf(1), sre.Count, "unknown"}, {7, "furlongs", "7"},
	} {
		if got := quantity(c.v, c.unit); got != c.want {
			t.Errorf("%v %s is %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 1499 * time.Millisecond: "1 s", 60 * time.Second: "1 min", 90 * time.Second: "1 min 30 s", -90 * time.Second: "−1 min 30 s",
		3 * time.Hour: "3 h", 20*time.Hour + 8*time.Minute: "20 h 8 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	if got := seconds(math.NaN()); got != "unknown" {
		t.Errorf("no number of seconds is %q", got)
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{{nil, ""}, {[]string{"a"}, "a"}, {[]string{"a", "b"}, "a and b"}, {[]string{"a", "b", "c"}, "a, b and c"}, {[]string{"a", "b", "c", "d", "e"}, "a, b, c and 2 more"}} {
		if got := list(c.names, 3); got != c.want {
			t.Errorf("%v is %q, want %q", c.names, got, c.want)
		}
	}
}

func TestParamsAreSorted(t *testing.T) {
	got := params(sre.Params{"z": true, "a": 0.1 + 0.2, "m": "fast", "n": 3})
	if want := "a = 0.3, m = fast, n = 3, z = true"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s") + string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		got := clean(s, 50)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 51 || strings.ContainsAny(got, "\x00\n\r\t\u202a\u202e\u2066\u200b\u2028") {
			t.Fatalf("%q became %q", s, got)
		}
		if clean(got, 51) != got {
			t.Fatalf("%q is not clean yet", got)
		}
	})
}
