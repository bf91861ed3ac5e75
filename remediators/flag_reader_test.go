package remediators

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/open-feature/flagd/core/pkg/evaluator"
	"github.com/open-feature/flagd/core/pkg/logger"
	"github.com/open-feature/flagd/core/pkg/service/ofrep"
	"github.com/open-feature/flagd/core/pkg/store"
	flagdsync "github.com/open-feature/flagd/core/pkg/sync"
	ofrepprovider "github.com/open-feature/go-sdk-contrib/providers/ofrep"
	"github.com/open-feature/go-sdk/openfeature"
)

// flagKeys is how many keys a share is measured with.
const flagKeys = 2_000

// checkShare holds the number of keys that are on against a percent that is off.
func checkShare(t *testing.T, flag string, percent float64, on int) {
	t.Helper()
	off := 100 - 100*float64(on)/flagKeys
	if math.Abs(off-percent) > 2 || percent == 100 && on != 0 || percent == 0 && on != flagKeys {
		t.Errorf("%s: %.2f %% are off, want %g", flag, off, percent)
	}
}

// flagdServer is flagd's own evaluator, fed by its http sync's request to the
// lever and asked over OFREP.
type flagdServer struct {
	mu   sync.Mutex
	eval *evaluator.JSON
	tag  string
	url  string // of the lever's flags
}

func startFlagd(t *testing.T, l *flagLever) (*flagdServer, *httptest.Server) {
	t.Helper()
	flags := httptest.NewServer(l.Flags())
	t.Cleanup(flags.Close)
	s := &flagdServer{eval: evaluator.NewJSON(logger.NewLogger(nil, false), store.NewFlags()), url: flags.URL}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ofrep/v1/evaluate/flags/{key}", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Context map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		v := s.eval.ResolveAsAnyValue(r.Context(), "", r.PathValue("key"), in.Context)
		s.mu.Unlock()
		if v.Error != nil {
			status, body := ofrep.EvaluationErrorResponseFrom(v)
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(body)
			return
		}
		_ = json.NewEncoder(w).Encode(ofrep.SuccessResponseFrom(v))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return s, server
}

// sync reads the flags as flagd does, and reports whether they had changed.
func (s *flagdServer) sync(t *testing.T) bool {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
	must(t, err)
	if s.tag != "" {
		req.Header.Set("If-None-Match", s.tag)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotModified {
		return false
	}
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", resp.StatusCode, text)
	}
	s.tag = resp.Header.Get("ETag")
	_, _, err = s.eval.SetState(flagdsync.DataSync{FlagData: string(text), Source: "test"})
	must(t, err)
	return true
}

// on are the keys for which flagd says true.
func (s *flagdServer) on(t *testing.T, flag string, context map[string]any) map[string]bool {
	t.Helper()
	return s.onOf(t, flagKeys, flag, context)
}

func (s *flagdServer) onOf(t *testing.T, keys int, flag string, context map[string]any) map[string]bool {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for i := range keys {
		in := map[string]any{"targetingKey": fmt.Sprintf("user-%d", i)}
		maps.Copy(in, context)
		on, _, _, _, err := s.eval.ResolveBooleanValue(t.Context(), "", flag, in)
		if err != nil {
			t.Fatal(err)
		}
		if on {
			out[in["targetingKey"].(string)] = true
		}
	}
	return out
}

func TestFlagdSharesAreSeenByFlagd(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	s, _ := startFlagd(t, l)
	if !s.sync(t) || s.sync(t) {
		t.Fatal("want one read and then: not modified")
	}
	staff := map[string]any{"email": "ada@staff"}
	before := s.on(t, "recs", nil)
	checkShare(t, "recs", 0, len(before))
	seq := uint64(0)
	for _, percent := range []float64{1, 5, 25, 100, 25, 1} {
		seq++
		must(t, applyFlag(t, l, seq, flagAction("a", "shop/checkout/recs", percent)))
		must(t, applyFlag(t, l, seq, flagAction("b", "shop/checkout/reviews", percent)))
		if !s.sync(t) {
			t.Fatal("the change was not served")
		}
		on := s.on(t, "recs", nil)
		checkShare(t, "recs", percent, len(on))
		small, large := on, before
		if len(on) > len(before) {
			small, large = before, on
		}
		for key := range small {
			if !large[key] {
				t.Fatalf("%s changed sides at %g %%", key, percent)
			}
		}
		before = on
		checkShare(t, "reviews for staff", percent, len(s.on(t, "reviews", staff)))
	}
	revertFlag(t, l, 20, flagAction("a", "shop/checkout/recs", 1))
	revertFlag(t, l, 20, flagAction("b", "shop/checkout/reviews", 1))
	s.sync(t)
	checkShare(t, "recs", 0, len(s.on(t, "recs", nil)))
	checkShare(t, "reviews for staff", 0, len(s.on(t, "reviews", staff)))
	if off := flagKeys - len(s.on(t, "reviews", map[string]any{"email": ""})); off < flagKeys*38/100 || off > flagKeys*42/100 {
		t.Errorf("reviews are off for %d of %d, want the 40 %% of its own rule", off, flagKeys)
	}
}

func TestFlagdCohortAndBucket(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	cfg.Flags[0].BucketBy = "account"
	l := flagLeverOf(t, cfg)
	s, _ := startFlagd(t, l)
	must(t, applyFlag(t, l, 1, flagAction("all", "shop/checkout/recs", 25)))
	must(t, applyFlag(t, l, 1, flagAction("beta", "shop/checkout/recs@beta", 100)))
	s.sync(t)
	if on := len(s.onOf(t, 200, "recs", map[string]any{"cohort": "beta", "account": "x"})); on != 0 {
		t.Errorf("%d of the cohort are on", on)
	}
	whole := 0 // an account is on or off as a whole, whoever asks
	for i := range 20 {
		switch on := len(s.onOf(t, 50, "recs", map[string]any{"account": fmt.Sprint(i)})); on {
		case 50:
			whole++
		case 0:
		default:
			t.Errorf("account %d is on for %d of its users", i, on)
		}
	}
	if whole == 0 || whole == 20 {
		t.Errorf("%d of 20 accounts are on, want some", whole)
	}
}

func TestFlagdFlipIsSeenThroughTheOfficialProvider(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	l := flagLeverOf(t, cfg)
	s, server := startFlagd(t, l)
	s.sync(t)
	provider := ofrepprovider.NewProvider(server.URL)
	must(t, openfeature.SetNamedProviderAndWait(t.Name(), provider))
	client := openfeature.NewClient(t.Name())
	ask := func(key string) bool {
		on, err := client.BooleanValue(t.Context(), "recs", true, openfeature.NewEvaluationContext(key, nil))
		must(t, err)
		return on
	}
	if !ask("user-1") {
		t.Fatal("off before anything")
	}
	must(t, applyFlag(t, l, 1, flagAction("a", "shop/checkout/recs", 25)))
	s.sync(t)
	on := s.on(t, "recs", nil)
	for i := range 200 {
		key := fmt.Sprintf("user-%d", i)
		if ask(key) != on[key] {
			t.Fatalf("%s: the provider and the evaluator differ", key)
		}
	}
	must(t, applyFlag(t, l, 2, flagAction("a", "shop/checkout/recs", 100)))
	s.sync(t)
	if ask("user-1") || ask("") {
		t.Error("on with everything switched off")
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestFlagDrillIsSeenByTheReaderAndNobodyElse(t *testing.T) {
	cfg := flagConfig(t, flagdFormat, "flags.json", flagdText)
	cfg.Flags[0].Drill.Cohort = "drill"
	l := flagLeverOf(t, cfg)
	s, server := startFlagd(t, l)
	l.cfg.Drill.Key, l.cfg.Drill.Reader = "user-1", server.URL
	s.sync(t)
	a := flagAction("d", "shop/checkout/recs", 100)
	a.Params["drill"] = true
	for i, want := range []string{"recs=off", "recs=on"} {
		percent := 100 * float64(1-i)
		a.Params["percent"] = percent
		must(t, applyFlag(t, l, uint64(2*i+1), a))
		s.sync(t)
		st, err := l.Probe(t.Context(), a)
		if err != nil || !st.InEffect || !strings.Contains(st.Detail, want) {
			t.Errorf("at %g %%: %+v, %v; want %s", percent, st, err, want)
		}
		checkShare(t, "users", 0, len(s.on(t, "recs", nil)))
		revertFlag(t, l, uint64(2*i+2), a)
	}
}
