package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

const replayLimit = 64 << 10 // bytes of a request body that are kept for retries

// errRequestBody is why a call fails whose caller did not deliver the body that it
// had promised. That says nothing about the callee.
var errRequestBody = errors.New("read request body")

// sentBody is a request's body that remembers whether its sender has failed.
type sentBody struct {
	io.ReadCloser
	broken, closed atomic.Bool // what is read after Close, by a transport that has given up, proves nothing
}

// Read notes any end but the orderly one.
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.broken.Store(true)
	}
	return n, err
}

// Close notes that it was called before it takes effect.
func (b *sentBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// source makes the request of each attempt.
type source struct {
	original   *http.Request
	sent       *sentBody // the original body; nil where there is none
	replayable bool
	kept       []byte // of a body without GetBody
	rest       io.ReadCloser
	handed     bool // the original body belongs to the transport below
}

// newSource prepares the body for more than one attempt where that is wanted.
func newSource(r *http.Request, again bool) (*source, error) {
	s := &source{original: r, replayable: again}
	if r.Body == nil || r.Body == http.NoBody {
		return s, nil
	}
	s.sent = &sentBody{ReadCloser: r.Body}
	if !again || r.GetBody != nil {
		return s, nil
	}
	kept, err := io.ReadAll(io.LimitReader(r.Body, replayLimit+1))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errRequestBody, err), r.Body.Close())
	}
	s.kept, s.rest = kept, s.sent
	s.replayable = len(kept) <= replayLimit
	return s, nil
}

// request returns a copy of the original for attempt n, 0 for the first.
func (s *source) request(n int) (*http.Request, error) {
	r := s.original.Clone(s.original.Context())
	setAttempt(r.Header, n)
	if r.Header.Get(PriorityHeader) == "" {
		if p, ok := PriorityFrom(r.Context()); ok {
			r.Header.Set(PriorityHeader, p.String())
		}
	}
	switch {
	case s.kept != nil && s.replayable:
		r.Body = io.NopCloser(bytes.NewReader(s.kept))
	case s.kept != nil:
		s.handed = true
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(s.kept), s.rest), s.rest}
	case n > 0 && s.original.GetBody != nil:
		body, err := s.original.GetBody()
		if err != nil {
			return nil, err
		}
		r.Body = body
	case s.sent != nil:
		r.Body = s.sent
	}
	return r, nil
}

// blame says that an attempt failed because of the body, where it did.
func (s *source) blame(err error) error {
	if s.sent != nil && s.sent.broken.Load() {
		return fmt.Errorf("%w: %w", errRequestBody, err)
	}
	return err
}

// close closes what no attempt has taken over.
func (s *source) close() {
	if s.rest != nil && !s.handed {
		_ = s.rest.Close()
	}
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// wrapBody calls done once the response has been read or closed.
func wrapBody(resp *http.Response, done func()) io.ReadCloser {
	b := &responseBody{ReadCloser: resp.Body, done: done}
	if w, ok := resp.Body.(io.Writer); ok { // an upgraded connection
		return &upgradedBody{responseBody: b, Writer: w}
	}
	return b
}

type responseBody struct {
	io.ReadCloser
	done func()
}

// Read ends the attempt with the last byte.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

// Close ends the attempt.
func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}

type upgradedBody struct {
	*responseBody
	io.Writer
}
