package ecosystem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// TestNpmLockLimits: what no parser should have to read is refused in a line.
func TestNpmLockLimits(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"large":   {strings.Repeat(" ", maxNpmLock+1), "package-lock.json: larger than 64 MB"},
		"a NUL":   {"{\n\"\x00\"", "package-lock.json:2: not JSON: a control character, U+0000, in a string"},
		"Latin-1": {"{\n\"\xe9\": 1}", "package-lock.json:2: not UTF-8"},
		"deep":    {strings.Repeat("[", 100_000), "package-lock.json:1: not JSON: more than 1000 levels"},
		"deep v1": {`{"lockfileVersion":1,` + strings.Repeat(`"dependencies":{"a":{`, 100_000), "package-lock.json:1: not JSON: more than 1000 levels"},
	} {
		plan := New(fstest.MapFS{"package-lock.json": {Data: []byte(c.text)}}, []cache.Package{{Type: "npm", Path: "."}}, Options{})
		if len(plan.Problems) != 1 || plan.Problems[0].String() != c.want {
			t.Errorf("%s: %v; want %s", name, plan.Problems, c.want)
		}
	}
	for want, fsys := range map[string]fstest.MapFS{
		"package-lock.json: not a regular file":                {"package-lock.json": {Mode: fs.ModeDir}},
		"package-lock.json: no such file in the build context": {},
		"package.json: no such file in the build context":      {"package-lock.json": {Data: []byte(`{"lockfileVersion":3,"packages":{"":{}}}`)}},
	} {
		plan := New(fsys, []cache.Package{{Type: "npm", Path: "."}}, Options{})
		if len(plan.Problems) != 1 || plan.Problems[0].String() != want {
			t.Errorf("%v; want %s", plan.Problems, want)
		}
	}
}

// manyNpm is a project of n packages, each of which needs the next ones.
func manyNpm(n int) fstest.MapFS {
	sum := "sha512-" + strings.Repeat("A", 86) + "=="
	packages := map[string]any{"": map[string]any{"name": "many", "dependencies": map[string]string{"p0": "1"}}}
	for i := range n {
		needs := map[string]string{}
		for j := i + 1; j < min(n, i+6); j++ {
			needs[fmt.Sprintf("p%d", j)] = "^1.0.0"
		}
		packages[fmt.Sprintf("node_modules/p%d", i)] = map[string]any{
			"version": "1.0.0", "integrity": sum, "license": "MIT", "dependencies": needs,
			"engines": map[string]string{"node": ">=12"}, "funding": map[string]string{"url": "https://example.com/fund"},
		}
	}
	lock, err := json.MarshalIndent(map[string]any{"lockfileVersion": 3, "packages": packages}, "", "  ")
	if err != nil {
		panic(err)
	}
	return fstest.MapFS{"package-lock.json": {Data: lock}, "package.json": {Data: []byte(`{"dependencies":{"p0":"1"}}`)}}
}

// BenchmarkNpmPlan is what a lockfile of a thousand packages costs each build.
func BenchmarkNpmPlan(b *testing.B) {
	fsys := manyNpm(1000)
	b.SetBytes(int64(len(fsys["package-lock.json"].Data)))
	for b.Loop() {
		plan := New(fsys, []cache.Package{{Type: "npm", Path: "."}}, Options{Platforms: []string{"linux/amd64"}})
		if len(plan.Inputs) != 1000 || len(plan.Problems) != 0 {
			b.Fatalf("%d inputs, %v", len(plan.Inputs), plan.Problems)
		}
	}
}

// TestNpmEditsInPlace: but for what has to change, a lockfile keeps its bytes,
// and stays JSON of the same shape.
func TestNpmEditsInPlace(t *testing.T) {
	for _, a := range archives(t, "plan-npm*.txtar") {
		plan := New(a.fsys, a.packages(t), Options{Platforms: []string{"linux/amd64"}})
		for _, f := range plan.Project {
			before := a.fsys[f.Path].Data
			after := f.Render("/out")
			if !json.Valid(after) {
				t.Errorf("%s: %s: not JSON", a.name, f.Path)
			}
			wrong := slices.ContainsFunc(plan.Problems, func(p cache.Problem) bool { return p.Kind != cache.Uncovered })
			if bytes.Contains(after, []byte("https://")) && !wrong {
				t.Errorf("%s: %s: names a host", a.name, f.Path)
			}
			removed, added := map[string]int{}, 0
			for line := range strings.Lines(string(before)) {
				removed[line]++
			}
			for line := range strings.Lines(string(after)) {
				if removed[line]--; removed[line] < 0 {
					added++
				}
			}
			maps.DeleteFunc(removed, func(_ string, n int) bool { return n <= 0 })
			for line := range removed {
				if !strings.Contains(line, "https://") && !strings.Contains(line, "git+") && !strings.Contains(line, "owner/repo") &&
					!strings.Contains(line, `"integrity"`) && !strings.Contains(line, "hasShrinkwrap") {
					t.Errorf("%s: %s: lost %q", a.name, f.Path, line)
				}
			}
			if n := strings.Count(string(after), "\n") - strings.Count(string(before), "\n"); added < n {
				t.Errorf("%s: %s: %d lines more, %d of them new", a.name, f.Path, n, added)
			}
		}
	}
}

// TestNpmFits: the words of "os" and "cpu" mean what they mean to npm.
func TestNpmFits(t *testing.T) {
	for _, c := range []struct {
		list  string
		value string
		want  bool
	}{
		{"", "linux", true}, {"linux", "linux", true}, {"darwin", "linux", false}, {"any", "linux", true}, {"any darwin", "linux", false},
		{"!win32", "linux", true}, {"!win32", "win32", false}, {"!win32 !linux", "linux", false}, {"!win32 darwin", "linux", false}, {"darwin linux", "linux", true},
	} {
		if got := allows(strings.Fields(c.list), c.value); got != c.want {
			t.Errorf("%q allows %s: %v", c.list, c.value, got)
		}
	}
	want := []npmTarget{{"linux/386", "linux", "ia32"}, {"linux/amd64", "linux", "x64"}, {"linux/arm/v7", "linux", "arm"}, {"linux/ppc64le", "linux", "ppc64"}, {"windows/amd64", "win32", "x64"}}
	if got := npmTargets([]string{"windows/amd64", "linux/arm/v7", "linux/amd64", "linux/386", "linux/ppc64le"}); !slices.Equal(got, want) {
		t.Error(got)
	}
}

// TestNamedPlatform goes by names that there are.
func TestNamedPlatform(t *testing.T) {
	for name, want := range map[string]string{
		"@esbuild/linux-x64": "linux x64", "@rollup/rollup-linux-arm-gnueabihf": "linux arm", "@rollup/rollup-win32-ia32-msvc": "win32 ia32",
		"@img/sharp-linuxmusl-x64": "linux x64", "@img/sharp-wasm32": "wasi ", "turbo-windows-arm64": "win32 arm64", "turbo-linux-64": "linux x64",
		"@tailwindcss/oxide-wasm32-wasi": "wasi ", "@biomejs/cli-darwin-arm64": "darwin arm64", "lightningcss-linux-x64-gnu": "linux x64",
		"@parcel/watcher-android-arm64": "android arm64", "@next/swc-linux-arm64-musl": "linux arm64", "fsevents": "darwin ", "bufferutil": " ",
		"@x/y_linux_x86_64": "linux x64", "base64": " ", "utf-64": " ", "@napi-rs/canvas-linux-riscv64-gnu": "linux riscv64", "@lightning/darwin-universal": "darwin any",
	} {
		os, cpu := namedPlatform(name)
		if os+" "+cpu != want {
			t.Errorf("%s: %q, want %q", name, os+" "+cpu, want)
		}
	}
}

// TestNpmrc reads settings as npm's own reader of them does.
func TestNpmrc(t *testing.T) {
	c := ParseNpmrc("; comment\n# comment\nregistry = https://example.com/npm/ ; comment\n a=b=c\n\n\"quoted\" = \"x;\\u0079\"\nsingle='it;s'\nescaped=a\\;b\\#c\\d # no\nflag\n[section]\nhidden=1\n")
	want := map[string]string{"registry": "https://example.com/npm/", "a": "b=c", "quoted": "x;y", "single": "it;s", "escaped": `a;b#c\d`, "flag": "true"}
	if diff := cmp.Diff(want, c.values); diff != "" {
		t.Error(diff)
	}
	if got := ParseNpmrc("registry=https://u:p@example.com\n@s:registry=https://${HOST}/x\n@t:registry=http://example.com/t/"); got.plainRegistry("a") != "" || got.plainRegistry("@s/a") != "" || got.plainRegistry("@t/a") != "http://example.com/t" {
		t.Error("a registry that cannot be told is told")
	}
}

// TestOutOfRange holds what is certain against the ranges of npm's documentation.
func TestOutOfRange(t *testing.T) {
	for _, c := range []struct{ spec, inside, outside string }{
		{"1.2.3", "1.2.3", "1.2.4 1.2.2 1.3.3 2.2.3"},
		{"^1.2.3", "1.2.3 1.2.10 1.10.0", "1.2.2 1.1.9 2.0.0 0.2.3"},
		{"^0.2.3", "0.2.3 0.2.10", "0.2.2 0.3.0 1.2.3"},
		{"^0.0.3", "0.0.3", "0.0.4 0.0.2 0.1.3"},
		{"~1.2.3", "1.2.3 1.2.30", "1.2.2 1.3.0 2.2.3"},
		{"~0.0.3", "0.0.3 0.0.4", "0.0.2 0.1.0"},
		{"^9.0.0", "9.0.0 9.12.1", "10.0.0 8.9.9"},
		// of which nothing is certain here
		{">=2.0.0", "1.0.0", ""}, {"*", "1.0.0", ""}, {"1.x", "2.0.0", ""}, {"^1.2", "2.0.0", ""}, {"1.0.0 - 1.2.0", "2.0.0", ""},
		{"^2.0.0 || ^3.0.0", "1.0.0", ""}, {"latest", "1.0.0", ""}, {"", "1.0.0", ""}, {"=1.0.0", "2.0.0", ""}, {"v1.0.0", "2.0.0", ""},
		{"npm:a@^2.0.0", "1.0.0", ""}, {"^2.0.0-rc.1", "1.0.0", ""}, {"^2.0.0", "1.0.0-rc.1", ""}, {"^01.0.0", "2.0.0", ""}, {"file:../a", "1.0.0", ""},
	} {
		for _, v := range strings.Fields(c.inside) {
			if outOfRange(c.spec, v) {
				t.Errorf("%s is out of %q", v, c.spec)
			}
		}
		for _, v := range strings.Fields(c.outside) {
			if !outOfRange(c.spec, v) {
				t.Errorf("%s is in %q", v, c.spec)
			}
		}
	}
}
