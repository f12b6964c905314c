package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif" // for its schema
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// conformsCmd is the command "conforms findings|report|sarif FILE" of scripts:
// the file is what docs/formats.md says, or a SARIF log by its official schema.
func conformsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: conforms findings|report|sarif FILE")
	}
	data := []byte(ts.ReadFile(args[1]))
	if args[0] == "sarif" {
		ts.Check(conformsToSARIF(data))
		return
	}
	ts.Check(conforms("urn:hermetic:"+args[0], data))
}

// documented are the schemas of docs/formats.md. Their objects are held to the
// keys that are documented, though readers accept more.
var documented = sync.OnceValues(func() (*jsonschema.Compiler, error) {
	text, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1) {
		if !bytes.Contains(m[1], []byte(`"$schema"`)) {
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(m[1]))
		if err != nil {
			return nil, fmt.Errorf("docs/formats.md: %w", err)
		}
		shut(doc)
		if err := c.AddResource(doc.(map[string]any)["$id"].(string), doc); err != nil {
			return nil, err
		}
	}
	return c, nil
})

// shut makes a schema refuse keys that it does not describe.
func shut(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if _, ok := s["properties"]; ok && s["additionalProperties"] == nil {
			s["additionalProperties"] = false
		}
		for _, v := range s {
			shut(v)
		}
	case []any:
		for _, v := range s {
			shut(v)
		}
	}
}

func conforms(id string, data []byte) error {
	c, err := documented()
	if err != nil {
		return err
	}
	schema, err := c.Compile(id)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schema.Validate(doc)
}

// sarifModel is a package whose constant "schema" is the schema of SARIF 2.1.0
// errata 01 as OASIS publishes it.
const sarifModel = "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

// officialSARIF reads the schema from the source of sarifModel, which validates
// only logs of its own making.
var officialSARIF = sync.OnceValues(func() (*jsonschema.Schema, error) {
	pkg, err := build.Import(sarifModel, ".", build.FindOnly)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, "schema.go"), nil, 0)
	if err != nil {
		return nil, err
	}
	value, ok := file.Scope.Lookup("schema").Decl.(*ast.ValueSpec).Values[0].(*ast.BasicLit)
	if !ok {
		return nil, errors.New("the schema is no literal")
	}
	text, err := strconv.Unquote(value.Value)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(sarifSchema, doc); err != nil {
		return nil, err
	}
	return c.Compile(sarifSchema)
})

func conformsToSARIF(data []byte) error {
	schema, err := officialSARIF()
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return schema.Validate(doc)
}

// TestConforms: the validators refuse what they are there to refuse.
func TestConforms(t *testing.T) {
	for _, tt := range []struct{ id, text string }{
		{"findings", `{}`},
		{"findings", `[{"rule": "X", "severity": "error", "cause": "c"}]`},
		{"findings", `[{"rule": "X", "severity": "fatal", "cause": "c", "url": "https://example.com"}]`},
		{"findings", `[{"rule": "X", "severity": "error", "cause": "c", "url": "https://example.com", "more": 1}]`},
		{"report", `{"level": "sealed"}`},
	} {
		if err := conforms("urn:hermetic:"+tt.id, []byte(tt.text)); err == nil {
			t.Errorf("%s: %s conforms", tt.id, tt.text)
		}
	}
	for _, text := range []string{
		`{}`,
		`{"version": "2.1.0"}`,
		`{"version": "2.1.0", "runs": [{"tool": {}}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{}]}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": [{"message": {"text": "x"}, "level": "fatal"}]}]}`,
		`{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "own": 1}]}`,
	} {
		if err := conformsToSARIF([]byte(text)); err == nil {
			t.Errorf("%s conforms to SARIF", text)
		}
	}
}

// datesCmd is the command "dates FILE…" of scripts: "@+10d@" becomes the time
// ten days from now.
func datesCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: dates FILE...")
	}
	for _, name := range args {
		text := regexp.MustCompile(`@([+-]\d+)d@`).ReplaceAllStringFunc(ts.ReadFile(name), func(s string) string {
			days, err := strconv.Atoi(strings.Trim(s, "@d"))
			ts.Check(err)
			// An hour more, so that whole days are left.
			return time.Now().AddDate(0, 0, days).Add(time.Hour).UTC().Format(time.RFC3339)
		})
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// sarifReport has a finding of each severity and kind of place.
func sarifReport(moved int) *preflight.Report {
	file := func(name string, line int) cache.Origin { return cache.Origin{File: name, Line: line} }
	return &preflight.Report{Findings: []preflight.Finding{
		{Rule: preflight.MissingInput, Severity: preflight.Error, Origin: file("go.sum", 4+moved), Subject: "example.com/x@v1", Cause: "not in the cache", Line: 7 + moved, End: 8 + moved},
		{Rule: preflight.InvalidLockfile, Severity: preflight.Error, Origin: file("a b/go.sum", 1+moved), Cause: "want 3 fields, found 2"},
		{Rule: preflight.InvalidLockfile, Severity: preflight.Error, Origin: file("a b/go.sum", 2+moved), Cause: "want 3 fields, found 4"},
		{Rule: preflight.UnpinnedImage, Severity: preflight.Excepted, Origin: file("Dockerfile", 1+moved), Subject: "example.com/x", Cause: "no digest", Line: 1 + moved, End: 1 + moved,
			Exception: &policy.Exception{ApprovedBy: "jane", Reason: "for now"}},
		{Rule: preflight.CacheMount, Severity: preflight.Skipped, Origin: file("Dockerfile", 9+moved), Subject: "/c", Cause: "private and empty", Line: 9 + moved},
		{Rule: preflight.ProxyArg, Severity: preflight.Warn, Subject: "--build-arg http_proxy", Cause: "not set in any RUN"},
		{Rule: preflight.LevelNotReached, Severity: preflight.Error, Origin: file("/etc/policy.yaml", 1), Subject: "level pinned", Cause: "the build reaches sealed"},
	}}
}

func sarifOf(t *testing.T, moved int) (sarifLog, []byte) {
	t.Helper()
	w := sarifWriter{request: request{
		Request: preflight.Request{Dockerfile: preflight.Dockerfile{Name: "Dockerfile"}},
		root:    "/src", paths: map[string]string{"Dockerfile": "/src/Dockerfile", "/etc/policy.yaml": "/etc/policy.yaml"},
	}}
	log := w.log(sarifReport(moved))
	data, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	return log, data
}

func TestSARIF(t *testing.T) {
	log, data := sarifOf(t, 0)
	if err := conformsToSARIF(data); err != nil {
		t.Error(err)
	}
	for range 100 {
		if _, again := sarifOf(t, 0); !bytes.Equal(again, data) {
			t.Fatal("two logs of one report differ")
		}
	}
	var got []string
	for _, r := range log.Runs[0].Results {
		if rule := log.Runs[0].Tool.Driver.Rules[r.RuleIndex].ID; rule != r.RuleID {
			t.Errorf("ruleIndex of %s is that of %s", r.RuleID, rule)
		}
		line := r.Level + " " + r.RuleID + " " + at(r.Locations[0]) + ": " + r.Message.Text
		for _, l := range r.Related {
			line += ", related " + at(l)
		}
		for _, s := range r.Suppressions {
			line += ", suppressed " + s.Kind + ": " + s.Justification
		}
		got = append(got, line)
	}
	want := []string{
		"error MissingInput SRCROOT go.sum:4-4: example.com/x@v1: not in the cache, related SRCROOT Dockerfile:7-8",
		"error InvalidLockfile SRCROOT a%20b/go.sum:1-1: want 3 fields, found 2",
		"error InvalidLockfile SRCROOT a%20b/go.sum:2-2: want 3 fields, found 4",
		"note UnpinnedImage SRCROOT Dockerfile:1-1: example.com/x: no digest, suppressed external: jane: for now",
		"note CacheMount SRCROOT Dockerfile:9-9: /c: private and empty, suppressed inSource: the Dockerfile skips the rule",
		"warning ProxyArg SRCROOT Dockerfile: --build-arg http_proxy: not set in any RUN",
		"error LevelNotReached  file:///etc/policy.yaml:1-1: level pinned: the build reaches sealed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got)\n%s", diff)
	}
}

func at(l sarifLocation) string {
	s := l.Physical.Artifact.Base + " " + l.Physical.Artifact.URI
	if r := l.Physical.Region; r != nil {
		s += fmt.Sprintf(":%d-%d", r.Start, r.End)
	}
	return s
}

// TestSARIFFingerprints: all differ, and lines may move.
func TestSARIFFingerprints(t *testing.T) {
	prints := func(moved int) []string {
		var out []string
		log, _ := sarifOf(t, moved)
		for _, r := range log.Runs[0].Results {
			out = append(out, r.Fingerprints[fingerprintKey])
		}
		return out
	}
	first := prints(0)
	if diff := cmp.Diff(first, prints(5)); diff != "" {
		t.Errorf("lines moved (-before +after)\n%s", diff)
	}
	seen := map[string]bool{}
	for _, f := range first {
		if f == "" || seen[f] {
			t.Errorf("fingerprint %q occurs twice", f)
		}
		seen[f] = true
	}
}
