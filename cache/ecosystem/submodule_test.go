package ecosystem

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
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

// commitFile makes a commit of one file in the repository dir.
func commitFile(t testing.TB, dir, name string) string {
	t.Helper()
	git(t, ".", "init", "-q", dir)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "one")
	return git(t, dir, "rev-parse", "HEAD")
}

// clone is a clone of a repository with three submodules: here, checked out
// without its own submodule; there/deep and skipped, which are not.
func clone(t testing.TB) (dir string, commits map[string]string) {
	t.Helper()
	base := t.TempDir()
	path := func(name string) string { return filepath.Join(base, "srv", name) }
	commits = map[string]string{"inner": commitFile(t, path("inner"), "i"), "deep": commitFile(t, path("deep"), "d")}
	commitFile(t, path("here"), "h")
	git(t, path("here"), "submodule", "add", "-q", path("inner"), "inner")
	git(t, path("here"), "config", "-f", ".gitmodules", "submodule.inner.url", "../inner")
	git(t, path("here"), "commit", "-qam", "two")
	commitFile(t, path("top"), "dir/t")
	for name, at := range map[string]string{"here": "here", "deep": "there/deep", "inner": "skipped"} {
		git(t, path("top"), "submodule", "add", "-q", path(name), at)
		git(t, path("top"), "config", "-f", ".gitmodules", "submodule."+at+".url", "../"+name)
	}
	git(t, path("top"), "config", "-f", ".gitmodules", "submodule.skipped.update", "none")
	git(t, path("top"), "commit", "-qam", "two")
	dir = filepath.Join(base, "clone")
	git(t, ".", "clone", "-q", path("top"), dir)
	git(t, dir, "submodule", "update", "-q", "--init", "here")
	git(t, dir, "remote", "set-url", "origin", "https://user:secret@git.example.com/team/top.git")
	return dir, commits
}

// dumpSubmodules is a plan as text, with what lies over the build context.
func dumpSubmodules(p cache.Plan, commits map[string]string) string {
	text := dump(p)
	for _, o := range p.Overlays {
		text += "overlay " + o.From + " " + o.Path + "\n"
	}
	for _, in := range p.Inputs {
		if in.Component != nil {
			text += "component " + in.Component.PURL + "\n"
		}
	}
	for name, id := range commits {
		text = strings.ReplaceAll(strings.ReplaceAll(text, id, name), id[:6], name)
	}
	return text
}

func TestGitSubmodule(t *testing.T) {
	dir, commits := clone(t)
	locks := func() string {
		plan := New(os.DirFS(dir), []cache.Package{{Type: "git-submodule", Path: "."}}, Options{})
		var b strings.Builder
		for _, l := range plan.Locks {
			fmt.Fprintf(&b, "lock %s %.8s…\n", l.File, l.Sum.Hex())
		}
		return b.String()
	}()
	want := `package git-submodule . {"commits":{"here/inner":"inner","there/deep":"deep"}}
` + locks + `required git here/.gitmodules:2: here/inner@ git:inner
	here/inner
	from https://git.example.com/team/inner
required git .gitmodules:5: there/deep@ git:deep
	there/deep
	from https://git.example.com/team/deep
overlay deps/git-submodule/here/inner here/inner
overlay deps/git-submodule/there/deep there/deep
component pkg:generic/inner@inner?vcs_url=git%2Bhttps:%2F%2Fgit.example.com%2Fteam%2Finner%40inner
component pkg:generic/deep@deep?vcs_url=git%2Bhttps:%2F%2Fgit.example.com%2Fteam%2Fdeep%40deep
`
	line := strings.Count(strings.SplitAfter(git(t, dir, "show", "HEAD:.gitmodules"), "path = there/deep")[0], "\n") + 1
	want = strings.Replace(want, ".gitmodules:5", fmt.Sprint(".gitmodules:", line), 1)
	for _, version := range []string{"2", "3", "4"} {
		git(t, dir, "update-index", "--index-version", version)
		if version == "3" { // is written where an entry has more flags
			if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			git(t, dir, "add", "-N", "new")
		}
		plan := New(os.DirFS(dir), []cache.Package{{Type: "git-submodule", Path: "."}}, Options{})
		if d := cmp.Diff(want, dumpSubmodules(plan, commits)); d != "" {
			t.Errorf("index of version %s: %s", version, d)
		}
	}
	t.Run("as a builder sees it", func(t *testing.T) { seenByBuilder(t, dir, commits) })
}

// seenByBuilder plans from what a builder is sent: lists of submodules, and the
// index of the whole.
func seenByBuilder(t *testing.T, dir string, commits map[string]string) {
	made := New(os.DirFS(dir), []cache.Package{{Type: "git-submodule", Path: "."}}, Options{})
	sent := fstest.MapFS{}
	for _, name := range []string{".gitmodules", "here/.gitmodules", ".git/index"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sent[name] = &fstest.MapFile{Data: data}
	}
	asked := []cache.Package{{Type: "git-submodule", Path: "."}}
	same := func(fsys fs.FS) string {
		return dumpSubmodules(New(fsys, Pinned(asked, made.Packages), Options{}), commits)
	}
	want := strings.NewReplacer("\tfrom https://git.example.com/team/inner\n", "", "\tfrom https://git.example.com/team/deep\n", "").Replace(dumpSubmodules(made, commits))
	want, _, _ = strings.Cut(want, "component")
	want += "component pkg:generic/inner@inner\ncomponent pkg:generic/deep@deep\n" // .git/config is not sent
	if d := cmp.Diff(want, same(sent)); d != "" {
		t.Error(d)
	}
	index := sent[".git/index"]
	delete(sent, ".git/index")
	if d := cmp.Diff(want, same(sent)); d != "" {
		t.Error(d)
	}
	deep, err := hex.DecodeString(commits["deep"])
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.ReplaceAll(index.Data, deep, make([]byte, 20))
	copy(other[len(other)-20:], make([]byte, 20)) // no checksum
	sent[".git/index"] = &fstest.MapFile{Data: other}
	if got := same(sent); !strings.Contains(got, "there/deep@ git:000000") {
		t.Errorf("a submodule that has moved: %s", got)
	}
	delete(sent, ".git/index")
	plan := New(sent, asked, Options{})
	if got := fmt.Sprint(plan.Problems); !strings.Contains(got, `no commit of it is known: want it in "commits" of the package (.git/index: no such file in the build context)`) {
		t.Error(got)
	}
}

func TestGitSubmoduleProblems(t *testing.T) {
	id := strings.Repeat("1", 40)
	for name, c := range map[string]struct {
		fsys    fstest.MapFS
		options string
		want    string
	}{
		"no list":        {fstest.MapFS{}, `{"commits":{"a":"` + id + `"}}`, "[.gitmodules: no such file in the build context]"},
		"broken list":    {fstest.MapFS{".gitmodules": {Data: []byte("[x")}}, "", "[.gitmodules: line 1: not a section]"},
		"outside":        {fstest.MapFS{".gitmodules": {Data: []byte("[submodule \"x\"]\npath = ../x\nurl = https://example.com/x\n")}}, "", "[.gitmodules:2: ../x: not a path inside the repository]"},
		"not a commit":   {fstest.MapFS{}, `{"commits":{"a":"main"}}`, `[{"type":"git-submodule","path":".","commits":{"a":"main"}}: commits: "main": not the full name of a commit, 40 digits in hex]`},
		"commit outside": {fstest.MapFS{}, `{"commits":{"../a":"` + id + `"}}`, `[{"type":"git-submodule","path":".","commits":{"../a":"` + id + `"}}: commits: "../a": not a path inside the package]`},
		"a program": {fstest.MapFS{".gitmodules": {Data: []byte("[submodule \"x\"]\npath = a\nurl = ext::sh -c evil\n")}}, `{"commits":{"a":"` + id + `"}}`,
			"[.gitmodules:2: a: not the URL of a repository]"},
		"an option": {fstest.MapFS{".gitmodules": {Data: []byte("[submodule \"x\"]\npath = a\nurl = ssh://-oProxyCommand=evil/x\n")}}, `{"commits":{"a":"` + id + `"}}`,
			"[.gitmodules:2: a: not the URL of a repository]"},
	} {
		plan := New(c.fsys, []cache.Package{{Type: "git-submodule", Path: ".", Options: c.options}}, Options{})
		if got := fmt.Sprint(plan.Problems); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}

func TestSubmoduleURL(t *testing.T) {
	for _, c := range [][3]string{
		{"https://example.com/a/b.git", "../c.git", "https://example.com/a/c.git"},
		{"https://example.com/a/b/", "./c", "https://example.com/a/b/c"},
		{"ssh://git@example.com/a/b", "../../c/d", "ssh://git@example.com/c/d"},
		{"git@example.com:a/b", "../c", "ssh://git@example.com/a/c"},
		{"/srv/a", "../b", "file:///srv/b"},
		{"https://example.com/a", "git@example.com:x/y.git", "ssh://git@example.com/x/y.git"},
		{"https://example.com/a", "../../../b", "leads above its server"},
		{"https://example.com/a", "https://u:p@example.com/b", "credentials in a URL: they go into .netrc"},
		{"https://example.com/a", "https:example.com/b", `not the URL of a repository: want "//" behind "https:"`},
		{"https://example.com/a", "ftp://example.com/b", `URL scheme "ftp": want https, http, ssh, git or file`},
	} {
		got, err := SubmoduleURL(c[0], c[1])
		if err != nil {
			got = err.Error()
		}
		if got != c[2] {
			t.Errorf("%s in %s: %s, want %s", c[1], c[0], got, c[2])
		}
	}
}

// indexOf is an index of version 2 with a file and a submodule, without its
// checksum.
func indexOf() []byte {
	var b bytes.Buffer
	b.WriteString("DIRC\x00\x00\x00\x02\x00\x00\x00\x02")
	for name, mode := range map[string]string{"file": "\x00\x00\x81\xa4", "lib/sub": "\x00\x00\xe0\x00"} {
		at := b.Len()
		b.Write(make([]byte, 24))
		b.WriteString(mode)
		b.Write(make([]byte, 12))
		b.WriteString(strings.Repeat("\x11", 20) + "\x00" + string(rune(len(name))) + name + "\x00")
		for (b.Len()-at)%8 != 0 {
			b.WriteByte(0)
		}
	}
	b.Write(make([]byte, 20))
	return b.Bytes()
}

func FuzzGitIndex(f *testing.F) {
	if links, err := parseGitIndex(indexOf()); err != nil || links["lib/sub"] != strings.Repeat("11", 20) || len(links) != 1 {
		f.Fatal(links, err)
	}
	f.Add(indexOf())
	f.Fuzz(func(t *testing.T, data []byte) {
		links, err := parseGitIndex(data)
		if err != nil && links != nil {
			t.Error("submodules with an error")
		}
		for at, id := range links {
			if !gitCommit.MatchString(id) {
				t.Errorf("%q: %q", at, id)
			}
		}
	})
}
