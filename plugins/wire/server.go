package wire

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/sre"
)

// Register serves a lever over gRPC. A panic of the lever is answered with
// CodeUnknown and does not end the process: other actions are in its hands.
func Register(s grpc.ServiceRegistrar, r sre.Remediator) {
	pb.RegisterRemediatorServer(s, &server{lever: r})
}

// undoer is a lever that can tell a person how to undo an action by hand.
type undoer interface {
	Manual(a sre.Action, restore sre.Params) string
}

type server struct {
	pb.UnimplementedRemediatorServer
	lever sre.Remediator
}

func (s *server) Describe(ctx context.Context, _ *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	var c sre.Capability
	err := guarded(func() (err error) { c, err = s.lever.Describe(ctx); return err })
	if err != nil {
		return &pb.DescribeResponse{Error: encodeError(err)}, nil
	}
	return &pb.DescribeResponse{Capability: encodeCapability(c)}, nil
}

func (s *server) Probe(ctx context.Context, r *pb.ProbeRequest) (*pb.ProbeResponse, error) {
	var state *pb.TargetState
	err := guarded(func() error {
		a, err := decodeAction(r.GetAction())
		if err != nil {
			return err
		}
		found, err := s.lever.Probe(ctx, a)
		if err != nil {
			return err
		}
		if state, err = encodeState(found); err != nil {
			return sre.Failedf("the lever's answer cannot be sent: %v", err)
		}
		return nil
	})
	if err != nil {
		return &pb.ProbeResponse{Error: encodeError(err)}, nil
	}
	return &pb.ProbeResponse{State: state}, nil
}

func (s *server) Apply(ctx context.Context, r *pb.ApplyRequest) (*pb.ApplyResponse, error) {
	return &pb.ApplyResponse{Error: encodeError(directed(ctx, r.GetDirective(), s.lever.Apply))}, nil
}

func (s *server) Revert(ctx context.Context, r *pb.RevertRequest) (*pb.RevertResponse, error) {
	return &pb.RevertResponse{Error: encodeError(directed(ctx, r.GetDirective(), s.lever.Revert))}, nil
}

func (s *server) Manual(_ context.Context, r *pb.ManualRequest) (*pb.ManualResponse, error) {
	out := &pb.ManualResponse{}
	u, ok := s.lever.(undoer)
	if !ok {
		return out, nil
	}
	err := guarded(func() error {
		a, err := decodeAction(r.GetAction())
		if err != nil {
			return err
		}
		restore, err := decodeParams(r.GetRestore())
		if err == nil {
			out.Commands = u.Manual(a, restore)
		}
		return err
	})
	if err != nil {
		return nil, status.Error(codes.Internal, Clean(err.Error(), maxText))
	}
	return out, nil
}

func directed(ctx context.Context, m *pb.Directive, do func(context.Context, sre.Directive) error) error {
	return guarded(func() error {
		d, err := decodeDirective(m)
		if err != nil {
			return err
		}
		return do(ctx, d)
	})
}

// guarded turns a panic into an error, which counts as CodeUnknown.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the plugin panicked: %v", p)
		}
	}()
	return do()
}

// encodeError keeps what is known after a failure. A request that cannot be
// read was not acted on.
func encodeError(err error) *pb.ActionError {
	if err == nil {
		return nil
	}
	code := pb.Code_CODE_UNKNOWN
	switch sre.CodeOf(err) {
	case sre.CodeInvalid:
		code = pb.Code_CODE_INVALID
	case sre.CodeRefused:
		code = pb.Code_CODE_REFUSED
	case sre.CodeFailed:
		code = pb.Code_CODE_FAILED
	case sre.CodeUnknown:
	}
	reason := err.Error()
	if a, ok := errors.AsType[*sre.ActionError](err); ok && a == err { //nolint:errorlint // only the outermost has its code in its text
		reason = a.Reason
		if a.Err != nil {
			reason += ": " + a.Err.Error()
		}
	}
	if _, unread := errors.AsType[*fault](err); unread {
		code = pb.Code_CODE_INVALID
	}
	return &pb.ActionError{Code: code, Reason: Clean(reason, maxText)}
}
