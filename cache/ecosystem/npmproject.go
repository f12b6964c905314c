package ecosystem

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/hermetic-build/hermetic/cache"
)

// npmDir is where in a sealed build the archives are.
const npmDir = "file://${output_dir}/deps/npm/"

// literal is text that a template keeps as it is.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

// project makes the project files: the lockfile, and the package.json of the
// project and of what is in it.
func (p *npmPlan) project() {
	l := p.lock
	places := map[string]string{} // of the second format's own copy, by name and version
	for _, e := range l.entries {
		if e.from == npmRegistry && e.fetched() {
			places[e.name+"@"+e.version] = e.place
		}
		if l.version > 1 {
			l.rewrite(e)
		}
	}
	if l.version < 3 {
		l.rewriteLegacy(l.text.root.object("dependencies"), places)
	}
	pins := l.pins()
	for _, e := range l.entries {
		if _, inModules := npmDirName(e.at); !inModules && !e.bad {
			p.packageJSON(path.Join(p.dir, e.at, packageJSON), e, pins)
		}
	}
	p.Project = append(p.Project, cache.ProjectFile{Path: l.file, Template: l.text.edited(literal)})
}

// rewrite has an entry of "packages" say that it is in the layout.
func (l *npmLock) rewrite(e *npmEntry) {
	for _, key := range npmKeys {
		l.text.blank(e.node.object(key))
	}
	if sw := e.node.at("hasShrinkwrap"); sw != nil && sw.kind == 't' {
		// What its own lockfile names is in this one, and here it has other places.
		l.text.edits = append(l.text.edits, jsonEdit{sw.start, sw.end, "false"})
	}
	if e.place == "" || e.bad {
		return
	}
	l.text.move(e.node, "resolved", e.place)
	if sum := e.node.at("integrity"); sum != nil && e.from == npmGit {
		l.text.replace(sum, "")
	}
}

// move has a member of a package, which stands behind "version" if there is
// none, be a URL in the layout.
func (t *jsonText) move(n *jsonNode, key, place string) {
	if v := n.at(key); v != nil {
		t.replace(v, npmDir+place)
	} else if m := n.member("version"); m != nil {
		t.insertAfter(m, key, npmDir+place)
	}
}

// rewriteLegacy is rewrite for the "dependencies" of the first format, which the
// second has beside "packages".
func (l *npmLock) rewriteLegacy(list []jsonMember, places map[string]string) {
	for i := range list {
		n := &list[i].value
		version := n.str("version")
		key, place := "resolved", ""
		switch name, alias := strings.CutPrefix(version, "npm:"); {
		case n.is("bundled"):
		case isGitSpec(version), isHTTP(version):
			key, place = "version", l.placeOf(version)
			if sum := n.at("integrity"); sum != nil && isGitSpec(version) {
				l.text.replace(sum, "")
			}
			if from := n.at("from"); from != nil && place != "" { // which npm prefers where there is no integrity
				l.text.replace(from, npmDir+place)
			}
		case alias:
			place = places[name]
		case !isLocalSpec(version):
			place = places[list[i].key+"@"+version]
		}
		if place != "" {
			l.text.move(n, key, place)
		}
		l.text.blank(n.object("requires"))
		l.rewriteLegacy(n.object("dependencies"), places)
	}
}

// placeOf is the place of what the lockfile has from a URL.
func (l *npmLock) placeOf(resolved string) string {
	for _, e := range l.entries {
		if e.resolved == resolved && (e.from == npmGit || e.from == npmRemote) && !e.bad {
			return e.place
		}
	}
	return ""
}

// blank makes URLs among dependencies any version: what is installed is not from
// there.
func (t *jsonText) blank(list []jsonMember) {
	for i := range list {
		if v := &list[i].value; v.kind == '"' && (isHTTP(v.text) || isGitSpec(v.text)) {
			t.replace(v, "")
		}
	}
}

// pins are the versions of what is not from a registry, by name; "" where there
// are several.
func (l *npmLock) pins() map[string]string {
	pins := map[string]string{}
	for _, e := range l.entries {
		if e.from != npmGit && e.from != npmRemote {
			continue
		}
		name, _ := npmDirName(e.at)
		if v, known := pins[name]; known && v != e.version {
			pins[name] = ""
		} else {
			pins[name] = e.version
		}
	}
	return pins
}

// packageJSON reads the package.json that the lockfile was made from: what it
// has and the lockfile lacks is a problem, and a URL in it becomes any version.
func (p *npmPlan) packageJSON(name string, e *npmEntry, pins map[string]string) {
	data, cause := readLock(p.fsys, name, maxPackageJSON)
	if cause != "" {
		if e.at == "" {
			p.Problems = append(p.Problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: name}, Cause: cause})
		}
		return
	}
	r := &lockReader{file: name}
	defer func() {
		p.Problems = append(p.Problems, r.all()...)
		p.Warnings = append(p.Warnings, r.warnings...)
	}()
	t := r.json(data)
	if t == nil {
		return
	}
	for _, key := range npmKeys[:2] {
		recorded := map[string]string{} // what the lockfile was made for
		for _, m := range e.node.object(key) {
			recorded[m.key] = m.value.text
		}
		for _, d := range t.root.object(key) {
			if p.lock.find(e.at, d.key) == nil && t.root.at("optionalDependencies").at(d.key) == nil {
				r.problem(t.line(d.start), "", fmt.Sprintf("%.80s@%.80s: not in %s: run npm install", d.key, d.value.text, path.Base(p.lock.file)))
			} else if locked := p.lock.outdated(e, d); locked != "" && recorded[d.key] != d.value.text {
				r.warn(t.line(d.start), fmt.Sprintf("%.80s@%.80s", d.key, d.value.text), path.Base(p.lock.file)+" has "+locked+", for which npm ci asks the registry: run npm install")
			}
		}
	}
	for _, key := range npmKeys {
		t.blank(t.root.object(key))
	}
	t.blankOverrides(&t.root, t.root.at("overrides"), pins)
	p.Project = append(p.Project, cache.ProjectFile{Path: name, Template: t.edited(literal)})
}

// outdated is the version that the lockfile has in place of what a package.json
// asks for by now; "" where they fit, or where nobody but npm can tell.
func (l *npmLock) outdated(of *npmEntry, asked jsonMember) string {
	e := l.find(of.at, asked.key)
	if e == nil || e.from != npmRegistry || asked.value.kind != '"' || !outOfRange(asked.value.text, e.version) {
		return ""
	}
	return e.version
}

// plainRange matches a version that is no prerelease; after ^ it stands for all
// that are compatible with it, after ~ for its patches (https://docs.npmjs.com/cli/v11/configuring-npm/package-json#dependencies).
var plainRange = regexp.MustCompile(`^([~^]?)((?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2})$`)

// outOfRange tells whether a version is certainly none of a range. Of ranges
// that plainRange does not match it says no.
func outOfRange(spec, version string) bool {
	asked, has := plainRange.FindStringSubmatch(spec), plainRange.FindStringSubmatch(version)
	if asked == nil || has == nil || has[1] != "" {
		return false
	}
	low, v := "v"+asked[2], "v"+has[2]
	if semver.Compare(v, low) < 0 {
		return true
	}
	switch {
	case asked[1] == "" || asked[1] == "^" && semver.MajorMinor(low) == "v0.0":
		return v != low
	case asked[1] == "~" || semver.Major(low) == "v0":
		return semver.MajorMinor(v) != semver.MajorMinor(low)
	}
	return semver.Major(v) != semver.Major(low)
}

// blankOverrides has overrides that are URLs be the versions that these led to,
// as far as that is not what the project itself asks for.
func (t *jsonText) blankOverrides(root, list *jsonNode, pins map[string]string) {
	if list == nil {
		return
	}
	for i := range list.members {
		m := &list.members[i]
		t.blankOverrides(root, &m.value, pins)
		if m.value.kind != '"' || !isHTTP(m.value.text) && !isGitSpec(m.value.text) {
			continue
		}
		name := m.key
		if at := strings.LastIndexByte(name, '@'); at > 0 {
			name = name[:at]
		}
		version := pins[name]
		for _, key := range npmKeys[:3] {
			if root.at(key).at(name) != nil {
				version = ""
			}
		}
		t.replace(&m.value, version)
	}
}
