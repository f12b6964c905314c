package ecosystem

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// npmOrigin is where npm has a package from.
type npmOrigin int

const (
	npmRegistry npmOrigin = iota
	npmRemote             // a URL that somebody depends on
	npmGit                // a commit of a repository
	npmLocal              // in the build context
	npmLink               // a link to what is in the build context
	npmBundled            // in the archive of another package
)

// An npmEntry is a package of a lockfile at one place of the tree that npm makes.
type npmEntry struct {
	at       string // "node_modules/a/node_modules/@b/c"; "" is the project itself
	name     string // of the package; that of the directory is another for an alias
	version  string
	from     npmOrigin
	resolved string // what the lockfile says; "" where npm asks the registry it is set to
	sum      cache.Sum
	line     int
	node     *jsonNode
	place    string // below deps/npm; "" of what is not fetched
	kind     string // of its Input
	bad      bool   // what is wrong with it has been said
}

func (e *npmEntry) subject() string {
	switch {
	case e.name == "":
		return e.at
	case e.version == "":
		return e.name
	}
	return e.name + "@" + e.version
}

// fetched tells what has to be had from somewhere.
func (e *npmEntry) fetched() bool {
	return (e.from == npmRegistry || e.from == npmRemote || e.from == npmGit) && !e.bad
}

// optional tells whether npm goes on where e cannot be had.
func (e *npmEntry) optional() bool { return e.node.is("optional") }

// development tells whether e may be left out of what runs.
func (e *npmEntry) development() bool {
	return e.node.is("dev") || e.node.is("devOptional")
}

// An npmLock is a lockfile of npm
// (https://docs.npmjs.com/cli/v11/configuring-npm/package-lock-json).
type npmLock struct {
	lockReader
	text    *jsonText
	version int // of the format
	entries []*npmEntry
	byPlace map[string]*npmEntry
	remotes map[string]bool // URLs that somebody depends on
}

// npmKeys are the keys of dependencies that npm installs.
var npmKeys = []string{"dependencies", "devDependencies", "optionalDependencies", "peerDependencies"}

// parseNpmLock reads a lockfile. Where it is none, it has no text.
func parseNpmLock(file string, data []byte) *npmLock {
	l := &npmLock{lockReader: lockReader{file: file}, byPlace: map[string]*npmEntry{}, remotes: map[string]bool{}}
	t := l.json(data)
	switch {
	case t == nil:
		return l
	case t.root.kind != '{':
		l.problem(1, "", "not a JSON object")
		return l
	}
	l.version = l.format(t)
	list := t.root.at("packages")
	switch {
	case l.version == 0:
		return l
	case l.version > 1 && (list == nil || list.kind != '{'):
		l.problem(1, "", "packages: not there")
		return l
	}
	l.text = t
	if l.version == 1 {
		l.add(&npmEntry{node: &t.root, line: 1, from: npmLocal, name: t.root.str("name"), version: t.root.str("version")})
		l.legacy(t.root.object("dependencies"), "")
		return l
	}
	for _, m := range list.members {
		for _, key := range npmKeys {
			for _, d := range m.value.object(key) {
				if isHTTP(d.value.text) {
					l.remotes[withoutFragment(d.value.text)] = true
				}
			}
		}
	}
	for i := range list.members {
		l.entry(&list.members[i])
	}
	return l
}

// format is the version of the lockfile's format; 0 is one that is not known.
func (l *npmLock) format(t *jsonText) int {
	v := t.root.at("lockfileVersion")
	if v == nil {
		l.problem(1, "", "no lockfileVersion: want 1, 2 or 3")
		return 0
	}
	switch text := string(t.data[v.start:v.end]); text {
	case "1", "2", "3":
		return int(text[0] - '0')
	default:
		l.record(cache.Unsupported, t.line(v.start), "", fmt.Sprintf("lockfileVersion %.80s: want 1, 2 or 3", text))
	}
	return 0
}

// complain says what is wrong with an entry.
func (l *npmLock) complain(e *npmEntry, format string, args ...any) {
	e.bad = true
	l.problem(e.line, e.subject(), fmt.Sprintf(format, args...))
}

// entry reads a member of "packages".
func (l *npmLock) entry(m *jsonMember) {
	e := &npmEntry{at: m.key, node: &m.value, line: l.text.line(m.start)}
	if m.value.kind != '{' {
		l.problem(e.line, e.at, "not an object")
		return
	}
	n := e.node
	e.name, e.version, e.resolved = n.str("name"), n.str("version"), n.str("resolved")
	dir, inModules := npmDirName(e.at)
	switch {
	case e.name == "" && e.at == "":
		e.name = l.text.root.str("name")
	case e.name == "" && inModules:
		e.name = dir
	case e.name == "":
		e.name = path.Base(e.at)
	}
	if n.is("extraneous") && e.resolved == "" && e.version == "" {
		return // a directory that npm saw when it locked; it installs no such
	}
	switch {
	case !isNpmPlace(e.at):
		l.complain(e, "place %.200q: not one in a project", e.at)
		return
	case n.is("link"):
		e.from = npmLink
	case !inModules, isLocalSpec(e.resolved):
		e.from = npmLocal
	case isGitSpec(e.resolved):
		e.from = npmGit
	case n.is("inBundle") && n.at("resolved") == nil && n.at("integrity") == nil:
		e.from = npmBundled
	case l.remotes[withoutFragment(e.resolved)]:
		e.from = npmRemote
	}
	l.add(e)
}

// legacy reads the "dependencies" of a lockfile or of a package in it, as the
// first format has them; in is the place of the latter.
func (l *npmLock) legacy(list []jsonMember, in string) {
	for i := range list {
		m := &list[i]
		e := &npmEntry{at: path.Join(in, "node_modules") + "/" + m.key, node: &m.value, line: l.text.line(m.start), name: m.key}
		if m.value.kind != '{' {
			l.problem(e.line, e.at, "not an object")
			continue
		}
		n := e.node
		e.version, e.resolved = n.str("version"), n.str("resolved")
		switch version := e.version; {
		case !isNpmPlace(e.at):
			l.complain(e, "name %.200q: not one of a package", m.key)
			continue
		case n.is("bundled"):
			e.from = npmBundled
		case isLocalSpec(version):
			e.from, e.resolved, e.version = npmLocal, version, ""
		case isGitSpec(version):
			e.from, e.resolved, e.version = npmGit, version, ""
		case isHTTP(version):
			e.from, e.resolved, e.version = npmRemote, version, ""
		case strings.HasPrefix(version, "npm:"):
			alias := strings.TrimPrefix(version, "npm:")
			if at := strings.LastIndexByte(alias, '@'); at > 0 {
				e.name, e.version = alias[:at], alias[at+1:]
			}
		}
		l.add(e)
		if e.from == npmGit || e.from == npmRemote {
			l.warn(e.line, e.subject(), "npm ci since npm 7 takes no dependencies by URL from lockfileVersion 1: run npm install --lockfile-version 3")
		}
		l.legacy(n.object("dependencies"), e.at)
	}
}

// add checks an entry by where it is from, and keeps it.
func (l *npmLock) add(e *npmEntry) {
	l.entries = append(l.entries, e)
	l.byPlace[e.at] = e
	if e.from == npmLocal || e.from == npmLink || e.from == npmBundled {
		return
	}
	if !npmName.MatchString(e.name) || len(e.name) > 214 {
		l.complain(e, "name %.80q: not one of a package", e.name)
		return
	}
	if e.from == npmGit {
		return
	}
	if e.version == "" && e.from == npmRegistry {
		l.complain(e, "no version")
		return
	}
	if e.version != "" && (!npmVersion.MatchString(e.version) || len(e.version) > 256) {
		l.complain(e, "version %.80q: not one", e.version)
		return
	}
	if cause := checkNpmURL(e.resolved); cause != "" {
		l.complain(e, "%s", cause)
		return
	}
	l.checksum(e)
}

// checksum reads what the lockfile promises of an entry.
func (l *npmLock) checksum(e *npmEntry) {
	v := e.node.at("integrity")
	if v == nil || v.kind != '"' || v.text == "" {
		e.bad = true
		l.record(cache.NoSum, e.line, e.subject(), "no integrity: nothing tells whether it is what it was when it was locked")
		return
	}
	sum, cause := parseIntegrity(v.text)
	if cause != "" {
		l.complain(e, "%s", cause)
		return
	}
	if sum.Algorithm().Weak() {
		l.warn(e.line, e.subject(), fmt.Sprintf("integrity: %s does not tell two contents apart that are made to have the same; lock it again for sha512", sum.Algorithm()))
	}
	e.sum = sum
}

// npmSums are the algorithms of integrity, the strongest first: of several,
// npm looks at that alone.
var npmSums = []cache.Algorithm{cache.SHA512, cache.SHA384, cache.SHA256, cache.SHA1, cache.MD5}

// parseIntegrity reads a list of SRI hashes (https://www.w3.org/TR/SRI/).
func parseIntegrity(text string) (cache.Sum, string) {
	words := strings.Fields(text)
	for _, alg := range npmSums {
		var found cache.Sum
		for _, w := range words {
			w, _, _ = strings.Cut(w, "?") // options
			if !strings.HasPrefix(w, string(alg)+"-") {
				continue
			}
			sum, err := cache.ParseSum(w)
			switch {
			case err != nil:
				return cache.Sum{}, err.Error()
			case !found.IsZero() && found != sum:
				return cache.Sum{}, fmt.Sprintf("integrity: two of %s: want one", alg)
			}
			found = sum
		}
		if !found.IsZero() {
			return found, ""
		}
	}
	return cache.Sum{}, fmt.Sprintf("integrity %.80q: no checksum of sha512, sha384, sha256 or sha1", text)
}

var (
	// npmName matches names that have ever been allowed: today's have no
	// capitals and none of !'()*.
	npmName = regexp.MustCompile(`^(@[A-Za-z0-9~!'()*_-][A-Za-z0-9~!'()*._-]*/)?[A-Za-z0-9~!'()*_-][A-Za-z0-9~!'()*._-]*$`)
	// npmVersion matches versions (https://semver.org).
	npmVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	// gitShorthand matches GitHub's "owner/repository".
	gitShorthand = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*/[A-Za-z0-9._-]+(#.*)?$`)
)

// npmDirName is the name by which packages find the one at a place; ok is false
// for places that are in no node_modules.
func npmDirName(at string) (name string, ok bool) {
	const modules = "node_modules/"
	i := strings.LastIndex(at, modules)
	if i < 0 || i > 0 && at[i-1] != '/' {
		return "", false
	}
	return at[i+len(modules):], true
}

// isNpmPlace tells whether a key of "packages" is a path as npm writes them: one
// that climbs does so at its beginning.
func isNpmPlace(at string) bool {
	if at == "" {
		return true
	}
	name, inModules := npmDirName(at)
	if inModules && !npmName.MatchString(name) {
		return false
	}
	return path.Clean(at) == at && !path.IsAbs(at) && !strings.ContainsAny(at, "\\\x00")
}

func isHTTP(spec string) bool {
	return strings.HasPrefix(spec, "https://") || strings.HasPrefix(spec, "http://")
}

// isLocalSpec tells what is meant to be on the disk.
func isLocalSpec(spec string) bool {
	for _, prefix := range []string{"file:", "link:", "workspace:", "./", "../", "/", "~/"} {
		if strings.HasPrefix(spec, prefix) {
			return true
		}
	}
	return false
}

// isGitSpec tells what is meant to be in a repository: a URL, or a short form.
func isGitSpec(spec string) bool {
	for _, prefix := range []string{"git+", "git:", "git@", "ssh:", "github:", "gitlab:", "bitbucket:", "gist:"} {
		if strings.HasPrefix(spec, prefix) {
			return true
		}
	}
	return gitShorthand.MatchString(spec)
}

func withoutFragment(address string) string {
	address, _, _ = strings.Cut(address, "#")
	return address
}

// checkNpmURL is what is wrong with the URL that a lockfile gives; one may be
// missing. It may hold a password, and is not repeated.
func checkNpmURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.Scheme != "https" && u.Scheme != "http":
		return "resolved: not a URL of https or http"
	case u.User != nil:
		return "resolved: credentials in a URL: they go into .npmrc or .netrc"
	}
	return ""
}

// find is the package that the one at a place gets by a name: in node_modules of
// its own, or of a directory above.
func (l *npmLock) find(at, name string) *npmEntry {
	for {
		if base := path.Base(at); base != "node_modules" && !strings.HasPrefix(base, "@") {
			if e := l.byPlace[at+"/node_modules/"+name]; e != nil {
				return e
			}
		}
		if at == "" || at == "." || strings.HasSuffix(at, "..") {
			break
		}
		at = path.Dir(at)
	}
	return l.byPlace["node_modules/"+name]
}
