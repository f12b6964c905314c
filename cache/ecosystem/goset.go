package ecosystem

import (
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/hermetic-build/hermetic/cache"
)

// goModule is a go.mod that was read.
type goModule struct {
	dir  string
	file *modfile.File
}

// since tells whether the go line is at least a language version, "1.17".
func (m goModule) since(version string) bool {
	return m.file.Go != nil && !newerGo("go"+version, "go"+m.file.Go.Version)
}

// A goSet is the modules that are built together: one module, or those that a
// workspace uses. newGoSet makes one.
type goSet struct {
	dir  string            // of the go.mod or go.work, and of the vendor directory
	name string            // the go.mod or go.work
	work *modfile.WorkFile // nil for a module on its own
	mods []goModule

	// replaces are the replace lines. The ones of a go.work come first, as they
	// win over those of its modules (https://go.dev/ref/mod#go-work-file-replace).
	replaces []goReplace
	first    map[module.Version]goReplace // the first line for a module
	requires map[module.Version]bool      // with a version, and for any without
	own      map[string]bool              // paths of the modules themselves
	complete bool                         // whether every go.mod is of Go 1.17 or newer
}

// newGoSet completes the set of a go.mod or go.work and its modules.
func newGoSet(s goSet) goSet {
	s.first, s.own = map[module.Version]goReplace{}, map[string]bool{}
	s.requires, s.complete = map[module.Version]bool{}, true
	if s.work != nil {
		s.add(goFile{s.dir, s.name, 0}, s.work.Replace)
	}
	for i, m := range s.mods {
		s.add(goFile{m.dir, path.Join(m.dir, "go.mod"), i + 1}, m.file.Replace)
		s.own[m.file.Module.Mod.Path] = true
		s.complete = s.complete && m.since("1.17")
		for _, r := range m.file.Require {
			s.requires[r.Mod] = true
			s.requires[module.Version{Path: r.Mod.Path}] = true
		}
	}
	return s
}

// goFile is a file with replace lines.
type goFile struct {
	dir  string // that local paths are relative to
	name string
	rank int // of two lines, that of the lower rank wins
}

// goReplace is a replace line with its place.
type goReplace struct {
	*modfile.Replace
	file goFile
}

func (r goReplace) origin() cache.Origin {
	return cache.Origin{File: r.file.name, Line: r.Syntax.Start.Line}
}

func (s *goSet) add(file goFile, rs []*modfile.Replace) {
	for _, line := range rs {
		r := goReplace{line, file}
		s.replaces = append(s.replaces, r)
		if _, ok := s.first[r.Old]; !ok {
			s.first[r.Old] = r
		}
	}
}

// replacement finds what stands in for m; the zero value is nothing. In one
// file, a line for the version wins over one for all versions.
func (s goSet) replacement(m module.Version) module.Version {
	if m.Version == "" && s.own[m.Path] {
		return module.Version{}
	}
	r, ok := s.first[m]
	if wild, found := s.first[module.Version{Path: m.Path}]; found && (!ok || wild.file.rank < r.file.rank) {
		r, ok = wild, true
	}
	if !ok {
		return module.Version{}
	}
	return s.target(r)
}

// target is what a line puts in, as a vendor directory lists it: workspaces
// write directories relative to the go.work.
func (s goSet) target(r goReplace) module.Version {
	if s.work == nil || r.file.name == s.name || r.New.Version != "" || path.IsAbs(r.New.Path) {
		return r.New
	}
	rel, err := filepath.Rel(filepath.FromSlash(s.dir), filepath.FromSlash(path.Join(r.file.dir, r.New.Path)))
	if err != nil {
		return r.New
	}
	if rel = filepath.ToSlash(rel); rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
		rel = "./" + rel
	}
	return module.Version{Path: rel}
}

// mayRequire tells whether builds may need the module from elsewhere; one
// without a version is any of them. From Go 1.17 on go.mod names every module
// that provides a package (https://go.dev/ref/mod#graph-pruning).
func (s goSet) mayRequire(mod module.Version) bool {
	return !s.own[mod.Path] && (!s.complete || s.requires[mod])
}

// required are the modules whose zip no build can do without, replaced ones by
// their replacement. Before Go 1.17 nobody knows, and in a workspace neither:
// it may select newer versions than its modules name.
func (s goSet) required() map[module.Version]bool {
	out := map[module.Version]bool{}
	if !s.knowsAll() {
		return out
	}
	for mod := range s.requires {
		if mod.Version == "" {
			continue
		}
		if target := s.replacement(mod); target.Path != "" {
			mod = target
		}
		out[mod] = true
	}
	return out
}

// knowsAll tells whether the modules of required are all that builds read.
func (s goSet) knowsAll() bool { return s.work == nil && s.complete }
