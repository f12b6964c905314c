package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hermetic-build/hermetic/cache"
)

const pipRustDockerfile = `
-- Dockerfile --
FROM {python} AS b
COPY --from={rust} /usr/lib /usr/lib
COPY --from={rust} /usr/bin/cc /usr/bin/gcc /usr/bin/ld /usr/bin/
ENV PATH=/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin
COPY requirements* .cargo* /src/
RUN python3 -m venv /v
RUN --mount=from={rust},source=/usr/local/rust,target=/usr/local/rust /v/bin/pip install --require-hashes --no-deps -r /src/requirements.txt
RUN /v/bin/rusty >/said && ls -A /src >/src.txt
FROM scratch
COPY --from=b /said /src.txt /
`

// rustDist is a source distribution of a program in Rust, which needs the crate
// greet; lock is its Cargo.lock, "" for none.
func rustDist(t *testing.T, r *crateRegistry, lock string) []byte {
	t.Helper()
	archive := `
-- PKG-INFO --
Metadata-Version: 2.1
Name: rusty
Version: 1.0
-- pyproject.toml --
[build-system]
requires = ["setuptools", "Setuptools_Rust>=1.5 ; python_version > '3'"]
build-backend = "setuptools.build_meta"
[project]
name = "rusty"
version = "1.0"
[tool.setuptools]
packages = []
[[tool.setuptools-rust.bins]]
target = "rusty"
path = "rust/Cargo.toml"
args = ["--locked"]
-- rust/Cargo.toml --
[package]
name = "rusty"
version = "0.1.0"
edition = "2021"
[dependencies]
greet = { version = "1", registry-index = "` + r.index() + `" }
-- rust/src/main.rs --
fn main() { println!("{}", greet::greet()) }
`
	if lock != "" {
		archive += "-- rust/Cargo.lock --\n" + lock
	}
	return sdist(t, "rusty-1.0", archive)
}

// TestRustInPython builds a Python source distribution with Rust in it, sealed: the
// crates are those of the Cargo.lock in the distribution.
func TestRustInPython(t *testing.T) {
	needsCargo(t)
	python, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	version := pythonVersion(t)
	builders := wheels(t, version, "rust", []string{"setuptools", "setuptools-rust", "wheel"})
	r := newCrateRegistry(t)
	r.add(t, "words", "-- src/lib.rs --\npub fn words() -> &'static str { \"made of crates\" }\n")
	r.add(t, "greet", "-- src/lib.rs --\npub fn greet() -> &'static str { words::words() }\n", "words")
	dist := map[string][]byte{"rusty-1.0.tar.gz": rustDist(t, r, r.lock("rusty: greet"))}
	all := map[string][]byte{"rusty-1.0.tar.gz": dist["rusty-1.0.tar.gz"]}
	for name, data := range builders {
		all[name] = data
	}
	words := strings.NewReplacer("{python}", python, "{rust}", rust(t))
	dir := project(t, words.Replace(pipRustDockerfile)+"-- requirements.txt --\n"+pinned(dist)+"-- requirements-build.txt --\n"+pinned(builders))
	input := fmt.Sprintf(`{"type":"pip","path":".","binary":{"py_version":%s}}`, strings.ReplaceAll(version, ".", ""))
	flags := []string{"--store=" + t.TempDir(), "--mirror=pip=" + newPipIndex(t, all), "--input=" + input}
	arg := "--build-arg=HERMETIC_INPUT=" + input
	view := prefetch(t, nil, append(flags, dir)...)
	image := prefetch(t, nil, append(flags, "--output=type=oci,dest="+filepath.Join(t.TempDir(), "image"), dir)...)
	for name, deps := range map[string]string{"view": view, "image": image} {
		t.Run(name, func(t *testing.T) {
			out, b := files(t, dir, with(deps), arg)
			if got := read(t, out, "said"); got != "made of crates\n" {
				t.Errorf("the program says %q", got)
			}
			b.says(t, "verify and lay out 2 inputs of cargo")
		})
	}
	for name, injected := range map[string]bool{"tree": false, "tree with injected files": true} {
		t.Run(name, func(t *testing.T) {
			tree := filepath.Join(t.TempDir(), "tree")
			prefetch(t, nil, append(flags, "--layout=hermeto", "--output="+tree, dir)...)
			if injected {
				run(t, nil, "inject-files", "--for-output-dir=/cachi2/output", tree).passed(t)
			}
			out, b := files(t, dir, with(tree), arg)
			if got := read(t, out, "said"); got != "made of crates\n" {
				t.Errorf("the program says %q", got)
			}
			if strings.Contains(b.log, "UnplacedFile") {
				t.Errorf("a file has no place\n%s", b.log)
			}
			if got := read(t, out, "src.txt"); got != "requirements-build.txt\nrequirements.txt\n" {
				t.Errorf("the build context has %q", got)
			}
		})
	}
	t.Run("a cache that says something else of the distribution", func(t *testing.T) {
		r.add(t, "words", "-- src/lib.rs --\npub fn words() -> &'static str { \"evil\" }\n")
		other := rustDist(t, r, r.lock("rusty: greet"))
		from := project(t, "-- requirements.txt --\n"+pinned(map[string][]byte{"rusty-1.0.tar.gz": other}))
		evil := prefetch(t, nil, "--store="+t.TempDir(), "--mirror=pip="+newPipIndex(t, map[string][]byte{"rusty-1.0.tar.gz": other}), "--input="+input, from)
		deps := mixed(t, copyDir(t, view), evil)
		got := build(t, dir, with(deps), arg).failed(t)
		contains(t, "the error", got, "CorruptInput", "requirements.txt:1: rusty==1.0: its Cargo.lock is not the one that the cache has")
	})
}

// mixed is the view at dir, with the crates of another and what that says of its
// source distribution.
func mixed(t *testing.T, dir, other string) string {
	t.Helper()
	own, foreign := manifestLines(t, dir), manifestLines(t, other)
	id := strings.Join(strings.Fields(own["derived"][0])[:6], " ")
	said := id + " " + strings.SplitN(foreign["derived"][0], " ", 7)[6]
	lines := slices.Concat(own[""], foreign["input cargo"], own["input pip"], []string{said})
	if err := os.WriteFile(filepath.Join(dir, cache.ManifestFile), []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "cargo")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "cargo"), os.DirFS(filepath.Join(other, "cargo"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// manifestLines are the lines of a view's manifest, by what they are about.
func manifestLines(t *testing.T, dir string) map[string][]string {
	t.Helper()
	lines := map[string][]string{}
	for line := range strings.Lines(read(t, dir, cache.ManifestFile)) {
		about := ""
		for _, word := range []string{"input cargo", "input pip", "derived"} {
			if strings.HasPrefix(line, word+" ") {
				about = word
			}
		}
		lines[about] = append(lines[about], line)
	}
	return lines
}
