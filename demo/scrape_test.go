package demo

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sreagent/sreagent/replay"
)

const page = `# TYPE requests_total counter
requests_total{outcome="ok"} 12
requests_total{outcome="error"} 3
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.1"} 4
wait_seconds_bucket{le="+Inf"} 5
wait_seconds_sum 1.5
wait_seconds_count 5
# TYPE owner gauge
owner{job="theirs"} 1
`

func TestScrapeStoresWhatThePageSays(t *testing.T) {
	body, status := page, http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	store, err := replay.OpenStore(t.TempDir(), replay.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	host := strings.TrimPrefix(srv.URL, "http://")
	sc := &scraper{
		store: store, client: srv.Client(), timeout: 10 * time.Second, log: slog.New(slog.DiscardHandler),
		targets: []*target{{job: "cart", url: srv.URL + "/metrics"}},
	}
	at := time.Unix(1_700_000_000, 0)
	ask := func(expr string) string {
		res, err := store.Query(t.Context(), expr, at)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range res.Value.(model.Vector) {
			out = append(out, fmt.Sprintf("%s %g", strings.ReplaceAll(s.Metric.String(), host, "HOST"), float64(s.Value)))
		}
		return strings.Join(out, "\n")
	}
	if err := sc.scrape(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`up`:                             `up{instance="HOST", job="cart"} 1`,
		`requests_total{outcome="ok"}`:   `requests_total{instance="HOST", job="cart", outcome="ok"} 12`,
		`wait_seconds_bucket{le="+Inf"}`: `wait_seconds_bucket{instance="HOST", job="cart", le="+Inf"} 5`,
		`wait_seconds_sum`:               `wait_seconds_sum{instance="HOST", job="cart"} 1.5`,
		`owner`:                          `owner{exported_job="theirs", instance="HOST", job="cart"} 1`,
	} {
		if diff := cmp.Diff(want, ask(expr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", expr, diff)
		}
	}

	at = at.Add(time.Second)
	body = strings.ReplaceAll(page, "requests_total{outcome=\"error\"} 3\n", "")
	if err := sc.scrape(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if got := ask(`requests_total{outcome="error"}`); got != "" {
		t.Errorf("a series that left the page is still there: %s", got)
	}

	at, status = at.Add(time.Second), http.StatusInternalServerError
	if err := sc.scrape(t.Context(), at); err == nil || !strings.Contains(err.Error(), "scrape cart: status 500") {
		t.Errorf("got %v, want the target and its status", err)
	}
	if got := ask(`up == 0`); got == "" {
		t.Error("a target that fails is still up")
	}
	if got := ask(`requests_total`); got != "" {
		t.Errorf("a target that fails still has series: %s", got)
	}

	at, status = at.Add(time.Second), http.StatusOK
	if err := sc.scrape(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if got := ask(`requests_total`); !strings.HasSuffix(got, " 12") {
		t.Errorf("a target that came back: %s", got)
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add(page)
	f.Add("x 1\nx 1\n")
	f.Add("# TYPE x histogram\nx_bucket{le=\"1\"} NaN\n")
	f.Fuzz(func(t *testing.T, text string) {
		vector, err := parsePage(strings.NewReader(text), expfmt.NewFormat(expfmt.TypeTextPlain))
		if err != nil {
			return
		}
		tg := &target{job: "a", url: "http://h/metrics"}
		seen := map[model.Fingerprint]bool{}
		for _, s := range tg.samples(vector, true) {
			if fp := s.Metric.Fingerprint(); seen[fp] {
				t.Fatalf("%s is stored twice at one instant", s.Metric)
			} else {
				seen[fp] = true
			}
			if s.Metric["job"] != "a" || s.Metric["instance"] != "h" {
				t.Fatalf("%s lacks its target", s.Metric)
			}
		}
	})
}
