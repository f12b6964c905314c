package ecosystem

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/hermetic-build/hermetic/cache"
)

// A Cargo.lock that its Cargo.toml has left behind: cargo locks anew, for which
// it asks the registry, or with --locked refuses. Only what is certain without
// cargo is said, and only of packages whose dependencies are all in the lockfile,
// whatever the features and the platform: the members of the workspace
// (https://doc.rust-lang.org/cargo/reference/workspaces.html).

// cargoFiles are what has a workspace: a build context, or a source distribution.
type cargoFiles interface {
	// manifest is the Cargo.toml of a directory; nil is none that can be read.
	manifest(dir string) *tomlNode
	// glob is what matches a pattern.
	glob(pattern string) []string
}

// A cargoTree is the Cargo.toml files of a build context, each of which is read once.
type cargoTree struct {
	fsys fs.FS
	read map[string]*tomlNode // by directory
}

func newCargoTree(fsys fs.FS) *cargoTree { return &cargoTree{fsys, map[string]*tomlNode{}} }

func (t *cargoTree) manifest(dir string) *tomlNode {
	doc, known := t.read[dir]
	if !known && fs.ValidPath(dir) {
		if data, cause := readLock(t.fsys, path.Join(dir, cargoToml), maxCargoToml); cause == "" {
			doc = readManifest(data)
		}
		t.read[dir] = doc
	}
	return doc
}

func (t *cargoTree) glob(pattern string) []string {
	found, _ := fs.Glob(t.fsys, pattern) // a bad pattern matches nothing
	return found
}

// readManifest is the tree of a Cargo.toml; nil is none.
func readManifest(data []byte) *tomlNode {
	r := &lockReader{}
	doc := r.tree(data)
	if len(r.problems) > 0 {
		return nil
	}
	return doc
}

// lockAnew ends what is said of a lockfile that was left behind.
const lockAnew = ": run cargo update --workspace"

// A cargoStale compares the members of a workspace with their lockfile.
type cargoStale struct {
	files   cargoFiles
	root    string // directory of the lockfile
	crates  map[string][]lockedCrate
	patched map[string]bool // names whose source or version is not that of their Cargo.toml

	problems []cache.Problem // what cargo must have and the lockfile lacks
	warnings []cache.Problem // what only cargo --locked refuses
	left     int             // comparisons that may still be made: files can ask for more than anyone has
}

const (
	maxComparisons = 10_000_000
	maxPatterns    = 10_000 // of a workspace's members
)

func newCargoStale(files cargoFiles, lock string, crates []lockedCrate) *cargoStale {
	s := &cargoStale{files: files, root: path.Dir(lock), crates: map[string][]lockedCrate{}, patched: map[string]bool{}, left: maxComparisons}
	for _, c := range crates {
		s.crates[c.name] = append(s.crates[c.name], c)
	}
	root := files.manifest(s.root)
	if root == nil || len(crates) == 0 || s.foreign(root) {
		return s
	}
	for _, table := range append(root.at("patch").values(), root.at("replace")) {
		if table == nil {
			continue
		}
		for i, spec := range table.values() {
			name, _, _ := strings.Cut(table.keys[i], ":") // of [replace]: "name:version"
			s.patched[name] = true
			s.patched[spec.str("package")] = true
		}
	}
	for _, dir := range s.members(root) {
		s.member(dir)
	}
	return s
}

// foreign tells whether the lockfile may not be the one that cargo looks at: a
// directory above has a workspace.
func (s *cargoStale) foreign(root *tomlNode) bool {
	if root.at("workspace") != nil {
		return false
	}
	if root.at("package", "workspace") != nil {
		return true
	}
	for at := s.root; at != "."; {
		at = path.Dir(at)
		if w := s.files.manifest(at).at("workspace"); w != nil && !excludes(w, at, s.root) {
			return true
		}
	}
	return false
}

// members are the directories of the workspace's packages, or of the one there is.
func (s *cargoStale) members(root *tomlNode) []string {
	w := root.at("workspace")
	if w == nil {
		return []string{s.root}
	}
	if len(w.items("members"))+len(w.items("exclude")) > maxPatterns {
		return nil
	}
	queue := []string{s.root}
	for _, pattern := range w.strs("members") {
		queue = append(queue, s.files.glob(path.Join(s.root, pattern))...)
	}
	seen := map[string]bool{}
	var out []string
	for ; len(queue) > 0 && len(seen) < maxCargoTomls; queue = queue[1:] {
		dir := queue[0]
		if seen[dir] || !fs.ValidPath(dir) || s.root != "." && dir != s.root && !strings.HasPrefix(dir, s.root+"/") {
			continue
		}
		seen[dir] = true
		m := s.files.manifest(dir)
		if m == nil || dir != s.root && (m.at("workspace") != nil || m.at("package", "workspace") != nil || excludes(w, s.root, dir)) {
			continue
		}
		if m.at("package") != nil {
			out = append(out, dir)
		}
		for _, d := range dependenciesOf(m) {
			if p := d.spec.str("path"); p != "" && !path.IsAbs(p) {
				queue = append(queue, path.Join(dir, p))
			} else if p := w.at("dependencies", d.key).str("path"); d.inherits() && p != "" && !path.IsAbs(p) {
				queue = append(queue, path.Join(s.root, p))
			}
		}
	}
	return out
}

// A cargoDependency is one of a Cargo.toml: a version, or a table.
type cargoDependency struct {
	key  string
	spec *tomlNode
}

func (d cargoDependency) inherits() bool { return d.spec.at("workspace") != nil }

// dependenciesOf are those of a Cargo.toml, of all kinds and platforms.
func dependenciesOf(m *tomlNode) []cargoDependency {
	var out []cargoDependency
	for _, table := range append([]*tomlNode{m}, m.at("target").values()...) {
		for _, kind := range []string{"dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies"} {
			list := table.at(kind)
			for i, spec := range list.values() {
				out = append(out, cargoDependency{list.keys[i], spec})
			}
		}
	}
	return out
}

// A cargoMember is a package of a workspace, beside what the lockfile has for it.
type cargoMember struct {
	*cargoStale
	file string // its Cargo.toml
	pkg  *tomlNode
	name string
	own  *lockedCrate // nil is nothing
}

func (m *cargoMember) warn(n *tomlNode, subject, cause string) {
	if len(m.warnings) >= maxProblems {
		return
	}
	m.warnings = append(m.warnings, cache.Problem{
		Kind: cache.Behind, Origin: cache.Origin{File: m.file, Line: n.line}, Subject: subject, Cause: cause + lockAnew,
	})
}

// member compares the package in a directory with what the lockfile has for it.
func (s *cargoStale) member(dir string) {
	doc, w := s.files.manifest(dir), s.files.manifest(s.root).at("workspace")
	m := &cargoMember{cargoStale: s, file: path.Join(dir, cargoToml), pkg: doc.at("package")}
	if m.name = m.pkg.str("name"); m.name == "" {
		return
	}
	version := m.pkg.str("version")
	if m.pkg.at("version", "workspace") != nil {
		version = w.str("package", "version")
	} else if m.pkg.at("version") == nil {
		version = "0.0.0"
	}
	switch m.own = s.lockedMember(m.name, version); {
	case m.own == nil:
		m.warn(m.pkg, m.name, "not in "+cargoLock)
	case version != "" && m.own.version != version:
		m.warn(m.pkg, m.name+"@"+version, cargoLock+" has "+m.own.version)
	}
	asked := map[string]bool{m.name: true}
	known := m.own != nil // all that it asks for, and what the lockfile has for it
	for _, d := range dependenciesOf(doc) {
		spec := d.spec
		if d.inherits() {
			if spec = w.at("dependencies", d.key); spec == nil {
				known = false
				continue
			}
		}
		r := newRequirement(d.key, spec)
		asked[r.name] = true
		if r.name != m.name { // which its own tests may ask for
			m.dependency(d.spec, r)
		}
	}
	if !known {
		return
	}
	for _, need := range m.own.needs {
		if need, _, _ = strings.Cut(need, " "); !asked[need] {
			m.warn(m.pkg, m.name, cargoLock+" has "+need+" for it, which it no longer asks for")
		}
	}
}

// dependency looks for what the package asks for at a node.
func (m *cargoMember) dependency(at *tomlNode, r requirement) {
	locked := m.crates[r.name]
	if m.own != nil {
		m.left -= len(locked) * len(m.own.needs)
	}
	if m.left < 0 || len(m.problems) >= maxProblems {
		return
	}
	switch {
	case len(locked) == 0 && r.path: // which cargo finds; what that needs, it says itself
		m.warn(at, r.String(), "not in "+cargoLock)
		return
	case len(locked) == 0:
		m.problems = append(m.problems, cache.Problem{
			Kind: cache.NoCrates, Origin: cache.Origin{File: m.file, Line: at.line}, Subject: r.String(), Cause: "not in " + cargoLock + lockAnew,
		})
		return
	case m.patched[r.name]:
		return
	}
	if m.own != nil {
		if locked = m.own.among(locked); len(locked) == 0 {
			m.warn(at, r.String(), cargoLock+" does not have it for "+m.name)
			return
		}
	}
	if !slices.ContainsFunc(locked, r.allows) {
		m.warn(at, r.String(), cargoLock+" has "+locked[0].described())
	}
}

// lockedMember is what the lockfile has for a package of the workspace; nil is
// nothing.
func (s *cargoStale) lockedMember(name, version string) *lockedCrate {
	var own *lockedCrate
	for i, c := range s.crates[name] {
		if c.source == "" && (own == nil || c.version == version) {
			own = &s.crates[name][i]
		}
	}
	return own
}

// among are those of the crates, which have one name, that a package needs.
func (c lockedCrate) among(crates []lockedCrate) []lockedCrate {
	var out []lockedCrate
	for _, of := range crates {
		if slices.ContainsFunc(c.needs, func(need string) bool {
			name, rest, _ := strings.Cut(need, " ")
			version, _, _ := strings.Cut(rest, " ")
			return name == of.name && (version == "" || version == of.version)
		}) {
			out = append(out, of)
		}
	}
	return out
}

// described is the version of a crate, and where it is from if not from a registry.
func (c lockedCrate) described() string {
	if strings.HasPrefix(c.source, "git+") {
		return c.version + " of " + c.source
	}
	return c.version
}

// A requirement is what a Cargo.toml asks for.
type requirement struct {
	name, version string
	git, ref      string // ref is of the query in Cargo.lock: "rev=…"
	path          bool
}

func newRequirement(key string, spec *tomlNode) requirement {
	r := requirement{name: key, version: spec.str("version"), git: spec.str("git"), path: spec.at("path") != nil}
	if spec.table == nil {
		r.version = spec.text
	}
	if name := spec.str("package"); name != "" {
		r.name = name
	}
	for _, kind := range []string{"branch", "tag", "rev"} {
		if ref := spec.str(kind); ref != "" {
			r.ref = kind + "=" + ref
		}
	}
	return r
}

func (r requirement) String() string {
	switch {
	case r.git != "" && r.ref != "":
		return fmt.Sprintf("%.80s@%.80s", r.name, r.ref)
	case r.version != "":
		return fmt.Sprintf("%.80s@%.80s", r.name, r.version)
	}
	return fmt.Sprintf("%.80s", r.name)
}

// allows tells whether a locked crate may be what is asked for; yes where that
// is not certain.
func (r requirement) allows(c lockedCrate) bool {
	switch {
	case r.path || c.source == "":
		return true
	case r.git != "":
		return !strings.HasPrefix(c.source, "git+") || r.allowsRef(c.source)
	case strings.HasPrefix(c.source, "git+"):
		return true
	}
	return allowsVersion(r.version, c.version)
}

// allowsRef compares the reference of a repository with that of a source, as it
// is, or as a URL has it. The first two formats left the branch master out.
func (r requirement) allowsRef(source string) bool {
	before, _, _ := strings.Cut(source, "#")
	_, query, _ := strings.Cut(before, "?")
	decoded, err := url.QueryUnescape(query)
	return query == r.ref || err == nil && decoded == r.ref || r.ref == "branch=master" && query == ""
}

// allowsVersion tells whether a version is one that a requirement of cargo allows
// (https://doc.rust-lang.org/cargo/reference/specifying-dependencies.html); yes
// where that is not certain, as with versions before a release.
func allowsVersion(asked, version string) bool {
	v, err := semver.StrictNewVersion(version)
	if err != nil || v.Prerelease() != "" || strings.ContainsAny(asked, "-+|") {
		return true
	}
	parts := strings.Split(asked, ",")
	for i, p := range parts {
		if p = strings.TrimSpace(p); p != "" && p[0] >= '0' && p[0] <= '9' && !strings.ContainsAny(p, "*xX") {
			p = "^" + p
		}
		parts[i] = p
	}
	c, err := semver.NewConstraint(strings.Join(parts, ","))
	return err != nil || c.Check(v)
}
