package e2e

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata")

// TestFindings builds the broken projects of testdata/findings. The build ends
// with the text of "want", draws the lines of "drawn", and starts no RUN; a
// check says the same. The comment of an archive tells what is broken and holds
// settings, "key: value" a line:
//
//	deps:  view | tree | none   what "hermetic prefetch" made; or dir, the files below deps/
//	drop:  MODULE…              blobs, or zips of a tree, that are deleted
//	unlist: MODULE…             zips whose lines are deleted from the manifest
//	flip:  MODULE…              content in which one bit is flipped, MODULE/go.mod for that file
//	args:  FLAG…                of the build
//	check: no                   the check cannot know: why
//	same:  as upstream          upstream's frontend says the same
//
// Of a project whose lockfiles changed, prefetch/ has the former ones. Modules
// are named by the last element of "example.com/NAME@v1.0.0"; {sum NAME…} and
// {require NAME…} stand for lines of go.sum and go.mod.
func TestFindings(t *testing.T) {
	m := newMirror(t)
	for _, name := range []string{"m1", "m2", "m3", "m4", "m5", "m6"} {
		m.addNoise(t, full(name))
	}
	m.add(t, full("small"), "-- code.go --\npackage small\n")
	cases, err := filepath.Glob("testdata/findings/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			(&broken{mirror: m, name: name}).test(t)
		})
	}
}

// full is the module that an archive calls by its short name.
func full(name string) string { return "example.com/" + name + "@v1.0.0" }

// broken is one case of TestFindings.
type broken struct {
	*mirror
	name     string
	settings map[string]string
	archive  *txtar.Archive
	dir      string // the build context
	deps     string // the deps context
}

func (b *broken) test(t *testing.T) {
	b.read(t)
	b.makeDeps(t)
	args := strings.Fields(b.settings["args"])
	if b.deps != "" {
		args = append(args, with(b.deps))
	}
	found, r := steps(t, b.dir, args...)
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
	b.golden(t, "want", r.failed(t)+"\n")
	if b.settings["same"] != "" {
		if diff := cmp.Diff(stock(t, b.dir, args...).failed(t), r.failed(t)); diff != "" {
			t.Errorf("upstream's error is another (-upstream +ours):\n%s", diff)
		}
	}
	var drawn []string
	for _, m := range regexp.MustCompile(`(?m)^ +(\d+) \| >>> (.*)$`).FindAllStringSubmatch(r.log, -1) {
		drawn = append(drawn, m[1]+": "+m[2]+"\n")
	}
	b.golden(t, "drawn", strings.Join(drawn, ""))
	if b.settings["check"] == "" {
		b.check(t, r.failed(t))
	}
}

// check compares what "hermetic check" says with what the build said.
func (b *broken) check(t *testing.T, want string) {
	t.Helper()
	args := []string{"check", b.dir}
	if b.deps != "" {
		args = append(args, "--deps="+b.deps)
	}
	cmd := exec.CommandContext(t.Context(), cli, args...)
	cmd.Env = world.Env()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("hermetic check: %v, want exit status 3\n%s", err, &stderr)
	}
	if diff := cmp.Diff(want, errorsIn(string(out))); diff != "" {
		t.Errorf("hermetic check says something else than the build (-build +check):\n%s", diff)
	}
}

// errorsIn is the text of a report without the warnings: sections of a rule
// begin with its name and end with its page.
func errorsIn(text string) string {
	var out, section strings.Builder
	for line := range strings.Lines(text) {
		section.WriteString(line)
		if strings.HasPrefix(line, "see ") {
			name, _, _ := strings.Cut(section.String(), ":")
			if rule, ok := preflight.Find(name); !ok || rule.Severity == preflight.Error {
				out.WriteString(section.String())
			}
			section.Reset()
		}
	}
	return strings.TrimSuffix(out.String()+section.String(), "\n")
}

// read reads the case and writes its project.
func (b *broken) read(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile(b.name)
	if err != nil {
		t.Fatal(err)
	}
	b.archive = txtar.Parse(data)
	b.settings = map[string]string{}
	for line := range strings.Lines(string(b.archive.Comment)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.Contains(key, " ") {
			b.settings[key] = words().Replace(value)
		}
	}
	b.dir = b.files(t, "")
}

// files writes the files of the case below prefix to a new directory; "" for
// those of the project alone.
func (b *broken) files(t *testing.T, prefix string) string {
	t.Helper()
	part := &txtar.Archive{}
	for _, f := range b.archive.Files {
		rest, below := strings.CutPrefix(f.Name, prefix)
		other := prefix == "" && (f.Name == "want" || f.Name == "drawn" ||
			strings.HasPrefix(f.Name, "prefetch/") || strings.HasPrefix(f.Name, "deps/"))
		if below && !other {
			part.Files = append(part.Files, txtar.File{Name: rest, Data: []byte(b.expand(string(f.Data)))})
		}
	}
	return project(t, string(txtar.Format(part)))
}

// expand replaces {sum NAME…}, {require NAME…} and {nul}.
func (b *broken) expand(text string) string {
	text = strings.ReplaceAll(text, "{nul}", "\x00")
	return regexp.MustCompile(`\{(sum|require) ([^}]*)\}\n?`).ReplaceAllStringFunc(text, func(s string) string {
		f := strings.Fields(strings.Trim(s, "{}\n"))
		var names []string
		for _, name := range f[1:] {
			names = append(names, full(name))
		}
		if f[0] == "sum" {
			return b.goSum(names...)
		}
		return require(names...)
	})
}

// makeDeps makes the deps context and breaks it.
func (b *broken) makeDeps(t *testing.T) {
	t.Helper()
	from := b.dir
	if former := b.files(t, "prefetch/"); len(mustList(t, former)) > 0 {
		from = copyDir(t, b.dir)
		if err := os.CopyFS(filepath.Join(from, "former"), os.DirFS(former)); err != nil {
			t.Fatal(err)
		}
		for _, f := range mustList(t, former) {
			if err := os.Rename(filepath.Join(from, "former", f), filepath.Join(from, f)); err != nil {
				t.Fatal(err)
			}
		}
		os.Remove(filepath.Join(from, "former"))
	}
	switch b.settings["deps"] {
	case "view":
		b.deps = copyDir(t, b.prefetch(t, from))
	case "tree":
		b.deps = b.prefetch(t, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), from)
	case "dir":
		b.deps = b.files(t, "deps/")
	case "none":
	default:
		t.Fatalf("deps: %q", b.settings["deps"])
	}
	for _, name := range strings.Fields(b.settings["drop"]) {
		if err := os.Remove(b.spot(t, name).file); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range strings.Fields(b.settings["flip"]) {
		p := b.spot(t, name)
		flip(t, p.file, p.at+p.size/2)
	}
	if names := strings.Fields(b.settings["unlist"]); len(names) > 0 {
		b.unlist(t, names)
	}
}

func mustList(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A spot is where in the deps context a module's zip, or its go.mod, is.
type spot struct {
	file     string
	at, size int64
}

func (b *broken) spot(t *testing.T, name string) spot {
	t.Helper()
	name, mod := strings.CutSuffix(name, "/go.mod")
	kind := "zip"
	if mod {
		kind = "mod"
	}
	path, version, _ := strings.Cut(full(name), "@")
	if b.settings["deps"] == "tree" {
		file := filepath.Join(b.deps, "deps/gomod/pkg/mod/cache/download", path, "@v", version+"."+kind)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return spot{file, 0, info.Size()}
	}
	e, ok := manifest(t, b.deps).Find(cache.ID{Ecosystem: "gomod", Kind: kind, Name: path, Version: version})
	if !ok {
		t.Fatalf("%s %s: not in the manifest", name, kind)
	}
	return spot{filepath.Join(b.deps, e.BlobName()), max(0, e.Pack), e.Blob.Size}
}

func manifest(t *testing.T, deps string) *cache.Manifest {
	t.Helper()
	m, err := cache.ParseManifest(deps, []byte(read(t, deps, cache.ManifestFile)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unlist deletes lines of the manifest.
func (b *broken) unlist(t *testing.T, names []string) {
	t.Helper()
	m := manifest(t, b.deps)
	before := len(m.Entries)
	m.Entries = slices.DeleteFunc(m.Entries, func(e cache.Entry) bool {
		mv := module.Version{Path: e.Name, Version: e.Version}
		return e.Kind == "zip" && slices.ContainsFunc(names, func(n string) bool { return mv.String() == full(n) })
	})
	if before-len(m.Entries) != len(names) {
		t.Fatalf("%d entries deleted for %q", before-len(m.Entries), names)
	}
	if err := os.WriteFile(filepath.Join(b.deps, cache.ManifestFile), m.Encode(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	data := []byte(read(t, name))
	data[at] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// golden compares got with a part of the case, or writes it there.
func (b *broken) golden(t *testing.T, part, got string) {
	t.Helper()
	i := slices.IndexFunc(b.archive.Files, func(f txtar.File) bool { return f.Name == part })
	got = strings.NewReplacer(world.RegistryHost(), "{registry}").Replace(got)
	if *update {
		if i < 0 {
			i = len(b.archive.Files)
			b.archive.Files = append(b.archive.Files, txtar.File{Name: part})
		}
		b.archive.Files[i].Data = []byte(got)
		if err := os.WriteFile(b.name, txtar.Format(b.archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 {
		t.Fatalf("%s: no %q", b.name, part)
	}
	if diff := cmp.Diff(string(b.archive.Files[i].Data), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", part, diff)
	}
}
