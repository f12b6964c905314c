package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// pip is Python packages: requirements files with checksums, pylock.toml and
// uv.lock. Layout and environment are those of Hermeto's pip backend:
//
//	deps/pip/<file name of the distribution>
//
// Which distributions are wanted is Hermeto's option "binary": without it
// source distributions, with it the wheels that fit, for the platforms of the
// build where the option names none. Packages that Discover finds have it.
//
// Of a requirements file it is not known which of a version's files the
// checksums are of before an index is asked. Each checksum is an input of its
// own, an Alternative whose Kind is the checksum; the manifest has those that
// were chosen, with their file names. pylock.toml and uv.lock name files: their
// inputs are of Kind "sdist" and "wheel", and the Platform of a wheel is what
// its name says of that.
//
// Markers are evaluated: what they rule out on all platforms of the build is
// left out. Which Python runs is known only where the option binary has
// "py_version"; without it, markers that ask for it rule nothing out.
type pip struct{}

const (
	requirementsTxt   = "requirements.txt"
	requirementsBuild = "requirements-build.txt"
	pylockFile        = "pylock.toml"
	uvLockFile        = "uv.lock"

	kindSource = "sdist"
	kindWheel  = "wheel"
	kindURL    = "url"

	maxRequirements = 16 << 20 // bytes of a requirements file
	maxIncludes     = 1000     // files that one package may read
)

func (pip) Type() string       { return "pip" }
func (pip) Markers() []string  { return []string{requirementsTxt, pylockFile, uvLockFile} }
func (pip) Commands() []string { return []string{"pip", "pip3", "python", "python3", "uv"} }

func (pip) Patterns() []string {
	return []string{
		requirementsTxt, "requirements*.txt", "*requirements.txt", "requirements/*.txt", "constraints*.txt",
		pylockFile, "pylock.*.toml", uvLockFile,
	}
}

// Recognizes implements Recognizer: lists of requirements without checksums lock
// nothing, and are in many projects for people to read.
func (pip) Recognizes(name string, data []byte) bool {
	return name != requirementsTxt || bytes.Contains(data, []byte("--hash"))
}

// UnaskedOptions implements Unasked: wheels where there are any, and the source
// distributions that the lockfile has, which is what pip itself takes.
func (pip) UnaskedOptions() string { return `{"binary":{}}` }

// pipEnv makes pip and uv use the layout and nothing else.
var pipEnv = []cache.EnvVar{
	{Name: "PIP_FIND_LINKS", Value: "${output_dir}/deps/pip"},
	{Name: "PIP_NO_INDEX", Value: "true"},
	{Name: "UV_FIND_LINKS", Value: "${output_dir}/deps/pip"},
	{Name: "UV_NO_INDEX", Value: "true"},
	{Name: "UV_OFFLINE", Value: "true"},
}

// pipOptions are the keys of a pip package.
type pipOptions struct {
	Files       *[]string  `json:"requirements_files,omitempty"`
	BuildFiles  *[]string  `json:"requirements_build_files,omitempty"`
	Binary      *pipBinary `json:"binary,omitempty"`
	AllowBinary bool       `json:"-"` // the same as a Binary for all platforms and Pythons
}

func (pip) Options(keys map[string]json.RawMessage) (any, []error) {
	var o pipOptions
	var binary json.RawMessage
	errs := readKeys(keys, map[string]any{
		"requirements_files": &o.Files, "requirements_build_files": &o.BuildFiles,
		"binary": &binary, "allow_binary": &o.AllowBinary,
	})
	for key, list := range map[string]*[]string{"requirements_files": o.Files, "requirements_build_files": o.BuildFiles} {
		if list == nil {
			continue
		}
		for i, name := range *list {
			if (*list)[i] = path.Clean(name); !isInside(name) {
				errs = append(errs, fmt.Errorf("%s: %.80q: not a path inside the package", key, name))
			}
		}
	}
	if o.AllowBinary {
		o.Binary = &pipBinary{Arch: pipAll, OS: pipAll, PyImpl: pipAll}
	}
	if binary != nil && string(binary) != "null" {
		var more []error
		if o.Binary, more = readBinary(binary); o.AllowBinary {
			more = append(more, fmt.Errorf("allow_binary: binary is there as well"))
		}
		errs = append(errs, more...)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return o, errs
}

// isInside tells whether a path of an option stays in its package.
func isInside(name string) bool {
	return name != "" && !path.IsAbs(name) && filepath.IsLocal(filepath.FromSlash(name)) && path.Clean(name) != "." &&
		!slices.Contains(strings.Split(name, "/"), "..") && !strings.Contains(name, "\x00")
}

// readBinary reads the option binary.
func readBinary(data json.RawMessage) (*pipBinary, []error) {
	keys := object(data)
	if keys == nil {
		return nil, []error{fmt.Errorf("binary: not an object")}
	}
	b := &pipBinary{}
	known := map[string]any{
		"packages": &b.Packages, "arch": &b.Arch, "os": &b.OS, "py_version": &b.PyVersion,
		"py_impl": &b.PyImpl, "abi": &b.ABI, "platform": &b.Platform,
	}
	var errs []error
	for key, value := range keys {
		into, ok := known[key]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("binary: key %.80q: not one of packages, arch, os, py_version, py_impl, abi, platform", key))
		case json.Unmarshal(value, into) != nil:
			want := wanted(into)
			if key == "py_version" {
				want = "a number like 312"
			}
			errs = append(errs, fmt.Errorf("binary: %s: not %s", key, want))
		}
	}
	if v := strconv.Itoa(b.PyVersion); b.PyVersion != 0 && (len(v) < 2 || len(v) > 4 || v[0] != '2' && v[0] != '3') {
		errs = append(errs, fmt.Errorf("binary: py_version %d: want a number like 312, for Python 3.12", b.PyVersion))
	}
	if _, err := regexp.Compile(b.Platform); err != nil {
		errs = append(errs, fmt.Errorf("binary: platform %.80q: not a regular expression", b.Platform))
	}
	if b.Platform != "" && (b.Arch != "" || b.OS != "") {
		errs = append(errs, fmt.Errorf("binary: platform: excludes arch and os"))
	}
	for value, usual := range map[*string]string{&b.Packages: pipAll, &b.PyImpl: "cp", &b.ABI: pipAll} {
		if *value == usual {
			*value = ""
		}
	}
	return b, errs
}

// files are the files that a package names, relative to the build context.
func (o pipOptions) files(dir string) []string {
	var out []string
	for _, list := range []*[]string{o.Files, o.BuildFiles} {
		if list != nil {
			out = append(out, joined(dir, *list)...)
		}
	}
	return out
}

// joined are names below dir.
func joined(dir string, names []string) []string {
	var out []string
	for _, name := range names {
		out = append(out, path.Join(dir, name))
	}
	return out
}

// Files implements Namer.
func (pip) Files(p cache.Package) []string {
	var o pipOptions
	if p.DecodeOptions(&o) != nil {
		return nil
	}
	return o.files(p.Path)
}

// pipPlan gathers the plan of one package.
type pipPlan struct {
	fsys     fs.FS
	options  Options
	wants    pipWants
	envs     []markerEnv
	read     map[string]bool // files whose Lock is in the plan
	building bool            // whether the file being read is one of the build's own needs
	cache.Plan
}

func (pip) Plan(fsys fs.FS, pkg cache.Package, o Options) cache.Plan {
	var keys pipOptions
	if err := pkg.DecodeOptions(&keys); err != nil {
		return cache.Plan{Problems: []cache.Problem{{Kind: cache.BadLock, Subject: pkg.String(), Cause: err.Error()}}}
	}
	platforms := slices.Clone(o.Platforms)
	slices.Sort(platforms)
	p := &pipPlan{fsys: fsys, options: o, wants: pipWants{keys.Binary, platforms}, read: map[string]bool{}}
	p.envs = p.wants.markerEnvs()
	p.Env = pipEnv
	p.mainComponent(pkg.Path)
	names, builds := p.files(keys, pkg.Path)
	p.readAll(names)
	p.building = true
	p.readAll(builds)
	p.Project = pipProject(fsys, p.Locks)
	return p.Plan
}

// files are the lockfiles of a package: those of what it needs, and those of
// what building this needs.
func (p *pipPlan) files(keys pipOptions, dir string) (names, builds []string) {
	if keys.Files != nil {
		names = joined(dir, *keys.Files)
	} else {
		names = p.found(dir)
	}
	usual := path.Join(dir, requirementsBuild)
	switch {
	case keys.BuildFiles != nil:
		builds = joined(dir, *keys.BuildFiles)
	case p.exists(usual):
		builds = []string{usual}
	}
	return names, builds
}

// readAll reads lockfiles, each as what its name says.
func (p *pipPlan) readAll(names []string) {
	for _, name := range names {
		switch base := path.Base(name); {
		case base == uvLockFile:
			p.uvLock(name)
		case strings.HasPrefix(base, "pylock.") && strings.HasSuffix(base, ".toml"):
			p.pylock(name)
		default:
			p.requirements(name)
		}
	}
}

// found is the lockfile of a package that names none: a requirements.txt that
// locks something, else a lockfile, else any requirements.txt.
func (p *pipPlan) found(dir string) []string {
	plain := path.Join(dir, requirementsTxt)
	if data, cause := readLock(p.fsys, plain, maxRequirements); cause == "" && (pip{}).Recognizes(requirementsTxt, data) {
		return []string{plain}
	}
	for _, name := range []string{pylockFile, uvLockFile, requirementsTxt} {
		if name = path.Join(dir, name); p.exists(name) {
			return []string{name}
		}
	}
	return nil
}

func (p *pipPlan) exists(name string) bool {
	_, err := fs.Stat(p.fsys, name)
	return err == nil
}

func (p *pipPlan) problem(at cache.Origin, subject, cause string) {
	p.Problems = append(p.Problems, cache.Problem{Kind: cache.BadLock, Origin: at, Subject: subject, Cause: cause})
}

// lock reads a file once more or for the first time; ok is false where it
// cannot be read, which is a problem at the line that wants it.
func (p *pipPlan) lock(name string, limit int64, wantedBy cache.Origin) (data []byte, ok bool) {
	data, cause := readLock(p.fsys, name, limit)
	switch {
	case cause != "" && wantedBy.File == "":
		p.Problems = append(p.Problems, unread(p.fsys, name, cause))
		return nil, false
	case cause != "":
		p.problem(wantedBy, name, cause+" that is read")
		return nil, false
	}
	if !p.read[name] {
		p.read[name] = true
		p.Locks = append(p.Locks, cache.Lock{File: name, Sum: cache.SumBytes(data)})
	}
	return data, true
}

// report takes over what a reader found.
func (p *pipPlan) report(r *lockReader) {
	p.Problems = append(p.Problems, r.all()...)
	p.Warnings = append(p.Warnings, r.warnings...)
}

// Uncovered implements Coverer.
func (pip) Uncovered(inputs []cache.Input) []cache.Problem {
	type version struct{ name, version string }
	files := map[version][]PipFile{}
	var first []cache.Input
	for _, in := range inputs {
		if in.Ecosystem != "pip" || in.Need != cache.Alternative {
			continue
		}
		v := version{in.Name, in.Version}
		if files[v] == nil {
			first = append(first, in)
		}
		files[v] = append(files[v], PipFile{Name: in.Path})
	}
	var ps []cache.Problem
	for _, in := range first {
		if slices.Contains(files[version{in.Name, in.Version}], PipFile{}) {
			continue // one that is yet to be fetched
		}
		_, lacking := ParsePipWants(in.Wants).Choose(in.Name, files[version{in.Name, in.Version}])
		for _, cause := range lacking {
			ps = append(ps, in.Problem(cache.Uncovered, "in the cache: "+cause))
		}
	}
	return ps
}
