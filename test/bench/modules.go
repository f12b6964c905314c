package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
)

// serve answers HTTP on a loopback port until the context ends.
func serve(ctx context.Context, h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	context.AfterFunc(ctx, func() { s.Close() })
	return "http://" + l.Addr().String(), nil
}

// spare is how many modules of the list may turn out not to be had.
const spare = 20

// realModule makes a project that requires n real modules, those of the module
// graph of this repository's tools, and fills a module cache with them to
// serve. The cache is the machine's own, so only the first run downloads.
func (b *bench) realModule(ctx context.Context, n int) (project, cache string, err error) {
	out, err := b.goTool(ctx, filepath.Join(b.lab.Repo(), "tools"), []string{"GOFLAGS="}, "list", "-m", "-f", "{{.Path}} {{.Version}}", "all")
	if err != nil {
		return "", "", err
	}
	var args []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && len(args) < n+spare {
			args = append(args, f[0]+"@"+f[1])
		}
	}
	// A module that cannot be had makes the command fail after all others.
	out, err = b.goTool(ctx, b.dir, nil, append([]string{"mod", "download", "-json"}, args...)...)
	mods, derr := downloaded(out)
	if len(mods) < n {
		return "", "", fmt.Errorf("%d of %d modules: %w", len(mods), n, errors.Join(err, derr))
	}
	mod := "module example.com/bench\n\ngo 1.21\n"
	for _, m := range mods[:n] {
		mod += "require " + m.Path + " " + m.Version + "\n"
	}
	project = filepath.Join(b.dir, fmt.Sprint("real-", n))
	if err := writeFiles(project, map[string]string{"go.mod": mod}); err != nil {
		return "", "", err
	}
	// The first command settles the versions and writes the sums of all go.mod
	// files that it reads, the second tells the sums of the zips.
	if _, err := b.goTool(ctx, project, nil, "mod", "download"); err != nil {
		return "", "", err
	}
	if out, err = b.goTool(ctx, project, nil, "mod", "download", "-json"); err != nil {
		return "", "", err
	}
	if mods, err = downloaded(out); err != nil {
		return "", "", err
	}
	sum, err := os.ReadFile(filepath.Join(project, "go.sum"))
	if err != nil {
		return "", "", err
	}
	for _, m := range mods {
		sum = fmt.Appendf(sum, "%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, m.Sum, m.Path, m.Version, m.GoModSum)
	}
	if err := writeFiles(project, map[string]string{"go.sum": string(sum)}); err != nil {
		return "", "", err
	}
	out, err = b.goTool(ctx, b.dir, nil, "env", "GOMODCACHE")
	return project, filepath.Join(strings.TrimSpace(string(out)), "cache", "download"), err
}

// download has this machine's module cache hold all that the go.sum of a project
// names. The go command alone leaves out what no package of the project needs.
func (b *bench) download(ctx context.Context, project string) error {
	if _, err := b.goTool(ctx, project, []string{"GOFLAGS="}, "mod", "download"); err != nil {
		return err
	}
	sums, err := os.ReadFile(filepath.Join(project, "go.sum"))
	if err != nil {
		return err
	}
	args := []string{"mod", "download"}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 3 && !strings.HasSuffix(f[1], "/go.mod") {
			args = append(args, f[0]+"@"+f[1])
		}
	}
	_, err = b.goTool(ctx, b.dir, []string{"GOFLAGS="}, args...)
	return err
}

// download is one module of "go mod download -json".
type download struct{ Path, Version, Sum, GoModSum, Error string }

// downloaded are those that could be had.
func downloaded(out []byte) ([]download, error) {
	var mods []download
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var m download
		if err := dec.Decode(&m); err != nil {
			return nil, err
		}
		if m.Error == "" {
			mods = append(mods, m)
		}
	}
	return mods, nil
}

// goTool runs the machine's go command.
func (b *bench) goTool(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"GOFLAGS=-mod=mod", "GOWORK=off"}, env...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return out, nil
}

// madeModules is a proxy of n made-up modules and a project that requires them.
func (b *bench) madeModules(ctx context.Context, n int) (project, url string, err error) {
	zips := map[string][]byte{}
	var mod, sum strings.Builder
	mod.WriteString("module example.com/made\n\ngo 1.21\n\nrequire (\n")
	for i := range n {
		m := module.Version{Path: fmt.Sprintf("example.com/m%05d", i), Version: "v1.0.0"}
		gomod := "module " + m.Path + "\n"
		data, h1, err := madeZip(m, gomod)
		if err != nil {
			return "", "", err
		}
		modSum, err := dirhash.Hash1([]string{"go.mod"}, openString(gomod))
		if err != nil {
			return "", "", err
		}
		zips["/"+m.Path+"/@v/v1.0.0.zip"] = data
		zips["/"+m.Path+"/@v/v1.0.0.mod"] = []byte(gomod)
		fmt.Fprintf(&mod, "\t%s %s\n", m.Path, m.Version)
		fmt.Fprintf(&sum, "%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version, h1, m.Path, m.Version, modSum)
	}
	mod.WriteString(")\n")
	project = filepath.Join(b.dir, fmt.Sprint("made-", n))
	if err := writeFiles(project, map[string]string{"go.mod": mod.String(), "go.sum": sum.String()}); err != nil {
		return "", "", err
	}
	url, err = serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := zips[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	}))
	return project, url, err
}

// madeZip is a module zip with a go.mod and 20 kB of text.
func madeZip(m module.Version, gomod string) ([]byte, string, error) {
	files := map[string]string{
		"go.mod": gomod,
		"m.go":   "package m\n\n// " + strings.Repeat(m.Path+" ", 1000) + "\n",
	}
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	var names []string
	for _, name := range []string{"go.mod", "m.go"} {
		full := m.String() + "/" + name
		w, err := z.Create(full)
		if err != nil {
			return nil, "", err
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return nil, "", err
		}
		names = append(names, full)
	}
	if err := z.Close(); err != nil {
		return nil, "", err
	}
	h1, err := dirhash.Hash1(names, func(name string) (r readCloser, err error) {
		return openString(files[strings.TrimPrefix(name, m.String()+"/")])(name)
	})
	return buf.Bytes(), h1, err
}

func writeFiles(dir string, files map[string]string) error {
	errs := []error{os.MkdirAll(dir, 0o755)}
	for name, data := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		errs = append(errs, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(data), 0o644))
	}
	return errors.Join(errs...)
}
