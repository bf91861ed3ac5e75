package wire

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/sreagent/sreagent/plugins/proto"
	"github.com/sreagent/sreagent/sre"
)

// Client is a plugin as the lever that it is, over one connection. Each of its
// methods returns when its context ends, whatever the plugin does.
type Client struct {
	rpc pb.RemediatorClient
}

// NewClient returns the lever behind a connection, which the caller closes.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{rpc: pb.NewRemediatorClient(conn)}
}

// Describe asks what the lever can do. An answer that breaks the protocol is an
// error with CodeFailed.
func (c *Client) Describe(ctx context.Context) (sre.Capability, error) {
	r, err := c.rpc.Describe(ctx, &pb.DescribeRequest{})
	switch {
	case err != nil:
		return sre.Capability{}, broken("describe", err)
	case r.GetError() != nil:
		return sre.Capability{}, decodeError(r.GetError())
	}
	out, err := decodeCapability(r.GetCapability())
	if err != nil {
		return sre.Capability{}, sre.Failedf("the plugin's description of itself is refused: %v", err)
	}
	return out, nil
}

// Probe reads what is in effect. An answer that breaks the protocol or
// contradicts itself is an error with CodeUnknown.
func (c *Client) Probe(ctx context.Context, a sre.Action) (sre.TargetState, error) {
	action, err := encodeAction(a)
	if err != nil {
		return sre.TargetState{}, err
	}
	request := &pb.ProbeRequest{Action: action}
	if err := fits(request); err != nil {
		return sre.TargetState{}, err
	}
	r, err := c.rpc.Probe(ctx, request)
	switch {
	case err != nil:
		return sre.TargetState{}, broken("probe", err)
	case r.GetError() != nil:
		return sre.TargetState{}, decodeError(r.GetError())
	}
	out, err := decodeState(r.GetState(), a.ID)
	if err != nil {
		return sre.TargetState{}, sre.Unknownf(err, "the plugin's answer is refused")
	}
	return out, nil
}

// Apply sends the directive. A call that breaks is CodeUnknown.
func (c *Client) Apply(ctx context.Context, d sre.Directive) error {
	directive, err := encodeDirective(d)
	if err != nil {
		return err
	}
	request := &pb.ApplyRequest{Directive: directive}
	if err := fits(request); err != nil {
		return err
	}
	r, err := c.rpc.Apply(ctx, request)
	if err != nil {
		return broken("apply", err)
	}
	return decodeError(r.GetError())
}

// Revert sends the directive back. A call that breaks is CodeUnknown.
func (c *Client) Revert(ctx context.Context, d sre.Directive) error {
	directive, err := encodeDirective(d)
	if err != nil {
		return err
	}
	request := &pb.RevertRequest{Directive: directive}
	if err := fits(request); err != nil {
		return err
	}
	r, err := c.rpc.Revert(ctx, request)
	if err != nil {
		return broken("revert", err)
	}
	return decodeError(r.GetError())
}

// manualWait bounds Manual where the caller gives no bound.
const manualWait = 5 * time.Second

// Manual returns the plugin's shell commands for undoing the action by hand, or
// none where it gives none within 5 seconds.
func (c *Client) Manual(a sre.Action, restore sre.Params) string {
	ctx, cancel := context.WithTimeout(context.Background(), manualWait)
	defer cancel()
	text, err := c.Commands(ctx, a, restore)
	if err != nil {
		return ""
	}
	return text
}

// Commands is Manual within ctx; the error says why there are none. Commands
// that are too long or hold control characters are refused, not cut: a person
// is going to run them.
func (c *Client) Commands(ctx context.Context, a sre.Action, restore sre.Params) (string, error) {
	action, err := encodeAction(a)
	if err != nil {
		return "", err
	}
	settings, err := encodeParams(restore)
	if err != nil {
		return "", err
	}
	request := &pb.ManualRequest{Action: action, Restore: settings}
	if err := fits(request); err != nil {
		return "", err
	}
	r, err := c.rpc.Manual(ctx, request)
	if status.Code(err) == codes.Unimplemented {
		return "", nil // a plugin that was built before there was this call
	}
	if err != nil {
		return "", broken("manual", err)
	}
	return checkCommands(r.GetCommands())
}

// fits refuses here what the plugin would refuse to read, as then it is known
// that nothing was touched.
func fits(m proto.Message) error {
	if n := proto.Size(m); n > MaxMessage {
		return sre.Invalidf("the request has %d bytes, at most %d can be sent", n, MaxMessage)
	}
	return nil
}

// broken says what is known after a call that the connection did not carry to
// its end: nothing.
func broken(op string, err error) error {
	s, _ := status.FromError(err)
	code := s.Code()
	switch code { //nolint:exhaustive // whatever else broke is unknown below
	case codes.DeadlineExceeded:
		return sre.Unknownf(context.DeadlineExceeded, "%s: the plugin did not answer in time", op)
	case codes.Canceled:
		return sre.Unknownf(context.Canceled, "%s: given up before the plugin answered", op)
	case codes.Unavailable:
		return sre.Unknownf(text(s), "%s: the connection to the plugin broke", op)
	case codes.ResourceExhausted:
		return sre.Unknownf(text(s), "%s: the plugin's answer is larger than %d bytes", op, MaxMessage)
	case codes.Unimplemented:
		return sre.Unknownf(text(s), "%s: the plugin does not serve this call", op)
	}
	return sre.Unknownf(text(s), "%s: the call to the plugin broke", op)
}

func text(s *status.Status) error { return errors.New(Clean(s.Message(), maxText)) }

// decodeError reads what the lever said; everything unrecognised is unknown.
func decodeError(e *pb.ActionError) error {
	if e == nil {
		return nil
	}
	code := sre.CodeUnknown
	switch e.GetCode() {
	case pb.Code_CODE_INVALID:
		code = sre.CodeInvalid
	case pb.Code_CODE_REFUSED:
		code = sre.CodeRefused
	case pb.Code_CODE_FAILED:
		code = sre.CodeFailed
	case pb.Code_CODE_UNSPECIFIED, pb.Code_CODE_UNKNOWN:
	}
	return &sre.ActionError{Code: code, Reason: Clean(e.GetReason(), maxText)}
}
