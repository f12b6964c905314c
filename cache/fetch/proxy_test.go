package fetch

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// children are what this test binary does when it is started as another
// process, by the value of FETCH_TEST_CHILD.
var children = map[string]func(){}

// TestMain makes tests impatient, and httptest's certificate one that the
// process trusts, in the way of users with an authority of their own.
func TestMain(m *testing.M) {
	if run, ok := children[os.Getenv("FETCH_TEST_CHILD")]; ok {
		run()
		return
	}
	defaultPatience.unit = time.Millisecond
	dir, err := os.MkdirTemp("", "fetch-test-")
	if err != nil {
		log.Fatal(err)
	}
	srv := httptest.NewTLSServer(nil)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	srv.Close()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o666); err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
	os.Setenv("SSL_CERT_DIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A testModule is a module version as a proxy serves it.
type testModule struct {
	module.Version
	mod, zip       []byte
	modSum, zipSum string // as in go.sum
}

// modules are what the proxies of most tests serve.
const modules = `
-- example.com/a@v1.0.0/go.mod --
module example.com/a
-- example.com/a@v1.0.0/a.go --
package a
-- example.com/Upper@v0.0.0-20200101000000-abcdefabcdef/go.mod --
module example.com/Upper
-- example.com/Upper@v0.0.0-20200101000000-abcdefabcdef/u.go --
package upper
-- example.com/old@v2.0.0+incompatible/old.go --
package old
`

// parseModules reads "module@version/file" entries of a txtar.
func parseModules(t testing.TB, text string) []testModule {
	files := map[string][]txtar.File{}
	for _, f := range txtar.Parse([]byte(text)).Files {
		name, version, _ := strings.Cut(f.Name, "@")
		version, _, _ = strings.Cut(version, "/")
		files[name+"@"+version] = append(files[name+"@"+version], f)
	}
	var out []testModule
	for _, mv := range slices.Sorted(maps.Keys(files)) {
		name, version, _ := strings.Cut(mv, "@")
		out = append(out, newModule(t, module.Version{Path: name, Version: version}, files[mv]))
	}
	return out
}

func newModule(t testing.TB, mv module.Version, files []txtar.File) testModule {
	m := testModule{Version: mv, mod: []byte("module " + mv.Path + "\n")}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.Name, Method: zip.Deflate}
		if len(f.Data) > 1<<20 {
			header.Method = zip.Store // noise, which takes long and does not shrink
		}
		w, err := z.CreateHeader(header)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(f.Data)
		if f.Name == mv.Path+"@"+mv.Version+"/go.mod" {
			m.mod = f.Data
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	m.zip = b.Bytes()
	m.seal(t)
	return m
}

// seal computes the sums of m.
func (m *testModule) seal(t testing.TB) {
	file := filepath.Join(t.TempDir(), "zip")
	if err := os.WriteFile(file, m.zip, 0o666); err != nil {
		t.Fatal(err)
	}
	var err1, err2 error
	m.zipSum, err1 = dirhash.HashZip(file, dirhash.Hash1)
	m.modSum, err2 = dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(m.mod)), nil
	})
	if err := cmp.Or(err1, err2); err != nil {
		t.Fatal(err)
	}
}

// goSum is the go.sum of mods: two lines each.
func goSum(mods []testModule) string {
	var b strings.Builder
	for _, m := range mods {
		fmt.Fprintf(&b, "%s %s %s\n%s %s/go.mod %s\n", m.Path, m.Version.Version, m.zipSum, m.Path, m.Version.Version, m.modSum)
	}
	return b.String()
}

// planOf reads a go.sum as the command does.
func planOf(t testing.TB, sum string) cache.Plan {
	return planWith(t, sum, "module example.com/main\n\ngo 1.21\n")
}

func planWith(t testing.TB, sum, mod string) cache.Plan {
	fsys := fstest.MapFS{"go.mod": {Data: []byte(mod)}, "go.sum": {Data: []byte(sum)}}
	plan := ecosystem.New(fsys, []cache.Package{{Type: "gomod", Path: "."}}, ecosystem.Options{Platforms: []string{"linux/amd64"}})
	if len(plan.Problems) > 0 {
		t.Fatal(plan.Problems)
	}
	return plan
}

// A testProxy is a GOPROXY that behaves, but for its rules.
type testProxy struct {
	*httptest.Server
	files map[string][]byte // by path

	mu    sync.Mutex
	asked []string
	count map[string]int
	rules map[string]rule
}

// A rule answers the n-th request (from 1) for a path in place of the proxy;
// false leaves it to the proxy.
type rule func(w http.ResponseWriter, r *http.Request, n int) bool

func newProxy(mods []testModule) *testProxy {
	p := &testProxy{files: map[string][]byte{}, count: map[string]int{}, rules: map[string]rule{}}
	for _, m := range mods {
		path, _ := module.EscapePath(m.Path)
		version, _ := module.EscapeVersion(m.Version.Version)
		at := "/" + path + "/@v/" + version
		p.files[at+".zip"], p.files[at+".mod"] = m.zip, m.mod
		p.files[at+".info"] = fmt.Appendf(nil, `{"Version":%q}`, m.Version.Version)
	}
	return p
}

// serve starts a proxy for mods over plain http.
func serve(t testing.TB, mods []testModule) *testProxy {
	p := newProxy(mods)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// serveTLS starts a proxy for mods over https.
func serveTLS(t testing.TB, mods []testModule) *testProxy {
	p := newProxy(mods)
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *testProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.URL.Path)
	p.count[r.URL.Path]++
	n := p.count[r.URL.Path]
	rule := p.rules[r.URL.Path]
	if rule == nil {
		rule = p.rules["*"]
	}
	data, ok := p.files[r.URL.Path]
	p.mu.Unlock()
	if rule != nil && rule(w, r, n) {
		return
	}
	if !ok {
		http.Error(w, "not here: "+r.URL.Path, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Write(data)
}

// requests are the paths that were asked for since the last call, sorted.
func (p *testProxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.asked
	p.asked = nil
	slices.Sort(out)
	return out
}

// times is how often a path was asked for.
func (p *testProxy) times(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[path]
}

// testEnv is an environment of its own: nothing of this machine.
func testEnv(t testing.TB, vars map[string]string) func(string) string {
	home := t.TempDir()
	return func(name string) string {
		if v, ok := vars[name]; ok {
			return v
		}
		if name == "HOME" {
			return home
		}
		return ""
	}
}

// via are options that ask the proxy list.
func via(t testing.TB, list string) Options {
	return Options{Env: testEnv(t, map[string]string{"GOPROXY": list, "GOSUMDB": "off"})}
}

func openStore(t testing.TB) *cache.Store {
	s, err := cache.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustFetch is All that has to succeed.
func mustFetch(t testing.TB, s *cache.Store, plan cache.Plan, o Options) *cache.Manifest {
	t.Helper()
	m, err := All(context.Background(), s, plan, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkClean fails where the store has anything unfinished or wrong in it.
func checkClean(t testing.TB, s *cache.Store) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Dir(), "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: tmp/%s", e.Name())
	}
	checkBlobs(t, s)
}

// checkBlobs fails where a file of the store is not what its name says.
func checkBlobs(t testing.TB, s *cache.Store) {
	t.Helper()
	blobs, _ := filepath.Glob(filepath.Join(s.Dir(), "blobs/sha256/*/*"))
	for _, name := range blobs {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := cache.SumBytes(data).Hex(); got != filepath.Base(name) {
			t.Errorf("blob %s has sum %s", name, got)
		}
	}
}

// A recorder is a Progress that remembers.
type recorder struct {
	mu                sync.Mutex
	missing, held     int
	started, finished map[string]int
	notes             []string
	advance           func(in cache.Input, done, total int64)
}

func newRecorder() *recorder {
	return &recorder{started: map[string]int{}, finished: map[string]int{}}
}

func (r *recorder) Begin(missing, held []cache.Input) { r.missing, r.held = len(missing), len(held) }

func (r *recorder) Start(in cache.Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started[in.Subject()]++
}

func (r *recorder) Advance(in cache.Input, done, total int64) {
	if r.advance != nil {
		r.advance(in, done, total)
	}
}

func (r *recorder) Finish(in cache.Input, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished[in.Subject()]++
}

func (r *recorder) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}
