package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A GitTree is the content of a commit and its submodules, for those who pick of
// it.
type GitTree struct {
	entries []GitEntry // in the order of the archive
	offsets []int64    // where in data a file begins
	byPath  map[string]int
	data    io.ReaderAt
}

// Picked is a file for the directory of an input: one of a GitTree, or one that
// is made up.
type Picked struct {
	Path    string // in the directory
	From    string // in the tree; "" for Data
	Data    []byte
	Program bool // of Data
}

// Entries are what is in the tree, in git's order.
func (t *GitTree) Entries() []GitEntry { return t.entries }

// Find is the entry at a path: a file, a link or a submodule.
func (t *GitTree) Find(name string) (GitEntry, bool) {
	i, ok := t.byPath[name]
	if !ok {
		return GitEntry{}, false
	}
	return t.entries[i], true
}

// maxLinks is how many links are followed one after the other.
const maxLinks = 40

// Resolve follows links, of directories as well, as far as they stay in the
// tree: the result is the path of a file, of a submodule, or of a directory.
func (t *GitTree) Resolve(name string) (string, bool) {
	return t.resolve(name, maxLinks)
}

func (t *GitTree) resolve(name string, left int) (string, bool) {
	at := "."
	rest := path.Clean(name)
	for rest != "" && rest != "." {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join(at, part)
		if next == ".." || strings.HasPrefix(next, "../") {
			return "", false
		}
		e, ok := t.Find(next)
		if ok && e.Mode == GitLink {
			to := path.Join(at, e.Link)
			if left == 0 || path.IsAbs(e.Link) || to == ".." || strings.HasPrefix(to, "../") {
				return "", false
			}
			return t.resolve(path.Join(to, rest), left-1)
		}
		at = next
	}
	return at, true
}

// ReadFile is the content of a file of at most limit bytes. The error is
// fs.ErrNotExist for what is no file.
func (t *GitTree) ReadFile(name string, limit int64) ([]byte, error) {
	i, ok := t.byPath[name]
	if !ok || t.entries[i].Mode == GitLink || t.entries[i].Mode == GitModule {
		return nil, fs.ErrNotExist
	}
	if t.entries[i].Size > limit {
		return nil, fmt.Errorf("larger than %d MB", limit>>20)
	}
	data := make([]byte, t.entries[i].Size)
	_, err := io.ReadFull(t.open(i), data)
	return data, err
}

func (t *GitTree) open(i int) io.Reader {
	return io.NewSectionReader(t.data, t.offsets[i], t.entries[i].Size)
}

// readGitTree reads an archive, with the bytes of its files into spool. What is
// wrong with the archive is an *archiveError.
func readGitTree(c *Content, want Sum, spool *os.File) (*GitTree, error) {
	t := &GitTree{byPath: map[string]int{}, data: spool}
	var trouble error
	at := int64(0)
	g, err := readGit(io.NewSectionReader(c, 0, c.Size), func(e GitEntry, content io.Reader) error {
		t.byPath[e.Path] = len(t.entries)
		t.entries = append(t.entries, e)
		t.offsets = append(t.offsets, at)
		if content == nil {
			return nil
		}
		n, err := io.Copy(diskWriter{spool, &trouble}, content)
		at += n
		return err
	})
	switch {
	case trouble != nil:
		return nil, trouble
	case err != nil:
		return nil, &archiveError{err.Error()}
	case g.id != want.Hex():
		return nil, &archiveError{fmt.Sprintf("of commit %s, want %s", g.id, want.Hex())}
	}
	return t, nil
}

// diskWriter tells trouble with the disk from trouble with what is written.
type diskWriter struct {
	io.Writer
	trouble *error
}

func (d diskWriter) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	if err != nil {
		*d.trouble = err
	}
	return n, err
}

// ReadGitArchive reads the archive of a commit, which must be the one that want
// is the id of, into memory.
func ReadGitArchive(r io.ReaderAt, size int64, want Sum) (*GitTree, error) {
	t := &GitTree{byPath: map[string]int{}}
	var all strings.Builder
	g, err := readGit(io.NewSectionReader(r, 0, size), func(e GitEntry, content io.Reader) error {
		t.byPath[e.Path] = len(t.entries)
		t.entries = append(t.entries, e)
		t.offsets = append(t.offsets, int64(all.Len()))
		if content == nil {
			return nil
		}
		_, err := io.Copy(&all, content)
		return err
	})
	if err != nil {
		return nil, err
	}
	if g.id != want.Hex() {
		return nil, fmt.Errorf("git archive: of commit %s, want %s", g.id, want.Hex())
	}
	t.data = strings.NewReader(all.String())
	return t, nil
}

// byCommit tells inputs that are checkouts, by their commit, from all others.
func byCommit(inputs []Input) (plain []Input, commits map[Sum][]Input) {
	commits = map[Sum][]Input{}
	for _, in := range inputs {
		if in.Form == Checkout {
			commits[in.Sum] = append(commits[in.Sum], in)
			continue
		}
		plain = append(plain, in)
	}
	return plain, commits
}

// commitChecks reads each commit once, however many inputs are of it.
type commitChecks struct {
	src  Source
	once sync.Map // Sum to func() *Problem
}

func (c *commitChecks) check(in Input) *Problem {
	once, _ := c.once.LoadOrStore(in.Sum, sync.OnceValue(func() *Problem {
		content, p := open(c.src, in)
		if content != nil {
			content.Close()
		}
		return p
	}))
	p := once.(func() *Problem)()
	if p == nil {
		return nil
	}
	own := in.Problem(p.Kind, p.Cause)
	return &own
}

// writeCommits writes the directories of inputs that are checkouts, reading each
// commit once.
func (l Layout) writeCommits(dir string, src Source, commits map[Sum][]Input) ([]Problem, error) {
	var mu sync.Mutex
	var problems []Problem
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for sum, inputs := range commits {
		g.Go(func() error {
			ps, err := l.writeCommit(dir, src, inputs)
			mu.Lock()
			defer mu.Unlock()
			problems = append(problems, ps...)
			if err != nil {
				return fmt.Errorf("commit %s: %w", sum.Hex(), err)
			}
			return nil
		})
	}
	err := g.Wait()
	return problems, err
}

// writeCommit writes the directories of inputs of one commit.
func (l Layout) writeCommit(dir string, src Source, inputs []Input) ([]Problem, error) {
	spool, err := os.CreateTemp(dir, ".git-")
	if err != nil {
		return nil, err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return nil, err
	}
	tree, p, err := openCommit(src, inputs[0], spool)
	if err != nil || tree == nil && p == nil {
		return nil, err
	}
	var problems []Problem
	picks := map[string]func(Input) ([]Picked, error){}
	for _, in := range inputs {
		if p != nil {
			problems = append(problems, in.Problem(p.Kind, p.Cause))
			continue
		}
		pick, known := picks[in.Ecosystem]
		if !known {
			pick = wholeTree(tree)
			if how := l.Packaging[in.Ecosystem].Pick; how != nil {
				pick = how(tree)
			}
			picks[in.Ecosystem] = pick
		}
		files, err := pick(in)
		if err != nil {
			problems = append(problems, in.Problem(Corrupt, err.Error()))
			continue
		}
		cause, err := l.checkOut(dir, in, files, tree)
		if err != nil {
			return nil, err
		}
		if cause != "" {
			problems = append(problems, in.Problem(Corrupt, cause))
		}
	}
	return problems, nil
}

// openCommit reads the commit of an input into spool, and checks it. Without a
// problem and an error, no tree means that there need not be one.
func openCommit(src Source, in Input, spool *os.File) (*GitTree, *Problem, error) {
	want := in.Sum
	if want.Algorithm() != Git {
		p := in.Problem(Corrupt, "not a commit")
		return nil, &p, nil
	}
	in.Sum = Sum{} // the commit is computed when it is read, below
	c, p := open(src, in)
	if c == nil {
		return nil, p, nil
	}
	defer c.Close()
	tree, err := readGitTree(c, want, spool)
	if bad, ok := errors.AsType[*archiveError](err); ok {
		p := in.Problem(Corrupt, "damaged in the cache: "+bad.text)
		return nil, &p, nil
	}
	return tree, nil, err
}

// checkOut makes the directory of one input from files. What is wrong with these
// is the cause, "" for nothing; there is then no directory.
func (l Layout) checkOut(dir string, in Input, files []Picked, tree *GitTree) (cause string, err error) {
	how := l.Packaging[in.Ecosystem]
	at := filepath.Join(dir, filepath.FromSlash(in.place()))
	if err := MkdirWorld(dir, in.place()); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return "", err
	}
	defer root.Close()
	u := newUnpacking(root)
	defer u.leave()
	for _, f := range files {
		if err = u.picked(f, tree); err != nil {
			break
		}
	}
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

// picked writes one file.
func (u *unpacking) picked(f Picked, tree *GitTree) error {
	if err := u.mkdir(path.Dir(f.Path)); err != nil {
		return err
	}
	if f.From == "" {
		mode := fs.FileMode(0o666)
		if f.Program {
			mode = 0o777
		}
		return u.put(f.Path, mode, strings.NewReader(string(f.Data)))
	}
	i, ok := tree.byPath[f.From]
	if !ok {
		return badArchive("%.200q is not in it", f.From)
	}
	switch tree.entries[i].Mode {
	case GitModule:
		return u.mkdir(f.Path)
	case GitLink:
		return taken(f.Path, u.root.Symlink(tree.entries[i].Link, f.Path))
	case GitProgram:
		return u.put(f.Path, 0o777, tree.open(i))
	}
	return u.put(f.Path, 0o666, tree.open(i))
}

// wholeTree picks all there is.
func wholeTree(tree *GitTree) func(Input) ([]Picked, error) {
	files := make([]Picked, len(tree.entries))
	for i, e := range tree.entries {
		files[i] = Picked{Path: e.Path, From: e.Path}
	}
	return func(Input) ([]Picked, error) { return files, nil }
}
