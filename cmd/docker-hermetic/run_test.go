package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

// TestReport holds the voice to its rules: what is said about an error, and
// what the program exits with.
func TestReport(t *testing.T) {
	tests := []struct {
		err  error
		code int
		want string
	}{
		{nil, 0, ""},
		{errors.New("a: b"), 1, "hermetic: a: b\n"},
		{usage("--x: no", "try --y"), 2, "hermetic: --x: no\nhint: try --y\n"},
		{&fault{code: exitRefused, lines: "f:1: x", text: "1 error"}, 3, "f:1: x\nhermetic: 1 error\n"},
		{exited(7), 7, ""},
		{&interruption{syscall.SIGINT}, 130, "hermetic: interrupted\n"},
		{&interruption{syscall.SIGTERM}, 143, "hermetic: interrupted\n"},
		{fmt.Errorf("x: %w", context.Canceled), 130, "hermetic: interrupted\n"},
		{unfetched(&fetch.Error{
			Problems: []cache.Problem{{Origin: cache.Origin{File: "go.sum", Line: 2}, Subject: "m@v1", Cause: "no"}},
			Hints:    []string{"one", "two"},
		}), 3, "go.sum:2: m@v1: no\nhermetic: 1 problem; no deps context was made\nhint: one\nhint: two\n"},
	}
	for _, tt := range tests {
		var out strings.Builder
		p := &program{stderr: &out}
		if code := p.report(tt.err); code != tt.code || out.String() != tt.want {
			t.Errorf("%v: code %d, says %q; want %d, %q", tt.err, code, out.String(), tt.code, tt.want)
		}
	}
}

// TestRunInterrupted: a context that has ended is an interrupt, whatever the
// command makes of it.
func TestRunInterrupted(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&interruption{syscall.SIGTERM})
	var out, words strings.Builder
	code := run(ctx, []string{"hermetic", "prefetch", "--store", filepath.Join(dir, "store"), "--output", filepath.Join(dir, "out"), t.TempDir()},
		[]string{"GOPROXY=off"}, streams{strings.NewReader(""), &out, &words})
	if code != 143 || !strings.HasSuffix(words.String(), "hermetic: interrupted\n") || out.Len() > 0 {
		t.Errorf("code %d, says %q and %q", code, out.String(), words.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is output: %v", err)
	}
}

func TestParsePlatforms(t *testing.T) {
	for _, tt := range []struct {
		flags []string
		want  []string
	}{
		{nil, nil},
		{[]string{"linux/amd64"}, []string{"linux/amd64"}},
		{[]string{"linux/amd64,linux/arm64"}, []string{"linux/amd64", "linux/arm64"}},
		{[]string{"linux/arm64", "linux/arm64/v8", "linux/aarch64"}, []string{"linux/arm64"}},
		{[]string{"linux/arm/v7, linux/x86_64"}, []string{"linux/arm/v7", "linux/amd64"}},
		{[]string{"local"}, []string{ownPlatform()}},
	} {
		got, err := parsePlatforms(tt.flags)
		if err != nil {
			t.Errorf("%q: %v", tt.flags, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.flags, diff)
		}
	}
	for _, bad := range []string{"", "linux/amd64,", "linux/am d64", "/"} {
		if got, err := parsePlatforms([]string{bad}); err == nil {
			t.Errorf("%q: platforms %q, want an error", bad, got)
		}
	}
}

func TestIsRemote(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("github.com/user/repo", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"-": true, "https://example.com/x.tar": true, "http://example.com": true, "git://example.com/x": true,
		"ssh://git@example.com/x": true, "git@example.com:x.git": true, "github.com/other/repo": true,
		"docker-image://example.com/x": true,
		".":                            false, "dir": false, "/abs": false, "github.com/user/repo": false, "a:b": false,
	} {
		if got := isRemote(name); got != want {
			t.Errorf("isRemote(%q) = %v", name, got)
		}
	}
}

// TestReplaceDir: what was there stays until the new tree is whole.
func TestReplaceDir(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	put := func(name, text string) func(string) error {
		return func(tmp string) error { return os.WriteFile(filepath.Join(tmp, name), []byte(text), 0o644) }
	}
	names := func() string {
		var out []string
		if err := filepath.WalkDir(parent, func(path string, d os.DirEntry, err error) error {
			if rel, _ := filepath.Rel(parent, path); rel != "." {
				out = append(out, rel)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, " ")
	}
	if err := replaceDir(dir, put("a", "1")); err != nil || names() != "out out/a" {
		t.Errorf("new: %v: %s", err, names())
	}
	if err := replaceDir(dir, put("b", "2")); err != nil || names() != "out out/b" {
		t.Errorf("replaced: %v: %s", err, names())
	}
	cause := errors.New("half")
	err := replaceDir(dir, func(tmp string) error { return errors.Join(put("c", "3")(tmp), cause) })
	if !errors.Is(err, cause) || names() != "out out/b" {
		t.Errorf("half done: %v: %s", err, names())
	}
}

// TestRunBuildxCancelled: docker ends its plugins by ending their context, with
// no signal: the build is interrupted all the same, and waited for.
func TestRunBuildxCancelled(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		read.Read(make([]byte, 1))
		cancel()
	}()
	p := &program{stdout: write, stderr: io.Discard, env: map[string]string{"PATH": os.Getenv("PATH")}}
	err = p.runBuildx(ctx, child{argv: []string{"/bin/sh", "-c", "trap 'exit 42' INT; echo; while :; do sleep 0.05; done"}})
	if !errors.Is(err, exited(42)) {
		t.Errorf("error %v, want exit code 42", err)
	}
}
