package wire

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/sre"
)

// through sends a message as bytes, as the connection does.
func through[M proto.Message](t interface{ Fatal(...any) }, m, into M) M {
	text, err := proto.Marshal(m)
	if err == nil {
		err = proto.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}

func drawParams(t *rapid.T, label string) sre.Params {
	if rapid.Bool().Draw(t, label+" unknown") {
		return nil
	}
	setting := rapid.OneOf(
		rapid.Float64().Filter(finite).AsAny(), rapid.Int64().AsAny(), rapid.Uint64().AsAny(),
		rapid.StringN(0, 20, 80).AsAny(), rapid.Bool().AsAny(),
	)
	return rapid.MapOfN(rapid.StringMatching(`[a-z_]{1,20}`), setting, 0, 8).Draw(t, label)
}

// What is sent is what arrives, exactly.
func TestADirectiveArrivesAsItWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ -~äß]{0,20}`)
		sent := sre.Directive{
			Action: sre.Action{
				ID: word.Draw(t, "id"), Kind: rapid.SampledFrom(sre.ActionKinds()).Draw(t, "kind"),
				Target: sre.Target{Lever: word.Draw(t, "lever"), Service: word.Draw(t, "service"), Callee: word.Draw(t, "callee"), Name: word.Draw(t, "name")},
				Params: drawParams(t, "params"), TTL: time.Duration(rapid.Int64().Draw(t, "ttl")), Law: word.Draw(t, "law"),
			},
			Epoch: rapid.Uint64().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq"), Restore: drawParams(t, "restore"),
			Approved: word.Draw(t, "approved"),
		}
		if rapid.Bool().Draw(t, "expires") {
			sent.Expires = time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")).UTC()
		}
		m, err := encodeDirective(sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeDirective(through(t, m, &pb.Directive{}))
		if diff := cmp.Diff(sent, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func TestAStateArrivesAsItWasSent(t *testing.T) {
	for _, sent := range []sre.TargetState{
		{},
		{Current: sre.Params{}, Detail: "no limit"},
		{InEffect: true, Owner: "a", Current: sre.Params{"rps": 1.5, "n": int64(3)}, Default: sre.Params{}, Epoch: 1 << 63, Expires: time.Unix(1e9, 1).UTC()},
		{Foreign: true, Owner: "b", Current: sre.Params{"on": true, "text": ""}},
	} {
		m, err := encodeState(sent)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeState(through(t, m, &pb.TargetState{}), "a")
		if diff := cmp.Diff(sent, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	if _, err := encodeState(sre.TargetState{Current: sre.Params{"list": []string{"a"}}}); sre.CodeOf(err) != sre.CodeInvalid {
		t.Errorf("a list was sent: %v", err)
	}
}

func TestACapabilityArrivesOrIsRefused(t *testing.T) {
	good := func() sre.Capability {
		return sre.Capability{Name: "lever", Version: "2", Targets: []string{"shop"}, Person: []string{"shop/all"}, Kinds: []sre.KindSpec{
			{Kind: sre.Shed, Reversible: true, TTL: true, Params: []sre.ParamSpec{{Name: "rps", Type: "number", Required: true, Max: math.MaxFloat64, Unit: "rps", Help: "a cap"}}},
			{Kind: sre.Restart, Edge: true},
		}}
	}
	got, err := decodeCapability(through(t, encodeCapability(good()), &pb.Capability{}))
	if diff := cmp.Diff(good(), got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	for want, spoil := range map[string]func(*sre.Capability){
		"no name":            func(c *sre.Capability) { c.Name = "" },
		"too long":           func(c *sre.Capability) { c.Name = strings.Repeat("n", 300) },
		"characters":         func(c *sre.Capability) { c.Targets[0] = "shop\n" },
		"no kind":            func(c *sre.Capability) { c.Kinds = nil },
		`the kind "explode"`: func(c *sre.Capability) { c.Kinds[0].Kind = "explode" },
		"restart twice":      func(c *sre.Capability) { c.Kinds[0].Kind = sre.Restart },
		"unnamed":            func(c *sre.Capability) { c.Kinds[0].Params[0].Name = "" },
		`is a "list"`:        func(c *sre.Capability) { c.Kinds[0].Params[0].Type = "list" },
		"goes from 0 to NaN": func(c *sre.Capability) { c.Kinds[0].Params[0].Max = math.NaN() },
		"goes from 0 to -1":  func(c *sre.Capability) { c.Kinds[0].Params[0].Max = -1 },
		"10001 targets":      func(c *sre.Capability) { c.Targets = make([]string, maxTargets+1) },
		"has 65 parameters":  func(c *sre.Capability) { c.Kinds[0].Params = make([]sre.ParamSpec, maxParams+1) },
	} {
		c := good()
		spoil(&c)
		if _, err := decodeCapability(encodeCapability(c)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestEveryCodeArrives(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		err  error
		code sre.Code
		text string
	}{
		{nil, "", ""},
		{sre.Invalidf("a"), sre.CodeInvalid, "invalid: a"},
		{sre.Refusedf("b"), sre.CodeRefused, "refused: b"},
		{sre.Failedf("c"), sre.CodeFailed, "failed: c"},
		{sre.Unknownf(cause, "d"), sre.CodeUnknown, "unknown: d: cause"},
		{cause, sre.CodeUnknown, "unknown: cause"},
		{&sre.ActionError{Code: "nonsense", Reason: "e"}, sre.CodeUnknown, "unknown: e"},
		{faultf("unreadable"), sre.CodeInvalid, "invalid: unreadable"},
	} {
		got := decodeError(encodeError(c.err))
		if sre.CodeOf(got) != c.code || got != nil && got.Error() != c.text {
			t.Errorf("%v arrives as %v, want %s", c.err, got, c.text)
		}
	}
}

// Whatever breaks a call, it is not known what happened.
func TestABrokenCallIsUnknown(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if err := broken("apply", status.Error(code, "x\ny")); sre.CodeOf(err) != sre.CodeUnknown || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestTextIsMadeFitForATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            "plain",
		"two\nlines\there": "two lines h...",
		"\x1b[31mred\x00":  "[31mred",
		"0123456789ä":      "0123456789...",
	} {
		if got := Clean(in, 11); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// No answer makes the host panic, and what is taken keeps the limits.
func FuzzAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.ProbeResponse{State: &pb.TargetState{InEffect: true, Owner: "a", Current: &pb.Params{Values: map[string]*pb.Value{"rps": {Kind: &pb.Value_Number{Number: 1}}}}}},
		&pb.DescribeResponse{Capability: &pb.Capability{Name: "n", Kinds: []*pb.KindSpec{{Kind: "shed", Params: []*pb.ParamSpec{{Name: "p", Type: "bool"}}}}}},
		&pb.ApplyResponse{Error: &pb.ActionError{Code: 9, Reason: "r"}},
	} {
		text, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var probe pb.ProbeResponse
		if proto.Unmarshal(text, &probe) == nil {
			st, err := decodeState(probe.GetState(), "a")
			if err == nil && (len(st.Detail) > maxText+3 || len(st.Owner) > maxName || len(st.Current) > maxParams || st.InEffect && st.Foreign) {
				t.Errorf("taken: %+v", st)
			}
			for name := range st.Current {
				if v, ok := st.Current.Float(name); ok && !finite(v) {
					t.Errorf("%s is %v", name, v)
				}
			}
		}
		var describe pb.DescribeResponse
		if proto.Unmarshal(text, &describe) == nil {
			c, err := decodeCapability(describe.GetCapability())
			for _, k := range c.Kinds {
				if err == nil && (!k.Kind.Valid() || c.Name == "") {
					t.Errorf("taken: %+v", c)
				}
			}
		}
		var apply pb.ApplyResponse
		if proto.Unmarshal(text, &apply) == nil {
			if err := decodeError(apply.GetError()); err != nil && len(err.Error()) > 2*maxText {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
		}
	})
}
