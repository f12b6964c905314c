package ecosystem

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

// goCommand runs the real go command, cut off from networks and from the
// settings of this machine.
type goCommand struct {
	dir string
	env []string // on top
}

// run returns standard output; a failure's text is in the error.
func (g goCommand) run(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = g.dir
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "SystemRoot"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	nowhere := "http://127.0.0.1:1"
	cmd.Env = append(cmd.Env, "GOENV=off", "GOTOOLCHAIN=local", "GOSUMDB=off", "GOPROXY=off", "GOFLAGS=-modcacherw -buildvcs=false",
		"HTTP_PROXY="+nowhere, "HTTPS_PROXY="+nowhere, "GIT_ALLOW_PROTOCOL=none", "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, g.env...)
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, &errout)
	}
	return out.String(), nil
}

// must is run, where a failure is the test's.
func (g goCommand) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unpack writes an archive of testdata to a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	ar, err := txtar.ParseFile(filepath.Join("testdata", "go", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range ar.Files {
		write(t, filepath.Join(dir, filepath.FromSlash(f.Name)), f.Data)
	}
	return dir
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// proxy makes a module proxy out of testdata/go/proxy.txtar and returns its
// file URL (https://go.dev/ref/mod#goproxy-protocol).
func proxy(t *testing.T) string {
	t.Helper()
	src, dst := unpack(t, "proxy.txtar"), t.TempDir()
	dirs, err := filepath.Glob(filepath.Join(src, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		rel, err := filepath.Rel(src, dir)
		if err != nil {
			t.Fatal(err)
		}
		name, version, _ := strings.Cut(filepath.ToSlash(rel), "@")
		base := filepath.Join(dst, strings.TrimPrefix(downloadPath(name, version, ""), downloadDir))
		goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if errors.Is(err, fs.ErrNotExist) {
			goMod = []byte("module " + name + "\n")
		} else if err != nil {
			t.Fatal(err)
		}
		write(t, base+".mod", goMod)
		write(t, base+".info", fmt.Appendf(nil, `{"Version": %q, "Time": %q}`, version, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC).Format(time.RFC3339)))
		var b bytes.Buffer
		if err := modzip.CreateFromDir(&b, module.Version{Path: name, Version: version}, dir); err != nil {
			t.Fatal(err)
		}
		write(t, base+".zip", b.Bytes())
	}
	return "file://" + filepath.ToSlash(dst)
}

// fetched is a project whose modules the real go command has downloaded, to an
// output directory as Hermeto makes one.
func fetched(t *testing.T, project string) (dir, output string) {
	t.Helper()
	dir, output = unpack(t, project), t.TempDir()
	g := goCommand{dir, []string{"GOPROXY=" + proxy(t), "GOMODCACHE=" + filepath.Join(output, "deps", "gomod", "pkg", "mod")}}
	if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
		for _, sub := range []string{"app", "lib"} {
			own := g
			own.dir, own.env = filepath.Join(dir, sub), append(g.env[:2:2], "GOWORK=off")
			own.must(t, "mod", "tidy")
		}
		g.must(t, "list", "-m", "all")
	} else {
		g.must(t, "mod", "tidy")
	}
	g.must(t, "mod", "download")
	return dir, output
}

func TestTreeOfGoCommand(t *testing.T) {
	for _, project := range []string{"project.txtar", "workspace.txtar"} {
		dir, output := fetched(t, project)
		plan := planOf(t, dir)
		tree, err := cache.OpenTree(output)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		for _, p := range cache.Check(tree, plan.Inputs) {
			t.Errorf("%s: %s", project, p)
		}
		required := 0
		for _, in := range plan.Inputs {
			if in.Need == cache.Required {
				required++
			}
		}
		if want := map[string]int{"project.txtar": 7, "workspace.txtar": 0}[project]; required != want {
			t.Errorf("%s: %d inputs are required, want %d", project, required, want)
		}
	}
}

// planOf is the plan of all packages in a directory.
func planOf(t *testing.T, dir string) cache.Plan {
	t.Helper()
	pkgs, err := Discover(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	plan := New(os.DirFS(dir), pkgs, Options{})
	for _, p := range plan.Problems {
		t.Errorf("%s", p)
	}
	return plan
}

// layOut takes what a go command downloaded through a store and a view to a
// layout, and returns its directory.
func layOut(t *testing.T, plan *cache.Plan, output string) string {
	t.Helper()
	tree, err := cache.OpenTree(output)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	store, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &cache.Manifest{Packages: plan.Packages, Locks: plan.Locks}
	for _, in := range plan.Inputs {
		c, err := tree.Open(in)
		if err != nil {
			t.Fatalf("%s: %v", in.Subject(), err)
		}
		data, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size))
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		blob, err := store.Put(in.Sum, data)
		if err != nil {
			t.Fatal(err)
		}
		m.Entries = append(m.Entries, cache.Entry{ID: in.ID(), Sum: in.Sum, Blob: blob})
	}
	dir, err := store.View(m, "")
	if err != nil {
		t.Fatal(err)
	}
	view, err := cache.OpenView(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if missing := m.Missing(*plan); len(missing) > 0 {
		t.Fatal(missing)
	}
	out := t.TempDir()
	problems, err := Layout(plan.Inputs, cache.BuildConfig(plan.Env)).Write(out, view)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	return out
}

func TestLayoutIsThatOfGoCommand(t *testing.T) {
	for _, project := range []string{"project.txtar", "workspace.txtar"} {
		dir, output := fetched(t, project)
		plan := planOf(t, dir)
		out := layOut(t, &plan, output)
		got, want := downloads(t, out), downloads(t, output)
		for _, in := range plan.Inputs {
			if !strings.HasPrefix(in.Path, downloadDir) || got[strings.TrimPrefix(in.Path, downloadDir+"/")] == "" {
				t.Errorf("%s: %s is not laid out", project, in.Path)
			}
		}
		compared := map[string]int{}
		for name, text := range got {
			compared[path.Ext(name)]++
			if strings.HasSuffix(name, ".info") {
				if version(t, text) != version(t, want[name]) {
					t.Errorf("%s: %s: %s, the go command has %s", project, name, text, want[name])
				}
				continue
			}
			if strings.HasSuffix(name, "/list") {
				continue // the go command's own lists what it asked for, not what it has
			}
			if text != want[name] {
				t.Errorf("%s: %s differs: %.60q, the go command has %.60q", project, name, text, want[name])
			}
		}
		for _, ext := range []string{".zip", ".mod", ".ziphash", ".info"} {
			if compared[ext] < 3 {
				t.Errorf("%s: %d files %s", project, compared[ext], ext)
			}
		}
	}
}

// downloads are the files of a module cache's download directory.
func downloads(t *testing.T, output string) map[string]string {
	t.Helper()
	out := map[string]string{}
	fsys := os.DirFS(filepath.Join(output, "deps", "gomod", filepath.FromSlash(downloadDir)))
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, name)
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func version(t *testing.T, info string) string {
	t.Helper()
	var v struct{ Version string }
	if err := json.Unmarshal([]byte(info), &v); err != nil {
		t.Fatalf("%q: %v", info, err)
	}
	return v.Version
}

func TestGoCommandBuildsFromLayout(t *testing.T) {
	for _, tt := range []struct{ project, main, prints string }{
		{"project.txtar", ".", "a with b 1.1 Upper fork incompatible pseudo dir\n"},
		{"workspace.txtar", "./app", "a with b 1.1 lib with b 1.1\n"},
	} {
		dir, output := fetched(t, tt.project)
		plan := planOf(t, dir)
		out := layOut(t, &plan, output)
		g := goCommand{dir: dir}
		for _, v := range cache.ResolveEnv(plan.Env, out) {
			if v.Name != "GOCACHE" { // an empty one would compile the standard library anew
				g.env = append(g.env, v.Name+"="+v.Value)
			}
		}
		g.env = append(g.env, "GOCACHE="+strings.TrimSpace(goCommand{dir: dir}.must(t, "env", "GOCACHE")))
		lockfiles := locks(t, dir)
		exe := filepath.Join(t.TempDir(), "main")
		g.must(t, "build", "-o", exe, tt.main)
		printed, err := exec.Command(exe).CombinedOutput()
		if err != nil || string(printed) != tt.prints {
			t.Errorf("%s: prints %q, %v; want %q", tt.project, printed, err, tt.prints)
		}
		g.must(t, "mod", "download")
		if got := g.must(t, "mod", "verify"); got != "all modules verified\n" {
			t.Errorf("%s: %s", tt.project, got)
		}
		if got := g.must(t, "list", "-m", "all"); !strings.Contains(got, "example.com/graph v1.0.0") {
			t.Errorf("%s: go list -m all: %s", tt.project, got)
		}
		if diff := cmp.Diff(lockfiles, locks(t, dir)); diff != "" {
			t.Errorf("%s: the go command changed lockfiles: %s", tt.project, diff)
		}
		if tt.project == "project.txtar" {
			mod := g
			mod.env = append(g.env[:len(g.env):len(g.env)], "GOFLAGS=-modcacherw -mod=mod")
			mod.must(t, "build", "-o", exe, tt.main)
			if got := g.must(t, "list", "-m", "-versions", "example.com/Upper"); got != "example.com/Upper v1.0.0\n" {
				t.Errorf("versions: %q", got)
			}
		}
	}
}

// locks are the contents of the lockfiles below dir.
func locks(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || Owner(name) == "" {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A damaged zip must not reach the go command, and its absence must.
func TestGoCommandWithoutOneInput(t *testing.T) {
	dir, output := fetched(t, "project.txtar")
	plan := planOf(t, dir)
	out := layOut(t, &plan, output)
	gone := filepath.Join(out, "deps", "gomod", filepath.FromSlash(downloadPath("example.com/a", "v1.0.0", ".zip")))
	if _, err := zip.OpenReader(gone); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	g := goCommand{dir: dir}
	for _, v := range cache.ResolveEnv(plan.Env, out) {
		if v.Name != "GOCACHE" {
			g.env = append(g.env, v.Name+"="+v.Value)
		}
	}
	g.env = append(g.env, "GOCACHE="+strings.TrimSpace(goCommand{dir: dir}.must(t, "env", "GOCACHE")))
	if _, err := g.run("build", "-o", os.DevNull, "."); err == nil || !strings.Contains(err.Error(), "example.com/a@v1.0.0") {
		t.Errorf("without a zip: %v", err)
	}
}
