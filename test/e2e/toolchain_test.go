package e2e

import (
	"archive/zip"
	"bytes"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"
)

// addToolchain publishes a Go distribution that is a shell script, and returns
// its name as a module.
func (m *mirror) addToolchain(t *testing.T, version string) string {
	t.Helper()
	name := "golang.org/toolchain@v0.0.1-" + version + ".linux-" + runtime.GOARCH
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for file, text := range map[string]string{
		"bin/go":    "#!/bin/sh\necho \"this is " + version + ", asked to $*\"\n",
		"bin/gofmt": "a program that go makes executable\n",
		"VERSION":   version + "\n",
		"pkg/tool/linux_" + runtime.GOARCH + "/asm": "a program that go makes executable\n",
		"lib/wasm/go_js_wasm_exec":                  "another\n",
	} {
		entry, err := w.Create(name + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := entry.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.put(t, name, []byte("module golang.org/toolchain\n"), data.Bytes())
	return name
}

// checksums starts a checksum database for the modules of m and returns the
// value of GOSUMDB that trusts it.
func (m *mirror) checksums(t *testing.T) string {
	t.Helper()
	signer, verifier, err := note.GenerateKey(nil, "sum.example.com")
	if err != nil {
		t.Fatal(err)
	}
	answers := sumdb.NewTestServer(signer, func(path, version string) ([]byte, error) {
		return []byte(m.sums[path+"@"+version]), nil
	})
	server := httptest.NewServer(sumdb.NewServer(answers))
	t.Cleanup(server.Close)
	return verifier + " " + server.URL
}

// TestToolchainComesFromTheCache: a project may ask for a Go that is newer than
// the image's; no lockfile has its sum, so the checksum database is asked when
// it is fetched.
func TestToolchainComesFromTheCache(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	m.addToolchain(t, "go1.99.3")
	env := append(m.env(), "GOSUMDB="+m.checksums(t))
	for name, lines := range map[string]string{
		"go line":        "go 1.99.3\n",
		"toolchain line": "go 1.21\n\ntoolchain go1.99.3\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, `
-- Dockerfile --
FROM {golang} AS b
ARG POLICY=auto
ENV GOTOOLCHAIN=$POLICY
WORKDIR /src
COPY go.mod go.sum ./
RUN go build ./... >/said
FROM scratch
COPY --from=b /said /
-- go.mod --
module example.com/app

`+lines+"\nrequire example.com/m1 v1.0.0\n-- go.sum --\n"+m.goSum(full("m1")))
			const want = "this is go1.99.3, asked to build ./...\n"
			view := prefetch(t, env, "--store="+t.TempDir(), dir)
			out, _ := files(t, dir, with(view), "--build-arg=POLICY=local") // as many images have it
			if got := read(t, out, "said"); got != want {
				t.Errorf("with a view go said %q", got)
			}
			tree := prefetch(t, env, "--store="+t.TempDir(), "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir)
			out, _ = files(t, dir, with(tree))
			if got := read(t, out, "said"); got != want {
				t.Errorf("with a tree go said %q", got)
			}
		})
	}
	t.Run("without it go says so", func(t *testing.T) {
		dir := project(t, "-- Dockerfile --\nFROM {golang}\nENV GOTOOLCHAIN=auto\nCOPY go.mod ./\nRUN go version\n-- go.mod --\nmodule example.com/app\n\ngo 1.99.4\n-- go.sum --\n"+m.goSum(full("m1")))
		deps := m.prefetch(t, project(t, "-- go.mod --\n"+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1"))))
		if got := build(t, dir, with(deps)); got.err == nil || !strings.Contains(got.log, "go1.99.4") {
			t.Errorf("%v\n%s", got.err, got.log)
		}
	})
}
