package cache

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tarEntry is one entry of a test's archive; its type is that of a file unless
// the name ends with a slash.
type tarEntry struct {
	name, data string
	mode       int64
	kind       byte
	link       string
}

// pack makes a compressed archive.
func pack(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.data))}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// bytesSource has one content for every input.
type bytesSource []byte

func (s bytesSource) Open(Input) (*Content, error) {
	return &Content{ReaderAt: bytes.NewReader(s), Closer: noClose{}, Size: int64(len(s))}, nil
}

type noClose struct{}

func (noClose) Close() error { return nil }

// unpackInput is the input of these tests.
func unpackInput(data []byte) Input {
	return Input{Ecosystem: "eco", Kind: "crate", Name: "a", Version: "1.0.0", Sum: SumBytes(data), Path: "a-1.0.0",
		Form: Archive, Need: Required, Origin: Origin{"lock", 1}}
}

// packaging leaves out "skipped" and makes a list of the files.
var packaging = map[string]Packaging{"eco": {
	Skip: func(name string) bool { return name == "skipped" },
	Finish: func(in Input, files []Unpacked) []File {
		var lines strings.Builder
		for _, f := range files {
			fmt.Fprintf(&lines, "%s %s\n", f.Path, f.Sum.Hex()[:8])
		}
		return []File{{Path: ".list", Data: []byte(lines.String())}}
	},
}}

// tree lists what is below dir: modes, times and, of files, content.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		fmt.Fprintf(&b, "%v %d %s", info.Mode(), info.ModTime().Unix(), filepath.ToSlash(rel))
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %.60q", data)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestUnpack(t *testing.T) {
	data := pack(t,
		tarEntry{kind: tar.TypeXGlobalHeader, name: "pax"},
		tarEntry{name: "a-1.0.0/"},
		tarEntry{name: "a-1.0.0/src/deep/lib.rs", data: "lib", mode: 0o600},
		tarEntry{name: "a-1.0.0/run.sh", data: "run", mode: 0o755},
		tarEntry{name: "a-1.0.0/skipped", data: "x"},
		tarEntry{name: "a-1.0.0/src/", mode: 0o500},
		tarEntry{name: "a-1.0.0/empty/"},
	)
	want := `drwxrwxrwx 315532800 .
drwxrwxrwx 315532800 deps
drwxrwxrwx 315532800 deps/eco
drwxrwxrwx 315532800 deps/eco/a-1.0.0
-rw-rw-rw- 315532800 deps/eco/a-1.0.0/.list "src/deep/lib.rs 80755a5d\nrun.sh acba25512100\n"
drwxrwxrwx 315532800 deps/eco/a-1.0.0/empty
-rwxrwxrwx 315532800 deps/eco/a-1.0.0/run.sh "run"
drwxrwxrwx 315532800 deps/eco/a-1.0.0/src
drwxrwxrwx 315532800 deps/eco/a-1.0.0/src/deep
-rw-rw-rw- 315532800 deps/eco/a-1.0.0/src/deep/lib.rs "lib"
`
	want = strings.Replace(want, "80755a5d", SumBytes([]byte("lib")).Hex()[:8], 1)
	want = strings.Replace(want, "acba25512100", SumBytes([]byte("run")).Hex()[:8], 1)
	for range 20 {
		dir := t.TempDir()
		problems, err := Layout{Inputs: []Input{unpackInput(data)}, Packaging: packaging}.Write(dir, bytesSource(data))
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	ok := tarEntry{name: "a-1.0.0/lib.rs", data: "lib"}
	many := make([]tarEntry, maxTreeFiles+1)
	for i := range many {
		many[i] = tarEntry{name: "a-1.0.0/"}
	}
	large := pack(t, tarEntry{name: "a-1.0.0/zeros", data: strings.Repeat("\x00", 1<<20)})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"not gzip":          {[]byte("plain"), "archive: not gzip: unexpected EOF"},
		"not tar":           {gzipped(t, bytes.Repeat([]byte("x"), 1024)), "archive: not a tar file: archive/tar: invalid tar header"},
		"cut off":           {large[:len(large)-100], `archive: "zeros": unexpected EOF`},
		"upwards":           {pack(t, ok, tarEntry{name: "a-1.0.0/../../x", data: "x"}), `archive: "a-1.0.0/../../x": not a path inside it`},
		"absolute":          {pack(t, ok, tarEntry{name: "/etc/passwd", data: "x"}), `archive: "/etc/passwd": not a path inside it`},
		"backslash":         {pack(t, ok, tarEntry{name: `a-1.0.0\..\x`, data: "x"}), `archive: "a-1.0.0\\..\\x": not a path inside it`},
		"another directory": {pack(t, ok, tarEntry{name: "b-1.0.0/x", data: "x"}), `archive: "b-1.0.0/x": not below "a-1.0.0", as the others are`},
		"no directory":      {pack(t, tarEntry{name: "x", data: "x"}), `archive: "x" is not in a directory`},
		"symbolic link":     {pack(t, ok, tarEntry{name: "a-1.0.0/l", kind: tar.TypeSymlink, link: "/etc/passwd"}), `archive: "a-1.0.0/l" is a link`},
		"hard link":         {pack(t, ok, tarEntry{name: "a-1.0.0/l", kind: tar.TypeLink, link: "a-1.0.0/lib.rs"}), `archive: "a-1.0.0/l" is a link`},
		"device":            {pack(t, ok, tarEntry{name: "a-1.0.0/d", kind: tar.TypeBlock}), `archive: "a-1.0.0/d" is neither a file nor a directory`},
		"pipe":              {pack(t, ok, tarEntry{name: "a-1.0.0/p", kind: tar.TypeFifo}), `archive: "a-1.0.0/p" is neither a file nor a directory`},
		"twice":             {pack(t, ok, ok), `archive: "lib.rs" is in it twice`},
		"below a file":      {pack(t, ok, tarEntry{name: "a-1.0.0/lib.rs/x", data: "x"}), `archive: "lib.rs" is in it twice`},
		"what is made up":   {pack(t, ok, tarEntry{name: "a-1.0.0/.list", data: "x"}), `archive: ".list" is in it twice`},
		"a long name":       {pack(t, ok, tarEntry{name: "a-1.0.0/" + strings.Repeat("n", 256), data: "x"}), `archive: "a-1.0.0/` + strings.Repeat("n", 192) + `": too long a name`},
		"many entries":      {pack(t, many...), "archive: more than 100000 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := unpackInput(c.data)
			problems, err := Layout{Inputs: []Input{in}, Packaging: packaging}.Write(dir, bytesSource(c.data))
			if err != nil {
				t.Fatal(err)
			}
			if len(problems) != 1 || problems[0].String() != "lock:1: a@1.0.0: "+c.want || problems[0].Kind != Corrupt {
				t.Errorf("got  %v\nwant %s", problems, c.want)
			}
			if _, err := os.Lstat(filepath.Join(dir, "deps/eco/a-1.0.0")); err == nil {
				t.Error("something of it was left")
			}
		})
	}
}

// TestUnpackBomb: a megabyte that would become more than half a gigabyte.
func TestUnpackBomb(t *testing.T) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	const size = maxTree + 1<<20
	if err := w.WriteHeader(&tar.Header{Name: "a-1.0.0/zeros", Size: size}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range size >> 20 {
		w.Write(zeros) // into memory
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	data := out.Bytes()
	problems, err := Layout{Inputs: []Input{unpackInput(data)}}.Write(t.TempDir(), bytesSource(data))
	if err != nil || len(problems) != 1 || problems[0].Cause != "archive: unpacks to more than 512 MB" {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestUnpackChecksFirst: an archive with another sum is not even opened.
func TestUnpackChecksFirst(t *testing.T) {
	data := pack(t, tarEntry{name: "a-1.0.0/lib.rs", data: "lib"})
	in := unpackInput([]byte("other"))
	dir := t.TempDir()
	problems, err := Layout{Inputs: []Input{in}}.Write(dir, bytesSource(data))
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Cause, "checksum mismatch") {
		t.Errorf("%v, %v", problems, err)
	}
	if names, err := os.ReadDir(filepath.Join(dir, "deps/eco")); err != nil || len(names) > 0 {
		t.Errorf("%v, %v", names, err)
	}
}

// TestCheckUnpacked: directories that another tool made are the ecosystem's to
// check.
func TestCheckUnpacked(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"a-1.0.0/mark": "good", "b-1.0.0/mark": "bad", "file": ""} {
		name = filepath.Join(dir, "deps/eco", name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(in Input, dir fs.FS) error {
		data, err := fs.ReadFile(dir, "mark")
		if err == nil && string(data) != "good" {
			err = fmt.Errorf("marked %s", data)
		}
		return err
	}
	var inputs []Input
	for i, path := range []string{"a-1.0.0", "b-1.0.0", "file", "none", "unneeded"} {
		in := unpackInput(nil)
		in.Path, in.Name, in.Origin.Line = path, path, i+1
		if path == "unneeded" {
			in.Need = Listed
		}
		inputs = append(inputs, in)
	}
	src, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var got []string
	for _, p := range (Layout{Inputs: inputs, Packaging: map[string]Packaging{"eco": {Check: check}}}).Check(src) {
		got = append(got, p.String())
	}
	want := []string{
		"lock:2: b-1.0.0@1.0.0: damaged in the cache: marked bad",
		"lock:3: file@1.0.0: damaged in the cache: not a directory",
		"lock:4: none@1.0.0: not in the cache",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ps := Check(src, inputs[:1]); len(ps) != 1 || !strings.Contains(ps[0].Cause, "nothing tells what it is") {
		t.Errorf("without a check: %v", ps)
	}
}

// TestFormInJSON: the layout step is told of forms, and plain files are told of
// as before there were any.
func TestFormInJSON(t *testing.T) {
	for in, want := range map[Form]bool{Plain: false, Archive: true} {
		data, err := json.Marshal(Input{Form: in})
		if err != nil || strings.Contains(string(data), "Form") != want {
			t.Errorf("%q: %s, %v", in, data, err)
		}
		var back Input
		if err := json.Unmarshal(data, &back); err != nil || back.Form != in {
			t.Errorf("%q: back as %q, %v", in, back.Form, err)
		}
	}
}

func TestMounted(t *testing.T) {
	p := Plan{Sections: []Section{{File: "/b", Name: "x", Text: "X ${output_dir}/x\n"}, {File: "/a", Name: "z", Text: "Z\n"}, {File: "/a", Name: "y", Text: "Y $HOME\n"}, {File: "/a", Name: "z", Text: "Z\n"}}}
	p.Normalize()
	got := ""
	for _, f := range Mounted(p.Sections, "/out") {
		got += f.Path + ": " + string(f.Data)
	}
	if want := "/a: Y $HOME\n\nZ\n/b: X /out/x\n"; got != want || len(p.Problems) > 0 {
		t.Errorf("%q, %v", got, p.Problems)
	}
	p.Add(Plan{Sections: []Section{{File: "/a", Name: "y", Text: "other"}}, Project: []ProjectFile{{Path: "f", Template: "1"}, {Path: "f", Template: "2"}, {Path: "g", Template: "1"}}})
	p.Normalize()
	want := []Problem{
		{BadLock, Origin{}, "y", "two packages give it different meanings, and both would be in /a"},
		{BadLock, Origin{File: "f"}, "", "two packages want different content in it"},
	}
	if diff := cmp.Diff(want, p.Problems); diff != "" {
		t.Error(diff)
	}
}

// FuzzUnpack: whatever an archive holds, nothing is written outside, and what
// is written is files and directories.
func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, tarEntry{name: "a/b", data: "x"}, tarEntry{name: "a/c/"}))
	f.Add(pack(f, tarEntry{name: "a/../b", data: "x"}))
	f.Add(pack(f, tarEntry{name: "a/b", kind: tar.TypeSymlink, link: ".."}, tarEntry{name: "a/b/c", data: "x"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		data := raw
		if !bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
			data = gzipped(t, raw) // so that mutations reach the tar file
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := (Layout{Inputs: []Input{unpackInput(data)}, Packaging: packaging}).Write(dir, bytesSource(data)); err != nil {
			t.Fatal(err)
		}
		if names, err := os.ReadDir(outer); err != nil || len(names) != 1 {
			t.Fatalf("written outside: %v, %v", names, err)
		}
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !d.Type().IsRegular() {
				t.Errorf("%s: %v", name, d.Type())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(data) // into memory
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
