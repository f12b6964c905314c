// Package e2e holds the product to its promises on the real parts: a build goes
// through buildx, a real buildkitd and the frontend's image, as a user's does.
// One lab (internal/lab) serves all tests of the package.
//
// Which name to reach for: project writes a build context from a txtar archive,
// build runs "buildx build" on it with our frontend or with upstream's, run runs
// the CLI, mirror is a Go module proxy on loopback, prefetch makes a deps
// context from it.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/internal/lab"
)

// What the tests share; constant once TestMain has run them.
var (
	world  *lab.Lab
	images struct{ busybox, golang, frontend string }
	cli    string // the program "hermetic"
	shared string // a directory that outlives single tests
)

func TestMain(m *testing.M) {
	code, err := runAll(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(ctx context.Context, m *testing.M) (code int, err error) {
	if world, err = lab.Start(ctx, lab.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	for name, ref := range map[string]*string{
		"busybox": &images.busybox, "golang": &images.golang, "frontend": &images.frontend,
	} {
		if *ref, err = world.Image(ctx, name); err != nil {
			return 0, err
		}
	}
	if out, err := exec.CommandContext(ctx, "make", "-s", "-C", world.Repo(), "bin").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make bin: %w\n%s", err, out)
	}
	cli = filepath.Join(world.Repo(), "bin", "hermetic")
	if shared, err = os.MkdirTemp("", "e2e-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(shared)
	return m.Run(), nil
}

// words are what archives write in place of the lab's references.
func words() *strings.Replacer {
	return strings.NewReplacer("{busybox}", images.busybox, "{golang}", images.golang, "{frontend}", images.frontend,
		"{registry}", world.RegistryHost())
}

// project writes the files of a txtar archive into a new directory; the words
// {busybox}, {golang}, {frontend} and {registry} stand for the lab's references.
func project(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, archive)
	return dir
}

// write adds the files of a txtar archive to dir.
func write(t *testing.T, dir, archive string) {
	t.Helper()
	for _, f := range txtar.Parse([]byte(words().Replace(archive))).Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A result is how a program ended and all that it printed.
type result struct {
	log string
	err error
}

// passed stops the test if the program did not end well.
func (r result) passed(t *testing.T) result {
	t.Helper()
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.log)
	}
	return r
}

// failed stops the test if the program ended well; it returns what buildx says
// last, the error without its own words before it.
func (r result) failed(t *testing.T) string {
	t.Helper()
	if r.err == nil {
		t.Fatalf("ended well; want an error\n%s", r.log)
	}
	_, text, ok := strings.Cut(r.log, "\nERROR: ")
	if !ok {
		t.Fatalf("no ERROR in the log\n%s", r.log)
	}
	text = strings.TrimPrefix(text, "failed to build: ")
	return strings.TrimRight(strings.TrimPrefix(text, "failed to solve: "), "\n")
}

// says reports each want that the log lacks.
func (r result) says(t *testing.T, wants ...string) {
	t.Helper()
	contains(t, "the log", r.log, wants...)
}

// contains reports each want that text lacks.
func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	lacks := false
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", what, want)
			lacks = true
		}
	}
	if lacks {
		t.Logf("%s:\n%s", what, text)
	}
}

// build runs "buildx build" on the context dir with our frontend, which the
// build-arg BUILDKIT_SYNTAX names.
func build(t *testing.T, dir string, args ...string) result {
	t.Helper()
	return stock(t, dir, append([]string{"--build-arg=BUILDKIT_SYNTAX=" + images.frontend}, args...)...)
}

// stock runs "buildx build" with what the Dockerfile itself asks for, by default
// upstream's frontend, the daemon's own.
func stock(t *testing.T, dir string, args ...string) result {
	t.Helper()
	cmd := world.Buildx(t.Context(), append(append([]string{"build", "--progress=plain"}, args...), dir)...)
	return output(cmd)
}

func output(cmd *exec.Cmd) result {
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	err := cmd.Run()
	return result{oneWord(log.String()), err}
}

// oneWord gives an error of a build the same first words each time: whichever of
// two goroutines of BuildKit's client is first has put its own there.
func oneWord(text string) string {
	return strings.ReplaceAll(text, "failed to run Build function: ", "failed to solve: ")
}

// steps runs a build with our frontend and returns its vertices, by name, with
// what came of each at last.
func steps(t *testing.T, dir string, args ...string) (map[string]client.Vertex, result) {
	t.Helper()
	args = append([]string{"build", "--build-arg=BUILDKIT_SYNTAX=" + images.frontend}, args...)
	r := output(world.Buildx(t.Context(), append(args, "--progress=rawjson", dir)...))
	found := map[string]client.Vertex{}
	for line := range strings.Lines(r.log) {
		var status client.SolveStatus
		if json.Unmarshal([]byte(line), &status) == nil {
			for _, v := range status.Vertexes {
				found[v.Name] = *v
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no vertices in the log\n%s", r.log)
	}
	return found, r
}

// ran are the names of the RUN steps that started.
func ran(found map[string]client.Vertex) []string {
	var names []string
	for name, v := range found {
		if v.Started != nil && regexp.MustCompile(`\] RUN `).MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// files builds with our frontend and returns the directory that it put out.
func files(t *testing.T, dir string, args ...string) (string, result) {
	t.Helper()
	out := t.TempDir()
	r := build(t, dir, append(args, "--output=type=local,dest="+out)...).passed(t)
	return out, r
}

// read is the content of a file.
func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// run runs the CLI with variables of its own; it knows the lab's builder.
func run(t *testing.T, env []string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), cli, args...)
	cmd.Env = append(world.Env(), env...)
	return output(cmd)
}

// with is the flag that hands the deps context dir to a build.
func with(dir string) string { return "--build-context=hermetic=" + dir }

// copyDir copies a directory into a new one, no file of it shared.
func copyDir(t *testing.T, src string) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dst, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(name, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dst
}
