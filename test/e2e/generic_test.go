package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermetic-build/hermetic/cache"
)

// genericFiles are what newFileServer serves: a small one, one that is too
// large for the pack of a view, and one that wants a token.
var genericFiles = map[string][]byte{
	"/tool.sh":   []byte("#!/bin/sh\necho tool\n"),
	"/large.bin": bytes.Repeat([]byte("0123456789abcdef"), 200<<10/16),
	"/private":   []byte("guarded\n"),
}

// newFileServer serves genericFiles on loopback.
func newFileServer(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := genericFiles[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.URL.Path == "/private" && r.Header.Get("Private-Token") != "s3cret":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Write(data)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// artifactsLock is the lockfile of genericFiles.
func artifactsLock(url string) string {
	sum := func(name string) cache.Sum { return cache.SumBytes(genericFiles[name]) }
	return fmt.Sprintf(`metadata: {version: "2.0"}
artifacts:
- download_url: %[1]s/tool.sh
  checksum: %[2]s
- download_url: %[1]s/large.bin?download=true
  filename: data/large
  checksum: %[3]s
- download_url: %[1]s/private
  checksum: %[4]s
  auth: {bearer: {header: Private-Token, value: $GENERIC_TOKEN}}
`, url, sum("/tool.sh"), sum("/large.bin"), sum("/private"))
}

const genericDockerfile = `
-- Dockerfile --
FROM {busybox} AS b
RUN sh /cachi2/output/deps/generic/tool.sh >/said
RUN cd /cachi2/output/deps/generic && cat private >>/said && wc -c <data/large >>/said && sha256sum data/large | cut -c -64 >>/said && find . -type f | sort >>/said
FROM scratch
COPY --from=b /said /
`

// TestGenericFiles builds with files that come by URL, through both forms of a
// deps context. The token that one of them wants is in neither.
func TestGenericFiles(t *testing.T) {
	dir := project(t, genericDockerfile+"-- artifacts.lock.yaml --\n"+artifactsLock(newFileServer(t)))
	env := []string{"GENERIC_TOKEN=s3cret"}
	store := "--store=" + t.TempDir()
	want := fmt.Sprintf("tool\nguarded\n%d\n%s\n./data/large\n./private\n./tool.sh\n", len(genericFiles["/large.bin"]), cache.SumBytes(genericFiles["/large.bin"]).Hex())
	for name, deps := range map[string]string{
		"view": prefetch(t, env, store, dir),
		"tree": prefetch(t, env, store, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps))
			if got := read(t, out, "said"); got != want {
				t.Errorf("the steps say %q; want %q", got, want)
			}
			err := filepath.WalkDir(deps, func(name string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				data, err := os.ReadFile(name)
				if bytes.Contains(data, []byte("s3cret")) || bytes.Contains(data, []byte("GENERIC_TOKEN")) {
					t.Errorf("%s: holds a credential", name)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGenericFilesFindings: what is missing or damaged stops the build before a
// step runs, and is drawn under the first of them.
func TestGenericFilesFindings(t *testing.T) {
	url := newFileServer(t)
	dir := project(t, genericDockerfile+"-- artifacts.lock.yaml --\n"+artifactsLock(url))
	env := []string{"GENERIC_TOKEN=s3cret"}
	store := "--store=" + t.TempDir()
	deps := prefetch(t, env, store, dir)

	stops := func(t *testing.T, dir string, args []string, wants ...string) {
		t.Helper()
		found, r := steps(t, dir, args...)
		if names := ran(found); len(names) > 0 {
			t.Errorf("steps ran: %q", names)
		}
		r.failed(t)
		r.says(t, append(wants, "Dockerfile:2", ">>> RUN sh /cachi2/output/deps/generic/tool.sh")...)
	}
	t.Run("no deps context", func(t *testing.T) {
		stops(t, dir, nil, "artifacts.lock.yaml: 3 inputs: not in the cache")
	})
	t.Run("another sum", func(t *testing.T) {
		other := copyDir(t, dir)
		lock := strings.Replace(artifactsLock(url), cache.SumBytes(genericFiles["/tool.sh"]).String(), cache.SumBytes(nil).String(), 1)
		if err := os.WriteFile(filepath.Join(other, "artifacts.lock.yaml"), []byte(lock), 0o644); err != nil {
			t.Fatal(err)
		}
		stops(t, other, []string{with(deps)}, "artifacts.lock.yaml: changed since the cache was made", "artifacts.lock.yaml:3: tool.sh: not in the cache with this sum")
	})
	t.Run("a broken lockfile", func(t *testing.T) {
		other := copyDir(t, dir)
		lock := artifactsLock(url) + "- download_url: https://example.com/x\n  filename: ../x\n- {}\n"
		if err := os.WriteFile(filepath.Join(other, "artifacts.lock.yaml"), []byte(lock), 0o644); err != nil {
			t.Fatal(err)
		}
		stops(t, other, []string{with(deps)}, `artifacts.lock.yaml:11: artifact 4: filename "../x": leaves deps/generic`, "artifacts.lock.yaml:13: artifact 5: no checksum")
	})
	t.Run("damaged", func(t *testing.T) {
		blob := filepath.Join(deps, "generic/blobs/sha256", cache.SumBytes(genericFiles["/large.bin"]).Hex())
		flip(t, blob, 1000)
		stops(t, dir, []string{with(deps)}, "artifacts.lock.yaml:5: data/large: damaged in the cache: checksum mismatch")
	})
}
