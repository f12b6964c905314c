package ocitar

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is one filesystem layer, read from its source when it is written. It is
// compressed with gzip unless [Layer.Uncompressed] says otherwise.
type Layer struct {
	name  string
	plain bool
	write func(io.Writer) error
}

// Uncompressed returns the same layer stored as a plain tar: larger, but much
// cheaper to write and unpack, which is what a big base on the same machine wants.
func (l Layer) Uncompressed() Layer {
	l.plain = true
	return l
}

// File is one entry of a layer made by [Files]. Its time is always 1970-01-01.
type File struct {
	// Name is the slash-separated path below the root, without a leading slash.
	Name string
	// Mode holds permissions, the setuid, setgid and sticky bits, and the type:
	// fs.ModeDir, fs.ModeSymlink, or none for a regular file.
	Mode fs.FileMode
	// Data is the content of a regular file, unless Source names a file on disk.
	Data   []byte
	Source string
	// Target is where a symbolic link points.
	Target   string
	UID, GID int
}

// Files returns a layer of the given files, sorted by name. Parent directories
// that are not listed are made with mode 0755, owned by root.
func Files(files ...File) Layer {
	return Layer{name: "files", write: func(w io.Writer) error {
		entries, err := withParents(files)
		if err != nil {
			return err
		}
		tw := tar.NewWriter(w)
		for _, f := range entries {
			if err := addFile(tw, f); err != nil {
				return err
			}
		}
		return tw.Close()
	}}
}

// TreeOptions say how [Tree] maps a directory into a layer.
type TreeOptions struct {
	// At is the slash-separated directory of the image that the tree becomes,
	// without a leading slash; "" is the root.
	At string
	// Skip leaves out the entry at the slash-separated path below the tree's
	// root, with everything below it. It must depend on its argument alone.
	Skip func(name string) bool
}

// Tree returns a layer of the directory dir: its regular files, directories and
// symbolic links with their permissions; everything else about them (times,
// owners, hard links) is dropped. A file of any other type is an error.
func Tree(dir string, opts TreeOptions) Layer {
	return Layer{name: "tree " + opts.At, write: func(w io.Writer) error {
		files, err := walk(dir, opts)
		if err != nil {
			return err
		}
		return Files(files...).write(w)
	}}
}

// Tarball returns a layer that is the uncompressed tar file at path, byte for byte.
func Tarball(path string) Layer {
	return Layer{name: "tarball", write: func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}}
}

func walk(dir string, opts TreeOptions) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(source string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, source)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel == "." {
			return nil
		}
		if opts.Skip != nil && opts.Skip(rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Name: path.Join(opts.At, rel), Mode: info.Mode(), Source: source}
		if info.Mode()&fs.ModeSymlink != 0 {
			f.Target, err = os.Readlink(source)
		}
		files = append(files, f)
		return err
	})
	return files, err
}

// withParents sorts files by path and adds the directories that lead to them, so
// that an unpacker never has to invent one with the time of day.
func withParents(files []File) ([]File, error) {
	seen := map[string]bool{}
	for _, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." {
			return nil, fmt.Errorf("%q: not a clean path below the root", f.Name)
		}
		if seen[f.Name] {
			return nil, fmt.Errorf("%s: listed twice", f.Name)
		}
		seen[f.Name] = true
	}
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(f.Name); dir != "." && !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, File{Name: dir, Mode: fs.ModeDir | 0o755})
		}
	}
	slices.SortFunc(all, func(a, b File) int {
		return slices.CompareFunc(strings.Split(a.Name, "/"), strings.Split(b.Name, "/"), cmp.Compare)
	})
	return all, nil
}

// addFile writes one entry. USTAR is asked for where it can hold the entry, for
// it has no place for anything but what is set here.
func addFile(tw *tar.Writer, f File) error {
	hdr := &tar.Header{
		Name:    f.Name,
		Mode:    int64(f.Mode.Perm()) | special(f.Mode),
		ModTime: epoch,
		Uid:     f.UID,
		Gid:     f.GID,
	}
	switch f.Mode.Type() {
	case fs.ModeDir:
		hdr.Typeflag = tar.TypeDir
		hdr.Name += "/"
	case fs.ModeSymlink:
		hdr.Typeflag = tar.TypeSymlink
		hdr.Linkname = f.Target
		hdr.Mode = 0o777
	case 0:
		return addRegular(tw, hdr, f)
	default:
		return fmt.Errorf("%s: unsupported file type %s", f.Name, f.Mode.Type())
	}
	return tw.WriteHeader(hdr)
}

func addRegular(tw *tar.Writer, hdr *tar.Header, f File) error {
	hdr.Typeflag = tar.TypeReg
	if f.Source == "" {
		hdr.Size = int64(len(f.Data))
		if err := tw.WriteHeader(hdr); err != nil {
			return err
		}
		_, err := tw.Write(f.Data)
		return err
	}
	src, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	hdr.Size = info.Size()
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, src, hdr.Size); err != nil {
		return fmt.Errorf("%s: changed while it was read: %w", f.Source, err)
	}
	return nil
}

// special returns the mode bits above the permissions as tar stores them.
func special(m fs.FileMode) int64 {
	var bits int64
	for _, b := range []struct {
		mode fs.FileMode
		bit  int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// writeLayer stores a layer as a blob; the returned digest is that of its plain tar.
func (l layout) writeLayer(layer Layer) (ocispec.Descriptor, digest.Digest, error) {
	f, err := os.CreateTemp(string(l), ".blob-*")
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	blob, diff := digest.SHA256.Digester(), digest.SHA256.Digester()
	size := new(counter)
	stored := io.MultiWriter(f, blob.Hash(), size)
	mediaType := ocispec.MediaTypeImageLayer
	if layer.plain {
		diff = blob
		err = layer.write(stored)
	} else {
		mediaType = ocispec.MediaTypeImageLayerGzip
		// A gzip.Writer left alone writes a header without name or time.
		zw := gzip.NewWriter(stored)
		if err = layer.write(io.MultiWriter(zw, diff.Hash())); err == nil {
			err = zw.Close()
		}
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: blob.Digest(), Size: int64(*size)}
	return desc, diff.Digest(), os.Rename(f.Name(), l.blob(desc.Digest))
}

// counter is an io.Writer that counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
