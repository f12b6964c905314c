package policy_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

var update = flag.Bool("update", false, "write the golden parts of testdata anew")

// rules are what the tests know of rules.
var rules = policy.Rules{
	{Name: "UnpinnedImage", Exceptable: true},
	{Name: "UnpinnedAdd", Exceptable: true},
	{Name: "MissingInput", Exceptable: true},
	{Name: "RunNetwork", Exceptable: true, NeedsPlace: true},
	{Name: "SshMount"},
	{Name: "ExpiredException"},
}

// testParse runs the cases of an archive: a file NAME.yaml is parsed, and
// NAME.want is what parse says of it.
func testParse(t *testing.T, name string, parse func(file string, data []byte) string) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []txtar.File
	for i, f := range ar.Files {
		base, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		got := parse(f.Name, f.Data) + "\n"
		out = append(out, f, txtar.File{Name: base + ".want", Data: []byte(got)})
		if *update {
			continue
		}
		t.Run(base, func(t *testing.T) {
			if i+1 == len(ar.Files) || ar.Files[i+1].Name != base+".want" {
				t.Fatalf("no %s.want; run the test with -update", base)
			}
			if diff := cmp.Diff(string(ar.Files[i+1].Data), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	if len(out) == 0 {
		t.Fatalf("%s: no cases", name)
	}
	if *update {
		ar.Files = out
		if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func parseProject(file string, data []byte) string {
	p, err := policy.ParseProject(file, data, rules)
	if err != nil {
		return err.Error()
	}
	return dump(map[string]any{"level": demand(p.Level), "strict": demand(p.Strict), "exceptions": p.Exceptions})
}

func parsePolicy(file string, data []byte) string {
	p, err := policy.ParsePolicy(file, data, rules)
	if err != nil {
		return err.Error()
	}
	return dump(map[string]any{
		"level": demand(p.Level), "strict": demand(p.Strict), "registries": p.Registries, "rules": p.Rules,
		"approvers": p.Approvers, "signed": p.Signed, "longest": p.Longest.String(), "standing": p.Standing,
	})
}

// demand is a demand and where it is made; "" where there is none.
func demand[T any](d policy.Demand[T]) string {
	if !d.Given() {
		return ""
	}
	return fmt.Sprintf("%v (%s)", d.Value, d.Origin)
}

func dump(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestParseProject(t *testing.T) {
	testParse(t, "testdata/project.txtar", parseProject)
}

func TestParsePolicy(t *testing.T) {
	testParse(t, "testdata/policy.txtar", parsePolicy)
}

// fixture reads a file of testdata.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// mustProject parses a project that has no errors.
func mustProject(t testing.TB, data string) *policy.Project {
	t.Helper()
	p, err := policy.ParseProject(policy.ProjectFile, []byte(data), rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustPolicy parses a policy that has no errors.
func mustPolicy(t testing.TB, data string) *policy.Policy {
	t.Helper()
	p, err := policy.ParsePolicy(policy.File, []byte(data), rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// defaultRegistry is the host of images whose names have none.
func defaultRegistry(t testing.TB) string {
	t.Helper()
	named, err := reference.ParseNormalizedNamed("app")
	if err != nil {
		t.Fatal(err)
	}
	return reference.Domain(named)
}

// TestDocs: the examples of docs/policy.md are files without errors,
// and the policy allows what the first hermetic.yaml asks for.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	known := preflight.RuleSet()
	var p *policy.Policy
	var projects []*policy.Project
	for i, block := range strings.Split(string(data), "\n```") {
		text, ok := strings.CutPrefix(block, "yaml\n")
		if !ok || i%2 == 0 {
			continue
		}
		switch name, _, _ := strings.Cut(text, "\n"); name {
		case "# policy.yaml":
			if p, err = policy.ParsePolicy("policy.yaml", []byte(text), known); err != nil {
				t.Error(err)
			}
		case "# hermetic.yaml":
			project, err := policy.ParseProject("hermetic.yaml", []byte(text), known)
			if err != nil {
				t.Error(err)
			}
			projects = append(projects, project)
		default:
			t.Errorf("an example of no file: %s", name)
		}
	}
	if p == nil || len(projects) != 2 {
		t.Fatalf("policy %v, %d projects", p, len(projects))
	}
	p.Signed = false // nobody has the private keys
	if _, issues := policy.Combine(policy.Inputs{Policy: p, Project: projects[0], Now: now}); len(issues) > 0 {
		t.Errorf("issues: %v", issues)
	}
}
