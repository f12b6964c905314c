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

// checkPip holds a plan of Python packages to what the layout and the fetcher
// rely on.
func checkPip(t *testing.T, plan cache.Plan) {
	t.Helper()
	for i, in := range plan.Inputs {
		alternative := in.Need == cache.Alternative
		if in.Ecosystem != "pip" || in.Sum.IsZero() || in.Name == "" || in.Origin.File == "" || alternative != (in.Path == "") || alternative != (in.Wants != "") {
			t.Fatalf("%+v", in)
		}
		if !alternative && (strings.ContainsAny(in.Path, "/\\\x00") || !filepath.IsLocal(in.Path) || in.Path == ".") {
			t.Fatalf("path %q", in.Path)
		}
		schemes := []string{"http", "https"}
		if in.Kind == KindGit {
			schemes = gitSchemes
		}
		u, err := url.Parse(in.URL)
		if err != nil || u.User != nil && u.Scheme != "ssh" || in.URL == "" && !alternative || in.URL != "" && (u.Host == "" && u.Scheme != "file" || !slices.Contains(schemes, u.Scheme)) {
			t.Fatalf("URL %q", in.URL)
		}
		if i > 0 && plan.Inputs[i-1].ID().Compare(in.ID()) >= 0 {
			t.Fatalf("%s after %s", in.Subject(), plan.Inputs[i-1].Subject())
		}
	}
	for _, p := range append(plan.Problems, plan.Warnings...) {
		checkProblem(t, p)
	}
}

func FuzzRequirements(f *testing.F) {
	sum := "--hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	f.Add("-i https://${A}:${B}@example.com/simple\n-c c.txt\nA.b[c]==1.0 ; python_version >= '3' \\\n  "+sum+"\nd @ https://example.com/d.tar.gz "+sum+"\n", "a-b==1.0\n")
	f.Add("e\n-r requirements.txt\nhttps://example.com/f-1.0-py3-none-any.whl#sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "e===1 "+sum)
	f.Fuzz(func(t *testing.T, text, other string) {
		fsys := fstest.MapFS{"requirements.txt": {Data: []byte(text)}, "c.txt": {Data: []byte(other)}}
		pkgs := []cache.Package{{Type: "pip", Path: "."}}
		plan := New(fsys, pkgs, Options{Platforms: []string{"linux/amd64"}})
		checkPip(t, plan)
		if again := New(fsys, pkgs, Options{Platforms: []string{"linux/amd64"}}); dump(again) != dump(plan) {
			t.Fatalf("%s\nthen\n%s", dump(plan), dump(again))
		}
	})
}

func FuzzPythonLocks(f *testing.F) {
	sum := "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	f.Add([]byte("version = 1\n[[package]]\nname = \"a\"\nversion = \"1.0\"\nsource = { registry = \"x\" }\ndependencies = [{ name = \"a\", extra = [\"b\"], marker = \"os_name == 'x'\" }]\nsdist = { url = \"https://example.com/a-1.0.tar.gz\", hash = \"sha256:" + sum + "\" }\n[package.optional-dependencies]\nb = [{ name = \"a\" }]\n"))
	f.Add([]byte("lock-version = \"1.0\"\n[[packages]]\nname = \"a\"\nversion = \"1.0\"\nmarker = \"'x' in extras\"\nwheels = [{ url = \"https://example.com/a-1.0-py3-none-any.whl\", hashes = { sha256 = \"" + sum + "\" } }]\n[packages.sdist.hashes]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"uv.lock", "pylock.toml"} {
			fsys := fstest.MapFS{name: {Data: data}}
			pkgs := []cache.Package{{Type: "pip", Path: ".", Options: `{"binary":{}}`}}
			plan := New(fsys, pkgs, Options{})
			checkPip(t, plan)
			if again := New(fsys, pkgs, Options{}); dump(again) != dump(plan) {
				t.Fatalf("%s\nthen\n%s", dump(plan), dump(again))
			}
		}
	})
}

func FuzzMarker(f *testing.F) {
	f.Add(`python_version >= "3.8" and (sys_platform == 'linux' or "x" not in extra)`)
	env := pipWants{Binary: &pipBinary{PyVersion: 312}, Platforms: []string{"linux/amd64"}}.markerEnvs()
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMarker(text)
		if (m == nil) == (err == nil) {
			t.Fatalf("%v, %v", m, err)
		}
		if m == nil {
			return
		}
		nothing := m.on(markerEnv{})
		if got := m.on(env[0]); nothing != maybe && got != nothing {
			t.Fatalf("%d where nothing is known, %d where all is", nothing, got)
		}
	})
}

func FuzzPyFile(f *testing.F) {
	f.Add("num_py-1.0-1-cp312-abi3-manylinux_2_17_x86_64.whl", "a-1.0.tar.gz")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, wants := range []string{"", "{}", `{"binary":{"py_version":312}}`, pipWants{Binary: &pipBinary{Platform: ".*"}}.String()} {
			take, lacking := ParsePipWants(wants).Choose("a", []PipFile{{Name: a}, {Name: b, Yanked: true}})
			for _, i := range take {
				name := []string{a, b}[i]
				if !IsPipFile(name) || !filepath.IsLocal(name) || strings.ContainsAny(name, "/\\\x00") {
					t.Fatalf("takes %q", name)
				}
			}
			if wants != "" && len(take) == 0 && len(lacking) == 0 {
				t.Fatal("nothing is taken, and nothing lacks")
			}
		}
	})
}
