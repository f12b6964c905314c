package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// builder is the name of the only builder in the lab's buildx configuration.
const builder = "lab"

// Buildx returns the command `docker buildx <args>` if there is a docker CLI,
// else `buildx <args>`, with the lab's builder selected. It knows no registry
// credentials, proxies or contexts of the user who runs it. Attestations, caches
// and outputs are those buildx has by default: without --output a build leaves
// its result in buildkitd's cache alone.
func (l *Lab) Buildx(ctx context.Context, args ...string) *exec.Cmd {
	name := l.Bin("buildx")
	if docker, err := exec.LookPath("docker"); err == nil {
		name = docker
		args = append([]string{"buildx"}, args...)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = l.Env()
	return cmd
}

// Env is the environment of this process with the lab's builder, daemon and
// programs in it and without what would choose others.
func (l *Lab) Env() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "DOCKER_") || strings.HasPrefix(name, "BUILDX_") ||
			strings.HasPrefix(name, "BUILDKIT_") || strings.HasPrefix(name, "OTEL_")
	})
	return append(env,
		"DOCKER_CONFIG="+l.path("docker"),
		"BUILDX_CONFIG="+l.path("buildx"),
		"BUILDX_BUILDER="+builder,
		"BUILDKIT_HOST="+l.BuildkitAddr(),
		"HERMETIC_LAB_REGISTRY="+l.registry,
		"PATH="+os.Getenv("PATH")+string(filepath.ListSeparator)+l.path("bin"),
	)
}

// setupBuildx writes the docker and buildx configurations from scratch.
func (l *Lab) setupBuildx(ctx context.Context) error {
	plugins := l.path("docker", "cli-plugins")
	for _, dir := range []string{l.path("docker"), l.path("buildx")} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(l.Bin("buildx"), filepath.Join(plugins, "docker-buildx")); err != nil {
		return err
	}
	cmd := l.Buildx(ctx, "create", "--name", builder, "--driver", "remote", l.BuildkitAddr())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: buildx create: %w\n%s", err, out)
	}
	return nil
}
