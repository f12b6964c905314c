package cache

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// memory is a Source of inputs by name.
type memory map[string]string

func (m memory) Open(in Input) (*Content, error) {
	text, ok := m[in.Name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return &Content{ReaderAt: strings.NewReader(text), Closer: nopCloser{}, Size: int64(len(text))}, nil
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// listing is names, modes, times and contents of all that is below dir, and of
// dir itself.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		content := ""
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = fmt.Sprintf(" %.40q", data)
		case fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			content = " -> " + target
		}
		fmt.Fprintf(&b, "%s %s %s%s\n", info.Mode(), info.ModTime().UTC().Format("2006-01-02 15:04:05.999"), filepath.ToSlash(rel), content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// tarSum is the sum of the tree as a tar, which is how it reaches an image.
func tarSum(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New()
	w := tar.NewWriter(h)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func TestLayoutWrite(t *testing.T) {
	in := func(name, path string, sum Sum) Input {
		return Input{Ecosystem: "gomod", Kind: "zip", Name: name, Version: "v1", Path: path, Sum: sum, Origin: Origin{"go.sum", 1}}
	}
	src := memory{"one": "1", "two": "22", "bad": "other", "any": "whatever"}
	l := Layout{
		Inputs: []Input{
			in("one", "a/b/one", SumBytes([]byte("1"))), in("two", "two", SumBytes([]byte("22"))), in("any", "a/any", Sum{}),
			in("bad", "a/bad", SumBytes([]byte("right"))), in("gone", "a/gone", SumBytes([]byte("x"))),
			{Ecosystem: "gomod", Kind: "zip", Name: "tool", Path: "tool/zip", Need: Optional, Sum: SumBytes([]byte("x"))},
		},
		Extra: []File{{"deps/gomod/made/up", []byte("text")}, {".build-config.json", []byte("{}\n")}, {"empty", nil}},
	}
	const want = `drwxrwxrwx 1980-01-01 00:00:00 .
-rw-rw-rw- 1980-01-01 00:00:00 .build-config.json "{}\n"
drwxrwxrwx 1980-01-01 00:00:00 deps
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod/a
-rw-rw-rw- 1980-01-01 00:00:00 deps/gomod/a/any "whatever"
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod/a/b
-rw-rw-rw- 1980-01-01 00:00:00 deps/gomod/a/b/one "1"
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod/made
-rw-rw-rw- 1980-01-01 00:00:00 deps/gomod/made/up "text"
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod/tool
-rw-rw-rw- 1980-01-01 00:00:00 deps/gomod/two "22"
-rw-rw-rw- 1980-01-01 00:00:00 empty ""
`
	wantProblems := []string{
		"go.sum:1: bad@v1: damaged in the cache: checksum mismatch: want " + SumBytes([]byte("right")).String() + ", got " + SumBytes([]byte("other")).String(),
		"go.sum:1: gone@v1: not in the cache",
	}
	sum := ""
	for run := range 100 {
		old := syscall.Umask([]int{0, 0o022, 0o077, 0o777}[run%4])
		dir := filepath.Join(t.TempDir(), "out")
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.Chmod(dir, 0o755)
		}
		var ps []Problem
		if err == nil {
			ps, err = l.Write(dir, src)
		}
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, listing(t, dir)); diff != "" {
			t.Fatal(diff)
		}
		var got []string
		for _, p := range ps {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(wantProblems, got); diff != "" {
			t.Fatal(diff)
		}
		if s := tarSum(t, dir); run == 0 {
			sum = s
		} else if s != sum {
			t.Fatalf("run %d makes another tree", run)
		}
	}
}

func TestLayoutRefusesPaths(t *testing.T) {
	for _, tt := range []struct {
		ecosystem, path string
		ok              bool
	}{
		{"gomod", "a", true}, {"gomod", "a/../b", true}, {"gomod", "a//./b", true}, {"gomod", "..a", true},
		{"gomod", "../a", false}, {"gomod", "../../a", false}, {"gomod", "../../../a", false}, {"gomod", "/etc/a", false},
		{"gomod", "a/../../b", false}, {"gomod", "", false}, {"gomod", ".", false}, {"gomod", "a/..", false},
		{"..", "a", false}, {"", "a", false}, {"a/b", "x", false}, {"/", "a", false},
	} {
		base := t.TempDir()
		dir := filepath.Join(base, "x", "out")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l := Layout{Inputs: []Input{{Ecosystem: tt.ecosystem, Path: tt.path, Name: "n"}}}
		_, err := l.Write(dir, memory{"n": "x"})
		if (err == nil) != tt.ok {
			t.Errorf("input %s/%s: %v", tt.ecosystem, tt.path, err)
		}
		if got := files(t, base); !tt.ok && len(got) > 0 {
			t.Errorf("input %s/%s: wrote %q", tt.ecosystem, tt.path, got)
		}
	}
	l := Layout{
		Inputs: []Input{{Ecosystem: "gomod", Path: "../a"}},
		Extra:  []File{{Path: "../up"}, {Path: "/etc/x"}, {Path: ""}, {Path: "a/.."}, {Path: "fine"}},
	}
	dir := t.TempDir()
	_, err := l.Write(dir, nil)
	want := "deps/gomod/../a: leaves the directory\n../up: leaves the directory\n/etc/x: leaves the directory\n: leaves the directory\na/..: leaves the directory"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("wrote %q", got)
	}
}

func TestLayoutTrouble(t *testing.T) {
	one := Input{Ecosystem: "gomod", Path: "a", Name: "n"}
	for name, l := range map[string]Layout{
		"two inputs at one path": {Inputs: []Input{one, one}},
		"input and made-up file": {Inputs: []Input{one}, Extra: []File{{Path: "deps/gomod/a"}}},
		"file and directory":     {Inputs: []Input{one}, Extra: []File{{Path: "deps/gomod/a/b"}}},
	} {
		if ps, err := l.Write(t.TempDir(), memory{"n": "x"}); err == nil || ps != nil {
			t.Errorf("%s: %v, %v", name, ps, err)
		}
	}
	if _, err := (Layout{}).Write(filepath.Join(t.TempDir(), "absent"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestCheckTree(t *testing.T) {
	dir := t.TempDir()
	good := []byte("good")
	for name, data := range map[string]string{
		"deps/gomod/good": "good", "deps/gomod/bad": "bad", "deps/gomod/file": "", ".build-config.json": "{}",
	} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("good", filepath.Join(dir, "deps/gomod/link"))
	os.Symlink("/etc/passwd", filepath.Join(dir, "deps/gomod/escape"))
	os.Symlink("../../../x", filepath.Join(dir, "deps/gomod/up"))
	os.Mkdir(filepath.Join(dir, "deps/gomod/directory"), 0o755)
	if err := syscall.Mkfifo(filepath.Join(dir, "deps/gomod/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	var inputs []Input
	for i, name := range []string{"good", "bad", "link", "escape", "up", "directory", "fifo", "absent", "file/below"} {
		for _, need := range []Need{Listed, Required, Optional} {
			inputs = append(inputs, Input{
				Ecosystem: "gomod", Name: name, Version: []string{"listed", "required", "optional"}[need],
				Path: name, Sum: SumBytes(good), Need: need, Origin: Origin{"go.sum", i + 1},
			})
		}
	}
	var want []string
	for i, tt := range []struct{ name, cause string }{
		{"bad", "damaged in the cache: checksum mismatch: want " + SumBytes(good).String() + ", got " + SumBytes([]byte("bad")).String()},
		{"escape", "damaged in the cache: path escapes from parent"},
		{"up", "damaged in the cache: path escapes from parent"},
		{"directory", "damaged in the cache: not a regular file"},
		{"fifo", "damaged in the cache: not a regular file"},
		{"absent", "not in the cache"},
		{"file/below", "damaged in the cache: not a directory"},
	} {
		line := []int{2, 4, 5, 6, 7, 8, 9}[i]
		for _, need := range []string{"listed", "optional", "required"} {
			if tt.name != "absent" || need == "required" {
				want = append(want, fmt.Sprintf("go.sum:%d: %s@%s: %s", line, tt.name, need, tt.cause))
			}
		}
	}
	for range 100 {
		var got []string
		for _, p := range Check(tree, inputs) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	if _, err := OpenTree(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// A tree of Hermeto's has some files at places that ours does not have.
func TestCheckTreeElsewhere(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"own", "its"} {
		if err := MkdirWorld(dir, "deps/npm"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "deps/npm", name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for _, tt := range []struct{ path, elsewhere, content, want string }{
		{"gone", "its", "its", ""},
		{"gone", "its", "other", "x: damaged in the cache: checksum mismatch: want " + SumBytes([]byte("other")).String() + ", got " + SumBytes([]byte("its")).String()},
		{"own", "its", "own", ""},
		{"gone", "gone too", "its", "x: not in the cache"},
		{"gone", "../../../x", "its", "x: damaged in the cache: path escapes from parent"},
	} {
		problems := Check(tree, []Input{{Ecosystem: "npm", Name: "x", Path: tt.path, Elsewhere: tt.elsewhere, Sum: SumBytes([]byte(tt.content)), Need: Required}})
		got := ""
		if len(problems) > 0 {
			got = problems[0].String()
		}
		if got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestHostileViews(t *testing.T) {
	packed := []byte("packed content")
	blob := bytes.Repeat([]byte("blob content "), 10)
	entry := func(size, pack int64) Entry {
		data := packed
		if pack < 0 {
			data = blob
		}
		return Entry{ID: ID{Ecosystem: "gomod", Name: "m", Version: "v1"}, Blob: Blob{SumBytes(data), size}, Pack: pack}
	}
	name := filepath.Join("gomod/blobs/sha256", SumBytes(blob).Hex())
	pack := filepath.Join("gomod", PackFile)
	sparse := func(dir, name string, size int64) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	in := Input{Ecosystem: "gomod", Name: "m", Version: "v1", Path: "x", Sum: mustSum(t, zeroH1)}
	mismatch := func(data []byte, got string) string {
		return "checksum mismatch: want " + SumBytes(data).String() + ", got " + got
	}
	empty := SumBytes(nil).String()
	for _, tt := range []struct {
		name   string
		entry  Entry
		sum    Sum
		damage func(dir string)
		cause  string
	}{
		{"good blob", entry(int64(len(blob)), -1), SumBytes(blob), nil, ""},
		{"good pack", entry(int64(len(packed)), 0), SumBytes(packed), nil, ""},
		{"another sum", entry(int64(len(packed)), 0), SumBytes(blob), nil, mismatch(blob, SumBytes(packed).String())},
		{"offset beyond the pack", entry(14, 1<<40), in.Sum, nil, mismatch(packed, empty)},
		{"last offset", entry(14, 1<<63-15), in.Sum, nil, mismatch(packed, empty)},
		{"huge size in the pack", entry(1<<62, 0), Sum{}, nil, ""},
		{"huge size of a zip in the pack", entry(1<<62, 0), in.Sum, nil, "larger than 500 MB"},
		{"no size", entry(0, 0), in.Sum, nil, mismatch(packed, empty)},
		{"no pack", entry(14, 0), in.Sum, func(dir string) { os.Remove(filepath.Join(dir, pack)) }, "not in the cache"},
		{"pack a directory", entry(14, 0), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, pack))
			os.Mkdir(filepath.Join(dir, pack), 0o755)
		}, "not a regular file"},
		{"pack a fifo", entry(14, 0), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, pack))
			syscall.Mkfifo(filepath.Join(dir, pack), 0o644)
		}, "not a regular file"},
		{"pack a link outside", entry(14, 0), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, pack))
			os.Symlink("/etc/passwd", filepath.Join(dir, pack))
		}, "path escapes from parent"},
		{"no blob", entry(130, -1), in.Sum, func(dir string) { os.Remove(filepath.Join(dir, name)) }, "not in the cache"},
		{"blob a link outside", entry(130, -1), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, name))
			os.Symlink("/etc/passwd", filepath.Join(dir, name))
		}, "path escapes from parent"},
		{"blob a link to itself", entry(130, -1), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, name))
			os.Symlink(filepath.Base(name), filepath.Join(dir, name))
		}, "too many levels of symbolic links"},
		{"blob a directory", entry(130, -1), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, name))
			os.Mkdir(filepath.Join(dir, name), 0o755)
		}, "not a regular file"},
		{"blob a fifo", entry(130, -1), in.Sum, func(dir string) {
			os.Remove(filepath.Join(dir, name))
			syscall.Mkfifo(filepath.Join(dir, name), 0o644)
		}, "not a regular file"},
		{"blobs a fifo", entry(130, -1), in.Sum, func(dir string) {
			os.RemoveAll(filepath.Join(dir, "gomod/blobs"))
			syscall.Mkfifo(filepath.Join(dir, "gomod/blobs"), 0o644)
		}, "not a directory"},
		{"no part", entry(14, 0), in.Sum, func(dir string) { os.RemoveAll(filepath.Join(dir, "gomod")) }, "not in the cache"},
		{"part a file", entry(14, 0), in.Sum, func(dir string) {
			os.RemoveAll(filepath.Join(dir, "gomod"))
			os.WriteFile(filepath.Join(dir, "gomod"), nil, 0o644)
		}, "not a directory"},
		{"part a link outside", entry(14, 0), in.Sum, func(dir string) {
			os.RemoveAll(filepath.Join(dir, "gomod"))
			os.Symlink("/etc", filepath.Join(dir, "gomod"))
		}, "path escapes from parent"},
		{"sparse blob", entry(1<<43, -1), in.Sum, func(dir string) { sparse(dir, name, 1<<43) }, "larger than 500 MB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			os.MkdirAll(filepath.Join(dir, "gomod/blobs/sha256"), 0o755)
			for n, data := range map[string][]byte{pack: packed, name: blob} {
				if err := os.WriteFile(filepath.Join(dir, n), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tt.damage != nil {
				tt.damage(dir)
			}
			v, err := OpenView(dir, &Manifest{Entries: []Entry{tt.entry}})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			in.Sum = tt.sum
			out := t.TempDir()
			ps, err := Layout{Inputs: []Input{in}}.Write(out, v)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimPrefix("m@v1: damaged in the cache: "+tt.cause, "m@v1: damaged in the cache: not in the cache")
			if want == "" {
				want = "m@v1: not in the cache"
			}
			switch {
			case tt.cause == "" && len(ps) == 0:
				data := map[bool][]byte{true: blob, false: packed}[tt.entry.Pack < 0]
				if got, err := os.ReadFile(filepath.Join(out, "deps/gomod/x")); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%q, %v", got, err)
				}
			case tt.cause == "" || len(ps) != 1 || ps[0].String() != want:
				t.Errorf("%v, want %s", ps, want)
			case len(files(t, out)) > 0:
				t.Errorf("written: %q", files(t, out))
			}
		})
	}
	if _, err := OpenView(filepath.Join(t.TempDir(), "absent"), &Manifest{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestCopyTree(t *testing.T) {
	src := t.TempDir()
	for name, mode := range map[string]fs.FileMode{
		"output/deps/gomod/file": 0o600, "output/deps/script.sh": 0o700, "output/bom.json": 0o444, "outside": 0o644,
		"output/latin1-\xe9/\xe9": 0o644, // not UTF-8
	} {
		path := filepath.Join(src, name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	src = filepath.Join(src, "output")
	for name, target := range map[string]string{
		"deps/inside": "gomod/file", "deps/gomod/up": "../script.sh", "dangling": "nowhere", "deps/root": "..", "loop": "loop", "below": "bom.json/x",
		"absolute": "/etc/passwd", "absolute-self": src + "/bom.json", "escape": "../outside", "deps/escape2": "../../outside",
		"deps/by-way": "root/../outside", "deps/by-way2": "root/../nowhere",
	} {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(src, "bom.json"), filepath.Join(src, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, "deps"), 0o500); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(src, "deps/fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(src, "null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Fatalf("the test needs root: %v", err)
	}
	const want = `drwxrwxrwx 1980-01-01 00:00:00 .
Lrwxrwxrwx 1980-01-01 00:00:00 below -> bom.json/x
-rw-rw-rw- 1980-01-01 00:00:00 bom.json "output/bom.json"
Lrwxrwxrwx 1980-01-01 00:00:00 dangling -> nowhere
drwxrwxrwx 1980-01-01 00:00:00 deps
drwxrwxrwx 1980-01-01 00:00:00 deps/gomod
-rw-rw-rw- 1980-01-01 00:00:00 deps/gomod/file "output/deps/gomod/file"
Lrwxrwxrwx 1980-01-01 00:00:00 deps/gomod/up -> ../script.sh
Lrwxrwxrwx 1980-01-01 00:00:00 deps/inside -> gomod/file
Lrwxrwxrwx 1980-01-01 00:00:00 deps/root -> ..
-rwxrwxrwx 1980-01-01 00:00:00 deps/script.sh "output/deps/script.sh"
-rw-rw-rw- 1980-01-01 00:00:00 hard "output/bom.json"
drwxrwxrwx 1980-01-01 00:00:00 latin1-LATIN
-rw-rw-rw- 1980-01-01 00:00:00 latin1-LATIN/LATIN "output/latin1-\xe9/\xe9"
Lrwxrwxrwx 1980-01-01 00:00:00 loop -> loop
`
	wantProblems := []string{
		"deps context/absolute: a link that leads outside",
		"deps context/absolute-self: a link that leads outside",
		"deps context/deps/by-way: a link that leads outside",
		"deps context/deps/by-way2: a link that leads outside",
		"deps context/deps/escape2: a link that leads outside",
		"deps context/deps/fifo: neither a file, a directory nor a link",
		"deps context/escape: a link that leads outside",
		"deps context/null: neither a file, a directory nor a link",
	}
	for run := range 20 {
		old := syscall.Umask([]int{0, 0o077}[run%2])
		dst := t.TempDir()
		ps, err := CopyTree(dst, src)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.ReplaceAll(want, "LATIN", "\xe9"), listing(t, dst)); diff != "" {
			t.Fatal(diff)
		}
		var got []string
		for _, p := range ps {
			got = append(got, p.String())
			if p.Kind != Corrupt {
				t.Errorf("%s: kind %d", p, p.Kind)
			}
		}
		if diff := cmp.Diff(wantProblems, got); diff != "" {
			t.Fatal(diff)
		}
		if a, b := filepath.Join(dst, "hard"), filepath.Join(dst, "bom.json"); sameFile(t, a, b) {
			t.Error("a hard link is still one: a build that writes to one file changes the other")
		}
	}
	if _, err := CopyTree(t.TempDir(), filepath.Join(src, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
