package bundle

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Packing is how the text of metrics is compressed. The zero value is not at
// all.
type Packing string

// The closed set of packings, as they end the name of a file.
const (
	Plain Packing = ""
	Gzip  Packing = ".gz"
	Zstd  Packing = ".zst"
)

// packingOf tells from the first bytes of a file how it is compressed.
func packingOf(head []byte) Packing {
	switch {
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	}
	return Plain
}

// maxWindow is the window that the zstd command itself takes without being
// asked to.
const maxWindow = 128 << 20

// packError is what a decompressor says about bytes that it cannot read, as
// opposed to what the file beneath says.
type packError struct{ err error }

func (e *packError) Error() string { return e.err.Error() }
func (e *packError) Unwrap() error { return e.err }

// unpack reads what p wrote. Its reader returns *packError for damaged bytes
// and io.ErrUnexpectedEOF for too few.
func (p Packing) unpack(r io.Reader) (io.ReadCloser, error) {
	source := &watched{r: r}
	var inner io.ReadCloser
	var err error
	switch p {
	case Gzip:
		inner, err = gzip.NewReader(source)
	case Zstd:
		var dec *zstd.Decoder
		dec, err = zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err == nil {
			inner = dec.IOReadCloser()
		}
	case Plain:
		return io.NopCloser(r), nil
	}
	if err != nil {
		return nil, source.judge(err)
	}
	return &unpacker{inner: inner, source: source}, nil
}

// pack compresses what is written. Close ends the stream, not w. The same
// input gives the same bytes.
func (p Packing) pack(w io.Writer) (io.WriteCloser, error) {
	switch p {
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	case Plain:
	}
	return keepOpen{w}, nil
}

type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// watched remembers the error of the file beneath a decompressor, and whether
// it gave anything.
type watched struct {
	r     io.Reader
	given bool
	err   error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.given = w.given || n > 0
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// judge tells the file's errors from those of its content.
func (w *watched) judge(err error) error {
	switch {
	case err == nil:
		return nil
	case w.err != nil:
		return w.err
	case errors.Is(err, io.EOF) && !w.given:
		return &packError{errors.New("it is empty")}
	case errors.Is(err, io.EOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return &packError{err}
}

type unpacker struct {
	inner  io.ReadCloser
	source *watched
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.inner.Read(p)
	return n, u.source.judge(err)
}

func (u *unpacker) Close() error { return u.inner.Close() }
