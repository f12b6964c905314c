package ecosystem

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// gitCrates are the crates of a commit, as cargo finds them.
type gitCrates struct {
	tree      *cache.GitTree
	dirs      map[string][]string // what is in a directory, sorted
	manifests map[string]*tomlNode
	found     map[[2]string]string // directories by name and version
}

// pickCrates implements Packaging.Pick: of a commit, the crate of an input's name
// and version, as "cargo vendor" copies it.
func pickCrates(tree *cache.GitTree) func(cache.Input) ([]cache.Picked, error) {
	g := newGitCrates(tree)
	return func(in cache.Input) ([]cache.Picked, error) {
		dir, ok := g.found[[2]string{in.Name, in.Version}]
		if !ok {
			return nil, errors.New("the commit has no crate of this name and version")
		}
		return g.vendor(dir)
	}
}

func newGitCrates(tree *cache.GitTree) *gitCrates {
	g := &gitCrates{tree: tree, dirs: map[string][]string{".": nil}, manifests: map[string]*tomlNode{}, found: map[[2]string]string{}}
	for _, e := range tree.Entries() {
		for name := e.Path; name != "."; name = path.Dir(name) {
			dir := path.Dir(name)
			base := path.Base(name)
			siblings := g.dirs[dir]
			if n := len(siblings); n > 0 && siblings[n-1] == base {
				break // and so are all directories above
			}
			g.dirs[dir] = append(siblings, base)
		}
		if e.Mode == cache.GitModule && g.dirs[e.Path] == nil {
			g.dirs[e.Path] = []string{}
		}
	}
	for dir, names := range g.dirs {
		slices.Sort(names)
		g.dirs[dir] = slices.Compact(names)
	}
	g.walk(".", map[string]bool{})
	return g
}

// isFile and isDir tell what is at a path, links followed.
func (g *gitCrates) isFile(name string) bool {
	at, ok := g.tree.Resolve(name)
	e, found := g.tree.Find(at)
	return ok && found && e.Mode != cache.GitModule
}

func (g *gitCrates) isDir(name string) bool {
	at, ok := g.tree.Resolve(name)
	return ok && g.dirs[at] != nil
}

func (g *gitCrates) exists(name string) bool { return g.isFile(name) || g.isDir(name) }

// manifest is the Cargo.toml of a directory; nil for none that can be read.
func (g *gitCrates) manifest(dir string) *tomlNode {
	n, known := g.manifests[dir]
	if known {
		return n
	}
	if at, ok := g.tree.Resolve(path.Join(dir, cargoToml)); ok {
		if data, err := g.tree.ReadFile(at, maxCargoToml); err == nil {
			r := &lockReader{file: cargoToml}
			if n = r.tree(data); len(r.problems) > 0 {
				n = nil
			}
		}
	}
	g.manifests[dir] = n
	return n
}

// walk looks for crates in a directory and below: not in hidden directories, in
// those of build outcomes, nor in submodules.
func (g *gitCrates) walk(dir string, seen map[string]bool) {
	has := g.isFile(path.Join(dir, cargoToml))
	if has {
		g.add(dir, seen)
	}
	for _, name := range g.dirs[dir] {
		at := path.Join(dir, name)
		e, leaf := g.tree.Find(at)
		if leaf || e.Mode == cache.GitModule || strings.HasPrefix(name, ".") || has && name == "target" {
			continue
		}
		g.walk(at, seen)
	}
}

// add takes the crate of a directory, and those that it names by their paths.
// The first of two of one name and version counts.
func (g *gitCrates) add(dir string, seen map[string]bool) {
	if seen[dir] {
		return
	}
	seen[dir] = true
	m := g.manifest(dir)
	pkg := packageOf(m)
	if pkg == nil {
		return
	}
	c := &crateManifest{gitCrates: g, dir: dir, root: m, pkg: pkg}
	version := "0.0.0"
	if v := c.inherited("version"); v != nil {
		version = strings.TrimSpace(v.text)
	}
	key := [2]string{pkg.str("name"), version}
	if _, twice := g.found[key]; !twice && c.bad == nil {
		g.found[key] = dir
	}
	for _, at := range c.nested() {
		if at = path.Join(dir, at); at != ".." && !strings.HasPrefix(at, "../") && g.isFile(path.Join(at, cargoToml)) {
			g.add(at, seen)
		}
	}
}

// packageOf is the table of a crate in its manifest; nil for none.
func packageOf(m *tomlNode) *tomlNode {
	if pkg := m.at("package"); pkg != nil {
		return pkg
	}
	return m.at("project")
}

// vendor is the crate of a directory as it is in a vendor directory.
func (g *gitCrates) vendor(dir string) ([]cache.Picked, error) {
	m := g.manifest(dir)
	c := &crateManifest{gitCrates: g, dir: dir, root: m, pkg: packageOf(m)}
	files, err := g.list(dir, c.strings("include"), c.strings("exclude"))
	if err != nil {
		return nil, err
	}
	text, err := c.normalized(files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Join(dir, cargoToml), err)
	}
	var out []cache.Picked
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch {
		case leftOut(name):
		case name == cargoToml:
			out = append(out, cache.Picked{Path: name, Data: []byte(text)})
		default:
			out = append(out, cache.Picked{Path: name, From: files[name]})
		}
	}
	return out, nil
}

// leftOut are the files that cargo vendor leaves out of crates from git.
func leftOut(name string) bool {
	base := path.Base(name)
	return base == ".gitattributes" || base == ".gitignore" || name == cargoMark || slices.Contains(strings.Split(name, "/"), ".git")
}

// cargoMark is an empty file with which cargo marks what it has checked out,
// submodules too; cargo vendor takes it along.
const cargoMark = ".cargo-ok"

// A crateList is the files of a crate that are being gathered.
type crateList struct {
	*gitCrates
	dir     string
	include ignoreRules
	exclude ignoreRules
	all     bool // no include: what git has
	files   map[string]string
}

// list are the files of a crate, by their paths relative to dir, with the path
// of the content in the tree.
func (g *gitCrates) list(dir string, include, exclude []string) (map[string]string, error) {
	l := &crateList{
		gitCrates: g, dir: dir, all: len(include) == 0, files: map[string]string{},
		include: newIgnoreRules(include), exclude: newIgnoreRules(exclude),
	}
	return l.files, l.below(".", []string{dir})
}

// maxCrateFiles bounds a crate: links to directories can multiply its files.
const maxCrateFiles = 100_000

// below takes what is in a directory: at is its place in the crate, the last of
// from its place in the tree, and the others those of the directories above.
func (l *crateList) below(at string, from []string) error {
	here := from[len(from)-1]
	if at != "." && slices.Contains(l.dirs[here], cargoToml) {
		return nil // a crate of its own
	}
	for _, name := range l.dirs[here] {
		to, source := path.Join(at, name), path.Join(here, name)
		if !l.all && at == "." && name == "target" && l.isDir(source) {
			continue
		}
		resolved, ok := l.tree.Resolve(source)
		if ok && l.dirs[resolved] != nil {
			if slices.Contains(from, resolved) {
				continue // a link that leads in a circle
			}
			if err := l.below(to, append(slices.Clip(from), resolved)); err != nil {
				return err
			}
			if e, _ := l.tree.Find(resolved); e.Commit != nil && l.wants(path.Join(to, cargoMark)) && !slices.Contains(l.dirs[resolved], cargoToml) {
				l.files[path.Join(to, cargoMark)] = "" // an empty one
			}
			continue
		}
		if !l.wants(to) {
			continue
		}
		if _, found := l.tree.Find(resolved); !ok || !found {
			return fmt.Errorf("%.200q: a link that leads nowhere, or out of the repository", path.Join(l.dir, to))
		}
		if l.files[to] = resolved; len(l.files) > maxCrateFiles || len(from) > maxCrateDepth {
			return fmt.Errorf("%.200q: more than %d files, or %d directories deep", l.dir, maxCrateFiles, maxCrateDepth)
		}
	}
	return nil
}

// maxCrateDepth bounds directories in directories of a crate.
const maxCrateDepth = 500

// wants tells whether a file belongs to a crate.
func (l *crateList) wants(name string) bool {
	switch {
	case name == cargoToml, name == cargoLock:
		return true
	case l.all:
		return !l.exclude.match(name)
	}
	return l.include.match(name)
}
