package policy_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/frontend/policy"
)

// seed adds the files of an archive whose names end so.
func seed(f *testing.F, pattern, ending string) {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		f.Fatalf("%s: no files: %v", pattern, err)
	}
	for _, name := range names {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			if strings.HasSuffix(file.Name, ending) {
				f.Add(file.Data)
			}
		}
	}
}

// checkErrors: errors are an *Errors, sorted, each line of them of the file, and
// the same again.
func checkErrors(t *testing.T, err, again error) {
	t.Helper()
	var all *policy.Errors
	if !errors.As(err, &all) || len(all.Problems) == 0 {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	if again == nil || again.Error() != err.Error() {
		t.Fatalf("two runs differ: %v\n%v", err, again)
	}
	last := 0
	for _, p := range all.Problems {
		if p.Origin.File != "f" || p.Origin.Line < last || p.Cause == "" {
			t.Fatalf("problem %+v after line %d", p, last)
		}
		last = p.Origin.Line
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, "f:") {
			t.Fatalf("line %q", line)
		}
	}
}

// FuzzParseProject: whatever the file holds, the errors are in order, and what
// has none has everything that an exception needs; combining it does not panic,
// and no exception is granted that the rules do not allow.
func FuzzParseProject(f *testing.F) {
	seed(f, "testdata/project.txtar", ".yaml")
	seed(f, "testdata/terms/*.txtar", "hermetic.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.ParseProject("f", data, rules)
		again, errAgain := policy.ParseProject("f", data, rules)
		if err != nil {
			checkErrors(t, err, errAgain)
			return
		}
		if diff := cmp.Diff(dump(p), dump(again)); diff != "" {
			t.Fatalf("two runs differ\n%s", diff)
		}
		for _, e := range p.Exceptions {
			if e.Reason == "" || e.ApprovedBy == "" || e.Until.IsZero() || !e.From.Before(e.Until) || e.Origin.Line == 0 {
				t.Fatalf("exception %+v", e)
			}
		}
		in := policy.Inputs{Project: p, Now: now}
		places := ""
		for _, e := range p.Exceptions {
			places += e.Rule + " | " + e.Place + "\n"
		}
		if first, second := play(in, places, "none"), play(in, places, "none"); first != second {
			t.Fatalf("two runs differ\n%s", cmp.Diff(first, second))
		}
		terms, _ := policy.Combine(in)
		for _, place := range []string{"", "x", "RUN make"} {
			for _, rule := range []string{"SshMount", "ExpiredException", ""} {
				if _, ok := terms.Grant(rule, place); ok {
					t.Fatalf("%s granted for %q", rule, place)
				}
			}
		}
		if _, ok := terms.Grant("RunNetwork"); ok {
			t.Fatal("RunNetwork granted everywhere")
		}
	})
}

// FuzzParsePolicy: whatever the file holds, the errors are in order, and a file
// without keys is one.
func FuzzParsePolicy(f *testing.F) {
	seed(f, "testdata/policy.txtar", ".yaml")
	seed(f, "testdata/terms/*.txtar", "policy.yaml")
	project := mustProject(f, string(fixture(f, "signatures/hermetic.yaml")))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.ParsePolicy("f", data, rules)
		again, errAgain := policy.ParsePolicy("f", data, rules)
		if err != nil {
			checkErrors(t, err, errAgain)
			return
		}
		if diff := cmp.Diff(dump(p), dump(again)); diff != "" {
			t.Fatalf("two runs differ\n%s", diff)
		}
		terms, issues := policy.Combine(policy.Inputs{Policy: p, Project: project, Now: now})
		if terms.Level != p.Level.Value || terms.Strict != p.Strict.Value {
			t.Fatal("the demands changed")
		}
		if p.Signed && len(issues) == 0 {
			t.Fatal("nothing is signed, and there is no issue")
		}
		for _, r := range p.Registries {
			if !terms.AllowsRegistry(r.String() + "/app") {
				t.Fatalf("%s does not allow what is below it", r)
			}
		}
	})
}

// FuzzSignatures: whatever the file of signatures holds, only who signed is
// granted anything, and exceptions without a signature have an issue.
func FuzzSignatures(f *testing.F) {
	names, err := filepath.Glob("testdata/signatures/*.sig")
	if err != nil || len(names) == 0 {
		f.Fatalf("no signatures: %v", err)
	}
	for _, name := range names {
		f.Add(fixture(f, "signatures/"+filepath.Base(name)))
	}
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"))
	p := fixturePolicy(f)
	signed := fixture(f, "signatures/hermetic.yaml")
	changed := append([]byte("# another\n"), signed...)
	f.Fuzz(func(t *testing.T, signatures []byte) {
		granted, issues := signers(t, p, signed, signatures)
		again, issuesAgain := signers(t, p, signed, signatures)
		if diff := cmp.Diff(granted, again) + cmp.Diff(issues, issuesAgain); diff != "" {
			t.Fatalf("two runs differ\n%s", diff)
		}
		if n := strings.Count(issues, "has no valid signature"); n+len(granted) != len(approvers) {
			t.Fatalf("%d granted, %d not", len(granted), n)
		}
		if granted, _ := signers(t, p, changed, signatures); len(granted) > 0 {
			t.Fatalf("granted for another file: %v", granted)
		}
	})
}
