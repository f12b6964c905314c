package ecosystem

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// cargo is Rust crates (https://doc.rust-lang.org/cargo). Cargo.lock names all
// that a build can read, and cargo does not work without all of it, whatever
// the platform. Layout and configuration are those of Hermeto's cargo backend,
// which are those of "cargo vendor --versioned-dirs":
//
//	deps/cargo/<name>-<version>/…                    the crate, unpacked
//	deps/cargo/<name>-<version>/.cargo-checksum.json
//
//	deps/cargo/.source-<hash>/…                      of a source that has a version
//	                                                 of a crate that another has, too
//
// and a configuration that replaces each source by this directory. RUN steps
// find it in /.cargo/config.toml, which cargo reads from wherever it is called;
// the project's own file, with the same in it, is a project file.
type cargo struct{}

const (
	cargoLock    = "Cargo.lock"
	maxCargoLock = 16 << 20 // bytes of it: fifty thousand crates and more
	kindCrate    = "crate"

	// cargoMount is where RUN steps see the configuration.
	cargoMount = "/.cargo/config.toml"
)

// cratesOwner begins the source of crates in Cargo.lock that cargo has built in:
// a name, to which cargo itself no longer connects.
const cratesOwner = "registry+https://github.com/rust-lang/"

// isBuiltIn tells cargo's own registry from those that projects name.
func isBuiltIn(source string) bool { return strings.HasPrefix(source, cratesOwner) }

// cratesName is what configuration files call it.
const cratesName = "crates-io"

func (cargo) Type() string      { return "cargo" }
func (cargo) Markers() []string { return []string{cargoLock} }

func (cargo) Patterns() []string {
	return []string{cargoLock, cargoToml, ".cargo/config.toml", ".cargo/config"}
}

func (cargo) Commands() []string { return []string{"cargo", "rustc", "rustdoc"} }

func (cargo) Options(keys map[string]json.RawMessage) (any, []error) {
	return nil, readKeys(keys, nil)
}

func (cargo) Plan(fsys fs.FS, p cache.Package, o Options) cache.Plan {
	name := findCargoLock(fsys, p.Path)
	data, cause := readLock(fsys, name, maxCargoLock)
	if cause != "" {
		return cache.Plan{Problems: []cache.Problem{unread(fsys, name, cause)}}
	}
	crates, all, problems := parseCargoLock(name, data)
	plan := cache.Plan{Locks: []cache.Lock{{File: name, Sum: cache.SumBytes(data)}}, Problems: problems}
	config := readCargoConfig(fsys, p.Path)
	plan.Problems = append(plan.Problems, config.problems...)
	plan.Warnings = config.warnings
	files := newCargoTree(fsys)
	plan.Components = localComponents(files, name, all, o)
	stale := newCargoStale(files, name, all)
	plan.Warnings = append(plan.Warnings, stale.warnings...)
	if config.brings() {
		plan.Warnings = append(plan.Warnings, stale.problems...)
	} else {
		plan.Problems = append(plan.Problems, stale.problems...)
	}
	origins := map[string]cargoOrigin{}
	vendored := true
	for _, c := range crates {
		if _, known := origins[c.source]; known {
			continue
		}
		from, problem := config.resolve(c.source)
		if problem != "" {
			plan.Problems = append(plan.Problems, c.problem(problem))
		}
		origins[c.source] = from
		vendored = vendored && from.vendored
	}
	if vendored { // or without any crates
		for _, c := range crates {
			if in, problem := c.input(origins[c.source]); problem == "" {
				plan.Components = append(plan.Components, *in.Component)
			}
		}
		return plan
	}
	addCrates(&plan, crates, origins)
	plan.Project, plan.Sections = config.files(origins)
	return plan
}

// addCrates adds the inputs that crates are to a plan, and says in origins where
// below deps/cargo each source is.
func addCrates(plan *cache.Plan, crates []crate, origins map[string]cargoOrigin) {
	for source, dir := range apart(crates) {
		from := origins[source]
		from.dir = dir
		origins[source] = from
	}
	for _, c := range crates {
		in, problem := c.input(origins[c.source])
		if problem != "" {
			plan.Problems = append(plan.Problems, c.problem(problem))
			continue
		}
		plan.Inputs = append(plan.Inputs, in)
	}
}

// findCargoLock is the lockfile of the package at dir: its own, or that of the
// workspace it is in, which is in a directory above.
func findCargoLock(fsys fs.FS, dir string) string {
	for at := dir; ; at = path.Dir(at) {
		name := path.Join(at, cargoLock)
		if _, err := fs.Stat(fsys, name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return name
		}
		if at == "." {
			return path.Join(dir, cargoLock)
		}
	}
}

// apart are the sources that need a directory of their own, with its name: those
// that have a version of a crate that another source before them has, too. Cargo
// does not look into directories whose name begins with a dot, so these can be
// where the crates of all others are.
func apart(crates []crate) map[string]string {
	bySource := map[string][]crate{}
	for _, c := range crates {
		bySource[c.source] = append(bySource[c.source], c)
	}
	sources := slices.SortedFunc(maps.Keys(bySource), func(a, b string) int {
		switch {
		case isBuiltIn(a) && !isBuiltIn(b):
			return -1
		case isBuiltIn(b) && !isBuiltIn(a):
			return 1
		}
		return strings.Compare(a, b)
	})
	dirs := map[string]string{}
	taken := map[[2]string]bool{}
	for _, source := range sources {
		key := func(c crate) [2]string { return [2]string{c.name, c.version} }
		if slices.ContainsFunc(bySource[source], func(c crate) bool { return taken[key(c)] }) {
			dirs[source] = ".source-" + cache.SumBytes([]byte(source)).Hex()[:12]
			continue
		}
		for _, c := range bySource[source] {
			taken[key(c)] = true
		}
	}
	return dirs
}

// input is the input that a crate is.
func (c crate) input(from cargoOrigin) (in cache.Input, problem string) {
	in = cache.Input{
		Ecosystem: "cargo", Kind: kindCrate + from.dir, Name: c.name, Version: c.version,
		Sum: c.sum, Path: path.Join(from.dir, c.name+"-"+c.version), Form: cache.Archive, Need: cache.Required,
		Origin: c.origin, URL: from.index, Auth: from.auth, Component: c.component(),
	}
	if from.kind != "git" {
		return in, ""
	}
	_, commit, _ := strings.Cut(c.source, "#")
	in, err := gitInput(in, from.repo, commit)
	if err != nil {
		return in, err.Error()
	}
	in.Kind, in.Form = KindGit+from.dir, cache.Checkout
	in.Component = gitComponent("cargo", c.name, c.version, gitVCSURL(definition(c.source).Git, commit))
	return in, ""
}
