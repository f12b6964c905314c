package ecosystem

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// maxPipLock is what a lockfile may measure; its tree takes ten times that.
const maxPipLock = 32 << 20

// A pyPackage is one version of a package in a lockfile that names files.
type pyPackage struct {
	name, version string
	index         string // that it comes from; "" where the lockfile does not tell
	line          int
	when          *marker
	files         []pyLocked
	repo          *pipRepo // that it is built from
	local         bool     // in the build context: nothing to fetch
	bad           bool     // what is wrong with it has been said
}

func (p pyPackage) subject() string {
	if p.version == "" {
		return p.name
	}
	return p.name + "==" + p.version
}

// A pyLocked is a file of a package.
type pyLocked struct {
	url  string
	name string
	sum  cache.Sum
	size int64
	line int
}

// A pyLockReader reads pylock.toml or uv.lock.
type pyLockReader struct {
	lockReader
}

// pylock plans a pylock.toml
// (https://packaging.python.org/en/latest/specifications/pylock-toml/).
func (p *pipPlan) pylock(name string) {
	data, ok := p.lock(name, maxPipLock, cache.Origin{})
	if !ok {
		return
	}
	pkgs, r := parsePylock(name, data)
	p.report(r)
	p.packages(name, pkgs)
}

// parsePylock reads a pylock.toml.
func parsePylock(name string, data []byte) ([]pyPackage, *lockReader) {
	r := &pyLockReader{lockReader{file: name}}
	root := r.tree(data)
	if root == nil {
		return nil, &r.lockReader
	}
	if v := root.str("lock-version"); major(v) != "1" {
		r.problem(lineOf(root.at("lock-version")), "", fmt.Sprintf("lock-version %.80q: want 1.0", v))
		return nil, &r.lockReader
	}
	var out []pyPackage
	for _, n := range root.items("packages") {
		p := pyPackage{name: n.str("name"), version: n.str("version"), index: withoutLogin(n.str("index")), line: n.line}
		if p.name == "" || pipName.FindString(p.name) != p.name {
			r.problem(n.line, "", fmt.Sprintf("package name %.80q: not one", p.name))
			continue
		}
		if text := n.str("marker"); text != "" {
			var err error
			if p.when, err = parseMarker(text); err != nil {
				r.problem(lineOf(n.at("marker")), p.subject(), err.Error())
				continue
			}
		}
		p.local = n.at("directory") != nil
		for _, key := range []string{"vcs", "archive", "sdist"} {
			if f := n.at(key); f != nil && key == "vcs" {
				r.repo(&p, f)
			} else if f != nil {
				r.file(&p, f, "hashes")
			}
		}
		for _, f := range n.items("wheels") {
			r.file(&p, f, "hashes")
		}
		out = append(out, p)
	}
	return out, &r.lockReader
}

// pylockRepo reads a table "vcs". The error is a cause.
func pylockRepo(n *tomlNode) (pipRepo, error) {
	text := n.str("url") + "@" + n.str("commit-id")
	if kind := n.str("type"); kind != "git" {
		text = kind + "+" + text
	}
	if below := n.str("subdirectory"); below != "" {
		text += "#subdirectory=" + below
	}
	r, err := parsePipRepo(text)
	r.unpacked = r.below != ""
	return r, err
}

// repo reads the repository that a package is built from.
func (r *pyLockReader) repo(p *pyPackage, n *tomlNode) {
	repo, err := pylockRepo(n)
	if err != nil {
		r.problem(n.line, p.subject(), err.Error())
		p.bad = true
		return
	}
	p.repo = &repo
}

func lineOf(n *tomlNode) int {
	if n == nil {
		return 0
	}
	return n.line
}

// file reads a file of a package: a table with url or path, size, and its
// checksums at the key sums.
func (r *pyLockReader) file(p *pyPackage, n *tomlNode, sums string) {
	before := len(r.problems) + r.more
	defer func() { p.bad = p.bad || len(r.problems)+r.more > before }()
	f := pyLocked{url: n.str("url"), name: n.str("name"), line: n.line}
	if f.url == "" && n.str("path") != "" {
		p.local = true
		return
	}
	u, err := url.Parse(f.url)
	switch {
	case f.url == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		r.problem(n.line, p.subject(), fmt.Sprintf("URL %.80q: want one of http or https", redactURL(f.url)))
		return
	case u.User != nil:
		r.problem(n.line, p.subject(), "credentials in a URL: they go into .netrc")
		return
	}
	if f.name == "" {
		f.name = path.Base(u.Path)
	}
	if !isPyFileName(f.name) || pyExt(f.name) == "" {
		r.problem(n.line, p.subject(), fmt.Sprintf("file name %.80q: not one of a distribution", f.name))
		return
	}
	if d, ok := parsePyFile(f.name); ok && !d.is(p.name, p.version) {
		r.problem(n.line, p.subject(), fmt.Sprintf("file name %.80q: of another package or version", f.name))
		return
	}
	u.Fragment, u.RawFragment = "", ""
	f.url = u.String()
	f.size, _ = strconv.ParseInt(textOf(n.at("size")), 10, 64)
	f.size = max(0, f.size)
	var ok bool
	if f.sum, ok = r.sum(*p, n, sums); ok {
		p.files = append(p.files, f)
	}
}

func textOf(n *tomlNode) string {
	if n == nil {
		return ""
	}
	return n.text
}

// redactURL is a URL that cannot be read, without what may be a password.
func redactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
}

// sum is the checksum of a file: of several, the first that pip prefers.
func (r *pyLockReader) sum(p pyPackage, n *tomlNode, key string) (cache.Sum, bool) {
	var texts []string
	if text := n.str(key); text != "" {
		texts = append(texts, text)
	}
	for _, alg := range pipSums {
		if hex := n.str(key, string(alg)); hex != "" {
			texts = append(texts, string(alg)+":"+hex)
		}
	}
	if len(texts) == 0 {
		r.problem(n.line, p.subject(), "no checksum of sha256, sha384 or sha512")
		return cache.Sum{}, false
	}
	sum, err := cache.ParseSum(texts[0])
	switch {
	case err != nil:
		r.problem(n.line, p.subject(), err.Error())
		return cache.Sum{}, false
	case !slices.Contains(pipSums, sum.Algorithm()):
		r.problem(n.line, p.subject(), fmt.Sprintf("checksum %.80q: want sha256, sha384 or sha512", texts[0]))
		return cache.Sum{}, false
	}
	return sum, true
}

// lockEnvs are the targets for lockfiles that have all extras in them: which are
// wanted is not known.
func (p *pipPlan) lockEnvs() []markerEnv {
	var out []markerEnv
	for _, env := range p.envs {
		env = maps.Clone(env)
		delete(env, "extra")
		out = append(out, env)
	}
	return out
}

// packages plans the files that are wanted of packages.
func (p *pipPlan) packages(file string, pkgs []pyPackage) {
	wants := ParsePipWants(p.wants.String())
	for _, k := range pkgs {
		if !k.when.onAny(p.lockEnvs()) || k.local && len(k.files) == 0 {
			continue
		}
		origin := cache.Origin{File: file, Line: k.line}
		if k.repo != nil {
			p.repo(k.name, *k.repo, origin)
			continue
		}
		names := make([]PipFile, len(k.files))
		for i, f := range k.files {
			names[i] = PipFile{Name: f.name}
		}
		take, lacking := wants.Choose(k.name, names)
		for _, cause := range lacking {
			if k.bad {
				break
			}
			p.Problems = append(p.Problems, cache.Problem{Kind: cache.Uncovered, Origin: origin, Subject: k.subject(), Cause: cause})
		}
		for _, i := range take {
			f := k.files[i]
			in := cache.Input{
				Ecosystem: "pip", Kind: kindSource, Name: pyName(k.name), Version: k.version, Sum: f.sum, Path: f.name,
				Need: cache.Required, Origin: cache.Origin{File: file, Line: f.line}, URL: f.url, Size: f.size,
				Component: p.pyComponent(k.name, k.version, k.index),
			}
			if d, ok := parsePyFile(f.name); ok && d.tags != "" {
				in.Kind, in.Platform = kindWheel, d.tags
			}
			p.Inputs = append(p.Inputs, in)
		}
	}
}
