package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend"
)

// A gitServer has repositories, on loopback, by git's own HTTP backend.
type gitServer struct{ url, dir string }

func newGitServer(t *testing.T) *gitServer {
	t.Helper()
	s := &gitServer{dir: t.TempDir()}
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(s.git(t, ".", "--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// git runs git in dir, with nothing of the user's settings.
func (s *gitServer) git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(world.Env(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.com")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// add makes a commit of a txtar archive in the repository of a name, and the
// repository where there is none. Names with a "!" are programs, with a "@"
// links. SERVER stands for the server's URL.
func (s *gitServer) add(t *testing.T, name, archive string) (commit string) {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	if _, err := os.Stat(dir); err != nil {
		s.git(t, s.dir, "init", "-q", dir)
	}
	for _, f := range txtar.Parse([]byte(strings.ReplaceAll(archive, "SERVER", s.url))).Files {
		at := filepath.Join(dir, strings.TrimRight(f.Name, "!@"))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case strings.HasSuffix(f.Name, "@"):
			err = os.Symlink(strings.TrimSpace(string(f.Data)), at)
		case strings.HasSuffix(f.Name, "!"):
			err = os.WriteFile(at, f.Data, 0o755)
		default:
			err = os.WriteFile(at, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.git(t, dir, "add", "-Af")
	s.git(t, dir, "commit", "-q", "-m", "one")
	return s.git(t, dir, "rev-parse", "HEAD")
}

// submodule adds the repository of a name to another, at a path.
func (s *gitServer) submodule(t *testing.T, name, sub, at string) (commit string) {
	t.Helper()
	dir := filepath.Join(s.dir, name)
	s.git(t, dir, "submodule", "add", "-q", filepath.Join(s.dir, sub), at)
	s.git(t, dir, "config", "-f", ".gitmodules", "submodule."+at+".url", "../"+sub)
	s.git(t, dir, "commit", "-aqm", "with "+sub)
	return s.git(t, dir, "rev-parse", "HEAD")
}

// strangeCrates are repositories with crates in every form that cargo vendor
// treats in a way of its own.
var strangeCrates = map[string]string{
	"single": `
-- Cargo.toml --
[package]
name = "single"
version = "0.1.0"
edition = "2021"
authors = ["a \"b\" c", "x\\y", "tab\there", "both ' and \"", "multi\nline", "q\"\"\"q\nx", "'''\"\"\"", "c\u0001 x", "a\rb", "nl'\nand '' \\ x", "é\u007f"]
description = """
hello "world"
 x
"""
keywords = []
categories = ["one"]
publish = false
exclude = ["/docs", "*.tmp", "!keep.tmp", "[xy].bin"]
[package.metadata.z]
a = 0x1F
b = [{c=1},{d=2}]
e = [1, {f=2}]
g = {h = {i = 1}, j = []}
k = 1.0
l = 1e30
m = 1979-05-27 07:32:00Z
n = 1979-05-27
o = [[1,2],[3]]
p = 07:32:00
"with space" = 1
"a\nb" = 1
"it's" = 2
'say "x"' = 3
"" = 2
r = {}
s = 1.5e-9
t = [[{a=1}]]
u = 1_000
v = -7
[package.metadata.y.z]
[dependencies]
inner = { path = "inner", optional = true, default-features = false, features = ["x"] }
[build_dependencies]
[features]
full = ["default"]
default = []
[profile.release]
debug = true
opt-level = "s"
strip = true
[profile.release.package."*"]
opt-level = 3
[lints.rust]
unsafe_code = "forbid"
unexpected_cfgs = { level = "warn", check-cfg = ['cfg(a)'] }
[badges]
maintenance = {status = "x"}
[target.'cfg(target_os = "windows")'.dependencies]
[[test]]
name = "zz"
path = "tests/./zz.rs"
harness = false
[[example]]
name = "gone"
path = "docs/gone.rs"
[unknown]
x = 1
-- src/lib.rs --
-- src/main.rs --
fn main() {}
-- src/bin/other.rs --
fn main() {}
-- src/bin/dir/main.rs --
fn main() {}
-- src/bin/.hidden.rs --
-- tests/zz.rs --
fn main() {}
-- tests/a.rs --
-- benches/b.rs --
-- examples/e.rs --
fn main() {}
-- docs/gone.rs --
fn main() {}
-- docs/more/text --
-- build.rs --
fn main() {}
-- README --
hello
-- .gitignore --
/ignored
-- .gitattributes --
-- src/.gitignore --
-- ignored/but/tracked --
-- a.tmp --
-- keep.tmp --
-- x.bin --
-- z.bin --
-- run.sh! --
#!/bin/sh
-- link@ --
src/lib.rs
-- linked@ --
tests
-- target/tracked --
x
-- .hidden/file --
x
-- inner/Cargo.toml --
[package]
name = "inner"
version = "0.2.0"
[features]
x = []
[dependencies]
-- inner/src/lib.rs --
-- inner/src/main.rs --
fn main() {}
-- broken/Cargo.toml --
not toml
-- broken/file --
`,
	"work": `
-- Cargo.toml --
[workspace]
members = ["crates/*"]
resolver = "2"
exclude = ["crates/old"]
[workspace.package]
version = "1.2.3"
edition = "2021"
license = "MIT"
license-file = "LICENSE"
readme = "docs/README.md"
authors = ["one"]
rust-version = "1.60"
repository = "https://example.com/work"
include = ["src/**/*.rs", "/data/", "!/data/no.txt", "mak{e,f}/*.[!a]s"]
[workspace.dependencies]
b = { path = "crates/b", features = ["one"], default-features = false }
c = { path = "crates/c", version = "1.2" }
d = { path = "crates/old/d" }
[workspace.lints.clippy]
all = { level = "allow", priority = -1 }
pedantic = "warn"
-- LICENSE --
-- docs/README.md --
-- crates/a/Cargo.toml --
[package]
name = "a"
version.workspace = true
edition.workspace = true
license.workspace = true
license-file.workspace = true
readme.workspace = true
authors = { workspace = true }
rust-version.workspace = true
repository.workspace = true
include.workspace = true
build = "make/../make/build.rs"
links = "alib"
[lib]
name = "other_name"
path = "src/./lib.rs"
crate-type = ["rlib"]
doctest = false
[dependencies]
b = { workspace = true, features = ["two"], default-features = true }
c.workspace = true
d = { workspace = true }
[dev-dependencies]
b = { path = "../b" }
[lints]
workspace = true
-- crates/a/src/lib.rs --
-- crates/a/src/bin/prog.rs --
fn main() {}
-- crates/a/src/notes.txt --
-- crates/a/data/yes.txt --
-- crates/a/data/no.txt --
-- crates/a/make/build.rs --
fn main() {}
-- crates/a/Cargo.lock --
-- crates/b/Cargo.toml --
[package]
name = "b"
version = { workspace = true }
autobins = false
[features]
one = []
two = []
[[bin]]
name = "legacy"
[[bench]]
name = "bench"
-- crates/b/src/lib.rs --
-- crates/b/src/main.rs --
fn main() {}
-- crates/b/src/bench.rs --
-- crates/c/Cargo.toml --
[package]
name = "c"
version = "1.2.0"
edition = "2018"
readme = false
build = false
[lib]
proc-macro = true
-- crates/c/src/lib.rs --
-- crates/c/build.rs --
fn main() {}
-- crates/c/README.md --
-- crates/old/d/Cargo.toml --
[package]
name = "d"
version = "0.0.1"
[target.'cfg(unix)'.dependencies]
[target.x86_64-unknown-linux-gnu.build-dependencies]
-- crates/old/d/src/lib.rs --
`,
}

// TestGitCratesAsVendored compares crates of git repositories, file by file, with
// what cargo vendor makes of the same lockfile.
func TestGitCratesAsVendored(t *testing.T) {
	needsCargo(t)
	s := newGitServer(t)
	for name, archive := range strangeCrates {
		s.add(t, name, archive)
	}
	s.add(t, "deep", "-- file.c --\nint x;\n-- target/x --\n-- sub/Cargo.toml --\n[package]\nname = \"hidden\"\nversion = \"1.0.0\"\n-- sub/src/lib.rs --\n")
	s.add(t, "outer", "-- Cargo.toml --\n[package]\nname = \"outer\"\nversion = \"1.0.0\"\nedition = \"2021\"\n-- src/lib.rs --\n")
	s.submodule(t, "outer", "deep", "vendor/deep")
	rev := s.git(t, filepath.Join(s.dir, "outer"), "rev-parse", "HEAD")
	s.git(t, filepath.Join(s.dir, "single"), "tag", "v1")
	dir := project(t, `
-- src/lib.rs --
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
single = { git = "`+s.url+`/single", tag = "v1", features = ["inner"] }
a = { git = "`+s.url+`/work", branch = "main" }
outer = { git = "`+s.url+`/outer", rev = "`+rev+`" }
`)
	vendored := filepath.Join(t.TempDir(), "vendored")
	cmd := exec.CommandContext(t.Context(), "cargo", "vendor", "--versioned-dirs", vendored)
	cmd.Dir, cmd.Env = dir, append(world.Env(), "CARGO_HOME="+t.TempDir())
	var config, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &config, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	tree := prefetch(t, nil, "--store="+t.TempDir(), "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir)
	if diff := cmp.Diff(contents(t, vendored), contents(t, filepath.Join(tree, "deps", "cargo"))); diff != "" {
		t.Errorf("-cargo vendor +ours:\n%s", diff)
	}
	compareConfig(t, tree, strings.Replace(config.String(), vendored, "${output_dir}/deps/cargo", 1))
}

// compareConfig compares the configuration of cargo in a tree with what cargo
// vendor says.
func compareConfig(t *testing.T, tree, want string) {
	t.Helper()
	var got struct {
		Files []struct{ Template string } `json:"project_files"`
	}
	if err := json.Unmarshal([]byte(read(t, tree, ".build-config.json")), &got); err != nil || len(got.Files) != 1 {
		t.Fatal(got.Files, err)
	}
	if at := strings.Index(want, "["); at > 0 { // after a line of advice
		want = want[at:]
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got.Files[0].Template)); diff != "" {
		t.Errorf("-cargo vendor +ours:\n%s", diff)
	}
}

// TestGitCrates builds a project whose crates come from git: one of them also
// has its version in another repository.
func TestGitCrates(t *testing.T) {
	needsCargo(t)
	s := newGitServer(t)
	work := s.add(t, "work", `
-- Cargo.toml --
[workspace]
members = ["*"]
[workspace.package]
version = "1.0.0"
edition = "2021"
-- one/Cargo.toml --
[package]
name = "one"
version.workspace = true
edition.workspace = true
[dependencies]
two = { path = "../two" }
-- one/src/lib.rs --
pub fn text() -> String { format!("one {} {}", two::TEXT, include_str!("../data.txt").trim()) }
-- one/data@ --
../shared
-- one/data.txt@ --
../shared/data.txt
-- shared/data.txt --
of the workspace
-- two/Cargo.toml --
[package]
name = "two"
version.workspace = true
edition.workspace = true
-- two/src/lib.rs --
pub const TEXT: &str = "two";
-- shared/Cargo.toml --
[package]
name = "shared"
version = "0.1.0"
-- shared/src/lib.rs --
`)
	fork := s.add(t, "fork", "-- Cargo.toml --\n[package]\nname = \"two\"\nversion = \"1.0.0\"\nedition = \"2021\"\n-- src/lib.rs --\npub const TEXT: &str = \"forked\";\n")
	dir := project(t, `
-- Dockerfile --
FROM `+rust(t)+` AS b
WORKDIR /src
COPY . .
RUN cargo build --locked --offline && target/debug/app >/said
FROM scratch
COPY --from=b /said /
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
one = { git = "`+s.url+`/work" }
two = { git = "`+s.url+`/fork", rev = "`+fork[:10]+`" }
-- src/main.rs --
fn main() { println!("{}, {}", one::text(), two::TEXT) }
-- Cargo.lock --
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "one",
 "two 1.0.0 (git+`+s.url+`/fork?rev=`+fork[:10]+`)",
]

[[package]]
name = "one"
version = "1.0.0"
source = "git+`+s.url+`/work#`+work+`"
dependencies = [
 "two 1.0.0 (git+`+s.url+`/work)",
]

[[package]]
name = "two"
version = "1.0.0"
source = "git+`+s.url+`/fork?rev=`+fork[:10]+`#`+fork+`"

[[package]]
name = "two"
version = "1.0.0"
source = "git+`+s.url+`/work#`+work+`"
`)
	out, _ := files(t, dir, with(prefetch(t, nil, "--store="+t.TempDir(), dir)))
	if got, want := read(t, out, "said"), "one two of the workspace, forked\n"; got != want {
		t.Errorf("the program says %q; want %q", got, want)
	}
	t.Run("another crate", func(t *testing.T) {
		for file, rename := range map[string][2]string{"Cargo.lock": {`"one"`, `"three"`}, "Cargo.toml": {"one = ", "three = "}} {
			text := strings.ReplaceAll(read(t, dir, file), rename[0], rename[1])
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		deps := prefetch(t, nil, "--store="+t.TempDir(), dir)
		_, res := steps(t, dir, with(deps))
		res.failed(t)
		res.says(t, "Cargo.lock:12: three@1.0.0: the commit has no crate of this name and version")
	})
}

// pyBackend builds wheels without anything but Python itself.
const pyBackend = `
import os, tomllib, zipfile
def _names():
    with open("pyproject.toml", "rb") as f:
        p = tomllib.load(f)["project"]
    return p["name"], p["version"]
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name, version = _names()
    info = f"{name}-{version}.dist-info"
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as z:
        for top, _, files in os.walk("src"):
            for f in files:
                at = os.path.join(top, f)
                z.write(at, os.path.relpath(at, "src"))
        z.writestr(info + "/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        z.writestr(info + "/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(info + "/RECORD", "")
    return wheel
`

// pyProject is a Python package with that backend.
func pyProject(name, code string) string {
	return "-- pyproject.toml --\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n[project]\nname = \"" + name +
		"\"\nversion = \"1.0\"\n-- backend.py --" + pyBackend + "-- src/" + name + "/__init__.py --\n" + code
}

// TestPipGit installs packages of git repositories: beside others with checksums,
// and editable ones; one has a submodule in it.
func TestPipGit(t *testing.T) {
	image, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	s := newGitServer(t)
	s.add(t, "data", "-- text.txt --\nof the submodule\n")
	s.add(t, "one", pyProject("one", "import os\ntext = open(os.path.join(os.path.dirname(__file__), 'data', 'text.txt')).read().strip()\n"))
	one := s.submodule(t, "one", "data", "src/one/data")
	two := s.add(t, "two.git", strings.ReplaceAll("\n"+pyProject("two", "text = 'two'\n"), "\n-- ", "\n-- sub/"))
	dists := map[string][]byte{"plain-1.0-py3-none-any.whl": emptyWheel(t, "plain")}
	dir := project(t, `
-- Dockerfile --
FROM `+image+` AS b
COPY . /src
RUN python3 -m venv /v
RUN /v/bin/pip install -r /src/requirements.txt && /v/bin/pip install -r /src/requirements-build.txt
RUN /v/bin/python -c 'import one, two; print(one.text, two.text)' >/said && /v/bin/pip list --format=freeze >>/said
FROM scratch
COPY --from=b /said /
-- requirements.txt --
plain==1.0 --hash=`+cache.SumBytes(dists["plain-1.0-py3-none-any.whl"]).String()+`
one @ git+`+s.url+`/one@`+one+`
-- requirements-build.txt --
-e git+`+s.url+`/two.git@`+two+`#egg=two&subdirectory=sub
`)
	input := `{"type":"pip","path":".","binary":{}}`
	mirror := "--mirror=pip=" + newPipIndex(t, dists)
	out, _ := files(t, dir, with(prefetch(t, nil, "--store="+t.TempDir(), mirror, "--input="+input, dir)), "--build-arg=HERMETIC_INPUT="+input)
	contains(t, "what is installed", read(t, out, "said"), "of the submodule two\n", "one==1.0\n", "plain==1.0\n")
}

// emptyWheel is a wheel of version 1.0 without any code.
func emptyWheel(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for file, text := range map[string]string{
		"METADATA": "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n",
		"WHEEL":    "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n", "RECORD": "",
	} {
		f, err := z.Create(name + "-1.0.dist-info/" + file)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, text) // into memory
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGitSubmodules builds a clone whose submodules are not checked out: they,
// and theirs, lie over the build context.
func TestGitSubmodules(t *testing.T) {
	s := newGitServer(t)
	s.add(t, "inner", "-- deep.txt --\ndeep\n-- run.sh! --\n#!/bin/sh\necho ran\n")
	s.add(t, "lib", "-- lib.txt --\nlib\n-- link@ --\nlib.txt\n")
	lib := s.submodule(t, "lib", "inner", "third party")
	s.add(t, "top", `
-- Dockerfile --
FROM {busybox}
COPY . /src
RUN cd /src/vendor/lib && cat lib.txt link "third party/deep.txt" >/said && "./third party/run.sh" >>/said && ls /src/vendor >>/said
FROM scratch
COPY --from=0 /said /
-- vendor/own.txt --
own
`)
	s.submodule(t, "top", "lib", "vendor/lib")
	dir := filepath.Join(t.TempDir(), "clone")
	s.git(t, ".", "clone", "-q", s.url+"/top", dir)
	file := filepath.Join(dir, "Dockerfile")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(read(t, dir, "Dockerfile"), "{busybox}", images.busybox)), 0o644); err != nil {
		t.Fatal(err)
	}
	const input = `{"type":"git-submodule"}`
	_, res := steps(t, dir)
	res.failed(t)
	res.says(t, "EmptySubmodule: ", ".gitmodules:2: vendor/lib: empty in the build context")
	deps := prefetch(t, nil, "--store="+t.TempDir(), "--input="+input, dir)
	for _, args := range [][]string{{with(deps)}, {with(deps), "--build-arg=HERMETIC_INPUT=" + input}} {
		out, _ := files(t, dir, append(args, onlyBill)...)
		if got, want := read(t, out, "said"), "lib\nlib\ndeep\nran\nlib\nown.txt\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		want := []string{"pkg:generic/lib@" + lib} // which names the commit of what is in it
		if got := billed(t, []byte(read(t, out, frontend.BillFile))); !slices.Equal(got, want) {
			t.Errorf("the bill of materials has %q", got)
		}
	}
	t.Run("another commit", func(t *testing.T) {
		s.add(t, "lib", "-- new.txt --\nx\n")
		s.git(t, dir, "update-index", "--cacheinfo", "160000,"+s.git(t, filepath.Join(s.dir, "lib"), "rev-parse", "HEAD")+",vendor/lib")
		_, res := steps(t, dir, with(deps))
		res.failed(t)
		res.says(t, ".gitmodules:2: vendor/lib: not in the cache with this sum")
	})
}
