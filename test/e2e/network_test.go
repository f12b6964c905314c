package e2e

import (
	"bufio"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// A watch listens on every address of this machine, TCP and UDP, and remembers
// the first line of all that arrives.
type watch struct {
	port  string
	hosts []string // addresses of this machine

	mu   sync.Mutex
	seen []string
}

func newWatch(t *testing.T) *watch {
	t.Helper()
	tcp, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	udp, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	w := &watch{port: port, hosts: ownAddresses(t)}
	go w.accept(tcp)
	go w.receive(udp)
	return w
}

// ownAddresses are those of this machine: loopback's and, if there is one, the
// first of another interface.
func ownAddresses(t *testing.T) []string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var hosts []string
	beyond := false
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok:
		case ip.IP.IsLoopback():
			hosts = append(hosts, ip.IP.String())
		case !beyond && ip.IP.To4() != nil:
			hosts, beyond = append(hosts, ip.IP.String()), true
		}
	}
	return hosts
}

func (w *watch) saw(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, what)
}

// take returns what was seen so far and forgets it.
func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	w.seen = nil
	return seen
}

func (w *watch) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			line, _ := bufio.NewReader(conn).ReadString('\n')
			w.saw("tcp " + strings.TrimSpace(line))
			fmt.Fprint(conn, "HTTP/1.0 200 OK\r\n\r\nhello\n")
		}()
	}
}

// receive answers each datagram as a name server that knows no name.
func (w *watch) receive(c net.PacketConn) {
	buf := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		w.saw("udp")
		if n > 3 {
			buf[2], buf[3] = buf[2]|0x80, buf[3]&0xf0|3
			c.WriteTo(buf[:n], from)
		}
	}
}

// probe is a program that tries to get out in all ways it knows, with a label
// that tells the watch which step it was, and writes which of them are open.
func (w *watch) probe() string {
	return `#!/bin/sh
open=
for host in ` + strings.Join(w.hosts, " ") + `; do
	case $host in *:*) name=[$host] ;; *) name=$host ;; esac
	echo "$1" | nc -w 2 $host ` + w.port + ` >/dev/null 2>&1 && open="$open nc:$host"
	timeout 5 wget -q -O /dev/null http://$name:` + w.port + `/$1 2>/dev/null && open="$open wget:$host"
done
start=$(date +%s)
nslookup $1.example.com >/dev/null 2>&1 && open="$open name"
timeout 20 nslookup $1.example.com ` + w.hosts[0] + ":" + w.port + ` 2>&1 | grep -q NXDOMAIN && open="$open dns"
echo "$1: names took $(($(date +%s) - start)) s"
echo "${open:-shut}" >/probed/$1
`
}

// images makes base images that hold the probe; the second runs it when it is
// built upon.
func (w *watch) images(t *testing.T) (plain, onbuild string) {
	t.Helper()
	base, err := world.Base("busybox")
	if err != nil {
		t.Fatal(err)
	}
	base.Layers = append(base.Layers, ocitar.Files(
		ocitar.File{Name: "probe", Mode: 0o755, Data: []byte(w.probe())},
		ocitar.File{Name: "probed", Mode: fs.ModeDir | 0o777}))
	push := func(name string) string {
		ref, err := world.PushImage(t.Context(), name, base)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	plain = push("probe")
	base.Config.OnBuild = []string{"RUN --network=host /probe onbuild-host", `RUN ["/probe", "onbuild-exec"]`}
	return plain, push("probe-onbuild")
}

// probes is a Dockerfile that runs the probe in every form, in stages that build
// on each other and in one that does not.
const probes = `
-- Dockerfile --
FROM {probe} AS first
RUN /probe shell
RUN ["/probe", "exec"]
FROM first AS second
RUN <<EOF
/probe heredoc
EOF
RUN <<EOF
#!/bin/sh
/probe shebang
EOF
FROM {onbuild} AS third
RUN --network=host /probe host
RUN --network=host <<EOF
/probe host-heredoc
EOF
FROM {probe} AS fourth
ARG MODE=default
RUN --network=default /probe default
RUN --network=host --mount=type=bind,from=second,source=/probed,target=/before /probe mount
USER user
RUN /probe user
FROM scratch
COPY --from=second /probed /
COPY --from=third /probed /
COPY --from=fourth /probed /
`

// labels are the steps of probes; each leaves a file.
var labels = []string{
	"shell", "exec", "heredoc", "shebang", "onbuild-host", "onbuild-exec", "host", "host-heredoc", "default", "mount", "user",
}

func TestNothingGetsOut(t *testing.T) {
	w := newWatch(t)
	plain, onbuild := w.images(t)
	dir := project(t, strings.NewReplacer("{probe}", plain, "{onbuild}", onbuild).Replace(probes))
	deps := hermetoTree(t)

	t.Run("the watch sees what upstream's frontend lets out", func(t *testing.T) {
		out := t.TempDir()
		stock(t, dir, "--no-cache", "--network=host", "--allow=network.host", "--output=type=local,dest="+out).passed(t)
		wantProbes(t, out, func(got string) bool {
			return strings.Count(got, "nc:") == len(w.hosts) && strings.Count(got, "wget:") == len(w.hosts) && strings.Contains(got, "dns")
		})
		seen := w.take()
		for _, label := range labels {
			if !slices.Contains(seen, "tcp "+label) || !slices.Contains(seen, "tcp GET /"+label+" HTTP/1.1") || !slices.Contains(seen, "udp") {
				t.Errorf("the watch did not see %s in %q", label, seen)
			}
		}
	})
	for name, args := range map[string][]string{
		"as it is":                    nil,
		"with deps":                   {with(deps)},
		"--network=host":              {"--network=host"},
		"--allow network.host":        {"--allow=network.host"},
		"--network=host with --allow": {"--network=host", "--allow=network.host", "--allow=security.insecure"},
		"--network=none":              {"--network=none"},
		"--add-host":                  {"--add-host=shell.example.com:127.0.0.1"},
		"proxy args":                  {"--build-arg=http_proxy=http://127.0.0.1:" + w.port, "--build-arg=HTTPS_PROXY=http://127.0.0.1:" + w.port},
	} {
		t.Run("sealed "+name, func(t *testing.T) {
			out, r := files(t, dir, append(args, "--no-cache")...)
			wantProbes(t, out, func(got string) bool { return got == "shut\n" })
			for line := range strings.Lines(r.log) {
				if strings.Contains(line, "names took") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
	if seen := w.take(); len(seen) > 0 {
		t.Errorf("the watch saw %q", seen)
	}
}

// wantProbes checks what each step of probes found open.
func wantProbes(t *testing.T, dir string, good func(string) bool) {
	t.Helper()
	for _, label := range labels {
		if got := read(t, dir, label); !good(got) {
			t.Errorf("%s: %s", label, strings.TrimSpace(got))
		}
	}
}

// hermetoTree makes the least output directory that Hermeto can make.
func hermetoTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".build-config.json"), []byte(`{"environment_variables": [], "project_files": []}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// scanner is an image with a program that lists an image's contents: it runs a
// script, and puts out a document that lists nothing.
func scanner(t *testing.T, script string) (ref string) {
	t.Helper()
	base, err := world.Base("busybox")
	if err != nil {
		t.Fatal(err)
	}
	script += `
cat >$BUILDKIT_SCAN_DESTINATION/scan.spdx.json <<END
{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document",
 "predicate": {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "scan"}}
END
`
	base.Layers = append(base.Layers, ocitar.Files(
		ocitar.File{Name: "scan", Mode: 0o755, Data: []byte("#!/bin/sh\n" + strings.TrimPrefix(script, "#!/bin/sh\n"))},
		ocitar.File{Name: "probed", Mode: fs.ModeDir | 0o777}))
	base.Config.Entrypoint, base.Config.Cmd = []string{"/scan", "scanner"}, nil
	if ref, err = world.PushImage(t.Context(), "scanner", base); err != nil {
		t.Fatal(err)
	}
	return ref
}

// The program that lists an image's contents runs beside the build's own steps.
func TestScannerGetsNotOut(t *testing.T) {
	w := newWatch(t)
	ref := scanner(t, w.probe())
	dir := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN true\n")
	args := []string{"--no-cache", "--attest=type=sbom,generator=" + ref, "--output=type=oci,dest=" + filepath.Join(t.TempDir(), "image.tar")}
	stock(t, dir, args...).passed(t)
	if seen := w.take(); !slices.Contains(seen, "tcp scanner") {
		t.Errorf("with upstream's frontend the watch saw %q; this test would prove nothing", seen)
	}
	build(t, dir, args...).passed(t).says(t, "scanner: names took")
	if seen := w.take(); len(seen) > 0 {
		t.Errorf("the watch saw %q", seen)
	}
}

func TestWithinAStepTheNetworkWorks(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
RUN mkdir /www && echo page >/www/index.html && httpd -p 127.0.0.1:8080 -h /www && \
	wget -q -O /v4 http://127.0.0.1:8080/ && wget -q -O /name http://localhost:8080/
RUN httpd -p [::1]:8080 -h /www && wget -q -O /v6 http://[::1]:8080/
RUN ip -o link | wc -l >/links && ip route >/routes
FROM scratch
COPY --from=b /v4 /v6 /name /links /routes /
`)
	out, _ := files(t, dir, "--no-cache")
	for file, want := range map[string]string{"v4": "page\n", "v6": "page\n", "name": "page\n", "links": "1\n", "routes": ""} {
		if got := read(t, out, file); got != want {
			t.Errorf("%s: %q; want %q", file, got, want)
		}
	}
}

// A name is looked up in vain at once: who waits for a timeout in each step
// learns to hate sealed builds. Time is logged and not asserted, since machines
// differ; busybox's own patience is ten seconds.
func TestNamesFailAtOnce(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox}
RUN start=$(date +%s); ! nslookup example.com && echo "looked up for $(($(date +%s) - start)) s"
RUN start=$(date +%s); ! nslookup example.com 192.0.2.1 && echo "looked up for $(($(date +%s) - start)) s"
`)
	r := build(t, dir, "--no-cache").passed(t)
	for line := range strings.Lines(r.log) {
		if strings.Contains(line, "looked up for") || strings.Contains(line, "write to") {
			t.Log(strings.TrimSpace(line))
		}
	}
	r.says(t, "write to '127.0.0.1': Connection refused", "(192.0.2.1): Network is unreachable")
}
