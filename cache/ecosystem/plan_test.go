package ecosystem

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// golden is the name of the part of an archive that holds what is expected.
const golden = "want"

// archive is a txtar file of testdata: a comment with settings ("key: value"
// lines), the files of a build context, and what is expected.
type archive struct {
	name     string
	ar       *txtar.Archive
	settings map[string]string
	fsys     fstest.MapFS
}

func archives(t testing.TB, pattern string) []*archive {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(names), err)
	}
	var out []*archive
	for _, name := range names {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		a := &archive{name: name, ar: ar, settings: map[string]string{}, fsys: fstest.MapFS{}}
		for line := range strings.Lines(string(ar.Comment)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.Contains(key, " ") {
				a.settings[key] = value
			}
		}
		for _, f := range ar.Files {
			if f.Name == golden {
				continue
			}
			if f.Name == a.settings["crlf"] {
				f.Data = bytes.ReplaceAll(f.Data, []byte("\n"), []byte("\r\n"))
			}
			data := bytes.ReplaceAll(f.Data, []byte("CRATES_SOURCE"), []byte(cratesOwner+"index"))
			a.fsys[f.Name] = &fstest.MapFile{Data: data}
		}
		out = append(out, a)
	}
	return out
}

// compare holds got against the expected part, or writes it with -update.
func (a *archive) compare(t *testing.T, got string) {
	t.Helper()
	var want *txtar.File
	for i := range a.ar.Files {
		if a.ar.Files[i].Name == golden {
			want = &a.ar.Files[i]
		}
	}
	if *update {
		if want == nil {
			a.ar.Files = append(a.ar.Files, txtar.File{Name: golden})
			want = &a.ar.Files[len(a.ar.Files)-1]
		}
		want.Data = []byte(got)
		for i, f := range a.ar.Files {
			if f.Name == a.settings["crlf"] {
				a.ar.Files[i].Data = bytes.ReplaceAll(f.Data, []byte("\r\n"), []byte("\n"))
			}
		}
		if err := os.WriteFile(a.name, txtar.Format(a.ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want == nil {
		t.Fatalf("%s: no part %q; run the test with -update", a.name, golden)
	}
	if diff := cmp.Diff(string(want.Data), got); diff != "" {
		t.Errorf("%s: %s", a.name, diff)
	}
}

// packages are those that the archive gives, else those that are found.
func (a *archive) packages(t *testing.T) []cache.Package {
	t.Helper()
	pkgs, err := Discover(a.fsys)
	if input := a.settings["packages"]; input != "" {
		pkgs, err = ParsePackages(input)
	}
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	return pkgs
}

// dump is a plan as text.
func dump(p cache.Plan) string {
	var b strings.Builder
	for _, pkg := range p.Packages {
		fmt.Fprintln(&b, strings.TrimSpace("package "+pkg.Type+" "+pkg.Path+" "+pkg.Options))
	}
	for _, l := range p.Locks {
		fmt.Fprintf(&b, "lock %s %.8s…\n", l.File, l.Sum.Hex())
	}
	for _, in := range p.Inputs {
		need := []string{cache.Listed: "listed", cache.Required: "required", cache.Optional: "optional", cache.Alternative: "alternative"}[in.Need]
		fmt.Fprintf(&b, "%s %s %s: %s@%s %.10s\n\t%s\n", need, in.Kind, in.Origin, in.Name, in.Version, in.Sum, in.Path)
		if in.URL != "" {
			fmt.Fprintf(&b, "\tfrom %s\n", in.URL)
		}
		if a := in.Auth; a != nil {
			fmt.Fprintf(&b, "\twith %q %q %q\n", a.Header, a.User, a.Secret)
		}
	}
	for _, f := range p.Project {
		fmt.Fprintf(&b, "project file %s\n\t%s\n", f.Path, strings.ReplaceAll(strings.TrimSpace(f.Template), "\n", "\n\t"))
	}
	for _, f := range cache.Mounted(p.Sections, "/out") {
		fmt.Fprintf(&b, "mounted %s\n\t%s\n", f.Path, strings.ReplaceAll(strings.TrimSpace(string(f.Data)), "\n", "\n\t"))
	}
	var env []string
	for _, v := range p.Env {
		env = append(env, v.Name)
	}
	if len(env) > 0 {
		fmt.Fprintln(&b, "env", strings.Join(env, " "))
	}
	kinds := []string{cache.Missing: "Missing", cache.Corrupt: "Corrupt", cache.Stale: "Stale", cache.BadLock: "BadLock", cache.NoLock: "NoLock", cache.NoSum: "NoSum", cache.Unpinned: "Unpinned", cache.Unsupported: "Unsupported", cache.BadVendor: "BadVendor", cache.Outside: "Outside", cache.Weak: "Weak", cache.Uncovered: "Uncovered"}
	for _, pr := range slices.Concat(p.Problems, p.Warnings) {
		fmt.Fprintf(&b, "%s %s\n", kinds[pr.Kind], pr)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	for _, a := range archives(t, "plan-*.txtar") {
		var o Options
		if p := a.settings["platforms"]; p != "" {
			o.Platforms = strings.Split(p, ",")
		}
		pkgs := a.packages(t)
		got := dump(New(a.fsys, pkgs, o))
		a.compare(t, got)
		for range 100 {
			if again := dump(New(a.fsys, pkgs, o)); again != got {
				t.Fatalf("%s: another run, another plan: %s", a.name, cmp.Diff(got, again))
			}
		}
	}
}

func TestNewRefusesPackages(t *testing.T) {
	plan := New(fstest.MapFS{}, []cache.Package{
		{Type: "cobol", Path: "."}, {Type: "gomod", Path: "/etc"}, {Type: "gomod", Path: "../x"}, {Type: "gomod", Path: "a/../../x"}, {Type: "gomod", Path: "gone"},
		{Type: "gomod", Path: ".", Options: `{"x":1}`}, {Type: "generic", Path: ".", Options: `{"lockfile":"../x","y":1}`}, {Type: "generic", Path: ".", Options: "["},
	}, Options{})
	want := `package gomod gone
BadLock generic .: options: not a JSON object
BadLock {"type":"cobol","path":"."}: type "cobol": not one of ` + strings.Join(Types(), ", ") + `
BadLock {"type":"generic","path":".","lockfile":"../x","y":1}: key "y": not one of type, path, lockfile
BadLock {"type":"generic","path":".","lockfile":"../x","y":1}: lockfile "../x": not a path inside the package
BadLock {"type":"gomod","path":".","x":1}: key "x": not one of type, path
BadLock {"type":"gomod","path":"../x"}: path "../x": not a path inside the build context
BadLock {"type":"gomod","path":"/etc"}: path "/etc": not a path inside the build context
BadLock {"type":"gomod","path":"a/../../x"}: path "a/../../x": not a path inside the build context
NoLock gone/go.mod: no such file in the build context
`
	if diff := cmp.Diff(want, dump(plan)); diff != "" {
		t.Error(diff)
	}
}

// failing is a file system in which some names cannot be read.
type failing struct {
	fstest.MapFS
	bad string
}

func (f failing) Open(name string) (fs.File, error) {
	if name == f.bad {
		return nil, &fs.PathError{Op: "open", Path: "/somewhere/" + name, Err: fs.ErrPermission}
	}
	return f.MapFS.Open(name)
}

func (f failing) ReadFile(name string) ([]byte, error) {
	if _, err := f.Open(name); err != nil {
		return nil, err
	}
	return f.MapFS.ReadFile(name)
}

func (f failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := f.Open(name); err != nil {
		return nil, err
	}
	return f.MapFS.ReadDir(name)
}

func TestUnreadableLockfiles(t *testing.T) {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"go.mod": "module m\ngo 1.21\n", "go.sum": "", "go.work": "go 1.21\nuse .\n", "go.work.sum": "", ".dockerignore": "x\n", "v/go.mod": "module v\ngo 1.21\n", "v/vendor/modules.txt": "",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name := range files {
		fsys := failing{files, name}
		pkgs, err := Discover(fsys)
		if name == IgnoreFile {
			if err == nil || err.Error() != ".dockerignore: permission denied" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || len(pkgs) != 2 {
			t.Fatalf("%s: %v, %v", name, pkgs, err)
		}
		plan := New(fsys, pkgs, Options{})
		if len(plan.Problems) != 1 || plan.Problems[0].String() != name+": permission denied" {
			t.Errorf("%s: %v", name, plan.Problems)
		}
	}
}

// TestByteOrderMark: a mark that editors put before a text changes nothing but
// the digest of the file, as the package managers read over it.
func TestByteOrderMark(t *testing.T) {
	const mark = "\ufeff"
	var plans []*archive
	for _, kind := range []string{"cargo", "generic", "npm", "pip"} {
		plans = append(plans, archives(t, "plan-"+kind+"*.txtar")...)
	}
	digest := regexp.MustCompile(`(?m)^lock (\S+) .*$`)
	for _, a := range plans {
		plain := New(a.fsys, a.packages(t), Options{})
		for _, f := range a.fsys {
			f.Data = append([]byte(mark), f.Data...)
		}
		marked := New(a.fsys, a.packages(t), Options{})
		for i := range marked.Project {
			marked.Project[i].Template = strings.TrimPrefix(marked.Project[i].Template, mark)
		}
		want, got := digest.ReplaceAllString(dump(plain), "lock $1"), digest.ReplaceAllString(dump(marked), "lock $1")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", a.name, diff)
		}
	}
}
