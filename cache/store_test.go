package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files lists the regular files below dir, slash-separated, sorted.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p) // p is below dir
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// flip changes one bit in the middle of a file, its mode notwithstanding.
func flip(t testing.TB, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{data[len(data)/2] ^ 1}, int64(len(data)/2)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPut(t *testing.T) {
	s := newStore(t)
	goMod := []byte("module m\n")
	goModSum, err := H1Mod.of(bytes.NewReader(goMod), int64(len(goMod)))
	if err != nil {
		t.Fatal(err)
	}
	zipped := zipOf(t, "m@v1.0.0/go.mod", "module m\n")
	tests := []struct {
		name  string
		sum   Sum
		data  []byte
		index string
	}{
		{"sha256", SumBytes([]byte("x")), []byte("x"), "index/sha256/2d/" + SumBytes([]byte("x")).Hex()},
		{"sha1", mustSum(t, "sha1:11f6ad8ec52a2984abaafd7c3b516503785c2072"), []byte("x"), "index/sha1/11/11f6ad8ec52a2984abaafd7c3b516503785c2072"},
		{"h1mod", goModSum, goMod, ""},
		{"h1", h1(t, zipped), zipped, ""},
		{"none", Sum{}, []byte("nobody promised this"), ""},
		{"empty", SumBytes(nil), nil, ""},
	}
	for _, tt := range tests {
		b, err := s.Put(tt.sum, tt.data)
		if want := (Blob{SumBytes(tt.data), int64(len(tt.data))}); err != nil || b != want {
			t.Errorf("%s: %v, %v; want %v", tt.name, b, err, want)
			continue
		}
		got, err := os.ReadFile(s.Path(b))
		if err != nil || !bytes.Equal(got, tt.data) {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
		if info, err := os.Stat(s.Path(b)); err != nil || info.Mode() != 0o444 {
			t.Errorf("%s: %v, %v", tt.name, info.Mode(), err)
		}
		if found, ok := s.Lookup(tt.sum); ok == tt.sum.IsZero() || found != b && ok {
			t.Errorf("%s: Lookup = %v, %v", tt.name, found, ok)
		}
		if ok := s.Verify(tt.sum); ok == tt.sum.IsZero() {
			t.Errorf("%s: Verify = %v", tt.name, ok)
		}
		if tt.index != "" {
			line, err := os.ReadFile(filepath.Join(s.Dir(), tt.index))
			if want := fmt.Sprintf("%s %d\n", b.Sum, b.Size); err != nil || string(line) != want {
				t.Errorf("%s: index %q, %v; want %q", tt.name, line, err, want)
			}
		}
	}
	before := files(t, s.Dir())
	for _, tt := range tests { // again
		if _, err := s.Put(tt.sum, tt.data); err != nil {
			t.Errorf("%s again: %v", tt.name, err)
		}
	}
	if diff := cmp.Diff(before, files(t, s.Dir())); diff != "" {
		t.Error(diff)
	}
}

func TestMismatchLeavesNothing(t *testing.T) {
	s := newStore(t)
	zipped := zipOf(t, "m@v1.0.0/go.mod", "module m\n")
	for name, tt := range map[string]struct {
		sum      Sum
		data     []byte
		mismatch bool
	}{
		"sha256":          {SumBytes([]byte("x")), []byte("y"), true},
		"sha512":          {mustSum(t, "sha512:"+strings.Repeat("00", 64)), []byte("y"), true},
		"h1 of a zip":     {mustSum(t, zeroH1), zipped, true},
		"h1 of no zip":    {mustSum(t, zeroH1), []byte("no zip"), false},
		"go.mod as a zip": {mustSum(t, strings.Replace(zeroH1, "h1:", "h1mod:", 1)), zipped, true},
	} {
		b, err := s.Put(tt.sum, tt.data)
		var me *MismatchError
		if err == nil || b != (Blob{}) || errors.As(err, &me) != tt.mismatch {
			t.Errorf("%s: %v, %v", name, b, err)
		}
		if me != nil && me.Want != tt.sum {
			t.Errorf("%s: %v", name, me)
		}
		if left := files(t, s.Dir()); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
		if _, ok := s.Lookup(tt.sum); ok {
			t.Errorf("%s: is there", name)
		}
	}
}

func TestDraft(t *testing.T) {
	s := newStore(t)
	d, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "a first try that is longer than the second")
	if d.Size() != 42 {
		t.Errorf("size %d", d.Size())
	}
	if err := d.Reset(); err != nil || d.Size() != 0 {
		t.Fatalf("size %d, %v", d.Size(), err)
	}
	fmt.Fprint(d, "second ")
	fmt.Fprint(d, "try")
	if got, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size())); err != nil || string(got) != "second try" {
		t.Errorf("%q, %v", got, err)
	}
	b, err := d.Commit(SumBytes([]byte("second try")))
	if err != nil || b != blobOf("second try") {
		t.Errorf("%v, %v", b, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(s.Path(b)); err != nil || string(got) != "second try" {
		t.Errorf("%q, %v", got, err)
	}
	d, err = s.Create()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(d, "dropped")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left := files(t, filepath.Join(s.Dir(), "tmp")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestDamagedIndexIsAbsent(t *testing.T) {
	s := newStore(t)
	sum := SumBytes([]byte("x"))
	b, err := s.Put(sum, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Put(SumBytes([]byte("other")), []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	good := fmt.Sprintf("%s %d\n", b.Sum, b.Size)
	for _, line := range []string{
		"", "\n", "\x00", "x", good[:20], good[:len(good)-3], strings.Replace(good, " 1\n", " 2\n", 1), strings.Replace(good, " 1\n", " -1\n", 1),
		good + good, good + "x", strings.Replace(good, "sha256", "sha1", 1), strings.Replace(good, "2d", "00", 1), zeroH1 + " 1\n",
	} {
		if err := os.WriteFile(s.indexPath(sum), []byte(line), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Lookup(sum); ok || got != (Blob{}) {
			t.Errorf("%q: %v, %v", line, got, ok)
		}
		if s.Verify(sum) {
			t.Errorf("%q: verified", line)
		}
		if _, err := os.Stat(s.Path(b)); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	// A line that leads to another whole blob must not cost that blob.
	if err := os.WriteFile(s.indexPath(sum), fmt.Appendf(nil, "%s %d\n", other.Sum, other.Size), 0o644); err != nil {
		t.Fatal(err)
	}
	if s.Verify(sum) || !s.Verify(other.Sum) {
		t.Error("a misled index line")
	}
	if _, err := s.Put(sum, []byte("x")); err != nil || !s.Verify(sum) {
		t.Error("not healed by another Put")
	}
}

func TestVerifyRemovesDamagedBlobs(t *testing.T) {
	s := newStore(t)
	data := zipOf(t, "m@v1.0.0/go.mod", "module m\n")
	sum := h1(t, data)
	b, err := s.Put(sum, data)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(){
		"flipped":  func() { flip(t, s.Path(b)) },
		"replaced": func() { os.Remove(s.Path(b)); os.Mkdir(s.Path(b), 0o755) },
		"cut off":  func() { os.Truncate(s.Path(b), 10) },
		"gone":     func() { os.Remove(s.Path(b)) },
	} {
		damage()
		_, found := s.Lookup(sum)
		if s.Verify(sum) || found != (name == "flipped") {
			t.Errorf("%s: verified, or Lookup = %v", name, found)
		}
		if _, ok := s.Lookup(sum); ok {
			t.Errorf("%s: still there", name)
		}
		if info, err := os.Stat(s.Path(b)); name == "flipped" && err == nil {
			t.Errorf("%s: %v", name, info)
		} else if name == "replaced" {
			os.Remove(s.Path(b))
		}
		if _, err := s.Put(sum, data); err != nil || !s.Verify(sum) {
			t.Errorf("%s: not healed: %v", name, err)
		}
	}
}

func TestSweepTakesOldOnly(t *testing.T) {
	s := newStore(t)
	old := time.Now().Add(-tmpAge - time.Minute)
	for _, name := range []string{"tmp/draft-old", "tmp/.new-old", "tmp/dir-old/x", "tmp/draft-new", "tmp/.new-new", "views/v/.new-old", "views/v/.new-new", "views/v/pack", "blobs/sha256/ab/old"} {
		path := filepath.Join(s.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "new") {
			for p := path; p != s.Dir(); p = filepath.Dir(p) {
				if base := filepath.Base(p); base == "tmp" || base == "v" {
					break
				}
				if err := os.Chtimes(p, old, old); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if _, err := Open(s.Dir()); err != nil {
		t.Fatal(err)
	}
	want := []string{"blobs/sha256/ab/old", "tmp/.new-new", "tmp/draft-new", "views/v/.new-new", "views/v/.new-old", "views/v/pack"}
	if diff := cmp.Diff(want, files(t, s.Dir())); diff != "" {
		t.Error(diff)
	}
	sweep(filepath.Join(s.Dir(), "views", "v"), tmpPrefix, time.Now())
	if got := files(t, filepath.Join(s.Dir(), "views")); !slices.Equal(got, []string{"v/.new-new", "v/pack"}) {
		t.Errorf("views: %q", got)
	}
}

func TestNotes(t *testing.T) {
	s := newStore(t)
	if _, err := s.ReadNote("sumdb/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, text := range []string{"one", "", "another"} {
		if err := s.WriteNote("sumdb/example.com/x", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ReadNote("sumdb/example.com/x"); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, name := range []string{"", "/etc/x", "../x", "a/../../x"} {
		if err := s.WriteNote(name, nil); err == nil {
			t.Errorf("WriteNote(%q) succeeds", name)
		}
		if _, err := s.ReadNote(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("ReadNote(%q): %v", name, err)
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s, err := Open("store")
	if err != nil || s.Dir() != filepath.Join(dir, "store") {
		t.Errorf("%v, %v", s, err)
	}
	if err := os.WriteFile("file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("file"); err == nil {
		t.Error("a file is opened as a store")
	}
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if got, err := DefaultDir(); err != nil || got != "/xdg/hermetic" {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if got, err := DefaultDir(); err == nil {
		t.Errorf("without a home: %q", got)
	}
}
