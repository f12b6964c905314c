package cache

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"maps"
	"path"
	"strings"
	"testing"
)

// packed is a source archive of files, "name: content" each; names that end with
// "@" are links.
func packed(t testing.TB, kind string, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if kind == ".zip" {
		z := zip.NewWriter(&b)
		for _, f := range files {
			name, text, _ := strings.Cut(f, ": ")
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			w.Write([]byte(text)) // into memory
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range files {
		name, text, _ := strings.Cut(f, ": ")
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}
		if link, is := strings.CutSuffix(name, "@"); is {
			h = &tar.Header{Name: link, Typeflag: tar.TypeSymlink, Linkname: text}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			w.Write([]byte(text)) // into memory
		}
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

func content(data []byte) *Content {
	return &Content{ReaderAt: bytes.NewReader(data), Size: int64(len(data))}
}

func TestReadMembers(t *testing.T) {
	large := "a/large/Cargo.lock: " + strings.Repeat("#", maxMember+1)
	for _, kind := range []string{".tar.gz", ".zip"} {
		data := packed(t, kind, "a/Cargo.lock: one", "a/x/../b/Cargo.lock: two", "a/other: three", "/Cargo.lock: four", "../Cargo.lock: five", "./a/..: six", large)
		got, err := ReadMembers("a"+kind, content(data), func(name string) bool { return path.Base(name) == "Cargo.lock" || name == "." })
		if want := map[string]string{"a/Cargo.lock": "one", "a/b/Cargo.lock": "two"}; err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: got %.200q, %v", kind, got, err)
		}
	}
	data := packed(t, ".tar.gz", "a/Cargo.lock@: ../../etc/passwd")
	if got, err := ReadMembers("a.tar.gz", content(data), func(string) bool { return true }); err != nil || len(got) != 0 {
		t.Errorf("a link: %q, %v", got, err)
	}
	for _, name := range []string{"a.tar.gz", "a.tgz", "a.zip"} {
		if _, err := ReadMembers(name, content([]byte("none")), func(string) bool { return true }); err == nil {
			t.Errorf("%s: no archive, and no error", name)
		}
	}
}

// byPath is a Source of bytes by Path.
type byPath map[string][]byte

func (f byPath) Open(in Input) (*Content, error) {
	c := content(f[in.Path])
	c.Closer = nopCloser{}
	return c, nil
}

func TestCheckDerived(t *testing.T) {
	data := packed(t, ".tar.gz", "a/Cargo.lock: one")
	in := Input{Ecosystem: "pip", Kind: "sdist", Name: "a", Version: "1", Path: "a.tar.gz", Sum: SumBytes(data)}
	said := func(file, text string) []Derived { return []Derived{{ID: in.ID(), File: file, Text: text}} }
	for name, tt := range map[string]struct {
		data    []byte
		derived []Derived
		want    string
	}{
		"the same":       {data, said("a/Cargo.lock", "one"), ""},
		"nothing said":   {data, nil, ""},
		"another text":   {data, said("a/Cargo.lock", "two"), "its Cargo.lock is not the one that the cache has"},
		"another file":   {data, said("b/Cargo.lock", "one"), "its Cargo.lock is not the one that the cache has"},
		"not an archive": {[]byte("x"), said("a/Cargo.lock", "one"), "archive: not gzip: unexpected EOF"},
	} {
		in.Sum = SumBytes(tt.data)
		got := ""
		for _, p := range CheckDerived(byPath{in.Path: tt.data}, []Input{in}, tt.derived) {
			got += p.Cause
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	in.Sum = SumBytes([]byte("other"))
	if got := CheckDerived(byPath{in.Path: data}, []Input{in}, said("a/Cargo.lock", "one")); len(got) != 1 || !strings.Contains(got[0].Cause, "checksum mismatch") {
		t.Errorf("an archive with another sum: %v", got)
	}
}

func FuzzReadMembers(f *testing.F) {
	f.Add(".tar.gz", packed(f, ".tar.gz", "a/Cargo.lock: one", "a/link@: Cargo.lock"))
	f.Add(".zip", packed(f, ".zip", "a/Cargo.lock: one"))
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		got, _ := ReadMembers("a"+kind, content(data), func(string) bool { return true })
		for name := range got {
			if !isLocal(name) {
				t.Errorf("%q", name)
			}
		}
	})
}
