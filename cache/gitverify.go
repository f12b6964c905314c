package cache

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/pjbgf/sha1cd"
)

// gitSum is the id of the commit that size bytes of r are the archive of. Every
// object between the files and the commit is made again; an archive that is not
// bit for bit what a GitWriter makes of the commit has no sum, so that no two
// readers of tar files can see different things in it.
func gitSum(r io.ReaderAt, size int64) (Sum, error) {
	g, err := readGit(io.NewSectionReader(r, 0, size), nil)
	if err != nil {
		return Sum{}, err
	}
	raw, _ := hex.DecodeString(g.id) // an id is hex
	return Sum{Git, string(raw)}, nil
}

// A gitReader reads the archive of a commit.
type gitReader struct {
	raw   *checker
	tar   *tar.Reader
	out   *GitWriter // writes the same again, into raw
	visit func(GitEntry, io.Reader) error
	left  int64
	id    string
	wide  bool // ids are of sha256
	root  *gitNode
	order []*gitNode
	buf   []byte
}

// A gitNode is an entry of a tree: a file, or a directory with its children.
type gitNode struct {
	mode     GitMode
	id       []byte
	commit   []byte       // of a submodule that is checked out
	text     bytes.Buffer // of a list of submodules
	children map[string]*gitNode
}

// readGit reads a whole archive. visit, which may be nil, is given each entry in
// its order, before it is known whether all of them are what they should be. It
// must read all of a file or nothing.
func readGit(r io.Reader, visit func(GitEntry, io.Reader) error) (*gitReader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, gitError("not gzip: %v", err)
	}
	z.Multistream(false)
	if z.Name != "" || z.Comment != "" || len(z.Extra) > 0 {
		return nil, gitError("more in its gzip header than there should be")
	}
	g := &gitReader{raw: &checker{r: z}, visit: visit, left: maxGitTree, root: newGitDir(), buf: make([]byte, 64<<10)}
	g.tar = tar.NewReader(g.raw)
	if err := g.all(); err != nil {
		return nil, err
	}
	if n, err := z.Read(g.buf[:1]); n > 0 || err != io.EOF {
		return nil, gitError("more behind its end")
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, gitError("more behind its end")
	}
	return g, g.finish()
}

func newGitDir() *gitNode { return &gitNode{mode: gitTree, children: map[string]*gitNode{}} }

func gitError(format string, args ...any) error {
	return errors.New("git archive: " + fmt.Sprintf(format, args...))
}

// errNotCanonical is the complaint about an archive that means the right thing
// in other bytes.
var errNotCanonical = gitError("not written as it should be")

// A checker is a stream that is written again while it is read: what is written
// must be what was read.
type checker struct {
	r       io.Reader
	pending bytes.Buffer
}

func (c *checker) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.pending.Write(p[:n])
	return n, err
}

func (c *checker) Write(p []byte) (int, error) {
	if !bytes.Equal(c.pending.Next(len(p)), p) {
		return 0, errNotCanonical
	}
	return len(p), nil
}

// all reads the entries.
func (g *gitReader) all() error {
	h, err := g.tar.Next()
	if err != nil || h.Typeflag != tar.TypeXGlobalHeader {
		return gitError("no commit at its beginning")
	}
	commit, err := base64.StdEncoding.Strict().DecodeString(h.PAXRecords[paxComment])
	if err != nil {
		return gitError("no commit at its beginning")
	}
	parsed, err := parseCommit(commit)
	if err != nil {
		return gitError("%v", err)
	}
	g.wide = len(parsed.tree) == 64
	if g.root.commit = commit; len(commit) == 0 {
		return gitError("no commit at its beginning")
	}
	if g.out, err = newGitTar(g.raw, commit); err != nil {
		return err
	}
	for n := 0; ; n++ {
		h, err := g.tar.Next()
		switch {
		case err == io.EOF:
			if err := g.out.Close(); err != nil {
				return err
			}
			if g.raw.pending.Len() > 0 {
				return errNotCanonical
			}
			return nil
		case err != nil:
			return gitError("not a tar file: %v", err)
		case n >= maxGitFiles:
			return gitError("more than %d entries", maxGitFiles)
		}
		if err := g.entry(h); err != nil {
			return err
		}
	}
}

// entry reads one entry and writes it again.
func (g *gitReader) entry(h *tar.Header) error {
	e, err := g.parse(h)
	if err != nil {
		return err
	}
	if g.left -= e.Size; g.left < 0 {
		return gitError("more than %d GB", maxGitTree>>30)
	}
	if err := g.out.head(e); err != nil {
		return err
	}
	n := &gitNode{mode: e.Mode, commit: e.Commit}
	content := io.Reader(nil)
	object := g.object("blob", max(e.Size, int64(len(e.Link))))
	switch {
	case e.Commit != nil:
		n.children = map[string]*gitNode{}
	case e.Mode == GitModule:
		n.id, _ = hex.DecodeString(e.ID) // parse has seen that it is hex
	case e.Mode == GitLink:
		io.WriteString(object, e.Link)
	default:
		to := io.MultiWriter(object, g.out.tar)
		if path.Base(e.Path) == GitmodulesFile && e.Size <= maxGitmodules {
			to = io.MultiWriter(to, &n.text)
		}
		content = io.TeeReader(g.tar, to)
	}
	if g.visit != nil {
		if err := g.visit(e, content); err != nil {
			return err
		}
	}
	if content != nil {
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{content}, g.buf); err != nil {
			return gitError("%v", strings.TrimPrefix(err.Error(), "git archive: "))
		}
	}
	if e.Mode != GitModule {
		if n.id, err = object.id(); err != nil {
			return err
		}
	}
	return g.insert(e.Path, n)
}

// parse reads a header.
func (g *gitReader) parse(h *tar.Header) (e GitEntry, err error) {
	name, ok := strings.CutPrefix(h.Name, GitDir+"/")
	if !ok {
		return e, gitError("%.200q: not below %s", h.Name, GitDir)
	}
	e.Path = strings.TrimSuffix(name, "/")
	if err := checkGitPath(e.Path); err != nil {
		return e, gitError("%v", err)
	}
	switch comment := h.PAXRecords[paxComment]; h.Typeflag {
	case tar.TypeReg:
		e.Mode, e.Size = 0o100000|GitMode(h.Mode), h.Size
		if e.Mode != GitFile && e.Mode != GitGroup && e.Mode != GitProgram {
			return e, gitError("%.200q: mode %o", e.Path, h.Mode)
		}
	case tar.TypeSymlink:
		e.Mode, e.Link = GitLink, h.Linkname
		if len(e.Link) > maxGitLink || e.Link == "" || strings.Contains(e.Link, "\x00") {
			return e, gitError("%.200q: a link to nowhere", e.Path)
		}
		if isDotGitmodules(path.Base(e.Path)) {
			return e, gitError("%.200q: a link", e.Path)
		}
	case tar.TypeDir:
		e.Mode = GitModule
		if id, known := strings.CutPrefix(comment, gitlinkPrefix); known {
			if e.ID = id; !isGitID(id) || len(id) != g.idLength() {
				return e, gitError("%.200q: not a commit", e.Path)
			}
			return e, nil
		}
		if e.Commit, err = base64.StdEncoding.Strict().DecodeString(comment); err != nil || len(e.Commit) == 0 {
			return e, gitError("%.200q: not a submodule", e.Path)
		}
		if _, err := parseCommit(e.Commit); err != nil {
			return e, gitError("%.200q: %v", e.Path, err)
		}
	default:
		return e, gitError("%.200q: neither a file, a link nor a submodule", e.Path)
	}
	return e, nil
}

// isDotGitmodules tells names that git may take for that of the list of
// submodules.
func isDotGitmodules(name string) bool { return strings.EqualFold(name, GitmodulesFile) }

// insert puts a node into the tree.
func (g *gitReader) insert(name string, n *gitNode) error {
	at := g.root
	dir, base := path.Split(name)
	for part := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
		if dir == "" {
			break
		}
		next := at.children[part]
		if next == nil {
			next = newGitDir()
			at.children[part] = next
		}
		if next.children == nil {
			return gitError("%.200q: below what is no directory", name)
		}
		at = next
	}
	if at.children[base] != nil {
		return gitError("%.200q: is in it twice", name)
	}
	at.children[base] = n
	g.order = append(g.order, n)
	return nil
}

// finish computes the ids of all trees, and with that of the commit.
func (g *gitReader) finish() error {
	if err := g.module(g.root, ""); err != nil {
		return err
	}
	if len(g.order) > 0 {
		return errNotCanonical
	}
	g.id = hex.EncodeToString(g.root.id)
	return nil
}

// module computes the id of a commit whose tree is below n.
func (g *gitReader) module(n *gitNode, at string) error {
	var listed Gitmodules
	if list := n.children[GitmodulesFile]; list != nil && list.mode != GitModule {
		var err error
		if listed, err = ParseGitmodules(list.text.Bytes()); err != nil {
			return gitError("%s: %v", path.Join(at, GitmodulesFile), err)
		}
	}
	tree, err := g.tree(n, modulePath{at: at, listed: listed})
	if err != nil {
		return err
	}
	c, _ := parseCommit(n.commit) // it was parsed when it was read
	if c.tree != hex.EncodeToString(tree) {
		return gitError("%s: the files are not those of its commit", path.Join(GitDir, at))
	}
	object := g.object("commit", int64(len(n.commit)))
	object.Write(n.commit)
	n.id, err = object.id()
	return err
}

// A modulePath is a directory within a repository, with the list of the
// repository's submodules.
type modulePath struct {
	at, below string // of the repository in the archive, and in the repository
	listed    Gitmodules
}

// tree computes the id of a tree, and checks that its entries were in order.
func (g *gitReader) tree(n *gitNode, where modulePath) ([]byte, error) {
	names := slices.SortedFunc(maps.Keys(n.children), func(a, b string) int {
		return strings.Compare(gitSortKey(a, n.children[a]), gitSortKey(b, n.children[b]))
	})
	var text bytes.Buffer
	for _, name := range names {
		c := n.children[name]
		if c.mode != gitTree {
			if len(g.order) == 0 || g.order[0] != c {
				return nil, errNotCanonical
			}
			g.order = g.order[1:]
		}
		in := where
		in.below = path.Join(where.below, name)
		var err error
		switch c.mode {
		case gitTree:
			c.id, err = g.tree(c, in)
		case GitModule:
			if checkedOut := c.commit != nil; in.listed.Wants(in.below) != checkedOut {
				return nil, gitError("%s: a submodule that should%s be in it", path.Join(in.at, in.below), map[bool]string{true: " not"}[checkedOut])
			}
			if c.commit != nil {
				err = g.module(c, path.Join(in.at, in.below))
			}
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&text, "%o %s\x00%s", c.mode, name, c.id)
	}
	object := g.object("tree", int64(text.Len()))
	object.Write(text.Bytes())
	return object.id()
}

// gitSortKey is what git sorts an entry of a tree by.
func gitSortKey(name string, n *gitNode) string {
	if n.mode == gitTree {
		return name + "/"
	}
	return name
}

// idLength is that of ids in hex.
func (g *gitReader) idLength() int {
	if g.wide {
		return 64
	}
	return 40
}

// object begins the computation of an object's id.
func (g *gitReader) object(kind string, size int64) gitObject {
	o := gitObject{sha1cd.New()}
	if g.wide {
		o.Hash = sha256.New()
	}
	fmt.Fprintf(o, "%s %d\x00", kind, size)
	return o
}

// A gitObject is the hash of an object of git.
type gitObject struct{ hash.Hash }

// id is the id, if the bytes are none of those made to share it.
func (o gitObject) id() ([]byte, error) {
	if safe, ok := o.Hash.(sha1cd.CollisionResistantHash); ok {
		id, collision := safe.CollisionResistantSum(nil)
		if collision {
			return nil, gitError("an object made to collide with another: SHA-1 is broken for it")
		}
		return id, nil
	}
	return o.Sum(nil), nil
}
