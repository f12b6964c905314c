package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a view holds for one ecosystem, in a directory of its type: BuildKit can
// then show a step the part of one ecosystem, and knows that it has not changed
// when another has.
const (
	// PackFile is the name of the file that holds the small blobs.
	PackFile = "pack"
	// blobsDir has the others, named by their sha256.
	blobsDir = "blobs/sha256"
)

// BlobName is where in a view the blob of e is, slash-separated: its own file,
// or the pack that it is in.
func (e Entry) BlobName() string { return path.Join(e.Ecosystem, e.nameInPart()) }

// nameInPart is the same, relative to the directory of the ecosystem.
func (e Entry) nameInPart() string {
	if e.Pack >= 0 {
		return PackFile
	}
	return path.Join(blobsDir, e.Blob.Sum.Hex())
}

// packLimit is the size below which a blob goes into the pack: go.mod files and
// small archives do. A build that has nothing to do looks at each file of its
// contexts.
const packLimit = 64 << 10

// Place decides where in a view each blob of m is: small ones in the pack of
// their ecosystem, in the order of the entries, equal ones once.
func (m *Manifest) Place() {
	m.Encode() // sorts
	var at map[Sum]int64
	next := int64(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		if i == 0 || e.Ecosystem != m.Entries[i-1].Ecosystem {
			at, next = map[Sum]int64{}, 0
		}
		if e.Blob.Size >= packLimit {
			e.Pack = -1
			continue
		}
		off, have := at[e.Blob.Sum]
		if !have {
			off, at[e.Blob.Sum] = next, next
			next += e.Blob.Size
		}
		e.Pack = off
	}
}

// parts are the entries of each ecosystem; m is sorted.
func (m *Manifest) parts() map[string][]Entry {
	parts := map[string][]Entry{}
	for _, e := range m.Entries {
		parts[e.Ecosystem] = append(parts[e.Ecosystem], e)
	}
	return parts
}

// tmpPrefix begins the names of files that are being written.
const tmpPrefix = ".new-"

// viewDir is a view that is being made.
type viewDir struct {
	store *Store
	m     *Manifest
	dir   string
	tmp   string // where files are written, on the file system of dir
}

// View makes the deps context of m and returns its directory: dir, or a
// directory of the store named after m's content where dir is "". What is
// already right is left alone, what is damaged is made anew from the store. The
// manifest is written last, so that a directory with a manifest is complete.
// A dir that holds anything but a view is refused.
func (s *Store) View(m *Manifest, dir string) (string, error) {
	m.Place()
	text := m.Encode()
	if len(text) > maxManifest {
		return "", fmt.Errorf("%d inputs: the manifest would be larger than %d MB", len(m.Entries), maxManifest>>20)
	}
	for _, e := range m.Entries {
		if !ecosystemName.MatchString(e.Ecosystem) {
			return "", fmt.Errorf("ecosystem %q: not a package type", clip(e.Ecosystem))
		}
	}
	v := &viewDir{store: s, m: m, dir: dir, tmp: dir}
	if dir == "" {
		v.dir, v.tmp = s.path("views", SumBytes(text).Hex()[:32]), s.path("tmp")
	} else if err := checkReplaceable(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(v.dir, 0o755); err != nil {
		return "", err
	}
	sweep(v.dir, tmpPrefix, time.Now())
	return v.dir, v.write(text)
}

func (v *viewDir) write(text []byte) error {
	path := filepath.Join(v.dir, ManifestFile)
	have, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(have, text) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	parts := v.m.parts()
	if err := v.dropParts(parts); err != nil {
		return err
	}
	for name, entries := range parts {
		p := viewPart{v, filepath.Join(v.dir, name), entries}
		if err := errors.Join(p.linkBlobs(), p.writePack()); err != nil {
			return err
		}
	}
	if bytes.Equal(have, text) {
		return nil
	}
	return replace(v.tmp, path, 0o644, writeBytes(text))
}

// dropParts deletes the parts of ecosystems that the manifest does not have any
// more.
func (v *viewDir) dropParts(keep map[string][]Entry) error {
	names, err := readNames(v.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		dir := filepath.Join(v.dir, n)
		if _, ok := keep[n]; ok || !isPart(dir) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// viewPart is what a view holds for one ecosystem.
type viewPart struct {
	*viewDir
	dir     string
	entries []Entry
}

// linkBlobs gives the view a hard link of each larger blob, a copy where the
// view is on another file system, and drops files of former manifests.
func (v viewPart) linkBlobs() error {
	blobs := filepath.Join(v.dir, filepath.FromSlash(blobsDir))
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	want := map[string]bool{}
	for _, e := range v.entries {
		if e.Pack >= 0 {
			continue
		}
		name := e.Blob.Sum.Hex()
		if want[name] {
			continue
		}
		want[name] = true
		if err := v.link(e.Blob, filepath.Join(blobs, name)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !want[e.Name()] {
			if err := os.RemoveAll(filepath.Join(blobs, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// link makes dst the file of b, by one rename. A dst that is another file is
// replaced: it may be the damaged twin of a blob that was fetched again.
func (v *viewDir) link(b Blob, dst string) error {
	src := v.store.Path(b)
	from, err := os.Stat(src)
	if err != nil {
		return err
	}
	to, err := os.Lstat(dst)
	if err == nil && os.SameFile(from, to) {
		return nil
	}
	if err == nil && to.IsDir() {
		if err := os.RemoveAll(dst); err != nil {
			return err
		}
	}
	tmp := filepath.Join(v.tmp, tmpPrefix+strconv.FormatUint(rand.Uint64(), 36))
	if os.Link(src, tmp) != nil {
		return v.copy(b, dst)
	}
	err = os.Rename(tmp, dst)
	os.Remove(tmp) // is still there if dst had become the same file meanwhile
	return err
}

// copy makes dst a copy of b, unless it is one.
func (v *viewDir) copy(b Blob, dst string) error {
	if isBlob(dst, b) {
		return nil
	}
	in, err := os.Open(v.store.Path(b))
	if err != nil {
		return err
	}
	defer in.Close()
	return replace(v.tmp, dst, 0o444, func(out *os.File) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// isBlob tells whether the file has the content of b.
func isBlob(name string, b Blob) bool {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != b.Size {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return b.Sum.Check(f, b.Size) == nil
}

// writePack writes the pack, unless it is there and good, or nothing is in it.
func (v viewPart) writePack() error {
	path := filepath.Join(v.dir, PackFile)
	size := int64(0)
	packed := false
	for _, e := range v.entries {
		if e.Pack >= 0 {
			packed, size = true, max(size, e.Pack+e.Blob.Size)
		}
	}
	if !packed {
		return os.RemoveAll(path)
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().IsRegular() && info.Size() == size && v.packIsGood(path) {
		return nil
	}
	return replace(v.tmp, path, 0o444, func(out *os.File) error {
		for _, e := range v.entries {
			if e.Pack < 0 {
				continue
			}
			data, err := os.ReadFile(v.store.Path(e.Blob))
			if err != nil {
				return err
			}
			if int64(len(data)) != e.Blob.Size {
				return fmt.Errorf("%s: %d bytes, want %d", v.store.Path(e.Blob), len(data), e.Blob.Size)
			}
			if _, err := out.WriteAt(data, e.Pack); err != nil {
				return err
			}
		}
		return nil
	})
}

// packIsGood reads the pack: it is small, and a flipped bit in it would
// otherwise survive every prefetch.
func (v viewPart) packIsGood(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, e := range v.entries {
		if e.Pack >= 0 && e.Blob.Sum.Check(io.NewSectionReader(f, e.Pack, e.Blob.Size), e.Blob.Size) != nil {
			return false
		}
	}
	return true
}

// checkReplaceable refuses a directory that holds something else: a view
// deletes what it does not know. One without a manifest is a view that a
// killed process left unfinished, if it holds nothing but parts of one.
func checkReplaceable(dir string) error {
	names, err := readNames(dir)
	if err != nil || slices.Contains(names, ManifestFile) {
		return err
	}
	for _, n := range names {
		if !strings.HasPrefix(n, tmpPrefix) && !isPart(filepath.Join(dir, n)) {
			return fmt.Errorf("%s: not empty, and not a deps context that may be replaced", dir)
		}
	}
	return nil
}

// isPart tells whether a directory holds something, and nothing but what views
// hold for an ecosystem. Its blobs may be damaged in any way.
func isPart(dir string) bool {
	holds := func(dir string, name func(string) bool) bool {
		names, err := readNames(dir)
		return err == nil && !slices.ContainsFunc(names, func(n string) bool { return !name(n) })
	}
	blobs := filepath.Join(dir, filepath.FromSlash(blobsDir))
	names, err := readNames(dir)
	return err == nil && len(names) > 0 &&
		holds(dir, func(n string) bool {
			return n == path.Dir(blobsDir) || n == PackFile || strings.HasPrefix(n, tmpPrefix)
		}) &&
		holds(filepath.Dir(blobs), func(n string) bool { return n == path.Base(blobsDir) }) &&
		holds(blobs, blobName.MatchString)
}

// ecosystemName matches what may be a package type, and a directory of a view.
var ecosystemName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// blobName matches names in blobsDir.
var blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readNames lists a directory; one that is not there has nothing in it.
func readNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// replace makes path hold what write writes, by one rename; the temporary file
// is in tmp, which must be on the same file system.
func replace(tmp, path string, mode os.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(tmp, tmpPrefix)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// writeBytes is a write function for replace.
func writeBytes(data []byte) func(*os.File) error {
	return func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}
}
