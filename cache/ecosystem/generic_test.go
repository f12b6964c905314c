package ecosystem

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hermetic-build/hermetic/cache"
)

const artifactsHead = "metadata: {version: \"1.0\"}\nartifacts:\n"

// huge is a lockfile of a size that nobody should read.
type huge struct{ t *testing.T }

func (h huge) Open(name string) (fs.File, error) {
	h.t.Errorf("%s is opened", name)
	return nil, fs.ErrPermission
}

func (h huge) Stat(string) (fs.FileInfo, error) {
	m := fstest.MapFS{"x": {Data: make([]byte, 100<<20)}}
	return fs.Stat(m, "x")
}

func planGeneric(fsys fs.FS) cache.Plan {
	return New(fsys, []cache.Package{{Type: "generic", Path: "."}}, Options{})
}

func TestGenericBounds(t *testing.T) {
	if got := fmt.Sprint(planGeneric(huge{t}).Problems); got != "[artifacts.lock.yaml: larger than 2 MB]" {
		t.Errorf("a file of 100 MB: %s", got)
	}
	for _, test := range []struct {
		name, text string
		n          int // problems
		last       string
	}{
		{"grown", strings.Repeat("#", maxArtifacts+1), 1, "artifacts.lock.yaml: larger than 2 MB"},
		{"many problems", artifactsHead + strings.Repeat("- a\n", 3000), maxProblems + 1, "artifacts.lock.yaml:1002: artifact 1000: not a mapping"},
		{"one flow", artifactsHead + "- [" + strings.Repeat("a,", 100_000) + "a]\n", 1, "artifacts.lock.yaml:3: artifact 1: not a mapping"},
		{"deep", strings.Repeat("[", 100_000), 1, "artifacts.lock.yaml:1: not YAML: exceeded max depth of 10000"},
		{"aliases", artifactsHead + "- &a {" + strings.Repeat("k: v, ", 1000) + "}\n" + strings.Repeat("- *a\n", 10_000), 1,
			"artifacts.lock.yaml: aliases repeat more than the file holds"},
	} {
		ps := planGeneric(fstest.MapFS{artifactsLock: {Data: []byte(test.text)}}).Problems
		if len(ps) != test.n || ps[len(ps)-1].String() != test.last {
			t.Errorf("%s: %d problems, the last %s", test.name, len(ps), ps[len(ps)-1])
		}
	}
	ps := planGeneric(fstest.MapFS{artifactsLock: {Data: []byte(artifactsHead + strings.Repeat("- a\n", 3000))}}).Problems
	if want := "artifacts.lock.yaml: 2000 more problems"; ps[0].String() != want {
		t.Errorf("the first is %s, want %s", ps[0], want)
	}
}

// What no text has is told with its line.
func TestGenericNotText(t *testing.T) {
	for text, want := range map[string]string{
		artifactsHead + "- \x00\n":      "artifacts.lock.yaml:3: a control character, U+0000",
		artifactsHead + "- \x1b[31m\n":  "artifacts.lock.yaml:3: a control character, U+001B",
		"# \xff\n":                      "artifacts.lock.yaml:1: not UTF-8",
		"\xff\xfem\x00e\x00t\x00a\x00":  "artifacts.lock.yaml:1: not UTF-8",
		"metadata:\n\tversion: \"1.0\"": "artifacts.lock.yaml:2: not YAML: found character that cannot start any token",
	} {
		if got := fmt.Sprint(planGeneric(fstest.MapFS{artifactsLock: {Data: []byte(text)}}).Problems); got != "["+want+"]" {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Five thousand artifacts are nothing out of the ordinary.
func TestGenericMany(t *testing.T) {
	var b strings.Builder
	b.WriteString(artifactsHead)
	for i := range 5000 {
		fmt.Fprintf(&b, "- download_url: https://example.com/%d\n  checksum: md5:900150983cd24fb0d6963f7d28e17f72\n", i)
	}
	p := planGeneric(fstest.MapFS{artifactsLock: {Data: []byte(b.String())}})
	if len(p.Inputs) != 5000 || len(p.Problems) != 0 || len(p.Warnings) != 5000 || len(p.Env) != 0 {
		t.Errorf("%d inputs, %d problems, %d warnings, env %v", len(p.Inputs), len(p.Problems), len(p.Warnings), p.Env)
	}
}

func TestGenericUnreadable(t *testing.T) {
	fsys := failing{fstest.MapFS{artifactsLock: {Data: []byte(artifactsHead)}}, artifactsLock}
	if got := fmt.Sprint(planGeneric(fsys).Problems); got != "[artifacts.lock.yaml: permission denied]" {
		t.Error(got)
	}
}
