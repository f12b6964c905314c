package ecosystem

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/hermetic-build/hermetic/cache"
)

// A crate is a package of Cargo.lock that comes from elsewhere.
type crate struct {
	name, version string
	source        string    // as the lockfile has it: "registry+https://…"
	sum           cache.Sum // zero for those from git
	origin        cache.Origin
}

func (c crate) problem(cause string) cache.Problem {
	return cache.Problem{Kind: cache.BadLock, Origin: c.origin, Subject: c.name + "@" + c.version, Cause: cause}
}

// Names and versions become names of directories. Those of packages in the
// build context do not, and cargo allows more for them.
var (
	crateName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$`)
	crateVersion = regexp.MustCompile(`^\d{1,20}\.\d{1,20}\.\d{1,20}(-[0-9A-Za-z.-]{1,80})?(\+[0-9A-Za-z.-]{1,80})?$`)
	gitCommit    = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)
)

// cargoReader reads a Cargo.lock of any version: the first two have none
// written, and the very first has its checksums in a table at the end.
type cargoReader struct {
	lockReader
	checksums map[string]tomlValue // of the first version: by "checksum name version (source)"
}

// A lockedCrate is a package of Cargo.lock, wherever it comes from.
type lockedCrate struct {
	name, version, source string
	needs                 []string // "name", "name version" or "name version (source)"
}

// parseCargoLock reads a lockfile; file is the name to print. all are the packages
// of the build context as well, those that cannot be read left out. What is wrong
// with the lockfile, all of it, is in the problems.
func parseCargoLock(file string, data []byte) (crates []crate, all []lockedCrate, problems []cache.Problem) {
	r := &cargoReader{lockReader: lockReader{file: file}}
	tables := r.tables(data)
	if tables == nil {
		return nil, nil, r.all()
	}
	r.version(tables[0])
	for _, t := range tables {
		if t.name == "metadata" {
			r.checksums = t.values
		}
	}
	for _, t := range tables {
		if t.name != "package[]" && t.name != "root" {
			continue
		}
		if c, ok := r.crate(t); ok {
			crates = append(crates, c)
		}
		if v := t.values; v["name"].text != "" {
			all = append(all, lockedCrate{v["name"].text, v["version"].text, v["source"].text, v["dependencies"].list})
		}
	}
	crates = r.once(crates)
	return crates, all, r.all()
}

// version refuses a format that is not known.
func (r *cargoReader) version(top tomlTable) {
	v, ok := top.values["version"]
	if ok && (v.kind != unstable.Integer || v.text != "3" && v.text != "4") {
		r.problem(v.line, "", fmt.Sprintf("version %.20q of the format: not one that this version reads (3, 4 and the first two, which have no such line)", v.text))
	}
}

// crate reads one package; ok is false for one in the build context, and for
// one that cannot be read, which is a problem.
func (r *cargoReader) crate(t tomlTable) (c crate, ok bool) {
	name, version, source, sum := t.values["name"], t.values["version"], t.values["source"], t.values["checksum"]
	c = crate{name: name.text, version: version.text, source: source.text, origin: cache.Origin{File: r.file, Line: max(t.line, name.line)}}
	ok = true
	subject := c.name
	if c.name != "" && c.version != "" {
		subject = fmt.Sprintf("%.80s@%.80s", c.name, c.version)
	}
	kind := cache.BadLock
	complain := func(v tomlValue, format string, args ...any) {
		r.record(kind, max(t.line, v.line), subject, fmt.Sprintf(format, args...))
		ok = false
	}
	for _, key := range []string{"name", "version", "source", "checksum"} {
		v, has := t.values[key]
		switch {
		case !has && (key == "name" || key == "version"):
			complain(v, "no %s", key)
		case has && v.kind != unstable.String:
			complain(v, "%s: not a string", key)
		}
	}
	if !ok || c.source == "" {
		return c, false
	}
	if !crateName.MatchString(c.name) {
		complain(name, "name %.80q: not the name of a crate", c.name)
	}
	if !crateVersion.MatchString(c.version) {
		complain(version, "version %.80q: not a version", c.version)
	}
	switch origin, _, _ := strings.Cut(c.source, "+"); origin {
	case "registry", "sparse":
		if sum.text == "" {
			sum = r.checksums["checksum "+c.name+" "+c.version+" ("+c.source+")"]
		}
		if sum.text == "" || sum.text == "<none>" {
			kind = cache.NoSum
			complain(sum, "no checksum")
			break
		}
		var err error
		if c.sum, err = cache.ParseSum("sha256:" + sum.text); err != nil {
			complain(sum, "checksum %.80q: not a sha256 in hex", sum.text)
		}
	case "git":
		if _, commit, _ := strings.Cut(c.source, "#"); !gitCommit.MatchString(commit) {
			complain(source, "source %.200q: no commit", c.source)
		}
	default:
		complain(source, "source %.200q: neither a registry nor git", c.source)
	}
	return c, ok
}

// once finds packages that are listed more than once, and leaves the first.
func (r *cargoReader) once(crates []crate) []crate {
	seen := map[[3]string]crate{}
	var out []crate
	for _, c := range crates {
		key := [3]string{c.name, c.version, c.source}
		if first, ok := seen[key]; ok {
			r.problem(c.origin.Line, c.name+"@"+c.version, "listed twice: also at "+first.origin.String())
			continue
		}
		seen[key] = c
		out = append(out, c)
	}
	return out
}
