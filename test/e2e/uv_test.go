package e2e

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// uvProgram is the program uv, from its wheel.
func uvProgram(t *testing.T) string {
	t.Helper()
	if _, err := world.Image(t.Context(), "python"); err != nil {
		t.Fatal(err)
	}
	for _, data := range wheels(t, pythonVersion(t), "uv", []string{"uv"}) {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			if path.Base(f.Name) != "uv" || !strings.Contains(f.Name, "/scripts/") {
				continue
			}
			from, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			program := filepath.Join(t.TempDir(), "uv")
			to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(to, from); err != nil {
				t.Fatal(err)
			}
			if err := to.Close(); err != nil {
				t.Fatal(err)
			}
			return program
		}
	}
	t.Fatal("no program in the wheel of uv")
	return ""
}

// uvLocked is a project that uv locks against an index, with the program in it.
func uvLocked(t *testing.T, archive, index string) string {
	t.Helper()
	image, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	uv := uvProgram(t)
	dir := project(t, strings.ReplaceAll(archive, "{python}", image))
	cmd := exec.CommandContext(t.Context(), uv, "lock", "--default-index="+index, "--cache-dir="+t.TempDir(), "--no-config")
	cmd.Dir, cmd.Env = dir, world.Env()
	output(cmd).passed(t)
	if err := os.Rename(uv, filepath.Join(dir, "uv")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestUV has uv install what its own lockfile has: of an index, by URL, and of a
// repository; with the lockfile as it is, checked against the project, and with
// an extra and a group.
func TestUV(t *testing.T) {
	dists := map[string][]byte{}
	for _, name := range []string{"plain", "extra", "checker"} {
		dists[name+"-1.0-py3-none-any.whl"] = emptyWheel(t, name)
	}
	remote := emptyWheel(t, "remote")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(remote) }))
	t.Cleanup(server.Close)
	s := newGitServer(t)
	s.add(t, "one", pyProject("one", "text = 'one'\n"))
	s.add(t, "two", strings.ReplaceAll("\n"+pyProject("two", "text = 'two'\n"), "\n-- ", "\n-- sub/"))
	archive := `
-- Dockerfile --
FROM {python} AS b
COPY uv /usr/local/bin/
WORKDIR /src
COPY pyproject.toml uv.lock ./
ENV UV_PYTHON=/usr/bin/python3
RUN uv sync --offline --frozen --no-install-project && ls .venv/lib/python3*/site-packages >/frozen
RUN rm -r .venv && uv sync --offline --locked --no-default-groups --extra more && ls .venv/lib/python3*/site-packages >/locked
RUN rm -r .venv && uv sync && .venv/bin/python -c 'import one; print(one.text)' >/said
RUN uv run --frozen python -c 'import two' && uv lock --check
RUN uv export --frozen >/exported
FROM scratch
COPY --from=b /frozen /locked /said /exported /
-- pyproject.toml --
[project]
name = "app"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["plain", "remote", "one", "two", "inner"]
[project.optional-dependencies]
more = ["extra"]
[dependency-groups]
dev = ["checker"]
[tool.uv.sources]
remote = { url = "` + server.URL + `/remote-1.0-py3-none-any.whl" }
one = { git = "` + s.url + `/one" }
two = { git = "` + s.url + `/two", subdirectory = "sub" }
inner = { index = "company" }
[[tool.uv.index]]
name = "company"
url = "` + newPipIndex(t, map[string][]byte{"inner-1.0-py3-none-any.whl": emptyWheel(t, "inner")}) + `"
explicit = true
`
	// What is below the top of a repository lies there unpacked, and of a
	// directory that somebody brings along nothing tells what that is.
	withoutTwo := regexp.MustCompile(`, "two"|two = .*\n|import two`).ReplaceAllString(archive, "")
	for _, form := range []string{"view", "tree"} {
		t.Run(form, func(t *testing.T) {
			args, archive := []string{"--store=" + t.TempDir()}, archive
			if form == "tree" {
				args, archive = append(args, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree")), withoutTwo
			}
			dir := uvLocked(t, archive, newPipIndex(t, dists))
			out, _ := files(t, dir, with(prefetch(t, nil, append(args, dir)...)), "--no-cache")
			contains(t, "what is installed", read(t, out, "frozen"), "checker-1.0.dist-info\n", "inner-1.0.dist-info\n", "one-1.0.dist-info\n", "plain-1.0.dist-info\n", "remote-1.0.dist-info\n")
			locked := read(t, out, "locked")
			contains(t, "what is installed with an extra", locked, "extra-1.0.dist-info\n", "plain-1.0.dist-info\n")
			if strings.Contains(locked, "checker") {
				t.Errorf("a group that was not asked for is installed:\n%s", locked)
			}
			contains(t, "what the package says", read(t, out, "said"), "one\n")
		})
	}
	t.Run("pylock.toml of the view", func(t *testing.T) { installPylock(t, uvLocked(t, archive, newPipIndex(t, dists)), "one, two") })
	t.Run("pylock.toml of the tree", func(t *testing.T) {
		installPylock(t, uvLocked(t, withoutTwo, newPipIndex(t, dists)), "one", "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"))
	})
}

// installPylock has uv export the uv.lock of dir as a pylock.toml, and install
// from that alone, sealed; modules are those that can be imported then.
func installPylock(t *testing.T, dir, modules string, flags ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "uv"), "export", "--quiet", "--frozen", "--no-emit-project", "--format=pylock.toml", "--output-file=pylock.toml", "--no-config")
	cmd.Dir, cmd.Env = dir, world.Env()
	output(cmd).passed(t)
	for _, name := range []string{"uv.lock", "pyproject.toml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	image, err := world.Image(t.Context(), "python")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, strings.NewReplacer("{python}", image, "{modules}", modules).Replace(pylockDockerfile))
	out, _ := files(t, dir, with(prefetch(t, nil, append(flags, "--store="+t.TempDir(), dir)...)), "--no-cache")
	contains(t, "what is installed", read(t, out, "said"), "one-1.0.dist-info\n", "plain-1.0.dist-info\n", "remote-1.0.dist-info\n")
}

const pylockDockerfile = `
-- Dockerfile --
FROM {python} AS b
COPY uv /usr/local/bin/
COPY pylock.toml /src/
RUN uv venv /v && uv pip sync --python /v/bin/python --offline /src/pylock.toml
RUN /v/bin/python -c 'import {modules}' && ls /v/lib/python3*/site-packages >/said
FROM scratch
COPY --from=b /said /
`
