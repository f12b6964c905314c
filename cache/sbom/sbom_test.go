package sbom

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/hermetic-build/hermetic/cache"
)

var update = flag.Bool("update", false, "rewrite testdata")

// sample has one component of each kind.
var sample = []cache.Component{
	{
		Type: "library", Name: "b", Version: "1.0", PURL: "pkg:npm/b@1.0",
		Properties: []cache.Property{{Name: cache.NpmDevelopment, Value: "true"}}, Notes: []string{"hermeto:backend:npm"},
	},
	{
		Type: "library", Name: "b", Version: "1.0", PURL: "pkg:npm/b@1.0",
		Properties: []cache.Property{{Name: cache.NpmBundled, Value: "true"}, {Name: cache.NpmDevelopment, Value: "true"}},
		Notes:      []string{"hermeto:backend:yarn"}, Proxies: []string{"https://proxy.example.com/two", "https://proxy.example.com/one"},
	},
	{
		Type: "file", Name: "dir/<tool>.tgz", PURL: "pkg:generic/dir%2F%3Ctool%3E.tgz?checksum=sha256:00&download_url=https:%2F%2Fexample.com%2Ft.tgz%3Fa%3Db",
		URL: "https://example.com/t.tgz?a=b", Notes: []string{"hermeto:backend:generic"},
	},
	{
		Type: "library", Name: "example.com/app", Version: "v0.0.0-20260504030201-0123456789ab",
		PURL:  "pkg:golang/git.example.com/app@v0.0.0-20260504030201-0123456789ab?type=module&vcs_url=git%2Bhttps:%2F%2Fgit.example.com%2Fapp.git%400123456789abcdef0123456789abcdef01234567#a/b",
		Notes: []string{"hermeto:backend:gomod"},
	},
	{
		Type: "library", Name: "patched", Version: "2", PURL: "pkg:npm/patched@2", Patches: []string{"git+https://example.com/x#p.patch"},
		Properties: []cache.Property{{Name: cache.MissingHash, Value: "yarn.lock"}, {Name: cache.MissingHash, Value: "a/yarn.lock"}},
	},
}

var options = Options{Created: time.Date(2026, 5, 4, 3, 2, 1, 500, time.FixedZone("", 3600)), Name: "app"}

// formats are the writers of documents.
var formats = map[string]func([]cache.Component, Options) ([]byte, error){"cyclonedx": CycloneDX, "spdx": SPDX}

// golden holds got to a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

// TestFormats writes a document of each format, a hundred times and in another
// order: the bytes are the same. What Parse reads of it is what was written.
func TestFormats(t *testing.T) {
	for name, write := range formats {
		got, err := write(sample, options)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", got)
		reversed := slices.Clone(sample)
		slices.Reverse(reversed)
		for range 100 {
			again, err := write(reversed, options)
			if err != nil || !bytes.Equal(got, again) {
				t.Fatalf("%s: %v: other bytes: %s", name, err, cmp.Diff(string(got), string(again)))
			}
		}
		back, err := Parse(name, got)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(options.prepared(sample), Merge(back), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-written +read)\n%s", name, diff)
		}
		old := options
		old.App = "cachi2"
		got, err = write(sample, old)
		if err != nil || bytes.Contains(got, []byte("hermeto:")) || !bytes.Contains(got, []byte("cachi2:found_by")) {
			t.Errorf("%s: %v: as cachi2: %s", name, err, got)
		}
	}
}

// TestEmpty: a document of nothing is a document.
func TestEmpty(t *testing.T) {
	for name, write := range formats {
		got, err := write(nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+"-empty.json", got)
		if back, err := Parse(name, got); err != nil || len(back) > 0 {
			t.Errorf("%s: %v, %v", name, back, err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`[`, "f: not JSON: unexpected end of JSON input"},
		{`{}`, "f: neither CycloneDX 1.x nor SPDX-2.3"},
		{`{"bomFormat":"CycloneDX","specVersion":"2.0"}`, "f: neither CycloneDX 1.x nor SPDX-2.3"},
		{`{"spdxVersion":"SPDX-3.0"}`, "f: neither CycloneDX 1.x nor SPDX-2.3"},
		{
			`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1"},{"type":"library","name":"b","purl":"x"}]}`,
			`f: "a 1": no property hermeto:found_by: not made by Hermeto, nor by hermetic` + "\n" + `f: "b": no package URL: "x"`,
		},
		{
			`{"spdxVersion":"SPDX-2.3","packages":[null,{"SPDXID":"SPDXRef-a","name":"a","externalRefs":[null,{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:npm/a@1"}]}]}`,
			`f: "a": no property hermeto:found_by: not made by Hermeto, nor by hermetic`,
		},
	} {
		_, err := Parse("f", []byte(tt.text))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.text, err, tt.want)
		}
	}
	many := strings.Repeat(`{"type":"library","name":"a","purl":"x"},`, 100)
	_, err := Parse("f", []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[`+strings.TrimSuffix(many, ",")+`]}`))
	if err == nil || strings.Count(err.Error(), "\n") != maxErrors {
		t.Errorf("many: %v", err)
	}
}

// TestMerge: what two documents say together.
func TestMerge(t *testing.T) {
	flag := func(names ...string) []cache.Property {
		var out []cache.Property
		for _, n := range names {
			out = append(out, cache.Property{Name: n, Value: "true"})
		}
		return out
	}
	for _, tt := range []struct{ a, b, want []cache.Property }{
		{flag(cache.NpmDevelopment), flag(cache.NpmDevelopment), flag(cache.NpmDevelopment)},
		{flag(cache.NpmDevelopment), nil, nil},
		{nil, flag(cache.NpmBundled), nil},
		{flag(cache.BuildDependency), flag(cache.PipBinary), flag(cache.PipBinary)},
		{flag(cache.GemBinary), nil, flag(cache.GemBinary)},
		{flag("x", "a"), flag("a"), flag("a", "x")},
	} {
		got := Merge([]cache.Component{{PURL: "pkg:npm/a?x=a%2Fb", Properties: tt.a}}, []cache.Component{{PURL: "pkg:npm/a?x=a/b", Properties: tt.b}})
		want := []cache.Component{{PURL: "pkg:npm/a?x=a/b", Properties: tt.want}}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%v and %v (-want +got)\n%s", tt.a, tt.b, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, write := range formats {
		data, err := write(sample, options)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		components, err := Parse("f", data)
		if err != nil {
			return
		}
		for name, write := range formats {
			again, err := write(components, options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(name, again); err != nil {
				t.Errorf("%s: what was read cannot be read again: %v", name, err)
			}
		}
	})
}

// TestSchema holds the CycloneDX document to the schema of CycloneDX, which is in
// the module of the library that writes it.
func TestSchema(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(doc.(map[string]any)["$id"].(string), doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cyclonedx.json", "cyclonedx-empty.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSPDXReads has the library of SPDX read the document that it wrote.
func TestSPDXReads(t *testing.T) {
	text, err := SPDX(sample, options)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdxjson.Read(bytes.NewReader(text))
	if err != nil || doc.SPDXVersion != "SPDX-2.3" || len(doc.Packages) != len(Merge(sample))+1 || len(doc.Relationships) != len(doc.Packages) {
		t.Errorf("%+v, %v", doc, err)
	}
}
