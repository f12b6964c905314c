// Package ecosystem knows package managers: what their lockfiles name, where
// they look for it, and the environment that makes them look there. It is
// pure: it reads lockfiles through an fs.FS and opens no socket, so the CLI
// that downloads, the preflight inside a build and the step that lays the
// files out all run this one code and cannot disagree.
//
// Which name to reach for: ParsePackages for the prefetch input, Discover when
// there is none, New for the Plan of packages, Extras for the files that a
// layout makes up, Env for the environment that depends on them, Patterns for
// what of a build context to read, Owner for whose lockfile a file is.
//
// Each package manager has files of its own; Go modules have gomod.go and the
// others that begin with "go".
package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/hermetic-build/hermetic/cache"
)

// An Ecosystem is what one package manager needs known about it. All methods
// are pure.
type Ecosystem interface {
	// Type is the package type of the prefetch input.
	Type() string
	// Marker is the file name that makes a directory a package of this type.
	Marker() string
	// Patterns are the files, at any depth, that Plan may read.
	Patterns() []string
	// Plan reads the lockfiles of the package in dir (slash-separated, "." for
	// the root of fsys). What is wrong with them becomes Problems of the plan.
	Plan(fsys fs.FS, dir string, o Options) cache.Plan
	// Extras makes up the files that belong to inputs without being fetched.
	Extras(inputs []cache.Input) []cache.File
	// Env is what the environment of build steps gets on top of the plan's
	// because these inputs are there.
	Env(inputs []cache.Input) []cache.EnvVar
	// Commands are the programs that use the inputs: the names by which a RUN
	// line shows that it needs them.
	Commands() []string
}

// Options are what a plan depends on besides the lockfiles.
type Options struct {
	// Platforms are those that build steps run on, "linux/amd64": they decide
	// about inputs that differ by platform. Empty means none of these.
	Platforms []string
}

// all is every ecosystem, sorted by type.
var all = []Ecosystem{gomod{}}

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
		e, err := find(p.Type)
		if err == nil {
			err = cleanPath(&p)
		}
		if err != nil {
			plan.Problems = append(plan.Problems, cache.Problem{Kind: cache.BadLock, Subject: p.String(), Cause: err.Error()})
			continue
		}
		plan.Add(e.Plan(fsys, p.Path, o))
		plan.Packages = append(plan.Packages, p)
	}
	plan.Normalize()
	return plan
}

// Extras makes up what a layout holds besides inputs and environment.
func Extras(inputs []cache.Input) []cache.File {
	var files []cache.File
	for _, e := range all {
		var own []cache.Input
		for _, in := range inputs {
			if in.Ecosystem == e.Type() {
				own = append(own, in)
			}
		}
		for _, f := range e.Extras(own) {
			f.Path = path.Join("deps", e.Type(), f.Path)
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b cache.File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// Env is the environment that inputs of a layout add to their plan's.
func Env(inputs []cache.Input) []cache.EnvVar {
	var env []cache.EnvVar
	for _, e := range all {
		env = append(env, e.Env(inputs)...)
	}
	return env
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
			if file == p || strings.HasSuffix(file, "/"+p) {
				return e.Type()
			}
		}
	}
	return ""
}

// Patterns are the files of a build context that plans and Discover may read,
// in the pattern language of .dockerignore, at any depth.
func Patterns() []string {
	out := []string{IgnoreFile}
	for _, e := range all {
		for _, p := range e.Patterns() {
			out = append(out, "**/"+p)
		}
	}
	return out
}

// IgnoreFile is the file whose patterns Discover honours.
const IgnoreFile = ".dockerignore"

// skipped tells which directories hold no packages of their own: the rules of
// the go command for "./...", and package managers' own trees.
func skipped(name string) bool {
	return name == "testdata" || name == "vendor" || name == "node_modules" ||
		strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".")
}

// SkippedPatterns are the directories that neither Discover nor a plan enters,
// in the pattern language of .dockerignore. Plans read in vendor directories,
// and in others that Discover skips: a module may be replaced by one in testdata.
func SkippedPatterns() []string {
	return []string{"**/node_modules", "**/.git"}
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
			if d.Name() == e.Marker() && !ignored(name) {
				pkgs = append(pkgs, cache.Package{Type: e.Type(), Path: path.Dir(name)})
			}
		}
		return nil
	})
	return sortPackages(pkgs), err
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
