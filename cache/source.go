package cache

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// View is the Source of a deps context that Store.View made, or of whatever
// calls itself one: nothing in it is trusted before it is checked.
type View struct {
	manifest *Manifest
	parts    map[string]*part // by ecosystem
}

// part is what a view has for one ecosystem.
type part struct {
	root    *os.Root
	err     error // why there is no part, or no pack
	pack    *os.File
	packErr error
}

// OpenView opens the view in dir; m says what it should hold.
func OpenView(dir string, m *Manifest) (*View, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	v := &View{manifest: m, parts: map[string]*part{}}
	for name := range m.parts() {
		sub, err := root.OpenRoot(name)
		v.parts[name] = openPart(sub, err)
	}
	return v, nil
}

// openPart takes a directory that may not be there: each input that should be in
// it is then missed, and so it is with the pack.
func openPart(root *os.Root, err error) *part {
	p := &part{root: root, err: err}
	if err == nil {
		p.pack, p.packErr = openRegular(root, PackFile)
	}
	return p
}

// Close releases the directory.
func (v *View) Close() error {
	var errs []error
	for _, p := range v.parts {
		if p.pack != nil {
			p.pack.Close()
		}
		if p.err == nil {
			errs = append(errs, p.root.Close())
		}
	}
	return errors.Join(errs...)
}

// Open implements Source.
func (v *View) Open(in Input) (*Content, error) {
	e, ok := v.manifest.Find(in.ID())
	p := v.parts[in.Ecosystem]
	if !ok || p == nil {
		return nil, fs.ErrNotExist
	}
	if p.err != nil {
		return nil, p.err
	}
	if e.Pack < 0 {
		f, err := openRegular(p.root, e.nameInPart())
		if err != nil {
			return nil, err
		}
		return fileContent(f, e.Blob.Sum)
	}
	if p.packErr != nil {
		return nil, p.packErr
	}
	return &Content{io.NewSectionReader(p.pack, e.Pack, e.Blob.Size), io.NopCloser(nil), e.Blob.Size, e.Blob.Sum}, nil
}

// Tree is the Source of an output directory as Hermeto lays it out: inputs are
// where the package manager looks. OpenTree makes one.
type Tree struct{ root *os.Root }

// OpenTree opens the output directory dir.
func OpenTree(dir string) (Tree, error) {
	root, err := os.OpenRoot(dir)
	return Tree{root}, err
}

// Close releases the directory.
func (t Tree) Close() error { return t.root.Close() }

// Open implements Source.
func (t Tree) Open(in Input) (*Content, error) {
	if in.Path == "" { // an Alternative: no manifest says what it is called here
		return nil, fs.ErrNotExist
	}
	f, err := openRegular(t.root, in.place())
	if errors.Is(err, fs.ErrNotExist) && in.Elsewhere != "" {
		in.Path = in.Elsewhere
		f, err = openRegular(t.root, in.place())
	}
	if err != nil {
		return nil, err
	}
	return fileContent(f, Sum{})
}

// checkUnpacked checks the directory of an input that is an archive elsewhere.
func (t Tree) checkUnpacked(in Input, check func(Input, fs.FS) error) *Problem {
	var p Problem
	dir, err := t.root.OpenRoot(filepath.FromSlash(in.place()))
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && in.Need != Required:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		p = in.Problem(Missing, "not in the cache")
		return &p
	default:
		p = in.Problem(Corrupt, "damaged in the cache: "+cause(err))
		return &p
	}
	defer dir.Close()
	if check == nil {
		err = errors.New("unpacked, so that nothing tells what it is")
	} else {
		err = check(in, dir.FS())
	}
	if err == nil {
		return nil
	}
	p = in.Problem(Corrupt, "damaged in the cache: "+cause(err))
	return &p
}

// openRegular opens a file below root; a device, a pipe or a directory in its
// place is an error before anything is read from it.
func openRegular(root *os.Root, name string) (*os.File, error) {
	name = filepath.FromSlash(name)
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return root.Open(name)
}

func fileContent(f *os.File, blob Sum) (*Content, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Content{f, f, info.Size(), blob}, nil
}

// CopyTree copies the output directory src to the directory dst, with the modes
// and times of a Layout. What is at or below the paths of except is left out.
// dst has nothing but directories. What has no place in a cache becomes a
// problem and is left out: devices, pipes, links that lead outside. The source
// of problems is named relative to src.
func CopyTree(dst, src string, except ...string) ([]Problem, error) {
	root, err := os.OpenRoot(src)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	c := &treeCopy{root: root, dst: dst, except: except}
	if err := c.entry("."); err != nil {
		return nil, err
	}
	return SortProblems(c.problems), fixTimes(dst)
}

// treeCopy is a CopyTree under way. Names are slash-separated.
type treeCopy struct {
	root     *os.Root
	dst      string
	except   []string
	problems []Problem
}

// entry copies one entry and all that is below it.
func (c *treeCopy) entry(name string) error {
	if slices.Contains(c.except, name) {
		return nil
	}
	cause, err := copyEntry(c.root, name, filepath.Join(c.dst, filepath.FromSlash(name)))
	if cause != "" {
		c.problems = append(c.problems, Problem{Kind: Corrupt, Subject: path.Join("deps context", name), Cause: cause})
	}
	if err != nil || cause != "" {
		return err
	}
	info, err := c.root.Lstat(name)
	if err != nil || !info.IsDir() {
		return err
	}
	f, err := c.root.Open(name)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.entry(path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// escapes tells whether a link leads outside by way of other links. One that
// leads nowhere does not.
func escapes(root *os.Root, name string) bool {
	_, err := root.Stat(name)
	return err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ELOOP)
}

// copyEntry copies one entry of root to the path to. The cause tells why it
// was left out.
func copyEntry(root *os.Root, name, to string) (cause string, err error) {
	info, err := root.Lstat(name)
	if err != nil {
		return "", err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if name == "." {
			return "", os.Chmod(to, 0o777)
		}
		if err := os.Mkdir(to, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		return "", os.Chmod(to, 0o777)
	case fs.ModeSymlink:
		target, err := root.Readlink(name)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(name), target)) || escapes(root, name) {
			return "a link that leads outside", nil
		}
		return "", os.Symlink(target, to)
	case 0:
		f, err := root.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		c, err := fileContent(f, Sum{})
		if err != nil {
			return "", err
		}
		err = writeContent(to, c)
		if err == nil && info.Mode()&0o111 != 0 {
			err = os.Chmod(to, 0o777) // scripts in vendored sources stay runnable
		}
		return "", err
	}
	return "neither a file, a directory nor a link", nil
}
