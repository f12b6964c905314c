package ecosystem

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// gitSubmodule is the submodules of the repository that the build context is:
// those that are not checked out are fetched, with submodules of their own, and
// lie over the build context. Those that have files in them stay as they are,
// whatever commit they are of.
//
//	deps/git-submodule/<path>/…
//
// .gitmodules says where a submodule comes from, and the repository's index
// which commit of it belongs here. Builders are not sent the index, or they are
// (.git/index is asked for, where this package type is): so the commits also
// stand in the option "commits" of the package, by path, when a cache is made.
// Where both are there, they must agree.
//
// It is never found, only asked for: what a clone happens to have checked out
// must not decide what a build fetches.
type gitSubmodule struct{}

const submoduleType = "git-submodule"

func (gitSubmodule) Type() string       { return submoduleType }
func (gitSubmodule) Markers() []string  { return nil }
func (gitSubmodule) Patterns() []string { return []string{cache.GitmodulesFile} }
func (gitSubmodule) Commands() []string { return nil }

// submoduleOptions are the keys of a git-submodule package.
type submoduleOptions struct {
	// Commits are those that are wanted, by path relative to the package.
	Commits map[string]string `json:"commits,omitempty"`
}

func (gitSubmodule) Options(keys map[string]json.RawMessage) (any, []error) {
	var o submoduleOptions
	errs := readKeys(keys, map[string]any{"commits": &o.Commits})
	for _, name := range slices.Sorted(maps.Keys(o.Commits)) {
		if !isInside(name) || path.Clean(name) != name {
			errs = append(errs, fmt.Errorf("commits: %.80q: not a path inside the package", name))
		}
		if !gitCommit.MatchString(o.Commits[name]) {
			errs = append(errs, fmt.Errorf("commits: %.80q: not the full name of a commit, 40 digits in hex", o.Commits[name]))
		}
	}
	return o, errs
}

// Files implements Namer: the index. The repository's configuration, from which
// relative URLs are resolved, is not asked for: it may have credentials in it.
func (gitSubmodule) Files(p cache.Package) []string {
	return []string{path.Join(p.Path, ".git/index")}
}

// Pin implements Pinner: where the repository can be read, the package names the
// commits that are missing. What cannot be read is for Plan to say.
func (gitSubmodule) Pin(fsys fs.FS, p cache.Package) cache.Package {
	var o submoduleOptions
	if p.DecodeOptions(&o) != nil || o.Commits != nil {
		return p
	}
	w := newSubmoduleWalk(fsys, p.Path)
	w.repository(checkout{dir: p.Path, git: path.Join(p.Path, ".git")})
	o.Commits = map[string]string{}
	for _, s := range w.found {
		o.Commits[s.below] = s.commit
	}
	if len(w.problems) > 0 {
		return p
	}
	if options, err := cache.CanonicalOptions(o); err == nil {
		p.Options = options
	}
	return p
}

func (gitSubmodule) Plan(fsys fs.FS, p cache.Package, _ Options) cache.Plan {
	var o submoduleOptions
	if err := p.DecodeOptions(&o); err != nil {
		return cache.Plan{Problems: []cache.Problem{{Kind: cache.BadLock, Subject: p.String(), Cause: err.Error()}}}
	}
	w := newSubmoduleWalk(fsys, p.Path)
	w.wanted = o.Commits
	w.repository(checkout{dir: p.Path, git: path.Join(p.Path, ".git")})
	plan := cache.Plan{Locks: w.locks, Problems: w.problems}
	for _, s := range w.found {
		at := path.Join(p.Path, s.below)
		in := cache.Input{
			Ecosystem: submoduleType, Kind: KindGit, Name: at, Path: at, Form: cache.Checkout, Need: cache.Required, Origin: s.origin, URL: s.url,
		}
		in.Sum, _ = cache.ParseSum("git:" + s.commit) // an index has no others, and Options has looked at it
		name, vcs := path.Base(at), ""                // a build context without .git does not tell more
		if s.url != "" {
			name, vcs = strings.TrimSuffix(path.Base(s.url), ".git"), gitVCSURL(s.url, s.commit)
		}
		in.Component = library(name, *packageurl.NewPackageURL("generic", "", name, s.commit, qualifiers("vcs_url", vcs), ""))
		plan.Inputs = append(plan.Inputs, in)
		plan.Overlays = append(plan.Overlays, cache.Overlay{From: path.Join("deps", submoduleType, at), Path: at})
	}
	return plan
}

// A submoduleWalk looks for submodules that are not checked out.
type submoduleWalk struct {
	fsys     fs.FS
	base     string            // the directory of the package
	wanted   map[string]string // what the package names: nothing else is looked for
	found    []missingModule
	locks    []cache.Lock
	problems []cache.Problem
}

func newSubmoduleWalk(fsys fs.FS, base string) *submoduleWalk {
	return &submoduleWalk{fsys: fsys, base: base}
}

// A missingModule is a submodule that is not checked out.
type missingModule struct {
	below  string // its path, relative to the package
	url    string
	commit string
	origin cache.Origin
}

// A checkout is a repository in the build context.
type checkout struct {
	dir string // of its files
	git string // of the repository itself
	url string // where it comes from; "" where only its own configuration tells
}

func (w *submoduleWalk) problem(at cache.Origin, subject, cause string) {
	w.problems = append(w.problems, cache.Problem{Kind: cache.BadLock, Origin: at, Subject: subject, Cause: cause})
}

// repository looks at the submodules of a repository.
func (w *submoduleWalk) repository(c checkout) {
	name := path.Join(c.dir, cache.GitmodulesFile)
	data, cause := readLock(w.fsys, name, 1<<20)
	if cause != "" {
		if c.dir == w.base {
			w.problem(cache.Origin{File: name}, "", cause)
		}
		return
	}
	w.locks = append(w.locks, cache.Lock{File: name, Sum: cache.SumBytes(data)})
	listed, err := cache.ParseGitmodules(data)
	if err != nil {
		w.problem(cache.Origin{File: name}, "", err.Error())
		return
	}
	links, cause := w.index(c)
	for _, s := range listed {
		if !s.Skipped && s.URL != "" {
			w.submodule(c, s, known{links[s.Path], cause})
		}
	}
}

// known is the commit of a submodule as an index has it, or why none is known.
type known struct{ commit, cause string }

// index are the commits of a repository's submodules.
func (w *submoduleWalk) index(c checkout) (links map[string]string, cause string) {
	name := path.Join(c.git, "index")
	data, cause := readLock(w.fsys, name, maxGitIndex)
	if cause != "" {
		return nil, name + ": " + cause
	}
	links, err := parseGitIndex(data)
	if err != nil {
		return nil, name + ": " + err.Error()
	}
	return links, ""
}

// submodule looks at one submodule of a repository.
func (w *submoduleWalk) submodule(c checkout, s cache.Submodule, k known) {
	at := path.Join(c.dir, s.Path)
	below := strings.TrimPrefix(strings.TrimPrefix(at, w.base), "/")
	origin := cache.Origin{File: path.Join(c.dir, cache.GitmodulesFile), Line: s.Line}
	if !isInside(s.Path) {
		w.problem(origin, s.Path, "not a path inside the repository")
		return
	}
	pinned, isWanted := w.wanted[below]
	if w.wanted != nil && !isWanted {
		if w.isCheckedOut(at) {
			w.inside(c, s, at)
		}
		return
	}
	if w.wanted == nil && w.isCheckedOut(at) {
		w.inside(c, s, at)
		return
	}
	commit := k.commit
	switch {
	case commit == "" && isWanted:
		commit = pinned
	case commit == "" && k.cause != "":
		w.problem(origin, below, `no commit of it is known: want it in "commits" of the package (`+k.cause+")")
		return
	case commit == "":
		return // git has nothing at this path
	}
	from, err := w.resolve(c, s.URL)
	if err != nil && !(isWanted && isRelative(s.URL)) { // whoever made the cache had more to resolve it from
		w.problem(origin, below, err.Error())
		return
	}
	w.found = append(w.found, missingModule{below, from, commit, origin})
}

// isCheckedOut tells whether a submodule has files in it.
func (w *submoduleWalk) isCheckedOut(at string) bool {
	entries, err := fs.ReadDir(w.fsys, at)
	return err == nil && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != ".git" })
}

// maxSubmodules bounds repositories in repositories.
const maxSubmodules = 1000

// inside looks at the submodules of one that is checked out.
func (w *submoduleWalk) inside(c checkout, s cache.Submodule, at string) {
	if len(w.locks) > maxSubmodules {
		return
	}
	in := checkout{dir: at, git: path.Join(at, ".git")}
	if data, cause := readLock(w.fsys, in.git, 4096); cause == "" {
		if to, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: "); ok && !path.IsAbs(to) {
			in.git = path.Join(at, to)
		}
	}
	if from, err := w.resolve(c, s.URL); err == nil {
		in.url = from
	}
	w.repository(in)
}

// resolve is the URL of a submodule.
func (w *submoduleWalk) resolve(c checkout, text string) (string, error) {
	if !isRelative(text) {
		return SubmoduleURL("", text)
	}
	parent := c.url
	if parent == "" {
		data, cause := readLock(w.fsys, path.Join(c.git, "config"), 1<<20)
		if cause == "" {
			parent = originOf(data)
		}
	}
	if parent == "" {
		return "", errors.New("its URL is relative to that of a remote repository called origin, and there is none")
	}
	return SubmoduleURL(parent, text)
}

// originOf is the URL of the remote repository called origin; credentials in it
// are the user's own, and left out. It is "" for none.
func originOf(config []byte) string {
	found := ""
	err := cache.ParseGitConfig(config, func(v cache.GitVariable) {
		if v.Section == "remote" && v.Subsection == "origin" && v.Name == "url" && found == "" {
			found = v.Value
		}
	})
	if err != nil {
		return ""
	}
	if u, err := url.Parse(found); err == nil && u.User != nil && u.Scheme != "ssh" {
		u.User = nil
		found = u.String()
	}
	return found
}
