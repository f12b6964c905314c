package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// writeArchive writes an OCI archive with one small file.
func writeArchive(t *testing.T, path, content string) string {
	t.Helper()
	image := ocitar.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Layers:   []ocitar.Layer{ocitar.Files(ocitar.File{Name: "frontend", Mode: 0o755, Data: []byte(content)})},
	}
	d, err := ocitar.Write(path, image)
	if err != nil {
		t.Fatal(err)
	}
	return d.Encoded()
}

func TestUnpackFrontend(t *testing.T) {
	store, err := cache.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), archiveName)
	first := writeArchive(t, archive, "one")
	p := &program{env: map[string]string{"HERMETIC_FRONTEND": archive}}

	image, err := p.frontendImage("", store)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(store.Dir(), "frontends", first); image.ref != frontendContext || image.layout != want || image.digest.Encoded() != first {
		t.Fatalf("image %+v, want one in %s", image, want)
	}
	before := modTime(t, image.layout)

	// A second time it is found; a damaged one is unpacked again.
	if _, err := p.frontendImage("", store); err != nil {
		t.Fatal(err)
	}
	if modTime(t, image.layout) != before {
		t.Error("unpacked again though it was there")
	}
	if err := os.WriteFile(filepath.Join(image.layout, "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.frontendImage("", store); err != nil {
		t.Fatal(err)
	}
	if d, err := ocitar.Digest(image.layout); err != nil || d.Encoded() != first {
		t.Errorf("after damage: digest %v, error %v, want %s", d, err, first)
	}

	// Another archive under the same name is another image.
	second := writeArchive(t, archive, "two")
	if image, err = p.frontendImage("", store); err != nil || image.digest.Encoded() != second || first == second {
		t.Errorf("image %+v, error %v, want digest %s", image, err, second)
	}
	if left, _ := os.ReadDir(filepath.Join(store.Dir(), "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// The flag goes before the environment.
	if image, err = p.frontendImage("example.com/image:1", store); err != nil || image.ref != "example.com/image:1" || image.layout != "" {
		t.Errorf("image %+v, error %v", image, err)
	}
}

func modTime(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime().String()
}

func TestShippedArchive(t *testing.T) {
	for _, tt := range []struct{ exe, archive string }{
		{"hermetic", "hermetic-frontend.oci.tar"},
		{"bin/hermetic", "dist/hermetic-frontend.oci.tar"},
		{"bin/hermetic", "lib/hermetic/hermetic-frontend.oci.tar"},
	} {
		root := t.TempDir()
		for _, name := range []string{tt.exe, tt.archive} {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// docker runs a plugin by a link to it.
		link := filepath.Join(t.TempDir(), "docker-hermetic")
		if err := os.Symlink(filepath.Join(root, tt.exe), link); err != nil {
			t.Fatal(err)
		}
		got, err := shippedArchive(link)
		if want := filepath.Join(root, tt.archive); err != nil || got != want {
			t.Errorf("%s: archive %q, error %v, want %q", tt.exe, got, err, want)
		}
	}
	exe := filepath.Join(t.TempDir(), "hermetic")
	if err := os.WriteFile(exe, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := shippedArchive(exe); err == nil || !strings.HasPrefix(err.Error(), "no frontend image: ") {
		t.Errorf("error %v, want no frontend image", err)
	}
}
