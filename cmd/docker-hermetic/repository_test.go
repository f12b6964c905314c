package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

func gitrepoCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: gitrepo DIR [URL]")
	}
	url := ""
	if len(args) == 2 {
		url = args[1]
	}
	_, err := makeRepository(ts.MkAbs(args[0]), url)
	ts.Check(err)
}

// commitTime is when the commits of makeRepository are made.
var commitTime = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// makeRepository makes dir a git repository with one commit of all that is in
// it, and is the commit's id.
func makeRepository(dir, origin string) (string, error) {
	repo, err := git.PlainInit(dir, false)
	if err != nil {
		return "", err
	}
	if origin != "" {
		if _, err := repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{origin}}); err != nil {
			return "", err
		}
	}
	tree, err := repo.Worktree()
	if err != nil {
		return "", err
	}
	if err := tree.AddGlob("."); err != nil {
		return "", err
	}
	who := object.Signature{Name: "A", Email: "a@example.com", When: commitTime}
	id, err := tree.Commit("one", &git.CommitOptions{Author: &who, Committer: &who, AllowEmptyCommits: true})
	return id.String(), err
}

func TestOpenRepository(t *testing.T) {
	dir := t.TempDir()
	if _, err := openRepository(dir); !errors.Is(err, errNoRepository) {
		t.Errorf("no repository: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	id, err := makeRepository(dir, "https://user:secret@example.com/team/app.git/?token=x")
	if err != nil {
		t.Fatal(err)
	}
	want := "git+https://example.com/team/app.git@" + id
	for _, at := range []string{dir, filepath.Join(dir, "sub", "dir")} {
		r, err := openRepository(at)
		if err != nil || r.revision().Repository != want || !r.at.Equal(commitTime) {
			t.Errorf("%s: %v, %v, want %s", at, r, err, want)
		}
	}
	// A worktree and a submodule have a file .git that leads to the real one.
	linked := t.TempDir()
	if err := os.WriteFile(filepath.Join(linked, ".git"), []byte("gitdir: "+filepath.Join(dir, ".git")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := openRepository(linked); err != nil || r.commit != id {
		t.Errorf("a file .git: %v, %v", r, err)
	}
	lone := t.TempDir()
	if _, err := makeRepository(lone, ""); err != nil {
		t.Fatal(err)
	}
	if r, err := openRepository(lone); !errors.Is(err, errNoOrigin) || r.commit == "" {
		t.Errorf("no origin: %v, %v", r, err)
	}
	if _, err := git.PlainInit(t.TempDir(), false); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if _, err := git.PlainInit(fresh, false); err != nil {
		t.Fatal(err)
	}
	if _, err := openRepository(fresh); err == nil || err.Error() != "the git repository has no commit" {
		t.Errorf("no commit: %v", err)
	}
}

// TestRevisions: a package in a submodule is named by this.
func TestRevisions(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "libs", "sub")
	if err := os.MkdirAll(filepath.Join(sub, "pkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	subID, err := makeRepository(sub, "git@example.com:team/sub.git")
	if err != nil {
		t.Fatal(err)
	}
	id, err := makeRepository(dir, "https://example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	r, err := openRepository(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for at, rev := range r.revisions(dir, []string{".", "libs/sub/pkg", "libs"}) {
		got[at] = rev.Repository
	}
	want := map[string]string{".": "git+https://example.com/app@" + id, "libs/sub": "git+ssh://git@example.com/team/sub.git@" + subID}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestPublicURL(t *testing.T) {
	for remote, want := range map[string]string{
		"https://user:secret@example.com/a.git": "https://example.com/a.git",
		"https://token@example.com:8443/a/b/":   "https://example.com:8443/a/b",
		"https://example.com/a?x=y#z":           "https://example.com/a",
		"ssh://git:secret@example.com/a":        "ssh://git@example.com/a",
		"git@example.com:team/a.git":            "ssh://git@example.com/team/a.git",
		"example.com:/srv/a":                    "ssh://example.com/srv/a",
		"/srv/a.git":                            "file:///srv/a.git",
		"http://[::1":                           "",
	} {
		if got := publicURL(remote); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}
