package cache

import (
	"archive/tar"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// git runs git in dir, with nothing of the user's settings.
func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.com",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// commitFiles makes a repository with files; names with a "!" are programs, with
// a "@" links.
func commitFiles(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		git(t, ".", "init", "-q", dir)
	}
	for name, text := range files {
		program, link := strings.HasSuffix(name, "!"), strings.HasSuffix(name, "@")
		name = filepath.Join(dir, strings.TrimRight(name, "!@"))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case link:
			err = os.Symlink(text, name)
		case program:
			err = os.WriteFile(name, []byte(text), 0o755)
		default:
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "one\n\n19 path=evil/path\n")
	return git(t, dir, "rev-parse", "HEAD")
}

// object is the raw content of an object.
func object(t testing.TB, dir, kind, id string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-C", dir, "cat-file", kind, id)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// archiveOf writes the archive of a commit whose submodules are checked out in
// dir, from what git itself says.
func archiveOf(t testing.TB, dir, commit string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewGitWriter(&b, object(t, dir, "commit", commit))
	if err != nil {
		t.Fatal(err)
	}
	addTree(t, w, dir, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addTree(t testing.TB, w *GitWriter, dir, below string) {
	t.Helper()
	list := git(t, dir, "ls-tree", "-r", "-z", "HEAD")
	for line := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		head, name, ok := strings.Cut(line, "\t")
		if !ok {
			continue
		}
		words := strings.Fields(head)
		mode, _ := strconv.ParseUint(words[0], 8, 32)
		e := GitEntry{Path: below + name, Mode: GitMode(mode)}
		var content []byte
		switch e.Mode {
		case GitModule:
			e.ID = words[2]
			sub := filepath.Join(dir, name)
			if _, err := os.Stat(filepath.Join(sub, ".git")); err == nil {
				e.Commit = object(t, sub, "commit", e.ID)
				if err := w.Add(e, nil); err != nil {
					t.Fatal(err)
				}
				addTree(t, w, sub, below+name+"/")
				continue
			}
		case GitLink:
			e.Link = string(object(t, dir, "blob", words[2]))
		default:
			content = object(t, dir, "blob", words[2])
			e.Size = int64(len(content))
		}
		if err := w.Add(e, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleRepo is a repository with all that a tree can have, and its commit.
func sampleRepo(t testing.TB) (dir, commit string) {
	t.Helper()
	base := t.TempDir()
	inner, sub, top := filepath.Join(base, "inner"), filepath.Join(base, "sub"), filepath.Join(base, "top")
	commitFiles(t, inner, map[string]string{"deep.txt": "deep"})
	commitFiles(t, sub, map[string]string{"lib/sub.c": "int x;\n"})
	git(t, sub, "submodule", "add", "-q", inner, "third")
	git(t, sub, "commit", "-q", "-m", "with inner")
	git(t, ".", "init", "-q", top)
	git(t, top, "submodule", "add", "-q", sub, "vendor/sub")
	git(t, top, "submodule", "update", "-q", "--init", "--recursive")
	commit = commitFiles(t, top, map[string]string{
		"a.b": "1", "a/x": "2", "a0": "3", "a/é": "4", "vendor/sub.txt": "5", "vendor/su": "6",
		"empty": "", "run.sh!": "#!/bin/sh\n", "link@": "a/x", strings.Repeat("d/", 60) + "long": "7",
		"vendor/a\xffb": "not UTF-8",
	})
	return top, commit
}

func gitSumOf(t testing.TB, commit string) Sum {
	t.Helper()
	sum, err := ParseSum("git:" + commit)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestGitArchive(t *testing.T) {
	dir, commit := sampleRepo(t)
	data := archiveOf(t, dir, commit)
	sum := gitSumOf(t, commit)
	if err := sum.Check(bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if again := archiveOf(t, dir, commit); !bytes.Equal(again, data) {
		t.Error("two archives of one commit differ")
	}
	tree, err := ReadGitArchive(bytes.NewReader(data), int64(len(data)), sum)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"vendor/sub/third/deep.txt": "deep", "a/x": "2", "vendor/sub/lib/sub.c": "int x;\n"} {
		if got, err := tree.ReadFile(name, 100); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, ok := tree.Resolve("link"); !ok || got != "a/x" {
		t.Errorf("link leads to %q, %v", got, ok)
	}
	other := gitSumOf(t, strings.Repeat("0", 40))
	if err := other.Check(bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), "checksum mismatch: want git:000") {
		t.Errorf("another commit: %v", err)
	}
}

// TestGitArchiveSHA256 has a repository of git's newer object format.
func TestGitArchiveSHA256(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repo")
	git(t, ".", "init", "-q", "--object-format=sha256", dir)
	commit := commitFiles(t, dir, map[string]string{"a": "1", "b/c": "2"})
	data := archiveOf(t, dir, commit)
	if err := gitSumOf(t, commit).Check(bytes.NewReader(data), int64(len(data))); err != nil || len(commit) != 64 {
		t.Fatal(commit, err)
	}
}

// TestGitArchiveRefused changes an archive in every way that a commit's id alone
// might not notice.
func TestGitArchiveRefused(t *testing.T) {
	dir, commit := sampleRepo(t)
	good := archiveOf(t, dir, commit)
	sum := gitSumOf(t, commit)
	entries := untar(t, good)
	at := func(name string) int {
		for i, e := range entries {
			if e.h.Name == name {
				return i
			}
		}
		t.Fatal("no entry " + name)
		return 0
	}
	swap := func(e []gitTarEntry, i, j int) []gitTarEntry { e[i], e[j] = e[j], e[i]; return e }
	edit := func(name string, f func(*gitTarEntry)) func([]gitTarEntry) []gitTarEntry {
		return func(e []gitTarEntry) []gitTarEntry { f(&e[at(name)]); return e }
	}
	insert := func(h tar.Header, body string) func([]gitTarEntry) []gitTarEntry {
		return func(e []gitTarEntry) []gitTarEntry {
			h.ModTime, h.Format = e[1].h.ModTime, tar.FormatPAX
			return append(e, gitTarEntry{h: &h, body: body})
		}
	}
	tests := map[string]struct {
		change func([]gitTarEntry) []gitTarEntry
		want   string
	}{
		"as it was": {func(e []gitTarEntry) []gitTarEntry { return e }, ""},
		"content":   {edit("app/a0", func(e *gitTarEntry) { e.body = "x" }), "the files are not those of its commit"},
		"mode":      {edit("app/a0", func(e *gitTarEntry) { e.h.Mode = 0o755 }), "the files are not those of its commit"},
		"setuid":    {edit("app/run.sh", func(e *gitTarEntry) { e.h.Mode = 0o4755 }), `"run.sh": mode 4755`},
		"owner":     {edit("app/a0", func(e *gitTarEntry) { e.h.Uid = 1 }), "not written as it should be"},
		"time":      {edit("app/a0", func(e *gitTarEntry) { e.h.ModTime = e.h.ModTime.AddDate(1, 0, 0) }), "not written as it should be"},
		"attribute": {edit("app/a0", func(e *gitTarEntry) {
			e.h.Format, e.h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.user.x": "y"}
		}), "not written as it should be"},
		"order":           {func(e []gitTarEntry) []gitTarEntry { return swap(e, at("app/a0"), at("app/empty")) }, "not written as it should be"},
		"left out":        {func(e []gitTarEntry) []gitTarEntry { return append(e[:at("app/a0")], e[at("app/a0")+1:]...) }, "the files are not those of its commit"},
		"twice":           {insert(tar.Header{Name: "app/a0", Mode: 0o644, Size: 1, Typeflag: tar.TypeReg}, "3"), `"a0": is in it twice`},
		"outside":         {insert(tar.Header{Name: "app/../x", Mode: 0o644}, ""), "not a path inside it"},
		"absolute":        {insert(tar.Header{Name: "/etc/x", Mode: 0o644}, ""), "not below app"},
		"git directory":   {insert(tar.Header{Name: "app/a/.GIT/config", Mode: 0o644}, ""), "a name that git keeps for itself"},
		"NTFS":            {insert(tar.Header{Name: "app/git~1", Mode: 0o644}, ""), "a name that git keeps for itself"},
		"HFS+":            {insert(tar.Header{Name: "app/.g\u200cit/x", Mode: 0o644}, ""), "a name that git keeps for itself"},
		"below a link":    {insert(tar.Header{Name: "app/link/x", Mode: 0o644, Typeflag: tar.TypeReg}, ""), "below what is no directory"},
		"a device":        {insert(tar.Header{Name: "app/dev", Typeflag: tar.TypeChar}, ""), "neither a file, a link nor a submodule"},
		"hard link":       {insert(tar.Header{Name: "app/hard", Typeflag: tar.TypeLink, Linkname: "app/a0"}, ""), "neither a file, a link nor a submodule"},
		"empty directory": {insert(tar.Header{Name: "app/z/", Typeflag: tar.TypeDir}, ""), "not a submodule"},
		"linked list":     {insert(tar.Header{Name: "app/z/.gitmodules", Typeflag: tar.TypeSymlink, Linkname: "x"}, ""), "a link"},
		"submodule of another commit": {edit("app/vendor/sub/third/", func(e *gitTarEntry) {
			e.h.PAXRecords["comment"] = base64.StdEncoding.EncodeToString(append(object(t, dir, "commit", commit), '\n'))
		}), "the files are not those of its commit"},
		"submodule emptied": {func(e []gitTarEntry) []gitTarEntry {
			i := at("app/vendor/sub/third/")
			e[i].h.PAXRecords["comment"] = "gitlink " + git(t, filepath.Join(dir, "vendor/sub/third"), "rev-parse", "HEAD")
			return append(e[:i+1], e[i+2:]...)
		}, "a submodule that should be in it"},
		"commit message": {func(e []gitTarEntry) []gitTarEntry {
			e[0].h.PAXRecords["comment"] = base64.StdEncoding.EncodeToString(append(object(t, dir, "commit", commit), 'x'))
			return e
		}, "checksum mismatch"},
		"no commit": {func(e []gitTarEntry) []gitTarEntry { return e[1:] }, "no commit at its beginning"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := retar(t, test.change(clone(entries)))
			err := sum.Check(bytes.NewReader(data), int64(len(data)))
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	for name, data := range map[string][]byte{
		"trailing bytes":  append(bytes.Clone(good), 0),
		"a second member": append(bytes.Clone(good), good...),
		"cut off":         good[:len(good)-20],
		"empty":           {},
	} {
		if err := sum.Check(bytes.NewReader(data), int64(len(data))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A gitTarEntry is an entry of a tar file, to be changed.
type gitTarEntry struct {
	h    *tar.Header
	body string
}

func clone(entries []gitTarEntry) []gitTarEntry {
	out := make([]gitTarEntry, len(entries))
	for i, e := range entries {
		h := *e.h
		h.PAXRecords = map[string]string{}
		for k, v := range e.h.PAXRecords {
			if k == "comment" || e.h.Typeflag == tar.TypeXGlobalHeader {
				h.PAXRecords[k] = v
			}
		}
		out[i] = gitTarEntry{&h, e.body}
	}
	return out
}

func untar(t *testing.T, data []byte) []gitTarEntry {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var out []gitTarEntry
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, gitTarEntry{h, string(body)})
	}
}

func retar(t *testing.T, entries []gitTarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if err := w.WriteHeader(e.h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGitmodules(t *testing.T) {
	got, err := ParseGitmodules([]byte(`# remark
[submodule "a \"b\""]
	path = libs/x/ ; remark
	URL = "https://example.com/x.git"
[core]
	bare
[submodule "none"] path = n
	url = ../n.git
	update = none
[submodule.old]
	path = o \
p
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Gitmodules{
		{Name: `a "b"`, Path: "libs/x", URL: "https://example.com/x.git", Line: 3},
		{Name: "none", Path: "n", URL: "../n.git", Line: 7, Skipped: true},
		{Name: "old", Path: "o p", Line: 11},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]string{
		"path = x":            "line 1: a name before any section",
		"[a]\n=":              "line 2: not a name",
		"[a]\nb c":            "line 2: no = behind the name",
		"[a]\nb = \"c":        "line 2: a quote is not closed",
		"[a]\nb = \\x":        "line 2: an escape that is not known",
		"[a":                  "line 1: not a section",
		"[a \"b\n\"]":         "line 2: not a section",
		"[a]\nx\x00":          "line 2: no = behind the name",
		"[submodule \"x\"] 1": "",
	} {
		_, err := ParseGitmodules([]byte(text))
		if got := fmt.Sprint(err); want != "" && got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzGitmodules(f *testing.F) {
	f.Add([]byte("[submodule \"x\"]\npath = a\nurl = \"b\\\n\\t\" ; c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseGitmodules(data)
		if err != nil && list != nil {
			t.Error("a list with an error")
		}
		for _, s := range list {
			if s.Path == "" || s.Line < 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// smallArchive is the tar file in the archive of a commit of one file, with the
// commit's id, computed here.
func smallArchive(t testing.TB) (plain []byte, commit string) {
	t.Helper()
	id := func(kind, text string) string {
		sum := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(text), text))
		return string(sum[:])
	}
	tree := id("tree", "100644 a\x00"+id("blob", "content"))
	text := fmt.Sprintf("tree %x\nauthor a <a@example.com> 1700000000 +0000\ncommitter c <c@example.com> 1700000000 +0000\n\none\n", tree)
	var b bytes.Buffer
	w, err := newGitTar(&b, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(GitEntry{Path: "a", Mode: GitFile, Size: 7}, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), hex.EncodeToString([]byte(id("commit", text)))
}

func FuzzGitArchive(f *testing.F) {
	plain, commit := smallArchive(f)
	sumOf := func(data []byte) (Sum, error) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(data)
		w.Close()
		return gitSum(bytes.NewReader(b.Bytes()), int64(b.Len()))
	}
	if sum, err := sumOf(plain); err != nil || sum.Hex() != commit {
		f.Fatal(sum, err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, data []byte) {
		if sum, err := sumOf(data); err == nil && sum.Hex() == commit && !bytes.Equal(data, plain) {
			t.Error("another archive of the same commit")
		}
	})
}
