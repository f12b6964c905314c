package ecosystem

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	rustProject = "-- a-1.0/pyproject.toml --\n[build-system]\nrequires = [\"maturin>=1.2,<2\"]\n"
	oneCrate    = "[[package]]\nname = \"one\"\nversion = \"1.0.0\"\nsource = \"sparse+https://example.com/index/\"\nchecksum = \"77ad4e4a8ad7ea5d4ba6cf4ae4d9eb08e9e1b3d4a92c92a3a5aba75bbbbbbbbb\"\n"
	keptCrates  = "-- a-1.0/.cargo/config.toml --\n[source.x]\nregistry = \"sparse+https://example.com/index/\"\nreplace-with = \"kept\"\n[source.kept]\ndirectory = \"vendor\"\n"
)

func members(archive string) map[string]string {
	out := map[string]string{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		if IsRustMember(f.Name) {
			out[f.Name] = string(f.Data)
		}
	}
	return out
}

func TestRustLocks(t *testing.T) {
	tests := []struct {
		name, archive string
		want          []string
		loose         bool
		lacking       []string
	}{
		{"nothing", "", nil, false, nil},
		{"pure Python", "-- a-1.0/pyproject.toml --\n[build-system]\nrequires = [\"setuptools\"]\n-- a-1.0/tests/Cargo.lock --\n" + oneCrate, nil, false, nil},
		{"no project", "-- a-1.0/Cargo.lock --\n" + oneCrate, nil, false, nil},
		{"a project that cannot be read", "-- a-1.0/pyproject.toml --\n[build-system\n-- a-1.0/Cargo.lock --\n" + oneCrate, nil, false, nil},
		{"somebody else's project", "-- a-1.0/tests/one/pyproject.toml --\n[build-system]\nrequires = [\"maturin\"]\n-- a-1.0/Cargo.lock --\n" + oneCrate, nil, false, nil},
		{"maturin", rustProject + "-- a-1.0/Cargo.lock --\n" + oneCrate, []string{"a-1.0/Cargo.lock"}, false, nil},
		{"setuptools-rust", "-- a-1.0/pyproject.toml --\n[build-system]\nrequires = [\"setuptools\", \"Setuptools_Rust[x] ; python_version > '3'\"]\n-- a-1.0/src/a/Cargo.lock --\n" + oneCrate,
			[]string{"a-1.0/src/a/Cargo.lock"}, false, nil},
		{"no lockfile", rustProject, nil, true, nil},
		{"no crates", rustProject + "-- a-1.0/Cargo.lock --\nversion = 4\n", nil, false, nil},
		{"the outermost", rustProject + "-- a-1.0/Cargo.lock --\n" + oneCrate + "-- a-1.0/fuzz/Cargo.lock --\n" + oneCrate, []string{"a-1.0/Cargo.lock"}, false, nil},
		{"two side by side", rustProject + "-- a-1.0/y/Cargo.lock --\n" + oneCrate + "-- a-1.0/x/Cargo.lock --\n" + oneCrate, []string{"a-1.0/x/Cargo.lock", "a-1.0/y/Cargo.lock"}, false, nil},
		{"crates that it brings along", rustProject + "-- a-1.0/src/Cargo.lock --\n" + oneCrate + keptCrates, nil, false, nil},
		{"crates of which it brings some along", rustProject + "-- a-1.0/Cargo.lock --\n" + oneCrate + strings.NewReplacer("one", "two", "https://example.com", "https://example.org").Replace(oneCrate) + keptCrates,
			[]string{"a-1.0/Cargo.lock"}, false, nil},
		{"a lockfile that cannot be read", rustProject + "-- a-1.0/Cargo.lock --\n[[package]\n", []string{"a-1.0/Cargo.lock"}, false, nil},
		{"a lockfile that was left behind", rustProject + "-- a-1.0/rust/Cargo.lock --\n" + oneCrate + "-- a-1.0/rust/Cargo.toml --\n[workspace]\nmembers = [\"x/*\"]\n" +
			"-- a-1.0/rust/x/a/Cargo.toml --\n[package]\nname = \"a\"\n[dependencies]\none = \"1\"\ntwo = \"2\"\n",
			[]string{"a-1.0/rust/Cargo.lock"}, false, []string{"a-1.0/rust/x/a/Cargo.toml:5 asks for two@2, which is not in its Cargo.lock"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				if diff := cmp.Diff(RustBuild{tt.want, tt.loose, tt.lacking}, RustLocks(members(tt.archive))); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

// A source distribution is asked for its crates where no wheel is there as well.
func TestRustArchives(t *testing.T) {
	in := func(name, path string) cache.Input {
		return cache.Input{Ecosystem: "pip", Name: name, Version: "1", Path: path}
	}
	other := in("f", "f.tar.gz")
	other.Ecosystem = "npm"
	var got []string
	for _, x := range RustArchives([]cache.Input{
		in("a", "a.tar.gz"), in("b", "b.tar.gz"), in("b", "b.whl"), in("c", "c.zip"), in("d", "d.whl"), in("e", "e.tar.bz2"), other,
	}) {
		got = append(got, x.Path)
	}
	if want := []string{"a.tar.gz", "c.zip"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestComplete(t *testing.T) {
	archive := cache.Input{Ecosystem: "pip", Kind: "sdist", Name: "a", Version: "1.0", Path: "a-1.0.tar.gz", Origin: cache.Origin{File: "requirements.txt", Line: 7}}
	plan := cache.Plan{Inputs: []cache.Input{archive}}
	lock := func(file, text string) cache.Derived { return cache.Derived{ID: archive.ID(), File: file, Text: text} }
	stranger := lock("Cargo.lock", strings.ReplaceAll(oneCrate, `"one"`, `"three"`))
	stranger.Name = "b"
	m := &cache.Manifest{Derived: []cache.Derived{
		lock("a-1.0/x/Cargo.lock", oneCrate), stranger,
		lock("a-1.0/y/Cargo.lock", oneCrate+strings.ReplaceAll(oneCrate, `"one"`, `"two"`)),
	}}
	got := Complete(plan, m)
	var inputs []string
	for _, in := range got.Inputs {
		inputs = append(inputs, in.Origin.String()+" "+in.Ecosystem+" "+in.Path)
	}
	if diff := cmp.Diff([]string{"requirements.txt:7 cargo one-1.0.0", "requirements.txt:7 cargo two-1.0.0", "requirements.txt:7 pip a-1.0.tar.gz"}, inputs); diff != "" {
		t.Errorf("inputs: -want +got\n%s", diff)
	}
	if len(got.Derived) != 2 || len(got.Problems) != 0 || len(got.Sections) == 0 || got.Sections[0].Ecosystem != "cargo" {
		t.Errorf("got %+v", got)
	}
	if len(got.Output) != 1 || got.Output[0].Path != ".cargo/config.toml" || !strings.Contains(got.Output[0].Template, `directory = "${output_dir}/deps/cargo"`) {
		t.Errorf("output: %+v", got.Output)
	}
	if env := OutputEnv(got); len(env) != 1 || env[0].Value != "${output_dir}/.cargo" {
		t.Errorf("env: %+v", env)
	}
	if same := Complete(plan, &cache.Manifest{}); len(same.Inputs) != 1 || OutputEnv(same) != nil {
		t.Errorf("without lockfiles: %+v", same)
	}

	m.Derived = []cache.Derived{
		lock("a-1.0/x/Cargo.lock", oneCrate), lock("a-1.0/y/Cargo.lock", strings.ReplaceAll(oneCrate, "77ad", "88ad")), lock("a-1.0/z/Cargo.lock", "[[package]]\n"),
	}
	var lines []string
	for _, p := range Complete(plan, m).Problems {
		lines = append(lines, p.String())
	}
	want := []string{"requirements.txt:7: a==1.0: Cargo.lock:1: no name", "requirements.txt:7: a==1.0: Cargo.lock:1: no version", "requirements.txt:7: one@1.0.0: another sum than for requirements.txt:7"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("problems: -want +got\n%s", diff)
	}
}

func FuzzRustLocks(f *testing.F) {
	f.Add("[build-system]\nrequires = [\"maturin\"]\n", "version = 4\n"+oneCrate, "[source.x]\ndirectory = \"vendor\"\n")
	f.Add("[build-system]\nrequires = [1]\n", "", "[source]\n")
	f.Fuzz(func(t *testing.T, project, lock, config string) {
		files := map[string]string{"a/pyproject.toml": project, "a/b/Cargo.lock": lock, "a/.cargo/config": config}
		if b := RustLocks(files); b.Loose || len(b.Locks) > 0 && b.Locks[0] != "a/b/Cargo.lock" {
			t.Errorf("%q of %q", b.Locks, files)
		}
	})
}
