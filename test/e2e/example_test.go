package e2e

import (
	"bytes"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// own are the variables that make the CLI go by this machine's own settings.
var own []string

// TestExampleGo builds a program with 48 modules, which come from where this
// machine's go command has them from, in each way that there is to ask for the
// frontend.
func TestExampleGo(t *testing.T) {
	example := filepath.Join(world.Repo(), "examples", "go")
	store := filepath.Join(shared, "store")
	deps := prefetch(t, own, "--store="+store, example)
	image := "--build-arg=GO_IMAGE=" + images.golang
	into := func(dir string) string { return "--output=type=local,dest=" + dir }

	t.Run("by a syntax line", func(t *testing.T) {
		file := filepath.Join(project(t, "-- Dockerfile --\n# syntax={frontend}\n"+read(t, example, "Dockerfile")), "Dockerfile")
		out := t.TempDir()
		r := stock(t, example, "--file="+file, with(deps), image, into(out)).passed(t)
		wantInventory(t, filepath.Join(out, "inventory"))
		r.says(t, "[hermetic] verify and lay out 10")
	})
	t.Run("by BUILDKIT_SYNTAX", func(t *testing.T) {
		out, r := files(t, example, with(deps), image)
		wantInventory(t, filepath.Join(out, "inventory"))
		r.says(t, "[hermetic] verify and lay out 10")
	})
	t.Run("by hermetic build --frontend", func(t *testing.T) {
		out := t.TempDir()
		run(t, own, "build", "--store="+store, "--frontend="+images.frontend, "--progress=plain", image, into(out), example).passed(t)
		wantInventory(t, filepath.Join(out, "inventory"))
	})
	t.Run("by hermetic build with the archive that it comes with, offline", func(t *testing.T) {
		out := t.TempDir()
		env := []string{"GOPROXY=off", "HERMETIC_FRONTEND="}
		r := run(t, env, "build", "--offline", "--store="+store, "--progress=plain", image, into(out), example).passed(t)
		wantInventory(t, filepath.Join(out, "inventory"))
		r.says(t, "hermetic.frontend")
	})
	t.Run("for two platforms at once", func(t *testing.T) {
		out, _ := files(t, example, with(deps), image, "--platform=linux/amd64,linux/arm64")
		wantMachine(t, filepath.Join(out, "linux_amd64", "inventory"), elf.EM_X86_64)
		wantMachine(t, filepath.Join(out, "linux_arm64", "inventory"), elf.EM_AARCH64)
	})
	t.Run("for another platform", func(t *testing.T) {
		out, _ := files(t, example, with(deps), image, "--platform=linux/arm64")
		wantMachine(t, filepath.Join(out, "inventory"), elf.EM_AARCH64)
	})
	t.Run("as an image without traces", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "image.tar")
		build(t, example, with(deps), image, "--output=type=oci,dest="+file).passed(t)
		wantNothingOfOurs(t, openImage(t, file))
	})
}

// wantInventory runs the example.
func wantInventory(t *testing.T, program string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "list", "left hinge").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("name: Left Hinge\n")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func wantMachine(t *testing.T, program string, want elf.Machine) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != want {
		t.Errorf("%s: built for %v; want %v", filepath.Base(filepath.Dir(program)), f.Machine, want)
	}
}

// TestDemo runs what "make demo" runs.
func TestDemo(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "examples/demo.sh")
	cmd.Dir = world.Repo()
	cmd.Env = append(world.Env(), "HERMETIC_LAB_FRONTEND="+images.frontend, "HERMETIC_LAB_GOLANG="+images.golang,
		"HERMETIC_LAB_BUSYBOX="+images.busybox, "HERMETIC_STORE="+filepath.Join(shared, "store"),
		"PATH="+strings.Join([]string{filepath.Dir(cli), filepath.Dir(world.Bin("buildx")), pathOf(world.Env())}, ":"))
	r := output(cmd).passed(t)
	r.says(t, "name: Left Hinge", "MissingInput: 3 inputs are not in the cache", `hint: run "hermetic prefetch`, ">>> RUN go mod download")
}

// pathOf is the value of PATH in an environment.
func pathOf(env []string) string {
	path := ""
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	return path
}
