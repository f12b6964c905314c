package ecosystem

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// edit replaces text in a file of a vendored project.
type edit struct{ file, old, new string }

const modulesTxt = "vendor/modules.txt"

var vendorTests = []struct {
	name    string
	project string
	edits   []edit
	unused  bool // the go command passes over the vendor directory
}{
	{name: "consistent", project: "vendor.txtar"},
	{name: "new requirement", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/a ", "require example.com/d v1.0.0\n\nreplace example.com/a "}}},
	{name: "new requirement with a replacement", project: "vendor.txtar", edits: []edit{
		{"go.mod", "replace example.com/a ", "require example.com/d v1.0.0\n\nreplace example.com/d => ./dirs/d\n\nreplace example.com/a "},
	}},
	{name: "other version", project: "vendor.txtar", edits: []edit{{"go.mod", "example.com/a v1.0.0", "example.com/a v1.1.0"}}},
	{name: "other version of what is replaced in one", project: "vendor.txtar", edits: []edit{{"go.mod", "\texample.com/b v1.0.0", "\texample.com/b v1.1.0"}}},
	{name: "requirement gone", project: "vendor.txtar", edits: []edit{{"go.mod", "\texample.com/b v1.0.0\n", ""}}},
	{name: "indirect requirement gone", project: "vendor.txtar", edits: []edit{{"go.mod", "require example.com/c v1.0.0 // indirect", ""}}},
	{name: "mark gone", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "example.com/b"}}},
	{name: "mark of another word", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "## implicit; explicit \nexample.com/b"}}},
	{name: "mark twice", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "## explicit\n## go 1.20\nexample.com/b"}}},
	{name: "too many explicit with packages", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/unused", "# example.com/x v1.0.0\n## explicit\nexample.com/x\n# example.com/unused"}}},
	{name: "too many explicit without packages", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/unused", "# example.com/x v1.0.0\n## explicit\n# example.com/unused"}}},
	{name: "too many, not explicit", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/unused", "# example.com/x v1.0.0\nexample.com/x\n# example.com/unused"}}},
	{name: "other replacement", project: "vendor.txtar", edits: []edit{{"go.mod", "=> ./dirs/a", "=> ./dirs/d"}}},
	{name: "replaced by a module", project: "vendor.txtar", edits: []edit{{"go.mod", "=> ./dirs/a", "=> example.com/d v1.0.0"}}},
	{name: "replaced by a module in the list", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/a => ./dirs/a", "# example.com/a => example.com/a v1.0.0"}}},
	{name: "replacement gone", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/a => ./dirs/a\n", ""}}},
	{name: "replacement of one version gone", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/b v1.0.0 => ./dirs/b\n", ""}}},
	{name: "unused replacement gone", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/unused => ./dirs/d\n", ""}}},
	{name: "unused replacement new", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/unused =>", "replace example.com/new => ./dirs/d\n\nreplace example.com/unused =>"}}},
	{name: "replacement for one version instead of all", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/a => ", "replace example.com/a v1.0.0 => "}}},
	{name: "replacement for all versions instead of one", project: "vendor.txtar", edits: []edit{{"go.mod", "replace example.com/b v1.0.0 => ", "replace example.com/b => "}}},
	{name: "replaced for one version and for all", project: "vendor.txtar", edits: []edit{
		{"go.mod", "replace example.com/b v1.0.0 => ", "replace example.com/b => ./dirs/d\n\nreplace example.com/b v1.0.0 => "},
	}},
	{name: "list without replacements", project: "vendor.txtar", edits: []edit{{modulesTxt, " => ./dirs/a", ""}, {modulesTxt, " => ./dirs/b", ""}}},
	{name: "list with another replacement", project: "vendor.txtar", edits: []edit{{modulesTxt, "v1.0.0 => ./dirs/b", "v1.0.0 => ./dirs/d"}}},
	{name: "list with a replacement of nothing", project: "vendor.txtar", edits: []edit{{modulesTxt, "v1.0.0 => ./dirs/b", "v1.0.0 => "}}},
	{name: "list replaces by too much", project: "vendor.txtar", edits: []edit{{modulesTxt, "v1.0.0 => ./dirs/b", "v1.0.0 => ./dirs/b v1.0.0 x"}}},
	{name: "list replaces by no version", project: "vendor.txtar", edits: []edit{{modulesTxt, "v1.0.0 => ./dirs/b", "v1.0.0 => ./dirs/b one"}}},
	{name: "list with line ends of Windows", project: "vendor.txtar", edits: []edit{{modulesTxt, "\n", "\r\n"}}},
	{name: "list with strange lines", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/b", "# x\n#\n##\n# x y\nx y z\n\t\n# example.com/b"}}},
	{name: "mark after a line of unknown form", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "# x y\n## explicit\nexample.com/b"}}},
	{name: "mark after a line of one word", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "# x\n## explicit\nexample.com/b"}}},
	{name: "module twice", project: "vendor.txtar", edits: []edit{{modulesTxt, "## explicit\nexample.com/b", "example.com/b\n# example.com/b v1.0.0\n## explicit"}}},
	{name: "empty list", project: "vendor.txtar", edits: []edit{{modulesTxt, "", ""}}},
	{name: "workspace mark on the second line", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/b", "## workspace\n# example.com/b"}}},
	{name: "list of a workspace", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/a v1", "## workspace\n# example.com/a v1"}}, unused: true},
	{name: "list of a workspace, among words", project: "vendor.txtar", edits: []edit{{modulesTxt, "# example.com/a v1", "## x; workspace ;y\n# example.com/a v1"}}, unused: true},
	{name: "go 1.14", project: "vendor.txtar", edits: []edit{{"go.mod", "go 1.21", "go 1.14"}}},
	{name: "go 1.14, other version", project: "vendor.txtar", edits: []edit{{"go.mod", "go 1.21", "go 1.14"}, {"go.mod", "example.com/a v1.0.0", "example.com/a v1.1.0"}}},
	{name: "go 1.13", project: "vendor.txtar", edits: []edit{{"go.mod", "go 1.21", "go 1.13"}, {"go.mod", "\texample.com/b v1.0.0", "\texample.com/b v1.1.0"}}, unused: true},
	{name: "no go line", project: "vendor.txtar", edits: []edit{{"go.mod", "go 1.21", ""}, {"go.mod", "\texample.com/b v1.0.0", "\texample.com/b v1.1.0"}}, unused: true},

	{name: "workspace", project: "vendorwork.txtar"},
	{name: "workspace, new requirement", project: "vendorwork.txtar", edits: []edit{{"lib/go.mod", "require ", "require example.com/d v1.0.0\n\nrequire "}}},
	{name: "workspace, other version", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "example.com/b v1.0.0", "example.com/b v1.1.0"}}},
	{name: "workspace, requirement gone", project: "vendorwork.txtar", edits: []edit{{"lib/go.mod", "require example.com/c v1.0.0", ""}}},
	{name: "workspace, other replacement", project: "vendorwork.txtar", edits: []edit{{"go.work", "=> ./dirs/b", "=> ./dirs/c"}}},
	{name: "workspace, replacement in a module", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "=> ../dirs/a", "=> ../dirs/c"}}},
	{name: "workspace, replacement written otherwise", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "=> ../dirs/a", "=> ../app/../dirs/./a"}}},
	{name: "workspace, replacement outside", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "=> ../dirs/a", "=> ../../elsewhere/a"}}},
	{name: "workspace, go.work wins over a module", project: "vendorwork.txtar", edits: []edit{
		{"app/go.mod", "replace example.com/a ", "replace example.com/b => ../dirs/c\n\nreplace example.com/a "},
	}},
	{name: "workspace, replacement gone", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "replace example.com/a => ../dirs/a\n", ""}}},
	{name: "workspace, replacement of its own module gone", project: "vendorwork.txtar", edits: []edit{{"app/go.mod", "replace example.com/lib => ../lib\n", ""}}},
	{name: "workspace, new replacement", project: "vendorwork.txtar", edits: []edit{{"go.work", "replace ", "replace example.com/new => ./dirs/c\n\nreplace "}}},
	{name: "workspace, mark gone", project: "vendorwork.txtar", edits: []edit{{modulesTxt, "## explicit; go 1.21\nexample.com/a", "example.com/a"}}},
	{name: "workspace, list of a module", project: "vendorwork.txtar", edits: []edit{{modulesTxt, "## workspace\n", ""}}, unused: true},
}

// TestVendorIsThatOfGoCommand holds what the plan says of vendor directories
// against what the go command says.
func TestVendorIsThatOfGoCommand(t *testing.T) {
	for _, tt := range vendorTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := unpack(t, tt.project)
			g := goCommand{dir: dir}
			command, in := "mod", "."
			if tt.project == "vendorwork.txtar" {
				command, in = "work", "./app"
			}
			g.must(t, command, "vendor")
			for _, e := range tt.edits {
				change(t, filepath.Join(dir, filepath.FromSlash(e.file)), e)
			}
			_, err := g.run("list", in)
			want := complaints(err)
			plan := New(os.DirFS(dir), []cache.Package{{Type: "gomod", Path: path.Clean(in)}}, Options{})
			got := []string{}
			for _, p := range plan.Problems {
				if p.Kind == cache.BadVendor {
					got = append(got, p.Subject)
				} else if !tt.unused {
					t.Errorf("%s", p)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(slices.Compact(want), slices.Compact(got)); diff != "" {
				t.Errorf("%s\nthe go command says: %v\nthe plan says: %v", diff, err, plan.Problems)
			}
			if tt.unused && len(want) > 0 {
				t.Errorf("the go command uses the vendor directory: %v", err)
			}
			if p := &(goPlan{fsys: os.DirFS(dir)}); p.usesVendor(t, path.Clean(in)) == tt.unused {
				t.Errorf("vendored is %v", !tt.unused)
			}
		})
	}
}

// usesVendor tells whether the plan of dir takes the vendor directory.
func (p *goPlan) usesVendor(t *testing.T, dir string) bool {
	t.Helper()
	main, ok := p.readMod(dir)
	if !ok {
		t.Fatal(p.Problems)
	}
	set := goSet{dir: dir, name: path.Join(dir, "go.mod"), mods: []goModule{main}}
	if work, at := p.readWork(main); work != nil {
		set = goSet{dir: at, name: path.Join(at, "go.work"), work: work}
	}
	return p.vendored(newGoSet(set))
}

func change(t *testing.T, name string, e edit) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), e.old, e.new)
	if e.old == "" {
		text = ""
	}
	if text == string(data) {
		t.Fatalf("%s: nothing to edit: %q is not in\n%s", e.file, e.old, data)
	}
	write(t, name, []byte(text))
}

// complaint is a line of the go command's about a vendor directory.
var complaint = regexp.MustCompile(`(?m)^\t(\S+): is (?:explicitly required|replaced|marked)`)

// complaints are the modules that the go command complains about.
func complaints(err error) []string {
	out := []string{}
	if err == nil || !strings.Contains(err.Error(), "inconsistent vendoring") {
		return out
	}
	for _, m := range complaint.FindAllStringSubmatch(err.Error(), -1) {
		out = append(out, m[1])
	}
	slices.Sort(out)
	return out
}

func TestParseVendor(t *testing.T) {
	const text = `## workspace; x
# example.com/a v1.0.0 => ../a
## explicit; go 1.21
example.com/a
example.com/a/sub
# example.com/b v1.0.0
# example.com/c => example.com/d v1.0.0
# example.com/a v1.0.0
# odd form
## explicit
example.com/odd
`
	got := parseVendor("v", []byte(text))
	var lines []string
	for _, v := range got.mods {
		lines = append(lines, strings.Join([]string{v.mod.String(), v.replace.String(), map[bool]string{true: "explicit"}[v.explicit], map[bool]string{true: "packages"}[v.packages]}, "|"))
	}
	want := []string{"example.com/a@v1.0.0|../a|explicit|packages", "example.com/b@v1.0.0|||", "example.com/c|example.com/d@v1.0.0||"}
	if diff := cmp.Diff(want, lines); diff != "" || !got.workspace || got.mods[2].line != 7 {
		t.Errorf("%s; workspace %v, line %d", diff, got.workspace, got.mods[2].line)
	}
}
