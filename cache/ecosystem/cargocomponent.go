package ecosystem

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	cargoToml     = "Cargo.toml"
	maxCargoToml  = 4 << 20
	maxCargoTomls = 10_000 // packages of one workspace
)

// component is the component that a crate of a registry is.
func (c crate) component() *cache.Component {
	registry := ""
	if !isBuiltIn(c.source) {
		_, registry, _ = strings.Cut(c.source, "+")
	}
	p := packageurl.NewPackageURL("cargo", "", c.name, c.version,
		qualifiers("checksum", c.sum.Hex(), "repository_url", withoutLogin(registry)), "")
	return library(c.name, *p)
}

// localComponents are the components of the build context that a lockfile
// lists: the packages that come from nowhere else. The directory of one is known
// where a Cargo.toml leads to it.
func localComponents(files cargoFiles, lock string, crates []lockedCrate, o Options) []cache.Component {
	crates = slices.DeleteFunc(slices.Clone(crates), func(c lockedCrate) bool { return c.source != "" })
	if len(crates) == 0 {
		return nil
	}
	dirs := cargoDirs(files, path.Dir(lock))
	var out []cache.Component
	for _, c := range crates {
		dir, known := dirs[c.name]
		if !known {
			dir = path.Dir(lock)
		}
		out = append(out, *library(c.name, o.localPURL("cargo", c.name, c.version, dir)))
	}
	return out
}

// A cargoWalk follows the Cargo.toml files of a workspace.
type cargoWalk struct {
	cargoFiles
	seen map[string]bool
	dirs map[string]string // of packages, by name
}

// cargoDirs are the directories of the packages that the Cargo.toml in root
// leads to, by name: members of its workspace and dependencies by path. What
// cannot be read leads nowhere.
func cargoDirs(files cargoFiles, root string) map[string]string {
	w := &cargoWalk{cargoFiles: files, seen: map[string]bool{}, dirs: map[string]string{}}
	queue := []string{root}
	for len(queue) > 0 && len(w.seen) < maxCargoTomls {
		queue = append(queue[1:], w.visit(queue[0])...)
	}
	return w.dirs
}

// visit reads one Cargo.toml and is the directories that it names.
func (w *cargoWalk) visit(dir string) []string {
	if w.seen[dir] || !fs.ValidPath(dir) {
		return nil
	}
	w.seen[dir] = true
	doc := w.manifest(dir)
	if doc == nil {
		return nil
	}
	if name := doc.str("package", "name"); name != "" {
		if _, twice := w.dirs[name]; !twice {
			w.dirs[name] = dir
		}
	}
	paths := append(cargoPaths(doc), cargoPaths(doc.at("workspace"))...)
	for _, target := range doc.at("target").values() {
		paths = append(paths, cargoPaths(target)...)
	}
	for _, patch := range doc.at("patch").values() {
		paths = append(paths, pathsOf(patch)...)
	}
	var out []string
	for _, p := range slices.Sorted(slices.Values(paths)) {
		out = append(out, path.Join(dir, p))
	}
	if patterns := doc.at("workspace").strs("members"); len(patterns) <= maxPatterns {
		for _, pattern := range patterns {
			out = append(out, w.glob(path.Join(dir, pattern))...)
		}
	}
	return out
}

// cargoPaths are the paths in the tables of dependencies of a table.
func cargoPaths(table *tomlNode) []string {
	var out []string
	for _, kind := range []string{"dependencies", "dev-dependencies", "build-dependencies"} {
		out = append(out, pathsOf(table.at(kind))...)
	}
	return out
}

// pathsOf are the paths in a table of dependencies.
func pathsOf(deps *tomlNode) []string {
	var out []string
	for _, dep := range deps.values() {
		if p := dep.str("path"); p != "" && !path.IsAbs(p) {
			out = append(out, p)
		}
	}
	return out
}
