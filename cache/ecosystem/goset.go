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
	byPath   map[string][]goReplace
	requires map[module.Version]bool // with a version, and for any without
	own      map[string]bool         // paths of the modules themselves
	complete bool                    // whether every go.mod is of Go 1.17 or newer
}

// newGoSet completes the set of a go.mod or go.work and its modules.
func newGoSet(s goSet) goSet {
	s.byPath, s.own = map[string][]goReplace{}, map[string]bool{}
	s.requires, s.complete = map[module.Version]bool{}, true
	if s.work != nil {
		s.add(s.dir, s.name, s.work.Replace)
	}
	for _, m := range s.mods {
		s.add(m.dir, path.Join(m.dir, "go.mod"), m.file.Replace)
		s.own[m.file.Module.Mod.Path] = true
		s.complete = s.complete && m.since("1.17")
		for _, r := range m.file.Require {
			s.requires[r.Mod] = true
			s.requires[module.Version{Path: r.Mod.Path}] = true
		}
	}
	return s
}

func (s *goSet) add(dir, name string, rs []*modfile.Replace) {
	for _, r := range rs {
		gr := goReplace{r, dir, cache.Origin{File: name, Line: r.Syntax.Start.Line}}
		s.replaces = append(s.replaces, gr)
		s.byPath[r.Old.Path] = append(s.byPath[r.Old.Path], gr)
	}
}

// goReplace is a replace line with its place.
type goReplace struct {
	*modfile.Replace
	dir    string // that a local path is relative to
	origin cache.Origin
}

// replacement finds what stands in for m; the zero value is nothing. In one
// file, a line for the version wins over one for all versions.
func (s goSet) replacement(m module.Version) module.Version {
	var found module.Version
	if m.Version == "" && s.own[m.Path] {
		return found
	}
	from, exact := "", false
	for _, r := range s.byPath[m.Path] {
		if r.Old.Version != "" && r.Old.Version != m.Version {
			continue
		}
		if from == "" || from == r.origin.File && !exact {
			found, from, exact = s.target(r), r.origin.File, r.Old.Version != ""
		}
	}
	return found
}

// target is what a line puts in, as a vendor directory lists it: workspaces
// write directories relative to the go.work.
func (s goSet) target(r goReplace) module.Version {
	if s.work == nil || r.origin.File == s.name || r.New.Version != "" || path.IsAbs(r.New.Path) {
		return r.New
	}
	rel, err := filepath.Rel(filepath.FromSlash(s.dir), filepath.FromSlash(path.Join(r.dir, r.New.Path)))
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
	if s.work != nil || !s.complete {
		return out
	}
	for mod := range s.requires {
		if target := s.replacement(mod); target.Path != "" {
			mod = target
		}
		out[mod] = true
	}
	return out
}
