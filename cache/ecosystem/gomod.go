package ecosystem

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/hermetic-build/hermetic/cache"
)

// gomod is Go modules (https://go.dev/ref/mod). go.sum names everything that
// a build can read: a zip for each "module version h1:" line, a go.mod file
// for each "module version/go.mod h1:" line. Layout and environment are those
// of Hermeto's gomod backend:
//
//	deps/gomod/pkg/mod/cache/download/<escaped module>/@v/
//		list  <version>.info  <version>.mod  <version>.zip  <version>.ziphash
type gomod struct{}

const (
	kindZip = "zip"
	kindMod = "mod"

	// toolchainModule is the module whose zips are Go distributions
	// (https://go.dev/doc/toolchain).
	toolchainModule = "golang.org/toolchain"

	downloadDir = "pkg/mod/cache/download"
)

func (gomod) Type() string      { return "gomod" }
func (gomod) Markers() []string { return []string{"go.mod"} }

func (gomod) Patterns() []string {
	return []string{"go.mod", "go.sum", "go.work", "go.work.sum", "vendor/modules.txt"}
}

func (gomod) Commands() []string { return []string{"go", "gofmt"} }

// goEnv makes the go command use the layout and nothing else.
var goEnv = []cache.EnvVar{
	{Name: "GOCACHE", Value: "${output_dir}/deps/gomod"},
	{Name: "GOMODCACHE", Value: "${output_dir}/deps/gomod/pkg/mod"},
	{Name: "GOPATH", Value: "${output_dir}/deps/gomod"},
	{Name: "GOPROXY", Value: "file://${GOMODCACHE}/cache/download"},
	{Name: "GOSUMDB", Value: "off"},
}

// goPlan gathers the plan of one package.
type goPlan struct {
	fsys    fs.FS
	options Options
	cache.Plan
}

func (gomod) Options(keys map[string]json.RawMessage) (any, []error) {
	return nil, readKeys(keys, nil)
}

func (gomod) Plan(fsys fs.FS, pkg cache.Package, o Options) cache.Plan {
	p := &goPlan{fsys: fsys, options: o}
	main, ok := p.readMod(pkg.Path)
	if !ok {
		return p.Plan
	}
	p.Env = goEnv
	work, workDir := p.readWork(main)
	if work != nil {
		p.workspace(work, workDir)
	} else {
		p.single(main)
	}
	p.toolchain(main, work)
	return p.Plan
}

// problem records what is wrong at a line of a file.
func (p *goPlan) problem(kind cache.ProblemKind, at cache.Origin, subjectCause ...string) {
	pr := cache.Problem{Kind: kind, Origin: at, Cause: subjectCause[len(subjectCause)-1]}
	if len(subjectCause) > 1 {
		pr.Subject = subjectCause[0]
	}
	p.Problems = append(p.Problems, pr)
}

// readMod reads dir/go.mod.
func (p *goPlan) readMod(dir string) (goModule, bool) {
	name := path.Join(dir, "go.mod")
	data, err := readGo(p.fsys, name, maxGoMod)
	if err != nil {
		p.problem(absence(err), cache.Origin{File: name}, readCause(err))
		return goModule{}, false
	}
	f, err := modfile.Parse(name, data, nil)
	if err != nil {
		p.modfileError(name, err)
		return goModule{}, false
	}
	if f.Module == nil {
		p.problem(cache.BadLock, cache.Origin{File: name}, "no module line")
		return goModule{}, false
	}
	return goModule{dir, f}, true
}

// modfileError turns what modfile found, all of it, into problems.
func (p *goPlan) modfileError(name string, err error) {
	var list modfile.ErrorList
	if !errors.As(err, &list) {
		p.problem(cache.BadLock, cache.Origin{File: name}, err.Error())
		return
	}
	for _, e := range list {
		p.problem(cache.BadLock, cache.Origin{File: name, Line: e.Pos.Line}, e.Verb, e.Err.Error())
	}
}

// readCause says in a word why a lockfile is not there.
func readCause(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file in the build context"
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

// readWork finds the go.work that rules a module, as the go command does: in
// its directory or the nearest one above it. A workspace that does not use the
// module does not concern it.
func (p *goPlan) readWork(main goModule) (*modfile.WorkFile, string) {
	for at := main.dir; ; at = path.Dir(at) {
		name := path.Join(at, "go.work")
		data, err := readGo(p.fsys, name, maxGoMod)
		switch {
		case err == nil:
			work, err := modfile.ParseWork(name, data, nil)
			if err != nil {
				p.modfileError(name, err)
				return nil, ""
			}
			for _, use := range work.Use {
				if !path.IsAbs(use.Path) && path.Join(at, use.Path) == main.dir {
					return work, at
				}
			}
			return nil, ""
		case !errors.Is(err, fs.ErrNotExist):
			p.problem(cache.BadLock, cache.Origin{File: name}, readCause(err))
			return nil, ""
		case at == ".":
			return nil, ""
		}
	}
}

// single plans a module on its own.
func (p *goPlan) single(m goModule) {
	set := newGoSet(goSet{dir: m.dir, name: path.Join(m.dir, "go.mod"), mods: []goModule{m}})
	p.describe(set)
	if p.vendored(set) {
		return
	}
	p.localReplaces(set)
	if sum := path.Join(m.dir, "go.sum"); !p.readSum(sum, set) {
		p.missingSum(set, "go.sum")
	}
}

// workspace plans all modules of a go.work.
func (p *goPlan) workspace(work *modfile.WorkFile, dir string) {
	set := goSet{dir: dir, name: path.Join(dir, "go.work"), work: work}
	for _, use := range work.Use {
		origin := cache.Origin{File: set.name, Line: use.Syntax.Start.Line}
		at, ok := p.local(origin, dir, use.Path)
		if !ok {
			continue
		}
		if m, ok := p.readMod(at); ok {
			set.mods = append(set.mods, m)
		}
	}
	set = newGoSet(set)
	p.describe(set)
	if p.vendored(set) {
		return
	}
	p.localReplaces(set)
	found := p.readSum(path.Join(dir, "go.work.sum"), set)
	for _, m := range set.mods {
		found = p.readSum(path.Join(m.dir, "go.sum"), set) || found
	}
	if !found {
		p.missingSum(set, "go.sum or go.work.sum")
	}
}

// missingSum is the complaint of a set of modules without any sums, at each
// line that needs one.
func (p *goPlan) missingSum(set goSet, names string) {
	for _, m := range set.mods {
		for _, r := range m.file.Require {
			if set.own[r.Mod.Path] || isDir(set.replacement(r.Mod)) {
				continue
			}
			p.problem(cache.NoSum, cache.Origin{File: path.Join(m.dir, "go.mod"), Line: r.Syntax.Start.Line},
				r.Mod.String(), "required, and there is no "+names+" that says what it is")
		}
	}
}

// isDir tells whether a replacement is a directory.
func isDir(m module.Version) bool { return m.Path != "" && m.Version == "" }

// local finds the module in a directory that a line names, relative to dir. One
// that the build will not see is a problem.
func (p *goPlan) local(origin cache.Origin, dir, name string) (string, bool) {
	at := path.Join(dir, name)
	if path.IsAbs(name) || at == ".." || strings.HasPrefix(at, "../") {
		p.problem(cache.Outside, origin, name, "outside the build context")
		return "", false
	}
	if _, err := fs.Stat(p.fsys, path.Join(at, "go.mod")); err != nil {
		p.problem(cache.Outside, origin, name, "no go.mod there in the build context")
		return "", false
	}
	return at, true
}

// localReplaces finds directories that stand in for modules and that the build
// will not see. Those for modules that nobody requires are never looked at
// (https://go.dev/ref/mod#lazy-loading).
func (p *goPlan) localReplaces(set goSet) {
	for _, r := range set.replaces {
		if r.New.Version == "" && set.mayRequire(r.Old) {
			p.local(r.origin(), r.file.dir, r.New.Path)
		}
	}
}

// readSum reads a go.sum or go.work.sum; false means that there is none.
func (p *goPlan) readSum(name string, set goSet) bool {
	required := set.required()
	data, err := readGo(p.fsys, name, maxGoSum)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		p.problem(cache.BadLock, cache.Origin{File: name}, readCause(err))
		return true
	}
	inputs, problems := parseGoSum(name, data)
	for _, in := range inputs {
		switch {
		case in.Name == toolchainModule && !p.runs(in.Version):
			continue
		case in.Kind == kindZip && p.options.Least && set.knowsAll() && !required[module.Version{Path: in.Name, Version: in.Version}]:
			continue
		case in.Kind == kindZip && required[module.Version{Path: in.Name, Version: in.Version}]:
			in.Need = cache.Required
		}
		if in.Kind == kindZip {
			in.Component = goComponent(set.called(in.Name, in.Version), module.Version{Path: in.Name, Version: in.Version})
		}
		p.Inputs = append(p.Inputs, in)
	}
	p.Problems = append(p.Problems, problems...)
	p.Locks = append(p.Locks, cache.Lock{File: name, Sum: cache.SumBytes(data)})
	return true
}
