package cache

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// A Packaging is how archives of one ecosystem become directories. Each of its
// functions may be nil.
type Packaging struct {
	// Skip tells which files are left out; names are relative to the directory.
	Skip func(name string) bool
	// Finish makes up files that go beside those that an archive had. Their
	// paths are relative to the directory.
	Finish func(in Input, files []Unpacked) []File
	// Pick looks at a commit once, and then chooses what of it is in the
	// directory of each Checkout of it. Without it, all is. The error is what is
	// wrong with the commit for this input.
	Pick func(tree *GitTree) func(in Input) ([]Picked, error)
	// Check compares a directory that another tool unpacked with what the
	// lockfile promises. Without it, such directories are taken for damaged.
	Check func(in Input, dir fs.FS) error
}

// Unpacked is a file that came out of an archive.
type Unpacked struct {
	Path string // relative to the directory of the input
	Sum  Sum    // sha256 of its bytes
}

// What an archive may become. The bytes are those that cargo allows a crate:
// half a gigabyte, or twenty times the archive where that is more.
const (
	maxTree      = 512 << 20
	maxRatio     = 20
	maxTreeFiles = 100_000
	maxTreePath  = 1024
	maxTreeName  = 255
)

// unpacking is an archive on its way into a directory.
type unpacking struct {
	root  *os.Root
	last  *os.Root // the directory that the last file went into; nil for the root
	name  string   // of it
	skip  func(string) bool
	left  int64 // bytes that may still come out of it
	top   string
	made  map[string]bool // directories, relative to the root
	files []Unpacked
	hash  hash.Hash
	buf   []byte
}

// unpack makes the directory of in from the archive c. What is wrong with the
// archive is the cause, "" for nothing; the directory is then gone. The error
// is trouble with the disk.
func (l Layout) unpack(dir string, in Input, c *Content) (cause string, err error) {
	at := filepath.Join(dir, filepath.FromSlash(in.place()))
	if err := os.Mkdir(at, 0o777); err != nil {
		return "", err
	}
	if err := os.Chmod(at, 0o777); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return "", err
	}
	defer root.Close()
	how := l.Packaging[in.Ecosystem]
	u := newUnpacking(root)
	defer u.leave()
	u.skip, u.left = how.Skip, max(maxTree, maxRatio*c.Size)
	err = u.all(io.NewSectionReader(c, 0, c.Size))
	if err == nil && how.Finish != nil {
		for _, f := range how.Finish(in, u.files) {
			err = errors.Join(err, u.put(f.Path, 0o666, strings.NewReader(string(f.Data))))
		}
	}
	if bad, ok := errors.AsType[*archiveError](err); ok {
		return bad.text, os.RemoveAll(at)
	}
	return "", err
}

// newUnpacking starts an unpacking into a directory; leave ends it.
func newUnpacking(root *os.Root) *unpacking {
	return &unpacking{root: root, name: ".", made: map[string]bool{".": true}, hash: sha256.New(), buf: make([]byte, 64<<10)}
}

// archiveError says what is wrong with an archive, rather than with the disk.
type archiveError struct{ text string }

func (e *archiveError) Error() string { return e.text }

func badArchive(format string, args ...any) error {
	return &archiveError{"archive: " + fmt.Sprintf(format, args...)}
}

// all unpacks a whole archive.
func (u *unpacking) all(r io.Reader) error {
	z, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return badArchive("not gzip: %v", err)
	}
	z.Multistream(false)
	in := &bounds{r: z, left: u.left}
	t := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case in.spent:
			return badArchive("unpacks to more than %d MB", u.left>>20)
		case err == io.EOF:
			return nil
		case err != nil:
			return badArchive("not a tar file: %v", err)
		case n >= maxTreeFiles:
			return badArchive("more than %d entries", maxTreeFiles)
		}
		if err := u.entry(h, t); err != nil {
			if in.spent {
				return badArchive("unpacks to more than %d MB", u.left>>20)
			}
			return err
		}
	}
}

// entry unpacks one entry.
func (u *unpacking) entry(h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink, tar.TypeLink:
		return badArchive("%.200q is a link", h.Name)
	default:
		return badArchive("%.200q is neither a file nor a directory", h.Name)
	}
	name, err := u.local(h.Name)
	if err != nil || name == "." && h.Typeflag == tar.TypeDir {
		return err
	}
	if name == "." {
		return badArchive("%.200q is not in a directory", h.Name)
	}
	if u.skip != nil && u.skip(name) {
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		return u.mkdir(name)
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	mode := fs.FileMode(0o666)
	if h.Mode&0o111 != 0 {
		mode = 0o777
	}
	return u.put(name, mode, r)
}

// local is a name of the archive without the directory that all are below.
func (u *unpacking) local(name string) (string, error) {
	clean := strings.TrimSuffix(name, "/")
	if len(name) > maxTreePath || strings.ContainsAny(name, "\x00\\") || !fs.ValidPath(strings.TrimPrefix(clean, "./")) {
		return "", badArchive("%.200q: not a path inside it", name)
	}
	clean = strings.TrimPrefix(clean, "./")
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > maxTreeName {
			return "", badArchive("%.200q: too long a name", name)
		}
	}
	top, rest, _ := strings.Cut(clean, "/")
	switch {
	case clean == ".": // "./" of archives that begin with it
		return ".", nil
	case u.top == "":
		u.top = top
	case u.top != top:
		return "", badArchive("%.200q: not below %.200q, as the others are", name, u.top)
	}
	if rest == "" {
		return ".", nil
	}
	return rest, nil
}

// mkdir makes a directory and its parents, writable for all.
func (u *unpacking) mkdir(name string) error {
	if u.made[name] {
		return nil
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := u.root.Mkdir(name, 0o777); err != nil {
		return taken(name, err)
	}
	u.made[name] = true
	return u.root.Chmod(name, 0o777)
}

// enter is a directory that was made. Files of one directory follow one another
// in archives, and a root walks the whole path of each file that it opens.
func (u *unpacking) enter(name string) (*os.Root, error) {
	switch {
	case name == ".":
		return u.root, nil
	case name == u.name:
		return u.last, nil
	}
	u.leave()
	dir, err := u.root.OpenRoot(name)
	if err == nil {
		u.last, u.name = dir, name
	}
	return dir, err
}

// leave closes the directory that the last file went into.
func (u *unpacking) leave() {
	if u.last != nil {
		u.last.Close()
	}
	u.last, u.name = nil, "."
}

// put writes a file and takes note of it.
func (u *unpacking) put(name string, mode fs.FileMode, r io.Reader) error {
	dir, err := u.enter(path.Dir(name))
	if err != nil {
		return err
	}
	f, err := dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return taken(name, err)
	}
	u.hash.Reset()
	for {
		n, err := r.Read(u.buf)
		if n > 0 {
			u.hash.Write(u.buf[:n])
			if _, err := f.Write(u.buf[:n]); err != nil {
				return errors.Join(err, f.Close())
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			f.Close()
			return badArchive("%.200q: %v", name, err)
		}
	}
	u.files = append(u.files, Unpacked{name, Sum{SHA256, string(u.hash.Sum(nil))}})
	return errors.Join(f.Chmod(mode), f.Close())
}

// taken tells an archive that has something twice from trouble with the disk.
func taken(name string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return badArchive("%.200q is in it twice", name)
	}
	return err
}

// bounds ends a stream that grows too long.
type bounds struct {
	r     io.Reader
	left  int64
	spent bool
}

func (b *bounds) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.spent = true
		return 0, errors.New("too much")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
