package script_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/frontend/script"
)

// A sample is a paragraph of the corpus: instructions, then what is expected of
// the RUNs among them:
//
//	=> LINE KIND COMMAND     a Fetch; KIND is - for none; lines count from the paragraph's first
//	=> LINE env PATH         an EnvFile
//	=> uses PROGRAM …        of the last RUN, and that these are all ("…" at the end: not all)
//	=? KIND …                the package types in effect
//
// A first line "# escape=" begins the Dockerfile; else a FROM is put above it.
type sample struct {
	name    string
	text    string
	want    []string
	uses    bool
	covered []string
}

func (s sample) first() int {
	if strings.HasPrefix(s.text, "# escape") {
		return 0
	}
	return 1
}

func corpus(t testing.TB) []sample {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var out []sample
	for _, name := range names {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range ar.Files {
			for i, paragraph := range strings.Split(strings.Trim(string(file.Data), "\n"), "\n\n") {
				s := sample{name: fmt.Sprintf("%s/%s/%d", strings.TrimSuffix(filepath.Base(name), ".txtar"), file.Name, i+1)}
				for line := range strings.Lines(paragraph + "\n") {
					if rest, ok := strings.CutPrefix(line, "=> "); ok {
						s.want = append(s.want, strings.TrimSpace(rest))
						s.uses = s.uses || strings.HasPrefix(rest, "uses")
					} else if rest, ok := strings.CutPrefix(line, "=? "); ok {
						s.covered = strings.Fields(rest)
					} else {
						s.text += line
					}
				}
				out = append(out, s)
			}
		}
	}
	return out
}

// answer is what the package says of a sample, in the words of the corpus.
func answer(t testing.TB, s sample) []string {
	t.Helper()
	var out []string
	text := s.text
	if s.first() == 1 {
		text = "FROM base\n" + text
	}
	covered := func(kind string) bool { return slices.Contains(s.covered, kind) }
	var last *script.Run
	for _, r := range runs(t, text) {
		for _, f := range r.Fetches(covered) {
			kind := f.Kind
			if kind == "" {
				kind = "-"
			}
			out = append(out, fmt.Sprintf("%d %s %s", f.Line-s.first(), kind, f.Command))
		}
		for _, e := range r.EnvFiles() {
			out = append(out, fmt.Sprintf("%d env %s", e.Line-s.first(), e.Path))
		}
		last = r
	}
	if s.uses {
		programs, complete := last.Uses()
		line := strings.Join(append([]string{"uses"}, programs...), " ")
		if !complete {
			line += " …"
		}
		out = append(out, line)
	}
	return out
}

// runs reads all RUNs of a Dockerfile, with its ENV, ARG and SHELL.
func runs(t testing.TB, text string) []*script.Run {
	t.Helper()
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	stages, _, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return read(script.NewFile([]byte(text), ast.EscapeToken), stages)
}

func read(file *script.File, stages []instructions.Stage) []*script.Run {
	var out []*script.Run
	for _, stage := range stages {
		settings := script.Settings{Env: map[string]string{}}
		for _, c := range stage.Commands {
			switch c := c.(type) {
			case *instructions.EnvCommand:
				for _, kv := range c.Env {
					settings.Env[kv.Key] = strings.Trim(kv.Value, `"'`)
				}
			case *instructions.ArgCommand:
				for _, kv := range c.Args {
					if kv.Value != nil {
						settings.Env[kv.Key] = strings.Trim(*kv.Value, `"'`)
					}
				}
			case *instructions.ShellCommand:
				settings.Shell = c.Shell
			case *instructions.RunCommand:
				out = append(out, file.Run(c, settings))
			}
		}
	}
	return out
}

func TestCorpus(t *testing.T) {
	samples := corpus(t)
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			if diff := cmp.Diff(s.want, answer(t, s)); diff != "" {
				t.Errorf("-want +got\n%s\n%s", diff, s.text)
			}
		})
	}
	silent := 0
	for _, s := range samples {
		if len(s.want) == 0 {
			silent++
		}
	}
	t.Logf("%d samples, %d of them silent", len(samples), silent)
	if len(samples) < 200 || silent < 100 {
		t.Errorf("%d samples, %d of them silent", len(samples), silent)
	}
}

// TestAlways repeats the corpus: maps must not show.
func TestAlways(t *testing.T) {
	for _, s := range corpus(t) {
		first := answer(t, s)
		for range 100 {
			if diff := cmp.Diff(first, answer(t, s)); diff != "" {
				t.Fatalf("%s: two answers\n%s", s.name, diff)
			}
		}
	}
}
