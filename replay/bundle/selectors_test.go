package bundle

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
)

func TestSelectors(t *testing.T) {
	cases := []struct {
		query string
		want  []Selector
	}{
		{`up`, []Selector{{Matchers: "up"}}},
		{`1 + time()`, []Selector{}},
		{`sum by (service) (rate(a_total[5m]))`, []Selector{{Matchers: "a_total", Reach: 5 * time.Minute}}},
		{`a{y="2",x!="1"} / a{x!="1",y="2"}`, []Selector{{Matchers: `a{x!="1",y="2"}`}}},
		{`rate(a[1m]) / rate(a[10m]) + a`, []Selector{{Matchers: "a", Reach: 10 * time.Minute}}},
		{`rate(a[5m] offset 1h)`, []Selector{{Matchers: "a", Reach: 65 * time.Minute}}},
		{`a offset -1h`, []Selector{{Matchers: "a"}}},
		{`rate(a[2h] offset -1h)`, []Selector{{Matchers: "a", Reach: time.Hour}}},
		{`max_over_time(rate(a[5m])[1h:1m] offset 1d) + b`, []Selector{{Matchers: "a", Reach: 25*time.Hour + 5*time.Minute}, {Matchers: "b"}}},
		{`max_over_time((max_over_time(a[10m:1m] offset 1m))[1h:1m])`, []Selector{{Matchers: "a", Reach: 71 * time.Minute}}},
		{`max_over_time(a[1d:1s])`, []Selector{{Matchers: "a", Reach: 24 * time.Hour}}},
		{`max_over_time(a[69d:])`, []Selector{{Matchers: "a", Reach: 69 * 24 * time.Hour}}},
		{`{__name__=~"a.*",x="1"} or {"b.c"}`, []Selector{{Matchers: `{__name__="b.c"}`}, {Matchers: `{__name__=~"a.*",x="1"}`}}},
	}
	for _, c := range cases {
		t.Run(c.query, func(t *testing.T) {
			out, err := Selectors(c.query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, out, cmpopts.IgnoreUnexported(Selector{})); diff != "" {
				t.Error(diff)
			}
			for _, s := range out {
				again, err := Selectors(s.Matchers)
				if err != nil || len(again) != 1 || again[0].Matchers != s.Matchers {
					t.Errorf("%s does not select what it says: %v, %v", s.Matchers, again, err)
				}
			}
		})
	}
}

func TestSelectorsRefuses(t *testing.T) {
	cases := map[string]string{
		`sum(`:                               `parse query "sum(": 1:5: parse error: unclosed left parenthesis`,
		`a @ 1600000000`:                     `query "a @ 1600000000": a reads at a fixed time, by the @ modifier; allowed: times relative to the query's own`,
		`rate(a[5m] @ end())`:                `query "rate(a[5m] @ end())": a reads at a fixed time, by the @ modifier; allowed: times relative to the query's own`,
		`max_over_time(a[1h:1m] @ start())`:  `query "max_over_time(a[1h:1m] @ start())": a reads at a fixed time, by the @ modifier; allowed: times relative to the query's own`,
		`a + ` + strings.Repeat("b + ", 100): "",
		`a[5m]`:                              `query "a[5m]" gives a range vector; allowed: one value per series`,
		`"a"`:                                `query "\"a\"" gives a string; allowed: one value per series`,
		`max_over_time(a[1d:500ms])`:         `query "max_over_time(a[1d:500ms])": the subquery a[1d:500ms] is evaluated too often; allowed: 100000 steps`,
		`max_over_time(max_over_time(a[1h:1s])[1h:1s])`:               `query "max_over_time(max_over_time(a[1h:1s])[1h:1s])": the subquery a[1h:1s] is evaluated too often; allowed: 100000 steps`,
		strings.Repeat("(", 20000) + "a" + strings.Repeat(")", 20000): "",
	}
	for query, want := range cases {
		_, err := Selectors(query)
		if err == nil || want != "" && err.Error() != want || len(err.Error()) > 400 {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestSelects(t *testing.T) {
	out, err := Selectors(`a{x=~"1|2",y!="3",z=""}`)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]bool{
		`a 1`: true, `a 1 y 4`: true, `a 2 z 1`: false, `a 3`: false, `b 1`: false, `a 1 y 3`: false,
	}
	for text, want := range cases {
		f := strings.Fields(text)
		pairs := append([]string{"__name__", f[0], "x", f[1]}, f[2:]...)
		if got := out[0].Selects(labels.FromStrings(pairs...)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
