package policy_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// now is the time of the tests.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// inputs are what a case of testdata/terms begins with.
func inputs(t testing.TB, files map[string][]byte) policy.Inputs {
	in := policy.Inputs{Now: now}
	if data, ok := files["policy.yaml"]; ok {
		in.Policy = mustPolicy(t, string(data))
	}
	if data, ok := files["hermetic.yaml"]; ok {
		in.Project = mustProject(t, string(data))
	}
	return in
}

// play makes the terms and asks for the grants, "rule | place | place" a line,
// then for the level; it tells all answers.
func play(in policy.Inputs, grants, reached string) string {
	var b strings.Builder
	terms, issues := policy.Combine(in)
	fmt.Fprintf(&b, "level %s, strict %t\n", terms.Level, terms.Strict)
	for _, p := range terms.Overruled {
		fmt.Fprintf(&b, "note: %s\n", p)
	}
	for _, i := range issues {
		fmt.Fprintf(&b, "%s: %s\n", i.Rule, i)
	}
	for line := range strings.Lines(grants) {
		words := strings.Split(strings.TrimSpace(line), " | ")
		answer := "no"
		if e, ok := terms.Grant(words[0], words[1:]...); ok {
			answer = fmt.Sprintf("%s (%s, %s)", e.Value(), e.Source, e.Origin)
		}
		fmt.Fprintf(&b, "%s -> %s\n", strings.Join(words, " | "), answer)
	}
	for _, i := range terms.Review() {
		fmt.Fprintf(&b, "after: %s: %s\n", i.Rule, i)
	}
	for _, e := range terms.Used() {
		fmt.Fprintf(&b, "used: %s: %s %q\n", e.Origin, e.Source, e.Value())
	}
	if level, err := policy.ParseLevel(strings.TrimSpace(reached)); err == nil {
		for _, i := range terms.Shortfall(level, "what keeps it") {
			fmt.Fprintf(&b, "%s: %s\n", i.Rule, i)
		}
	}
	return b.String()
}

func TestTerms(t *testing.T) {
	names, err := filepath.Glob("testdata/terms/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			for _, f := range ar.Files {
				files[f.Name] = f.Data
			}
			run := func() string { return play(inputs(t, files), string(files["grants"]), string(files["reached"])) }
			got := run()
			for range 100 {
				if again := run(); again != got {
					t.Fatalf("two runs differ\n%s", cmp.Diff(got, again))
				}
			}
			if *update {
				ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return f.Name == "want" })
				ar.Files = append(ar.Files, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(files["want"]), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestEdgesOfTime: an exception is in effect from its beginning on and no more at
// its end, and it expires soon for the last thirty days.
func TestEdgesOfTime(t *testing.T) {
	project := mustProject(t, `exceptions:
  - {value: MissingInput, reason: r, approvedBy: a, effectiveOn: 2026-10-01, effectiveUntil: 2026-12-31}
`)
	at := func(s string) time.Time {
		instant, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return instant
	}
	for _, c := range []struct {
		now, rule, cause string
		granted          bool
	}{
		{"2026-08-31T00:00:00Z", policy.Expired, "not in effect before 2026-10-01T00:00:00Z, 31 days from now", false},
		{"2026-09-30T23:59:59.999999999Z", policy.Expired, "not in effect before 2026-10-01T00:00:00Z, less than an hour from now", false},
		{"2026-10-01T00:00:00Z", "", "", true},
		{"2026-10-01T01:59:59+02:00", policy.Expired, "not in effect before 2026-10-01T00:00:00Z, less than an hour from now", false},
		{"2026-12-01T23:59:59.999999999Z", "", "", true},
		{"2026-12-02T00:00:00Z", policy.Expiring, "expires at 2027-01-01T00:00:00Z, 30 days from now", true},
		{"2026-12-30T23:00:00Z", policy.Expiring, "expires at 2027-01-01T00:00:00Z, 1 day from now", true},
		{"2026-12-31T00:00:01Z", policy.Expiring, "expires at 2027-01-01T00:00:00Z, 23 hours from now", true},
		{"2026-12-31T23:59:59.999999999Z", policy.Expiring, "expires at 2027-01-01T00:00:00Z, less than an hour from now", true},
		{"2027-01-01T00:00:00Z", policy.Expired, "expired since 2027-01-01T00:00:00Z, less than an hour ago", false},
		{"2027-01-01T00:59:59+01:00", policy.Expiring, "expires at 2027-01-01T00:00:00Z, less than an hour from now", true},
		{"2028-01-01T00:00:00Z", policy.Expired, "expired since 2027-01-01T00:00:00Z, 365 days ago", false},
	} {
		terms, issues := policy.Combine(policy.Inputs{Project: project, Now: at(c.now)})
		var want []policy.Issue
		if c.rule != "" {
			origin := cache.Origin{File: policy.ProjectFile, Line: 2}
			want = []policy.Issue{{Rule: c.rule, Origin: origin, Subject: "MissingInput", Cause: c.cause}}
		}
		if diff := cmp.Diff(want, issues); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.now, diff)
		}
		if _, ok := terms.Grant("MissingInput"); ok != c.granted {
			t.Errorf("%s: granted %t", c.now, ok)
		}
	}
}

// TestNothing: without files nothing is demanded and nothing granted.
func TestNothing(t *testing.T) {
	terms, issues := policy.Combine(policy.Inputs{Now: now})
	if len(issues) > 0 {
		t.Errorf("issues: %v", issues)
	}
	for _, terms := range []*policy.Terms{terms, nil} {
		if _, ok := terms.Grant("MissingInput", "x"); ok {
			t.Error("granted")
		}
		if !terms.AllowsRegistry("example.com/app") || !terms.AllowsRegistry("") {
			t.Error("a registry is not allowed")
		}
		if n := len(terms.Used()) + len(terms.Review()) + len(terms.Shortfall(policy.None, "")); n > 0 {
			t.Errorf("%d answers", n)
		}
	}
}

func TestAllowsRegistry(t *testing.T) {
	const digest = "@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	for _, c := range []struct {
		pattern, image string
		want           bool
	}{
		{"example.com", "example.com/app", true},
		{"example.com", "example.com/team/app:1.2" + digest, true},
		{"example.com", "EXAMPLE.com/app", true},
		{"EXAMPLE.com", "example.com/app", true},
		{"example.com", "example.com.evil.example/app", false},
		{"example.com", "notexample.com/app", false},
		{"example.com", "sub.example.com/app", false},
		{"example.com", "example.com:443/app", false},
		{"example.com", "evil.example/example.com/app", false},
		{"example.com", "example.com", false}, // an image of the default registry
		{"example.com", "app", false},
		{"example.com", "team/app", false},
		{"example.com:5000", "example.com:5000/app", true},
		{"example.com:5000", "example.com/app", false},
		{"example.com/base", "example.com/base/app", true},
		{"example.com/base", "example.com/base/team/app:1", true},
		{"example.com/base", "example.com/base", false},
		{"example.com/base", "example.com/base:1", false},
		{"example.com/base", "example.com/basement/app", false},
		{"example.com/base", "example.com/other/base/app", false},
		{"example.com/a/b", "example.com/a/b/app", true},
		{"example.com/a/b", "example.com/a/app", false},
		{"localhost", "localhost/app", true},
		{"localhost:5000", "localhost:5000/app", true},
		{"localhost", "localhost:5000/app", false},
		{"'[::1]:5000'", "[::1]:5000/app", true},
		{"example.com", "", false},
		{"example.com", "example.com/", false},
		{"example.com", "example.com/App", false},
		{"example.com", "https://example.com/app", false},
		{"example.com", "example.com/app:", false},
		{"example.com", "example.com/app@sha256:00", false},
		{"example.com", "example.com/../app", false},
		{"example.com", "user@example.com/app", false},
	} {
		terms, _ := policy.Combine(policy.Inputs{Policy: mustPolicy(t, "registries: ["+c.pattern+"]"), Now: now})
		if got := terms.AllowsRegistry(c.image); got != c.want {
			t.Errorf("%s allows %q: %t", c.pattern, c.image, got)
		}
	}
	terms, _ := policy.Combine(policy.Inputs{Policy: mustPolicy(t, "registries: []"), Now: now})
	if terms.AllowsRegistry("example.com/app") {
		t.Error("an empty list allows an image")
	}
}

// TestAllowsDefaultRegistry: names without a host are of the default registry,
// whatever it is called, and an upper-case word before the slash is a host.
func TestAllowsDefaultRegistry(t *testing.T) {
	host := defaultRegistry(t)
	for _, c := range []struct {
		pattern, image string
		want           bool
	}{
		{host, "app", true},
		{host, "team/app:1", true},
		{host, host + "/app", true},
		{host + "/library", "app", true},
		{host + "/library", "team/app", false},
		{host + "/team", "team/app", true},
		{host, "Team/app", false},
	} {
		terms, _ := policy.Combine(policy.Inputs{Policy: mustPolicy(t, "registries: ["+c.pattern+"]"), Now: now})
		if got := terms.AllowsRegistry(c.image); got != c.want {
			t.Errorf("%s allows %q: %t", c.pattern, c.image, got)
		}
	}
}

func TestLevels(t *testing.T) {
	for l := policy.None; l <= policy.Reproduced; l++ {
		if got, err := policy.ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("ParseLevel(%q) = %v, %v", l, got, err)
		}
	}
	if got := policy.Level(7).String(); got != "level 7" {
		t.Errorf("got %q", got)
	}
	_, err := policy.ParseLevel("")
	if want := `"" is no level: want one of none, sealed, pinned, complete, reproduced`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBadBytes: what no archive of text can hold.
func TestBadBytes(t *testing.T) {
	many := strings.Repeat("x: 1\n", 150)
	exception := "  - {value: MissingInput, reason: r, approvedBy: a, effectiveUntil: 2027-01-01}\n"
	for _, c := range []struct{ name, data, want string }{
		{"NUL", "level: sealed\x00\n", "f:1: holds the character U+0000, which does not show"},
		{"control characters", "a\x01\nb\x7f\r\nlevel: sealed\n", "f:1: holds the character U+0001, which does not show\nf:2: holds the character U+007F, which does not show"},
		{"byte order mark", "\ufefflevel: sealed\n", "f:1: begins with a byte order mark"},
		{"byte order mark later", "level: sealed\n\ufeffstrict: true\n", "f:2: holds the character U+FEFF, which does not show"},
		{"UTF-16", "\xff\xfel\x00e\x00", "f:1: not UTF-8"},
		{"Latin 1", "# caf\xe9\nlevel: sealed\n", "f:1: not UTF-8"},
		{"bidirectional", "level: sealed # \u202e\n", "f:1: holds the character U+202E, which does not show"},
		{"line separator", "# a\u2028level: none\n", "f:1: holds the character U+2028, which does not show"},
		{"next line", "# a\u0085level: none\n", "f:1: holds the character U+0085, which does not show"},
		{"too long", strings.Repeat("#", 1<<20+1), "f: 1048577 bytes, at most 1048576"},
		{"too many", "exceptions:\n" + strings.Repeat(exception, 1001), "f:1: exceptions: 1001 of them, at most 1000"},
		{"deep", strings.Repeat("[", 20000), "f:1: syntax: exceeded max depth of 10000"},
		{"deep blocks", strings.Repeat("- ", 20000), "f:1: syntax: exceeded max depth of 10000"},
		{"very long word", "level: " + strings.Repeat("x", 5000), "f:1: level: \"" + strings.Repeat("x", 999) + "…"},
		{"many problems", many, strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 100 {
				yield(fmt.Sprintf("f:%d: x: no such key: want one of level, strict, exceptions", i+1))
			}
			yield("f: 50 more")
		}), "\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := policy.ParseProject("f", []byte(c.data), rules)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if _, err := policy.ParsePolicy("f", []byte(c.data), rules); err == nil {
				t.Error("as a policy: no error")
			}
		})
	}
}

// TestCRLF: lines may end as on Windows.
func TestCRLF(t *testing.T) {
	data := []byte("level: sealed\r\nexceptions:\r\n  - value: MissingInput\r\n    reason: r\r\n    approvedBy: a\r\n    effectiveUntil: 2027-01-01\r\n")
	want := parseProject("f", bytes.ReplaceAll(data, []byte("\r"), nil))
	if diff := cmp.Diff(want, parseProject("f", data)); diff != "" || !strings.HasPrefix(want, "{") {
		t.Errorf("-want +got\n%s", diff)
	}
}
