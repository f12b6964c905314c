package fetch

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	toolchainVersion = "v0.0.1-go1.26.1.linux-amd64"
	toolchainID      = "golang.org/toolchain@" + toolchainVersion
	toolchainMod     = "module example.com/main\n\ngo 1.21\n\ntoolchain go1.26.1\n"
	toolchainZip     = "/golang.org/toolchain/@v/" + toolchainVersion + ".zip"
)

// toolchain is a distribution, cut short.
func toolchain(t *testing.T) testModule {
	return parseModules(t, "-- "+toolchainID+"/go.mod --\nmodule golang.org/toolchain\n-- "+toolchainID+"/bin/go --\n#!\n")[0]
}

// A testDatabase is a checksum database with a key of its own.
type testDatabase struct {
	key, signer string
	http.Handler
}

func newDatabase(t *testing.T, name string, mods ...testModule) *testDatabase {
	signer, key, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	db := &testDatabase{key: key, signer: signer}
	records := map[string]string{}
	for _, m := range mods {
		records[m.Version.String()] = goSum([]testModule{m})
	}
	server := sumdb.NewTestServer(signer, func(path, version string) ([]byte, error) {
		text, ok := records[path+"@"+version]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	})
	db.Handler = sumdb.NewServer(server)
	return db
}

// at serves the database below a proxy's URL.
func (db *testDatabase) at(p *testProxy, name string) {
	prefix := "/sumdb/" + name
	handler := http.StripPrefix(prefix, db)
	p.files[prefix+"/supported"] = nil
	p.rules["*"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasPrefix(r.URL.Path, prefix+"/") || strings.HasSuffix(r.URL.Path, "/supported") {
			return false
		}
		handler.ServeHTTP(w, r)
		return true
	}
}

// toolchainTest is one run that wants a toolchain: what it says, what it
// holds in the end.
type toolchainTest struct {
	vars    map[string]string
	offline bool
	held    bool
	notes   []string
	err     string
}

func (test toolchainTest) run(t *testing.T, s *cache.Store) {
	t.Helper()
	rec := newRecorder()
	plan := planWith(t, "", toolchainMod)
	o := Options{Env: testEnv(t, test.vars), Progress: rec, Offline: test.offline}
	m, err := All(context.Background(), s, plan, o)
	if want := test.err; want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
		t.Errorf("got %v\nwant %q", err, want)
	}
	var want []string
	for _, n := range test.notes {
		want = append(want, "go.mod:5: "+toolchainID+": "+n)
	}
	if diff := cmp.Diff(want, rec.notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if err != nil {
		return
	}
	e, held := m.Find(plan.Inputs[0].ID())
	if held != test.held {
		t.Fatalf("held: %v", held)
	}
	if held && e.Sum.Notation() != toolchain(t).zipSum {
		t.Errorf("sum in the manifest: %v", e.Sum)
	}
	if ps := m.Missing(plan); len(ps) > 0 {
		t.Errorf("missing: %v", ps)
	}
	checkClean(t, s)
}

// The database is reached through the proxy; the second run asks nobody.
func TestToolchain(t *testing.T) {
	tool := toolchain(t)
	p := serve(t, []testModule{tool})
	db := newDatabase(t, "sums.example.com", tool)
	db.at(p, "sums.example.com")
	s := openStore(t)
	vars := map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key}
	toolchainTest{vars: vars, held: true}.run(t, s)
	want := []string{
		toolchainZip,
		"/sumdb/sums.example.com/lookup/" + toolchainID,
		"/sumdb/sums.example.com/supported",
		"/sumdb/sums.example.com/tile/8/0/000.p/1",
	}
	if diff := cmp.Diff(want, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	toolchainTest{vars: map[string]string{"GOSUMDB": db.key}, offline: true, held: true}.run(t, s)
	toolchainTest{vars: vars, held: true}.run(t, s)
	if asked := p.requests(); asked != nil {
		t.Errorf("asked again for %v", asked)
	}
	// Another database has not vouched for it.
	other := newDatabase(t, "other.example.com", tool)
	toolchainTest{vars: map[string]string{"GOSUMDB": other.key}, offline: true, notes: []string{"not in the store, and offline"}}.run(t, s)
	// A note that is damaged is as good as none.
	name := filepath.Join(s.Dir(), "sumdb/sums.example.com/sums", toolchainID)
	if err := os.WriteFile(name, []byte("h1:x\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	toolchainTest{vars: vars, held: true}.run(t, s)
	if diff := cmp.Diff([]string(nil), p.requests()); diff != "" {
		t.Errorf("asked for what the client has cached (-want +got):\n%s", diff)
	}
}

// Where no proxy offers the database, it is asked at its own name, or where
// GOSUMDB says.
func TestToolchainDirect(t *testing.T) {
	tool := toolchain(t)
	p := serve(t, []testModule{tool})
	var db *testDatabase
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { db.ServeHTTP(w, r) }))
	defer srv.Close()
	name := strings.TrimPrefix(srv.URL, "https://")
	db = newDatabase(t, name, tool)
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key}, held: true}.run(t, openStore(t))
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL + "/none," + p.URL, "GOSUMDB": db.key}, held: true}.run(t, openStore(t))

	db = newDatabase(t, "sums.example.com", tool)
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key + " " + srv.URL}, held: true}.run(t, openStore(t))

	// A name alone will do for the database whose key was stamped.
	DefaultGOSUMDB = db.key + " " + srv.URL
	defer func() { DefaultGOSUMDB = "" }()
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL}, held: true}.run(t, openStore(t))
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": "sums.example.com " + srv.URL}, held: true}.run(t, openStore(t))
}

// A toolchain that nobody has, or nobody vouches for, is left out with a note.
func TestToolchainLeftOut(t *testing.T) {
	tool := toolchain(t)
	p := serve(t, []testModule{tool})
	db := newDatabase(t, "sums.example.com", tool)
	db.at(p, "sums.example.com")
	knows := p.rules["*"]
	empty := serve(t, nil)
	newDB := newDatabase(t, "sums.example.com") // knows nothing
	newDB.at(empty, "sums.example.com")
	down := serve(t, []testModule{tool})
	down.rules["*"] = answer(403, "no")
	dir := t.TempDir()

	for name, test := range map[string]toolchainTest{
		"GOSUMDB off": {vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": "off"},
			notes: []string{"not fetched: GOSUMDB is off, and no lockfile has its sum"}},
		"no GOSUMDB": {vars: map[string]string{"GOPROXY": p.URL},
			notes: []string{"not fetched: GOSUMDB names no checksum database, and no lockfile has its sum"}},
		"no key": {vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": "sums.example.com"},
			notes: []string{"not fetched: GOSUMDB names sums.example.com without its key (name+hash+key), and no lockfile has its sum"}},
		"GOTOOLCHAIN": {vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key, "GOTOOLCHAIN": "local"},
			notes: []string{"not fetched: GOTOOLCHAIN wants none"}},
		"GOPROXY off": {vars: map[string]string{"GOPROXY": "off", "GOSUMDB": db.key},
			notes: []string{"not fetched: no lockfile has its sum, and no proxy leads to the checksum database sums.example.com"}},
		"directory": {vars: map[string]string{"GOPROXY": "file://" + dir, "GOSUMDB": db.key},
			notes: []string{"not fetched: no lockfile has its sum, and no proxy leads to the checksum database sums.example.com"}},
		"unknown to the database": {vars: map[string]string{"GOPROXY": empty.URL, "GOSUMDB": newDB.key},
			notes: []string{"not fetched: no sum from the checksum database sums.example.com: " + empty.URL + "/sumdb/sums.example.com/lookup/" + toolchainID + ": 404 Not Found (file does not exist)"}},
		"refused": {vars: map[string]string{"GOPROXY": down.URL, "GOSUMDB": db.key},
			notes: []string{"not fetched: no sum from the checksum database sums.example.com: " + down.URL + "/sumdb/sums.example.com/supported: 403 Forbidden (no)"}},
		"private": {vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key, "GOPRIVATE": "golang.org"},
			notes: []string{`GOPRIVATE has "golang.org", which keeps it from proxies, and only module proxies are asked`}},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, openStore(t)) })
	}
	delete(p.files, toolchainZip)
	p.rules["*"] = knows
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key},
		notes: []string{p.URL + toolchainZip + ": 404 Not Found (not here: " + toolchainZip + ")"}}.run(t, openStore(t))
}

// A toolchain or a database that is not what it should be is an error.
func TestToolchainWrong(t *testing.T) {
	tool := toolchain(t)
	const at = "go.mod:5: " + toolchainID + ": "
	wrong := tool
	wrong.zip = parseModules(t, "-- "+toolchainID+"/evil --\nx\n")[0].zip

	p := serve(t, []testModule{wrong})
	db := newDatabase(t, "sums.example.com", tool)
	db.at(p, "sums.example.com")
	s := openStore(t)
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key},
		err: at + "checksum mismatch: want " + tool.zipSum + ", got h1:"}.run(t, s)
	checkClean(t, s)

	// Signed by somebody else.
	other := newDatabase(t, "sums.example.com", tool)
	p = serve(t, []testModule{tool})
	other.at(p, "sums.example.com")
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key}, err: at + "reading tree note: "}.run(t, openStore(t))
	if err := runToolchain(t, p, db); err == nil || !strings.HasSuffix(err.Error(), "(from the checksum database sums.example.com)") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}

	// A history that does not continue what was seen before: two trees under
	// one key.
	s = openStore(t)
	forked := newDatabase(t, "sums.example.com", tool, parseModules(t, "-- golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64/x --\nx\n")[0])
	first, second := serve(t, []testModule{tool}), serve(t, []testModule{tool})
	forked.at(first, "sums.example.com")
	twin := &testDatabase{key: forked.key, signer: forked.signer}
	twinTool := tool
	twinTool.modSum = tool.zipSum // another record
	server := sumdb.NewTestServer(twin.signer, func(string, string) ([]byte, error) { return []byte(goSum([]testModule{twinTool})), nil })
	twin.Handler = sumdb.NewServer(server)
	twin.at(second, "sums.example.com")
	toolchainTest{vars: map[string]string{"GOPROXY": first.URL, "GOSUMDB": forked.key}, held: true}.run(t, s)
	for _, gone := range []string{"sums", "cache/lookup"} {
		if err := os.RemoveAll(filepath.Join(s.Dir(), "sumdb/sums.example.com", gone)); err != nil {
			t.Fatal(err)
		}
	}
	toolchainTest{vars: map[string]string{"GOPROXY": second.URL, "GOSUMDB": forked.key}, err: at + "SECURITY ERROR"}.run(t, s)

	// Trouble on the way is no reason to do without.
	p = serve(t, []testModule{tool})
	db.at(p, "sums.example.com")
	serveAll := p.rules["*"]
	p.rules["*"] = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.URL.Path == toolchainZip {
			return answer(500, "")(w, r, n)
		}
		return serveAll(w, r, n)
	}
	toolchainTest{vars: map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key}, err: at + p.URL + toolchainZip + ": 500"}.run(t, openStore(t))

	// Required without a sum: no note will do.
	plan := planWith(t, "", toolchainMod)
	plan.Inputs[0].Need = cache.Required
	_, err := All(context.Background(), openStore(t), plan, via(t, p.URL))
	if want := at + "not fetched: GOSUMDB is off, and no lockfile has its sum"; fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func runToolchain(t *testing.T, p *testProxy, db *testDatabase) error {
	env := testEnv(t, map[string]string{"GOPROXY": p.URL, "GOSUMDB": db.key})
	_, err := All(context.Background(), openStore(t), planWith(t, "", toolchainMod), Options{Env: env})
	return err
}

func TestParseGOSUMDB(t *testing.T) {
	_, key, err := note.GenerateKey(rand.Reader, "sums.example.com/db")
	if err != nil {
		t.Fatal(err)
	}
	_, odd, _ := note.GenerateKey(rand.Reader, "u:p@sums.example.com/../x?y")
	for _, test := range []struct{ value, known, name, at, err string }{
		{key, "", "sums.example.com/db", "", ""},
		{" " + key + "  https://mirror.example.com/x ", "", "sums.example.com/db", "https://mirror.example.com/x", ""},
		{"", key + " http://127.0.0.1:1", "sums.example.com/db", "http://127.0.0.1:1", ""},
		{"sums.example.com/db", key, "sums.example.com/db", "", ""},
		{"sums.example.com", key, "", "", "not fetched: GOSUMDB names sums.example.com without its key (name+hash+key), and no lockfile has its sum"},
		{"off", key, "", "", "not fetched: GOSUMDB is off, and no lockfile has its sum"},
		{"", "", "", "", "not fetched: GOSUMDB names no checksum database, and no lockfile has its sum"},
		{"a b c", "", "", "", "GOSUMDB: want a key and perhaps a URL, found 3 fields"},
		{"a+b+c", "", "", "", "GOSUMDB: not a key: want name+hash+key"},
		{odd, "", "", "", "GOSUMDB: the name in the key is not a host"},
		{key + " file:///x", "", "", "", "GOSUMDB: the second field is not an http URL"},
	} {
		db, err := parseGOSUMDB(test.value, test.known)
		if err != nil {
			if err.Error() != test.err {
				t.Errorf("%q: got %v, want %s", test.value, err, test.err)
			}
			continue
		}
		at := ""
		if db.at != nil {
			at = db.at.String()
		}
		if db.name != test.name || at != test.at || test.err != "" {
			t.Errorf("%q: got %v", test.value, db)
		}
	}
}

func FuzzGOSUMDB(f *testing.F) {
	_, key, err := note.GenerateKey(rand.Reader, "sums.example.com/db")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key+" https://example.com", "")
	f.Add("name", key)
	f.Fuzz(func(t *testing.T, value, known string) {
		db, err := parseGOSUMDB(value, known)
		if (db == nil) == (err == nil) {
			t.Fatalf("%v and %v", db, err)
		}
		if db == nil {
			return
		}
		if name, err := db.record(cache.Input{Kind: "zip", Name: toolchainModule, Version: toolchainVersion}); err != nil || !filepath.IsLocal(name) {
			t.Errorf("%q: remembers in %q (%v)", value, name, err)
		}
	})
}
