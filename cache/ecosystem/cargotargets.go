package ecosystem

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A cargoTarget is a thing that a crate builds: its library, a program, an
// example, a test, a benchmark.
type cargoTarget struct {
	name, path string
	node       *tomlNode // what the manifest says of it; nil for nothing
}

// fields are a target as it is written.
func (t cargoTarget) fields() tomlFields {
	out := tomlFields{}
	for _, key := range targetKeys {
		var v any
		switch key {
		case "name":
			v = t.name
		case "path":
			v = t.path
		default:
			n := t.node.at(key)
			if n == nil {
				continue
			}
			v = n
		}
		out = append(out, tomlField{key, v})
	}
	return out
}

// targets are all targets of the crate whose files belong to it.
func (c *crateManifest) targets(files map[string]string) (tomlFields, error) {
	var out tomlFields
	lib, err := c.library()
	if err != nil {
		return nil, err
	}
	if c.lib = lib != nil; c.lib {
		if _, there := files[lib.path]; there {
			out = append(out, tomlField{"lib", lib.fields()})
		}
	}
	for _, kind := range []string{"bin", "example", "test", "bench"} {
		targets, err := c.targetsOf(kind)
		if err != nil {
			return nil, err
		}
		var list []any
		for _, t := range targets {
			if _, there := files[t.path]; there {
				list = append(list, t.fields())
			}
		}
		if list != nil {
			out = append(out, tomlField{kind, list})
		}
	}
	return out, nil
}

// edition2015 tells whether the rules of the first edition apply.
func (c *crateManifest) edition2015() bool {
	n := c.inherited("edition")
	return n == nil || n.text == "2015"
}

// library is the library of the crate; nil for none.
func (c *crateManifest) library() (*cargoTarget, error) {
	n := c.root.at("lib")
	inferred := c.exists(path.Join(c.dir, "src/lib.rs"))
	if n == nil && (!inferred || tomlWord(c.pkg, "autolib") == "false") {
		return nil, nil
	}
	t := &cargoTarget{name: n.str("name"), path: n.str("path"), node: n}
	if t.name == "" {
		t.name = strings.ReplaceAll(c.pkg.str("name"), "-", "_")
	}
	if t.path == "" {
		t.path = "src/lib.rs"
		if legacy := path.Join("src", t.name+".rs"); !inferred && c.edition2015() && c.exists(path.Join(c.dir, legacy)) {
			t.path = legacy
		} else if !inferred {
			return nil, fmt.Errorf("no file of library %.80q", t.name)
		}
	}
	t.path = path.Clean(t.path)
	return t, nil
}

// The directories in which cargo looks for targets, and the keys that keep it
// from that.
var (
	targetDirs = map[string]string{"bin": "src/bin", "example": "examples", "test": "tests", "bench": "benches"}
	autoKeys   = map[string]string{"bin": "autobins", "example": "autoexamples", "test": "autotests", "bench": "autobenches"}
)

// targetsOf are the targets of one kind, by name.
func (c *crateManifest) targetsOf(kind string) ([]cargoTarget, error) {
	inferred := c.inferTargets(kind)
	var out []cargoTarget
	names, paths := map[string]bool{}, map[string]bool{}
	for _, n := range c.root.items(kind) {
		t := cargoTarget{n.str("name"), n.str("path"), n}
		if t.name == "" {
			return nil, fmt.Errorf("a %s without a name", kind)
		}
		names[t.name] = true
		if t.path != "" {
			paths[path.Join(c.dir, t.path)] = true
		}
		out = append(out, t)
	}
	auto := tomlWord(c.pkg, autoKeys[kind])
	if auto != "false" && (auto == "true" || c.root.at(kind) == nil || !c.edition2015()) {
		for _, t := range inferred {
			if !names[t.name] && !paths[path.Join(c.dir, t.path)] {
				out = append(out, t)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b cargoTarget) int { return strings.Compare(a.name, b.name) })
	kept := out[:0]
	for _, t := range out {
		if t.path == "" {
			t.path = targetPath(t.name, inferred)
		}
		if t.path == "" && c.edition2015() {
			t.path = c.legacyPath(kind, t.name)
		}
		if t.path == "" && kind == "bin" {
			return nil, fmt.Errorf("no file of program %.80q", t.name)
		}
		if t.path != "" {
			t.path = path.Clean(t.path)
			kept = append(kept, t)
		}
	}
	return kept, nil
}

// inferTargets are what cargo finds in directories.
func (c *crateManifest) inferTargets(kind string) []cargoTarget {
	var out []cargoTarget
	if kind == "bin" && c.exists(path.Join(c.dir, "src/main.rs")) {
		out = append(out, cargoTarget{name: c.pkg.str("name"), path: "src/main.rs"})
	}
	dir := targetDirs[kind]
	at, ok := c.tree.Resolve(path.Join(c.dir, dir))
	if !ok {
		return out
	}
	for _, name := range c.dirs[at] {
		entry := path.Join(at, name)
		_, leaf := c.tree.Find(entry)
		switch {
		case strings.HasPrefix(name, "."):
		case !leaf && c.exists(path.Join(entry, "main.rs")):
			out = append(out, cargoTarget{name: name, path: path.Join(dir, name, "main.rs")})
		case leaf && path.Ext(name) == ".rs":
			out = append(out, cargoTarget{name: strings.TrimSuffix(name, ".rs"), path: path.Join(dir, name)})
		}
	}
	return out
}

// targetPath is the file of a target by its name; "" for none, or for several.
func targetPath(name string, inferred []cargoTarget) string {
	found := ""
	for _, t := range inferred {
		if t.name != name {
			continue
		}
		if found != "" {
			return ""
		}
		found = t.path
	}
	return found
}

// legacyPath is where the first edition also looks for a target's file.
func (c *crateManifest) legacyPath(kind, name string) string {
	var places []string
	switch kind {
	case "bench":
		if name == "bench" {
			places = []string{"src/bench.rs"}
		}
	case "bin":
		if !c.lib {
			places = []string{path.Join("src", name+".rs")}
		}
		places = append(places, "src/main.rs", "src/bin/main.rs")
	}
	for _, at := range places {
		if c.exists(path.Join(c.dir, at)) {
			return at
		}
	}
	return ""
}
