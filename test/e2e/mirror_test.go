package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/tools/txtar"
)

// A mirror is a Go module proxy on loopback
// (https://go.dev/ref/mod#goproxy-protocol).
type mirror struct {
	url   string
	dir   string
	sums  map[string]string // lines of go.sum, by "path@version"
	delay time.Duration     // before each answer
}

// newMirror starts a proxy without modules.
func newMirror(t *testing.T) *mirror {
	m := &mirror{dir: t.TempDir(), sums: map[string]string{}}
	answer := http.FileServer(http.Dir(m.dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(m.delay)
		answer.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// A file is one of a module.
type file struct {
	name string
	data []byte
}

// add publishes "path@version" with the files of a txtar archive. A go.mod is
// made up where the archive has none.
func (m *mirror) add(t *testing.T, name, archive string) {
	t.Helper()
	var files []file
	for _, f := range txtar.Parse([]byte(archive)).Files {
		files = append(files, file{name: f.Name, data: f.Data})
	}
	m.publish(t, name, files)
}

// addNoise publishes a module that is too large for the pack of a view, with one
// package in it.
func (m *mirror) addNoise(t *testing.T, name string) {
	t.Helper()
	path, _, _ := strings.Cut(name, "@")
	noise := make([]byte, 100<<10)
	rand.NewChaCha8(sha256.Sum256([]byte(name))).Read(noise)
	m.publish(t, name, []file{
		{name: "code.go", data: fmt.Appendf(nil, "package %s\n\nconst Name = %q\n", filepath.Base(path), name)},
		{name: "noise", data: noise},
	})
}

func (m *mirror) publish(t *testing.T, name string, files []file) {
	t.Helper()
	path, _, _ := strings.Cut(name, "@")
	mod := []byte("module " + path + "\n\ngo 1.21\n")
	i := slices.IndexFunc(files, func(f file) bool { return f.name == "go.mod" })
	if i < 0 {
		files = append(files, file{"go.mod", mod})
	} else {
		mod = files[i].data
	}
	var data bytes.Buffer
	w := zip.NewWriter(&data)
	for _, f := range files {
		entry, err := w.Create(name + "/" + f.name)
		if err == nil {
			_, err = entry.Write(f.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.put(t, name, mod, data.Bytes())
}

// put publishes a module whose zip is made.
func (m *mirror) put(t *testing.T, name string, mod, archive []byte) {
	t.Helper()
	path, version, _ := strings.Cut(name, "@")
	escaped, err := module.EscapePath(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.dir, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for suffix, data := range map[string][]byte{".zip": archive, ".mod": mod, ".info": fmt.Appendf(nil, `{"Version":%q}`, version)} {
		if err := os.WriteFile(filepath.Join(dir, version+suffix), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := dirhash.HashZip(filepath.Join(dir, version+".zip"), dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	modHash, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(mod)), nil })
	if err != nil {
		t.Fatal(err)
	}
	m.sums[name] = fmt.Sprintf("%s %s %s\n%s %s/go.mod %s\n", path, version, hash, path, version, modHash)
}

// goSum is the go.sum of these modules, two lines each, in the order given.
func (m *mirror) goSum(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString(m.sums[name])
	}
	return b.String()
}

// require is the go.mod of a module that requires these.
func require(names ...string) string {
	text := "module example.com/app\n\ngo 1.21\n\nrequire (\n"
	for _, name := range names {
		text += "\t" + strings.Replace(name, "@", " ", 1) + "\n"
	}
	return text + ")\n"
}

// env makes the CLI ask this proxy and nobody else.
func (m *mirror) env() []string {
	return []string{"GOPROXY=" + m.url, "GOSUMDB=off", "GOENV=off", "GOPRIVATE=", "GONOPROXY="}
}

// prefetch runs "hermetic prefetch" into a store of the test's own and returns
// the deps context.
func (m *mirror) prefetch(t *testing.T, args ...string) string {
	t.Helper()
	return prefetch(t, m.env(), append([]string{"--store=" + t.TempDir()}, args...)...)
}

// prefetch runs "hermetic prefetch" and returns the deps context that it prints.
func prefetch(t *testing.T, env []string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), cli, append([]string{"prefetch"}, args...)...)
	cmd.Env = append(world.Env(), env...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hermetic prefetch: %v\n%s", err, &stderr)
	}
	return strings.TrimSpace(string(out))
}
