// Package ecosystem knows package managers: what their lockfiles name, where
// they look for it, and the environment that makes them look there. It is
// pure: it reads lockfiles through an fs.FS and opens no socket, so the CLI
// that downloads, the preflight inside a build and the step that lays the
// files out all run this one code and cannot disagree.
//
// Which name to reach for: ParsePackages for the prefetch input, Discover when
// there is none, New for the Plan of packages, Layout for the tree of its
// inputs with the files that it makes up, Env for the environment that depends
// on them, Patterns for what of a build context to read, Owner for whose
// lockfile a file is.
//
// Each package manager has files of its own; Go modules have gomod.go and the
// others that begin with "go". One more is a type that implements Ecosystem, in
// the list of all of them, and a backend of its name in the package fetch.
package ecosystem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/hermetic-build/hermetic/cache"
)

// An Ecosystem is what one package manager needs known about it. All methods
// are pure. One that also makes up files is a Maker; one that makes up
// variables, an Environment; one whose packages name their own lockfiles, a
// Namer; one whose inputs are unpacked, a Packager; one of whose inputs more is
// known once their files are, a Describer.
type Ecosystem interface {
	// Type is the package type of the prefetch input.
	Type() string
	// Markers are the file names that make a directory a package of this type.
	Markers() []string
	// Patterns are the files, at any depth, that Plan may read.
	Patterns() []string
	// Commands are the programs that use the inputs: the names by which a RUN
	// line shows that it needs them.
	Commands() []string
	// Options reads the keys that a package has beside type and path, all of
	// them given: unknown ones are errors, and all that is wrong is told at
	// once. The result marshals to what Plan finds in the package's Options, in
	// a form that is the same for all that mean the same; defaults are left out.
	Options(keys map[string]json.RawMessage) (any, []error)
	// Plan reads the lockfiles of a package, whose Path is clean and whose
	// Options are those that Options returned. What is wrong with the lockfiles
	// becomes Problems of the plan.
	Plan(fsys fs.FS, p cache.Package, o Options) cache.Plan
}

// A Maker makes up the files that belong to inputs without being fetched. Their
// paths are relative to deps/<type>.
type Maker interface {
	Extras(inputs []cache.Input) []cache.File
}

// An Environment is what build steps get on top of the plan's because these
// inputs, which may be any ecosystem's, are there.
type Environment interface {
	Env(inputs []cache.Input) []cache.EnvVar
}

// A Packager has inputs that are archives in the cache and directories in a
// layout.
type Packager interface {
	Packaging() cache.Packaging
}

// A Namer tells which files of the build context a package names by its
// options, beside those that Patterns match.
type Namer interface {
	Files(p cache.Package) []string
}

// A Pinner completes the options of a package by what only whoever makes a cache
// can see, so that a build of it knows the same.
type Pinner interface {
	Pin(fsys fs.FS, p cache.Package) cache.Package
}

// A Coverer finds what the Alternatives of a cache lack, resolved against its
// manifest, for the platforms that their plan was made for.
type Coverer interface {
	Uncovered(inputs []cache.Input) []cache.Problem
}

// A Recognizer tells by its content whether a file of one of its Markers' names
// makes a package; without one the name will do.
type Recognizer interface {
	Recognizes(name string, data []byte) bool
}

// An Unasked has options of its own, in canonical form, for the packages that
// Discover finds: those of a project that was never told what Hermeto's are.
type Unasked interface {
	UnaskedOptions() string
}

// Options are what a plan depends on besides the lockfiles.
type Options struct {
	// Platforms are those that build steps run on, "linux/amd64": they decide
	// about inputs that differ by platform. Empty means none of these.
	Platforms []string
	// Repository is where the build context comes from, as a vcs_url of package
	// URLs has it: "git+https://host/path@<commit>", without credentials. It is
	// in the package URLs of local components. Empty where nobody knows.
	Repository string
	// Revisions are what is checked out, by directory: "." and submodules. What
	// is in one is named by it rather than by Repository.
	Revisions map[string]Revision
	// Least leaves out what a lockfile lists and no build of the package reads,
	// as Hermeto's prefetch does.
	Least bool
	// Registries are where packages come from whose lockfiles do not tell, and
	// what package URLs need not name, by package type.
	Registries map[string]Registry
}

// A Revision is a commit of a repository.
type Revision struct {
	Repository string // as in Options
	Time       time.Time
}

// A Registry is what is set on the machine of whoever fetches.
type Registry struct {
	// URL is the place, without credentials; "" is the public one.
	URL string
	// Public is the one that everybody uses who says nothing.
	Public string
}

// all is every ecosystem, sorted by type.
var all = []Ecosystem{cargo{}, generic{}, gitSubmodule{}, gomod{}, npm{}, pip{}}

// Types lists the package types that this version knows.
func Types() []string {
	var names []string
	for _, e := range all {
		names = append(names, e.Type())
	}
	return names
}

// find is the ecosystem of a package type.
func find(kind string) (Ecosystem, error) {
	for _, e := range all {
		if e.Type() == kind {
			return e, nil
		}
	}
	return nil, fmt.Errorf("type %.80q: not one of %s", kind, strings.Join(Types(), ", "))
}

// New is the plan of packages, normalized: sorted, without repetitions, with
// contradictions among its Problems.
func New(fsys fs.FS, pkgs []cache.Package, o Options) cache.Plan {
	var plan cache.Plan
	for _, p := range pkgs {
		clean, errs := clean(p)
		for _, err := range errs {
			plan.Problems = append(plan.Problems, cache.Problem{Kind: cache.BadLock, Subject: p.String(), Cause: err.Error()})
		}
		if len(errs) > 0 {
			continue
		}
		e, _ := find(p.Type) // clean found it
		if pinner, ok := e.(Pinner); ok {
			clean = pinner.Pin(fsys, clean)
		}
		own := e.Plan(fsys, clean, o)
		for i, c := range own.Components {
			own.Components[i] = noted(c, p.Type)
		}
		plan.Add(owned(own, p.Type))
		plan.Packages = append(plan.Packages, clean)
	}
	plan.Normalize()
	return plan
}

// owned is a plan that says of variables and sections whose they are.
func owned(plan cache.Plan, kind string) cache.Plan {
	plan.Env = slices.Clone(plan.Env) // a package's own variable, maybe
	for i := range plan.Env {
		plan.Env[i].Ecosystem = kind
	}
	for i := range plan.Sections {
		plan.Sections[i].Ecosystem = kind
	}
	return plan
}

// Extras makes up what a layout holds besides inputs and environment.
func Extras(inputs []cache.Input) []cache.File {
	var files []cache.File
	for _, e := range all {
		maker, ok := e.(Maker)
		if !ok {
			continue
		}
		var own []cache.Input
		for _, in := range inputs {
			if in.Ecosystem == e.Type() {
				own = append(own, in)
			}
		}
		for _, f := range maker.Extras(own) {
			f.Path = path.Join("deps", e.Type(), f.Path)
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b cache.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// Layout is the tree of inputs, with what belongs to them. config is its
// .build-config.json.
func Layout(inputs []cache.Input, config cache.File) cache.Layout {
	l := cache.Layout{Inputs: inputs, Extra: append(Extras(inputs), config), Packaging: map[string]cache.Packaging{}}
	for _, e := range all {
		if p, ok := e.(Packager); ok {
			l.Packaging[e.Type()] = p.Packaging()
		}
	}
	return l
}

// Env is the environment that inputs of a layout add to their plan's.
func Env(inputs []cache.Input) []cache.EnvVar {
	var env []cache.EnvVar
	for _, e := range all {
		if own, ok := e.(Environment); ok {
			env = append(env, owned(cache.Plan{Env: own.Env(inputs)}, e.Type()).Env...)
		}
	}
	return env
}

// Uncovered are the platforms of a build that the Alternatives among inputs,
// which are resolved, do not serve.
func Uncovered(inputs []cache.Input) []cache.Problem {
	var ps []cache.Problem
	for _, e := range all {
		if c, ok := e.(Coverer); ok {
			ps = append(ps, c.Uncovered(inputs)...)
		}
	}
	return cache.SortProblems(ps)
}

// Commands are the programs of the ecosystem with this package type.
func Commands(kind string) []string {
	e, err := find(kind)
	if err != nil {
		return nil
	}
	return e.Commands()
}

// Owner is the package type whose lockfiles include the file of a build
// context; "" where there is none.
func Owner(file string) string {
	for _, e := range all {
		for _, p := range e.Patterns() {
			match, _ := path.Match(p, lastElements(file, strings.Count(p, "/")+1))
			if match { // of patterns that are constants
				return e.Type()
			}
		}
	}
	return ""
}

// lastElements are the last n elements of a path.
func lastElements(name string, n int) string {
	parts := strings.Split(name, "/")
	return strings.Join(parts[max(0, len(parts)-n):], "/")
}

// Patterns are the files of a build context that plans and Discover may read,
// in the pattern language of .dockerignore: those at any depth, and those that
// the packages name.
func Patterns(pkgs ...cache.Package) []string {
	out := []string{IgnoreFile}
	for _, e := range all {
		for _, p := range e.Patterns() {
			out = append(out, "**/"+p)
		}
	}
	for _, name := range named(pkgs) {
		out = append(out, PatternOf(name))
	}
	return out
}

// PatternOf is the pattern of .dockerignore that matches a name alone.
func PatternOf(name string) string { return patternEscape.Replace(name) }

var patternEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "!", `\!`)

// IgnoreFile is the file whose patterns Discover honours.
const IgnoreFile = ".dockerignore"

// skipped tells which directories hold no packages of their own: the rules of
// the go command for "./...", and package managers' own trees.
func skipped(name string) bool {
	return name == "testdata" || name == "vendor" || name == "node_modules" ||
		strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".")
}

// SkippedPatterns are the directories that neither Discover nor a plan enters,
// in the pattern language of .dockerignore, but for the files that packages
// name. Plans read in vendor directories, and in others that Discover skips: a
// module may be replaced by one in testdata.
func SkippedPatterns(pkgs ...cache.Package) []string {
	out := []string{"**/node_modules", "**/.git"}
	for _, name := range named(pkgs) {
		if strings.Contains("/"+name, "/.git/") {
			out = append(out, "!"+PatternOf(name))
		}
	}
	return out
}

// named are the files that packages name by their options.
func named(pkgs []cache.Package) []string {
	var out []string
	for _, p := range pkgs {
		clean, errs := clean(p)
		e, _ := find(p.Type)
		if n, ok := e.(Namer); ok && len(errs) == 0 {
			out = append(out, n.Files(clean)...)
		}
	}
	return out
}

// Pinned are packages, completed by the options of those that a cache was made
// from, where an input leaves them to whoever makes it.
func Pinned(pkgs, made []cache.Package) []cache.Package {
	out := slices.Clone(pkgs)
	for i, p := range out {
		e, _ := find(p.Type)
		if _, ok := e.(Pinner); !ok || p.Options != "" {
			continue
		}
		for _, m := range made {
			if m.Type == p.Type && m.Path == p.Path {
				out[i] = m
			}
		}
	}
	return out
}

// Discover finds the packages of a build context that gives no prefetch input:
// each directory with a lockfile's marker, save those that the build cannot
// see (.dockerignore) and those that are data (testdata and the like). They are
// sorted.
func Discover(fsys fs.FS) ([]cache.Package, error) {
	ignored, err := ignore(fsys)
	if err != nil {
		return nil, err
	}
	var pkgs []cache.Package
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return fs.SkipDir // an unreadable directory is nothing a build can use
		case d.IsDir() && name != "." && skipped(d.Name()):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		for _, e := range all {
			if slices.Contains(e.Markers(), d.Name()) && !ignored(name) && recognized(fsys, e, name) {
				p := cache.Package{Type: e.Type(), Path: path.Dir(name)}
				if u, ok := e.(Unasked); ok {
					p.Options = u.UnaskedOptions()
				}
				pkgs = append(pkgs, p)
			}
		}
		return nil
	})
	return sortPackages(pkgs), err
}

// recognized asks e about a file that bears the name of a marker. One that
// cannot be read is recognized: its plan says why.
func recognized(fsys fs.FS, e Ecosystem, name string) bool {
	r, ok := e.(Recognizer)
	if !ok {
		return true
	}
	data, cause := readLock(fsys, name, maxRequirements)
	return cause != "" || r.Recognizes(path.Base(name), data)
}

// ignore reads .dockerignore into a function.
func ignore(fsys fs.FS) (func(string) bool, error) {
	data, err := fs.ReadFile(fsys, IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return func(string) bool { return false }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s", IgnoreFile, readCause(err))
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %v", IgnoreFile, err)
	}
	pm, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("%s: %v", IgnoreFile, err)
	}
	return func(name string) bool {
		match, err := pm.MatchesOrParentMatches(name)
		return err == nil && match
	}, nil
}
