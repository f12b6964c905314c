package cache

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestRender(t *testing.T) {
	for template, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"${output_dir}/a":                      "/out/a",
		"$output_dir/a, $output_directory":     "/out/a, $output_directory",
		"$HOME ${HOME} $$HOME $1 $":            "$HOME ${HOME} $HOME $1 $",
		"${output_dir}${output_dir}":           "/out/out",
		strings.Repeat("${output_dir}\n", 1e5): strings.Repeat("/out\n", 1e5),
	} {
		if got := string((ProjectFile{Template: template}).Render("/out")); got != want {
			t.Errorf("%.40q: %.40q, want %.40q", template, got, want)
		}
	}
}

func TestRenderedFor(t *testing.T) {
	for _, c := range []struct{ template, text, dir string }{
		{"a ${output_dir}/x b ${output_dir}\n", "a /home/me/x b /home/me\n", "/home/me"},
		{"${output_dir}", "/cachi2/output", "/cachi2/output"},
		{"${output_dir}${output_dir}", "/a/a", "/a"},
		{"none", "none", ""},
	} {
		if dir, ok := (ProjectFile{Template: c.template}).renderedFor([]byte(c.text)); !ok || dir != c.dir {
			t.Errorf("%q as %q: %q, %v", c.template, c.text, dir, ok)
		}
	}
	for _, c := range []struct{ template, text string }{
		{"a ${output_dir} b ${output_dir}", "a /x b /y"},
		{"a ${output_dir} b ${output_dir}", "a /x b /xy"},
		{"a ${output_dir}", "b /x"}, {"a ${output_dir}", "a"}, {"${output_dir}", "relative"}, {"${output_dir}", "/a\n/b"},
		{"none", "other"}, {"\x00${output_dir}", "\x00/x"},
	} {
		if dir, ok := (ProjectFile{Template: c.template}).renderedFor([]byte(c.text)); ok {
			t.Errorf("%q as %q: %q", c.template, c.text, dir)
		}
	}
}

// FuzzRenderedFor: a rendered template is known as one, for the directory that
// it was rendered for.
func FuzzRenderedFor(f *testing.F) {
	f.Add("a ${output_dir}/b", "/x")
	f.Add("$output_dir$$", "/")
	f.Fuzz(func(t *testing.T, template, name string) {
		file, dir := ProjectFile{Template: template}, "/"+strings.NewReplacer("\x00", "", "\n", "", "$", "").Replace(name)
		if strings.Contains(template, "\x00") {
			return
		}
		text := file.Render(dir)
		got, ok := file.renderedFor(text)
		if !ok || got != "" && got != dir {
			t.Fatalf("%q for %q: %q, %v", template, dir, got, ok)
		}
	})
}

func contextOf(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return m
}

func paths(fs []ProjectFile) (out []string) {
	for _, f := range fs {
		out = append(out, f.Path)
	}
	return out
}

func TestLocate(t *testing.T) {
	lock := func(name string) string { return fmt.Sprintf(`{"name": %q}`, name) }
	tree := []ProjectFile{
		{Path: "/src/web/package-lock.json", Template: lock("web")},
		{Path: "/src/web/.npmrc", Template: "x"},
		{Path: "/src/api/package-lock.json", Template: lock("api")},
	}
	for name, c := range map[string]struct {
		context      fs.FS
		files        []ProjectFile
		placed, rest []string
	}{
		"the same directory": {contextOf("web/package-lock.json", lock("web"), "api/package-lock.json", lock("api")), tree,
			[]string{"web/package-lock.json", "web/.npmrc", "api/package-lock.json"}, nil},
		"one below, told by content": {contextOf("package-lock.json", lock("api")), tree,
			[]string{"package-lock.json"}, []string{"/src/web/package-lock.json", "/src/web/.npmrc"}},
		"another one below": {contextOf("package-lock.json", lock("web")), tree,
			[]string{"package-lock.json", ".npmrc"}, []string{"/src/api/package-lock.json"}},
		"one above": {contextOf("src/web/package-lock.json", lock("web"), "src/api/package-lock.json", lock("api"), "package-lock.json", lock("src")), tree,
			[]string{"src/web/package-lock.json", "src/web/.npmrc", "src/api/package-lock.json"}, nil},
		"all have changed": {contextOf("web/package-lock.json", "{}", "api/package-lock.json", "{}"), tree,
			[]string{"web/package-lock.json", "web/.npmrc", "api/package-lock.json"}, nil},
		"injected already": {contextOf("requirements.txt", "a @ file:///out/a\n", "sub/requirements.txt", "b\n"),
			[]ProjectFile{{Path: "/x/sub/requirements.txt", Template: "a @ file://${output_dir}/a\n"}}, []string{"requirements.txt"}, nil},
		"a file of a directory of its own": {contextOf("app/Cargo.lock", ""), []ProjectFile{{Path: "/x/app/.cargo/config.toml"}},
			[]string{"app/.cargo/config.toml"}, nil},
		"at the root": {contextOf("a", ""), []ProjectFile{{Path: "/package.json"}}, []string{"package.json"}, nil},
		"none":        {contextOf("a", ""), nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			placed, rest := Locate(c.context, c.files)
			if diff := cmp.Diff([][]string{c.placed, c.rest}, [][]string{paths(placed), paths(rest)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIsRewritten(t *testing.T) {
	for name, want := range map[string]bool{
		"/src/package.json": true, "/src/a/b/package-lock.json": true, "/requirements.txt": true, "/x/.cargo/config.toml": true,
		"/x/config.toml": false, "/x/main.go": false, "/x/Dockerfile": false, "/x/tsconfig.json": false, "/x/package.json/y": false,
		"/x/.npmrc": true, "/x/.cargo/config": true, "/x/config": false, "package.json": true, "/x/uv.lock": true, "/x/pylock.toml": true, "/x/pylock.dev.toml": true, "/x/lock.toml": false,
	} {
		if got := (ProjectFile{Path: name}).IsRewritten(); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestReplace(t *testing.T) {
	context := contextOf("lock", "new", "same", "at /out", "elsewhere", "at /home/me", "dir/x", "", "json", `{"a": [1, {"b": "https://x"}], "integrity": "y"}`)
	context["link"] = &fstest.MapFile{Data: []byte("lock"), Mode: fs.ModeSymlink | 0o777}
	got, problems := Replace(context, []ProjectFile{
		{Path: "lock", Template: "new ${output_dir}"}, {Path: "same", Template: "at ${output_dir}"}, {Path: "elsewhere", Template: "at ${output_dir}"},
		{Path: "fresh/file", Template: "x"}, {Path: "dir"}, {Path: "link"}, {Path: "link/below"}, {Path: "lock/below"}, {Path: "../out"}, {Path: "/abs"},
		{Path: "json", Template: `{"a": [1, {"b": "${output_dir}"}]}`},
	}, "/out")
	want := []File{{"lock", []byte("new /out")}, {"elsewhere", []byte("at /out")}, {"fresh/file", []byte("x")}, {"json", []byte(`{"a": [1, {"b": "/out"}]}`)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	wantLines := []string{
		"../out: to be replaced, and not in the build context",
		"/abs: to be replaced, and not in the build context",
		"dir: a sealed build needs another file in its place, and it is none: a directory",
		"link: a sealed build needs another file in its place, and it is none: a symbolic link",
		"link/below: a sealed build needs this file, and link is a symbolic link",
		"lock/below: a sealed build needs this file, and lock is a file",
	}
	if diff := cmp.Diff(wantLines, lines); diff != "" {
		t.Error(diff)
	}
}

// TestStaleProjectFile: of JSON it can be told whether a template was made from
// it.
func TestStaleProjectFile(t *testing.T) {
	const template = `{"name": "a", "n": 1, "packages": {"left": {"resolved": "file://${output_dir}/left.tgz", "integrity": "sha512-x"}, "git": {"version": ""}}}`
	for text, stale := range map[string]bool{
		`{"name": "a", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-x"}, "git": {"version": "git+https://x"}}}`:             false,
		`{"name": "a", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz"}, "git": {"version": "git+https://x", "integrity": "z"}}}`:                    false,
		`{"name": "b", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-x"}, "git": {"version": "git+https://x"}}}`:             true,
		`{"name": "a", "n": 2, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-x"}, "git": {"version": "git+https://x"}}}`:             true,
		`{"name": "a", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-y"}, "git": {"version": "git+https://x"}}}`:             true,
		`{"name": "a", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-x"}, "git": {"version": "git+https://x"}, "more": {}}}`: true,
		`{"name": "a", "n": 1, "packages": {"left": {"resolved": "https://x/left.tgz", "integrity": "sha512-x"}}}`:                                                  true,
		`{"name": "a", "n": 1, "packages": []}`: true,
		`{}`:                                    true,
		"":                                      false,
		"[]":                                    false,
	} {
		if got := (ProjectFile{Template: template}).isStale([]byte(text)); got != stale {
			t.Errorf("%s: stale %v", text, got)
		}
	}
}

// TestStaleNpm: what is different in the files of a sealed build of npm.
func TestStaleNpm(t *testing.T) {
	const template = `{"packages": {"a": {"version": "1", "resolved": "file://${output_dir}/a.tgz", "integrity": "sha512-a/b==", "hasShrinkwrap": false}}, "overrides": {"b": "2.0.0", "c": "$$d"}}`
	for text, stale := range map[string]bool{
		`{"packages": {"a": {"version": "1", "integrity": "sha512-a/b==", "hasShrinkwrap": true}}, "overrides": {"b": "owner/repo#main", "c": "$d"}}`:                                false,
		`{"packages": {"a": {"version": "1", "resolved": "https://x/a", "integrity": "sha512-a/b==", "hasShrinkwrap": true}}, "overrides": {"b": "https://x/b.tgz?c=d", "c": "$d"}}`: false,
		`{"packages": {"a": {"version": "1", "integrity": "sha512-a/c==", "hasShrinkwrap": true}}, "overrides": {"b": "owner/repo#main", "c": "$d"}}`:                                true,
		`{"packages": {"a": {"version": "2", "integrity": "sha512-a/b==", "hasShrinkwrap": true}}, "overrides": {"b": "owner/repo#main", "c": "$d"}}`:                                true,
		`{"packages": {"a": {"version": "1", "integrity": "sha512-a/b=="}}, "overrides": {"b": "owner/repo#main", "c": "$d"}}`:                                                       true,
		`{"packages": {"a": {"version": "1", "integrity": "sha512-a/b==", "hasShrinkwrap": true}}, "overrides": {"b": "2.0.1", "c": "$d"}}`:                                          true,
		`{"packages": {"a": {"version": "1", "integrity": "sha512-a/b==", "hasShrinkwrap": true}}, "overrides": {"b": "owner/repo#main", "c": "$e"}}`:                                true,
	} {
		if got := (ProjectFile{Template: template}).isStale([]byte(text)); got != stale {
			t.Errorf("%s: stale %v", text, got)
		}
	}
}

func TestOverlays(t *testing.T) {
	var p Plan
	p.Add(Plan{Overlays: []Overlay{{From: "deps/git-submodule/b", Path: "b"}, {From: "deps/git-submodule/a", Path: "a"}}})
	p.Add(Plan{Overlays: []Overlay{{From: "deps/git-submodule/a", Path: "a"}}})
	p.Normalize()
	if diff := cmp.Diff([]Overlay{{"deps/git-submodule/a", "a"}, {"deps/git-submodule/b", "b"}}, p.Overlays); diff != "" || len(p.Problems) > 0 {
		t.Errorf("%v %s", p.Problems, diff)
	}
	p.Add(Plan{Overlays: []Overlay{{From: "deps/other", Path: "a"}}})
	p.Normalize()
	if want := []Problem{{BadLock, Origin{File: "a"}, "", "two packages want different content in it"}}; !cmp.Equal(want, p.Problems) {
		t.Errorf("%v", p.Problems)
	}
}
