package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/internal/lab"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

const (
	// upstream is the package whose tests are the suite.
	upstream = "github.com/moby/buildkit/frontend/dockerfile"
	// every selects all tests, on the worker that runs without containerd.
	every = "^" + root + "$/^Test/^worker=oci$/"
	// longest is after how long a run is given up.
	longest = "25m"
)

// enter prepares the namespaces of a run. No test sends anything beyond the
// machine: there is loopback, and an eth0 that tests look at and that leads
// nowhere. The daemons do not see how BuildKit is configured on the machine.
const enter = `set -e
/bin/busybox ip link set lo up
/bin/busybox ip link add eth0 type veth
if [ -d /etc/buildkit ]; then mount -t tmpfs tmpfs /etc/buildkit; fi
exec "$@"`

// compile builds the test binary, if it is not there already, below dir.
func compile(ctx context.Context, repo, dir string) (string, error) {
	module := filepath.Join(repo, "test", "conformance", "suite")
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	fmt.Fprintln(h, runtime.Version())
	binary := filepath.Join(dir, fmt.Sprintf("suite-%.8x.test", h.Sum(nil)))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", binary, upstream)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go test -c %s: %w\n%s", upstream, err, out)
	}
	return binary, nil
}

// stockImage writes the image of upstream's frontend, in the version of go.mod.
func stockImage(ctx context.Context, l *lab.Lab, archive string) error {
	if _, err := l.Image(ctx, "dockerfile"); err != nil {
		return err
	}
	binary := filepath.Join(l.Dir(), "images", "dockerfile-frontend")
	platform := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	_, err := ocitar.Write(archive, ocitar.Frontend(platform, "bin/dockerfile-frontend", binary))
	return err
}

// A runner runs the suite.
type runner struct {
	lab    *lab.Lab
	dir    string // keeps the binary, the seeds and the logs between runs
	binary string
	mirror string // the registry of the seeds
}

// The names of the frontends' images.
const (
	stock     = "stock"
	ours      = "ours"
	excepting = "policy"
)

// A job is one run of the suite.
type job struct {
	name    string // of the file with what it prints
	image   string // name of the frontend's
	pattern string // of the tests
}

// run runs tests with a frontend. What they print stays in dir, in <name>.out.
// Failing tests are no error.
func (r *runner) run(ctx context.Context, j job) (column, error) {
	fmt.Fprintf(os.Stderr, "conformance: %s: running the tests\n", j.name)
	began := time.Now()
	// Sockets are made in it, whose names cannot be long.
	scratch, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return column{}, err
	}
	defer os.RemoveAll(scratch)
	mirror := filepath.Join(scratch, "mirror")
	if err := copyMirror(mirror, r.mirror); err != nil {
		return column{}, err
	}
	output, err := os.Create(filepath.Join(r.dir, j.name+".out"))
	if err != nil {
		return column{}, err
	}
	defer output.Close()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--",
		"sh", "-c", enter, "sh", r.binary, "-test.run="+j.pattern, "-test.v=test2json", "-test.timeout="+longest)
	cmd.Env = []string{
		"PATH=" + filepath.Join(r.lab.Dir(), "bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + scratch,
		"TMPDIR=" + scratch,
		"OTEL_TRACES_EXPORTER=none",
		"BUILDKIT_REGISTRY_MIRROR_DIR=" + mirror,
		"BUILDKIT_RUN_NETWORK_INTEGRATION_TESTS=1",
		"FRONTEND_GATEWAY_ONLY=local:" + r.image(j.image),
	}
	cmd.Dir = scratch
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runErr := cmd.Run()
	c, err := r.read(ctx, output)
	if err == nil && len(c.parts) == 0 {
		err = fmt.Errorf("%s: no test was run: %v", output.Name(), runErr)
	}
	c.took = time.Since(began)
	return c, errors.Join(err, ctx.Err())
}

// read turns the output of a test binary into a column.
func (r *runner) read(ctx context.Context, output *os.File) (column, error) {
	if _, err := output.Seek(0, io.SeekStart); err != nil {
		return column{}, err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json")
	cmd.Dir = r.lab.Repo()
	cmd.Stdin = output
	events, err := cmd.Output()
	if err != nil {
		return column{}, fmt.Errorf("test2json: %w", err)
	}
	c, err := parse(bytes.NewReader(events))
	if err != nil {
		return column{}, fmt.Errorf("%s: %w", output.Name(), err)
	}
	return c, nil
}

// pattern selects the tests that parts belong to, which are sorted.
func pattern(parts []string) string {
	var names []string
	for _, part := range parts {
		name, _, _ := strings.Cut(part, "/")
		names = append(names, name)
	}
	names = slices.Compact(names)
	return "^" + root + "$/^(" + strings.Join(names, "|") + ")$/^worker=oci$/"
}
