package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

// crateRegistry is a registry of crates with a sparse index, on loopback.
type crateRegistry struct {
	url    string
	crates map[string][]byte // by "<name>-<version>"
	deps   map[string][]string
}

// newCrateRegistry starts one without crates.
func newCrateRegistry(t *testing.T) *crateRegistry {
	r := &crateRegistry{crates: map[string][]byte{}, deps: map[string][]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/index/config.json" {
			fmt.Fprintf(w, `{"dl": "%s/dl/{crate}-{version}"}`, r.url)
			return
		}
		if entry, ok := r.entry(path.Base(req.URL.Path)); ok && strings.HasPrefix(req.URL.Path, "/index/") {
			w.Write(entry)
			return
		}
		name, _ := strings.CutPrefix(req.URL.Path, "/dl/")
		data, ok := r.crates[name]
		if !ok {
			http.NotFound(w, req)
			return
		}
		w.Write(data)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// entry is the line of the index for a crate.
func (r *crateRegistry) entry(name string) ([]byte, bool) {
	data, ok := r.crates[name+"-1.0.0"]
	deps := []map[string]any{}
	for _, d := range r.deps[name] {
		deps = append(deps, map[string]any{"name": d, "req": "^1", "features": []string{}, "optional": false, "default_features": true, "target": nil, "kind": "normal"})
	}
	line, _ := json.Marshal(map[string]any{"name": name, "vers": "1.0.0", "deps": deps, "cksum": cache.SumBytes(data).Hex(), "features": map[string]any{}, "yanked": false})
	return line, ok
}

// index is the index as configuration files and lockfiles have it.
func (r *crateRegistry) index() string { return "sparse+" + r.url + "/index/" }

// add makes a crate of version 1.0.0 from a txtar archive; deps are its
// dependencies, of this registry.
func (r *crateRegistry) add(t *testing.T, name, archive string, deps ...string) {
	t.Helper()
	var manifest strings.Builder
	fmt.Fprintf(&manifest, "[package]\nname = %q\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\n", name)
	for _, d := range deps {
		fmt.Fprintf(&manifest, "%s = { version = \"1\", registry-index = %q }\n", d, r.index())
	}
	ar := txtar.Parse([]byte(archive))
	ar.Files = append(ar.Files, txtar.File{Name: "Cargo.toml", Data: []byte(manifest.String())})
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, f := range ar.Files {
		if err := w.WriteHeader(&tar.Header{Name: name + "-1.0.0/" + f.Name, Mode: 0o644, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		w.Write(f.Data) // into memory
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r.crates[name+"-1.0.0"], r.deps[name] = out.Bytes(), deps
}

// lock is a Cargo.lock of all crates and of packages, "name: dependency…", in
// the build context.
func (r *crateRegistry) lock(packages ...string) string {
	entries := map[string]string{}
	list := func(deps []string) string {
		if len(deps) == 0 {
			return ""
		}
		slices.Sort(deps)
		return "dependencies = [\n \"" + strings.Join(deps, "\",\n \"") + "\",\n]\n"
	}
	for key, data := range r.crates {
		name := strings.TrimSuffix(key, "-1.0.0")
		entries[name] = fmt.Sprintf("[[package]]\nname = %q\nversion = \"1.0.0\"\nsource = %q\nchecksum = %q\n%s",
			name, r.index(), cache.SumBytes(data).Hex(), list(r.deps[name]))
	}
	for _, p := range packages {
		name, deps, _ := strings.Cut(p, ":")
		entries[name] = fmt.Sprintf("[[package]]\nname = %q\nversion = \"0.1.0\"\n%s", name, list(strings.Fields(deps)))
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	text := "version = 4\n"
	for _, name := range names {
		text += "\n" + entries[name]
	}
	return text
}

// rust is the reference of the lab's image.
func rust(t *testing.T) string {
	t.Helper()
	ref, err := world.Image(t.Context(), "rust")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// needsCargo skips a test where this machine has no Rust to be copied into an
// image: the one of Debian 12 is too old to read today's lockfiles.
func needsCargo(t *testing.T) {
	t.Helper()
	for _, program := range []string{"cargo", "rustc", "gcc", "ld"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs cargo 1.78 or newer, rustc, gcc and ld on this machine: %v", err)
		}
	}
	out, err := exec.Command("cargo", "--version").Output()
	var minor int
	if _, serr := fmt.Sscanf(string(out), "cargo 1.%d", &minor); err != nil || serr != nil || minor < 78 {
		t.Skipf("needs cargo 1.78 or newer on this machine: found %q, %v", out, err)
	}
}

// TestCrates builds a workspace with 300 crates, of which this platform needs
// few and cargo wants all, through both forms of a deps context.
func TestCrates(t *testing.T) {
	needsCargo(t)
	r := newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\npub fn name() -> &'static str { include_str!(\"name.txt\") }\n-- src/name.txt --\nfrom the cache\n-- .gitignore --\n/target\n")
	r.add(t, "macro-like", "-- src/lib.rs --\npub use base::name;\n-- build.rs --\nfn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }\n", "base")
	app, others := "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nmacro-like = { version = \"1\", registry = \"test\" }\nown = { path = \"../own\" }\n[target.'cfg(windows)'.dependencies]\n", []string{}
	for i := range 300 {
		name := fmt.Sprintf("other%03d", i)
		r.add(t, name, "-- src/lib.rs --\n")
		app += name + " = { version = \"1\", registry = \"test\" }\n"
		others = append(others, name)
	}
	dir := project(t, `
-- Dockerfile --
FROM `+rust(t)+` AS b
WORKDIR /src
COPY . .
RUN cargo build --locked --offline && target/debug/app >/said
RUN cargo metadata --locked --format-version 1 >/metadata && ls -ld /.cargo/config.toml >/dev/null
USER user
WORKDIR /home/user/again
COPY --chown=1000:1000 . .
RUN cd app && CARGO_HOME=/tmp/home cargo build --locked
FROM scratch
COPY --from=b /said /metadata /
-- .cargo/config.toml --
[registries.test]
index = "`+r.index()+`"
-- Cargo.toml --
[workspace]
members = ["app", "own"]
resolver = "2"
-- Cargo.lock --
`+r.lock("app: macro-like own "+strings.Join(others, " "), "own: base")+`
-- app/Cargo.toml --
`+app+`
-- app/src/main.rs --
fn main() { print!("{} {}", own::length(), macro_like::name()) }
-- own/Cargo.toml --
[package]
name = "own"
version = "0.1.0"
edition = "2021"
[dependencies]
base = { version = "1", registry = "test" }
-- own/src/lib.rs --
pub fn length() -> usize { base::name().len() }
`)
	store := "--store=" + t.TempDir()
	for name, deps := range map[string]string{
		"view": prefetch(t, nil, store, dir),
		"tree": prefetch(t, nil, store, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps))
			if got, want := read(t, out, "said"), "15 from the cache\n"; got != want {
				t.Errorf("the program says %q; want %q", got, want)
			}
			if n := strings.Count(read(t, out, "metadata"), `"source":"sparse+`); n < 302 {
				t.Errorf("cargo knows %d crates", n)
			}
		})
	}
}

// TestCratesOfAReplacedSource: a project whose own configuration sends cargo to
// a mirror gets its crates from there, and finds them in the build all the same.
func TestCratesOfAReplacedSource(t *testing.T) {
	needsCargo(t)
	r, mirror := newCrateRegistry(t), newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\npub const NAME: &str = \"replaced\";\n")
	mirror.crates = r.crates
	lock := r.lock("app: base")
	r.crates = nil
	dir := project(t, `
-- Dockerfile --
FROM `+rust(t)+` AS b
WORKDIR /src
COPY . .
RUN cargo build --locked && target/debug/app >/said
FROM scratch
COPY --from=b /said /
COPY --from=b /.carg[o] /left/
-- .cargo/config.toml --
[registries.test]
index = "`+r.index()+`"
[source.upstream]
registry = "`+r.index()+`"
replace-with = "near"
[source.near]
registry = "`+mirror.index()+`"
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
base = { version = "1", registry = "test" }
-- src/main.rs --
fn main() { println!("{}", base::NAME) }
-- Cargo.lock --
`+lock)
	out, _ := files(t, dir, with(prefetch(t, nil, "--store="+t.TempDir(), dir)))
	if got := read(t, out, "said"); got != "replaced\n" {
		t.Errorf("the program says %q", got)
	}
	if left, err := os.ReadDir(filepath.Join(out, "left")); err == nil && len(left) > 0 {
		t.Errorf("left in the image: %v", left)
	}
}

// TestCratesOfTwoSources: one version of a crate, from two registries.
func TestCratesOfTwoSources(t *testing.T) {
	needsCargo(t)
	one, two := newCrateRegistry(t), newCrateRegistry(t)
	one.add(t, "base", "-- src/lib.rs --\npub const NAME: &str = \"one\";\n")
	two.add(t, "base", "-- src/lib.rs --\npub const NAME: &str = \"two\";\n")
	two.add(t, "other", "-- src/lib.rs --\npub use base::NAME;\n", "base")
	name := func(r *crateRegistry) string { return "base 1.0.0 (" + r.index() + ")" }
	lock := one.lock("app: base_1 base_2 other")
	lock = strings.NewReplacer("base_1", name(one), "base_2", name(two)).Replace(lock)
	lock += strings.Replace(strings.TrimPrefix(two.lock(), "version = 4\n"), "\"base\",\n]", "\""+name(two)+"\",\n]", 1)
	dir := project(t, `
-- Dockerfile --
FROM `+rust(t)+` AS b
WORKDIR /src
COPY . .
RUN cargo build --locked && target/debug/app >/said
FROM scratch
COPY --from=b /said /
-- .cargo/config.toml --
[registries.one]
index = "`+one.index()+`"
[registries.two]
index = "`+two.index()+`"
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
base1 = { package = "base", version = "1", registry = "one" }
base2 = { package = "base", version = "1", registry = "two" }
other = { version = "1", registry = "two" }
-- src/main.rs --
fn main() { println!("{} {} {}", base1::NAME, base2::NAME, other::NAME) }
-- Cargo.lock --
`+lock)
	out, _ := files(t, dir, with(prefetch(t, nil, "--store="+t.TempDir(), dir)))
	if got := read(t, out, "said"); got != "one two two\n" {
		t.Errorf("the program says %q", got)
	}
}

// TestCratesAsVendored compares the layout, and the configuration, with what
// cargo vendor makes of the same lockfile.
func TestCratesAsVendored(t *testing.T) {
	needsCargo(t)
	r := newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\n-- src/größe & <more>.txt --\n-- .gitignore --\nx\n-- tests/.gitignore --\nx\n-- .gitattributes --\nx\n"+
		"-- .github/x.yml --\nx\n-- .cargo-ok --\nok\n-- src/.cargo-ok --\nok\n-- Cargo.toml.orig --\nx\n-- a.rej --\nx\n-- .git/config --\nx\n-- src/.git/config --\nx\n")
	r.add(t, "top", "-- src/lib.rs --\npub use base;\n", "base")
	dir := project(t, "-- Cargo.lock --\n"+r.lock("app: top")+`
-- .cargo/config.toml --
[registries.test]
index = "`+r.index()+`"
-- src/lib.rs --
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
top = { version = "1", registry = "test" }
`)
	vendored := filepath.Join(t.TempDir(), "vendored")
	cmd := exec.CommandContext(t.Context(), "cargo", "vendor", "--locked", "--versioned-dirs", vendored)
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
	var got struct {
		Files []struct{ Abspath, Template string } `json:"project_files"`
	}
	if err := json.Unmarshal([]byte(read(t, tree, ".build-config.json")), &got); err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(config.String(), "\n\n") // after a line of advice, if that is there
	if strings.HasPrefix(config.String(), "[") {
		want = config.String()
	}
	want = "[registries.test]\nindex = \"" + r.index() + "\"\n\n" + strings.Replace(want, vendored, "${output_dir}/deps/cargo", 1)
	if len(got.Files) != 1 || got.Files[0].Abspath != filepath.Join(dir, ".cargo", "config.toml") {
		t.Fatalf("%+v", got.Files)
	}
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got.Files[0].Template)); diff != "" {
		t.Errorf("-cargo vendor +ours:\n%s", diff)
	}
}

// contents are the files below dir, and what is in them.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[strings.TrimPrefix(name, dir)] = read(t, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCratesFindings: crates that are missing stop the build before a step runs.
func TestCratesFindings(t *testing.T) {
	r := newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\n")
	dir := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN cargo build\n-- Cargo.lock --\n"+r.lock("app: base"))
	found, res := steps(t, dir)
	if names := ran(found); len(names) > 0 {
		t.Errorf("steps ran: %q", names)
	}
	res.failed(t)
	res.says(t, "Cargo.lock: 1 input: not in the cache")
}

// TestCrateThatLies: a crate whose Cargo.toml says that it is another one does
// not take that one's place. The lockfile has the sum of both, so cargo can tell.
func TestCrateThatLies(t *testing.T) {
	needsCargo(t)
	r, evil := newCrateRegistry(t), newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\npub const NAME: &str = \"honest\";\n")
	evil.add(t, "base", "-- src/lib.rs --\npub const NAME: &str = \"lie\";\n")
	r.crates["a-liar-1.0.0"] = evil.crates["base-1.0.0"]
	dir := project(t, `
-- Dockerfile --
FROM `+rust(t)+` AS b
WORKDIR /src
COPY . .
RUN cargo build --locked && target/debug/app
-- .cargo/config.toml --
[registries.test]
index = "`+r.index()+`"
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
base = { version = "1", registry = "test" }
a-liar = { version = "1", registry = "test" }
-- src/main.rs --
fn main() { println!("{}", base::NAME) }
-- Cargo.lock --
`+r.lock("app: a-liar base"))
	got := build(t, dir, with(prefetch(t, nil, "--store="+t.TempDir(), dir)))
	contains(t, "the error", got.failed(t), "cargo build --locked")
	got.says(t, "error: no matching package named `a-liar` found")
}
