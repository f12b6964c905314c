package preflight_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

const pages = "../../docs/rules"

// A page is what docs/rules says of a rule.
type page struct {
	headings []string
	verdict  string              // the paragraph under the first heading, on one line
	output   []string            // lines of the first block under Output
	examples map[string][]string // Dockerfiles under each heading
	files    fstest.MapFS        // blocks that begin with the name of their file, as a comment
}

// readPage reads the headings and the fenced blocks of a page.
func readPage(t *testing.T, name string) page {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := page{examples: map[string][]string{}, files: fstest.MapFS{}}
	heading, language := "", ""
	var block []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && language == "":
			language, block = fence, nil
		case isFence && heading == "## Output" && p.output == nil:
			p.output, language = block, ""
		case isFence:
			p.keep(heading, language, block)
			language = ""
		case language != "":
			block = append(block, line)
		case strings.HasPrefix(line, "#"):
			heading = line
			p.headings = append(p.headings, line)
		case len(p.headings) == 1 && line != "":
			p.verdict = strings.TrimSpace(p.verdict + " " + line)
		}
	}
	return p
}

// keep takes a fenced block, if it is a Dockerfile or a file with a name.
func (p *page) keep(heading, language string, block []string) {
	switch text := strings.Join(block, "\n") + "\n"; {
	case language == "dockerfile":
		p.examples[heading] = append(p.examples[heading], text)
	case language == "yaml" && len(block) > 0:
		if name, ok := strings.CutPrefix(block[0], "# "); ok && heading == "## Good" {
			p.files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
		}
	}
}

// verdicts are the beginnings of the pages, by severity, in a build that is not
// strict and in a strict one.
var verdicts = map[[2]preflight.Severity]string{
	{preflight.Error, preflight.Error}: "Error: the build stops before its first RUN. ",
	{preflight.Warn, preflight.Error}:  "Warning: it is printed and recorded; the build goes on. A strict build stops. ",
	{preflight.Warn, preflight.Warn}:   "Warning: it is printed and recorded; the build goes on, a strict one too. ",
}

// TestPagesTellTheGrade holds the first paragraph of each page to what the rule
// does: its severity, also in a strict build, and whether, and for which
// places, an exception can be granted.
func TestPagesTellTheGrade(t *testing.T) {
	granted := regexp.MustCompile(`^An exception can be granted for .+ \(\[policy\.md\]\(\.\./policy\.md\)\)\.$`)
	for _, r := range preflight.Rules {
		begin, ok := verdicts[[2]preflight.Severity{r.Severity, r.Strict}]
		if !ok {
			t.Errorf("%s: severities %s and %s: no page can say that", r.Name, r.Severity, r.Strict)
		}
		got := readPage(t, filepath.Join(pages, r.Name+".md")).verdict
		exception, ok := strings.CutPrefix(got, begin)
		switch {
		case !ok:
			t.Errorf("%s: the page begins\n%s\nwant\n%s", r.Name, got, begin)
		case r.Exceptable && !granted.MatchString(exception):
			t.Errorf("%s: of exceptions the page says %q; want %s", r.Name, exception, granted)
		case !r.Exceptable && exception != "No exception can be granted.":
			t.Errorf("%s: of exceptions the page says %q; none can be granted", r.Name, exception)
		}
	}
}

func TestPages(t *testing.T) {
	for _, r := range preflight.Rules {
		t.Run(r.Name, func(t *testing.T) {
			p := readPage(t, filepath.Join(pages, r.Name+".md"))
			want := []string{"# " + r.Name, "## Output", "## Reason", "## Bad", "## Good"}
			if diff := cmp.Diff(want, p.headings); diff != "" {
				t.Errorf("headings: -want +got\n%s", diff)
			}
			checkOutput(t, r, p.output)
			if ofDockerfile(r) {
				bad := p.examples["## Bad"]
				if len(bad) == 0 || !breaks(t, r, bad[0], nil) {
					t.Errorf("the bad example does not break the rule:\n%q", bad)
				}
			}
			for _, text := range p.examples["## Good"] {
				if breaks(t, r, text, p.files) {
					t.Errorf("the good example breaks the rule:\n%s", text)
				}
			}
		})
	}
}

// checkOutput checks the example of a report: the heading with the number of
// the findings, a line for each, the hint and the address of the page.
func checkOutput(t *testing.T, r *preflight.Rule, output []string) {
	t.Helper()
	end := []string{"see " + r.URL()}
	if r.Hint != "" {
		end = slices.Insert(end, 0, "hint: "+r.Hint)
	}
	n := len(output) - 1 - len(end)
	if n < 1 {
		t.Fatalf("output of %d lines", len(output))
	}
	if want := r.Name + ": " + r.Summary(n); output[0] != want {
		t.Errorf("output begins\n%s\nwant, for %d findings,\n%s", output[0], n, want)
	}
	if diff := cmp.Diff(end, output[1+n:]); diff != "" {
		t.Errorf("output ends: -want +got\n%s", diff)
	}
}

// ofDockerfile tells whether the Dockerfile alone decides about a rule.
func ofDockerfile(r *preflight.Rule) bool {
	return slices.Contains([]*preflight.Rule{
		preflight.SSHMount, preflight.SecurityInsecure, preflight.Device, preflight.UnpinnedAdd,
		preflight.RunNetwork, preflight.CacheMount, preflight.SecretMount, preflight.UnpinnedImage,
		preflight.UndeclaredAdd, preflight.UnqualifiedImage, preflight.UnsetArg, preflight.NetworkCommand,
		preflight.SourcedEnvFile,
	}, r)
}

// breaks tells whether a Dockerfile, in a build context of these files, breaks a
// rule.
func breaks(t *testing.T, r *preflight.Rule, dockerfile string, files fstest.MapFS) bool {
	t.Helper()
	report, err := preflight.Run(preflight.Request{
		Dockerfile: preflight.Dockerfile{Name: "Dockerfile", Data: []byte(dockerfile)}, Context: files,
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(report.Findings, func(f preflight.Finding) bool { return f.Rule == r })
}

func TestNoPageWithoutRule(t *testing.T) {
	names, err := filepath.Glob(pages + "/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, name := range names {
		rule := strings.TrimSuffix(filepath.Base(name), ".md")
		if rule == "README" {
			continue
		}
		if r, ok := preflight.Find(rule); !ok || r.Name+".md" != filepath.Base(name) {
			t.Errorf("%s: of no rule", name)
		}
	}
}

// TestIndexOfPages holds the table of docs/rules/README.md to Rules; -update
// rewrites it.
func TestIndexOfPages(t *testing.T) {
	const head = "| rule | a build | a strict build | exception | says |\n| --- | --- | --- | --- | --- |\n"
	name := filepath.Join(pages, "README.md")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), head)
	i := strings.Index(rest, "\n## ")
	if !ok || i < 0 {
		t.Fatalf("%s: no table that begins with\n%s", name, head)
	}
	var table strings.Builder
	for _, r := range preflight.Rules {
		exception := "no"
		if r.Exceptable {
			exception = "yes"
		}
		fmt.Fprintf(&table, "| [%[1]s](%[1]s.md) | %[2]s | %[3]s | %[4]s | %[5]s |\n", r.Name, r.Severity, r.Strict, exception, r.Summary(1))
	}
	want := before + head + table.String() + rest[i:]
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("%s: -want +got\n%s", name, diff)
	}
}

func TestFind(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range preflight.Rules {
		if seen[strings.ToLower(r.Name)] {
			t.Errorf("%s: the name of two rules", r.Name)
		}
		seen[strings.ToLower(r.Name)] = true
		for _, name := range []string{r.Name, strings.ToLower(r.Name), strings.ToUpper(r.Name)} {
			if got, ok := preflight.Find(name); !ok || got != r {
				t.Errorf("Find(%q) = %v, %v", name, got, ok)
			}
		}
	}
	for _, name := range []string{"", "Missing", "MissingInputs", " MissingInput"} {
		if got, ok := preflight.Find(name); ok {
			t.Errorf("Find(%q) = %s", name, got.Name)
		}
	}
}

func TestSummaryCounts(t *testing.T) {
	for _, r := range preflight.Rules {
		one, many := r.Summary(1), r.Summary(12)
		if !strings.HasPrefix(one, "1 ") || !strings.HasPrefix(many, "12 ") || strings.Contains(one+many, "%!") {
			t.Errorf("%s: %q, %q", r.Name, one, many)
		}
		if r.Severity != preflight.Warn && r.Severity != preflight.Error {
			t.Errorf("%s: severity %d", r.Name, r.Severity)
		}
	}
}
