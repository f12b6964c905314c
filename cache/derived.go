package cache

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// A Derived is a lockfile that nobody sees before an input is there, as it lies
// in it: the Cargo.lock of a Python source distribution. The manifest has its
// text, so that plans need not open archives; whoever lays inputs out compares
// the two (CheckDerived).
type Derived struct {
	ID          // of the archive
	File string // where in it, slash-separated
	Text string
}

// Compare sorts by archive, then by file.
func (d Derived) Compare(o Derived) int {
	if c := d.ID.Compare(o.ID); c != 0 {
		return c
	}
	return strings.Compare(d.File, o.File)
}

// maxMember bounds the files that are read out of an archive, maxMembers all of
// them.
const (
	maxMember  = 16 << 20
	maxMembers = 64 << 20
)

// ReadMembers reads the regular files of a source archive whose names are
// wanted; name is what the archive is called, and says of which format it is:
// .tar.gz, .tgz or .zip. What is larger than a lockfile may be is left out. An
// archive that unpacks to more than any may, or is none, is an error.
func ReadMembers(name string, c *Content, wanted func(name string) bool) (map[string]string, error) {
	if strings.HasSuffix(name, ".zip") {
		return zipMembers(c, wanted)
	}
	z, err := gzip.NewReader(bufio.NewReaderSize(io.NewSectionReader(c, 0, c.Size), 64<<10))
	if err != nil {
		return nil, badArchive("not gzip: %v", err)
	}
	in := &bounds{r: z, left: max(maxTree, maxRatio*c.Size)}
	t := tar.NewReader(in)
	out := map[string]string{}
	size := 0
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, badArchive("not a tar file: %v", err)
		case n >= maxTreeFiles:
			return nil, badArchive("more than %d entries", maxTreeFiles)
		}
		member := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || h.Size > maxMember || !isMember(member) || !wanted(member) {
			continue
		}
		text, err := io.ReadAll(t)
		if err != nil {
			return nil, badArchive("%.200q: %v", member, err)
		}
		if size += len(text); size > maxMembers {
			return nil, badArchive("lockfiles and manifests of more than %d MB", maxMembers>>20)
		}
		out[member] = string(text)
	}
}

func zipMembers(c *Content, wanted func(name string) bool) (map[string]string, error) {
	z, err := zip.NewReader(c, c.Size)
	if err != nil {
		return nil, badArchive("not a zip file: %v", err)
	}
	if len(z.File) > maxTreeFiles {
		return nil, badArchive("more than %d entries", maxTreeFiles)
	}
	out := map[string]string{}
	size := 0
	for _, f := range z.File {
		member := path.Clean(f.Name)
		if !f.Mode().IsRegular() || f.UncompressedSize64 > maxMember || !isMember(member) || !wanted(member) {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return nil, badArchive("%.200q: %v", member, err)
		}
		text, err := io.ReadAll(io.LimitReader(r, maxMember))
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, badArchive("%.200q: %v", member, err)
		}
		if size += len(text); size > maxMembers {
			return nil, badArchive("lockfiles and manifests of more than %d MB", maxMembers>>20)
		}
		out[member] = string(text)
	}
	return out, nil
}

// isMember tells whether a clean name is that of a file below the archive's root,
// which is no file itself whatever the archive says.
func isMember(name string) bool {
	return fs.ValidPath(name) && name != "."
}

// CheckDerived compares what a manifest says of lockfiles inside of archives with
// the archives, which are read from src and checked as well.
func CheckDerived(src Source, archives []Input, derived []Derived) []Problem {
	return eachInput(archives, func(in Input) *Problem {
		said := map[string]string{}
		for _, d := range derived {
			if d.ID == in.ID() {
				said[d.File] = d.Text
			}
		}
		if len(said) == 0 {
			return nil
		}
		c, p := open(src, in)
		if c == nil {
			return p
		}
		defer c.Close()
		has, err := ReadMembers(in.Path, c, func(name string) bool { _, ok := said[name]; return ok })
		if err != nil {
			bad := in.Problem(Corrupt, cause(err))
			return &bad
		}
		for name, text := range said {
			if has[name] != text {
				bad := in.Problem(Corrupt, "its "+path.Base(name)+" is not the one that the cache has")
				return &bad
			}
		}
		return nil
	})
}
