package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// TestCLIImage runs the program in the image that `make cli-image` makes, under
// Hermeto's names, in the place of Hermeto's: the image has nothing else, so that
// the shell is another image's.
func TestCLIImage(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "make", "-s", "cli-image", "PLATFORMS=linux/"+runtime.GOARCH)
	cmd.Dir = world.Repo()
	output(cmd).passed(t)
	name := world.RegistryHost() + "/hermetic-cli"
	d, err := ocitar.Push(t.Context(), filepath.Join(world.Repo(), "dist", "hermetic-cli.oci.tar"), name+":latest")
	if err != nil {
		t.Fatal(err)
	}
	dir := project(t, `
-- Dockerfile --
FROM `+name+"@"+d.String()+` AS cli
COPY src /src
RUN --mount=from={busybox},target=/b ["/b/bin/sh", "-euc", "\
  hermeto --version >/version; \
  hermeto fetch-deps --mode permissive --source /src --output /out gomod; \
  cachi2 generate-env /out --for-output-dir /cachi2/output -o /env; \
  hermeto inject-files /out --for-output-dir /cachi2/output; \
  /b/bin/sed s,com/app,com/other, /out/bom.json >/other.json; \
  hermetic merge-sboms -o /merged /out/bom.json /other.json; \
  code=0; hermeto fetch-deps --source /src --output /out cobol 2>/error || code=$?; echo $code >/code"]
FROM scratch
COPY --from=cli /version /env /merged /out/bom.json /error /code /
-- src/go.mod --
module example.com/app

go 1.26
`)
	out, _ := files(t, dir, "--no-cache")
	contains(t, "the version", read(t, out, "version"), "0.1.0")
	contains(t, "the environment", read(t, out, "env"), "export GOMODCACHE=/cachi2/output/deps/gomod/pkg/mod\n")
	contains(t, "the bill of materials", read(t, out, "bom.json"), `"CycloneDX"`, "pkg:golang/example.com/app")
	contains(t, "the merged one", read(t, out, "merged"), "pkg:golang/example.com/app", "pkg:golang/example.com/other")
	contains(t, "the error", read(t, out, "error"), `"cobol"`)
	if got := read(t, out, "code"); got != "4\n" {
		t.Errorf("a type that there is none of exits %q; want 4", got)
	}
}
