package cache

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// What a tree of git may measure: larger than any project that others build on.
const (
	maxGitTree   = 8 << 30 // bytes of all files
	maxGitFiles  = 500_000
	maxGitCommit = 512 << 10 // bytes of a commit object
	maxGitLink   = 4096      // bytes of a symbolic link
)

// GitDir is the directory that a git archive has everything below.
const GitDir = "app"

// A GitMode is the mode of an entry of a git tree.
type GitMode uint32

// The modes that git writes; GitGroup is that of old trees.
const (
	GitFile    GitMode = 0o100644
	GitGroup   GitMode = 0o100664
	GitProgram GitMode = 0o100755
	GitLink    GitMode = 0o120000
	GitModule  GitMode = 0o160000
	gitTree    GitMode = 0o040000
)

// A GitEntry is a file, a link or a submodule of a commit.
type GitEntry struct {
	Path string // slash-separated, relative to the top of the tree
	Mode GitMode
	Size int64  // bytes of a file
	Link string // what a link holds
	// Commit is the commit object of a submodule whose files follow, nil for one
	// that is not checked out: ID is then all that is known.
	Commit []byte
	ID     string // the commit of a submodule, in hex
}

// A GitWriter writes the one archive there is of a commit:
//
//	a gzip stream of a tar file
//	  a PAX global header: "comment" is the commit object, in base64
//	  app/<path>    each file and link, 0644 or 0755, in the order of git's trees
//	  app/<path>/   a submodule: "comment" is its commit object in base64, its
//	                files are next; or "gitlink <id>" where it is not checked out
//
// The time of everything is that of the commit. Nothing is in it that the commit
// does not name, so that whoever has the commit's id can check it.
type GitWriter struct {
	tar  *tar.Writer
	gzip *gzip.Writer // nil where only the tar file matters
	time time.Time
}

// NewGitWriter begins the archive of a commit, which is a commit object without
// git's header.
func NewGitWriter(w io.Writer, commit []byte) (*GitWriter, error) {
	z := gzip.NewWriter(w)
	g, err := newGitTar(z, commit)
	if g != nil {
		g.gzip = z
	}
	return g, err
}

func newGitTar(w io.Writer, commit []byte) (*GitWriter, error) {
	c, err := parseCommit(commit)
	if err != nil {
		return nil, err
	}
	g := &GitWriter{tar: tar.NewWriter(w), time: c.time}
	return g, g.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header",
		PAXRecords: map[string]string{paxComment: base64.StdEncoding.EncodeToString(commit)},
	})
}

// paxComment is the record that POSIX has for what readers shall ignore.
const paxComment = "comment"

// Add writes an entry; content are the bytes of a file.
func (g *GitWriter) Add(e GitEntry, content io.Reader) error {
	if err := g.head(e); err != nil || e.Mode == GitLink || e.Mode == GitModule {
		return err
	}
	n, err := io.Copy(g.tar, content)
	if err == nil && n != e.Size {
		err = fmt.Errorf("%.200q: %d bytes, want %d", e.Path, n, e.Size)
	}
	return err
}

// head writes all of an entry but the bytes of a file.
func (g *GitWriter) head(e GitEntry) error {
	h := &tar.Header{Format: tar.FormatPAX, Name: GitDir + "/" + e.Path, ModTime: g.time}
	switch e.Mode {
	case GitFile, GitGroup, GitProgram:
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, e.Size, int64(e.Mode&0o777)
	case GitLink:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
	case GitModule:
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, h.Name+"/"
		comment := gitlinkPrefix + e.ID
		if e.Commit != nil {
			comment = base64.StdEncoding.EncodeToString(e.Commit)
		}
		h.PAXRecords = map[string]string{paxComment: comment}
	default:
		return fmt.Errorf("%.200q: mode %o", e.Path, e.Mode)
	}
	return g.tar.WriteHeader(h)
}

// gitlinkPrefix begins what a submodule has that is not checked out; no base64
// has a space.
const gitlinkPrefix = "gitlink "

// Close ends the archive.
func (g *GitWriter) Close() error {
	err := g.tar.Close()
	if g.gzip != nil {
		err = errors.Join(err, g.gzip.Close())
	}
	return err
}

// commit is what matters of a commit object.
type commit struct {
	tree string // the id, in hex
	time time.Time
}

// maxCommitTime is the last second that tar headers of fixed width can hold.
const maxCommitTime = 1 << 33

// parseCommit reads a commit object. Times that no file can have are 0.
func parseCommit(data []byte) (commit, error) {
	if len(data) > maxGitCommit {
		return commit{}, fmt.Errorf("a commit larger than %d KB", maxGitCommit>>10)
	}
	head, _, _ := bytes.Cut(data, []byte("\n\n"))
	first, rest, _ := strings.Cut(string(head), "\n")
	tree, ok := strings.CutPrefix(first, "tree ")
	if !ok || !isGitID(tree) {
		return commit{}, errors.New("not a commit: it names no tree")
	}
	c := commit{tree: tree, time: time.Unix(0, 0)}
	for line := range strings.SplitSeq(rest, "\n") {
		who, ok := strings.CutPrefix(line, "committer ")
		if !ok {
			continue
		}
		words := strings.Fields(who[strings.LastIndexByte(who, '>')+1:])
		if len(words) > 0 {
			if n, err := strconv.ParseInt(words[0], 10, 64); err == nil && n > 0 && n < maxCommitTime {
				c.time = time.Unix(n, 0)
			}
		}
		break
	}
	return c, nil
}

// isGitID tells whether s is the id of an object in a repository of either
// format, in lower-case hex.
func isGitID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && (len(s) == 40 || len(s) == 64) && strings.ToLower(s) == s
}

// checkGitPath refuses what no checkout may have, as git itself does
// (git-fsck(1)): names that lead elsewhere, or into a repository's own
// directory on some file system.
func checkGitPath(name string) error {
	if len(name) > maxTreePath || strings.Contains(name, "\x00") {
		return fmt.Errorf("%.200q: not a path inside it", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("%.200q: not a path inside it", name)
		case len(part) > maxTreeName:
			return fmt.Errorf("%.200q: too long a name", name)
		case isDotGit(part):
			return fmt.Errorf("%.200q: a name that git keeps for itself", name)
		}
	}
	return nil
}

// isDotGit tells names that some file system takes for ".git".
func isDotGit(name string) bool {
	plain := strings.Map(func(r rune) rune {
		switch { // what HFS+ leaves out
		case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
			return -1
		}
		return r
	}, name)
	plain, _, _ = strings.Cut(plain, ":") // a stream of NTFS
	for part := range strings.SplitSeq(plain, `\`) {
		part = strings.ToLower(strings.TrimRight(part, ". "))
		if part == ".git" || part == "git~1" {
			return true
		}
	}
	return false
}
