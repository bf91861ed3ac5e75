package replay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

func serve(t *testing.T, s *Store) (string, promv1.API) {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	client, err := newClient(srv.URL, srv.Client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	return srv.URL, client
}

func newClient(address string, transport http.RoundTripper) (promv1.API, error) {
	client, err := api.NewClient(api.Config{Address: address, RoundTripper: transport})
	if err != nil {
		return nil, err
	}
	return promv1.NewAPI(client), nil
}

func filled(t *testing.T) *Store {
	s := openStore(t, StoreOptions{})
	for i := range 20 {
		mustAppend(t, s, t0.Add(time.Duration(i)*time.Second),
			Sample{Metric: metric("requests_total", "service", "cart"), Value: float64(3 * i)},
			Sample{Metric: metric("requests_total", "service", `odd "name" \ é`), Value: float64(i)},
		)
	}
	return s
}

// What the client library reads over HTTP must equal what the engine said.
func TestClientLibraryReadsTheSame(t *testing.T) {
	s := filled(t)
	_, client := serve(t, s)
	at := t0.Add(15500 * time.Millisecond)
	for _, expr := range []string{
		"requests_total", "rate(requests_total[5s])", "sum(requests_total)", "1/0", "-1/0", "0/0", "vector(1)/0", "absent_metric", `"text"`, "scalar(sum(requests_total))",
	} {
		want, err := s.Query(context.Background(), expr, at)
		if err != nil {
			t.Fatal(err)
		}
		if expr == `"text"` {
			continue // the client library cannot read strings; the raw test below can
		}
		got, warnings, _, err := client.Query(context.Background(), expr, at)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got.Type() != want.Value.Type() || got.String() != want.Value.String() || len(warnings) != len(want.Warnings) {
			t.Errorf("%s: got %s %q, want %s %q", expr, got.Type(), got, want.Value.Type(), want.Value)
		}
	}
	r := Range{Start: t0, End: at, Step: 500 * time.Millisecond}
	for _, expr := range []string{"requests_total", "rate(requests_total[5s])", "1", "absent_metric"} {
		want, err := s.QueryRange(context.Background(), expr, r)
		if err != nil {
			t.Fatal(err)
		}
		got, _, _, err := client.QueryRange(context.Background(), expr, promv1.Range(r))
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if diff := cmp.Diff(want.Value.String(), got.String()); diff != "" {
			t.Errorf("range of %s (-want +got):\n%s", expr, diff)
		}
	}
}

func TestClientLibraryReadsRemarksAndBuild(t *testing.T) {
	s := filled(t)
	_, client := serve(t, s)
	mustAppend(t, s, t0.Add(time.Minute), Sample{Metric: metric("requests", "service", "cart"), Value: 1})
	mustAppend(t, s, t0.Add(61*time.Second), Sample{Metric: metric("requests", "service", "cart"), Value: 2})
	_, _, infos, err := client.Query(context.Background(), "rate(requests[5s])", t0.Add(61*time.Second))
	if err != nil || len(infos) != 1 || !strings.Contains(infos[0], "might not be a counter") {
		t.Errorf("infos %q, err %v: want the engine's remark on a name without _total", infos, err)
	}
	info, err := client.Buildinfo(context.Background())
	if err != nil || info.Version == "" {
		t.Errorf("build info %+v, %v", info, err)
	}
}

func TestClientLibraryReadsErrors(t *testing.T) {
	_, client := serve(t, filled(t))
	_, _, _, err := client.Query(context.Background(), "sum(", t0)
	var apiErr *promv1.Error
	if !errors.As(err, &apiErr) || apiErr.Type != promv1.ErrBadData {
		t.Errorf("got %v, want the client library's bad_data", err)
	}
}

func TestRawAnswers(t *testing.T) {
	s := filled(t)
	base, _ := serve(t, s)
	const stamp = "1614834365"
	for _, tc := range []struct {
		name, path string
		code       int
		body       string
	}{
		{"instant", "/api/v1/query?query=sum(requests_total)&time=" + stamp, 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1614834365,"20"]}]}}`},
		{"rfc 3339", "/api/v1/query?query=sum(requests_total)&time=2021-03-04T05:06:05Z", 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1614834365,"20"]}]}}`},
		{"no time means the newest sample", "/api/v1/query?query=sum(requests_total)", 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1614834379,"76"]}]}}`},
		{"empty", "/api/v1/query?query=absent_metric&time=" + stamp, 200,
			`{"status":"success","data":{"resultType":"vector","result":[]}}`},
		{"string", `/api/v1/query?query="a"&time=` + stamp, 200,
			`{"status":"success","data":{"resultType":"string","result":[1614834365,"a"]}}`},
		{"range", "/api/v1/query_range?query=sum(requests_total)&start=1614834360&end=" + stamp + "&step=5s", 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1614834360,"0"],[1614834365,"20"]]}]}}`},
		{"bad time", "/api/v1/query?query=1&time=noon", 400,
			`{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": \"noon\" is neither Unix seconds nor RFC 3339"}`},
		{"bad timeout", "/api/v1/query?query=1&timeout=x", 400, `invalid parameter \"timeout\"`},
		{"timeout that has passed", "/api/v1/query?query=sum(requests_total)&timeout=0", 503, `"errorType":"timeout"`},
		{"no query", "/api/v1/query", 400, `"errorType":"bad_data"`},
		{"no start", "/api/v1/query_range?query=1&end=1&step=1", 400, `invalid parameter \"start\"`},
		{"no end", "/api/v1/query_range?query=1&start=1&step=1", 400, `invalid parameter \"end\"`},
		{"zero step", "/api/v1/query_range?query=1&start=1&end=2&step=0", 400, `step must be longer than zero`},
		{"no step", "/api/v1/query_range?query=1&start=1&end=2", 400, `invalid parameter \"step\"`},
		{"cannot be evaluated", `/api/v1/query?query=requests_total%2Bon()requests_total&time=` + stamp, 422, `"errorType":"execution"`},
		{"unknown endpoint", "/api/v1/rules", 404, `"errorType":"not_found"`},
		{"healthy", "/-/healthy", 200, "Healthy"},
		{"ready", "/-/ready", 200, "Ready"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res, err := http.Get(base + strings.ReplaceAll(tc.path, `"`, "%22"))
			if err != nil {
				t.Fatal(err)
			}
			code, body := read(t, res)
			if code != tc.code || !strings.Contains(body, tc.body) {
				t.Errorf("got %d %s\nwant %d %s", code, body, tc.code, tc.body)
			}
		})
	}
}

func TestPostForm(t *testing.T) {
	base, _ := serve(t, filled(t))
	res, err := http.PostForm(base+"/api/v1/query", url.Values{"query": {"sum(requests_total)"}, "time": {"1614834365"}})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := read(t, res); code != 200 || !strings.Contains(body, `"20"`) {
		t.Errorf("got %d %s", code, body)
	}
	res, err = http.PostForm(base+"/api/v1/query", url.Values{"query": {strings.Repeat("x", maxFormBytes+1)}})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := read(t, res); code != 400 {
		t.Errorf("a form above the bound: got %d %s, want 400", code, body)
	}
}

func TestClosedStoreIsNotReady(t *testing.T) {
	s, err := OpenStore(t.TempDir(), StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	base, _ := serve(t, s)
	for _, path := range []string{"/-/ready", "/api/v1/query?query=1"} {
		res, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		if code, body := read(t, res); code != http.StatusServiceUnavailable {
			t.Errorf("%s: got %d %s, want 503", path, code, body)
		}
	}
}

func read(t *testing.T, res *http.Response) (int, string) {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
