package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/sbom"
)

// buildah runs buildah on a storage of this test's own. Without a network means
// without one for all of buildah, as in Konflux's build task: a namespace with a
// loopback that is up and nothing else.
type buildah struct{ storage string }

func newBuildah(t *testing.T) buildah {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Fatalf("%v: run: make setup", err)
	}
	dir, err := os.MkdirTemp(shared, "buildah-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return buildah{dir}
}

func (b buildah) args(args ...string) []string {
	return append([]string{"buildah", "--storage-driver=vfs", "--root=" + filepath.Join(b.storage, "root"), "--runroot=" + filepath.Join(b.storage, "run")}, args...)
}

// pull gets a base image, which happens before the network is gone.
func (b buildah) pull(t *testing.T, ref string) {
	t.Helper()
	argv := b.args("pull", "--tls-verify=false", ref)
	output(exec.CommandContext(t.Context(), argv[0], argv[1:]...)).passed(t)
}

// build builds a context without a network and is the directory that it put out.
func (b buildah) build(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out := t.TempDir()
	argv := b.args(append([]string{"build", "--isolation=chroot", "--pull-never", "--layers=false", "--http-proxy=false", "--output=" + out}, args...)...)
	script := `/bin/busybox ip link set lo up && exec "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--net", "sh", "-c", script, "sh"}, append(argv, dir)...)...)
	output(cmd).passed(t)
	return out
}

// TestKonflux takes the way of Konflux's tasks, with our commands in the place of
// Hermeto's: fetch-deps, generate-env and inject-files on a checkout, then buildah
// without a network and with the directory mounted. The same Dockerfile builds
// on BuildKit with the same directory as its deps context, and from the checkout
// as it was before; all make the same files.
func TestKonflux(t *testing.T) {
	needsCargo(t)
	m := newMirror(t)
	m.add(t, "example.com/greet@v1.0.0", "-- greet.go --\npackage greet\n\nconst Text = \"from a module\"\n")
	r := newCrateRegistry(t)
	r.add(t, "base", "-- src/lib.rs --\npub fn name() -> &'static str { \"from a crate\" }\n")
	files1 := newFileServer(t)
	src := filepath.Join(t.TempDir(), "source")
	write(t, src, konfluxProject(t, r)+"-- go.sum --\n"+m.goSum("example.com/greet@v1.0.0")+"-- Cargo.lock --\n"+r.lock("app: base")+"-- artifacts.lock.yaml --\n"+artifactsLock(files1))
	checkout(t, src)
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}

	ws := t.TempDir()
	deps, env := filepath.Join(ws, "cachi2", "output"), filepath.Join(ws, "cachi2", "cachi2.env")
	vars := append(m.env(), "GENERIC_TOKEN=s3cret", "HERMETIC_STORE="+t.TempDir())
	run(t, vars, "fetch-deps", "--source", src, "--output", deps, "--sbom-output-type", "spdx", `[{"type": "gomod"}, {"type": "cargo"}, {"type": "generic"}]`).passed(t)
	run(t, nil, "generate-env", deps, "--for-output-dir", "/cachi2/output", "-o", env).passed(t)
	run(t, nil, "inject-files", deps, "--for-output-dir", "/cachi2/output").passed(t)
	wantBill(t, filepath.Join(deps, "bom.json"), "pkg:cargo/base@1.0.0?", "pkg:golang/example.com/greet@v1.0.0?type=module", "pkg:generic/tool.sh?")

	b := newBuildah(t)
	b.pull(t, images.golang)
	b.pull(t, rust(t))
	outs := map[string]string{
		"buildah": b.build(t, src, "--volume="+deps+":/cachi2/output:z", "--volume="+env+":/cachi2/cachi2.env:z"),
	}
	outs["BuildKit"], _ = files(t, before, with(deps))
	outs["BuildKit, injected"], _ = files(t, src, with(filepath.Dir(deps)))
	for name, out := range outs {
		for file, want := range map[string]string{"go": "from a module\n", "rust": "from a crate\n", "tool": "tool\n", "network": "no\n"} {
			if got := read(t, out, file); got != want {
				t.Errorf("%s: %s: %q, want %q", name, file, got, want)
			}
		}
	}
}

// konfluxProject is a project of two languages and a tool, whose Dockerfile is
// for both worlds.
func konfluxProject(t *testing.T, r *crateRegistry) string {
	const env = "RUN if [ -f /cachi2/cachi2.env ]; then . /cachi2/cachi2.env; fi && "
	return `
-- Dockerfile --
FROM {golang} AS go
WORKDIR /src
COPY go.mod go.sum main.go ./
` + env + `go run . >/said
RUN sh /cachi2/output/deps/generic/tool.sh >/tool
RUN if nslookup example.com >/dev/null 2>&1; then echo yes; else echo no; fi >/network
FROM ` + rust(t) + ` AS rust
WORKDIR /src
COPY . .
` + env + `cargo run --locked --offline >/said
FROM scratch
COPY --from=go /said /go
COPY --from=go /tool /network /
COPY --from=rust /said /rust
-- go.mod --
module example.com/app

go 1.21

require example.com/greet v1.0.0
-- main.go --
package main

import (
	"fmt"

	"example.com/greet"
)

func main() { fmt.Println(greet.Text) }
-- .cargo/config.toml --
[registries.test]
index = "` + r.index() + `"
-- Cargo.toml --
[package]
name = "app"
version = "0.1.0"
edition = "2021"
[dependencies]
base = { version = "1", registry = "test" }
-- src/main.rs --
fn main() { println!("{}", base::name()) }
`
}

// checkout makes dir a git repository with all that is in it.
func checkout(t *testing.T, dir string) {
	t.Helper()
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "-A"}, {"remote", "add", "origin", "https://git.example.com/team/app.git"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "one"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		output(cmd).passed(t)
	}
}

// wantBill reports what a bill of materials lacks, package URLs by their
// beginnings.
func wantBill(t *testing.T, file string, purls ...string) {
	t.Helper()
	data := []byte(read(t, file))
	components, err := sbom.Parse(file, data)
	if err = errors.Join(err, json.Unmarshal(data, new(any))); err != nil {
		t.Fatal(err)
	}
	for _, want := range purls {
		has := false
		for _, c := range components {
			has = has || strings.HasPrefix(c.PURL, want)
		}
		if !has {
			t.Errorf("%s: no %s among %v", file, want, names(components))
		}
	}
}

func names(components []cache.Component) []string {
	var out []string
	for _, c := range components {
		out = append(out, c.PURL)
	}
	return out
}
