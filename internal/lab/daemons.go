package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/buildkit/client"
)

// nowhere is an address of loopback where nothing listens (TCP port 1, tcpmux).
const nowhere = "http://127.0.0.1:1"

// daemonEnv is all the environment a daemon gets. The proxy leads nowhere: an
// image or a URL beyond loopback fails at once instead of leaving the machine.
func daemonEnv(home string) []string {
	return []string{
		"PATH=" + searchPath,
		"HOME=" + home,
		"OTEL_TRACES_EXPORTER=none",
		"OTEL_METRICS_EXPORTER=none",
		"HTTP_PROXY=" + nowhere,
		"HTTPS_PROXY=" + nowhere,
		"NO_PROXY=localhost,127.0.0.1,::1",
	}
}

const registryConfig = `version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %s
  delete:
    enabled: true
http:
  addr: %s
`

// startRegistry starts the registry, on the port of the run before if it is free.
func (l *Lab) startRegistry(ctx context.Context) error {
	portFile := l.path("registry", "port")
	last, _ := os.ReadFile(portFile)
	port, _ := strconv.Atoi(strings.TrimSpace(string(last)))
	// A free port may be taken between the look and the start: try another.
	for range 3 {
		addr, err := freeAddr(port)
		if err != nil {
			return err
		}
		port = 0
		config := l.path("run", "registry.yml")
		if err := os.WriteFile(config, fmt.Appendf(nil, registryConfig, l.path("registry", "data"), addr), 0o644); err != nil {
			return err
		}
		cmd := exec.Command(l.Bin("registry"), "serve", config)
		cmd.Env = daemonEnv(l.path("run"))
		p, err := l.start("registry", cmd)
		if err != nil {
			return err
		}
		err = p.ready(ctx, func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		if err == nil {
			l.registry = addr
			_, bound, _ := net.SplitHostPort(addr)
			return os.WriteFile(portFile, []byte(bound+"\n"), 0o644)
		}
		select {
		case <-p.done:
			l.running = l.running[:len(l.running)-1]
			if !strings.Contains(string(p.tail()), syscall.EADDRINUSE.Error()) {
				return err
			}
		default:
			return err
		}
	}
	return errors.New("lab: registry: no free port")
}

// freeAddr returns a free address on loopback, with the wanted port if it is free.
func freeAddr(want int) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(want)))
	if err != nil && want != 0 {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("lab: registry: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// buildkitConfig lets a build do whatever it asks for, host network and insecure
// mode included: when something is refused in a test it is the frontend that
// refused. With networkMode host an unsealed RUN reaches the loopback of the
// machine, which is how a test shows that a sealed one does not; the nameserver
// is one where nobody answers.
const buildkitConfig = `root = %q
insecure-entitlements = ["network.host", "security.insecure"]

[grpc]
  address = [%q]

[otel]
  socketPath = %q

[dns]
  nameservers = ["127.0.0.1"]

[worker.oci]
  enabled = true
  snapshotter = "auto"
  networkMode = "host"
  gc = false
  binary = %q
  defaultCgroupParent = "/%s"

[worker.containerd]
  enabled = false

[registry.%q]
  http = true
  insecure = true
`

// startBuildkit starts buildkitd in process and mount namespaces of its own, so
// that no container and no mount outlives it, however it ends.
func (l *Lab) startBuildkit(ctx context.Context) error {
	config := l.path("run", "buildkitd.toml")
	text := fmt.Appendf(nil, buildkitConfig, l.path("buildkit"), l.BuildkitAddr(),
		l.path("run", "otel-grpc.sock"), lookPath("runc"), l.cgroup(), l.registry)
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return err
	}
	if err := os.Remove(l.socket()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(lookPath("unshare"), "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--",
		l.Bin("buildkitd"), "--config", config)
	cmd.Env = daemonEnv(l.path("run"))
	p, err := l.start("buildkitd", cmd)
	if err != nil {
		return err
	}
	return p.ready(ctx, func(ctx context.Context) error {
		if _, err := os.Stat(l.socket()); err != nil {
			return err
		}
		c, err := client.New(ctx, l.BuildkitAddr())
		if err != nil {
			return err
		}
		defer c.Close()
		workers, err := c.ListWorkers(ctx)
		if err == nil && len(workers) == 0 {
			err = errors.New("no workers")
		}
		return err
	})
}

// cgroup is the parent of the containers' cgroups; no two labs running at the
// same time have the same.
func (l *Lab) cgroup() string {
	_, port, _ := net.SplitHostPort(l.registry)
	return "hermetic-lab-" + port
}

// removeCgroups removes the cgroups of containers that were killed, which runc
// had no time to. The kernel refuses to remove one that is in use.
func (l *Lab) removeCgroups() {
	if l.registry == "" {
		return
	}
	for _, below := range []string{"buildkit/*/", "*/", ""} {
		// Version 1 has a tree for each controller, version 2 one for all.
		for _, tree := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
			dirs, _ := filepath.Glob(filepath.Join(tree, l.cgroup(), below))
			for _, dir := range dirs {
				_ = syscall.Rmdir(dir)
			}
		}
	}
}

// Prune empties buildkitd's cache, for a cold build. Images and the registry stay.
func (l *Lab) Prune(ctx context.Context) error {
	c, err := client.New(ctx, l.BuildkitAddr())
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Prune(ctx, nil, client.PruneAll)
}
