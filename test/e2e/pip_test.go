package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

// pipPackages are what the tests install, with all that it needs: more than
// forty packages, some of them with native code.
var pipPackages = []string{
	"flask", "requests", "rich", "pydantic", "httpx", "fastapi", "uvicorn", "sqlalchemy", "attrs", "pytest", "cryptography",
	"pyyaml", "ruamel.yaml", "tqdm", "click", "packaging", "tomli", "jsonschema", "networkx", "docutils",
}

// pipBuildPackages are what building a source distribution needs.
var pipBuildPackages = []string{"setuptools", "wheel"}

// wheels are the files of packages, fetched once by this machine's pip for the
// Python of the image, which is that of version, "3.11".
func wheels(t *testing.T, version, dir string, packages []string) map[string][]byte {
	t.Helper()
	dir = filepath.Join(filepath.Dir(filepath.Dir(world.Bin("buildx"))), "wheels", version, dir)
	if _, err := os.Stat(dir); err != nil {
		fresh := dir + ".new"
		if err := os.RemoveAll(fresh); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"download", "--quiet", "--only-binary=:all:", "--python-version=" + version,
			"--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64", "--dest=" + fresh}, packages...)
		if out, err := exec.Command("pip", args...).CombinedOutput(); err != nil {
			t.Fatalf("pip download: %v\n%s", err, out)
		}
		if err := os.Rename(fresh, dir); err != nil {
			t.Fatal(err)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(names), err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		if out[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// pythonVersion is that of the image called python.
func pythonVersion(t *testing.T) string {
	t.Helper()
	f, err := os.Open(filepath.Join(filepath.Dir(filepath.Dir(world.Bin("buildx"))), "images", "python.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("no python in the image: %v", err)
		}
		if m := regexp.MustCompile(`^(?:\./)?usr/bin/python(3\.\d+)$`).FindStringSubmatch(h.Name); m != nil {
			return m[1]
		}
	}
}

// sourceDist is a source distribution that setuptools builds.
func sourceDist(t *testing.T) []byte {
	t.Helper()
	return sdist(t, "made_here-1.5", `
-- PKG-INFO --
Metadata-Version: 2.1
Name: made-here
Version: 1.5
-- pyproject.toml --
[build-system]
requires = ["setuptools", "wheel"]
build-backend = "setuptools.build_meta"
[project]
name = "made-here"
version = "1.5"
-- made_here.py --
print('made here')
`)
}

// sdist packs the files of a txtar archive below a directory.
func sdist(t *testing.T, dir, archive string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range txtar.Parse([]byte(archive)).Files {
		if err := w.WriteHeader(&tar.Header{Name: dir + "/" + f.Name, Mode: 0o644, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		w.Write(f.Data) // into memory
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pipName is the name of a package in an index.
func pipName(file string) string {
	name, _, _ := strings.Cut(file, "-")
	return strings.ToLower(regexp.MustCompile(`[-_.]+`).ReplaceAllString(name, "-"))
}

// newPipIndex serves files by the simple API, as pages of HTML.
func newPipIndex(t *testing.T, files map[string][]byte) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if data, ok := files[path.Base(r.URL.Path)]; ok && strings.HasPrefix(r.URL.Path, "/files/") {
			w.Write(data)
			return
		}
		found := false
		for name, data := range files {
			if r.URL.Path == "/simple/"+pipName(name)+"/" {
				found = true
				fmt.Fprintf(w, "<a href=\"/files/%s#sha256=%s\">%s</a>\n", name, cache.SumBytes(data).Hex(), name)
			}
		}
		if !found {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/simple"
}

// pinned are the lines of a requirements file for files.
func pinned(files map[string][]byte) string {
	var lines []string
	for name, data := range files {
		version := strings.Split(strings.TrimSuffix(name, ".tar.gz"), "-")[1]
		lines = append(lines, fmt.Sprintf("%s==%s --hash=%s\n", pipName(name), version, cache.SumBytes(data)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

const pipDockerfile = `
-- Dockerfile --
FROM {python} AS b
COPY requirements.txt /src/
RUN python3 -m venv /v
RUN /v/bin/pip install --require-hashes --no-deps -r /src/requirements.txt && /v/bin/pip check
RUN /v/bin/python -c 'import made_here, yaml, cryptography.hazmat.bindings._rust, pydantic' >/said && /v/bin/pip list --format=freeze >>/said
FROM scratch
COPY --from=b /said /
`

// TestPip installs many wheels and builds a source distribution, sealed.
func TestPip(t *testing.T) {
	image, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	version := pythonVersion(t)
	dists := wheels(t, version, "install", pipPackages)
	if len(dists) < 40 {
		t.Fatalf("%d packages: want 40 and more", len(dists))
	}
	build := wheels(t, version, "build", pipBuildPackages)
	dists["made_here-1.5.tar.gz"] = sourceDist(t)
	all := map[string][]byte{"unwanted-1.0.tar.gz": []byte("not asked for")}
	for _, some := range []map[string][]byte{dists, build} {
		for name, data := range some {
			all[name] = data
		}
	}
	dir := project(t, strings.ReplaceAll(pipDockerfile, "{python}", image)+"-- requirements.txt --\n"+pinned(dists)+"-- requirements-build.txt --\n"+pinned(build))
	input := fmt.Sprintf(`{"type":"pip","path":".","binary":{"py_version":%s}}`, strings.ReplaceAll(version, ".", ""))
	store := "--store=" + t.TempDir()
	mirror := "--mirror=pip=" + newPipIndex(t, all)
	for name, deps := range map[string]string{
		"view": prefetch(t, nil, store, mirror, "--input="+input, dir),
		"tree": prefetch(t, nil, store, mirror, "--input="+input, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps), "--build-arg=HERMETIC_INPUT="+input)
			said := read(t, out, "said")
			contains(t, "what is installed", said, "made here\n", "made-here==1.5\n", "Flask==")
			if n := strings.Count(said, "=="); n < 42 {
				t.Errorf("%d packages installed", n)
			}
		})
	}
	t.Run("without a wheel", func(t *testing.T) {
		delete(all, "made_here-1.5.tar.gz")
		r := run(t, nil, "prefetch", "--store="+t.TempDir(), "--mirror=pip="+newPipIndex(t, all), "--input="+input, dir)
		if r.err == nil {
			t.Error("a package that the index does not have is no error")
		}
		r.says(t, "made-here==1.5: ", "/made-here/: 404 Not Found")
	})
}
