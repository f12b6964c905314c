package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// archive reads testdata/<name>.
func archive(t *testing.T, name string) map[string]string {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	return files
}

// TestReport runs everything between what the test binaries print and what the
// command prints, on made-up columns.
func TestReport(t *testing.T) {
	files := archive(t, "report.txtar")
	column := func(name string) column {
		c, err := parse(strings.NewReader(files[name]))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return c
	}
	list, errs := parseIntended("intended.txt", files["intended.txt"])
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	rep := &report{stock: column("stock"), ours: column("ours")}
	rep.differences = worse(rep.stock, rep.ours)
	rep.policy = column("policy")
	rep.noteExcepted()
	rep.noteAgain(column("once more"))
	rep.apply(list)
	var out strings.Builder
	rep.print(&out)
	fmt.Fprintln(&out, "\nerror:")
	if err := rep.err(); err != nil {
		fmt.Fprintln(&out, err)
	}
	_, table, _ := strings.Cut(out.String(), "\n\n") // the first line has versions
	golden(t, "report.txtar", map[string]string{"want": table, "policy for": pattern(rep.exceptable()) + "\n", "again for": pattern(rep.unnamed()) + "\n"})
}

// golden compares with the files of testdata/<name>, or writes them.
func golden(t *testing.T, name string, got map[string]string) {
	t.Helper()
	ar, err := txtar.ParseFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range ar.Files {
		text, ok := got[f.Name]
		if !ok {
			continue
		}
		if diff := cmp.Diff(string(f.Data), text); diff != "" && !*update {
			t.Errorf("%s: -want +got:\n%s", f.Name, diff)
		}
		ar.Files[i].Data = []byte(text)
	}
	if *update {
		if err := os.WriteFile("testdata/"+name, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIntended(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"# why\n\nTestA because\nTestB/part=x because of it\n", ""},
		{"TestA\n", "f:1: TestA: no reason"},
		{"\nTestA  \nTestB x\n", "f:2: TestA: no reason"},
		{"TestA x\nTestA y\nTestB", "f:2: TestA: listed twice\nf:3: TestB: no reason"},
		{strings.Repeat("TestA x\n", 1) + "TestB x\nTestC x\nTestD x\nTestE x\nTestF x\nTestG x\nTestH x\nTestI x\n", "f: 9 entries, at most 8 are allowed"},
	} {
		_, errs := parseIntended("f", tt.text)
		var got []string
		for _, err := range errs {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q: -want +got:\n%s", tt.text, diff)
		}
	}
}

// TestFiles holds the files of this directory to their rules.
func TestFiles(t *testing.T) {
	if _, errs := parseIntended("intended.txt", intendedText); len(errs) > 0 {
		t.Error(errs)
	}
	policy, err := os.ReadFile("policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values := regexp.MustCompile(`value: (\w+)`).FindAllSubmatch(policy, -1)
	if len(values) == 0 {
		t.Error("policy.yaml excepts nothing")
	}
	for _, m := range values {
		if r, ok := preflight.Find(string(m[1])); !ok || !r.Exceptable {
			t.Errorf("policy.yaml: %s cannot be excepted", m[1])
		}
	}
}

// TestOneVersion: the suite is that of the BuildKit that the frontend is made of.
func TestOneVersion(t *testing.T) {
	required := regexp.MustCompile(`github\.com/moby/buildkit (v\S+)`)
	var versions []string
	for _, file := range []string{"../../go.mod", "suite/go.mod"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := required.FindSubmatch(data)
		if m == nil {
			t.Fatalf("%s: no BuildKit", file)
		}
		versions = append(versions, string(m[1]))
	}
	if versions[0] != versions[1] {
		t.Errorf("go.mod has BuildKit %s, suite/go.mod %s", versions[0], versions[1])
	}
}

// TestLibrary reads what ldd prints.
func TestLibrary(t *testing.T) {
	const out = `	linux-vdso.so.1 (0x00007ffd3d5f2000)
	libpcre2-8.so.0 => /lib/x86_64-linux-gnu/libpcre2-8.so.0 (0x00007f2f6d1c8000)
	libgone.so => not found
	/lib64/ld-linux-x86-64.so.2 (0x00007f2f6d6a1000)
`
	var got []string
	for _, m := range library.FindAllStringSubmatch(out, -1) {
		got = append(got, m[1])
	}
	want := []string{"/lib/x86_64-linux-gnu/libpcre2-8.so.0", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
