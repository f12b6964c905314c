package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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

// commit makes a commit of files in the repository dir, and the repository where
// there is none.
func commit(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		git(t, ".", "init", "-q", dir)
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "one")
	return git(t, dir, "rev-parse", "HEAD")
}

// A gitServer has the repositories of a directory, by git's own HTTP backend.
type gitServer struct {
	*httptest.Server
	dir string

	mu    sync.Mutex
	asked []string                                      // paths with queries
	rule  func(http.ResponseWriter, *http.Request) bool // answers itself, or not
}

func serveGit(t testing.TB, dir string) *gitServer {
	t.Helper()
	backend := &cgi.Handler{
		Path: filepath.Join(git(t, ".", "--exec-path"), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	s := &gitServer{dir: dir}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.String())
		s.mu.Unlock()
		if s.rule == nil || !s.rule(w, r) {
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// requests are those since the last call.
func (s *gitServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.asked
	s.asked = nil
	return out
}

// gitPlan has one input a commit, "URL commit", at lines from 1.
func gitPlan(t testing.TB, commits ...string) cache.Plan {
	t.Helper()
	var plan cache.Plan
	for i, c := range commits {
		repository, id, _ := strings.Cut(c, " ")
		sum, err := cache.ParseSum("git:" + id)
		if err != nil {
			t.Fatal(err)
		}
		plan.Inputs = append(plan.Inputs, cache.Input{
			Ecosystem: "cargo", Kind: "git", Name: fmt.Sprintf("crate%d", i), Version: "1.0.0", Sum: sum, Path: fmt.Sprint(i),
			Form: cache.Checkout, Need: cache.Required, Origin: cache.Origin{File: "Cargo.lock", Line: i + 1}, URL: repository,
		})
	}
	return plan
}

// treeOf is what a store has of the first input of a plan.
func treeOf(t testing.TB, s *cache.Store, m *cache.Manifest) map[string]string {
	t.Helper()
	e := m.Entries[0]
	data, err := os.ReadFile(s.Path(e.Blob))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := cache.ReadGitArchive(bytes.NewReader(data), int64(len(data)), e.Sum)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range tree.Entries() {
		if e.Mode == cache.GitModule {
			out[e.Path] = "submodule"
			continue
		}
		text, err := tree.ReadFile(e.Path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		out[e.Path] = string(text)
	}
	return out
}

func TestGit(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	first := commit(t, repo, map[string]string{"a": "1", "dir/b": "2"})
	second := commit(t, repo, map[string]string{"a": "3"})
	git(t, repo, "checkout", "-q", "--orphan", "other")
	git(t, repo, "rm", "-rfq", ".")
	third := commit(t, repo, map[string]string{"c": "4"})
	srv := serveGit(t, dir)
	want := map[string]string{"a": "1", "dir/b": "2"}
	for _, byID := range []string{"false", "true"} {
		t.Run("by id "+byID, func(t *testing.T) {
			git(t, repo, "config", "uploadpack.allowReachableSHA1InWant", byID)
			s := openStore(t)
			u := srv.URL + "/repo"
			plan := gitPlan(t, u+" "+first, u+" "+second, u+" "+third, u+" "+first)
			m := mustFetch(t, s, plan, bare(t, nil))
			if d := cmp.Diff(want, treeOf(t, s, m)); d != "" {
				t.Error(d)
			}
			if len(m.Entries) != 4 || m.Entries[0].Blob != m.Entries[3].Blob {
				t.Errorf("%+v", m.Entries)
			}
			checkClean(t, s)
			if n := strings.Count(strings.Join(srv.requests(), "\n"), "POST "); n != 1 {
				t.Errorf("%d packs were asked for", n)
			}
			mustFetch(t, s, plan, Options{Offline: true, Verify: true, Env: func(string) string { return "" }})
			if got := srv.requests(); got != nil {
				t.Errorf("requests once more: %q", got)
			}
		})
	}
	t.Run("file", func(t *testing.T) {
		s := openStore(t)
		m := mustFetch(t, s, gitPlan(t, "file://"+repo+" "+first, "file://"+repo+" "+third), bare(t, nil))
		if d := cmp.Diff(want, treeOf(t, s, m)); d != "" {
			t.Error(d)
		}
		checkClean(t, s)
	})
	t.Run("git", func(t *testing.T) {
		s := openStore(t)
		m := mustFetch(t, s, gitPlan(t, daemon(t, dir)+"/repo "+first), bare(t, nil))
		if d := cmp.Diff(want, treeOf(t, s, m)); d != "" {
			t.Error(d)
		}
	})
}

// daemon is the URL of a git daemon for the repositories of a directory.
func daemon(t *testing.T, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f, _ := c.(*net.TCPConn).File()
			cmd := exec.Command("git", "-c", "safe.directory=*", "daemon", "--inetd", "--export-all", "--base-path="+dir, dir)
			cmd.Stdin, cmd.Stdout = f, f
			cmd.Run()
			f.Close()
			c.Close()
		}
	}()
	return fmt.Sprintf("git://127.0.0.1:%d", addr.Port)
}

func TestGitSubmodules(t *testing.T) {
	dir := t.TempDir()
	srv := serveGit(t, dir)
	commit(t, filepath.Join(dir, "group/inner"), map[string]string{"deep": "1"})
	commit(t, filepath.Join(dir, "group/none"), map[string]string{"x": "1"})
	sub := filepath.Join(dir, "group/sub")
	commit(t, sub, map[string]string{"lib/x": "2"})
	git(t, sub, "submodule", "add", "-q", filepath.Join(dir, "group/inner"), "third")
	git(t, sub, "config", "-f", ".gitmodules", "submodule.third.url", "../inner")
	git(t, sub, "commit", "-aqm", "with inner")
	top := filepath.Join(dir, "top")
	commit(t, top, map[string]string{"a": "3", "big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
	git(t, top, "submodule", "add", "-q", sub, "vendor/sub")
	git(t, top, "submodule", "add", "-q", filepath.Join(dir, "group/none"), "none")
	git(t, top, "config", "-f", ".gitmodules", "submodule.vendor/sub.url", srv.URL+"/group/sub")
	git(t, top, "config", "-f", ".gitmodules", "submodule.none.update", "none")
	git(t, top, "commit", "-aqm", "with submodules")
	id := git(t, top, "rev-parse", "HEAD")
	s := openStore(t)
	rec := newRecorder()
	o := bare(t, nil)
	o.Progress = rec
	got := treeOf(t, s, mustFetch(t, s, gitPlan(t, srv.URL+"/top "+id), o))
	for _, list := range []string{".gitmodules", "vendor/sub/.gitmodules", "big.bin"} {
		delete(got, list)
	}
	want := map[string]string{"a": "3", "none": "submodule", "vendor/sub": "submodule", "vendor/sub/lib/x": "2", "vendor/sub/third": "submodule", "vendor/sub/third/deep": "1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if notes := strings.Join(rec.notes, "\n"); notes != "Cargo.lock:1: crate0@1.0.0: big.bin: a pointer of git-lfs, whose file is not fetched" {
		t.Errorf("notes: %s", notes)
	}
	t.Run("from disk", func(t *testing.T) {
		git(t, top, "config", "-f", ".gitmodules", "submodule.vendor/sub.url", "file://"+sub)
		git(t, top, "commit", "-aqm", "from disk")
		_, err := All(t.Context(), openStore(t), gitPlan(t, srv.URL+"/top "+git(t, top, "rev-parse", "HEAD")), bare(t, nil))
		if got := strings.ReplaceAll(fmt.Sprint(err), srv.URL, "SERVER"); got != "Cargo.lock:1: crate0@1.0.0: submodule vendor/sub: would be read from this machine's disk (from SERVER/top)" {
			t.Error(got)
		}
	})
}

func TestGitFailures(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	id := commit(t, repo, map[string]string{"a": "1"})
	git(t, ".", "init", "-q", filepath.Join(dir, "empty"))
	none := strings.Repeat("1", 40)
	private := func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user == "me" && password == "s3cret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	for name, c := range map[string]struct {
		repo, id string
		rule     func(http.ResponseWriter, *http.Request) bool
		home     map[string]string
		want     string
	}{
		"no commit":            {"SERVER/repo", none, nil, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/repo: has no such commit in its branches and tags, and gives none by its id"},
		"no repository":        {"SERVER/none", id, nil, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/none: no such repository"},
		"empty":                {"SERVER/empty", id, nil, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/empty: an empty repository"},
		"on disk":              {"file://" + dir + "/none", id, nil, nil, "Cargo.lock:1: crate0@1.0.0: file://DIR/none: no such repository"},
		"on disk, no commit":   {"file://" + repo, none, nil, nil, "Cargo.lock:1: crate0@1.0.0: file://DIR/repo: has no commit " + none},
		"refused":              {"http://127.0.0.1:1/x", id, nil, nil, "Cargo.lock:1: crate0@1.0.0: http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		"no key":               {"ssh://git@127.0.0.1:1/x", id, nil, nil, "Cargo.lock:1: crate0@1.0.0: ssh://127.0.0.1:1/x: no ssh key to show"},
		"sha256":               {"SERVER/repo", strings.Repeat("1", 64), nil, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/repo: commits of the sha256 format cannot be fetched"},
		"private":              {"SERVER/repo", id, private, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/repo: asks for credentials"},
		"netrc":                {"SERVER/repo", id, private, map[string]string{".netrc": "machine HOST login me password s3cret"}, ""},
		"credentials":          {"SERVER/repo", id, private, map[string]string{".git-credentials": "https://a:b@HOST\nhttp://me:s3cret@HOST\n"}, ""},
		"instead":              {"https://example.com/repo", id, private, map[string]string{".gitconfig": "[url \"http://me:s3cret@HOST/\"]\ninsteadOf = https://example.com/\n"}, ""},
		"instead of ssh":       {"ssh://git@example.com/repo", id, nil, map[string]string{".gitconfig": "[url \"http://HOST/\"]\ninsteadOf = git@example.com:\n"}, ""},
		"broken settings":      {"SERVER/repo", id, nil, map[string]string{".gitconfig": "[url\n"}, "HOME/.gitconfig: line 2: not a section"},
		"instead of a program": {"SERVER/repo", id, nil, map[string]string{".gitconfig": "[url \"ext::sh -c \"]\ninsteadOf = http\n"}, "Cargo.lock:1: crate0@1.0.0: SERVER/repo: not the URL of a repository"},
		"once unavailable": {"SERVER/repo", id, func() func(http.ResponseWriter, *http.Request) bool {
			n := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				if n++; n < 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return n < 3
			}
		}(), nil, ""},
		"unavailable": {"SERVER/repo", id, func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}, nil, "Cargo.lock:1: crate0@1.0.0: SERVER/repo: status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := serveGit(t, dir)
			srv.rule = c.rule
			home := t.TempDir()
			fill := strings.NewReplacer("SERVER", srv.URL, "HOST", strings.TrimPrefix(srv.URL, "http://"), "DIR", dir, "HOME", home)
			for file, text := range c.home {
				if err := os.WriteFile(filepath.Join(home, file), []byte(fill.Replace(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o := bare(t, nil)
			env := o.Env
			o.Env = func(name string) string {
				switch name {
				case "HOME":
					return home
				case "SSH_AUTH_SOCK", "XDG_CONFIG_HOME":
					return ""
				}
				return env(name)
			}
			t.Setenv("SSH_AUTH_SOCK", "")
			s := openStore(t)
			_, err := All(context.Background(), s, gitPlan(t, fill.Replace(c.repo)+" "+c.id), o)
			if err == nil {
				err = errors.New("")
			}
			if want := fill.Replace(c.want); err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
			checkClean(t, s)
		})
	}
}

// An archive that the disk has damaged is fetched again.
func TestGitDamaged(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	id := commit(t, repo, map[string]string{"a": "the truth"})
	srv := serveGit(t, dir)
	s := openStore(t)
	plan := gitPlan(t, srv.URL+"/repo "+id)
	m := mustFetch(t, s, plan, bare(t, nil))
	blob := s.Path(m.Entries[0].Blob)
	if err := errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, []byte("a lie"), 0o644)); err != nil {
		t.Fatal(err)
	}
	_, err := All(context.Background(), s, plan, Options{Offline: true, Verify: true, Env: func(string) string { return "" }})
	if got := fmt.Sprint(err); got != "Cargo.lock:1: crate0@1.0.0: not in the store, and offline" && got != "Cargo.lock:1: crate0@1.0.0: damaged in the store, and offline" {
		t.Error(got)
	}
	mustFetch(t, s, plan, bare(t, nil))
	checkClean(t, s)
}

func TestGitCancelled(t *testing.T) {
	dir := t.TempDir()
	id := commit(t, filepath.Join(dir, "repo"), map[string]string{"a": "1"})
	srv := serveGit(t, dir)
	ctx, cancel := context.WithCancelCause(t.Context())
	srv.rule = func(w http.ResponseWriter, r *http.Request) bool {
		cancel(errors.New("enough"))
		<-r.Context().Done()
		return true
	}
	_, err := All(ctx, openStore(t), gitPlan(t, srv.URL+"/repo "+id), bare(t, nil))
	if fmt.Sprint(err) != "enough" {
		t.Error(err)
	}
}
