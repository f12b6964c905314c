package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

func TestExports(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	tests := []struct{ args, want string }{
		{".", ""},
		{"-o out .", "local dir=out"},
		{"-o type=local,dest=out .", "local dir=out"},
		{"-o - .", "tar file"},
		{"-o type=tar,dest=x.tar .", "tar file"},
		{"-o type=oci,dest=x.tar -t a -t b .", "oci file name=a,b"},
		{"-o type=oci,dest=x,tar=false .", "oci dir=x tar=false"},
		{"-o type=docker .", "docker file"},
		{"-o type=cacheonly .", ""},
		{"-t a .", "image name=a"},
		{"-t a --push .", "image name=a push=true"},
		{"-o type=registry,name=b .", "image name=b push=true"},
		{"-o type=image,compression=zstd -t a .", "image compression=zstd name=a"},
		{"-t a -o out --push .", "local dir=out; image name=a push=true"},
	}
	for _, tt := range tests {
		l, err := parseBuild(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		files := &outputFiles{stdout: new(strings.Builder)}
		entries, err := exports(l, files)
		files.discard()
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if got := describe(entries); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func describe(entries []client.ExportEntry) string {
	var out []string
	for _, e := range entries {
		parts := []string{e.Type}
		if e.OutputDir != "" {
			parts = append(parts, "dir="+e.OutputDir)
		}
		if e.Output != nil {
			parts = append(parts, "file")
		}
		for _, key := range []string{"compression", "name", "push", "tar"} {
			if v, ok := e.Attrs[key]; ok {
				parts = append(parts, key+"="+v)
			}
		}
		out = append(out, strings.Join(parts, " "))
	}
	return strings.Join(out, "; ")
}

func TestExportsErrors(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-o type=local .", "--output type=local: no dest=DIR"},
		{"-o type=oci,dest .", `--output type=oci,dest: "dest": want KEY=VALUE`},
		{"-o type=image,dest=x .", "--output type=image,dest=x: dest: images are pushed, not written"},
		{"-o type=oci,dest=no/such/x.tar .", "--output type=oci,dest=no/such/x.tar: no such file or directory"},
		{"--push .", "--push: no name to push to"},
	} {
		l, err := parseBuild(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		_, err = exports(l, &outputFiles{})
		if f, ok := errors.AsType[*fault](err); !ok || f.code != exitUsage || f.text != tt.want {
			t.Errorf("%s: error %v, want %s", tt.args, err, tt.want)
		}
	}
}

// TestOutputFiles holds files back until the build has succeeded.
func TestOutputFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.tar")
	files := &outputFiles{}
	var e client.ExportEntry
	if err := files.file(&e, name); err != nil {
		t.Fatal(err)
	}
	w, err := e.Output(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("whole")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there before the end of the build: %v", err)
	}
	if err := files.commit(); err != nil {
		t.Fatal(err)
	}
	files.discard()
	if data, err := os.ReadFile(name); err != nil || string(data) != "whole" {
		t.Errorf("content %q, error %v", data, err)
	}
}

func TestAttributes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := parseBuild([]string{"--build-arg", "A=1", "--build-arg", "B", "--build-arg", "C", "--label", "x=y", "--target", "t",
		"--platform", "linux/arm64/v8,local", "--network", "host", "--no-cache", "--pull", "--sbom", "generator=hermetic", "-f", filepath.Join(dir, "Dockerfile"),
		"--build-context", "Base=docker-image://example.com/base", dir})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{env: map[string]string{"B": "2"}}
	opt := &client.SolveOpt{FrontendAttrs: map[string]string{}, LocalMounts: map[string]fsutil.FS{}, OCIStores: map[string]content.Store{}}
	j := job{line: l, frontend: frontendImage{ref: "example.com/hermetic"}, deps: dir, input: "[]"}
	if err := errors.Join(p.attributes(opt, j), p.contexts(opt, j)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"build-arg:A": "1", "build-arg:B": "2", "build-arg:HERMETIC_INPUT": "[]", "label:x": "y", "target": "t",
		"platform": "linux/arm64," + ownPlatform(), "force-network-mode": "host", "no-cache": "", "image-resolve-mode": "pull",
		"attest:sbom": "generator=hermetic",
		"filename":    "Dockerfile", "context:base": "docker-image:example.com/base", "context:hermetic": "local:context-hermetic",
	}
	if diff := cmp.Diff(want, opt.FrontendAttrs); diff != "" {
		t.Errorf("attributes (-want +got)\n%s", diff)
	}
	for _, name := range []string{"context", "dockerfile", "context-hermetic"} {
		if opt.LocalMounts[name] == nil {
			t.Errorf("no directory %q", name)
		}
	}
}
