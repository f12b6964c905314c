package fetch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/module"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
)

func TestAll(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	// A module of which only the go.mod file is listed.
	sum := goSum(mods) + fmt.Sprintf("example.com/only %s/go.mod %s\n", "v1.0.0", mods[0].modSum)
	p.files["/example.com/only/@v/v1.0.0.mod"] = mods[0].mod
	rec := newRecorder()
	o := via(t, p.URL)
	o.Progress = rec
	plan := planOf(t, sum)
	m := mustFetch(t, s, plan, o)

	want := []string{ // no .mod where there is a .zip
		"/example.com/!upper/@v/v0.0.0-20200101000000-abcdefabcdef.zip", "/example.com/a/@v/v1.0.0.zip",
		"/example.com/old/@v/v2.0.0+incompatible.zip", "/example.com/only/@v/v1.0.0.mod",
	}
	if diff := cmp.Diff(want, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if ps := m.Missing(plan); len(ps) > 0 || len(m.Entries) != 7 {
		t.Errorf("%d entries, missing %v", len(m.Entries), ps)
	}
	if _, err := cache.ParseManifest("m", m.Encode()); err != nil {
		t.Error(err)
	}
	if rec.missing != 7 || rec.held != 0 {
		t.Errorf("began with %d missing and %d held", rec.missing, rec.held)
	}
	for _, in := range plan.Inputs {
		if name := in.Subject(); rec.started[name] != 1 || rec.finished[name] != 1 {
			t.Errorf("%s: started %d times, finished %d times", name, rec.started[name], rec.finished[name])
		}
	}
	checkClean(t, s)
}

// A run that has nothing to do reads no setting, and a fortiori asks nobody.
func TestAllAgain(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	plan := planOf(t, goSum(mods))
	first := mustFetch(t, s, plan, via(t, p.URL))
	second := mustFetch(t, s, plan, Options{Env: func(name string) string {
		t.Errorf("%s is read", name)
		return ""
	}})
	if diff := cmp.Diff(string(first.Encode()), string(second.Encode())); diff != "" {
		t.Error(diff)
	}
}

func TestAllIsDeterministic(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, append(mods, parseModules(t, "-- example.com/more@v1.0.0/x --\nx\n")...))
	plan := planOf(t, goSum(mods)+"example.com/none v1.0.0 "+mods[0].zipSum+"\nexample.com/nil v1.0.0 "+mods[0].zipSum+"\n")
	var want string
	for i := range 100 {
		_, err := All(context.Background(), openStore(t), plan, via(t, p.URL))
		if i == 0 {
			want = fmt.Sprint(err)
		}
		if got := fmt.Sprint(err); got != want {
			t.Fatalf("run %d: %s\nbefore: %s", i, got, want)
		}
	}
	if n := strings.Count(want, "\n"); n != 1 {
		t.Errorf("want both that are missing, got:\n%s", want)
	}
}

// The go.mod file comes from the proxy where the zip has another one.
func TestGoModOtherThanInZip(t *testing.T) {
	m := parseModules(t, "-- example.com/odd@v1.0.0/go.mod --\nmodule example.com/other\n")[0]
	m.mod = []byte("module example.com/odd\n")
	m.seal(t)
	p := serve(t, []testModule{m})
	s := openStore(t)
	got := mustFetch(t, s, planOf(t, goSum([]testModule{m})), via(t, p.URL))
	want := []string{"/example.com/odd/@v/v1.0.0.mod", "/example.com/odd/@v/v1.0.0.zip"}
	if diff := cmp.Diff(want, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	e := got.Entries[0]
	if data, err := os.ReadFile(s.Path(e.Blob)); err != nil || string(data) != string(m.mod) {
		t.Errorf("%s: %q, %v", e.Kind, data, err)
	}
	checkClean(t, s)
}

// What one run left is not asked for by the next one.
func TestAllGoesOn(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	plan := planOf(t, goSum(mods))
	lost := "/example.com/old/@v/v2.0.0+incompatible.zip"
	data := p.files[lost]
	delete(p.files, lost)
	if _, err := All(context.Background(), s, plan, via(t, p.URL)); err == nil {
		t.Fatal("no error for a lost file")
	}
	p.files[lost] = data
	p.requests()
	mustFetch(t, s, plan, via(t, p.URL))
	if diff := cmp.Diff([]string{lost}, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	checkClean(t, s)
}

func TestOffline(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	mustFetch(t, s, planOf(t, goSum(mods[:2])), via(t, p.URL))
	p.requests()
	o := via(t, p.URL)
	o.Offline = true
	_, err := All(context.Background(), s, planOf(t, goSum(mods)), o)
	want := "go.sum:5: example.com/old@v2.0.0+incompatible: not in the store, and offline\n" +
		"go.sum:6: example.com/old@v2.0.0+incompatible/go.mod: not in the store, and offline"
	if fmt.Sprint(err) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if asked := p.requests(); asked != nil {
		t.Errorf("asked offline: %v", asked)
	}
	mustFetch(t, s, planOf(t, goSum(mods[:2])), o)
}

func TestVerifyRepairs(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	plan := planOf(t, goSum(mods))
	m := mustFetch(t, s, plan, via(t, p.URL))
	p.requests()
	e, _ := m.Find(cache.ID{Ecosystem: "gomod", Name: "example.com/a", Version: "v1.0.0", Kind: "zip"})
	flip(t, s.Path(e.Blob))

	mustFetch(t, s, plan, via(t, p.URL)) // sizes are right: it takes Verify to see it
	if asked := p.requests(); asked != nil {
		t.Errorf("asked: %v", asked)
	}
	o := via(t, p.URL)
	o.Verify, o.Offline = true, true
	_, err := All(context.Background(), s, plan, o)
	if want := "go.sum:3: example.com/a@v1.0.0: damaged in the store, and offline"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	rec := newRecorder()
	mustFetch(t, s, plan, via(t, p.URL)) // the damaged one is gone
	p.requests()
	flip(t, s.Path(e.Blob))
	o = via(t, p.URL)
	o.Verify, o.Progress = true, rec
	mustFetch(t, s, plan, o)
	if diff := cmp.Diff([]string{"/example.com/a/@v/v1.0.0.zip"}, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"go.sum:3: example.com/a@v1.0.0: damaged in the store"}, rec.notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	checkClean(t, s)
}

// flip changes one bit of a file.
func flip(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o444); err != nil {
		t.Fatal(err)
	}
}

// The end of ctx leaves nothing half done, and the next run goes on.
func TestCancel(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	s := openStore(t)
	plan := planOf(t, goSum(mods))
	ctx, cancel := context.WithCancel(context.Background())
	p.rules["/example.com/old/@v/v2.0.0+incompatible.zip"] = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n > 1 {
			return false
		}
		w.Header().Set("Content-Length", "1000")
		w.Write([]byte("half"))
		http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
		return true
	}
	_, err := All(ctx, s, plan, via(t, p.URL))
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q", err)
	}
	checkClean(t, s)
	mustFetch(t, s, plan, via(t, p.URL))
	checkClean(t, s)
}

func TestTotalTimeout(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	p.rules["*"] = func(w http.ResponseWriter, r *http.Request, n int) bool {
		<-r.Context().Done()
		return true
	}
	s := openStore(t)
	o := via(t, p.URL)
	o.TotalTimeout = 50 * time.Millisecond
	_, err := All(context.Background(), s, planOf(t, goSum(mods)), o)
	if fmt.Sprint(err) != "stopped after 50ms" {
		t.Errorf("got %v", err)
	}
	checkClean(t, s)
}

// The kind of input that nobody can fetch is named, with the rest fetched.
func TestUnknownKinds(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	plan := planOf(t, goSum(mods))
	plan.Inputs = append(plan.Inputs,
		cache.Input{Ecosystem: "cobol", Kind: "tgz", Name: "x", Version: "1", Sum: cache.SumBytes(nil)},
		cache.Input{Ecosystem: "gomod", Kind: "tgz", Name: "example.com/x", Version: "v1.0.0", Sum: cache.SumBytes(nil)})
	_, err := All(context.Background(), openStore(t), plan, via(t, p.URL))
	want := "example.com/x@v1.0.0: kind \"tgz\": nobody knows where to fetch it\n" +
		"x@1: package type \"cobol\": nobody knows where to fetch it"
	if fmt.Sprint(err) != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// A large file goes through without being held in memory, and hundreds of
// files do not add up.
func TestMemory(t *testing.T) {
	files := []txtar.File{{Name: "example.com/big@v1.0.0/noise", Data: noise(48 << 20)}}
	mods := []testModule{newModule(t, module.Version{Path: "example.com/big", Version: "v1.0.0"}, files)}
	for i := range 40 {
		mv := module.Version{Path: fmt.Sprintf("example.com/m%d", i), Version: "v1.0.0"}
		mods = append(mods, newModule(t, mv, []txtar.File{{Name: mv.String() + "/noise", Data: noise(1<<20 + i)}}))
	}
	p := serve(t, mods)
	files = nil
	plan := planOf(t, goSum(mods))
	base := heap()
	var peak atomic.Uint64
	rec := newRecorder()
	var calls atomic.Int64
	rec.advance = func(cache.Input, int64, int64) {
		if calls.Add(1)%100 == 0 {
			if h := heap(); h > peak.Load() {
				peak.Store(h)
			}
		}
	}
	o := via(t, p.URL)
	o.Progress = rec
	mustFetch(t, openStore(t), plan, o)
	if calls.Load() < 100 {
		t.Fatalf("looked at the heap never: %d calls", calls.Load())
	}
	if grown := int64(peak.Load()) - int64(base); grown > 40<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}

// heap is what is live after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func noise(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}).Read(data)
	return data
}

func BenchmarkNothingToDo(b *testing.B) {
	var text strings.Builder
	for i := range 750 {
		fmt.Fprintf(&text, "-- example.com/m%d@v1.0.0/go.mod --\nmodule example.com/m%d\n", i, i)
	}
	mods := parseModules(b, text.String())
	p := serve(b, mods)
	s, err := cache.Open(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	plan := planOf(b, goSum(mods))
	mustFetch(b, s, plan, via(b, p.URL))
	for b.Loop() {
		mustFetch(b, s, plan, Options{})
	}
}
