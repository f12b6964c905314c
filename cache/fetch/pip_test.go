package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// A pyDist is a file that a test's index lists; what is "" or 0 is as it is in
// truth.
type pyDist struct {
	name, content string
	sum           string // the checksum that the index claims; "none" for none
	size          int64
	yanked        bool
	url           string
}

// indexOf puts packages, by name, into a server: pages at /simple/<name>/ and
// files at /files/.
func indexOf(p *testProxy, form string, packages map[string][]pyDist) *testProxy {
	for name, dists := range packages {
		page := map[string]any{"meta": map[string]string{"api-version": "1.1"}, "name": name}
		files := []map[string]any{}
		var text strings.Builder
		text.WriteString("<!DOCTYPE html><html><body>\n")
		for _, d := range dists {
			sum, size, link := d.sum, d.size, d.url
			if sum == "" {
				sum = cache.SumBytes([]byte(d.content)).Hex()
			}
			if size == 0 {
				size = int64(len(d.content))
			}
			if link == "" {
				link = "../../files/" + d.name
			}
			hashes := map[string]string{"sha256": sum}
			if sum == "none" {
				hashes = map[string]string{}
			} else {
				fmt.Fprintf(&text, "<a href=\"%s#sha256=%s\"", html.EscapeString(link), sum)
			}
			if sum == "none" {
				fmt.Fprintf(&text, "<a href=\"%s\"", html.EscapeString(link))
			}
			if d.yanked {
				text.WriteString(` data-yanked="broken"`)
			}
			fmt.Fprintf(&text, ">%s</a>\n", d.name)
			files = append(files, map[string]any{"filename": d.name, "url": link, "hashes": hashes, "size": size, "yanked": d.yanked})
			p.files["/files/"+d.name] = []byte(d.content)
		}
		page["files"] = files
		data, _ := json.Marshal(page)
		if form == "html" {
			data = []byte(text.String() + "</body></html>")
		}
		p.files["/simple/"+name+"/"] = data
	}
	return p
}

// hashed is a line of a requirements file that accepts these contents.
func hashed(requirement string, contents ...string) string {
	for _, c := range contents {
		requirement += " --hash=" + cache.SumBytes([]byte(c)).String()
	}
	return requirement + "\n"
}

// pipPlan reads a requirements file as the command does.
func pipPlan(t testing.TB, binary string, lines ...string) cache.Plan {
	t.Helper()
	fsys := fstest.MapFS{"requirements.txt": {Data: []byte(strings.Join(lines, ""))}}
	pkg := cache.Package{Type: "pip", Path: "."}
	if binary != "" {
		pkg.Options = `{"binary":` + binary + `}`
	}
	plan := ecosystem.New(fsys, []cache.Package{pkg}, ecosystem.Options{Platforms: []string{"linux/amd64"}})
	if len(plan.Problems) > 0 {
		t.Fatal(plan.Problems)
	}
	return plan
}

// overPip are options that ask an index.
func overPip(t testing.TB, p *testProxy) Options {
	return bare(t, map[string]string{"PIP_INDEX_URL": p.URL + "/simple", "PIP_CONFIG_FILE": os.DevNull})
}

// paths are the files of a manifest's layout.
func paths(m *cache.Manifest, plan cache.Plan) []string {
	var out []string
	for _, in := range m.Resolve(plan.Inputs) {
		out = append(out, in.Path)
	}
	slices.Sort(out)
	return out
}

var manyDists = []pyDist{
	{name: "num_py-1.0.tar.gz", content: "source"},
	{name: "num_py-1.0.zip", content: "source in a zip"},
	{name: "num_py-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", content: "312"},
	{name: "num_py-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", content: "311"},
	{name: "num_py-1.0-cp38-abi3-manylinux_2_17_x86_64.whl", content: "abi3"},
	{name: "num_py-1.0-cp312-cp312-musllinux_1_2_x86_64.whl", content: "musl"},
	{name: "num_py-1.0-cp312-cp312-manylinux_2_17_aarch64.whl", content: "arm"},
	{name: "num_py-1.0-cp312-cp312-macosx_11_0_universal2.whl", content: "mac"},
	{name: "num_py-1.0-cp312-cp312-win_amd64.whl", content: "win"},
	{name: "num_py-1.0-py3-none-any.whl", content: "any"},
	{name: "num_py-1.0-pp310-pypy310_pp73-manylinux_2_17_x86_64.whl", content: "pypy"},
	{name: "num_py-1.0-cp312-cp312-linux_x86_64.whl", content: "not in the lockfile"},
	{name: "num_py-2.0-py3-none-any.whl", content: "another version"},
	{name: "num_py-1.0.exe", content: "an installer"},
}

func allContents() (out []string) {
	for _, d := range manyDists {
		if d.content != "not in the lockfile" {
			out = append(out, d.content)
		}
	}
	return out
}

func TestPipChoosesFiles(t *testing.T) {
	const stem = "num_py-1.0"
	for _, test := range []struct {
		binary string
		want   []string
	}{
		{"", []string{".tar.gz"}},
		{`{"packages":"other"}`, []string{".tar.gz"}},
		{`{"packages":"x, Num.Py","py_version":312}`, []string{"-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "-cp312-cp312-musllinux_1_2_x86_64.whl", "-cp38-abi3-manylinux_2_17_x86_64.whl", "-py3-none-any.whl", ".tar.gz"}},
		{`{"py_version":310,"arch":"aarch64"}`, []string{"-py3-none-any.whl", ".tar.gz"}},
		{`{"py_version":312,"arch":"aarch64","abi":"cp312"}`, []string{"-cp312-cp312-manylinux_2_17_aarch64.whl", ".tar.gz"}},
		{`{"py_impl":"pp"}`, []string{"-pp310-pypy310_pp73-manylinux_2_17_x86_64.whl", "-py3-none-any.whl", ".tar.gz"}},
		{`{"platform":"win.*|macosx.*"}`, []string{"-cp312-cp312-macosx_11_0_universal2.whl", "-cp312-cp312-win_amd64.whl", ".tar.gz"}},
		{`{"os":"macosx","arch":":all:"}`, []string{"-cp312-cp312-macosx_11_0_universal2.whl", "-py3-none-any.whl", ".tar.gz"}},
	} {
		for _, form := range []string{"json", "html"} {
			p := indexOf(serve(t, nil), form, map[string][]pyDist{"num-py": manyDists})
			plan := pipPlan(t, test.binary, hashed("Num.Py==1.0", allContents()...))
			s := openStore(t)
			m := mustFetch(t, s, plan, overPip(t, p))
			want := make([]string, len(test.want))
			for i, suffix := range test.want {
				want[i] = stem + suffix
			}
			if diff := cmp.Diff(want, paths(m, plan)); diff != "" {
				t.Errorf("%s %s: %s", form, test.binary, diff)
			}
			if ps := m.Missing(plan); len(ps) > 0 {
				t.Error(ps)
			}
			if text := string(m.Encode()); strings.Contains(text, p.URL) {
				t.Errorf("the manifest says where things came from: %s", text)
			}
			read, err := cache.ParseManifest("m", m.Encode())
			if err != nil || !cmp.Equal(read.Encode(), m.Encode()) {
				t.Errorf("the manifest is read as another: %v", err)
			}
			p.requests()
			again := mustFetch(t, s, plan, Options{Offline: true, Env: func(name string) string {
				t.Errorf("%s is read", name)
				return ""
			}})
			if diff := cmp.Diff(string(m.Encode()), string(again.Encode())); diff != "" || p.requests() != nil {
				t.Errorf("offline: %s", diff)
			}
			checkClean(t, s)
		}
	}
}

// Another option is answered from what the store remembers of the index, as far
// as the files are there.
func TestPipAsksOnce(t *testing.T) {
	p := indexOf(serve(t, nil), "json", map[string][]pyDist{"num-py": manyDists})
	s := openStore(t)
	line := hashed("Num.Py==1.0", allContents()...)
	mustFetch(t, s, pipPlan(t, `{"py_version":312}`, line), overPip(t, p))
	p.requests()
	m := mustFetch(t, s, pipPlan(t, "", line), overPip(t, p))
	if got := p.requests(); got != nil || len(m.Entries) != 1 {
		t.Errorf("%d entries, requests %q", len(m.Entries), got)
	}
	_, err := All(context.Background(), openStore(t), pipPlan(t, "", line), Options{Offline: true})
	if want := "requirements.txt:1: num-py==1.0: not in the store, and offline"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	o := overPip(t, p)
	o.Offline, o.Verify = true, true
	flip(t, s.Path(m.Entries[0].Blob))
	_, err = All(context.Background(), s, pipPlan(t, "", line), o)
	if want := "requirements.txt:1: num-py==1.0: damaged in the store, and offline"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	o.Offline = false
	mustFetch(t, s, pipPlan(t, "", line), o)
	checkClean(t, s)
}

func TestPipFindings(t *testing.T) {
	const file = "a-1.0.tar.gz"
	good := pyDist{name: file, content: "goods"}
	other := cache.SumBytes([]byte("other")).Hex()
	for _, test := range []struct {
		name   string
		dists  []pyDist
		page   rule
		file   rule
		binary string
		want   string // "" for none
	}{
		{"good", []pyDist{good}, nil, nil, "", ""},
		{"no checksum in the index", []pyDist{{name: file, content: "goods", sum: "none"}}, nil, nil, "", ""},
		{"no checksum in the index, other content", []pyDist{{name: file, content: "bads", sum: "none"}}, nil, nil, "", "none of the files of this version has a checksum that the lockfile accepts (at HOST/simple/a/)"},
		{"the index has another checksum", []pyDist{{name: file, content: "goods", sum: other}}, nil, nil, "", "none of the files of this version has a checksum that the lockfile accepts (at HOST/simple/a/)"},
		{"the file has another checksum", []pyDist{{name: file, content: "bad!!", sum: cache.SumBytes([]byte("goods")).Hex()}}, nil, nil, "",
			"checksum mismatch: want " + cache.SumBytes([]byte("goods")).String() + ", got " + cache.SumBytes([]byte("bad!!")).String() + " (from HOST/files/" + file + ")"},
		{"larger than the index says", []pyDist{{name: file, content: "goods", size: 3}}, nil, nil, "", "HOST/files/" + file + ": larger than 3 bytes"},
		{"smaller than the index says", []pyDist{{name: file, content: "goods", size: 9}}, nil, nil, "", "5 bytes, want 9 (from HOST/files/" + file + ")"},
		{"without end", []pyDist{good}, nil, endless, "", "HOST/files/" + file + ": larger than 5 bytes"},
		{"no such version", []pyDist{{name: "a-2.0.tar.gz", content: "two"}}, nil, nil, "", "no file of this version (at HOST/simple/a/)"},
		{"no such package", nil, nil, nil, "", "HOST/simple/a/: 404 Not Found (not here: /simple/a/)"},
		{"only wheels", []pyDist{{name: "a-1.0-py3-none-any.whl", content: "goods"}}, nil, nil, "", "no source distribution: wheels come with the option binary only, with a checksum that the lockfile accepts (at HOST/simple/a/)"},
		{"only other platforms", []pyDist{{name: "a-1.0-cp312-cp312-win_amd64.whl", content: "goods"}}, nil, nil, `{"py_version":312}`, "no wheel for linux_x86_64, Python 3.12, and no source distribution, with a checksum that the lockfile accepts (at HOST/simple/a/)"},
		{"no page", []pyDist{good}, answer(200, "hello"), nil, "", "HOST/simple/a/: not the page of a Python package index"},
		{"an empty page", []pyDist{good}, answer(200, ""), nil, "", "HOST/simple/a/: not the page of a Python package index"},
		{"half a page", []pyDist{good}, answer(200, `{"files":[{"filename":`), nil, "", "HOST/simple/a/: not the page of a Python package index"},
		{"a page of another kind", []pyDist{good}, answer(200, `{"files":{}}`), nil, "", "HOST/simple/a/: not the page of a Python package index"},
		{"a page of the future", []pyDist{good}, answer(200, `{"meta":{"api-version":"2.0"},"files":[]}`), nil, "", `HOST/simple/a/: version "2.0" of the index API: want 1`},
		{"a page that is a bomb", []pyDist{good}, then(answer(200, ""), "Content-Length", fmt.Sprint(int64(1)<<40)), nil, "", "HOST/simple/a/: larger than 256 MB"},
		{"500 once", []pyDist{good}, times(1, answer(500, "")), times(1, answer(500, "")), "", ""},
		{"redirect of the page", []pyDist{good}, then(answer(302, ""), "Location", "/moved/simple/a/"), nil, "", ""},
		{"redirect in a circle", []pyDist{good}, then(answer(302, ""), "Location", "/simple/a/"), nil, "", "HOST/simple/a/: redirects more than 10 times"},
		{"a file elsewhere", []pyDist{{name: file, content: "goods", url: "file:///etc/passwd"}}, nil, nil, "", "no file of this version (at HOST/simple/a/)"},
		{"a name that climbs", []pyDist{{name: "../a-1.0.tar.gz", content: "goods"}}, nil, nil, "", "no file of this version (at HOST/simple/a/)"},
		{"withdrawn", []pyDist{{name: file, content: "goods", yanked: true}}, nil, nil, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, nil)
			if test.dists != nil {
				indexOf(p, "json", map[string][]pyDist{"a": test.dists})
			}
			p.files["/moved/simple/a/"] = p.files["/simple/a/"]
			p.files["/moved/files/"+file] = p.files["/files/"+file]
			if test.page != nil {
				p.rules["/simple/a/"] = test.page
			}
			if test.file != nil {
				p.rules["/files/"+file] = test.file
			}
			o := overPip(t, p)
			rec := newRecorder()
			o.StallTimeout, o.RequestTimeout, o.Progress = 200*time.Millisecond, 5*time.Second, rec
			s := openStore(t)
			plan := pipPlan(t, test.binary, hashed("a==1.0", "goods"))
			m, err := All(context.Background(), s, plan, o)
			want := "<nil>"
			if test.want != "" {
				want = "requirements.txt:1: a==1.0: " + strings.ReplaceAll(test.want, "HOST", p.URL)
			} else if err != nil {
				t.Fatal(err)
			} else if got := paths(m, plan); !slices.Equal(got, []string{file}) {
				t.Errorf("files: %q", got)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			checkClean(t, s)
		})
	}
}

// Credentials go to the index that they are for, whoever gives them, and are in
// nothing that is written.
func TestPipCredentials(t *testing.T) {
	for _, test := range []struct {
		name, index, netrc, conf string // of the lockfile, .netrc and pip.conf
		vars                     map[string]string
	}{
		{name: "lockfile", index: "--index-url http://${USER_NAME}:${SECRET}@HOST/simple\n", vars: map[string]string{"USER_NAME": "me", "SECRET": "s3cret"}},
		{name: "variable", vars: map[string]string{"PIP_INDEX_URL": "http://me:s3cret@HOST/simple/"}},
		{name: "netrc", netrc: "machine HOSTNAME login me password s3cret\n", vars: map[string]string{"PIP_INDEX_URL": "http://HOST/simple/"}},
		{name: "pip.conf", conf: "[global]\ntimeout = 10\nindex-url = http://nobody@HOST/other\n[download]\nindex_url =\n    http://me:s3cret@HOST/simple\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := indexOf(serve(t, nil), "json", map[string][]pyDist{"a": {{name: "a-1.0.tar.gz", content: "goods"}}})
			p.rules["*"] = func(w http.ResponseWriter, r *http.Request, n int) bool {
				if user, password, _ := r.BasicAuth(); user != "me" || password != "s3cret" {
					return answer(401, "who are you")(w, r, n)
				}
				return false
			}
			u, _ := url.Parse(p.URL)
			fill := strings.NewReplacer("HOSTNAME", u.Hostname(), "HOST", u.Host).Replace
			dir := t.TempDir()
			vars := map[string]string{"PIP_CONFIG_FILE": filepath.Join(dir, "pip.conf"), "NETRC": filepath.Join(dir, "netrc")}
			for name, text := range map[string]string{"PIP_CONFIG_FILE": test.conf, "NETRC": test.netrc} {
				if err := os.WriteFile(vars[name], []byte(fill(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for k, v := range test.vars {
				vars[k] = fill(v)
			}
			s := openStore(t)
			m := mustFetch(t, s, pipPlan(t, "", fill(test.index), hashed("a==1.0", "goods")), bare(t, vars))
			if strings.Contains(string(m.Encode()), "s3cret") {
				t.Error("the manifest holds a secret")
			}
			checkSecretless(t, s.Dir())
		})
	}
}

// A mirror is asked instead of all that settings and lockfiles name.
func TestPipMirror(t *testing.T) {
	wheel := pyDist{name: "b-1.0-py3-none-any.whl", content: "wheel"}
	first := indexOf(serve(t, nil), "json", map[string][]pyDist{"a": {{name: "a-2.0.tar.gz", content: "two"}}})
	second := indexOf(serve(t, nil), "html", map[string][]pyDist{"a": {{name: "a-1.0.tar.gz", content: "goods"}}, "b": {wheel}})
	o := bare(t, nil)
	o.Mirrors = map[string]string{"pip": first.URL + "/simple," + second.URL + "/simple"}
	plan := pipPlan(t, "", "-i https://example.com/simple\n", hashed("a==1.0", "goods"))
	plan.Inputs = append(plan.Inputs, cache.Input{
		Ecosystem: "pip", Kind: "wheel", Name: "b", Version: "1.0", Platform: "py3-none-any", Path: wheel.name,
		Sum: cache.SumBytes([]byte("wheel")), Need: cache.Required, URL: "https://example.com/" + wheel.name,
		Origin: cache.Origin{File: "uv.lock", Line: 7},
	})
	s := openStore(t)
	m := mustFetch(t, s, plan, o)
	if diff := cmp.Diff([]string{"a-1.0.tar.gz", wheel.name}, paths(m, plan)); diff != "" {
		t.Error(diff)
	}
	if got := first.requests(); !slices.Contains(got, "/simple/a/") {
		t.Errorf("the first mirror was not asked: %q", got)
	}
	_, err := All(context.Background(), openStore(t), pipPlan(t, "", hashed("a==1.0", "goods")), bare(t, map[string]string{"PIP_CONFIG_FILE": os.DevNull}))
	if want := "PIP_INDEX_URL: not set, and neither is index-url in pip.conf; set it to the URL of a package index"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzPipIndex(f *testing.F) {
	f.Add([]byte(`{"meta":{"api-version":"1.0"},"files":[{"filename":"a-1.0.tar.gz","url":"a-1.0.tar.gz","hashes":{"sha256":"00"},"size":1,"yanked":"x"}]}`))
	f.Add([]byte(`<!DOCTYPE html><base href="/x/"><a href="a-1.0-py3-none-any.whl#sha256=00" data-yanked>a</a>`))
	base, _ := url.Parse("https://example.com/simple/a/")
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := readIndex(bytes.NewReader(data), base, func(f indexFile) bool { return ecosystem.IsPipFileOf(f.name, "a", "1.0") })
		for _, f := range files {
			if f.url.Scheme != "https" && f.url.Scheme != "http" || f.url.Fragment != "" || f.size < 0 || strings.ContainsAny(f.name, "/\\\x00") {
				t.Fatalf("%+v", f)
			}
		}
		again, err2 := readIndex(bytes.NewReader(data), base, func(f indexFile) bool { return ecosystem.IsPipFileOf(f.name, "a", "1.0") })
		if len(again) != len(files) || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatal("read twice, two results")
		}
	})
}

func FuzzPipConf(f *testing.F) {
	f.Add("[global]\nindex-url = https://example.com/simple\nextra-index-url =\n  https://example.com/a\n  https://example.com/b\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := pipConf{env: func(string) string { return "" }, file: map[string]string{}}
		c.read(text)
		list, err := c.indexes()
		if (err == nil) == (len(list) == 0) {
			t.Fatalf("%d indexes, %v", len(list), err)
		}
		for _, p := range list {
			if p.base.Host == "" && p.base.Scheme != "file" {
				t.Fatalf("%s", p.base)
			}
		}
	})
}
