package cache

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tmpAge is how old a leftover in tmp/ must be before Open removes it: longer
// than any download may take.
const tmpAge = 24 * time.Hour

// A Store is a content-addressed directory of verified blobs. Any number of
// processes on one machine may share it, and each may be killed at any moment:
// a blob appears under its name by one rename, complete and checked, and an
// index line appears after the blob it points to. Network file systems
// without atomic rename are not supported.
type Store struct{ dir string }

// Open makes dir a store if it is none yet, and sweeps what killed processes
// left in it more than a day ago.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{abs}
	for _, d := range []string{"blobs/sha256", "index", "views", "tmp"} {
		if err := os.MkdirAll(s.path(d), 0o755); err != nil {
			return nil, err
		}
	}
	sweep(s.path("tmp"), "", time.Now())
	return s, nil
}

// DefaultDir is where the store of a user is: $XDG_CACHE_HOME/hermetic, else
// ~/.cache/hermetic (XDG Base Directory Specification).
func DefaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %v", err)
	}
	return filepath.Join(base, "hermetic"), nil
}

// Dir is the store's absolute path.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// sweep removes what begins with prefix in dir and is older than tmpAge.
func sweep(dir, prefix string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // an unreadable directory shows itself at the first write
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > tmpAge {
			os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// Path is the file of b, whether or not it is there.
func (s *Store) Path(b Blob) string {
	h := b.Sum.Hex()
	return s.path("blobs", "sha256", h[:2], h)
}

func (s *Store) indexPath(sum Sum) string {
	h := sum.Hex()
	return s.path("index", string(sum.Algorithm()), h[:2], h)
}

// Lookup tells which blob has the sum, if the store holds it whole. It trusts
// file sizes; Verify reads the bytes.
func (s *Store) Lookup(sum Sum) (Blob, bool) {
	if sum.IsZero() {
		return Blob{}, false
	}
	data, err := readSmall(s.indexPath(sum))
	if err != nil {
		return Blob{}, false
	}
	return s.parseIndex(string(data))
}

// parseIndex reads an index line and checks that its blob is there. A line
// that is damaged counts as absent: the blob is then fetched again.
func (s *Store) parseIndex(line string) (Blob, bool) {
	text, size, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if !ok {
		return Blob{}, false
	}
	sum, err := ParseSum(text)
	n, err2 := strconv.ParseInt(size, 10, 64)
	if err != nil || err2 != nil || sum.Algorithm() != SHA256 {
		return Blob{}, false
	}
	b := Blob{sum, n}
	info, err := os.Lstat(s.Path(b))
	if err != nil || !info.Mode().IsRegular() || info.Size() != n {
		return Blob{}, false
	}
	return b, true
}

// Verify reads the blob of sum, and removes it where its bytes are not what
// its name says; an index line that leads to the wrong blob is removed alone.
// It tells whether the store now holds a good one.
func (s *Store) Verify(sum Sum) bool {
	b, ok := s.Lookup(sum)
	if !ok {
		return false
	}
	f, err := os.Open(s.Path(b))
	if err != nil {
		return false
	}
	defer f.Close()
	whole := b.Sum.Check(f, b.Size) == nil
	if whole && sum.Check(f, b.Size) == nil {
		return true
	}
	os.Remove(s.indexPath(sum))
	if !whole {
		os.Remove(s.Path(b))
	}
	return false
}

// TempDir is a new directory for the caller to work in and to remove. What a
// killed process leaves of it is swept a day later.
func (s *Store) TempDir() (string, error) { return os.MkdirTemp(s.path("tmp"), "work-") }

// A Draft is a blob on its way into the store. It is in nobody's sight until
// Commit; Close without Commit discards it.
type Draft struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
}

// Create starts a draft.
func (s *Store) Create() (*Draft, error) {
	f, err := os.CreateTemp(s.path("tmp"), "draft-")
	if err != nil {
		return nil, err
	}
	return &Draft{store: s, file: f, hash: sha256.New()}, nil
}

// Write appends to the draft.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.file.Write(p)
	d.hash.Write(p[:n])
	d.size += int64(n)
	return n, err
}

// ReadAt reads back what was written.
func (d *Draft) ReadAt(p []byte, off int64) (int, error) { return d.file.ReadAt(p, off) }

// Size is the number of bytes written so far.
func (d *Draft) Size() int64 { return d.size }

// Reset discards what was written, for another try.
func (d *Draft) Reset() error {
	d.hash.Reset()
	d.size = 0
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return d.file.Truncate(0)
}

// Commit checks the draft against sum and puts it into the store under it; a
// zero sum is kept by content alone. A content that is not what sum promises
// is a *MismatchError, and the store is as it was.
func (d *Draft) Commit(sum Sum) (Blob, error) {
	b := Blob{Sum{SHA256, string(d.hash.Sum(nil))}, d.size}
	if sum.Algorithm() == SHA256 && sum != b.Sum {
		return Blob{}, &MismatchError{Want: sum, Got: b.Sum}
	}
	if !sum.IsZero() && sum.Algorithm() != SHA256 {
		if err := sum.Check(d.file, d.size); err != nil {
			return Blob{}, err
		}
	}
	if err := d.file.Chmod(0o444); err != nil {
		return Blob{}, err
	}
	path := d.store.Path(b)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Blob{}, err
	}
	if err := os.Rename(d.file.Name(), path); err != nil {
		return Blob{}, err
	}
	if sum.IsZero() {
		return b, nil
	}
	line := fmt.Sprintf("%s %d\n", b.Sum, b.Size)
	return b, d.store.writeAtomic(d.store.indexPath(sum), []byte(line))
}

// Close ends the draft; what was not committed is gone.
func (d *Draft) Close() error {
	err := d.file.Close()
	if rm := os.Remove(d.file.Name()); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		return rm
	}
	return err
}

// Put stores data under sum; see Draft.Commit.
func (s *Store) Put(sum Sum, data []byte) (Blob, error) {
	d, err := s.Create()
	if err != nil {
		return Blob{}, err
	}
	defer d.Close()
	if _, err := d.Write(data); err != nil {
		return Blob{}, err
	}
	return d.Commit(sum)
}

// writeAtomic makes the file path hold data, all of it or nothing.
func (s *Store) writeAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replace(s.path("tmp"), path, 0o644, writeBytes(data))
}

// ReadNote reads a small named record, "sumdb/…" or the like; the error is
// fs.ErrNotExist where there is none. Names must be local paths.
func (s *Store) ReadNote(name string) ([]byte, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%q: not a local name", name)
	}
	return readSmall(s.path(filepath.FromSlash(name)))
}

// WriteNote replaces a small named record in one step.
func (s *Store) WriteNote(name string, data []byte) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q: not a local name", name)
	}
	return s.writeAtomic(s.path(filepath.FromSlash(name)), data)
}
