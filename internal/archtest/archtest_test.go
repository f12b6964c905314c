package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listed is what the test asks go list for.
type listed struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string // none in a package of tests alone
	Imports    []string
	Module     *struct{ Main bool }
	Error      *struct{ Err string }
}

// list asks go list about the module and all that it imports.
func list(t *testing.T) (module string, packages []listed) {
	t.Helper()
	run := func(args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = filepath.Join("..", "..")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
		}
		return out
	}
	module = strings.TrimSpace(string(run("list", "-m")))
	dec := json.NewDecoder(bytes.NewReader(run("list", "-e", "-deps", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Module,Error", "./...")))
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return module, packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// TestModule holds this module to its rules.
func TestModule(t *testing.T) {
	module, packages := list(t)
	g := Graph{Module: module, Imports: map[string][]string{}}
	own := 0
	for _, p := range packages {
		g.Imports[p.ImportPath] = p.Imports
		if p.Module == nil || !p.Module.Main {
			continue
		}
		own++
		if p.Error != nil {
			t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s: no package comment", p.ImportPath)
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", p.ImportPath, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				style(t, g, p, file)
			}
		}
	}
	if own == 0 {
		t.Fatal("go list knows no package of the module")
	}
	for _, b := range Broken(g, Rules) {
		t.Error(b)
	}
}

// style reports what a file breaks, by its path in the module.
func style(t *testing.T, g Graph, p listed, file string) {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(p.ImportPath+"/"+filepath.Base(file), g.Module+"/")
	found, err := Style(name, src)
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestBroken breaks rules in made-up graphs.
func TestBroken(t *testing.T) {
	// A module "m" as it should be.
	good := func() map[string][]string {
		return map[string][]string{
			"m/cmd/docker-hermetic":   {"m/cache/fetch", "m/cache/ecosystem", "os", "net/http"},
			"m/cmd/hermetic-frontend": {"m/frontend", "github.com/moby/buildkit/client"},
			"m/frontend":              {"m/llbgen", "m/cache/ecosystem", "github.com/moby/buildkit/client"},
			"m/llbgen":                {"github.com/moby/buildkit/client", "fmt"},
			"m/cache":                 {"os", "fmt"},
			"m/cache/ecosystem":       {"m/cache", "fmt"},
			"m/cache/fetch":           {"m/cache", "net/http", "net"},
			"m/internal/lab":          {"m/cache/fetch", "net/http"},

			"github.com/moby/buildkit/client": {"net/http", "os/exec"},
			"net/http":                        {"net", "os"},
			"fmt":                             {"os"},
		}
	}
	if found := Broken(Graph{Module: "m", Imports: good()}, Rules); found != nil {
		t.Errorf("a good graph breaks rules: %v", found)
	}
	for _, tc := range []struct {
		name, from, to string // the import that is added
		want           []string
	}{
		{"fetcher in the frontend", "m/frontend", "m/cache/fetch", []string{
			"the frontend image cannot contain a fetcher: m/frontend -> m/cache/fetch",
			"only the CLI and tests link the fetcher: m/frontend -> m/cache/fetch",
		}},
		{"fetcher by a back door", "m/llbgen", "m/internal/lab", []string{
			"the frontend image cannot contain a fetcher: m/frontend -> m/llbgen -> m/internal/lab -> m/cache/fetch",
			"only the CLI and tests link the fetcher: m/llbgen -> m/internal/lab -> m/cache/fetch",
			"the graph passes know nothing of this module: m/llbgen -> m/internal/lab",
		}},
		{"fetcher by way of another module", "github.com/moby/buildkit/client", "m/cache/fetch", []string{
			"the frontend image cannot contain a fetcher: m/cmd/hermetic-frontend -> github.com/moby/buildkit/client -> m/cache/fetch",
			"the frontend image cannot contain a fetcher: m/frontend -> github.com/moby/buildkit/client -> m/cache/fetch",
			"only the CLI and tests link the fetcher: m/cmd/hermetic-frontend -> github.com/moby/buildkit/client -> m/cache/fetch",
			"only the CLI and tests link the fetcher: m/frontend -> github.com/moby/buildkit/client -> m/cache/fetch",
			"only the CLI and tests link the fetcher: m/llbgen -> github.com/moby/buildkit/client -> m/cache/fetch",
			"the graph passes know nothing of this module: m/llbgen -> github.com/moby/buildkit/client -> m/cache/fetch",
		}},
		{"http in the frontend", "m/frontend", "net/http/httputil", []string{
			"only the fetcher, the CLI and tests speak HTTP: m/frontend -> net/http/httputil",
		}},
		{"graph passes that know the cache", "m/llbgen", "m/cache", []string{
			"the graph passes know nothing of this module: m/llbgen -> m/cache",
		}},
		{"graph passes with a clock", "m/llbgen", "time", []string{
			"the graph passes are pure: m/llbgen -> time",
		}},
		{"cache with a socket", "m/cache", "net", []string{
			"the cache opens no socket and starts no program: m/cache -> net",
			"lockfile grammars open no socket and start no program: m/cache/ecosystem -> m/cache -> net",
		}},
		{"cache that knows BuildKit", "m/cache", "m/llbgen", []string{
			"the cache knows nothing of BuildKit: m/cache -> m/llbgen",
		}},
		{"grammar that reads the disk", "m/cache/ecosystem", "os", []string{
			"lockfile grammars read no disk: m/cache/ecosystem -> os",
		}},
		{"grammar that starts a program", "m/cache/ecosystem", "os/exec", []string{
			"lockfile grammars open no socket and start no program: m/cache/ecosystem -> os/exec",
		}},
		{"BuildKit where it does not belong", "m/new", "github.com/moby/buildkit/client", []string{
			"only the BuildKit side imports BuildKit: m/new -> github.com/moby/buildkit/client",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := Graph{Module: "m", Imports: good()}
			g.Imports[tc.from] = append(g.Imports[tc.from], tc.to)
			var got []string
			for _, b := range Broken(g, Rules) {
				got = append(got, b.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestEachRule breaks each rule of the table by one import, so that none is
// there for show.
func TestEachRule(t *testing.T) {
	concrete := func(pattern string) string {
		pattern = strings.TrimSuffix(pattern, "/...")
		if rest, ok := strings.CutPrefix(pattern, "."); ok {
			return "m" + rest
		}
		return pattern
	}
	for _, r := range Rules {
		for _, from := range r.From {
			for _, to := range r.To {
				g := Graph{Module: "m", Imports: map[string][]string{}}
				a, b := concrete(from), concrete(to)
				g.Imports[a] = []string{b}
				want := []Breach{{Rule: r.Name, Chain: []string{a, b}}}
				if diff := cmp.Diff(want, Broken(g, []Rule{r})); diff != "" {
					t.Errorf("%s, %s imports %s: -want +got:\n%s", r.Name, a, b, diff)
				}
				for _, except := range r.Except {
					g := Graph{Module: "m", Imports: map[string][]string{concrete(except): {b}}}
					if found := Broken(g, []Rule{r}); found != nil {
						t.Errorf("%s: %s is excepted, and %v", r.Name, except, found)
					}
				}
			}
		}
	}
}

func TestMatches(t *testing.T) {
	g := Graph{Module: "example.com/m"}
	for _, tc := range []struct {
		path, pattern string
		want          bool
	}{
		{"example.com/m/a", "./a", true},
		{"example.com/m/a/b", "./a", false},
		{"example.com/m/a/b", "./a/...", true},
		{"example.com/m/a", "./a/...", true},
		{"example.com/m/ab", "./a/...", false},
		{"example.com/m", "./...", true},
		{"example.com/m/a", "./...", true},
		{"example.com/mm", "./...", false},
		{"net/http", "net", false},
		{"net/http", "net/...", true},
	} {
		if got := g.matches(tc.path, []string{tc.pattern}); got != tc.want {
			t.Errorf("%s matches %s: %v", tc.path, tc.pattern, got)
		}
	}
}

func TestStyle(t *testing.T) {
	body := func(n int) string { return strings.Repeat("\tx()\n", n) }
	for _, tc := range []struct {
		name, src string
		want      []string
	}{
		{"nothing", "package p\n", nil},
		{"name", "package utils\n", []string{"f.go:1: package utils: a name that says nothing"}},
		{"long file", "package p\n" + strings.Repeat("\n", MaxFileLines-1), nil},
		{"too long file", "package p\n" + strings.Repeat("\n", MaxFileLines), []string{"f.go:1: file: 601 lines, at most 600"}},
		{"too long file without a last line break", "package p\n" + strings.Repeat("\n", MaxFileLines-1) + "// x", []string{"f.go:1: file: 601 lines, at most 600"}},
		{"generated", "// Code generated by x. DO NOT EDIT.\n\npackage p\n\nfunc f(a bool) {}\n", nil},
		{"long func", "package p\n\n// Doc\n// is not counted.\nfunc f() {\n" + body(58) + "}\n", nil},
		{"too long func", "package p\n\nfunc f() {\n" + body(59) + "}\n", []string{"f.go:3: func f: 61 lines, at most 60"}},
		{"too long method", "package p\n\nfunc (t T) f() {\n" + body(59) + "}\n", []string{"f.go:3: func f: 61 lines, at most 60"}},
		{"mostly a switch", "package p\n\nfunc f() {\n\tfor {\n\tswitch x {\n\tcase 1:\n" + body(70) + "\t}\n\t}\n" + body(20) + "}\n", nil},
		{"half a switch", "package p\n\nfunc f() {\n\tswitch x {\n\tcase 1:\n" + body(28) + "\t}\n" + body(29) + "}\n", []string{"f.go:3: func f: 62 lines, at most 60"}},
		{"less than half a switch", "package p\n\nfunc f() {\n\tswitch x {\n\tcase 1:\n" + body(27) + "\t}\n" + body(40) + "}\n", []string{"f.go:3: func f: 72 lines, at most 60"}},
		{"parameters", "package p\n\nfunc f(ctx context.Context, a, b int, c string, d ...int) {}\n", nil},
		{"too many parameters", "package p\n\nfunc f(a, b int, c string, d, e int) {}\n", []string{"f.go:3: func f: 5 parameters, at most 4"}},
		{"too many without names", "package p\n\nfunc f(int, int, int, int, int) {}\n", []string{"f.go:3: func f: 5 parameters, at most 4"}},
		{"bool", "package p\n\nfunc f(a, b bool) bool { return a }\nfunc g(bool) {}\nfunc h(a []bool, b *bool) {}\n", []string{
			"f.go:3: func f: bool parameter a", "f.go:3: func f: bool parameter b", "f.go:4: func g: bool parameter _",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Style("f.go", []byte(tc.src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fmt.Sprint(tc.want), fmt.Sprint(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if _, err := Style("f.go", []byte("package")); err == nil {
		t.Error("nonsense parses")
	}
}
