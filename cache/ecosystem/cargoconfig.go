package ecosystem

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/hermetic-build/hermetic/cache"
)

// maxCargoConfig bounds a configuration file, in bytes.
const maxCargoConfig = 1 << 20

// cargoTables are the parts of a configuration file that say where crates are
// (https://doc.rust-lang.org/cargo/reference/config.html), by name.
type cargoTables struct {
	Source     map[string]cargoSource
	Registries map[string]cargoRegistry
}

type cargoSource struct {
	Registry, Git, Branch, Tag, Rev, Directory, LocalRegistry, ReplaceWith string
}

// keys are the fields by the names that they have in a file.
func (s *cargoSource) keys() map[string]*string {
	return map[string]*string{
		"registry": &s.Registry, "git": &s.Git, "branch": &s.Branch, "tag": &s.Tag, "rev": &s.Rev,
		"directory": &s.Directory, "local-registry": &s.LocalRegistry, "replace-with": &s.ReplaceWith,
	}
}

type cargoRegistry struct{ Index, Token string }

// parseCargoConfig reads a configuration file. The cause, "" where it worked,
// says why not, and line where; 0 is the file as a whole.
func parseCargoConfig(data []byte) (tables cargoTables, line int, cause string) {
	tables = cargoTables{map[string]cargoSource{}, map[string]cargoRegistry{}}
	if line, cause = notText(data); cause != "" {
		return tables, line, cause
	}
	var all map[string]any // a struct would take keys in any case of letters, and cargo does not
	if err := toml.Unmarshal(withoutMark(data), &all); err != nil {
		if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = bad.Position()
		}
		return tables, line, "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")
	}
	each := func(table string, fields func(name string) map[string]*string) {
		for _, name := range slices.Sorted(maps.Keys(tableOf(all[table]))) {
			values := tableOf(tableOf(all[table])[name])
			for key, field := range fields(name) {
				text, ok := values[key].(string)
				if _, has := values[key]; has && !ok && cause == "" {
					cause = table + "." + name + ": " + key + ": not a string"
				}
				*field = text
			}
		}
	}
	sources, registries := map[string]*cargoSource{}, map[string]*cargoRegistry{}
	each("source", func(name string) map[string]*string {
		sources[name] = &cargoSource{}
		return sources[name].keys()
	})
	each("registries", func(name string) map[string]*string {
		r := &cargoRegistry{}
		registries[name] = r
		return map[string]*string{"index": &r.Index, "token": &r.Token}
	})
	for name, s := range sources {
		tables.Source[name] = *s
	}
	for name, r := range registries {
		tables.Registries[name] = *r
	}
	return tables, 0, cause
}

// tableOf is a table of TOML; nil for anything else.
func tableOf(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}

// cargoConfig is what the configuration files of a project say: that of the
// package, and those of the directories above it, of which the nearest counts.
type cargoConfig struct {
	cargoTables
	name     string // the package's own file, whether or not it is there
	text     []byte // its content
	problems []cache.Problem
	warnings []cache.Problem
}

func readCargoConfig(fsys fs.FS, dir string) *cargoConfig {
	c := &cargoConfig{
		cargoTables: cargoTables{Source: map[string]cargoSource{}, Registries: map[string]cargoRegistry{}},
		name:        path.Join(dir, ".cargo", "config.toml"),
	}
	for at := dir; ; at = path.Dir(at) {
		for _, base := range []string{"config", "config.toml"} { // the first is the old name, and counts where both are
			name := path.Join(at, ".cargo", base)
			if _, err := fs.Stat(fsys, name); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			text := c.read(fsys, name)
			if at == dir {
				c.name, c.text = name, text
			}
			break
		}
		if at == "." {
			return c
		}
	}
}

// read adds one file to what is known, and is its text.
func (c *cargoConfig) read(fsys fs.FS, name string) []byte {
	data, cause := readLock(fsys, name, maxCargoConfig)
	line := 0
	var tables cargoTables
	if cause == "" {
		tables, line, cause = parseCargoConfig(data)
	}
	if cause != "" {
		c.problems = append(c.problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: name, Line: line}, Cause: cause})
		return nil
	}
	for key, s := range tables.Source {
		near := c.Source[key]
		far := s.keys()
		for name, field := range near.keys() {
			if *field == "" {
				*field = *far[name]
			}
		}
		c.Source[key] = near
	}
	for key, r := range tables.Registries {
		near, known := c.Registries[key]
		if !known {
			near = r
		}
		c.Registries[key] = near
		if r.Token != "" {
			c.warnings = append(c.warnings, cache.Problem{Kind: cache.Weak, Origin: cache.Origin{File: name}, Subject: "registry " + key, Cause: "a token is written out"})
		}
	}
	return data
}

// A cargoOrigin is where the crates of a source come from. A project that keeps
// some of its crates, and not all, has all of them fetched: cargo vendor, too,
// would replace what it keeps.
type cargoOrigin struct {
	kind     string // "registry" or "git"
	vendored bool   // the project keeps them in a directory
	dir      string // below deps/cargo; "" for that itself
	index    string // of a registry, as a configuration file has it; "" for cargo's own
	repo     string // of a git source: its URL
	auth     *cache.Auth
	chain    []string // the names of the source and of those that replace it
}

// brings tells whether the project brings the crates of cargo's own registry
// along, so that cargo can do without a lockfile.
func (c *cargoConfig) brings() bool {
	from, problem := c.resolve(cratesOwner)
	return problem == "" && from.vendored
}

// resolve follows the replacements of a source.
func (c *cargoConfig) resolve(source string) (o cargoOrigin, problem string) {
	def := definition(source)
	o.kind = "registry"
	if def.Git != "" {
		o.kind = "git"
	}
	name := c.nameOf(source)
	for !slices.Contains(o.chain, name) {
		s, known := c.source(name)
		if !known && len(o.chain) > 0 {
			return o, c.name + " replaces its source by " + name + ", which nothing defines"
		}
		if !known {
			s = def
		}
		o.chain = append(o.chain, name)
		if s.ReplaceWith != "" {
			name = s.ReplaceWith
			continue
		}
		if s.Directory != "" || s.LocalRegistry != "" {
			o.vendored, s = true, def // should the crates be fetched after all
		}
		o.index = s.Registry
		o.auth = c.auth(o.index)
		o.repo = s.Git
		switch {
		case o.kind == "registry" && s.Git != "":
			return o, c.name + " replaces its source by " + name + ", which is not a registry"
		case o.kind == "git" && s.Git == "":
			return o, c.name + " replaces its source by " + name + ", which is not a git repository"
		}
		return o, ""
	}
	return o, c.name + " replaces its source by itself"
}

// definition is what a source of Cargo.lock would be in a configuration file.
func definition(source string) cargoSource {
	kind, rest, _ := strings.Cut(source, "+")
	switch {
	case isBuiltIn(source):
		return cargoSource{}
	case kind == "sparse":
		return cargoSource{Registry: source}
	case kind == "registry":
		return cargoSource{Registry: rest}
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		values = url.Values{}
	}
	return cargoSource{Git: rest, Branch: values.Get("branch"), Tag: values.Get("tag"), Rev: values.Get("rev")}
}

// nameOf is the name of a source in configuration files: one that they give
// it, else that which cargo vendor makes up.
func (c *cargoConfig) nameOf(source string) string {
	if isBuiltIn(source) {
		return cratesName
	}
	def := definition(source)
	for _, name := range slices.Sorted(maps.Keys(c.Source)) {
		s := c.Source[name]
		if s.Registry == def.Registry && s.Git == def.Git && s.Branch == def.Branch && s.Tag == def.Tag && s.Rev == def.Rev {
			return name
		}
	}
	name, _, _ := strings.Cut(source, "#")
	return name
}

// source is a source by its name, which may be that of a registry.
func (c *cargoConfig) source(name string) (cargoSource, bool) {
	if s, ok := c.Source[name]; ok {
		return s, true
	}
	if name == cratesName {
		return cargoSource{}, true
	}
	r, ok := c.Registries[name]
	return cargoSource{Registry: r.Index}, ok
}

// auth is the credential of the registry with an index; nil where nothing names
// the registry.
func (c *cargoConfig) auth(index string) *cache.Auth {
	for _, name := range slices.Sorted(maps.Keys(c.Registries)) {
		r := c.Registries[name]
		if index == "" || r.Index != index {
			continue
		}
		if r.Token != "" {
			return &cache.Auth{Header: "Authorization", Secret: strings.ReplaceAll(r.Token, "$", "$$")}
		}
		if v := CargoTokenVariable(name); !strings.ContainsFunc(v, notInVariable) {
			return &cache.Auth{Header: "Authorization", Secret: "${" + v + "}"}
		}
	}
	return nil
}

// CargoTokenVariable is the variable that holds the token of the registry with
// this name (https://doc.rust-lang.org/cargo/reference/registry-authentication.html).
func CargoTokenVariable(registry string) string {
	return "CARGO_REGISTRIES_" + strings.ToUpper(strings.ReplaceAll(registry, "-", "_")) + "_TOKEN"
}

func notInVariable(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z')
}

// vendorName is what the directory of crates is called: in project files as by
// cargo vendor, and in the file of RUN steps by a name that projects do not use.
const (
	vendorName = "vendored-sources"
	mountName  = "hermetic"
	vendorDir  = "${output_dir}/deps/cargo"
)

// files are what makes cargo use the layout, for the sources of Cargo.lock that
// are in use: the project file, and the sections of what RUN steps see. The
// sections replace each source wherever the project's own file, which counts
// more, may lead cargo.
func (c *cargoConfig) files(used map[string]cargoOrigin) ([]cache.ProjectFile, []cache.Section) {
	blocks, mounted := map[string]string{}, map[string]string{}
	for _, source := range slices.Sorted(maps.Keys(used)) {
		o := used[source]
		at := cargoSource{Directory: path.Join(vendorDir, o.dir)}
		replaced := strings.TrimPrefix(o.dir, ".source")
		blocks[vendorName+replaced] = sourceTable(vendorName+replaced, at)
		mounted[mountName+replaced] = sourceTable(mountName+replaced, at)
		def := definition(source)
		def.ReplaceWith = vendorName + replaced
		name, _, _ := strings.Cut(source, "#")
		if isBuiltIn(source) {
			name = cratesName
		}
		blocks[name] = sourceTable(name, def)
		for i, name := range o.chain {
			s, known := c.source(name)
			if i == 0 && !known {
				s = definition(source)
			}
			s.ReplaceWith = mountName + replaced
			mounted[name] = sourceTable(name, s)
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(blocks)) {
		parts = append(parts, blocks[name])
	}
	var sections []cache.Section
	for _, name := range slices.Sorted(maps.Keys(mounted)) {
		sections = append(sections, cache.Section{File: cargoMount, Name: "[source." + tomlKeyText(name) + "]", Text: mounted[name]})
	}
	text := strings.Join(parts, "\n")
	if own := bytes.TrimRight(withoutSources(c.text), "\n"); len(own) > 0 {
		text = string(own) + "\n\n" + text
	}
	return []cache.ProjectFile{{Path: c.name, Template: text, Foreign: true}}, sections
}

// sourceTable is the table of a source in a configuration file.
func sourceTable(name string, s cargoSource) string {
	var b strings.Builder
	b.WriteString("[source." + tomlKeyText(name) + "]\n")
	for _, f := range [][2]string{
		{"registry", s.Registry}, {"git", s.Git}, {"branch", s.Branch}, {"tag", s.Tag}, {"rev", s.Rev},
		{"replace-with", s.ReplaceWith}, {"directory", s.Directory},
	} {
		if f[1] != "" {
			b.WriteString(f[0] + " = " + tomlString(f[1]) + "\n")
		}
	}
	return b.String()
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func tomlKeyText(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	return tomlString(key)
}

// tomlString is a basic string of TOML; JSON has no escapes that it has not.
func tomlString(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(s) // a string always encodes
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// withoutSources is a configuration file, which must be one, without its table
// source, as vendoring replaces all of it. Everything else stays as it is.
func withoutSources(text []byte) []byte {
	text = withoutMark(text)
	var p unstable.Parser
	p.Reset(text)
	lines := newLineIndex(text)
	type part struct {
		line   int
		source bool
	}
	parts := []part{}
	inTable, table := false, ""
	for p.NextExpression() {
		e := p.Expression()
		key, line := tomlKey(e, lines)
		head, _, _ := strings.Cut(key, ".")
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			inTable, table = true, head
		}
		if inTable {
			head = table
		}
		parts = append(parts, part{line, head == "source"})
	}
	var out []byte
	at := 0
	all := bytes.SplitAfter(text, []byte("\n"))
	for i, part := range parts {
		if !part.source {
			continue
		}
		end := len(all)
		if i+1 < len(parts) {
			end = parts[i+1].line - 1
		}
		out = append(out, bytes.Join(all[at:part.line-1], nil)...)
		at = end
		for at > part.line && isRemark(all[at-1]) {
			at--
		}
	}
	return append(out, bytes.Join(all[min(at, len(all)):], nil)...)
}

// isRemark tells lines of TOML that say nothing.
func isRemark(line []byte) bool {
	line = bytes.TrimSpace(line)
	return len(line) == 0 || line[0] == '#'
}
