package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// archiveSource has one archive for each sum.
type archiveSource map[Sum][]byte

func (s archiveSource) Open(in Input) (*Content, error) {
	for sum, data := range s { // the sum of an input may be left out
		if in.Sum.IsZero() || in.Sum == sum {
			return &Content{bytes.NewReader(data), io.NopCloser(nil), int64(len(data)), Sum{}}, nil
		}
	}
	return nil, fs.ErrNotExist
}

// modesOf are the entries below dir: what is in a file, where a link leads, and
// the mode of both.
func modesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(name)
			out[rel] = "-> " + to
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		out[rel] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLayoutOfCommits(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	commit := commitFiles(t, repo, map[string]string{"a/x": "1", "run.sh!": "2", "link@": "a/x", "out@": "/etc/passwd"})
	data, sum := archiveOf(t, repo, commit), gitSumOf(t, commit)
	input := func(name string) Input {
		return Input{Ecosystem: "git", Kind: "git", Name: name, Sum: sum, Path: name, Form: Checkout, Need: Required, Origin: Origin{File: "lock", Line: 1}}
	}
	looked := 0
	l := Layout{Inputs: []Input{input("dir/whole")}, Packaging: map[string]Packaging{"picky": {
		Pick: func(tree *GitTree) func(Input) ([]Picked, error) {
			looked++
			return func(in Input) ([]Picked, error) {
				switch in.Name {
				case "none":
					return nil, errors.New("nothing of it is wanted")
				case "bad":
					return []Picked{{Path: "x", From: "gone"}}, nil
				case "twice":
					return []Picked{{Path: "x", Data: []byte("1")}, {Path: "x", Data: []byte("2")}}, nil
				}
				return []Picked{{Path: "to/one", From: "a/x"}, {Path: "made", Data: []byte("up"), Program: true}}, nil
			}
		},
		Finish: func(in Input, files []Unpacked) []File {
			return []File{{Path: "count", Data: fmt.Append(nil, len(files))}}
		},
	}}}
	for _, name := range []string{"some", "none", "bad", "twice"} {
		in := input(name)
		in.Ecosystem = "picky"
		l.Inputs = append(l.Inputs, in)
	}
	dir := t.TempDir()
	problems, err := l.Write(dir, archiveSource{sum: data})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"deps/git/dir/whole/a/x": "666 1", "deps/git/dir/whole/run.sh": "777 2", "deps/git/dir/whole/link": "-> a/x", "deps/git/dir/whole/out": "-> /etc/passwd",
		"deps/picky/some/to/one": "666 1", "deps/picky/some/made": "777 up", "deps/picky/some/count": "666 2",
	}
	if d := cmp.Diff(want, modesOf(t, dir)); d != "" {
		t.Error(d)
	}
	wantProblems := []string{
		`lock:1: bad: archive: "gone" is not in it`, "lock:1: none: nothing of it is wanted", `lock:1: twice: archive: "x" is in it twice`,
	}
	if d := cmp.Diff(wantProblems, texts(problems)); d != "" || looked != 1 {
		t.Errorf("looked %d times; %s", looked, d)
	}
}

func texts(ps []Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

// A commit that is not what it should be leaves nothing of its inputs.
func TestLayoutOfWrongCommits(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	commit := commitFiles(t, repo, map[string]string{"a": "1"})
	data := archiveOf(t, repo, commit)
	other := gitSumOf(t, "1111111111111111111111111111111111111111")
	one := Input{Ecosystem: "git", Name: "one", Sum: other, Path: "one", Form: Checkout, Need: Required, Origin: Origin{File: "lock", Line: 1}}
	two := one
	two.Name, two.Path, two.Origin.Line = "two", "two", 2
	l := Layout{Inputs: []Input{one, two}}
	for name, c := range map[string]struct {
		src         archiveSource
		write, read string
	}{
		"another commit": {archiveSource{other: data}, "damaged in the cache: of commit " + commit + ", want " + other.Hex(),
			"damaged in the cache: checksum mismatch: want " + other.String() + ", got git:" + commit},
		"no archive": {archiveSource{other: []byte("x")}, "damaged in the cache: git archive: not gzip: unexpected EOF", "damaged in the cache: git archive: not gzip: unexpected EOF"},
		"missing":    {archiveSource{}, "not in the cache", "not in the cache"},
	} {
		dir := t.TempDir()
		problems, err := l.Write(dir, c.src)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"lock:1: one: " + c.write, "lock:2: two: " + c.write}, texts(problems)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if got := modesOf(t, dir); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
		if d := cmp.Diff([]string{"lock:1: one: " + c.read, "lock:2: two: " + c.read}, texts(l.Check(c.src))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
