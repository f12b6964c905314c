package ecosystem

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// TestCargoLockLimits: what no parser should have to read is refused in a line.
func TestCargoLockLimits(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"large":    {strings.Repeat("#\n", 50<<20), "Cargo.lock: larger than 16 MB"},
		"a NUL":    {"version = 4\n\x00", "Cargo.lock:2: a control character, U+0000"},
		"Latin-1":  {"version = 4\n# \xe9\n", "Cargo.lock:2: not UTF-8"},
		"deep":     {"a = " + strings.Repeat("[", 100_000), "Cargo.lock:1: not TOML: "},
		"not TOML": {"version: 4\n", "Cargo.lock:1: not TOML: "},
	} {
		plan := New(fstest.MapFS{"Cargo.lock": {Data: []byte(c.text)}}, []cache.Package{{Type: "cargo", Path: "."}}, Options{})
		if len(plan.Problems) != 1 || !strings.HasPrefix(plan.Problems[0].String(), c.want) {
			t.Errorf("%s: %v; want %s", name, plan.Problems, c.want)
		}
	}
	plan := New(fstest.MapFS{"Cargo.lock": {Mode: fs.ModeDir}}, []cache.Package{{Type: "cargo", Path: "."}}, Options{})
	if len(plan.Problems) != 1 || plan.Problems[0].Cause != "not a regular file" {
		t.Errorf("a directory: %v", plan.Problems)
	}
}

// TestCargoPlanIsTheSame whatever the order of maps.
func TestCargoPlanIsTheSame(t *testing.T) {
	for _, a := range archives(t, "plan-cargo*.txtar") {
		want := ""
		for range 100 {
			got := dump(New(a.fsys, a.packages(t), Options{}))
			if want == "" {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s: %s", a.name, diff)
			}
		}
	}
}

// TestVendoredChecksums: what is written is what cargo vendor writes, and what
// the check of a vendored crate accepts.
func TestVendoredChecksums(t *testing.T) {
	lib, sum := []byte("lib"), cache.SumBytes([]byte("the crate"))
	in := cache.Input{Name: "a", Version: "1.0.0", Sum: sum}
	files := writeChecksums(in, []cache.Unpacked{{Path: "src/<&>.rs", Sum: cache.SumBytes(lib)}, {Path: "Cargo.toml", Sum: cache.SumBytes(nil)}})
	want := fmt.Sprintf(`{"files":{"Cargo.toml":"%s","src/<&>.rs":"%s"},"package":"%s"}`, cache.SumBytes(nil).Hex(), cache.SumBytes(lib).Hex(), sum.Hex())
	if len(files) != 1 || files[0].Path != checksumFile || string(files[0].Data) != want {
		t.Fatalf("%s\nwant %s", files[0].Data, want)
	}
	whole := func() fstest.MapFS {
		return fstest.MapFS{checksumFile: {Data: []byte(want)}, "src/<&>.rs": {Data: lib}, "Cargo.toml": {}, "unlisted": {}}
	}
	for name, c := range map[string]struct {
		change func(fstest.MapFS)
		want   string
	}{
		"whole":       {func(fstest.MapFS) {}, ""},
		"no list":     {func(m fstest.MapFS) { delete(m, checksumFile) }, ".cargo-checksum.json: no such file in the build context"},
		"no JSON":     {func(m fstest.MapFS) { m[checksumFile].Data = lib }, ".cargo-checksum.json: not of the form that cargo vendor writes"},
		"a directory": {func(m fstest.MapFS) { m["Cargo.toml"].Mode = fs.ModeDir }, "Cargo.toml: not a regular file"},
		"another crate": {func(m fstest.MapFS) { m[checksumFile].Data = []byte(`{"package":"0"}`) },
			`.cargo-checksum.json: of a crate with the sha256 "0", want ` + sum.Hex()},
		"climbs": {func(m fstest.MapFS) {
			m[checksumFile].Data = []byte(`{"package":"` + sum.Hex() + `","files":{"../x":"0"}}`)
		}, `"../x": not a path inside it`},
		"changed, missing": {func(m fstest.MapFS) { m["src/<&>.rs"].Data = nil; delete(m, "Cargo.toml") },
			"Cargo.toml: no such file in the build context\nsrc/<&>.rs: changed since it was vendored"},
	} {
		fsys := whole()
		c.change(fsys)
		got := ""
		if err := checkVendored(in, fsys); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
}

func FuzzCargoLock(f *testing.F) {
	for _, a := range archives(f, "plan-cargo*.txtar") {
		for name, file := range a.fsys {
			if strings.HasSuffix(name, cargoLock) {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		crates, _, problems := parseCargoLock("Cargo.lock", data)
		lines := bytes.Count(data, []byte("\n")) + 1
		for _, p := range problems {
			checkProblem(t, p)
			if p.Origin.Line > lines {
				t.Fatalf("%s: of %d lines", p, lines)
			}
		}
		for _, c := range crates {
			in, problem := c.input(cargoOrigin{})
			if problem != "" {
				t.Fatal(problem)
			}
			if !filepath.IsLocal(in.Path) || strings.ContainsAny(in.Path, "/\\\x00") || c.origin.Line < 1 || c.origin.Line > lines || c.source == "" {
				t.Fatalf("%+v", c)
			}
			if text := string(bytes.Split(data, []byte("\n"))[c.origin.Line-1]); !strings.Contains(text, c.name) && !strings.Contains(text, `\`) {
				t.Fatalf("line %d is %q, and was read as %s", c.origin.Line, text, c.name)
			}
		}
		if again, _, _ := parseCargoLock("Cargo.lock", data); len(again) != len(crates) {
			t.Fatal("another result the second time")
		}
	})
}

// FuzzCargoConfig: whatever a configuration file says, what is made of it is
// one, with these sources and no others.
func FuzzCargoConfig(f *testing.F) {
	for _, a := range archives(f, "plan-cargo*.txtar") {
		for name, file := range a.fsys {
			if strings.Contains(name, ".cargo/") {
				f.Add(file.Data)
			}
		}
	}
	lock := fmt.Sprintf("[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = %q\nchecksum = \"%064d\"\n", cratesOwner+"index", 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		fsys := fstest.MapFS{"Cargo.lock": {Data: []byte(lock)}, ".cargo/config.toml": {Data: data}}
		plan := New(fsys, []cache.Package{{Type: "cargo", Path: "."}}, Options{})
		for _, p := range plan.Problems {
			checkProblem(t, p)
		}
		if len(plan.Problems) > 0 || len(plan.Inputs) == 0 {
			return
		}
		got, _, cause := parseCargoConfig([]byte(plan.Project[0].Template))
		if cause != "" {
			t.Fatalf("%s\n%s", cause, plan.Project[0].Template)
		}
		want := map[string]cargoSource{cratesName: {ReplaceWith: vendorName}, vendorName: {Directory: vendorDir}}
		if diff := cmp.Diff(want, got.Source); diff != "" {
			t.Fatalf("%s\n%s", diff, plan.Project[0].Template)
		}
		mounted := cache.Mounted(plan.Sections, "/out")
		if got, _, cause = parseCargoConfig(mounted[0].Data); cause != "" {
			t.Fatalf("%s\n%s", cause, mounted[0].Data)
		}
		if len(mounted) != 1 || got.Source[mountName].Directory != "/out/deps/cargo" || got.Source[cratesName].ReplaceWith != mountName {
			t.Fatalf("%s", mounted[0].Data)
		}
	})
}
