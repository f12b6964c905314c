package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

const source = "package main\n\nfunc main() { println(\"frontend\") }\n"

// compile builds a small stand-in for the frontend, with the flags of the
// Makefile, in a directory of its own.
func compile(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": source, "go.mod": "module example.com/standin\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "out", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "out")
}

// TestSameImageFromAnotherPlace builds twice, from sources at two paths, and
// wants one digest.
func TestSameImageFromAnotherPlace(t *testing.T) {
	seen := map[digest.Digest]bool{}
	for range 2 {
		out := filepath.Join(t.TempDir(), "dist", "frontend.oci.tar")
		args := []string{"linux/arm64=" + compile(t, "arm64"), "linux/amd64=" + compile(t, "amd64")}
		if err := run(options{out: out, kind: "frontend"}, args); err != nil {
			t.Fatal(err)
		}
		d, err := ocitar.Digest(out)
		if err != nil {
			t.Fatal(err)
		}
		seen[d] = true
	}
	if len(seen) != 1 {
		t.Errorf("two builds gave %v", seen)
	}
}

func TestRefusals(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no ELF here"), 0o755); err != nil {
		t.Fatal(err)
	}
	binary := compile(t, "amd64")
	tests := []struct{ arg, want string }{
		{binary, "want os/arch=file"},
		{"linux/amd64=" + text, "read as an ELF binary"},
		{"linux/amd64=" + text + "-gone", "no such file"},
		{"linux/arm64=" + binary, "built for EM_X86_64, not EM_AARCH64"},
		{"linux/a/b/c=" + binary, "invalid"},
	}
	for _, tt := range tests {
		err := run(options{out: filepath.Join(t.TempDir(), "out.tar"), kind: "cli"}, []string{tt.arg})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), tt.arg) {
			t.Errorf("%s: got error %v, want %q", tt.arg, err, tt.want)
		}
	}
	dynamic := fmt.Sprintf("linux/amd64=%s", interp(t, binary))
	err := run(options{out: filepath.Join(t.TempDir(), "out.tar"), kind: "cli"}, []string{dynamic})
	if err == nil || !strings.Contains(err.Error(), "not a static binary") {
		t.Errorf("got error %v", err)
	}
}

// TestDockerfile: Dockerfile.frontend makes the same image, so it must copy every
// package the frontend imports, and repeat the labels and the Makefile's flags.
func TestDockerfile(t *testing.T) {
	const root = "../.."
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	dockerfile, makefile := read("Dockerfile.frontend"), read("Makefile")
	cmd := exec.Command("go", "list", "-deps", "./cmd/hermetic-frontend")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	copied := regexp.MustCompile(`(?m)^COPY (\S+) (\S+)$`).FindAllStringSubmatch(dockerfile, -1)
	for pkg := range strings.FieldsSeq(string(out)) {
		dir, ours := strings.CutPrefix(pkg, "github.com/hermetic-build/hermetic/")
		if ours && !slices.ContainsFunc(copied, func(c []string) bool {
			return c[1] == c[2] && strings.HasPrefix(dir+"/", c[1]+"/")
		}) {
			t.Errorf("Dockerfile.frontend does not copy %s", dir)
		}
	}
	for name, value := range ocitar.Frontend(ocispec.Platform{}, "", "").Config.Labels {
		if want := fmt.Sprintf("%s=%q", name, value); !strings.Contains(dockerfile, want) {
			t.Errorf("Dockerfile.frontend lacks the label %s", want)
		}
	}
	version := regexp.MustCompile(`(?m)^VERSION \?= (.+)$`).FindStringSubmatch(makefile)
	if version == nil || !strings.Contains(dockerfile, "VERSION="+version[1]+"\n") {
		t.Errorf("Dockerfile.frontend does not have the Makefile's version %q", version)
	}
	for _, flags := range []string{"-trimpath -buildvcs=false", "-s -w -buildid= -X main.version=$"} {
		if !strings.Contains(dockerfile, flags) || !strings.Contains(makefile, flags) {
			t.Errorf("flags %q are not in both Dockerfile.frontend and Makefile", flags)
		}
	}
}

// interp copies an ELF binary with its first program header turned into
// PT_INTERP, which is what makes a binary need a loader.
func interp(t *testing.T, binary string) string {
	t.Helper()
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	const firstProgramHeader = 64 // right after the ELF64 header, as Go's linker puts it
	data[firstProgramHeader] = 3  // PT_INTERP, little-endian
	path := filepath.Join(t.TempDir(), "dynamic")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPolicy puts a policy into the image, and refuses one that the frontend
// would refuse.
func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	args := []string{"linux/amd64=" + compile(t, "amd64")}
	digests := map[digest.Digest]bool{}
	for _, tt := range []struct{ text, want string }{
		{"", ""}, // no policy
		{"level: pinned\n", ""},
		{"level: pined\n", "policy.yaml:1: level"},
	} {
		file := filepath.Join(dir, "policy.yaml")
		if err := os.WriteFile(file, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if tt.text == "" {
			file = ""
		}
		out := filepath.Join(t.TempDir(), "out.tar")
		err := run(options{out, "frontend", file}, args)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q: got %v", tt.text, err)
			}
			if _, err := os.Stat(out); err == nil {
				t.Errorf("%q: an image was written", tt.text)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := ocitar.Digest(out)
		if err != nil {
			t.Fatal(err)
		}
		digests[d] = true
	}
	if len(digests) != 2 {
		t.Errorf("the policy makes no difference: %v", digests)
	}
}
