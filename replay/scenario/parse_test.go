package scenario

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sreagent/sreagent/replay/fluid"
	"github.com/sreagent/sreagent/sre"
)

// small is a story that parses; tests add lines to it.
const small = `title small
run 5m
service web work=2ms rate=500 workers=100
service db work=5ms rate=300 cache=90% keys=100
call web -> db timeout=1s retries=2 hard
client users -> web rate=100
`

func parsed(t *testing.T, text string) *Scenario {
	t.Helper()
	s, err := Parse("small.scenario", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everything uses each directive, and every option of what makes a world.
const everything = `
# a comment
title  Two words  # not part of the title
source somebody
seed 7
tick 10s
warmup 2m
run 1h30m
step 50ms
noise
scrape every=10s loss=1% window=30s
service web work=2ms rate=500 workers=100 queue=10 replicas=3 start_delay=30s decay=0.6 onset=100 heap=50 restart=20s deadlines
service api rate=10 cache=.9 keys=5
service db rate=20
call web->api calls=2 timeout=3s retries=1 backoff=10ms budget=20% hard parallel feature=extras breaker=50% breaker_calls=7 breaker_open=3s
call api -> db cached
client users -> web rate=5 timeout=2s retries=2 backoff=1s concurrency=9 mix=critical:.1,low:.9
truth db overload
truth web
at 2m fault db capacity=0.3 slow=1s errors=.5 lost=1 leak=.5/s change=flag for 60s
at 1m load users 1.5 over=10s benign
at 3m net web->api delay=100ms loss=20% for 30s benign
policy ask ask_at=.2 act_low=.3 act_medium=.4 blast_radius=50%:7 in_force=10%:3 protected=db,web approval_timeout=1m dry_run
people reject overload after 10s
people approve after 20s
at 4m operator pause
expect on recovered within 90s
expect off no cascade
expect goodput_after >= 98%
`

func TestParseEverything(t *testing.T) {
	s := parsed(t, everything)
	if s.Title != "Two words" || s.Source != "somebody" || s.Name != "small" || s.Seed != 7 || s.Tick != 10*time.Second ||
		s.WarmUp != 2*time.Minute || s.Length != 90*time.Minute || s.Scrape != 10*time.Second || s.ScrapeLoss != .01 || s.Window != 30*time.Second {
		t.Errorf("head is %+v", s)
	}
	want := fluid.Blueprint{
		Step: 50 * time.Millisecond, Seed: 7, Noise: true,
		Services: []fluid.ServiceSpec{
			{
				Name: "web", Work: 2 * time.Millisecond, Rate: 500, Workers: 100, QueueBound: 10, Replicas: 3, StartDelay: 30 * time.Second,
				Decay: fluid.Decay{Floor: .6, Onset: 100}, HeapLimit: 50, Restart: 20 * time.Second, Deadlines: true,
			},
			{Name: "api", Work: 5 * time.Millisecond, Rate: 10, Workers: 64, Replicas: 1, Cache: fluid.Cache{HitRatio: .9, Keys: 5}},
			{Name: "db", Work: 5 * time.Millisecond, Rate: 20, Workers: 64, Replicas: 1},
		},
		Edges: []fluid.EdgeSpec{
			{
				From: 0, To: 1, Calls: 2, Timeout: 3 * time.Second, Retries: 1, Backoff: 10 * time.Millisecond, Budget: .2, Hard: true, Parallel: true,
				Feature: "extras", Breaker: fluid.Breaker{FailureRatio: .5, MinRequests: 7, Open: 3 * time.Second},
			},
			{From: 1, To: 2, Calls: 1, Timeout: time.Second, Backoff: 50 * time.Millisecond, Cached: true},
		},
		Clients: []fluid.ClientSpec{{
			Name: "users", Rate: 5, Timeout: 2 * time.Second, Retries: 2, Backoff: time.Second, Concurrency: 9, Mix: [4]float64{.1, 0, 0, .9},
		}},
	}
	if diff := cmp.Diff(want, s.Blueprint, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("blueprint (-want +got):\n%s", diff)
	}
	type row struct {
		at, lasts time.Duration
		text      string
		benign    bool
	}
	var events []row
	for _, e := range s.Events {
		events = append(events, row{e.At, e.For, e.Text, e.Benign})
	}
	wantEvents := []row{
		{time.Minute, 0, "load users 1.5 over=10s benign", true},
		{2 * time.Minute, time.Minute, "fault db capacity=0.3 slow=1s errors=.5 lost=1 leak=.5/s change=flag for 60s", false},
		{3 * time.Minute, 30 * time.Second, "net web->api delay=100ms loss=20% for 30s benign", true},
	}
	if diff := cmp.Diff(wantEvents, events, cmp.AllowUnexported(row{})); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Truth{{"db", sre.Overload}, {"web", sre.Unknown}}, s.Truths); diff != "" {
		t.Errorf("truths (-want +got):\n%s", diff)
	}
	p := s.Policy
	if p.Mode != sre.Ask || !p.DryRun || p.BlastRadius != (sre.Limit{Percent: 50, Number: 7}) || p.InForce != (sre.Limit{Percent: 10, Number: 3}) ||
		p.Thresholds.Ask != .2 || p.Thresholds.ActLow != .3 || p.Thresholds.ActMedium != .4 || len(p.Protected) != 2 || time.Duration(p.ApprovalTimeout) != time.Minute {
		t.Errorf("policy is %+v", p)
	}
	if diff := cmp.Diff([]Answer{{sre.InputReject, "overload", 10 * time.Second}, {sre.InputApprove, "", 20 * time.Second}}, s.Answers); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Command{{4 * time.Minute, sre.InputPause}}, s.Commands); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	var claims []string
	for _, e := range s.Expect {
		claims = append(claims, string(e.Arm)+": "+e.Text)
	}
	if diff := cmp.Diff([]string{"on: recovered within 90s", "off: no cascade", ": goodput_after >= 98%"}, claims); diff != "" {
		t.Errorf("expectations (-want +got):\n%s", diff)
	}
}

func TestParseNamesBeforeTheirLines(t *testing.T) {
	s := parsed(t, "title t\nrun 5m\nclient u -> a rate=1\ncall a -> b\nat 1m fault b errors=1\nservice b rate=9\nservice a rate=8\n")
	if s.Blueprint.Clients[0].Entry != 1 || s.Blueprint.Edges[0].From != 1 || s.Blueprint.Edges[0].To != 0 || s.Events[0].service != 0 {
		t.Errorf("names are resolved to %+v, event on %d", s.Blueprint, s.Events[0].service)
	}
}

func TestParseFleet(t *testing.T) {
	s := parsed(t, "title t\nrun 5m\nfleet services=60 seed=4 retries=2 budget=10%\nservice extra rate=10\ncall s0-0000 -> extra\nat 1m fault extra errors=1\n")
	n := len(s.Blueprint.Services)
	if n != 61 || s.Blueprint.Services[60].Name != "extra" {
		t.Fatalf("%d services, the last is %q", n, s.Blueprint.Services[n-1].Name)
	}
	if last := s.Blueprint.Edges[len(s.Blueprint.Edges)-1]; last.From != 0 || last.To != 60 {
		t.Errorf("the last edge is %+v", last)
	}
	if e := s.Blueprint.Edges[0]; e.Retries != 2 || e.Budget != .1 {
		t.Errorf("the first edge is %+v", e)
	}
}

// broken are files with mistakes, and all that is said about them.
var broken = []struct {
	name, text string
	want       []string
}{
	{"empty", "", []string{
		`f.scenario:1: the length is missing; allowed: run DURATION`,
		`f.scenario:1: the title is missing; allowed: title TEXT`,
		`f.scenario:1: the world is empty; allowed: service lines, or a fleet`,
		`f.scenario:1: nobody calls the world; allowed: client NAME -> SERVICE rate=NUMBER, or a fleet`,
	}},
	{"unknown directive", small + "servant x\n", []string{`f.scenario:7: unknown directive "servant"; allowed: ` + directiveNames()}},
	{"given again", small + "title again\n", []string{`f.scenario:7: title is given again; allowed: once; it stands in line 1`}},
	{"not complete", small + "call web\n", []string{`f.scenario:7: call is not complete; allowed: call CALLER -> CALLEE OPTION...`}},
	{"two mistakes in a line", small + "service x rate=-1 workres=3\n", []string{
		`f.scenario:7: rate: -1 is out of range; allowed: a number from 0.001 to 1e+07`,
		`f.scenario:7: unknown option "workres"; allowed: ` + optionNames(serviceOptions),
	}},
	{"no number", small + "seed many\n", []string{`f.scenario:7: "many" is not a whole number; allowed: a whole number from 1 to 1099511627776`}},
	{"no duration", small + "tick 5\n", []string{`f.scenario:7: "5" is not a duration; allowed: a duration from 1s to 1m, such as 250ms, 90s or 5m`}},
	{"broken seconds", small + "tick 1500ms\n", []string{`f.scenario:7: tick of 1.5s is not a whole number of seconds; allowed: 1s, 2s, 5s, ...`}},
	{"not a number", small + "service x rate=NaN\n", []string{`f.scenario:7: rate: "NaN" is not a number; allowed: a number from 0.001 to 1e+07`}},
	{"narrow window", small + "scrape every=10s window=15s\n", []string{`f.scenario:7: a window of 15s holds less than two scrapes; allowed: twice the scrape interval or more`}},
	{"no rate", small + "service x\n", []string{`f.scenario:7: the service has no rate; allowed: rate=NUMBER`}},
	{"taken", small + "service web rate=1\n", []string{`f.scenario:7: a service is called "web" already; allowed: another name`}},
	{"bad name", small + "service -x rate=1\n", []string{`f.scenario:7: "-x" is not a name for a service; allowed: ` + nameForm + `, and not "all"`}},
	{"halves", small + "service x rate=1 decay=.5 cache=.5 heap=4\n", []string{
		`f.scenario:7: decay and onset go together; allowed: both, or neither`,
		`f.scenario:7: cache and keys go together; allowed: both, or neither`,
		`f.scenario:7: heap needs restart; allowed: restart=DURATION`,
	}},
	{"no arrow", small + "call web db x\nclient c db x\n", []string{
		`f.scenario:7: the arrow is missing; allowed: call CALLER -> CALLEE OPTION...`,
		`f.scenario:8: the arrow is missing; allowed: client NAME -> SERVICE rate=NUMBER OPTION...`,
	}},
	{"unknown names", small + "call web -> dbb\nclient x -> wbe rate=1\ntruth dd\nat 1m load usr 2\n", []string{
		`f.scenario:7: no service is called "dbb"; allowed: web, db`,
		`f.scenario:8: no service is called "wbe"; allowed: web, db`,
		`f.scenario:9: no service is called "dd"; allowed: web, db`,
		`f.scenario:10: no client is called "usr"; allowed: users, x`,
	}},
	{"call again", small + "call web -> db\ncall web -> web\n", []string{
		`f.scenario:7: web -> db is there already; allowed: one line for each pair`,
		`f.scenario:8: web calls itself; allowed: another callee`,
	}},
	{"cached without cache", small + "service x rate=1\ncall web -> x cached\n", []string{`f.scenario:8: web has no cache; allowed: cache=SHARE keys=NUMBER in its service line`}},
	{"options", small + "service x rate=1 rate=2 deadlines=yes queue\n", []string{
		`f.scenario:7: option "rate" is given twice; allowed: each once`,
		`f.scenario:7: option "deadlines" takes no value; allowed: deadlines`,
		`f.scenario:7: option "queue" has no value; allowed: queue=COUNT`,
	}},
	{"mix", small + "client c -> web rate=1 mix=low:.5,high:.2\n", []string{`f.scenario:7: mix: the shares add up to 0.7; allowed: shares that add up to 1, such as critical:.1,normal:.6,low:.3`}},
	{"mix class", small + "client c -> web rate=1 mix=lo:1\n", []string{`f.scenario:7: mix: unknown class "lo"; allowed: critical, high, normal, low`}},
	{"late fleet", small + "fleet services=20\n", []string{`f.scenario:7: the fleet comes too late; allowed: before every service and client line`}},
	{"fleet size", "title t\nrun 5m\nfleet retries=2\n", []string{`f.scenario:3: the fleet has no size; allowed: services=COUNT`}},
	{"mechanism", small + "truth db meteor\n", []string{`f.scenario:7: unknown mechanism "meteor"; allowed: ` + joined(sre.Mechanisms())}},
	{"truth twice", small + "truth db\ntruth db overload\n", []string{`f.scenario:8: db is named as a truth twice; allowed: each service once`}},
	{"unknown event", small + "at 1m explode db\n", []string{`f.scenario:7: unknown event "explode"; allowed: fault, deploy, cache-loss, load, net, scrape-gap, blind, change, operator`}},
	{"event after the end", small + "at 6m fault db errors=1\n", []string{`f.scenario:7: 6m is after the end of the run; allowed: 0s to 5m`}},
	{"misplaced for", small + "at 1m fault db for 5s errors=1\n", []string{`f.scenario:7: "for" is not where it belongs; allowed: for DURATION at the end, or before benign`}},
	{"moments have no duration", small + "at 1m cache-loss db 50% for 5s\nat 1m change flag db for 5s\nat 1m operator pause for 5s\n", []string{
		`f.scenario:7: cache-loss has no duration; allowed: no "for"`,
		`f.scenario:8: change has no duration; allowed: no "for"`,
		`f.scenario:9: operator has no duration; allowed: no "for"`,
	}},
	{"cache loss without cache", small + "at 1m cache-loss web 50%\n", []string{`f.scenario:7: web has no cache; allowed: cache=SHARE keys=NUMBER in its service line`}},
	{"wave", small + "at 1m load users diurnal peak=3\n", []string{`f.scenario:7: the wave is not complete; allowed: diurnal period=DURATION peak=FACTOR`}},
	{"net", small + "at 1m net db -> web loss=1\n", []string{`f.scenario:7: db does not call web; allowed: a pair that a call line joins`}},
	{"change kind", small + "at 1m change banner db\n", []string{`f.scenario:7: unknown kind of change "banner"; allowed: deploy, flag, config, scale, other`}},
	{"too much", small + "at 1m scrape-gap db now\nat 1m blind db\nat 1m operator pause now\n", []string{
		`f.scenario:7: "now" is too much for scrape-gap; allowed: nothing after "scrape-gap db"`,
		`f.scenario:8: "db" is too much for blind; allowed: nothing after "blind"`,
		`f.scenario:9: "now" is too much for operator; allowed: nothing after "operator pause"`,
	}},
	{"operator", small + "at 1m operator sing\n", []string{`f.scenario:7: unknown command "sing"; allowed: pause, resume, undo, close`}},
	{"policy", small + "policy dance\n", []string{`f.scenario:7: unknown mode "dance"; allowed: act, ask, watch`}},
	{"policy order", small + "policy act ask_at=.9 act_low=.5 act_medium=.6\n", []string{`f.scenario:7: thresholds.ask: 0.9 is above act_low 0.5; allowed: ask <= act_low <= act_medium`}},
	{"policy limit", small + "policy act in_force=7\n", []string{`f.scenario:7: in_force: "7" is not a limit; allowed: a percentage and a number, such as 25%:10; the smaller holds`}},
	{"protected", small + "policy act protected=dbx\n", []string{`f.scenario:7: no service is called "dbx"; allowed: web, db`}},
	{"people", small + "people approve\npeople sing after 3s\n", []string{
		`f.scenario:7: what people say is not complete; allowed: people nobody, or people approve|reject [RUNBOOK] after DURATION`,
		`f.scenario:8: what people say is not complete; allowed: people nobody, or people approve|reject [RUNBOOK] after DURATION`,
	}},
	{"claim", small + "expect on miracle\n", []string{`f.scenario:7: unknown claim "miracle"; allowed: ` + claimForms()}},
	{"nothing claimed", small + "expect on\n", []string{`f.scenario:7: nothing is claimed; allowed: ` + claimForms()}},
	{"comparison", small + "expect harmful ~ 3\nexpect harmful <= x\n", []string{
		`f.scenario:7: unknown comparison "~"; allowed: <, <=, =, >=, >`,
		`f.scenario:8: "x" is not a number; allowed: a number from 0 to 1e+07`,
	}},
	{"claims", small + "expect no verdict act\nexpect not recovered within 5s\nexpect action dance\nexpect action shed at db\nexpect action on dbx\nexpect cause db meteor\nexpect cascade now\nexpect verdict run\n", []string{
		`f.scenario:7: verdict cannot be denied; allowed: verdict act|ask|watch`,
		`f.scenario:8: "within 5s" is too much; allowed: [not] recovered, or recovered within DURATION`,
		`f.scenario:9: unknown kind of action "dance"; allowed: ` + joined(sre.ActionKinds()),
		`f.scenario:10: "at db" is not a target; allowed: on SERVICE, or on CALLER->CALLEE`,
		`f.scenario:11: no service is called "dbx"; allowed: web, db`,
		`f.scenario:12: unknown mechanism "meteor"; allowed: ` + joined(sre.Mechanisms()),
		`f.scenario:13: "now" is too much; allowed: [no] cascade`,
		`f.scenario:14: unknown verdict "run"; allowed: act, ask, watch`,
	}},
}

// TestParseFaults holds that a broken file gives file:line, the problem and what
// is allowed, for each of its mistakes.
func TestParseFaults(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("f.scenario", []byte(c.text))
			var faults sre.Faults
			if !errors.As(err, &faults) || s != nil {
				t.Fatalf("got %v, %v; want faults and no scenario", s, err)
			}
			var got []string
			for _, f := range faults {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

var thousands = regexp.MustCompile(`\d{4}|\de`)

// FuzzParse holds that no text crashes the parser, and that what it takes has a
// world that can be built and faults that name lines of the file.
func FuzzParse(f *testing.F) {
	for _, name := range Names() {
		if strings.HasPrefix(name, "fleet-1000") {
			continue
		}
		text, err := fs.ReadFile(Library(), name+fileEnding)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(small)
	f.Add("at 1m net -> x for 5s benign\nexpect no action on a->b\npolicy ask in_force=%:\ncall ->->->\r\n#")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(text, "fleet") > 1 || strings.Contains(text, "fleet") && thousands.MatchString(text) {
			return // it takes long
		}
		s, err := Parse("f.scenario", []byte(text))
		var faults sre.Faults
		switch {
		case errors.As(err, &faults):
			for _, fault := range faults {
				if !strings.HasPrefix(fault.Path, "f.scenario:") || fault.Problem == "" {
					t.Errorf("fault %+v", fault)
				}
			}
		case err != nil:
			t.Errorf("error %v is no list of faults", err)
		default:
			if faults := s.Blueprint.Validate(); len(faults) > 0 {
				t.Errorf("the world cannot be built: %v", faults)
			}
			if s.Title == "" || s.Length <= 0 || s.Tick <= 0 {
				t.Errorf("incomplete scenario %+v", s)
			}
		}
	})
}
