package main

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/hermetic-build/hermetic/internal/lab"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// scripts stand in for programs that the images of the names below have and
// Debian's busybox does not.
//
//go:embed seed
var scripts embed.FS

// programs are this machine's, put into the image called alpine with the
// libraries they need. In a real one `apk add` would bring them.
var programs = []string{"git", "ssh-add", "mkfs.ext4"}

// seeds makes the images that the suite takes from its registry mirror; their
// names are those of its tests. None of them is the image of that name, but all
// have what the tests ask of it.
func seeds(l *lab.Lab, scratch string) (map[string]ocitar.Image, error) {
	base, err := busybox(l)
	if err != nil {
		return nil, err
	}
	tree := filepath.Join(scratch, "alpine")
	for _, name := range programs {
		if err := copyProgram(tree, name); err != nil {
			return nil, err
		}
	}
	alpine := with(base,
		ocitar.Tree(tree, ocitar.TreeOptions{}),
		ocitar.Files(append(script("sbin/apk", "usr/bin/ssh", "usr/bin/ssh-keyscan"),
			ocitar.File{Name: "etc/alpine-release", Mode: 0o644, Data: []byte("3.18.0\n")})...))
	hellofs := with(ocitar.Image{Platform: base.Platform}, ocitar.Files(script("hellofs")...))
	return map[string]ocitar.Image{
		"library/busybox:latest":              base,
		"library/busybox:stable-musl":         base,
		"library/alpine:latest":               alpine,
		"amd64/debian:bullseye-20230109-slim": base,
		"tonistiigi/hellofs:latest":           hellofs,
	}, nil
}

// The users and groups that tests know.
const (
	passwd = "root:x:0:0:root:/root:/bin/sh\n" +
		"daemon:x:1:1:daemon:/usr/sbin:/bin/false\n" +
		"nobody:x:65534:65534:nobody:/home:/bin/false\n"
	group = "root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nnobody:x:65534:\n"
)

// busybox is the lab's, with a layer that is compressed, as tests expect of an
// image, and the users of the tests.
func busybox(l *lab.Lab) (ocitar.Image, error) {
	img, err := l.Base("busybox")
	if err != nil {
		return ocitar.Image{}, err
	}
	img.Layers = nil
	out, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return ocitar.Image{}, fmt.Errorf("busybox: %w", err)
	}
	files := append(script("bin/adduser", "bin/addgroup"),
		ocitar.File{Name: "bin/busybox", Mode: 0o755, Source: "/bin/busybox"},
		ocitar.File{Name: "etc/passwd", Mode: 0o644, Data: []byte(passwd)},
		ocitar.File{Name: "etc/group", Mode: 0o644, Data: []byte(group)},
		ocitar.File{Name: "root", Mode: fs.ModeDir | 0o700},
		ocitar.File{Name: "mnt", Mode: fs.ModeDir | 0o755},
		ocitar.File{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			files = append(files, ocitar.File{Name: "bin/" + applet, Mode: fs.ModeSymlink, Target: "busybox"})
		}
	}
	return with(img, ocitar.Files(files...)), nil
}

// with is the image with more layers on top.
func with(img ocitar.Image, layers ...ocitar.Layer) ocitar.Image {
	img.Layers = slices.Concat(img.Layers, layers)
	return img
}

// script makes the files of an image from the scripts of the same base names.
func script(names ...string) []ocitar.File {
	var files []ocitar.File
	for _, name := range names {
		data, err := scripts.ReadFile("seed/" + path.Base(name))
		if err != nil {
			panic(err) // it is compiled in
		}
		files = append(files, ocitar.File{Name: name, Mode: 0o755, Data: data})
	}
	return files
}

// library is one line of ldd's output: a library, or the loader.
var library = regexp.MustCompile(`(?m)^\s+(?:\S+ => )?(/\S+) \(0x`)

// copyProgram puts a program of this machine and the libraries that it is
// linked to below root, at the paths they have here.
func copyProgram(root, name string) error {
	file, err := lookPath(name)
	if err != nil {
		return err
	}
	out, err := exec.Command("ldd", file).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", file, err)
	}
	files := []string{file}
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		files = append(files, m[1])
	}
	for _, file := range files {
		if err := copyFile(filepath.Join(root, file), file); err != nil {
			return err
		}
	}
	return nil
}

// lookPath finds a program, also where those for administrators are.
func lookPath(name string) (string, error) {
	for _, at := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if file, err := exec.LookPath(at); err == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: not found: run: tools/setup.sh", name)
}

func copyFile(to, from string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

const mirrorConfig = `version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: %s
http:
  addr: 127.0.0.1:0
`

// seed brings the images into the registry below dir, which stays for the next
// run: what it has is not written again.
func seed(ctx context.Context, l *lab.Lab, dir string) (err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "seed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	images, err := seeds(l, scratch)
	if err != nil {
		return err
	}
	host, stop, err := serve(ctx, l.Bin("registry"), dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for name, img := range images {
		layout := filepath.Join(scratch, strings.ReplaceAll(name, ":", "/"))
		if _, err := ocitar.WriteLayout(layout, img); err != nil {
			return err
		}
		if _, err := ocitar.Push(ctx, layout, host+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// listening is how a registry says which port it got.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// serve starts a registry on a free port of loopback.
func serve(ctx context.Context, registry, dir string) (host string, stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "seed.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, mirrorConfig, filepath.Join(dir, "data")), 0o644); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, registry, "serve", config)
	cmd.Env = []string{"OTEL_TRACES_EXPORTER=none"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return nil
	}
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, log)
			return m[1], stop, nil
		}
	}
	return "", nil, errors.Join(fmt.Errorf("registry: %s: ended\n%s", dir, said.String()), stop())
}

// copyMirror makes a registry of the seeds alone for one run of the suite, which
// adds to it.
func copyMirror(to, from string) error {
	if err := os.CopyFS(filepath.Join(to, "data"), os.DirFS(filepath.Join(from, "data"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
