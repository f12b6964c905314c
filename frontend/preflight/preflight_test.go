package preflight_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

var update = flag.Bool("update", false, "rewrite the golden sections of testdata")

// A testCase is one archive of testdata. Its files are the build context, save
// these:
//
//	manifest      the manifest of the deps context; {go.sum} stands for the
//	              sum of that file of the context
//	request.json  the other fields of the request, see requestFile
//	tree.json     the .build-config.json of a tree
//	problems      what reading the cache brought to light, a JSON list of cache.Problem
//	policy.yaml   the organisation's policy
//	empty/…       names of empty directories, a line each, in a file of any name
//
// and the golden sections: error, what Run returns, or else findings, the
// report for people, json, the same for machines, drawn, the lines of the
// Dockerfile under which each finding is drawn, inputs, what the plan asks of
// the cache, and level, what the build may claim and what keeps it from more.
type testCase struct {
	archive  *txtar.Archive
	request  preflight.Request
	problems []cache.Problem
	close    bool
}

// requestFile is what of a Request is neither the build context nor the manifest.
type requestFile struct {
	Input     string
	Target    string
	BuildArgs map[string]string
	Platforms []string
	Contexts  []string
	Tree      bool // the deps context is an output directory of Hermeto
	Files     bool // the build context is at hand as a whole
	AllStages bool
	Now       time.Time // 2026-11-22 if not given
	Close     bool      // the report is closed, and has a level
}

var golden = []string{"error", "findings", "json", "drawn", "inputs", "level"}

func readCase(t *testing.T, name string) *testCase {
	t.Helper()
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCase{archive: ar}
	context := fstest.MapFS{}
	special := map[string][]byte{}
	for _, f := range ar.Files {
		switch {
		case slices.Contains(golden, f.Name):
		case f.Name == "manifest" || f.Name == "request.json" || f.Name == "problems" || f.Name == "policy.yaml" || f.Name == "tree.json":
			special[f.Name] = f.Data
		case strings.HasPrefix(f.Name, "empty/"):
			for name := range strings.FieldsSeq(string(f.Data)) {
				context[name] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			}
		default:
			context[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
		}
	}
	if context["Dockerfile"] == nil {
		t.Fatalf("%s: no Dockerfile", name)
	}
	c.request = preflight.Request{
		Dockerfile: preflight.Dockerfile{Name: "Dockerfile", Data: context["Dockerfile"].Data},
		Context:    context,
		Now:        time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
	}
	c.readRequest(t, special["request.json"])
	if text, ok := special["policy.yaml"]; ok {
		p, err := policy.ParsePolicy("policy.yaml", text, preflight.RuleSet())
		if err != nil {
			t.Fatal(err)
		}
		c.request.Policy = p
	}
	if text, ok := special["manifest"]; ok {
		m, err := cache.ParseManifest("manifest", fill(context, text))
		if err != nil {
			t.Fatal(err)
		}
		c.request.Deps = &preflight.Deps{Manifest: m}
	}
	if text, ok := special["tree.json"]; ok {
		d := &preflight.Deps{}
		if d.Env, d.Project, err = cache.ParseBuildConfig("tree.json", text); err != nil {
			t.Fatal(err)
		}
		c.request.Deps = d
	}
	if text, ok := special["problems"]; ok {
		strictJSON(t, "problems", text, &c.problems)
	}
	return c
}

func (c *testCase) readRequest(t *testing.T, text []byte) {
	t.Helper()
	if text == nil {
		return
	}
	var r requestFile
	strictJSON(t, "request.json", text, &r)
	c.request.Input, c.request.Target, c.request.BuildArgs = r.Input, r.Target, r.BuildArgs
	c.request.Platforms, c.request.Contexts = r.Platforms, r.Contexts
	c.request.AllStages, c.close = r.AllStages, r.Close
	if !r.Now.IsZero() {
		c.request.Now = r.Now
	}
	if r.Files {
		c.request.Files = c.request.Context
	}
	if r.Tree {
		c.request.Deps = &preflight.Deps{}
	}
}

// fill puts the sums of files into a manifest.
func fill(context fstest.MapFS, manifest []byte) []byte {
	for name, f := range context {
		manifest = bytes.ReplaceAll(manifest, []byte("{"+name+"}"), []byte(cache.SumBytes(f.Data).String()))
	}
	return manifest
}

func strictJSON(t *testing.T, name string, data []byte, v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// run is the case's report, as the golden sections have it.
func (c *testCase) run() (report *preflight.Report, sections map[string]string, err error) {
	report, err = preflight.Run(c.request)
	if err == nil && c.problems != nil {
		report.Problems(c.problems)
	}
	if err != nil {
		return nil, map[string]string{"error": err.Error()}, nil
	}
	if c.close {
		report.Close()
	}
	data, err := json.MarshalIndent(report.Findings, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	var drawn, inputs strings.Builder
	for _, f := range report.Findings {
		fmt.Fprintf(&drawn, "%d-%d %s\n", f.Line, f.End, f.Rule.Name)
	}
	for _, in := range report.Plan.Inputs {
		fmt.Fprintf(&inputs, "%s %s %s\n", in.Origin, in.Subject(), in.Sum.Notation())
	}
	sections = map[string]string{
		"findings": preflight.Text(report.Findings), "json": string(data),
		"drawn": drawn.String(), "inputs": inputs.String(),
	}
	if c.close {
		level, obstacles := report.Level()
		sections["level"] = level.String() + "\n"
		for _, o := range obstacles {
			sections["level"] += fmt.Sprintf("not %s: %s\n", o.Level, o.Cause)
		}
	}
	return report, sections, nil
}

// wanted are the golden sections of the archive.
func (c *testCase) wanted() map[string]string {
	out := map[string]string{}
	for _, f := range c.archive.Files {
		if slices.Contains(golden, f.Name) {
			out[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
		}
	}
	return out
}

// rewrite replaces the golden sections of the archive on disk.
func (c *testCase) rewrite(t *testing.T, name string, sections map[string]string) {
	t.Helper()
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return slices.Contains(golden, f.Name) })
	for _, g := range golden {
		if text, ok := sections[g]; ok {
			c.archive.Files = append(c.archive.Files, txtar.File{Name: g, Data: []byte(text)})
		}
	}
	if err := os.WriteFile(name, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func caseNames(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	return names
}

func TestRun(t *testing.T) {
	for _, name := range caseNames(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			c := readCase(t, name)
			report, got, err := c.run()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				c.rewrite(t, name, got)
			} else if diff := cmp.Diff(c.wanted(), trim(got)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if report != nil {
				checkReport(t, c.request, report)
			}
			checkName(t, name, report)
		})
	}
}

// trim leaves out the newlines at the ends, which an archive does not keep.
func trim(sections map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range sections {
		out[k] = strings.TrimSuffix(v, "\n")
	}
	return out
}

// checkName holds a case to its name: <Rule>-bad*.txtar breaks the rule,
// <Rule>-good*.txtar does not.
func checkName(t *testing.T, file string, report *preflight.Report) {
	t.Helper()
	name, verdict, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-")
	rule, ok := preflight.Find(name)
	if !ok || rule.Name != name {
		return // named for something else than a rule
	}
	if report == nil {
		t.Fatal("no report")
	}
	verdict, _, _ = strings.Cut(verdict, "-")
	broken := slices.ContainsFunc(report.Findings, func(f preflight.Finding) bool { return f.Rule == rule })
	switch {
	case verdict != "bad" && verdict != "good":
		t.Errorf("%s: neither bad nor good", file)
	case verdict == "bad" && !broken:
		t.Errorf("%s is not found", name)
	case verdict == "good" && broken:
		t.Errorf("%s is a false alarm", name)
	}
}

// checkReport is what holds for every report.
func checkReport(t *testing.T, req preflight.Request, r *preflight.Report) {
	t.Helper()
	seen := map[string]bool{}
	last, lastRank := preflight.Finding{}, -1
	for _, f := range r.Findings {
		checkPlaces(t, req, f)
		rank := slices.Index(preflight.Rules, f.Rule)
		if rank < 0 {
			t.Errorf("%v: %q is not among Rules", f, f.Rule.Name)
		}
		if rank < lastRank || rank == lastRank && f.Origin.Compare(last.Origin) < 0 {
			t.Errorf("not sorted: %v before %v", last, f)
		}
		if id := fmt.Sprintf("%s %v", f.Rule.Name, f); seen[id] {
			t.Errorf("twice: %s", id)
		} else {
			seen[id] = true
		}
		last, lastRank = f, rank
	}
	broken := r.Of(preflight.Error)
	sum := len(broken) + len(r.Of(preflight.Warn)) + len(r.Of(preflight.Excepted)) + len(r.Of(preflight.Skipped))
	if (r.Err() != nil) != (len(broken) > 0) || sum != len(r.Findings) {
		t.Errorf("%d findings, %d of them errors, Err is %v", len(r.Findings), len(broken), r.Err())
	}
}

// checkPlaces checks that the places of f exist.
func checkPlaces(t *testing.T, req preflight.Request, f preflight.Finding) {
	t.Helper()
	n := lines(req.Dockerfile.Data)
	if f.Line < 0 || f.End < f.Line || f.End > n || f.Line == 0 && f.End != 0 {
		t.Errorf("%s: %v: lines %d to %d of %d", f.Rule.Name, f, f.Line, f.End, n)
	}
	file := req.Dockerfile.Data
	if req.Policy != nil && f.Origin.File == req.Policy.File {
		return // no file of the context
	}
	if f.Origin.File != req.Dockerfile.Name {
		text, ok := req.Context.(fstest.MapFS)[f.Origin.File]
		if !ok {
			if f.Origin.Line != 0 {
				t.Errorf("%s: %v: no such file", f.Rule.Name, f)
			}
			return
		}
		file = text.Data
	}
	if f.Origin.Line < 0 || f.Origin.Line > lines(file) {
		t.Errorf("%s: %v: the file has %d lines", f.Rule.Name, f, lines(file))
	}
}

// lines counts the lines of a file; what follows the last newline is one.
func lines(data []byte) int { return bytes.Count(data, []byte("\n")) + 1 }

func TestRunIsDeterministic(t *testing.T) {
	for _, name := range caseNames(t) {
		c := readCase(t, name)
		_, first, err := c.run()
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			_, again, err := c.run()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, again); diff != "" {
				t.Fatalf("%s: two runs differ\n%s", name, diff)
			}
		}
	}
}

// onGraph are the rules that are decided on the build's graph alone.
var onGraph = []*preflight.Rule{
	preflight.ReservedMount, preflight.NestedFrontend, preflight.BuildOp, preflight.ExtraHost, preflight.OpenInput,
}

// TestEveryRuleHasCases: a rule that the text can break has an archive that does,
// and one that does not.
func TestEveryRuleHasCases(t *testing.T) {
	for _, r := range preflight.Rules {
		for _, verdict := range []string{"bad", "good"} {
			_, err := os.Stat(filepath.Join("testdata", r.Name+"-"+verdict+".txtar"))
			if has := err == nil; has == slices.Contains(onGraph, r) {
				t.Errorf("%s: has a %s case: %v", r.Name, verdict, has)
			}
		}
	}
}
