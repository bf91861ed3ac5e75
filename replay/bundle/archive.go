package bundle

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// packAbove is the size from which a file of an archive is held compressed:
// text shrinks about tenfold, and zeros to nothing.
const packAbove = 1 << 20

// ReadArchive reads the files of a bundle from a .tar, .tar.gz or .tar.zst into
// memory, which of the three it is being seen from its first bytes. They may
// stand in a folder of any name. Other files are ignored. Names that leave the
// archive, links, devices and duplicates are mistakes. Its error is Problems.
func ReadArchive(r io.Reader, limits Limits) (fs.FS, error) {
	limits = limits.withDefaults()
	in := bufio.NewReaderSize(r, 64<<10)
	packing, err := archiveKind(in)
	if err != nil {
		return nil, err
	}
	text, err := packing.unpack(in)
	if err != nil {
		return nil, Problems{archiveFault(err)}
	}
	defer text.Close() //nolint:errcheck // read only
	a := &archiveReader{limits: limits, files: folder{}, seen: map[string]bool{}}
	whole := &bounded{name: "archive", r: text, left: limits.Archive, most: limits.Archive}
	if err := a.read(tar.NewReader(whole)); err != nil {
		return nil, err
	}
	// Checksums stand at the end, behind what tar reads.
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return nil, Problems{archiveFault(err)}
	}
	if len(a.files) == 0 {
		return nil, Problems{wrong("archive", "there is no bundle in it", IncidentFile+" and the other files, perhaps in one folder")}
	}
	return a.files, nil
}

const tarMagicAt = 257

// archiveKind looks at the magic numbers.
func archiveKind(in *bufio.Reader) (Packing, error) {
	head, err := in.Peek(tarMagicAt + 5)
	if err != nil && !errors.Is(err, io.EOF) {
		return Plain, Problems{archiveFault(err)}
	}
	switch kind := packingOf(head); {
	case kind != Plain:
		return kind, nil
	case len(head) > tarMagicAt && string(head[tarMagicAt:]) == "ustar":
		return Plain, nil
	case len(head) == 0:
		return Plain, Problems{wrong("archive", "the file is empty", "a .tar, .tar.gz or .tar.zst")}
	}
	return Plain, Problems{wrong("archive", "this is no archive", "a .tar, .tar.gz or .tar.zst")}
}

func archiveFault(err error) Problem {
	var ps Problems
	if errors.As(err, &ps) && len(ps) > 0 {
		return ps[0]
	}
	p := unreadable("archive", err)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.Fault.Problem = "the archive is cut"
	case errors.Is(err, tar.ErrHeader):
		p.Fault.Problem = "the content is no tar archive"
	}
	return p
}

type archiveReader struct {
	limits  Limits
	files   folder
	seen    map[string]bool
	top     string // the folder in which the bundle's files stand
	topFrom string // the entry that told so
	entries int
	bytes   int64
}

func (a *archiveReader) read(t *tar.Reader) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = a.entry(h, t)
		}
		if err != nil {
			return Problems{archiveFault(err)}
		}
	}
}

// entry takes one entry, or refuses the archive because of it.
func (a *archiveReader) entry(h *tar.Header, r io.Reader) error {
	name := path.Clean(h.Name)
	bad := func(problem, allowed string) error {
		return Problems{wrong(fmt.Sprintf("archive entry %q", cut(h.Name, cutLine)), problem, allowed)}
	}
	if a.entries++; a.entries > a.limits.Entries {
		return bad(fmt.Sprintf("it is one more than the %d entries that an archive may have", a.limits.Entries), "")
	}
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeLink, tar.TypeSymlink:
		return bad("it is a link", "files and folders")
	default:
		return bad("it is neither a file nor a folder", "files and folders")
	}
	switch {
	case !local(h.Name):
		return bad("the name leads out of the archive", "names below the archive's own folder")
	case h.Typeflag == tar.TypeDir:
		return nil
	case a.seen[name]:
		return bad("it stands there twice", "")
	case h.Size > a.limits.File:
		return bad("it is larger than "+size(a.limits.File), "")
	}
	a.seen[name] = true
	if a.bytes += h.Size; a.bytes > a.limits.Archive {
		return Problems{wrong("archive", "the files are larger than "+size(a.limits.Archive), "")}
	}
	dir, base := path.Split(name)
	if !slices.Contains(fileNames(), base) || strings.Count(dir, "/") > 1 {
		return nil
	}
	if a.topFrom == "" {
		a.top, a.topFrom = dir, name
	} else if a.top != dir {
		return bad(fmt.Sprintf("it stands in another folder than %q", cut(a.topFrom, cutLine)), "one bundle per archive")
	}
	f, err := hold(base, r, h.Size)
	a.files[base] = f
	return err
}

// local reports whether a name stays below the folder that it is joined to.
func local(name string) bool {
	return name != "" && !strings.ContainsAny(name, "\\\x00") && !path.IsAbs(name) && !slices.Contains(strings.Split(name, "/"), "..")
}

// hold keeps the content of one file, compressed where it is large.
func hold(name string, r io.Reader, n int64) (held, error) {
	f := held{name: name, size: n}
	if n > packAbove {
		f.packing = Zstd
	}
	var buf bytes.Buffer
	w, err := f.packing.pack(&buf)
	if err != nil {
		return f, err
	}
	if _, err := io.Copy(w, r); err != nil {
		return f, err
	}
	err = w.Close()
	f.data = buf.Bytes()
	return f, err
}

// folder is a folder of files in memory. It implements fs.FS.
type folder map[string]held

// held is one file of a folder. It implements fs.FileInfo and fs.DirEntry.
type held struct {
	name    string
	size    int64 // of the content
	packing Packing
	data    []byte
	dir     bool
}

func (f held) Name() string               { return f.name }
func (f held) Size() int64                { return f.size }
func (f held) ModTime() time.Time         { return time.Time{} }
func (f held) IsDir() bool                { return f.dir }
func (f held) Sys() any                   { return nil }
func (f held) Type() fs.FileMode          { return f.Mode().Type() }
func (f held) Info() (fs.FileInfo, error) { return f, nil }
func (f held) Mode() fs.FileMode {
	if f.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// Open opens a file, or the folder itself as ".".
func (d folder) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return &openFolder{held: held{name: ".", dir: true}, left: d.entries()}, nil
	}
	f, ok := d[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	r, err := f.packing.unpack(bytes.NewReader(f.data))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{ReadCloser: r, info: f}, nil
}

func (d folder) entries() []fs.DirEntry {
	out := make([]fs.DirEntry, 0, len(d))
	for _, f := range d {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

type openFile struct {
	io.ReadCloser
	info held
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

type openFolder struct {
	held
	left []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.held, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: errors.New("is a directory")}
}

// ReadDir lists the next n files, or all that are left where n is not positive.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(f.left) {
		if n > 0 && len(f.left) == 0 {
			return nil, io.EOF
		}
		n = len(f.left)
	}
	out := f.left[:n]
	f.left = f.left[n:]
	return out, nil
}
