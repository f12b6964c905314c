// Package lab runs the real parts a build goes through, on loopback: buildkitd
// with runc, a registry, and buildx, none of them preinstalled and none of them
// the machine's own. Tests, the benchmark and the demo share it.
//
// [Start] brings it up and [Lab.Close] takes it down; [Lab.Image] gives a base
// image to build on, [Lab.PushImage] one of the caller's own making, [Lab.Buildx]
// a build to run. Everything is below one directory, by default .lab in the
// repository, else what HERMETIC_LAB names:
//
//	bin/        buildkitd buildctl buildx registry, built by `make tools`
//	buildkit/   buildkitd's root: its cache outlives a run, see [Lab.Prune]
//	registry/   the registry's blobs, and the port it had last
//	images/     what images are made in
//	docker/     DOCKER_CONFIG with buildx as a plugin
//	buildx/     BUILDX_CONFIG with one builder
//	run/        sockets, configuration and logs of the running daemons
//
// One user at a time has the lab: a second Start, in this process or another,
// waits for the first one's daemons to be gone, also when that process was
// killed. So a test binary starts it once, or closes it before it starts it again.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options for [Start]; the zero value is what a test wants.
type Options struct {
	// Dir holds all state of the lab; "" means HERMETIC_LAB, else .lab in the
	// repository of the working directory.
	Dir string
	// Log receives one line when Start has to wait for another process; nil
	// means standard error.
	Log io.Writer
}

// Lab is a running lab. Its methods may be called by several goroutines.
type Lab struct {
	dir      string
	repo     string
	registry string // host:port
	lock     *os.File
	running  []*process // in the order they were started
	images   imageCache
}

// shutdown is how long a daemon may take to stop when asked kindly; cutting it
// short loses nothing but the builds still running.
const shutdown = 3 * time.Second

// Start takes the lab for this process and starts its daemons; it returns when
// they answer. The daemons end with [Lab.Close], or when this process ends
// however it ends. A machine that lacks something gets one error that names all
// of it and the command that helps.
func Start(ctx context.Context, opts Options) (_ *Lab, err error) {
	repo, err := findRepo()
	if err != nil {
		return nil, err
	}
	dir, err := findDir(opts.Dir, repo)
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: dir, repo: repo}
	if err := l.checkMachine(); err != nil {
		return nil, err
	}
	for _, sub := range []string{"run", "images", "buildkit", "registry"} {
		if err := os.MkdirAll(l.path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	if opts.Log == nil {
		opts.Log = os.Stderr
	}
	if l.lock, err = lock(ctx, l.path("lock"), opts.Log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err = l.startRegistry(ctx); err != nil {
		return nil, err
	}
	if err = l.startBuildkit(ctx); err != nil {
		return nil, err
	}
	return l, l.setupBuildx(ctx)
}

// Close stops the daemons, in the reverse of the order they were started, and
// gives the lab free. What runs in it, builds included, ends.
func (l *Lab) Close() error {
	for _, p := range slices.Backward(l.running) {
		p.stop(shutdown)
	}
	l.running = nil
	l.removeCgroups()
	if l.lock == nil {
		return nil
	}
	err := l.lock.Close()
	l.lock = nil
	return err
}

// BuildkitAddr is the address of buildkitd, "unix:///…", for BUILDKIT_HOST,
// buildctl --addr and client.New.
func (l *Lab) BuildkitAddr() string { return "unix://" + l.socket() }

// RegistryHost is the "127.0.0.1:port" that image references begin with. It
// stays the same from run to run while that port is free.
func (l *Lab) RegistryHost() string { return l.registry }

// Bin is the path of one of the lab's programs: buildkitd, buildctl, buildx or
// registry.
func (l *Lab) Bin(name string) string { return l.path("bin", name) }

// Dir is the directory that holds everything of the lab.
func (l *Lab) Dir() string { return l.dir }

// Repo is the root of the repository the lab was started from.
func (l *Lab) Repo() string { return l.repo }

// DaemonLog is the file that buildkitd logs to, anew with each [Start].
func (l *Lab) DaemonLog() string { return l.path("run", "buildkitd.log") }

func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.dir}, elem...)...)
}

func (l *Lab) socket() string { return l.path("run", "buildkitd.sock") }

// findRepo walks up from the working directory to the module of this package:
// a test runs in the directory of its own package.
func findRepo() (string, error) {
	const module = "module github.com/hermetic-build/hermetic\n"
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), module) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("lab: %s: not in the repository", wd)
		}
	}
}

// maxSocketPath is the longest path a unix socket can have, see unix(7).
const maxSocketPath = 107

func findDir(dir, repo string) (string, error) {
	if dir == "" {
		dir = os.Getenv("HERMETIC_LAB")
	}
	if dir == "" {
		dir = filepath.Join(repo, ".lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if longest := filepath.Join(dir, "run", "buildkitd.sock"); len(longest) > maxSocketPath {
		return "", fmt.Errorf("lab: %s: too long a path for a unix socket: set HERMETIC_LAB to a shorter directory", dir)
	}
	return dir, nil
}
