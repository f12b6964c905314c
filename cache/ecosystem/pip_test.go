package ecosystem

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// A cache made for one platform does for a build for another where it has what
// that needs, and tells what is lacking.
func TestPipUncovered(t *testing.T) {
	sums := []cache.Sum{cache.SumBytes([]byte("1")), cache.SumBytes([]byte("2")), cache.SumBytes([]byte("3"))}
	fsys := fstest.MapFS{"requirements.txt": {Data: []byte("a==1.0 --hash=" + sums[0].String() + " --hash=" + sums[1].String() + "\nb==1.0 --hash=" + sums[2].String() + "\n")}}
	pkg := mustPackage(t, `{"type":"pip","binary":{"py_version":312}}`)
	manifest := func(files ...string) *cache.Manifest {
		m := &cache.Manifest{}
		for i, f := range files {
			if f == "" {
				continue
			}
			name := strings.Split(f, "-")[0]
			m.Entries = append(m.Entries, cache.Entry{
				ID:  cache.ID{Ecosystem: "pip", Kind: sums[i].String(), Name: name, Version: "1.0"},
				Sum: sums[i], Blob: cache.Blob{Sum: sums[i], Size: 1}, Pack: -1, File: f,
			})
		}
		m.Encode() // sorts
		return m
	}
	for _, test := range []struct {
		m    *cache.Manifest
		want string
	}{
		{manifest("a-1.0-cp312-cp312-linux_x86_64.whl", "a-1.0-cp312-cp312-linux_aarch64.whl", "b-1.0-py3-none-any.whl"), ""},
		{manifest("a-1.0-cp312-cp312-linux_x86_64.whl", "a-1.0.tar.gz", "b-1.0.zip"), ""},
		{manifest("a-1.0-cp312-cp312-linux_x86_64.whl", "", ""), "requirements.txt:1: a==1.0: in the cache: no wheel for linux_aarch64, Python 3.12, and no source distribution\nrequirements.txt:2: b==1.0: not in the cache"},
		{manifest("a-1.0-cp311-cp311-linux_x86_64.whl", "a-1.0-cp312-cp312-linux_aarch64.whl", "b-1.0.zip"), "requirements.txt:1: a==1.0: in the cache: no wheel for linux_x86_64, Python 3.12, and no source distribution"},
	} {
		plan := New(fsys, []cache.Package{pkg}, Options{Platforms: []string{"linux/amd64", "linux/arm64"}})
		inputs := test.m.Resolve(plan.Inputs)
		var got []string
		for _, p := range append(Uncovered(inputs), test.m.Missing(cache.Plan{Inputs: plan.Inputs})...) {
			got = append(got, p.String())
		}
		slices.Sort(got)
		if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
			t.Error(diff)
		}
		for _, in := range inputs {
			if in.Path == "" {
				t.Errorf("%s: no file name", in.Subject())
			}
		}
	}
}

// TestPipUncoveredBeforeTheFetch: of what is yet to be fetched nobody knows the
// files, so nothing can be lacking.
func TestPipUncoveredBeforeTheFetch(t *testing.T) {
	sums := []cache.Sum{cache.SumBytes([]byte("1")), cache.SumBytes([]byte("2"))}
	fsys := fstest.MapFS{"requirements.txt": {Data: []byte("a==1.0 --hash=" + sums[0].String() + " --hash=" + sums[1].String() + "\n")}}
	plan := New(fsys, []cache.Package{mustPackage(t, `{"type":"pip","binary":{}}`)}, Options{})
	m := &cache.Manifest{}
	for _, in := range plan.Inputs {
		m.Entries = append(m.Entries, cache.Entry{ID: in.ID(), Sum: in.Sum, Pack: -1})
	}
	m.Encode() // sorts
	inputs := m.Resolve(plan.Inputs)
	if len(inputs) != 2 {
		t.Errorf("%d of 2 inputs", len(inputs))
	}
	if ps := Uncovered(inputs); len(ps) > 0 {
		t.Error(ps)
	}
}

// What no requirements file is, is one problem.
func TestPipUnreadable(t *testing.T) {
	for name, test := range map[string]struct{ data, want string }{
		"large":   {strings.Repeat("#", maxRequirements+1), "requirements.txt: larger than 16 MB"},
		"NUL":     {"a==1.0\n\x00", "requirements.txt:2: a control character, U+0000"},
		"latin 1": {"\n\n# \xe4\n", "requirements.txt:3: not UTF-8"},
	} {
		plan := New(fstest.MapFS{"requirements.txt": {Data: []byte(test.data)}}, []cache.Package{mustPackage(t, "pip")}, Options{})
		if len(plan.Problems) != 1 || plan.Problems[0].String() != test.want {
			t.Errorf("%s: %v, want %s", name, plan.Problems, test.want)
		}
	}
	plan := New(fstest.MapFS{}, []cache.Package{mustPackage(t, "pip")}, Options{})
	if len(plan.Problems) != 0 { // it needs nothing, as in Hermeto
		t.Error(plan.Problems)
	}
}

// What a sealed build has in place of lockfiles with URLs.
func TestPipProject(t *testing.T) {
	sum := cache.SumBytes(nil)
	requirements := "# kept\r\na==1.0 --hash=" + sum.String() + "\nb[x] @ https://example.com/b-1.0.tar.gz ; os_name == 'posix' \\\n  --hash=" + sum.String() + " # gone\nhttps://example.com/c-1.0-py3-none-any.whl#sha256=" + sum.Hex() + "\n-e ."
	uv := `version = 1
[[package]]
name = "a"
version = "1.0+cpu"
source = { registry = "https://example.com/simple" }
sdist = { url = "https://example.com/x/a-1.0%2Bcpu.tar.gz", hash = "` + sum.String() + `", size = 1, upload-time = "2026-01-01T00:00:00Z" }
wheels = [
    { url = "https://example.com/x/a-1.0%2Bcpu-py3-none-any.whl", hash = "` + sum.String() + `" },
]
`
	fsys := fstest.MapFS{"requirements.txt": {Data: []byte(requirements)}, "uv.lock": {Data: []byte(uv)}, "plain.txt": {Data: []byte("a==1.0 --hash=" + sum.String())}}
	plan := New(fsys, []cache.Package{mustPackage(t, `{"type":"pip","requirements_files":["requirements.txt","uv.lock","plain.txt"]}`)}, Options{})
	got := map[string]string{}
	for _, f := range plan.Project {
		got[f.Path] = f.Template
	}
	want := map[string]string{
		"requirements.txt": "# kept\r\na==1.0 --hash=" + sum.String() + "\nb[x] @ file://${output_dir}/deps/pip/b-" + sum.Hex() + ".tar.gz ; os_name == 'posix' --hash=" + sum.String() + "\nc @ file://${output_dir}/deps/pip/c-1.0-py3-none-any.whl --hash=" + sum.String() + "\n-e .",
		"uv.lock": `version = 1
[[package]]
name = "a"
version = "1.0+cpu"
source = { registry = "${output_dir}/deps/pip" }
sdist = { path = "a-1.0+cpu.tar.gz", hash = "` + sum.String() + `", size = 1 }
wheels = [
    { path = "a-1.0+cpu-py3-none-any.whl", hash = "` + sum.String() + `" },
]
`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
