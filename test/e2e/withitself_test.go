package e2e

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFrontendBuiltWithItself builds Dockerfile.frontend, sealed, and compares
// the image with the one that make wrote. It is the longest test, and its file
// the last.
func TestFrontendBuiltWithItself(t *testing.T) {
	repo := world.Repo()
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "Dockerfile.frontend"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, repo, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"cache", "cmd/hermetic-frontend", "frontend", "llbgen"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(repo, name))); err != nil {
			t.Fatal(err)
		}
	}
	deps := prefetch(t, own, "--store="+filepath.Join(shared, "store"), dir)
	file := filepath.Join(t.TempDir(), "image.tar")
	build(t, dir, with(deps), "--file="+filepath.Join(dir, "Dockerfile.frontend"), "--build-arg=GO_IMAGE="+images.golang,
		"--provenance=false", "--output=type=oci,dest="+file).passed(t)
	img := openImage(t, file)

	out, _ := files(t, dir, with(deps), "--file="+filepath.Join(dir, "Dockerfile.frontend"), "--build-arg=GO_IMAGE="+images.golang)
	made := filepath.Join(repo, "bin", "frontend", "linux", runtime.GOARCH)
	want, err := sha256File(made)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sha256File(filepath.Join(out, "bin", "hermetic-frontend")); err != nil || got != want {
		t.Errorf("the program differs from %s: sha256 %s, %v", made, got, err)
	}
	dist := openImage(t, filepath.Join(repo, "dist", "hermetic-frontend.oci.tar"))
	if diff := cmp.Diff(dist.config.Config, img.config.Config); diff != "" {
		t.Errorf("the config differs (-dist +built):\n%s", diff)
	}
}
