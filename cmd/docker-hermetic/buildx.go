package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// A builder is what carries a build out: a command line that "build …" is
// appended to, else a BuildKit daemon.
type builder struct {
	command []string
	host    string
}

// pluginDirs are where docker looks for plugins of the whole system
// (github.com/docker/cli/cli-plugins/manager).
var pluginDirs = []string{
	"/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
	"/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins",
}

// findBuilder finds buildx, through docker or on its own, else BUILDKIT_HOST.
func (p *program) findBuilder(ctx context.Context) (builder, error) {
	if docker, err := exec.LookPath(p.docker[0]); err == nil {
		command := append(append([]string{docker}, p.docker[1:]...), "buildx")
		probe := exec.CommandContext(ctx, command[0], append(command[1:], "version")...)
		probe.Env = p.childEnv()
		if probe.Run() == nil {
			return builder{command: command}, nil
		}
	}
	for _, name := range []string{"buildx", "docker-buildx"} {
		if path, err := exec.LookPath(name); err == nil {
			return builder{command: []string{path}}, nil
		}
	}
	for _, dir := range p.pluginDirs() {
		if path, err := exec.LookPath(filepath.Join(dir, "docker-buildx")); err == nil {
			return builder{command: []string{path}}, nil
		}
	}
	if host := p.env["BUILDKIT_HOST"]; host != "" {
		return builder{host: host}, nil
	}
	return builder{}, trouble("no docker buildx, no buildx and no BUILDKIT_HOST: there is nothing to build with",
		"install the docker-buildx plugin, or set BUILDKIT_HOST to the address of a BuildKit daemon")
}

// pluginDirs are where docker looks for the plugins of this user.
func (p *program) pluginDirs() []string {
	var dirs []string
	if config := p.env["DOCKER_CONFIG"]; config != "" {
		dirs = append(dirs, filepath.Join(config, "cli-plugins"))
	}
	if home := p.env["HOME"]; home != "" {
		dirs = append(dirs, filepath.Join(home, ".docker", "cli-plugins"))
	}
	return append(dirs, pluginDirs...)
}

// childEnv is the environment of programs that we start.
func (p *program) childEnv() []string {
	env := make([]string, 0, len(p.env))
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		if !slices.Contains(pluginVariables, name) {
			env = append(env, name+"="+p.env[name])
		}
	}
	return env
}

// A child is a program that we start.
type child struct {
	argv []string
	env  []string // more of the environment, "NAME=VALUE"
}

// runBuildx runs a program on our own standard streams and passes its exit code
// on. The signal that ends ctx is passed to it, and it is waited for: it has a
// build to end.
func (p *program) runBuildx(ctx context.Context, c child) error {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, p.stderr
	cmd.Env = append(p.childEnv(), c.env...)
	cmd.Cancel = func() error {
		if runtime.GOOS == "windows" {
			return cmd.Process.Kill()
		}
		if i, ok := errors.AsType[*interruption](context.Cause(ctx)); ok {
			return cmd.Process.Signal(i.signal)
		}
		return cmd.Process.Signal(os.Interrupt) // docker ends its plugins
	}
	err := cmd.Run()
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		if err != nil && context.Cause(ctx) != nil {
			return exited(128 + int(syscall.SIGINT)) // it ended well all the same
		}
		return err
	}
	if code := e.ExitCode(); code >= 0 {
		return exited(code)
	}
	if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exited(128 + int(status.Signal()))
	}
	return fmt.Errorf("%s: %v", filepath.Base(c.argv[0]), e)
}
