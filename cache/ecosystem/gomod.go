package ecosystem

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

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

func (gomod) Type() string   { return "gomod" }
func (gomod) Marker() string { return "go.mod" }

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

// module is a go.mod that was read.
type goModule struct {
	dir  string
	file *modfile.File
}

// goPlan gathers the plan of one package.
type goPlan struct {
	fsys fs.FS
	cache.Plan
}

func (gomod) Plan(fsys fs.FS, dir string, o Options) cache.Plan {
	p := &goPlan{fsys: fsys}
	main, ok := p.readMod(dir)
	if !ok {
		return p.Plan
	}
	p.Env = goEnv
	work, workDir := p.readWork(dir, main)
	if work != nil {
		p.workspace(work, workDir)
	} else {
		p.single(main)
	}
	p.toolchain(main, work, o.Platforms)
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
	data, err := fs.ReadFile(p.fsys, name)
	if err != nil {
		p.problem(cache.BadLock, cache.Origin{File: name}, readCause(err))
		return goModule{}, false
	}
	f, err := modfile.Parse(name, data, nil)
	if err != nil {
		p.modfileError(name, err)
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

// readWork finds the go.work that rules dir, as the go command does: in dir or
// the nearest directory above it. A workspace that does not use the module of
// dir does not concern it.
func (p *goPlan) readWork(dir string, main goModule) (*modfile.WorkFile, string) {
	for at := dir; ; at = path.Dir(at) {
		name := path.Join(at, "go.work")
		data, err := fs.ReadFile(p.fsys, name)
		if err == nil {
			work, err := modfile.ParseWork(name, data, nil)
			if err != nil {
				p.modfileError(name, err)
				return nil, ""
			}
			for _, use := range work.Use {
				if path.Join(at, use.Path) == main.dir {
					return work, at
				}
			}
			return nil, ""
		}
		if at == "." {
			return nil, ""
		}
	}
}

// single plans a module on its own.
func (p *goPlan) single(m goModule) {
	p.localReplaces(m.dir, path.Join(m.dir, "go.mod"), m.file.Replace)
	if p.vendored(vendorWant{dir: m.dir, name: path.Join(m.dir, "go.mod"), mods: []goModule{m}, replace: m.file.Replace}) {
		return
	}
	sum := path.Join(m.dir, "go.sum")
	if !p.readSum(sum, []goModule{m}) {
		for _, r := range m.file.Require {
			if !replacedLocally(m.file.Replace, r.Mod) {
				p.problem(cache.BadLock, cache.Origin{File: path.Join(m.dir, "go.mod"), Line: r.Syntax.Start.Line},
					r.Mod.String(), "required, and there is no go.sum that says what it is")
			}
		}
	}
}

// workspace plans all modules of a go.work.
func (p *goPlan) workspace(work *modfile.WorkFile, dir string) {
	name := path.Join(dir, "go.work")
	var mods []goModule
	for _, use := range work.Use {
		at := path.Join(dir, use.Path)
		if path.IsAbs(use.Path) || at == ".." || strings.HasPrefix(at, "../") {
			p.problem(cache.Outside, cache.Origin{File: name, Line: use.Syntax.Start.Line}, use.Path, "outside the build context")
			continue
		}
		m, ok := p.readMod(at)
		if !ok {
			continue
		}
		mods = append(mods, m)
		p.localReplaces(m.dir, path.Join(m.dir, "go.mod"), m.file.Replace)
	}
	p.localReplaces(dir, name, work.Replace)
	if p.vendored(vendorWant{dir: dir, name: name, workspace: true, mods: mods, replace: work.Replace}) {
		return
	}
	p.readSum(path.Join(dir, "go.work.sum"), mods)
	for _, m := range mods {
		p.readSum(path.Join(m.dir, "go.sum"), mods)
	}
}

// replacedLocally tells whether a directory stands in for the module.
func replacedLocally(rs []*modfile.Replace, m module.Version) bool {
	for _, r := range rs {
		if r.Old.Path == m.Path && (r.Old.Version == "" || r.Old.Version == m.Version) {
			return r.New.Version == ""
		}
	}
	return false
}

// localReplaces finds directories that stand in for modules and that the
// build will not see.
func (p *goPlan) localReplaces(dir, name string, rs []*modfile.Replace) {
	for _, r := range rs {
		if r.New.Version != "" {
			continue
		}
		at := path.Join(dir, r.New.Path)
		origin := cache.Origin{File: name, Line: r.Syntax.Start.Line}
		if path.IsAbs(r.New.Path) || at == ".." || strings.HasPrefix(at, "../") {
			p.problem(cache.Outside, origin, r.New.Path, "outside the build context")
		} else if _, err := fs.Stat(p.fsys, path.Join(at, "go.mod")); err != nil {
			p.problem(cache.Outside, origin, r.New.Path, "no go.mod there in the build context")
		}
	}
}

// readSum reads a go.sum or go.work.sum; false means that there is none.
func (p *goPlan) readSum(name string, mods []goModule) bool {
	data, err := fs.ReadFile(p.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		p.problem(cache.BadLock, cache.Origin{File: name}, readCause(err))
		return true
	}
	inputs, problems := parseGoSum(name, data)
	required := requiredModules(mods)
	for i := range inputs {
		in := &inputs[i]
		if in.Kind == kindZip && required[module.Version{Path: in.Name, Version: in.Version}] {
			in.Need = cache.Required
		}
	}
	p.Inputs = append(p.Inputs, inputs...)
	p.Problems = append(p.Problems, problems...)
	p.Locks = append(p.Locks, cache.Lock{File: name, Sum: cache.SumBytes(data)})
	return true
}

// requiredModules are those whose zip no build can do without: from Go 1.17 on
// go.mod names every module that provides a package
// (https://go.dev/ref/mod#graph-pruning), replaced ones by their replacement.
func requiredModules(mods []goModule) map[module.Version]bool {
	out := map[module.Version]bool{}
	for _, m := range mods {
		if m.file.Go == nil || semver.Compare("v"+m.file.Go.Version, "v1.17") < 0 {
			continue
		}
		for _, r := range m.file.Require {
			mod := r.Mod
			for _, rep := range m.file.Replace {
				if rep.Old.Path == mod.Path && (rep.Old.Version == "" || rep.Old.Version == mod.Version) {
					mod = rep.New
				}
			}
			out[mod] = true
		}
	}
	return out
}

// toolchain adds the Go distribution that the go and toolchain lines ask for.
// It is optional: an image with a Go at least as new needs none.
func (p *goPlan) toolchain(main goModule, work *modfile.WorkFile, platforms []string) {
	goLine, tcLine, name := main.file.Go, main.file.Toolchain, path.Join(main.dir, "go.mod")
	if work != nil && (work.Go != nil || work.Toolchain != nil) {
		goLine, tcLine, name = work.Go, work.Toolchain, work.Syntax.Name
	}
	version, line := "", 0
	if goLine != nil && strings.Count(goLine.Version, ".") == 2 || goLine != nil && strings.Contains(goLine.Version, "rc") {
		version, line = "go"+goLine.Version, goLine.Syntax.Start.Line
	}
	if tcLine != nil && strings.HasPrefix(tcLine.Name, "go1.") && newerGo(tcLine.Name, version) {
		version, line = tcLine.Name, tcLine.Syntax.Start.Line
	}
	if version == "" || !newerGo(version, "go1.20.99") {
		return // before 1.21 there were no toolchain modules
	}
	for _, platform := range platforms {
		v := "v0.0.1-" + version + "." + strings.ReplaceAll(strings.TrimSuffix(platform, "/v8"), "/", "-")
		if module.Check(toolchainModule, v) != nil || p.lists(toolchainModule, v) {
			continue
		}
		p.Inputs = append(p.Inputs, cache.Input{
			Ecosystem: "gomod", Kind: kindZip, Name: toolchainModule, Version: v,
			Path: downloadPath(toolchainModule, v, ".zip"), Need: cache.Optional,
			Origin: cache.Origin{File: name, Line: line},
		})
	}
}

func (p *goPlan) lists(name, version string) bool {
	return slices.ContainsFunc(p.Inputs, func(in cache.Input) bool { return in.Name == name && in.Version == version })
}

// newerGo tells whether toolchain a ("go1.26.1") is newer than b; anything is
// newer than "".
func newerGo(a, b string) bool {
	return b == "" || semver.Compare(goSemver(a), goSemver(b)) > 0
}

// goSemver makes "go1.26rc1" comparable: v1.26.0-rc1.
func goSemver(name string) string {
	v := strings.TrimPrefix(name, "go")
	v, _, _ = strings.Cut(v, "-") // a vendor's suffix
	for _, pre := range []string{"rc", "beta"} {
		if head, n, ok := strings.Cut(v, pre); ok {
			return "v" + head + ".0-" + pre + "." + n
		}
	}
	return "v" + v
}

// downloadPath is where the go command keeps a file of a module version.
func downloadPath(name, version, suffix string) string {
	esc, err1 := module.EscapePath(name)
	ver, err2 := module.EscapeVersion(version)
	if err1 != nil || err2 != nil {
		return "" // parseGoSum lets no such module through
	}
	return path.Join(downloadDir, esc, "@v", ver+suffix)
}

// Extras are what the go command expects beside zips and go.mod files: the
// sum of each zip, the version records, the list of versions.
func (gomod) Extras(inputs []cache.Input) []cache.File {
	var files []cache.File
	seen := map[module.Version]bool{}
	lists := map[string][]string{}
	for _, in := range inputs {
		if in.Kind == kindZip && !in.Sum.IsZero() {
			files = append(files, cache.File{Path: downloadPath(in.Name, in.Version, ".ziphash"), Data: []byte(in.Sum.Notation())})
		}
		mv := module.Version{Path: in.Name, Version: in.Version}
		if seen[mv] {
			continue
		}
		seen[mv] = true
		files = append(files, cache.File{Path: downloadPath(in.Name, in.Version, ".info"), Data: info(in.Version)})
		if !module.IsPseudoVersion(in.Version) {
			lists[in.Name] = append(lists[in.Name], in.Version)
		}
	}
	for name, versions := range lists {
		semver.Sort(versions)
		esc, err := module.EscapePath(name)
		if err != nil {
			continue // parseGoSum lets no such module through
		}
		files = append(files, cache.File{
			Path: path.Join(downloadDir, esc, "@v", "list"),
			Data: []byte(strings.Join(versions, "\n") + "\n"),
		})
	}
	return files
}

// info is a version record. A pseudo-version carries its own time; another
// version's time is not in any lockfile, and none is made up.
func info(version string) []byte {
	record := struct {
		Version string
		Time    *time.Time `json:",omitempty"`
	}{Version: version}
	if t, err := module.PseudoVersionTime(version); err == nil {
		record.Time = &t
	}
	data, _ := json.Marshal(record) // a string and a time always marshal
	return data
}

// parseGoSum reads a go.sum: "module version h1:…" or "module version/go.mod
// h1:…" a line (https://go.dev/ref/mod#go-sum-files).
func parseGoSum(name string, data []byte) ([]cache.Input, []cache.Problem) {
	var inputs []cache.Input
	var problems []cache.Problem
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		in, cause := goSumLine(fields)
		if cause != "" {
			problems = append(problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: name, Line: line}, Cause: cause})
			continue
		}
		in.Origin = cache.Origin{File: name, Line: line}
		inputs = append(inputs, in)
	}
	return inputs, problems
}

// goSumLine reads one line; the cause says what is wrong with it.
func goSumLine(fields []string) (cache.Input, string) {
	if len(fields) != 3 {
		return cache.Input{}, fmt.Sprintf("want 3 fields, found %d", len(fields))
	}
	in := cache.Input{Ecosystem: "gomod", Kind: kindZip, Name: fields[0], Version: fields[1]}
	suffix, notation := ".zip", fields[2]
	if v, ok := strings.CutSuffix(in.Version, "/go.mod"); ok {
		in.Version, in.Kind, suffix = v, kindMod, ".mod"
		notation = strings.Replace(notation, "h1:", "h1mod:", 1)
	}
	if err := module.Check(in.Name, in.Version); err != nil {
		return cache.Input{}, err.Error()
	}
	sum, err := cache.ParseSum(notation)
	if err != nil || !strings.HasPrefix(fields[2], "h1:") {
		return cache.Input{}, fmt.Sprintf("checksum %.80q: want h1: and the base64 of 32 bytes", fields[2])
	}
	in.Sum = sum
	in.Path = downloadPath(in.Name, in.Version, suffix)
	return in, ""
}
