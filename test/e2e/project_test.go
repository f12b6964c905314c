package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestProjectsThatNeedNothing build without a deps context.
func TestProjectsThatNeedNothing(t *testing.T) {
	m := newMirror(t)
	m.add(t, full("m1"), "-- code.go --\npackage m1\n\nconst Name = \"vendored\"\n")
	for name, c := range map[string]struct{ archive, file, want string }{
		"a vendored module": {`
-- Dockerfile --
FROM {golang} AS b
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -o /app . && /app 2>/said
FROM scratch
COPY --from=b /said /
-- main.go --
package main

import "example.com/m1"

func main() { println(m1.Name) }
-- vendor/modules.txt --
# example.com/m1 v1.0.0
## explicit; go 1.21
example.com/m1
-- vendor/example.com/m1/code.go --
package m1

const Name = "vendored"
-- go.mod --
` + require(full("m1")) + "-- go.sum --\n" + m.goSum(full("m1")), "said", "vendored\n"},
		"no lockfile": {`
-- Dockerfile --
FROM {busybox} AS b
COPY . .
RUN wc -l <words >/said && ip -o link | wc -l >>/said && test ! -e /cachi2 && ! env | grep GOPROXY
FROM scratch
COPY --from=b /said /
-- words --
pear
`, "said", "1\n1\n"},
		"no RUN": {`
-- Dockerfile --
FROM scratch
COPY . .
-- go.mod --
` + require(full("m1")) + "-- go.sum --\n" + m.goSum(full("m1")), "go.mod", require(full("m1"))},
		"nothing but a base image": {"-- Dockerfile --\nFROM {busybox}\n", "etc/group", "root:x:0:\nwheel:x:10:\nuser:x:1000:\n"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, project(t, c.archive))
			if got := read(t, out, c.file); got != c.want {
				t.Errorf("%s: %q; want %q", c.file, got, c.want)
			}
		})
	}
}

// TestLockfilesThatNobodyReads: test data and what a name keeps from the go
// command need no cache.
func TestLockfilesThatNobodyReads(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	locks := func(dir string) string {
		return "-- " + dir + "/go.mod --\n" + require(full("m1")) + "-- " + dir + "/go.sum --\n" + m.goSum(full("m1"))
	}
	build(t, project(t, "-- Dockerfile --\nFROM {busybox}\nRUN true\n"+locks("testdata")+locks("_old")+locks("node_modules/x"))).passed(t)
}

// TestModulesComeFromTheCache builds with modules of the mirror through both
// forms of a deps context, and with the one from an image.
func TestModulesComeFromTheCache(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	m.add(t, "example.com/Upper@v1.2.0-rc.1", "-- code.go --\npackage upper\n\nconst Name = \"upper\"\n")
	names := []string{full("m1"), "example.com/Upper@v1.2.0-rc.1"}
	dir := project(t, `
-- Dockerfile --
FROM {golang} AS b
WORKDIR /src
COPY . .
RUN go mod download && go mod verify >/verified
RUN go vet . 2>&1 || true; CGO_ENABLED=0 go build -o /app . && /app 2>/said
FROM scratch
COPY --from=b /said /verified /
-- main.go --
package main

import (
	upper "example.com/Upper"
	"example.com/m1"
)

func main() { println(m1.Name, upper.Name) }
-- go.mod --
`+require(names...)+"-- go.sum --\n"+m.goSum(names...))
	for name, deps := range map[string]string{
		"view": m.prefetch(t, dir),
		"tree": m.prefetch(t, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps))
			if got := read(t, out, "said"); got != full("m1")+" upper\n" {
				t.Errorf("the program says %q", got)
			}
			if got := read(t, out, "verified"); got != "all modules verified\n" {
				t.Errorf("go mod verify says %q", got)
			}
		})
	}
}

// TestLargeLockfile reads a go.sum that BuildKit does not hand over in one piece.
func TestLargeLockfile(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	dir := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN true\n-- go.mod --\n"+require(full("m1")))
	f, err := os.Create(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, line := 0, 0
	for ; size < 20<<20; line++ {
		n, err := fmt.Fprintf(f, "example.com/absent%06d v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", line)
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	fmt.Fprint(f, m.goSum(full("m1")))
	got := build(t, dir).failed(t)
	contains(t, "the error", got, fmt.Sprintf("go.sum: %d inputs: not in the cache", line+2))
}

// TestBuildWithoutBuildx builds on a BuildKit daemon alone.
func TestBuildWithoutBuildx(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
ARG COLOUR
COPY go.mod .
RUN ls /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/ >/said && echo $COLOUR >>/said
FROM scratch
COPY --from=b /said /
-- go.mod --
`+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1")))
	home := t.TempDir()
	bare := append(m.env(), "PATH="+home, "HOME="+home, "DOCKER_CONFIG="+home, "HERMETIC_STORE="+t.TempDir())
	t.Run("buildx is out of reach", func(t *testing.T) {
		r := run(t, append(bare, "BUILDKIT_HOST="), "build", dir)
		if r.err == nil || !strings.Contains(r.log, "nothing to build with") {
			t.Errorf("%v\n%s", r.err, r.log)
		}
	})
	t.Run("a build", func(t *testing.T) {
		out := t.TempDir()
		run(t, bare, "build", "--progress=plain", "--build-arg=COLOUR=blue", "--output=type=local,dest="+out, dir).passed(t)
		if got := read(t, out, "said"); got != "m1\nblue\n" {
			t.Errorf("the step said %q", got)
		}
	})
	t.Run("a failing step", func(t *testing.T) {
		broken := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN true\nRUN exit 41\n")
		r := run(t, bare, "build", "--progress=plain", broken)
		if r.err == nil {
			t.Error("ended well")
		}
		r.says(t, "3 | >>> RUN exit 41", "exit code: 41")
	})
	t.Run("a refusal", func(t *testing.T) {
		broken := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN --mount=type=ssh true\n")
		r := run(t, bare, "build", "--progress=plain", broken)
		if exit, ok := r.err.(*exec.ExitError); !ok || exit.ExitCode() != 3 {
			t.Errorf("got %v; want exit status 3", r.err)
		}
		r.says(t, "SshMount: 1 ", "Dockerfile:2: RUN --mount=type=ssh: refused")
	})
	t.Run("an error of the frontend", func(t *testing.T) {
		broken := project(t, "-- Dockerfile --\nFROM {registry}/absent\nRUN true\n")
		r := run(t, bare, "build", "--progress=plain", broken)
		r.says(t, "Dockerfile:1\n", "\nhermetic: "+world.RegistryHost()+"/absent:latest: not found\n")
	})
}
