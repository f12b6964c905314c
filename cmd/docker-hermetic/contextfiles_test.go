package main

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
)

// ignoreTree is a context with everything that ignore files speak of.
func ignoreTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{
		"Dockerfile", "a.txt", "b.md", "deep/er/x.go", "deep/er/y.txt", "deep/z.go", "lib/keep/k.go", "lib/k.go",
		"vendor/m/m.go", ".git/config", ".gitmodules", "with space/f", "foo/bar/baz/q.md",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o755), os.WriteFile(filepath.Join(dir, name), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "empty"), 0o755), os.Symlink("deep", filepath.Join(dir, "link")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling")), os.Symlink("/etc", filepath.Join(dir, "out")),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestContextFiles compares the view of a context, asked path by path, with all
// that BuildKit's client would send of it.
func TestContextFiles(t *testing.T) {
	dir := ignoreTree(t)
	for _, ignore := range append([]string{
		"", "# nothing\n", "*\n!deep", "*\n!deep/er/x.go", "**/*.go\n!**/x.go", "deep/**", "/deep/er", "./deep/../lib", "**\n!lib/keep",
		"*\n!lib\nlib/keep", "lib\n!lib/keep/k.go\nlib/keep", "foo\n!foo/bar\nfoo/bar/baz\n!foo/bar/baz/*.md", "!a.txt", "*\n!*/*/x.go",
		"  deep  \n\n#lib\n", "\xef\xbb\xbfdeep",
	}, randomIgnores(200)...) {
		if err := os.WriteFile(filepath.Join(dir, ignoreName), []byte(ignore), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := openContext(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		files, err := c.files(filepath.Join(dir, "Dockerfile"))
		if err != nil {
			t.Fatalf("%q: %v", ignore, err)
		}
		if diff := cmp.Diff(sentPaths(t, dir, ignore), seenPaths(t, files, dir)); diff != "" {
			t.Errorf("%q (-sent +seen)\n%s", ignore, diff)
		}
	}
}

// randomIgnores are ignore files of a few lines, the same in each run.
func randomIgnores(n int) []string {
	patterns := []string{
		"*", "**", "**/*.go", "*.txt", "**/*.txt", "deep", "deep/", "deep/*", "deep/er", "deep/er/x.go", "lib", "lib/keep", "lib/keep/k.go", "lib/**",
		".git*", ".*", "link", "link/er", "dangling", "out", "?.txt", "[ab].*", "with space", "empty", "foo", "foo/**/baz", "foo/bar", "vendor/m",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var out []string
	for range n {
		var lines []string
		for range 1 + rnd.IntN(4) {
			line := patterns[rnd.IntN(len(patterns))]
			if rnd.IntN(3) == 0 {
				line = "!" + line
			}
			lines = append(lines, line)
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	return out
}

// sentPaths are the paths that BuildKit's client sends.
func sentPaths(t *testing.T, dir, ignore string) []string {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(ignore))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	if err := fsutil.Walk(context.Background(), dir, &fsutil.FilterOpt{ExcludePatterns: patterns}, func(p string, _ os.FileInfo, err error) error {
		out = append(out, filepath.ToSlash(p))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// seenPaths asks the view for each path that there is, and checks that its
// listings say the same.
func seenPaths(t *testing.T, files fs.FS, dir string) []string {
	t.Helper()
	var out []string
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		if err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		listed, _ := fs.ReadDir(files, path.Dir(name))
		in := slices.ContainsFunc(listed, func(e fs.DirEntry) bool { return e.Name() == path.Base(name) })
		_, serr := fs.Stat(files, name)
		if there := serr == nil; there != in && d.Type()&fs.ModeSymlink == 0 {
			t.Errorf("%s: listed %v, there %v", name, in, there)
		}
		if in {
			out = append(out, name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// TestContextFilesIgnoreFile: which file is read.
func TestContextFilesIgnoreFile(t *testing.T) {
	for _, tt := range []struct {
		name, dockerfile string
		files            map[string]string
		want             bool // whether a.txt is there
	}{
		{"none", "Dockerfile", nil, true},
		{"the context's", "Dockerfile", map[string]string{".dockerignore": "a.txt"}, false},
		{"the Dockerfile's own", "Dockerfile", map[string]string{".dockerignore": "", "Dockerfile.dockerignore": "a.txt"}, false},
		{"the Dockerfile's own in its place", "Dockerfile", map[string]string{".dockerignore": "a.txt", "Dockerfile.dockerignore": "b.txt"}, true},
		{"the Dockerfile's own, empty", "Dockerfile", map[string]string{".dockerignore": "a.txt", "Dockerfile.dockerignore": ""}, true},
		{"another Dockerfile's", "deep/Other", map[string]string{"Dockerfile.dockerignore": "a.txt", "deep/Other.dockerignore": "*.txt"}, false},
		{"not another Dockerfile's", "deep/Other", map[string]string{"Dockerfile.dockerignore": "a.txt"}, true},
		{"of standard input", "", map[string]string{".dockerignore": "a.txt", "Dockerfile.dockerignore": "b.txt"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := ignoreTree(t)
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := openContext(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			dockerfile := tt.dockerfile
			if dockerfile != "" {
				dockerfile = filepath.Join(dir, dockerfile)
			}
			files, err := c.files(dockerfile)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fs.Stat(files, "a.txt"); (err == nil) != tt.want {
				t.Errorf("a.txt: error %v", err)
			}
		})
	}
	dir := ignoreTree(t)
	if err := os.WriteFile(filepath.Join(dir, ignoreName), []byte("a\n!\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := openContext(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.files(""); err == nil || !strings.HasPrefix(err.Error(), ".dockerignore: ") {
		t.Errorf("malformed: error %v", err)
	}
}
