package artifact

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/cache"
)

// epoch is the only time that ever appears in an image.
var epoch = time.Unix(0, 0).UTC()

// tarBlock is what all that is in a tar archive is padded to; two empty ones
// end it (POSIX pax, "Interchange Format").
const tarBlock = 512

// A layer is a tar archive that exists nowhere: it is put together from headers
// and files while it is read.
type layer struct {
	title   string
	entries []entry
	size    int64
	desc    ocispec.Descriptor
}

// An entry is one member of a layer. A directory has a name that ends in a
// slash.
type entry struct {
	name  string
	data  []byte     // the content, unless blob has it
	blob  cache.Blob // zero for none
	file  string     // where the blob is
	input string     // what the blob is, for people
	size  int64      // of the content
	off   int64      // of the header in the archive
	head  int64      // length of the header
}

// newLayer puts a layer together: the entries, and the directories that lead to
// them.
func newLayer(title string, entries []entry) (*layer, error) {
	seen := map[string]bool{}
	all := slices.Clone(entries)
	for _, e := range entries {
		for dir := path.Dir(e.name); dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, entry{name: dir + "/"})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	l := &layer{title: title, entries: all}
	for i := range all {
		e := &all[i]
		head, err := e.header()
		if err != nil {
			return nil, err
		}
		e.off, e.head = l.size, int64(len(head))
		l.size += e.head + padded(e.size)
	}
	l.size += 2 * tarBlock
	return l, nil
}

func padded(n int64) int64 { return (n + tarBlock - 1) / tarBlock * tarBlock }

// header is the header of an entry: one block, but for what POSIX ustar cannot
// say, such as sizes from 8 GiB.
func (e *entry) header() ([]byte, error) {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size, Mode: 0o644, ModTime: epoch}
	if strings.HasSuffix(e.name, "/") {
		hdr.Typeflag, hdr.Mode = tar.TypeDir, 0o755
	}
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(hdr)
	return b.Bytes(), err
}

// key names the layer by what it is made of: equal keys are equal bytes.
func (l *layer) key() string {
	h := sha256.New()
	for _, e := range l.entries {
		fmt.Fprintf(h, "%q %d %q %s\n", e.name, e.size, e.data, e.blob.Sum)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// open is the content of an entry.
func (e *entry) open() (contents, error) {
	if e.blob.Sum.IsZero() {
		return struct {
			*bytes.Reader
			io.Closer
		}{bytes.NewReader(e.data), io.NopCloser(nil)}, nil
	}
	return os.Open(e.file)
}

type contents interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// ReadAt implements io.ReaderAt on the archive.
func (l *layer) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < l.size {
		m, err := l.readSome(p[n:], off)
		if err != nil {
			return n, err
		}
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readSome reads what one part of the archive has at off: a header, a content
// or a padding. It reads at least one byte.
func (l *layer) readSome(p []byte, off int64) (int, error) {
	i := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].off > off }) - 1
	if i < 0 {
		return zeros(p, l.size-off), nil
	}
	e := &l.entries[i]
	at := off - e.off
	switch end := e.head + e.size; {
	case at < e.head:
		head, err := e.header()
		return copy(p, head[at:]), err
	case at < end:
		f, err := e.open()
		if err != nil {
			return 0, err
		}
		defer f.Close()
		n, err := f.ReadAt(p[:min(int64(len(p)), end-at)], at-e.head)
		if n > 0 {
			return n, nil
		}
		return 0, fmt.Errorf("%s: shorter than it was: %w", e.name, err)
	case at < e.head+padded(e.size):
		return zeros(p, e.head+padded(e.size)-at), nil
	}
	return zeros(p, l.size-off), nil // the end of the archive
}

// zeros fills p, but at most n bytes of it.
func zeros(p []byte, n int64) int {
	p = p[:min(int64(len(p)), n)]
	clear(p)
	return len(p)
}

// Size is the length of the archive.
func (l *layer) Size() int64 { return l.size }

// Close implements containerd's content.ReaderAt; there is nothing to close.
func (l *layer) Close() error { return nil }

// copyBuffer is what is read of a file at once.
const copyBuffer = 1 << 20

// sum reads the whole layer: its digest, and the inputs whose blobs are not what
// their names say.
func (l *layer) sum() (d digest.Digest, damaged []string, err error) {
	whole := sha256.New()
	buf := make([]byte, copyBuffer)
	for i := range l.entries {
		e := &l.entries[i]
		head, err := e.header()
		if err != nil {
			return "", nil, err
		}
		whole.Write(head)
		good, err := e.sum(whole, buf)
		if err != nil {
			return "", nil, err
		}
		if !good {
			damaged = append(damaged, e.input)
		}
		whole.Write(make([]byte, padded(e.size)-e.size))
	}
	whole.Write(make([]byte, 2*tarBlock))
	return digest.NewDigest(digest.SHA256, whole), damaged, nil
}

// sum feeds the content of an entry to whole, and tells whether it is what its
// blob promises.
func (e *entry) sum(whole hash.Hash, buf []byte) (bool, error) {
	f, err := e.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	own := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(whole, own), struct{ io.Reader }{f}, buf)
	if err != nil {
		return false, err
	}
	return n == e.size && (e.blob.Sum.IsZero() || hex.EncodeToString(own.Sum(nil)) == e.blob.Sum.Hex()), nil
}
