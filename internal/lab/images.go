package lab

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// imageCache remembers the references of [Lab.Image]. Between runs the registry
// remembers: an image is made anew, which is cheap, and sent only if it changed.
type imageCache struct {
	sync.Mutex
	refs map[string]string
}

// Image makes the image called name, pushes it to the lab's registry and returns
// its reference, "127.0.0.1:port/name:latest@sha256:…"; what comes before the
// "@" names it without pinning it. The names are
//
//	busybox     Debian's static busybox: sh, nslookup, wget, nc and the other
//	            applets in /bin; users root and user (1000:1000)
//	golang      busybox and this machine's Go in /usr/local/go
//	rust        busybox, this machine's Rust in /usr/local/rust, and of its gcc what
//	            links; no C compiler
//	node        busybox, this machine's node in /usr/local/bin, and its npm
//	python      Debian of this machine's release with its python3, pip and venv;
//	            made once with mmdebstrap
//	frontend    this repository's frontend, built from the work tree by `make image`
//	dockerfile  upstream's Dockerfile frontend of the BuildKit in go.mod
//
// all for the platform of this machine alone, except frontend.
func (l *Lab) Image(ctx context.Context, name string) (string, error) {
	l.images.Lock()
	defer l.images.Unlock()
	if ref, ok := l.images.refs[name]; ok {
		return ref, nil
	}
	ref, err := l.image(ctx, name)
	if err != nil {
		return "", err
	}
	if l.images.refs == nil {
		l.images.refs = map[string]string{}
	}
	l.images.refs[name] = ref
	return ref, nil
}

func (l *Lab) image(ctx context.Context, name string) (string, error) {
	switch name {
	case "frontend":
		if err := run(ctx, l.repo, "make", "-s", "image"); err != nil {
			return "", err
		}
		return l.push(ctx, name, filepath.Join(l.repo, "dist", "hermetic-frontend.oci.tar"))
	case "dockerfile":
		binary := l.path("images", "dockerfile-frontend")
		err := run(ctx, l.repo, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags=-s -w -buildid=", "-o", binary,
			"github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend")
		if err != nil {
			return "", err
		}
		return l.PushImage(ctx, name, ocitar.Frontend(platform(), "bin/dockerfile-frontend", binary))
	}
	img, err := l.Base(name)
	if err != nil {
		return "", err
	}
	return l.PushImage(ctx, name, img)
}

// PushImage writes images, one per platform, and pushes them to the lab's
// registry under name; the reference is as that of [Lab.Image].
func (l *Lab) PushImage(ctx context.Context, name string, images ...ocitar.Image) (string, error) {
	dir, err := os.MkdirTemp(l.path("images"), "push-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if _, err := ocitar.WriteLayout(dir, images...); err != nil {
		return "", fmt.Errorf("lab: image %s: %w", name, err)
	}
	return l.push(ctx, name, dir)
}

func (l *Lab) push(ctx context.Context, name, path string) (string, error) {
	ref := l.registry + "/" + name + ":latest"
	d, err := ocitar.Push(ctx, path, ref)
	if err != nil {
		return "", fmt.Errorf("lab: image %s: %w", name, err)
	}
	return ref + "@" + d.String(), nil
}

// Base returns what the image called busybox, golang, node, rust or python is made of, for a
// test that wants a variant of it, such as one with ONBUILD triggers.
func (l *Lab) Base(name string) (ocitar.Image, error) {
	switch name {
	case "busybox":
		return busyboxImage()
	case "golang":
		return golangImage(l.repo)
	case "node":
		return nodeImage(l.repo)
	case "rust":
		return rustImage(l.repo)
	case "python":
		return l.pythonImage()
	}
	return ocitar.Image{}, fmt.Errorf("lab: no image called %q", name)
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func busyboxImage() (ocitar.Image, error) {
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return ocitar.Image{}, fmt.Errorf("lab: %s --list: %w", busybox, err)
	}
	dir := func(name string, perm fs.FileMode) ocitar.File {
		return ocitar.File{Name: name, Mode: fs.ModeDir | perm}
	}
	files := []ocitar.File{
		{Name: "bin/busybox", Mode: 0o755, Source: busybox},
		{Name: "usr/bin/env", Mode: fs.ModeSymlink, Target: "/bin/busybox"},
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nwheel:x:10:\nuser:x:1000:\n")},
		{Name: "home/user", Mode: fs.ModeDir | 0o755, UID: 1000, GID: 1000},
		dir("root", 0o700),
		dir("tmp", fs.ModeSticky|0o777),
		dir("var/tmp", fs.ModeSticky|0o777),
		dir("usr/local/bin", 0o755),
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			files = append(files, ocitar.File{Name: "bin/" + applet, Mode: fs.ModeSymlink, Target: "busybox"})
		}
	}
	img := ocitar.Image{Platform: platform(), Layers: []ocitar.Layer{ocitar.Files(files...).Uncompressed()}}
	img.Config.Env = []string{"PATH=" + defaultPath}
	img.Config.Cmd = []string{"sh"}
	img.Config.WorkingDir = "/"
	return img, nil
}

// golangImage is for builds, so it leaves out what only tests of Go itself read.
func golangImage(repo string) (ocitar.Image, error) {
	cmd := exec.Command("go", "env", "GOROOT")
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		return ocitar.Image{}, fmt.Errorf("lab: go env GOROOT: %w", err)
	}
	goroot := strings.TrimSpace(string(out))
	if goTool := filepath.Join(goroot, "bin", "go"); !static(goTool) {
		return ocitar.Image{}, fmt.Errorf("lab: %s: not a static binary, so it cannot run on busybox: install Go's own release", goTool)
	}
	img, err := busyboxImage()
	if err != nil {
		return ocitar.Image{}, err
	}
	unused := []string{"test", "doc", "api", "misc", "pkg/obj"}
	goLayer := ocitar.Tree(goroot, ocitar.TreeOptions{At: "usr/local/go", Skip: func(name string) bool {
		return slices.Contains(unused, name) || path.Base(name) == "testdata" || strings.HasSuffix(name, "_test.go")
	}})
	img.Layers = append(img.Layers,
		ocitar.Files(ocitar.File{Name: "go", Mode: fs.ModeDir | 0o777}).Uncompressed(),
		goLayer.Uncompressed())
	img.Config.Env = []string{"PATH=/go/bin:/usr/local/go/bin:" + defaultPath, "GOPATH=/go", "GOTOOLCHAIN=local"}
	img.Config.WorkingDir = "/go"
	return img, nil
}

// pythonImage is made by this machine's apt, from wherever that gets packages.
func (l *Lab) pythonImage() (ocitar.Image, error) {
	tarball := l.path("images", "python.tar")
	if _, err := os.Stat(tarball); err != nil {
		release, err := os.ReadFile("/etc/os-release")
		if err != nil {
			return ocitar.Image{}, fmt.Errorf("lab: %w", err)
		}
		_, suite, _ := strings.Cut(string(release), "\nVERSION_CODENAME=")
		suite, _, _ = strings.Cut(suite, "\n")
		fresh := tarball + ".new.tar"
		err = run(context.Background(), l.repo, "mmdebstrap", "--quiet", "--variant=minbase",
			"--include=python3,python3-pip,python3-venv,python3-setuptools,python3-wheel", suite, fresh)
		if err == nil {
			err = os.Rename(fresh, tarball)
		}
		if err != nil {
			return ocitar.Image{}, err
		}
	}
	img := ocitar.Image{Platform: platform(), Layers: []ocitar.Layer{ocitar.Tarball(tarball).Uncompressed()}}
	img.Config.Env = []string{"PATH=" + defaultPath}
	img.Config.WorkingDir = "/"
	return img, nil
}

func platform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// run runs a command in dir; its output is in the error.
func run(ctx context.Context, dir string, argv ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("lab: %s: %w\n%s", strings.Join(argv, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
