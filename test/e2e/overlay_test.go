package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/cache"
)

// lockOf is a lockfile whose packages are at a URL, rendered for where they are.
func lockOf(resolved string) string {
	return fmt.Sprintf("{\n  \"name\": \"app\",\n  \"lockfileVersion\": 3,\n  \"packages\": {\n    \"node_modules/left\": {\"resolved\": %q}\n  }\n}\n", resolved)
}

// Three states of that lockfile: as in a repository, Hermeto's template of it,
// and what a build is to see.
var (
	originalLock = lockOf("https://example.com/left.tgz")
	lockTemplate = lockOf("file://${output_dir}/deps/npm/left.tgz")
	sealedLock   = lockOf("file:///cachi2/output/deps/npm/left.tgz")
)

// projectTree makes an output directory of Hermeto's that has project files,
// by their paths on the machine that fetched; what it has below deps is nobody's
// of this version.
func projectTree(t *testing.T, templates map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var project []cache.ProjectFile
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		project = append(project, cache.ProjectFile{Path: name, Template: templates[name]})
	}
	config := cache.BuildConfigOf([]cache.EnvVar{{Name: "COLOUR", Value: "blue"}}, project, "/")
	write(t, dir, "-- .build-config.json --\n"+string(config.Data)+"-- deps/npm/left.tgz --\npacked\n")
	return dir
}

// fetched is where the project was on the machine that fetched.
const fetched = "/builds/42/source"

// TestOverlay: a file that Hermeto would write into the source is what COPY, ADD
// and bind mounts see, and nothing else of the context is another one.
func TestOverlay(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
WORKDIR /all
COPY . .
WORKDIR /one
COPY app/package.json app/.npmrc ./
COPY app/*.json /matched/
ADD app /added/
RUN cmp /all/app/package.json /one/package.json && cmp /one/package.json /matched/package.json && cmp /one/package.json /added/package.json
RUN --mount=target=/src cmp /src/app/package.json /one/package.json && cat /src/other
RUN --mount=source=app,target=/src cmp /src/package.json /one/package.json && test ! -e /src/missing && touch -r /src/package.json /when
RUN --mount=source=app/package.json,target=/lock cmp /lock /one/package.json && stat -c '%a %u %Y' /lock /one/.npmrc >/said && find /all -type f | sort >>/said
FROM scratch
COPY --from=b /said /one /
-- app/package.json --
`+originalLock+`-- app/tsconfig.json --
{}
-- other --
other
`)
	if err := os.Chmod(filepath.Join(dir, "app/package.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	deps := projectTree(t, map[string]string{fetched + "/app/package.json": lockTemplate, fetched + "/app/.npmrc": "registry=file://${output_dir}/\n"})
	out, r := files(t, dir, with(deps))
	if got := read(t, out, "package.json"); got != sealedLock {
		t.Errorf("the lockfile is %s", got)
	}
	if got := read(t, out, ".npmrc"); got != "registry=file:///cachi2/output/\n" {
		t.Errorf("the new file is %s", got)
	}
	want := "600 0 315532800\n644 0 315532800\n/all/Dockerfile\n/all/app/.npmrc\n/all/app/package.json\n/all/app/tsconfig.json\n/all/other\n"
	if got := read(t, out, "said"); got != want {
		t.Errorf("steps saw %s", got)
	}
	r.says(t, overlayStep)
	if strings.Contains(r.log, "MissingSource") {
		t.Error(r.log)
	}
}

// overlayStep is how the progress output calls what lays files over a context.
const overlayStep = "[internal] put files for a sealed build on the build context"

// TestNoOverlay: where there is nothing to lay, or nothing that could be seen,
// the graph has no step for it.
func TestNoOverlay(t *testing.T) {
	const dockerfile = "-- Dockerfile --\nFROM {busybox} AS b\nCOPY %s /src/\nRUN cat /src/* >/said; test ! -e /src/package.json || cat /src/package.json >/said\nFROM scratch\nCOPY --from=b /said /\n"
	app := "-- app/package.json --\n" + originalLock + "-- app/lib/code --\ncode\n-- other/code --\nother\n"
	lock := map[string]string{fetched + "/app/package.json": lockTemplate}
	for name, c := range map[string]struct {
		source, more string
		templates    map[string]string
		want         string
	}{
		"no project file":      {"app/lib", app, nil, "code\n"},
		"in the output dir":    {"app", app, map[string]string{"/out/.cargo/config.toml": ""}, originalLock},
		"hidden":               {"app", app + "-- .dockerignore --\napp/package.json\n", lock, ""},
		"hidden with all else": {"app", app + "-- .dockerignore --\n**/*\n!app/lib/code\n", lock, ""},
		"not asked for":        {"other", app, lock, "other\n"},
		"injected already":     {"app", strings.Replace(app, originalLock, sealedLock, 1), lock, sealedLock},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := projectTree(t, c.templates)
			out, r := files(t, project(t, fmt.Sprintf(dockerfile, c.source)+c.more), with(tree))
			if strings.Contains(r.log, overlayStep) {
				t.Errorf("something is laid over the context\n%s", r.log)
			}
			if got := read(t, out, "said"); got != c.want {
				t.Errorf("the step saw %s", got)
			}
		})
	}
}

// TestOverlayOfAnotherPlace: files that were injected for another output
// directory are no change, and are put right.
func TestOverlayOfAnotherPlace(t *testing.T) {
	dir := project(t, "-- Dockerfile --\nFROM {busybox} AS b\nCOPY . /src/\nRUN true\nFROM scratch\nCOPY --from=b /src /\n-- package.json --\n"+
		lockOf("file:///home/me/hermeto-output/deps/npm/left.tgz"))
	out, _ := files(t, dir, with(projectTree(t, map[string]string{fetched + "/package.json": lockTemplate})))
	if got := read(t, out, "package.json"); got != sealedLock {
		t.Errorf("the lockfile is %s", got)
	}
}

// TestOverlayIsRefused where a file cannot be replaced, or is not the one that
// was fetched for.
func TestOverlayIsRefused(t *testing.T) {
	const dockerfile = "-- Dockerfile --\nFROM {busybox}\nCOPY . .\nRUN true\n"
	tree := projectTree(t, map[string]string{fetched + "/app/package.json": lockTemplate, fetched + "/app/.cargo/config.toml": "x", fetched + "/.npmrc": "{}"})
	for name, c := range map[string]struct {
		more  string
		spoil func(dir string) error
		want  string
	}{
		"changed": {"-- app/package.json --\n" + lockOf("https://example.com/left.tgz")[:2] + "\"more\": 1}\n",
			nil, "StaleCache: 1 lockfile is not the one that the cache was made from\napp/package.json: changed since"},
		"a link": {"", func(dir string) error {
			return os.Symlink("../.npmrc", filepath.Join(dir, "app/package.json"))
		},
			"InvalidLockfile: 1 line of a lockfile cannot be used\napp/package.json: a sealed build needs another file in its place, and it is"},
		"a directory": {"-- app/package.json/x --\n", nil,
			"InvalidLockfile: 1 line of a lockfile cannot be used\napp/package.json: a sealed build needs another file in its place, and it is"},
		"below a link": {"", func(dir string) error { return os.Symlink("../.npmrc", filepath.Join(dir, "app/.cargo")) },
			"InvalidLockfile: 1 line of a lockfile cannot be used\napp/.cargo/config.toml: a sealed build needs another file in its place, and app/.cargo is no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := project(t, dockerfile+"-- .npmrc --\n{}\n-- app/.npmrc --\n{}\n"+c.more)
			if c.spoil != nil {
				if err := c.spoil(dir); err != nil {
					t.Fatal(err)
				}
			}
			found, r := steps(t, dir, with(tree))
			contains(t, "the error", r.failed(t), c.want)
			if names := ran(found); len(names) > 0 {
				t.Errorf("steps ran: %q", names)
			}
		})
	}
}

// TestOverlayKeepsTheCache: what copies other files of the context, or mounts
// them, does not run again when a project file changes, and the file itself does
// not make anything run again while it stays.
func TestOverlayKeepsTheCache(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
COPY other /other
RUN --mount=source=mounted,target=/mounted cat /mounted >/copy
FROM {busybox} AS c
COPY package.json /
FROM scratch
COPY --from=b /other /copy /
COPY --from=c /package.json /
-- other --
`+t.Name()+`
-- mounted --
`+t.TempDir()+`
-- package.json --
`+originalLock)
	tree := projectTree(t, map[string]string{fetched + "/package.json": lockTemplate})
	cached := func(args ...string) []string {
		found, r := steps(t, dir, append(args, with(tree))...)
		r.passed(t)
		var names []string
		for name, v := range found {
			if strings.Contains(name, "] COPY ") || strings.Contains(name, "] RUN ") {
				if v.Cached {
					names = append(names, name[strings.Index(name, "] ")+2:])
				}
			}
		}
		slices.Sort(names)
		return names
	}
	cached()
	all := []string{"COPY --from=b /other /copy /", "COPY --from=c /package.json /", "COPY other /other", "COPY package.json /",
		"RUN --mount=source=mounted,target=/mounted cat /mounted >/copy"}
	if got := cached(); !slices.Equal(got, all) {
		t.Errorf("of an unchanged context, cached: %q", got)
	}
	// Another template: as after a prefetch of a changed lockfile.
	changed := strings.ReplaceAll(lockTemplate, "left.tgz", filepath.Base(filepath.Dir(t.TempDir()))+".tgz") // the daemon may know that of the run before
	config := cache.BuildConfigOf([]cache.EnvVar{{Name: "COLOUR", Value: "blue"}}, []cache.ProjectFile{{Path: fetched + "/package.json", Template: changed}}, "/")
	write(t, tree, "-- .build-config.json --\n"+string(config.Data))
	got := cached()
	for _, want := range []string{"COPY --from=b /other /copy /", "COPY other /other"} {
		if !slices.Contains(got, want) {
			t.Errorf("after a change of the project file, cached: %q; want %q among them", got, want)
		}
	}
	if slices.Contains(got, "COPY package.json /") {
		t.Error("the project file changed, and its copy did not")
	}
}

// gitRepository serves the files of a directory as a repository, by the protocol
// for plain files.
func gitRepository(t *testing.T, dir string) string {
	t.Helper()
	bare := filepath.Join(t.TempDir(), "repo.git")
	for _, args := range [][]string{
		{"init", "-q", "-b", "main", dir}, {"-C", dir, "add", "-f", "."},
		{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "all"},
		{"clone", "-q", "--bare", dir, bare}, {"-C", bare, "update-server-info"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(bare))))
	t.Cleanup(server.Close)
	return server.URL + "/repo.git"
}

// tarball serves the files of a directory as a tar file.
func tarball(t *testing.T, dir string) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		data := []byte(read(t, name))
		if err := w.WriteHeader(&tar.Header{Name: rel, Mode: 0o640, Uid: 1000, Gid: 1000, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(buf.Bytes()) }))
	t.Cleanup(server.Close)
	return server.URL + "/context.tar"
}

// TestOverlayOfRemoteContexts: a build context that is a repository or a tar
// file is one like any other. Of the tar file the owner stays as well.
func TestOverlayOfRemoteContexts(t *testing.T) {
	files := "-- app/package.json --\n" + originalLock + "-- app/Dockerfile --\nFROM {busybox} AS b\nCOPY . /src/\nRUN --mount=target=/ctx cmp /ctx/%[1]spackage.json /src/%[1]spackage.json && stat -c '%%a %%u' /ctx/%[1]spackage.json >/said\nFROM scratch\nCOPY --from=b /said /src/%[1]spackage.json /\n"
	in := func(dir string) string { return project(t, fmt.Sprintf(files, dir)) }
	tree := projectTree(t, map[string]string{fetched + "/app/package.json": lockTemplate})
	for name, c := range map[string]struct {
		context string
		args    []string
		said    string
	}{
		"git":                {gitRepository(t, in("app/")), []string{"--file=app/Dockerfile"}, "644 0\n"},
		"a directory in git": {gitRepository(t, in("")) + "#main:app", nil, "644 0\n"},
		"tar":                {tarball(t, in("app/")), []string{"--file=app/Dockerfile"}, "640 1000\n"},
		"all of a tar":       {tarball(t, filepath.Join(in(""), "app")), nil, "640 1000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			args := append([]string{"build", "--progress=plain", "--build-arg=BUILDKIT_SYNTAX=" + images.frontend, with(tree), "--output=type=local,dest=" + out}, c.args...)
			r := output(world.Buildx(t.Context(), append(args, c.context)...)).passed(t)
			if got := read(t, out, "package.json"); got != sealedLock {
				t.Errorf("the lockfile is %s", got)
			}
			if got := read(t, out, "said"); got != c.said {
				t.Errorf("mode and owner: %s; want %s", got, c.said)
			}
			r.says(t, overlayStep)
		})
	}
}

// TestOverlayOfAnInput: a build context that the client brings along as a graph
// stays byte for byte, and what is made of it is sealed.
func TestOverlayOfAnInput(t *testing.T) {
	tree := projectTree(t, map[string]string{fetched + "/package.json": lockTemplate})
	write(t, tree, "-- Dockerfile --\nFROM {busybox}\nCOPY . /src/\nRUN --mount=target=/ctx cmp /ctx/package.json /src/package.json && grep file:///cachi2/output /src/package.json\n")
	def, err := llb.Scratch().File(llb.Mkfile("/package.json", 0o644, []byte(originalLock))).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := request(map[string]string{"context:hermetic": "local:context"})
	req.FrontendInputs = map[string]*pb.Definition{"context": def.ToPB()}
	_, seen, err := ask(t, tree, req)
	if err != nil {
		t.Fatal(err)
	}
	if !seen[digest.FromBytes(def.Def[0])] {
		t.Error("the input has changed")
	}
}

// TestOverlayOfATarget: what one target of a bake file was built from is not laid
// over again where another one stands on it.
func TestOverlayOfATarget(t *testing.T) {
	dir := project(t, `
-- docker-bake.hcl --
target "first" {
  args = { BUILDKIT_SYNTAX = "{frontend}" }
  dockerfile = "first"
  contexts = { hermetic = "tree" }
}
target "second" {
  args = { BUILDKIT_SYNTAX = "{frontend}" }
  dockerfile = "second"
  contexts = { hermetic = "tree", first = "target:first" }
  output = ["type=local,dest=out"]
}
-- first --
FROM {busybox}
COPY package.json /
RUN true
-- second --
FROM first AS b
COPY package.json /again
RUN cmp /package.json /again
FROM scratch
COPY --from=b /again /
-- .dockerignore --
tree
out
-- package.json --
`+originalLock)
	if err := os.CopyFS(filepath.Join(dir, "tree"), os.DirFS(projectTree(t, map[string]string{fetched + "/package.json": lockTemplate}))); err != nil {
		t.Fatal(err)
	}
	cmd := world.Buildx(t.Context(), "bake", "--progress=plain", "--allow=fs=*", "second")
	cmd.Dir = dir
	output(cmd).passed(t)
	if got := read(t, dir, "out", "again"); got != sealedLock {
		t.Errorf("the lockfile is %s", got)
	}
}
