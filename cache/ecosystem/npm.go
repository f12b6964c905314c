package ecosystem

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// npm is packages of JavaScript, as npm locks them: package-lock.json and
// npm-shrinkwrap.json of the formats 1 to 3. Layout and project files are those
// of Hermeto's npm backend:
//
//	deps/npm/<name>-<version>.tgz       of a registry; "@scope/name" is "scope-name"
//	deps/npm/<host>/<path>/<repo>/<repo>-external-gitcommit-<commit>.tgz
//	deps/npm/external-<name>/<name>-external-<algorithm>-<digest>.tgz    of another URL
//	deps/npm/.scope-<scope>/…           of "@scope/name" where "scope-name" has this version, too
//
// The lockfile of a sealed build says that all packages are there, by "resolved"
// with a file URL, and every package.json has an empty range in place of a URL.
// npm goes by these; the environment only has it give up at once where it would
// wait for a network that is not there.
//
// Optional packages that fit no platform of the build are not planned, and npm
// does not miss them. Which C library there is, is not known: those for all of
// them are planned. All that is needed for development is planned, too.
type npm struct{}

const (
	packageLock   = "package-lock.json"
	npmShrinkwrap = "npm-shrinkwrap.json"
	packageJSON   = "package.json"
	npmrcFile     = ".npmrc"

	maxNpmLock     = 64 << 20 // bytes: a hundred thousand packages
	maxPackageJSON = 4 << 20
	maxNpmrc       = 1 << 20

	// KindTarball is the Kind of archives that a registry of npm has; with
	// ".scope-<scope>" behind it for one that has a directory of its own.
	KindTarball = "tarball"
	// kindRemote begins the Kind of archives at other URLs; what follows is the
	// beginning of their checksum.
	kindRemote = "remote-"
)

func (npm) Type() string       { return "npm" }
func (npm) Markers() []string  { return []string{packageLock, npmShrinkwrap} }
func (npm) Commands() []string { return []string{"npm", "npx", "node"} }

func (npm) Patterns() []string {
	return []string{packageLock, npmShrinkwrap, packageJSON, npmrcFile}
}

func (npm) Options(keys map[string]json.RawMessage) (any, []error) {
	return nil, readKeys(keys, nil)
}

// npmEnv keeps npm from asking again, for more than a minute, what cannot be
// reached.
var npmEnv = []cache.EnvVar{{Name: "npm_config_fetch_retries", Value: "0"}}

// npmPlan gathers the plan of one package.
type npmPlan struct {
	fsys     fs.FS
	dir      string // of the package
	options  Options
	lock     *npmLock
	settings *Npmrc
	rc       string // the text of the settings
	targets  []npmTarget
	cache.Plan
}

func (npm) Plan(fsys fs.FS, pkg cache.Package, o Options) cache.Plan {
	name := findNpmLock(fsys, pkg.Path)
	data, cause := readLock(fsys, name, maxNpmLock)
	if cause != "" {
		return cache.Plan{Problems: []cache.Problem{unread(fsys, name, cause)}}
	}
	p := &npmPlan{fsys: fsys, dir: pkg.Path, options: o, lock: parseNpmLock(name, data), targets: npmTargets(o.Platforms)}
	p.Locks = []cache.Lock{{File: name, Sum: cache.SumBytes(data)}}
	p.Env = npmEnv
	if p.lock.text != nil {
		p.readSettings()
		p.lock.places()
		p.collect()
		p.coverage()
		p.project()
	}
	p.Problems = append(p.Problems, p.lock.all()...)
	p.Warnings = append(p.Warnings, p.lock.warnings...)
	return p.Plan
}

// findNpmLock is the lockfile of the package at dir: npm reads a shrinkwrap
// first.
func findNpmLock(fsys fs.FS, dir string) string {
	name := path.Join(dir, npmShrinkwrap)
	if _, err := fs.Stat(fsys, name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return name
	}
	return path.Join(dir, packageLock)
}

// places decides where each package goes below deps/npm.
func (l *npmLock) places() {
	owners := map[string]string{} // names by file, as far as they are taken
	var fromRegistry []*npmEntry
	for _, e := range l.entries {
		switch {
		case !e.fetched():
		case e.from == npmRegistry:
			fromRegistry = append(fromRegistry, e)
		case e.from == npmRemote:
			e.kind, e.place = kindRemote+e.sum.Hex()[:12], npmExternal(e)
		case e.from == npmGit:
			l.gitPlace(e)
		}
	}
	slices.SortStableFunc(fromRegistry, func(a, b *npmEntry) int { // names without a scope last: they go first
		return strings.Compare(b.name, a.name)
	})
	for _, e := range fromRegistry {
		file := npmFlat(e.name) + "-" + e.version + ".tgz"
		e.kind, e.place = KindTarball, file
		if owner, taken := owners[file]; taken && owner != e.name {
			scope, _, _ := strings.Cut(e.name, "/") // one that has none comes first
			own := ".scope-" + strings.TrimPrefix(scope, "@")
			e.kind, e.place = KindTarball+own, own+"/"+file
			continue
		}
		owners[file] = e.name
	}
}

// npmExternal is the place of what is at another URL than one of a registry.
func npmExternal(e *npmEntry) string {
	flat := npmFlat(e.name)
	return fmt.Sprintf("external-%s/%s-external-%s-%s.tgz", flat, flat, e.sum.Algorithm(), e.sum.Hex())
}

// npmFlat is a name as part of a file name.
func npmFlat(name string) string {
	return strings.ReplaceAll(strings.TrimPrefix(name, "@"), "/", "-")
}

// collect makes inputs and components of the entries.
func (p *npmPlan) collect() {
	type key struct{ kind, name, version string }
	index := map[key]int{}
	for _, e := range p.lock.entries {
		if !p.inside(e) {
			continue
		}
		if !e.fetched() || e.optional() && !e.fits(p.targets...) {
			p.local(e)
			continue
		}
		in, cause := p.input(e)
		if cause != "" {
			p.lock.complain(e, "%s", cause)
			continue
		}
		k := key{in.Kind, in.Name, in.Version}
		if e.from == npmGit {
			k.name = e.place // the first format does not tell what a commit calls itself
		}
		i, again := index[k]
		if !again {
			index[k] = len(p.Inputs)
			p.Inputs = append(p.Inputs, in)
			continue
		}
		first := &p.Inputs[i]
		first.Component.Properties = npmBoth(first.Component.Properties, in.Component.Properties)
		if first.Sum != in.Sum {
			in.Component.Properties = first.Component.Properties
			p.Inputs = append(p.Inputs, in) // Normalize takes the stronger sum, or says that they differ
		}
	}
}

// npmBoth are the properties that two entries of one package share.
func npmBoth(a, b []cache.Property) []cache.Property {
	return slices.DeleteFunc(a, func(x cache.Property) bool { return !slices.Contains(b, x) })
}

// inside tells whether what is meant to be on the disk is in the build context.
func (p *npmPlan) inside(e *npmEntry) bool {
	if e.bad {
		return false
	}
	at := path.Join(p.dir, e.at)
	if text, isFile := strings.CutPrefix(e.resolved, "file:"); e.from == npmLink || e.from == npmLocal && isFile {
		if at = path.Join(p.dir, text); path.IsAbs(text) {
			at = path.Clean(text)
		}
	}
	if !path.IsAbs(at) && at != ".." && !strings.HasPrefix(at, "../") {
		return true
	}
	e.bad = true
	p.Problems = append(p.Problems, cache.Problem{
		Kind: cache.Outside, Origin: cache.Origin{File: p.lock.file, Line: e.line}, Subject: e.subject(),
		Cause: fmt.Sprintf("%.200q: outside the build context", at),
	})
	return false
}

// input is the input that an entry is.
func (p *npmPlan) input(e *npmEntry) (cache.Input, string) {
	in := cache.Input{
		Ecosystem: "npm", Kind: e.kind, Name: e.name, Version: e.version, Sum: e.sum, Path: e.place, Need: cache.Required,
		Origin: cache.Origin{File: p.lock.file, Line: e.line}, URL: withoutFragment(e.resolved), Settings: p.rc,
		Rechecked: true,
	}
	var quals packageurl.Qualifiers
	switch e.from {
	case npmRegistry:
		if e.resolved != "" { // Hermeto takes the one registry that it knows for such, and no other
			in.Elsewhere = npmExternal(e)
		}
		quals = qualifiers("repository_url", p.repository(e))
	case npmRemote:
		quals = qualifiers("checksum", e.sum.String(), "download_url", in.URL)
	case npmGit:
		repository, commit := gitOf(e.resolved)
		var err error
		if in, err = gitInput(in, repository, commit); err != nil {
			return in, err.Error()
		}
		in.Version = commit // one name and version may be of several
		quals = qualifiers("vcs_url", gitVCSURL(in.URL, commit))
	}
	in.Component = e.component(quals, "")
	if e.from != npmRegistry {
		in.Component.URL = in.URL
	}
	return in, ""
}

// repository is the registry that a package is from, as its package URL has it;
// "" for the public one, and where nobody knows.
func (p *npmPlan) repository(e *npmEntry) string {
	r := p.options.Registries["npm"]
	own := p.settings.plainRegistry(e.name)
	if e.resolved == "" {
		own = cmp.Or(own, r.URL)
	} else if base, _, ok := strings.Cut(e.resolved, "/"+e.name+"/-/"); ok && (r.Public != "" || strings.HasPrefix(e.resolved, own)) {
		own = base
	}
	if strings.TrimSuffix(own, "/") == strings.TrimSuffix(r.Public, "/") {
		return ""
	}
	return withoutLogin(own)
}

// component is what a bill of materials says of an entry.
func (e *npmEntry) component(quals packageurl.Qualifiers, subpath string) *cache.Component {
	scope, name, scoped := strings.Cut(e.name, "/")
	if !scoped {
		scope, name = "", e.name
	}
	c := library(e.name, *packageurl.NewPackageURL(packageurl.TypeNPM, scope, name, e.version, quals, subpath))
	if e.from == npmBundled { // not what the project itself bundles, which is fetched
		c.Properties = append(c.Properties, cache.Property{Name: cache.NpmBundled, Value: "true"})
	}
	if e.development() {
		c.Properties = append(c.Properties, cache.Property{Name: cache.NpmDevelopment, Value: "true"})
	}
	return c
}

// local adds the component of what is not fetched: the project, its workspaces,
// what is bundled or in the build context.
func (p *npmPlan) local(e *npmEntry) {
	switch {
	case e.name == "", e.fetched(), e.from == npmLink:
	case e.from == npmBundled:
		p.Components = append(p.Components, *e.component(nil, ""))
	case p.options.Repository == "":
		p.Components = append(p.Components, *e.component(nil, ""))
	default:
		at := e.at
		if file, ok := strings.CutPrefix(e.resolved, "file:"); ok {
			at = file
		}
		subpath := strings.TrimPrefix(path.Join("/", p.dir, at), "/")
		p.Components = append(p.Components, *e.component(qualifiers("vcs_url", p.options.Repository), subpath))
	}
}

// readSettings reads the project's own .npmrc.
func (p *npmPlan) readSettings() {
	name := path.Join(p.dir, npmrcFile)
	data, cause := readLock(p.fsys, name, maxNpmrc)
	p.settings = ParseNpmrc("")
	if _, err := fs.Stat(p.fsys, name); err != nil {
		return
	}
	if cause != "" {
		p.Problems = append(p.Problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: name}, Cause: cause})
		return
	}
	p.rc = string(data)
	p.settings = ParseNpmrc(p.rc)
	for _, key := range p.settings.secrets() {
		p.Warnings = append(p.Warnings, cache.Problem{
			Kind: cache.Weak, Origin: cache.Origin{File: name, Line: p.settings.lines[key]},
			Cause: key[strings.LastIndexByte(key, ':')+1:] + ": the secret is written out; name a variable of the environment, ${NAME}, in its place",
		})
	}
}
