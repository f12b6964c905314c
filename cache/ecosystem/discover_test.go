package ecosystem

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/fsutil"

	"github.com/hermetic-build/hermetic/cache"
)

// tree are the directories with a go.mod in the contexts of TestDiscover.
var tree = []string{
	".", "a", "a/b", "a/b/c", "docs", "docs/examples", "x y", "ä",
	"testdata", "a/testdata/m", "vendor/v", "a/vendor/v", "node_modules/n", "_build", ".hidden", "a/.git/m",
}

// visible are those of them that hold packages.
var visible = tree[:8]

func TestDiscover(t *testing.T) {
	tests := []struct {
		name    string
		ignore  string
		without []string // of visible
	}{
		{"no patterns", "", nil},
		{"comments", "# a\n\n  \n", nil},
		{"a directory", "a", []string{"a", "a/b", "a/b/c"}},
		{"a directory, with slashes", "/a/", []string{"a", "a/b", "a/b/c"}},
		{"below", "a/b", []string{"a/b", "a/b/c"}},
		{"one file", "go.mod", []string{"."}},
		{"any depth", "**/go.mod", visible},
		{"one level", "*/go.mod", []string{"a", "docs", "x y", "ä"}},
		{"everything", "*", visible},
		{"everything, at any depth", "**", visible},
		{"negation", "*\n!a", []string{".", "docs", "docs/examples", "x y", "ä"}},
		{"negation below", "a\n!a/b", []string{"a"}},
		{"negation, then not", "a\n!a/b\na/b/c", []string{"a", "a/b/c"}},
		{"negation first", "!a\na", []string{"a", "a/b", "a/b/c"}},
		{"negation of a file", "**\n!docs/examples/go.mod", []string{".", "a", "a/b", "a/b/c", "docs", "x y", "ä"}},
		{"wildcards", "d?c*\n[x-z] *", []string{"docs", "docs/examples", "x y"}},
		{"only go.sum", "**/go.sum", nil},
		{"unicode", "ä", []string{"ä"}},
		{"line ends", "a\r\n!a/b/c\r\n", []string{"a", "a/b"}},
	}
	for _, tt := range tests {
		files := fstest.MapFS{"a/other.go": {}, "docs/README": {}}
		for _, dir := range tree {
			files[strings.TrimPrefix(dir+"/go.mod", "./")] = &fstest.MapFile{}
		}
		if tt.name != "no patterns" {
			files[IgnoreFile] = &fstest.MapFile{Data: []byte(tt.ignore)}
		}
		var want []string
		for _, dir := range visible {
			if !slices.Contains(tt.without, dir) {
				want = append(want, dir)
			}
		}
		for range 100 {
			pkgs, err := Discover(files)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			var got []string
			for _, p := range pkgs {
				got = append(got, p.Path)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s: %s", tt.name, diff)
			}
		}
		if got := transferred(t, files, tt.ignore); !slices.Equal(got, want) {
			t.Errorf("%s: a builder gets %q; this test wants %q", tt.name, got, want)
		}
	}
}

// transferred asks the library that builders send contexts with which of the
// visible packages it sends.
func transferred(t *testing.T, files fstest.MapFS, ignore string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var patterns []string
	for line := range strings.Lines(ignore) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			patterns = append(patterns, strings.Trim(line, "/"))
		}
	}
	base, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	filtered, err := fsutil.NewFilterFS(base, &fsutil.FilterOpt{ExcludePatterns: patterns})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = filtered.Walk(context.Background(), "", func(name string, _ fs.DirEntry, err error) error {
		dir := filepath.ToSlash(filepath.Dir(name))
		if err == nil && filepath.Base(name) == "go.mod" && slices.Contains(visible, dir) {
			got = append(got, dir)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b string) int { return slices.Index(visible, a) - slices.Index(visible, b) })
	return got
}

func TestDiscoverErrors(t *testing.T) {
	bad := fstest.MapFS{IgnoreFile: {Data: []byte("[\n")}, "go.mod": {}}
	if pkgs, err := Discover(bad); err == nil || err.Error() != ".dockerignore: syntax error in pattern" {
		t.Errorf("%v, %v", pkgs, err)
	}
	if pkgs, err := Discover(failing{fstest.MapFS{"go.mod": {}}, "."}); err == nil {
		t.Errorf("an unreadable context: %v", pkgs)
	}
	pkgs, err := Discover(failing{fstest.MapFS{"go.mod": {}, "a/go.mod": {}, "b/go.mod": {}}, "a"})
	if err != nil || !slices.Equal(pkgs, []cache.Package{{Type: "gomod", Path: "."}, {Type: "gomod", Path: "b"}}) {
		t.Errorf("an unreadable directory: %v, %v", pkgs, err)
	}
	pkgs, err = Discover(fstest.MapFS{"go.mod/x": {}, "b/go.mod/go.mod": {}})
	if err != nil || !slices.Equal(pkgs, []cache.Package{{Type: "gomod", Path: "b/go.mod"}}) {
		t.Errorf("directories: %v, %v", pkgs, err)
	}
}

func TestNames(t *testing.T) {
	if diff := cmp.Diff([]string{"cargo", "generic", "git-submodule", "gomod", "npm", "pip"}, Types()); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(Commands("gomod"), "go") || Commands("cobol") != nil {
		t.Errorf("commands: %q, %q", Commands("gomod"), Commands("cobol"))
	}
	for file, want := range map[string]string{
		"go.mod": "gomod", "a/b/go.sum": "gomod", "go.work": "gomod", "x/go.work.sum": "gomod", "vendor/modules.txt": "gomod", "a/vendor/modules.txt": "gomod",
		"Cargo.lock": "cargo", "a/.cargo/config.toml": "cargo", ".cargo/config": "cargo", "config.toml": "", "Cargo.toml": "cargo", "a/Cargo.toml": "cargo",
		"artifacts.lock.yaml": "generic", "a/artifacts.lock.yaml": "generic",
		"": "", "Dockerfile": "", "COBOL.lock": "", "xgo.mod": "", "modules.txt": "", "go.mod/x": "",
	} {
		if got := Owner(file); got != want {
			t.Errorf("Owner(%q) = %q, want %q", file, got, want)
		}
	}
	// What plans read, the patterns must select, and those that skip must not drop.
	base := t.TempDir()
	want := []string{".cargo/config.toml", ".dockerignore", "Cargo.lock", "a/.cargo/config", "a/go.work", "a/vendor/modules.txt", "go.mod", "go.sum", "lock[s]/!*?.yaml", "testdata/m/go.mod", "vendor/modules.txt"}
	pkgs := []cache.Package{{Type: "generic", Path: "lock[s]", Options: `{"lockfile":"!*?.yaml"}`}, {Type: "gomod", Path: "."}, {Type: "cobol"}}
	for _, name := range append([]string{"README", "locks/!ab.yaml", "lock[s]/!ab.yaml", "a/node_modules/go.mod", ".git/go.mod", "vendor/x.go"}, want...) {
		path := filepath.Join(base, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := fsutil.NewFS(base)
	if err != nil {
		t.Fatal(err)
	}
	some, err := fsutil.NewFilterFS(all, &fsutil.FilterOpt{IncludePatterns: Patterns(pkgs...), ExcludePatterns: SkippedPatterns()})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = some.Walk(context.Background(), "", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(got)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestExtras(t *testing.T) {
	sum, err := cache.ParseSum("h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	if err != nil {
		t.Fatal(err)
	}
	in := func(kind, name, version string) cache.Input {
		return cache.Input{Ecosystem: "gomod", Kind: kind, Name: name, Version: version, Sum: sum}
	}
	inputs := []cache.Input{
		in("zip", "example.com/M", "v1.10.0"), in("mod", "example.com/M", "v1.10.0"), in("mod", "example.com/M", "v1.9.0"),
		in("zip", "example.com/M", "v1.9.1-0.20200102030405-0123456789ab"), in("zip", "example.com/n", "v2.0.0+incompatible"),
		{Ecosystem: "gomod", Kind: "zip", Name: toolchainModule, Version: "v0.0.1-go1.26.1.linux-amd64"},
		{Ecosystem: "cobol", Kind: "zip", Name: "x", Version: "v1.0.0"},
	}
	want := `example.com/!m/@v/list "v1.9.0\nv1.9.1-0.20200102030405-0123456789ab\nv1.10.0\n"
example.com/!m/@v/v1.10.0.info "{\"Version\":\"v1.10.0\"}"
example.com/!m/@v/v1.10.0.ziphash "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
example.com/!m/@v/v1.9.0.info "{\"Version\":\"v1.9.0\"}"
example.com/!m/@v/v1.9.1-0.20200102030405-0123456789ab.info "{\"Version\":\"v1.9.1-0.20200102030405-0123456789ab\",\"Time\":\"2020-01-02T03:04:05Z\"}"
example.com/!m/@v/v1.9.1-0.20200102030405-0123456789ab.ziphash "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
example.com/n/@v/list "v2.0.0+incompatible\n"
example.com/n/@v/v2.0.0+incompatible.info "{\"Version\":\"v2.0.0+incompatible\"}"
example.com/n/@v/v2.0.0+incompatible.ziphash "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
golang.org/toolchain/@v/list "v0.0.1-go1.26.1.linux-amd64\n"
golang.org/toolchain/@v/v0.0.1-go1.26.1.linux-amd64.info "{\"Version\":\"v0.0.1-go1.26.1.linux-amd64\"}"
`
	for range 100 {
		var b strings.Builder
		for _, f := range Extras(inputs) {
			fmt.Fprintf(&b, "%s %q\n", strings.TrimPrefix(f.Path, "deps/gomod/pkg/mod/cache/download/"), f.Data)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Fatal(diff)
		}
	}
	if got := Extras(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
