package ecosystem

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// An npmTarget is a platform in node's words (process.platform, process.arch).
type npmTarget struct {
	platform string // "linux/amd64"
	os, cpu  string
}

// nodeCPUs are GOARCHs of which node says something else.
var nodeCPUs = map[string]string{"amd64": "x64", "386": "ia32", "ppc64le": "ppc64", "mipsle": "mipsel", "mips64le": "mips64el"}

// npmTargets are platforms, sorted.
func npmTargets(platforms []string) []npmTarget {
	var out []npmTarget
	for _, p := range slices.Sorted(slices.Values(platforms)) {
		os, arch, _ := strings.Cut(p, "/")
		arch, _, _ = strings.Cut(arch, "/") // a variant
		t := npmTarget{p, os, arch}
		if os == "windows" {
			t.os = "win32"
		}
		if cpu, ok := nodeCPUs[arch]; ok {
			t.cpu = cpu
		}
		out = append(out, t)
	}
	return out
}

// fits tells whether an entry is for one of the targets: for all, where it says
// nothing. Which C library there is, is not known.
func (e *npmEntry) fits(targets ...npmTarget) bool {
	os, cpu := e.node.strings("os"), e.node.strings("cpu")
	if len(os) == 0 && len(cpu) == 0 {
		return true
	}
	return slices.ContainsFunc(targets, func(t npmTarget) bool { return allows(os, t.os) && allows(cpu, t.cpu) })
}

// allows reads a list of "os" or "cpu": what it does not name is out, unless it
// names only what is.
func allows(list []string, value string) bool {
	if len(list) == 0 || len(list) == 1 && list[0] == "any" {
		return true
	}
	named, negated := false, 0
	for _, word := range list {
		if other, no := strings.CutPrefix(word, "!"); no {
			negated++
			if other == value {
				return false
			}
			continue
		}
		named = named || word == value
	}
	return named || negated == len(list)
}

// What parts of a name say of the platform that a package is for.
var (
	npmOSWords = map[string]string{
		"linux": "linux", "linuxmusl": "linux", "linuxglibc": "linux", "darwin": "darwin", "macos": "darwin", "mac": "darwin", "osx": "darwin", "fsevents": "darwin",
		"win32": "win32", "windows": "win32", "win": "win32", "android": "android", "freebsd": "freebsd", "openbsd": "openbsd",
		"netbsd": "netbsd", "sunos": "sunos", "aix": "aix", "openharmony": "openharmony", "ohos": "openharmony", "wasi": "wasi", "wasm32": "wasi", "wasm": "wasi",
	}
	npmCPUWords = map[string]string{
		"x64": "x64", "amd64": "x64", "64": "x64", "arm64": "arm64", "aarch64": "arm64", "universal": "any",
		"arm": "arm", "armhf": "arm", "armv6": "arm", "armv7": "arm", "armv7l": "arm", "ia32": "ia32", "x86": "ia32", "i686": "ia32", "386": "ia32", "32": "ia32",
		"ppc64": "ppc64", "ppc64le": "ppc64", "s390x": "s390x", "riscv64": "riscv64", "riscv64gc": "riscv64", "loong64": "loong64", "loongarch64": "loong64",
		"mips64el": "mips64el", "mipsel": "mipsel",
	}
)

// namedPlatform is what the name of a package says of its platform, in node's
// words; "" is what it does not say.
func namedPlatform(name string) (os, cpu string) {
	name = strings.ReplaceAll(strings.ToLower(name), "x86_64", "x64")
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("@/-._", r) })
	for _, w := range words {
		if o := npmOSWords[w]; o != "" {
			os = o
		} else if c := npmCPUWords[w]; c != "" && (os != "" || w != "64" && w != "32") {
			cpu = c
		}
	}
	return os, cpu
}

// A gap is what a package would take if the lockfile had it.
type gap struct {
	sure    []string // for a platform by both os and cpu
	perhaps []string // nothing, or too little, tells for which it is
}

// coverage finds what the lockfile lacks: packages that others need, and those
// for a platform of the build. npm leaves out optional packages of platforms
// other than its own when it locks what is installed already.
func (p *npmPlan) coverage() {
	for _, e := range p.lock.entries {
		if e.bad || e.from == npmLink || e.optional() && !e.fits(p.targets...) {
			continue
		}
		p.needed(e)
		p.unfit(e)
		optional := e.node.object("optionalDependencies")
		if p.lock.version == 1 {
			optional = e.node.object("requires")
		}
		if len(optional) > 0 {
			p.optional(e, optional)
		}
	}
}

// needed finds packages that an entry cannot do without.
func (p *npmPlan) needed(e *npmEntry) {
	if e.optional() {
		return
	}
	p.peers(e)
	for _, d := range e.node.object("dependencies") {
		if p.lock.version == 1 || e.node.at("optionalDependencies").at(d.key) != nil || p.lock.find(e.at, d.key) != nil {
			continue
		}
		p.lock.problem(e.line, e.subject(), fmt.Sprintf("needs %.80s@%.80s, which the lockfile lacks: run npm install", d.key, d.value.text))
	}
}

// peers finds packages that an entry wants beside it, which npm installs unless
// it is told otherwise.
func (p *npmPlan) peers(e *npmEntry) {
	if p.lock.version == 1 || p.settings.Get("legacy-peer-deps") == "true" {
		return
	}
	for _, d := range e.node.object("peerDependencies") {
		if e.node.at("peerDependenciesMeta").at(d.key).is("optional") || p.lock.find(e.at, d.key) != nil {
			continue
		}
		p.lock.warn(e.line, e.subject(), fmt.Sprintf("wants %.80s@%.80s beside it, which the lockfile lacks, and npm ci refuses that unless legacy-peer-deps is set", d.key, d.value.text))
	}
}

// unfit finds a package that npm refuses on a platform of the build.
func (p *npmPlan) unfit(e *npmEntry) {
	if e.optional() || !e.fetched() {
		return
	}
	for _, t := range p.targets {
		if e.fits(t) {
			continue
		}
		if e.development() {
			p.lock.warn(e.line, e.subject(), "is not for "+t.platform+", and npm refuses it there unless it omits dependencies of development")
			continue
		}
		p.uncovered(e, "is not for "+t.platform+", and npm refuses it there")
	}
}

func (p *npmPlan) uncovered(e *npmEntry, cause string) {
	p.Problems = append(p.Problems, cache.Problem{Kind: cache.Uncovered, Origin: cache.Origin{File: p.lock.file, Line: e.line}, Subject: e.subject(), Cause: cause})
}

// optional finds the optional dependencies of an entry that a platform of the
// build may need and the lockfile lacks.
func (p *npmPlan) optional(e *npmEntry, list []jsonMember) {
	var missing []string
	var present []*npmEntry
	for _, d := range list {
		if found := p.lock.find(e.at, d.key); found != nil {
			present = append(present, found)
		} else {
			missing = append(missing, d.key)
		}
	}
	if len(missing) == 0 {
		return
	}
	known, vague := map[string]bool{}, map[string]bool{}
	uncovered := false
	for _, t := range p.targets {
		if !e.fits(t) {
			continue
		}
		g := t.gap(missing)
		if len(g.sure) > 0 && !slices.ContainsFunc(present, t.served) {
			p.uncovered(e, fmt.Sprintf("for %s it takes %s, which the lockfile lacks: npm left it out; %s", t.platform, some(g.sure), npmAgain))
			uncovered = true
		} else if len(g.sure) > 0 {
			p.lock.warn(e.line, e.subject(), fmt.Sprintf("for %s it may take %s, which the lockfile lacks", t.platform, some(g.sure)))
		}
		for _, name := range g.sure {
			known[name] = true
		}
		for _, name := range g.perhaps {
			vague[name] = true
		}
	}
	var others []string
	for _, name := range missing {
		switch {
		case known[name]:
		case vague[name]:
			p.lock.warn(e.line, e.subject(), fmt.Sprintf("takes %.80s where it can, which the lockfile lacks, and its name does not tell for which platforms it is", name))
		default:
			others = append(others, name)
		}
	}
	if len(others) > 0 && !uncovered {
		p.lock.warn(e.line, e.subject(), fmt.Sprintf("takes %s on other platforms, which the lockfile lacks, and npm ci of npm 11 refuses that; %s", some(others), npmAgain))
	}
}

// npmAgain is what makes npm lock the packages of all platforms.
const npmAgain = "remove node_modules and " + packageLock + ", and run npm install"

// some are the first of many names.
func some(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
}

// gap finds among missing packages those that are for t.
func (t npmTarget) gap(missing []string) gap {
	var g gap
	for _, name := range missing {
		os, cpu := namedPlatform(name)
		switch {
		case os != "" && os != t.os, cpu != "" && cpu != "any" && cpu != t.cpu:
		case os != "" && cpu != "":
			g.sure = append(g.sure, name)
		default:
			g.perhaps = append(g.perhaps, name)
		}
	}
	return g
}

// served tells whether a package is one for t and not for everybody.
func (t npmTarget) served(e *npmEntry) bool {
	if e.node.at("os") != nil || e.node.at("cpu") != nil {
		return e.fits(t)
	}
	os, cpu := namedPlatform(e.name)
	return os == t.os && (cpu == t.cpu || cpu == "any")
}
