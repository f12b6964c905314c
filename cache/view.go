package cache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// PackFile is the name of the file in a view that holds the small blobs.
const PackFile = "pack"

// packLimit is the size below which a blob goes into the pack: go.mod files
// do, archives do not.
const packLimit = 16 << 10

// Place decides where in a view each blob of m is: small ones in the pack, in
// the order of the entries, equal ones once.
func (m *Manifest) Place() {
	m.Encode() // sorts
	at := map[Sum]int64{}
	next := int64(0)
	for i := range m.Entries {
		e := &m.Entries[i]
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

// View makes the deps context of m and returns its directory: dir, or a
// directory of the store named after m's content where dir is "". What is
// already right is left alone; the manifest is written last, so that a
// directory with a manifest is complete.
func (s *Store) View(m *Manifest, dir string) (string, error) {
	m.Place()
	text := m.Encode()
	if len(text) > maxManifest {
		return "", fmt.Errorf("%d inputs: the manifest would be larger than %d MB", len(m.Entries), maxManifest>>20)
	}
	if dir == "" {
		dir = s.path("views", SumBytes(text).Hex()[:32])
	} else if err := checkEmpty(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o755); err != nil {
		return "", err
	}
	if err := s.linkBlobs(m, dir); err != nil {
		return "", err
	}
	if err := s.writePack(m, filepath.Join(dir, PackFile)); err != nil {
		return "", err
	}
	path := filepath.Join(dir, ManifestFile)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(text) {
		return dir, nil
	}
	return dir, replace(dir, path, 0o644, writeBytes(text))
}

// linkBlobs gives the view a hard link of each larger blob, a copy where the
// view is on another file system, and drops files of former manifests.
func (s *Store) linkBlobs(m *Manifest, dir string) error {
	want := map[string]bool{}
	for _, e := range m.Entries {
		if e.Pack >= 0 {
			continue
		}
		name := e.Blob.Sum.Hex()
		if want[name] {
			continue
		}
		want[name] = true
		if err := link(s.Path(e.Blob), filepath.Join(dir, "blobs", name)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "blobs"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !want[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, "blobs", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// link makes dst the same file as src. A dst that is another file is replaced:
// it may be the damaged twin of a blob that was fetched again.
func link(src, dst string) error {
	from, err := os.Stat(src)
	if err != nil {
		return err
	}
	if to, err := os.Lstat(dst); err == nil {
		if os.SameFile(from, to) {
			return nil
		}
		if err := os.Remove(dst); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Link(src, dst); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	return copyFile(src, dst)
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return replace(filepath.Dir(dst), dst, 0o444, func(out *os.File) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// writePack writes the pack of m, unless it is there with the right length.
func (s *Store) writePack(m *Manifest, path string) error {
	size := int64(0)
	for _, e := range m.Entries {
		if e.Pack >= 0 {
			size = max(size, e.Pack+e.Blob.Size)
		}
	}
	if info, err := os.Stat(path); err == nil && info.Size() == size && s.packIsGood(m, path) {
		return nil
	}
	return replace(filepath.Dir(path), path, 0o444, func(out *os.File) error {
		for _, e := range m.Entries {
			if e.Pack < 0 {
				continue
			}
			data, err := os.ReadFile(s.Path(e.Blob))
			if err != nil {
				return err
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
func (s *Store) packIsGood(m *Manifest, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, e := range m.Entries {
		if e.Pack >= 0 && e.Blob.Sum.Check(io.NewSectionReader(f, e.Pack, e.Blob.Size), e.Blob.Size) != nil {
			return false
		}
	}
	return true
}

// checkEmpty refuses a directory that holds something else: a view deletes
// what it does not know.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, ManifestFile)); err != nil {
		return fmt.Errorf("%s: not empty, and not a deps context that may be replaced", dir)
	}
	return nil
}

// replace makes path hold what write writes, by one rename; the temporary file
// is in tmp, which must be on the same file system.
func replace(tmp, path string, mode os.FileMode, write func(*os.File) error) error {
	f, err := os.CreateTemp(tmp, ".new-")
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
