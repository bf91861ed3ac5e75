package wire

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/sre"
)

// encodeParams keeps nil (not known) apart from empty (known to hold nothing).
// The error has CodeInvalid and names the setting that the protocol cannot carry.
func encodeParams(p sre.Params) (*pb.Params, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // an absent message is what nil params are
	}
	out := &pb.Params{Values: make(map[string]*pb.Value, len(p))}
	for name, setting := range p {
		v := &pb.Value{}
		switch s := setting.(type) {
		case float64:
			v.Kind = &pb.Value_Number{Number: s}
		case int:
			v.Kind = &pb.Value_Integer{Integer: int64(s)}
		case int64:
			v.Kind = &pb.Value_Integer{Integer: s}
		case uint64:
			v.Kind = &pb.Value_Natural{Natural: s}
		case string:
			v.Kind = &pb.Value_Text{Text: s}
		case bool:
			v.Kind = &pb.Value_Flag{Flag: s}
		default:
			return nil, sre.Invalidf("parameter %q is a %T, want a number, a string or true or false", name, setting)
		}
		out.Values[name] = v
	}
	return out, nil
}

// decodeParams reads settings. A value of no known kind is a fault of the
// sender: guessing one would move a lever to it.
func decodeParams(p *pb.Params) (sre.Params, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // nil params are those that are not known
	}
	out := make(sre.Params, len(p.GetValues()))
	for name, v := range p.GetValues() {
		switch k := v.GetKind().(type) {
		case *pb.Value_Number:
			if !finite(k.Number) {
				return nil, faultf("parameter %q is %v, which is no number to set", Clean(name, maxName), k.Number)
			}
			out[name] = k.Number
		case *pb.Value_Integer:
			out[name] = k.Integer
		case *pb.Value_Natural:
			out[name] = k.Natural
		case *pb.Value_Text:
			out[name] = k.Text
		case *pb.Value_Flag:
			out[name] = k.Flag
		default:
			return nil, faultf("parameter %q has no value that this version knows", Clean(name, maxName))
		}
	}
	return out, nil
}

func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func decodeTime(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, faultf("a time is out of range")
	}
	return t.AsTime(), nil
}

func encodeAction(a sre.Action) (*pb.Action, error) {
	params, err := encodeParams(a.Params)
	if err != nil {
		return nil, err
	}
	t := a.Target
	return &pb.Action{
		Id: a.ID, Kind: string(a.Kind), Params: params, Ttl: durationpb.New(a.TTL), Law: a.Law,
		Target: &pb.Target{Lever: t.Lever, Service: t.Service, Callee: t.Callee, Name: t.Name},
	}, nil
}

func decodeAction(a *pb.Action) (sre.Action, error) {
	if a == nil {
		return sre.Action{}, faultf("the request has no action")
	}
	params, err := decodeParams(a.GetParams())
	if err != nil {
		return sre.Action{}, err
	}
	t := a.GetTarget()
	return sre.Action{
		ID: a.GetId(), Kind: sre.ActionKind(a.GetKind()), Params: params, TTL: a.GetTtl().AsDuration(), Law: a.GetLaw(),
		Target: sre.Target{Lever: t.GetLever(), Service: t.GetService(), Callee: t.GetCallee(), Name: t.GetName()},
	}, nil
}

func encodeDirective(d sre.Directive) (*pb.Directive, error) {
	action, err := encodeAction(d.Action)
	if err != nil {
		return nil, err
	}
	restore, err := encodeParams(d.Restore)
	if err != nil {
		return nil, err
	}
	return &pb.Directive{Action: action, Epoch: d.Epoch, Seq: d.Seq, Expires: encodeTime(d.Expires), Restore: restore, By: d.Approved}, nil
}

func decodeDirective(d *pb.Directive) (sre.Directive, error) {
	action, err := decodeAction(d.GetAction())
	if err != nil {
		return sre.Directive{}, err
	}
	restore, err := decodeParams(d.GetRestore())
	if err != nil {
		return sre.Directive{}, err
	}
	expires, err := decodeTime(d.GetExpires())
	return sre.Directive{Action: action, Epoch: d.GetEpoch(), Seq: d.GetSeq(), Expires: expires, Restore: restore, Approved: d.GetBy()}, err
}

func encodeState(s sre.TargetState) (*pb.TargetState, error) {
	current, err := encodeParams(s.Current)
	if err != nil {
		return nil, err
	}
	standard, err := encodeParams(s.Default)
	if err != nil {
		return nil, err
	}
	return &pb.TargetState{
		InEffect: s.InEffect, Current: current, Default: standard, Owner: s.Owner, Foreign: s.Foreign,
		Epoch: s.Epoch, Expires: encodeTime(s.Expires), Detail: s.Detail,
	}, nil
}

func encodeCapability(c sre.Capability) *pb.Capability {
	out := &pb.Capability{Name: c.Name, Version: c.Version, Targets: c.Targets, Person: c.Person}
	for _, k := range c.Kinds {
		kind := &pb.KindSpec{Kind: string(k.Kind), Reversible: k.Reversible, Ttl: k.TTL, Edge: k.Edge}
		for _, p := range k.Params {
			kind.Params = append(kind.Params, &pb.ParamSpec{
				Name: p.Name, Type: p.Type, Required: p.Required, Min: p.Min, Max: p.Max, Unit: p.Unit, Help: p.Help,
			})
		}
		out.Kinds = append(out.Kinds, kind)
	}
	return out
}
