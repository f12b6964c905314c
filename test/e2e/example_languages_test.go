package e2e

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// example builds examples/<name> sealed, after a prefetch with these flags and
// again by "hermetic build", and returns the files of its image.
func example(t *testing.T, name string, prefetchFlags []string, args ...string) string {
	t.Helper()
	dir, again := filepath.Join(world.Repo(), "examples", name), t.TempDir()
	flags := append([]string{"--store=" + filepath.Join(shared, "store")}, prefetchFlags...)
	deps := prefetch(t, own, append(flags, dir)...)
	out, _ := files(t, dir, append(slices.Clone(args), with(deps))...)

	line := []string{"build", "--frontend=" + images.frontend, "--progress=plain", "--output=type=local,dest=" + again}
	run(t, own, append(slices.Concat(line, flags, args), dir)...).passed(t)
	if diff, err := exec.CommandContext(t.Context(), "diff", "-r", out, again).CombinedOutput(); err != nil {
		t.Errorf("hermetic build: %v\n%s", err, diff)
	}
	return out
}

// TestExampleCargo builds a Rust program whose crates come from the registry that
// this machine's cargo has.
func TestExampleCargo(t *testing.T) {
	needsCargo(t)
	index, err := exec.CommandContext(t.Context(), filepath.Join(world.Repo(), "tools", "cratesindex.sh")).Output()
	if err != nil {
		t.Fatal(err)
	}
	image := rust(t)
	out := example(t, "cargo", []string{"--mirror=cargo=" + strings.TrimSpace(string(index))}, "--build-arg=RUST_IMAGE="+image, "--build-arg=BASE_IMAGE="+image)
	said, err := exec.CommandContext(t.Context(), filepath.Join(out, "usr/local/bin/ages"), "1h 30m", "2days", "2days", "soon").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(said), "1h 30m  5400\n2days   172800\nsoon    ") {
		t.Errorf("%v\n%s", err, said)
	}
}

// TestExamplePip runs a Python program whose packages come from the index that
// this machine's pip has.
func TestExamplePip(t *testing.T) {
	image, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	dir := project(t, "-- Dockerfile --\n"+read(t, filepath.Join(world.Repo(), "examples", "pip"), "Dockerfile")+
		"RUN /venv/bin/python /report.py /venv >/tmp/said\nFROM scratch\nCOPY --from=1 /tmp/said /\n")
	out := example(t, "pip", nil, "--build-arg=PYTHON_IMAGE="+image, "--file="+filepath.Join(dir, "Dockerfile"))
	contains(t, "the report", read(t, out, "said"), "site-packages/", "bytes", " files")
}

// TestExampleGeneric reads files from a cache and adds one of them.
func TestExampleGeneric(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join("testdata/files", filepath.Base(r.URL.Path)))
	}))
	t.Cleanup(mirror.Close)
	out := example(t, "generic", []string{"--mirror=generic=" + mirror.URL}, "--build-arg=BASE_IMAGE="+images.busybox)
	if got := read(t, out, "words.txt"); got != "A\nSEALED\nBUILD\n" {
		t.Errorf("words.txt is %q", got)
	}
	if got := read(t, out, "original/words.txt"); got != "a\nsealed\nbuild\n" {
		t.Errorf("original/words.txt is %q", got)
	}
}

// TestExampleNpm runs a JavaScript program whose packages come from the registry
// that this machine's npm has.
func TestExampleNpm(t *testing.T) {
	dir := project(t, "-- Dockerfile --\n"+read(t, filepath.Join(world.Repo(), "examples", "npm"), "Dockerfile")+
		"RUN printf -- '---\\ntitle: A < B\\n---\\n# Head\\n' | node /usr/local/lib/notes.mjs >/tmp/said\nFROM scratch\nCOPY --from=1 /tmp/said /\n")
	out := example(t, "npm", nil, "--build-arg=NODE_IMAGE="+node(t), "--file="+filepath.Join(dir, "Dockerfile"))
	contains(t, "the page", read(t, out, "said"), "<title>A &lt; B</title>", "<h1>Head</h1>")
}
