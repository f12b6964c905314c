package ecosystem

import (
	"bytes"
	"net/url"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/hermetic-build/hermetic/cache"
)

func FuzzGoSum(f *testing.F) {
	f.Add("example.com/a v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.com/a v1.0.0/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	f.Fuzz(func(t *testing.T, text string) {
		inputs, problems := parseGoSum("go.sum", []byte(text))
		var lines [][]string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Fields(line))
		}
		for _, in := range inputs {
			checkInput(t, in)
			version := in.Version
			if in.Kind == kindMod {
				version += "/go.mod"
			}
			if want := []string{in.Name, version, in.Sum.Notation()}; !slices.Equal(lines[in.Origin.Line-1], want) {
				t.Fatalf("line %d is %q, and was read as %q", in.Origin.Line, lines[in.Origin.Line-1], want)
			}
		}
		for _, p := range problems {
			checkProblem(t, p)
		}
		read := 0
		for _, l := range lines {
			if len(l) > 0 && (len(l) != 3 || l[2] != emptyGoMod) {
				read++
			}
		}
		if len(inputs)+len(problems) != read {
			t.Fatalf("%d lines, %d inputs, %d problems", read, len(inputs), len(problems))
		}
	})
}

func checkInput(t *testing.T, in cache.Input) {
	t.Helper()
	if !filepath.IsLocal(filepath.FromSlash(in.Path)) || path.Clean(in.Path) != in.Path || !strings.HasPrefix(in.Path, downloadDir+"/") || !strings.Contains(in.Path, "/@v/") {
		t.Fatalf("%s: path %q", in.Subject(), in.Path)
	}
	if in.Origin.Line < 1 || in.Ecosystem != "gomod" || in.Kind != kindZip && in.Kind != kindMod {
		t.Fatalf("%+v", in)
	}
}

// checkProblem refuses messages that a terminal or a log would not show as one
// line at a place.
func checkProblem(t *testing.T, p cache.Problem) {
	t.Helper()
	if p.Kind == 0 || p.Cause == "" || p.Origin.File == "" || p.Origin.Line < 0 || strings.ContainsFunc(p.String(), unicode.IsControl) || len(p.String()) > 20_000 {
		t.Fatalf("%d %q", p.Kind, p)
	}
}

func FuzzArtifacts(f *testing.F) {
	f.Add([]byte("metadata: {version: \"1.0\"}\nartifacts: [{download_url: \"https://example.com/a\", checksum: \"md5:900150983cd24fb0d6963f7d28e17f72\"}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		inputs, r := parseArtifacts("artifacts.lock.yaml", data)
		names, urls := map[string]bool{}, map[string]bool{}
		for _, in := range inputs {
			if in.Ecosystem != "generic" || in.Kind != kindFile || in.Name != in.Path || in.Version != "" || in.Need != cache.Required || in.Sum.IsZero() {
				t.Fatalf("%+v", in)
			}
			if !filepath.IsLocal(in.Path) || path.Clean(in.Path) != in.Path || in.Path == "." || strings.ContainsFunc(in.Path, unicode.IsControl) {
				t.Fatalf("path %q", in.Path)
			}
			if u, err := url.Parse(in.URL); err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" || in.Auth != nil && !cache.Private(u) {
				t.Fatalf("URL %q", in.URL)
			}
			if names[in.Name] || urls[in.URL] || in.Origin.Line < 1 || in.Origin.Line > bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+1 {
				t.Fatalf("%v: %s %s, again or nowhere", in.Origin, in.Name, in.URL)
			}
			names[in.Name], urls[in.URL] = true, true
		}
		for _, p := range append(r.all(), r.warnings...) {
			checkProblem(t, p)
		}
		if len(r.all()) > maxProblems+1 {
			t.Fatalf("%d problems", len(r.all()))
		}
		again, r2 := parseArtifacts("artifacts.lock.yaml", data)
		if !reflect.DeepEqual(again, inputs) || !slices.Equal(r2.all(), r.all()) {
			t.Fatal("read twice, two results")
		}
	})
}

func FuzzVendor(f *testing.F) {
	f.Add("## workspace\n# example.com/a v1.0.0 => ../a\n## explicit; go 1.21\nexample.com/a\n# example.com/b => example.com/c v1.0.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		list := parseVendor("vendor/modules.txt", []byte(text))
		line := 0
		for _, v := range list.mods {
			if v.line <= line || v.mod.Path == "" || list.find(v.mod) != *v {
				t.Fatalf("%+v after line %d", v, line)
			}
			line = v.line
		}
		crlf := parseVendor("vendor/modules.txt", []byte(strings.ReplaceAll(strings.ReplaceAll(text, "\r", ""), "\n", "\r\n")))
		lf := parseVendor("vendor/modules.txt", []byte(strings.ReplaceAll(text, "\r", "")))
		if crlf.workspace != lf.workspace || len(crlf.mods) != len(lf.mods) {
			t.Fatalf("%v with line ends of Windows, %v without", crlf, lf)
		}
		for i := range lf.mods {
			if *crlf.mods[i] != *lf.mods[i] {
				t.Fatalf("%v with line ends of Windows, %v without", crlf.mods[i], lf.mods[i])
			}
		}
	})
}

func FuzzPlan(f *testing.F) {
	f.Add("module m\n\ngo 1.21.0\n\nrequire example.com/a v1.0.0\n\nreplace example.com/b => ../b\n",
		"example.com/a v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", "go 1.21\n\nuse .\n", "# example.com/a v1.0.0\n## explicit\nexample.com/a\n")
	f.Fuzz(func(t *testing.T, goMod, goSum, goWork, vendor string) {
		fsys := fstest.MapFS{}
		for name, text := range map[string]string{"a/b/go.mod": goMod, "a/b/go.sum": goSum, "a/go.work": goWork, "a/b/vendor/modules.txt": vendor} {
			if text != "" {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		pkgs := []cache.Package{{Type: "gomod", Path: "a/b"}}
		o := Options{Platforms: []string{"linux/amd64", "linux/arm64"}}
		plan := New(fsys, pkgs, o)
		for i, in := range plan.Inputs {
			checkInput(t, in)
			if i > 0 && plan.Inputs[i-1].ID().Compare(in.ID()) >= 0 {
				t.Fatalf("%s after %s", in.Subject(), plan.Inputs[i-1].Subject())
			}
		}
		for _, p := range plan.Problems {
			checkProblem(t, p)
		}
		for _, file := range Extras(plan.Inputs) {
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) {
				t.Fatalf("made up %q", file.Path)
			}
		}
		if again := New(fsys, pkgs, o); dump(again) != dump(plan) {
			t.Fatalf("%s\nthen\n%s", dump(plan), dump(again))
		}
	})
}
