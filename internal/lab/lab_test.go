package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// victim in the environment makes the test binary a process that starts a lab
// and a build and waits to be killed.
const victim = "LAB_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victim) != "" {
		if err := runVictim(context.Background()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
	if err := ownLab(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// ownLab has the tests of this package use a lab inside the one of all others,
// with its programs: those wait for the lab that a test here closes, and what is
// left of it would be theirs.
func ownLab() error {
	repo, err := findRepo()
	if err != nil {
		return err
	}
	dir, err := findDir("", repo)
	if err != nil {
		return err
	}
	own := filepath.Join(dir, "own")
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	bin := filepath.Join(own, "bin")
	if err := os.Symlink(filepath.Join(dir, "bin"), bin); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Setenv("HERMETIC_LAB", own)
}

func startLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func image(t *testing.T, l *Lab, name string) string {
	t.Helper()
	ref, err := l.Image(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// contextDir writes a Dockerfile into a new build context.
func contextDir(t *testing.T, dockerfile string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build runs a build and returns its files and what buildx printed.
func build(t *testing.T, l *Lab, dockerfile string, args ...string) (dir, log string) {
	t.Helper()
	out := t.TempDir()
	args = append([]string{"build", "--no-cache", "--progress=plain", "--provenance=false", "--output=" + out}, args...)
	text, err := l.Buildx(t.Context(), append(args, contextDir(t, dockerfile))...).CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	return out, string(text)
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if string(got) != want {
		t.Errorf("%s: got %q, want %q", filepath.Base(path), got, want)
	}
}

// TestBuild builds with upstream's frontend, taken by `# syntax=` from the
// lab's registry: one RUN that can reach the registry and one that cannot.
func TestBuild(t *testing.T) {
	l := startLab(t)
	url := "http://" + l.RegistryHost() + "/v2/"
	out, log := build(t, l, `# syntax=`+image(t, l, "dockerfile")+`
FROM `+image(t, l, "busybox")+` AS build
RUN wget -q -O - `+url+` >/open
RUN --network=none if wget -q -O - `+url+`; then exit 1; fi; ip -o link | wc -l >/links
USER user
RUN id -un >/tmp/user && stat -c %a /tmp >/tmp/mode && nslookup -h 2>&1 | grep -q Usage && which nc sh env
FROM scratch
COPY --from=build /open /links /tmp/user /tmp/mode /
`)
	if want := "resolve image config for docker-image://" + l.RegistryHost() + "/dockerfile"; !strings.Contains(log, want) {
		t.Errorf("the log does not say %q:\n%s", want, log)
	}
	wantFile(t, filepath.Join(out, "open"), "{}")
	wantFile(t, filepath.Join(out, "links"), "1\n")
	wantFile(t, filepath.Join(out, "user"), "user\n")
	wantFile(t, filepath.Join(out, "mode"), "1777\n")
}

// TestFrontendFromLayout takes the frontend from a layout directory that a named
// context points to, with no registry.
func TestFrontendFromLayout(t *testing.T) {
	l := startLab(t)
	image(t, l, "dockerfile") // compiles it
	layout := t.TempDir()
	digest, err := ocitar.WriteLayout(layout, ocitar.Frontend(platform(), "bin/dockerfile-frontend", l.path("images", "dockerfile-frontend")))
	if err != nil {
		t.Fatal(err)
	}
	out, log := build(t, l, "# syntax=example.com/frontend\nFROM scratch\nCOPY Dockerfile /\n",
		"--build-context", "example.com/frontend=oci-layout://"+layout+"@"+digest.String())
	if !strings.Contains(log, digest.String()) {
		t.Errorf("the log does not show the layout:\n%s", log)
	}
	if _, err := os.Stat(filepath.Join(out, "Dockerfile")); err != nil {
		t.Error(err)
	}
}

// TestVariant builds on an image of the caller's own making.
func TestVariant(t *testing.T) {
	l := startLab(t)
	base, err := l.Base("busybox")
	if err != nil {
		t.Fatal(err)
	}
	base.Config.OnBuild = []string{"RUN echo triggered >/triggered"}
	base.Layers = append(base.Layers, ocitar.Files(ocitar.File{Name: "extra", Mode: 0o644, Data: []byte("extra")}))
	ref, err := l.PushImage(t.Context(), "variant", base)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := l.PushImage(t.Context(), "variant", base)
		if err != nil || again != ref {
			t.Fatalf("pushed again: %s, %v; want %s", again, err, ref)
		}
	}
	name, want, _ := strings.Cut(ref, "@")
	if got, err := ocitar.Resolve(t.Context(), name); err != nil || got.String() != want {
		t.Errorf("the registry has %s, %v; want %s", got, err, want)
	}
	out, _ := build(t, l, "FROM "+name+" AS b\nFROM scratch\nCOPY --from=b /triggered /extra /\n")
	wantFile(t, filepath.Join(out, "triggered"), "triggered\n")
	wantFile(t, filepath.Join(out, "extra"), "extra")
}

func TestGolang(t *testing.T) {
	l := startLab(t)
	out, _ := build(t, l, `FROM `+image(t, l, "golang")+` AS b
RUN --network=none printf 'package main\nfunc main() { println("hello") }\n' >main.go && \
	go build -o /hello main.go && /hello 2>/said && go env GOTOOLCHAIN GOPATH >>/said
FROM scratch
COPY --from=b /said /
`)
	wantFile(t, filepath.Join(out, "said"), "hello\nlocal\n/go\n")
}

// TestNothingLeavesLoopback: neither the daemon nor a RUN on the host's network
// gets beyond the machine.
func TestNothingLeavesLoopback(t *testing.T) {
	l := startLab(t)
	for name, dockerfile := range map[string]string{
		"image": "FROM example.com/image\n",
		"add":   "FROM scratch\nADD http://example.com/file /\n",
		"https": "FROM scratch\nADD https://example.com/file /\n",
		"run":   "FROM " + image(t, l, "busybox") + "\nRUN wget http://example.com/file\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, err := l.Buildx(t.Context(), "build", "--progress=plain", "--no-cache", contextDir(t, dockerfile)).CombinedOutput()
			refused := regexp.MustCompile(`proxyconnect tcp: dial tcp 127\.0\.0\.1:1: connect: connection refused|bad address 'example\.com'`)
			if err == nil || !refused.Match(out) {
				t.Errorf("got %v\n%s", err, out)
			}
		})
	}
}

// TestRestart: port, references and buildkitd's cache survive, Prune empties it.
func TestRestart(t *testing.T) {
	ctx := t.Context()
	first := startLab(t)
	ref := image(t, first, "busybox")
	context := contextDir(t, "FROM "+ref+"\nRUN echo survive\n")
	if out, err := first.Buildx(ctx, "build", context).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := startLab(t)
	if got := second.RegistryHost(); got != first.RegistryHost() {
		t.Errorf("the registry moved from %s to %s", first.RegistryHost(), got)
	}
	if got := image(t, second, "busybox"); got != ref {
		t.Errorf("the reference was %s, now %s", ref, got)
	}
	out, err := second.Buildx(ctx, "build", "--progress=plain", context).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("CACHED")) {
		t.Errorf("not cached: %v\n%s", err, out)
	}
	if err := second.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(ctx, second.BuildkitAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if left, err := c.DiskUsage(ctx); err != nil || len(left) != 0 {
		t.Errorf("after Prune: %d records, %v", len(left), err)
	}
}

// sleepyBuild starts a build whose RUN sleeps for ever and returns when it does.
func sleepyBuild(ctx context.Context, l *Lab, seconds string) error {
	ref, err := l.Image(ctx, "busybox")
	if err != nil {
		return err
	}
	cmd := l.Buildx(ctx, "build", "--no-cache", "-")
	cmd.Stdin = strings.NewReader("FROM " + ref + "\nRUN sleep " + seconds + "\n")
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	for len(processes("sleep\x00"+seconds)) == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// processes returns the command lines on this machine that contain text, but not
// that of this process.
func processes(text string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err == nil && bytes.Contains(data, []byte(text)) && p != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return found
}

// wantGone waits for every process with text in its command line to end.
func wantGone(t *testing.T, text string) {
	t.Helper()
	var left []string
	for range 500 {
		if left = processes(text); len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("still running: %q", left)
}

func wantNoMounts(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("mounts left below %s:\n%s", dir, mounts)
	}
}

// TestCloseDuringBuild: with a build still running, Close leaves no process and no mount.
func TestCloseDuringBuild(t *testing.T) {
	l := startLab(t)
	if err := sleepyBuild(t.Context(), l, "86413"); err != nil {
		t.Fatal(err)
	}
	if len(processes(l.Dir())) == 0 {
		t.Fatal("the daemons cannot be seen: this test would prove nothing")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	wantGone(t, "sleep\x0086413")
	wantGone(t, l.Dir())
	wantNoMounts(t, l.Dir())
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		if left, _ := filepath.Glob(pattern + l.cgroup()); len(left) != 0 {
			t.Errorf("cgroups left: %v", left)
		}
	}
}

func runVictim(ctx context.Context) error {
	l, err := Start(ctx, Options{})
	if err != nil {
		return err
	}
	if err := sleepyBuild(ctx, l, "86414"); err != nil {
		return err
	}
	fmt.Println("ready")
	return nil
}

// TestKilled kills a process that has the lab with a build running; meanwhile
// another waits for the lab and gets it.
func TestKilled(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victim+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || said != "ready\n" {
		rest, _ := io.ReadAll(stdout)
		t.Fatalf("the other process said %q: %v\n%s", said, err, rest)
	}
	waiting, told := io.Pipe()
	var dir string
	next := make(chan error, 1)
	go func() {
		l, err := Start(t.Context(), Options{Log: told})
		if err == nil {
			dir = l.Dir()
			err = l.Close()
		}
		told.Close()
		next <- err
	}()
	if line, err := bufio.NewReader(waiting).ReadString('\n'); !strings.HasSuffix(line, "waiting\n") {
		t.Errorf("a second Start said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if err := <-next; err != nil {
		t.Fatalf("after the kill: %v", err)
	}
	wantGone(t, "sleep\x0086414")
	wantGone(t, dir)
}

func TestMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := Start(t.Context(), Options{Dir: dir})
	want := "lab: " + dir + ": missing: buildkitd, buildctl, buildx, registry: run: make tools"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant %s", err, want)
	}
	_, err = Start(t.Context(), Options{Dir: filepath.Join(dir, strings.Repeat("long", 30))})
	if err == nil || !strings.Contains(err.Error(), "too long a path for a unix socket") {
		t.Errorf("got error %v", err)
	}
}

func TestFreeAddr(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if got, err := freeAddr(port); err != nil || got == ln.Addr().String() {
		t.Errorf("a taken port: got %s, %v", got, err)
	}
	ln.Close()
	if got, err := freeAddr(port); err != nil || got != ln.Addr().String() {
		t.Errorf("a free port: got %s, %v; want %s", got, err, ln.Addr())
	}
}
