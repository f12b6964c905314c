package cache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolveEnv(t *testing.T) {
	tests := []struct {
		name string
		vars []EnvVar
		want []EnvVar
	}{
		{"none", nil, []EnvVar{}},
		{"Go", []EnvVar{
			{Name: "GOPROXY", Value: "file://${GOMODCACHE}/cache/download"}, {Name: "GOSUMDB", Value: "off"}, {Name: "GOMODCACHE", Value: "${output_dir}/deps/gomod/pkg/mod"},
		}, []EnvVar{
			{Name: "GOMODCACHE", Value: "/out/deps/gomod/pkg/mod"}, {Name: "GOPROXY", Value: "file:///out/deps/gomod/pkg/mod/cache/download"}, {Name: "GOSUMDB", Value: "off"},
		}},
		{"without braces", []EnvVar{{Name: "A", Value: "$output_dir/$B-$output_dirs"}, {Name: "B", Value: "b"}}, []EnvVar{{Name: "A", Value: "/out/b-$output_dirs"}, {Name: "B", Value: "b"}}},
		{"dollars", []EnvVar{{Name: "A", Value: "$$output_dir $$$$ $ ${ $} ${} ${1} $1 ${a b} ${output_dir"}}, []EnvVar{{Name: "A", Value: "$output_dir $$ $ ${ $} ${} ${1} $1 ${a b} ${output_dir"}}},
		{"unknown", []EnvVar{{Name: "A", Value: "${HOME}/$PATH/${output_dir}"}}, []EnvVar{{Name: "A", Value: "${HOME}/$PATH//out"}}},
		{"itself", []EnvVar{{Name: "A", Value: "${A}:x"}}, []EnvVar{{Name: "A", Value: "${A}:x"}}},
		{"a cycle", []EnvVar{{Name: "A", Value: "a${B}"}, {Name: "B", Value: "b${C}"}, {Name: "C", Value: "c${A}"}, {Name: "D", Value: "${A}"}},
			[]EnvVar{{Name: "A", Value: "abc${A}"}, {Name: "B", Value: "bca${B}"}, {Name: "C", Value: "cab${C}"}, {Name: "D", Value: "abc${A}"}}},
		{"output_dir is ours", []EnvVar{{Name: "output_dir", Value: "/elsewhere"}, {Name: "A", Value: "${output_dir}"}}, []EnvVar{{Name: "A", Value: "/out"}, {Name: "output_dir", Value: "/elsewhere"}}},
		{"strange names", []EnvVar{{Name: "a}b", Value: "${a}"}, {Name: "a", Value: "x"}, {Name: "", Value: "${}"}}, []EnvVar{{Name: "", Value: "${}"}, {Name: "a", Value: "x"}, {Name: "a}b", Value: "x"}}},
		{"twice", []EnvVar{{Name: "A", Value: "2"}, {Name: "B", Value: "${A}"}, {Name: "A", Value: "1"}}, []EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}, {Name: "B", Value: "1"}}},
	}
	for _, tt := range tests {
		given := slices.Clone(tt.vars)
		if diff := cmp.Diff(tt.want, ResolveEnv(tt.vars, "/out")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if diff := cmp.Diff(given, tt.vars); diff != "" {
			t.Errorf("%s: the argument changed: %s", tt.name, diff)
		}
	}
}

func TestResolveEnvIsBounded(t *testing.T) {
	double := []EnvVar{{Name: "V0", Value: "x"}}
	for i := range 200 {
		double = append(double, EnvVar{Name: fmt.Sprintf("V%d", i+1), Value: fmt.Sprintf("${V%d}${V%d}", i, i)})
	}
	chain := []EnvVar{{Name: "V0", Value: strings.Repeat("x", 1<<19)}}
	for i := range 50_000 {
		chain = append(chain, EnvVar{Name: fmt.Sprintf("V%d", i+1), Value: fmt.Sprintf("${V%d}", i)})
	}
	slices.Reverse(chain)
	fan := []EnvVar{{Name: "big", Value: strings.Repeat("y", 1<<18)}, {Name: "fan", Value: strings.Repeat("${big}", 10_000)}, {Name: "empty", Value: ""}, {Name: "many", Value: strings.Repeat("${empty}", 100_000)}}
	for name, vars := range map[string][]EnvVar{"doubling": double, "chain": chain, "fan": fan} {
		size := 0
		for _, v := range vars {
			size -= len(v.Value)
		}
		for _, v := range ResolveEnv(vars, "/out") {
			size += len(v.Value)
		}
		if size > maxExpansion {
			t.Errorf("%s: grew by %d bytes", name, size)
		}
	}
}

func FuzzResolveEnv(f *testing.F) {
	f.Add("A", "${B}$C$$", "B", "${A}${output_dir}")
	f.Add("output_dir", "$output_dir", "", "${}")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string) {
		vars := []EnvVar{{Name: n1, Value: v1}, {Name: n2, Value: v2}, {Name: "x", Value: "${x}${A}${B}" + v1}}
		got := ResolveEnv(vars, "/out")
		if diff := cmp.Diff(got, ResolveEnv([]EnvVar{vars[2], vars[1], vars[0]}, "/out")); n1 != n2 && n1 != "x" && n2 != "x" && diff != "" {
			t.Fatalf("depends on the order: %s", diff)
		}
		if len(got) != len(vars) {
			t.Fatalf("%d variables of %d", len(got), len(vars))
		}
	})
}

func TestNormalize(t *testing.T) {
	sumA, sumB := SumBytes([]byte("a")), SumBytes([]byte("b"))
	in := func(name string, need Need, sum Sum, file string) Input {
		return Input{Ecosystem: "gomod", Kind: "zip", Name: name, Version: "v1.0.0", Need: need, Sum: sum, Origin: Origin{file, 1}}
	}
	sumOf := func(alg Algorithm) Sum {
		s, err := alg.of(strings.NewReader("a"), 1)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sha1A, sha512A := sumOf(SHA1), sumOf(SHA512)
	rechecked := func(name string, need Need, sum Sum, file string) Input {
		i := in(name, need, sum, file)
		i.Rechecked = true
		return i
	}
	elsewhere := rechecked("elsewhere", Listed, sha512A, "b")
	elsewhere.Path = "another"
	plan := Plan{
		Packages: []Package{{Type: "gomod", Path: "b"}, {Type: "gomod", Path: "."}, {Type: "gomod", Path: "b"}},
		Locks:    []Lock{{"b/go.sum", sumB}, {"b/go.sum", sumB}, {"a/go.sum", sumA}},
		Env:      []EnvVar{{Name: "B", Value: "2"}, {Name: "A", Value: "1"}},
		Inputs: []Input{
			in("same", Listed, sumA, "b"), in("same", Required, sumA, "c"), in("same", Listed, sumA, "a"),
			in("differs", Listed, sumA, "a"), in("differs", Listed, sumB, "b"), in("differs", Listed, sumB, "c"),
			in("tool", Optional, Sum{}, "a"), in("tool", Optional, sumA, "b"), in("tool", Optional, Sum{}, "c"),
			in("strong", Optional, sumA, "a"), in("strong", Listed, sumA, "b"),
			in("a", Listed, sumA, "z"),
			rechecked("older", Listed, sha1A, "a"), rechecked("older", Listed, sha512A, "b"), rechecked("older", Required, sumA, "c"),
			rechecked("newer", Listed, sha512A, "a"), rechecked("newer", Listed, sha1A, "b"),
			rechecked("elsewhere", Listed, sha1A, "a"), elsewhere,
		},
	}
	want := Plan{
		Packages: []Package{{Type: "gomod", Path: "."}, {Type: "gomod", Path: "b"}},
		Locks:    []Lock{{"a/go.sum", sumA}, {"b/go.sum", sumB}},
		Env:      []EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		Inputs: []Input{
			in("a", Listed, sumA, "z"), in("differs", Listed, sumA, "a"), rechecked("elsewhere", Listed, sha1A, "a"),
			rechecked("newer", Listed, sha512A, "a"), rechecked("older", Required, sha512A, "b"), in("same", Required, sumA, "a"),
			in("strong", Listed, sumA, "a"), in("tool", Optional, sumA, "b"),
		},
		Problems: []Problem{
			{BadLock, Origin{"b", 1}, "differs@v1.0.0", "another sum than at a:1"},
			{BadLock, Origin{"b", 1}, "elsewhere@v1.0.0", "another sum than at a:1"},
			{BadLock, Origin{"c", 1}, "differs@v1.0.0", "another sum than at a:1"},
		},
	}
	for i := range 100 {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		got := Plan{Packages: slices.Clone(plan.Packages), Locks: slices.Clone(plan.Locks), Env: slices.Clone(plan.Env), Inputs: slices.Clone(plan.Inputs)}
		r.Shuffle(len(got.Inputs), func(i, j int) { got.Inputs[i], got.Inputs[j] = got.Inputs[j], got.Inputs[i] })
		got.Normalize()
		if diff := cmp.Diff(want, got, equalSums); diff != "" {
			t.Fatalf("order %d: %s", i, diff)
		}
		got.Normalize()
		if diff := cmp.Diff(want, got, equalSums); diff != "" {
			t.Fatalf("normalized twice: %s", diff)
		}
	}
}

func TestPlanAdd(t *testing.T) {
	p := Plan{Env: []EnvVar{{Name: "A", Value: "1"}}}
	p.Add(Plan{Env: []EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "1"}}, Packages: []Package{{Type: "gomod", Path: "."}}, Inputs: []Input{{Name: "x"}}, Locks: []Lock{{File: "l"}}, Problems: []Problem{{Cause: "c"}}})
	want := Plan{Env: []EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "1"}}, Packages: []Package{{Type: "gomod", Path: "."}}, Inputs: []Input{{Name: "x"}}, Locks: []Lock{{File: "l"}}, Problems: []Problem{{Cause: "c"}}}
	if diff := cmp.Diff(want, p, equalSums); diff != "" {
		t.Error(diff)
	}
}

func TestProblemText(t *testing.T) {
	in := Input{Ecosystem: "gomod", Kind: "mod", Name: "example.com/m", Version: "v1.0.0", Origin: Origin{"go.sum", 3}}
	for want, got := range map[string]fmt.Stringer{
		"go.sum:3: example.com/m@v1.0.0/go.mod: gone": in.Problem(Missing, "gone"),
		"go.sum: gone":                        Problem{Origin: Origin{File: "go.sum"}, Cause: "gone"},
		"m: gone":                             Problem{Subject: "m", Cause: "gone"},
		"gone":                                Problem{Cause: "gone"},
		`a\x1b[31m\n\u2028b\xff�ü: \x00\t'"\`: Problem{Subject: "a\x1b[31m\n\u2028b\xff\ufffdü", Cause: "\x00\t'\"\\"},
		strings.Repeat("ü", 500) + "…":        Problem{Cause: strings.Repeat("ü", 10_000)},
		"go.sum:7":                            Origin{"go.sum", 7},
		`{"type":"gomod","path":"a\"b"}`:      Package{Type: "gomod", Path: `a"b`},
	} {
		if got.String() != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, in := range map[string]Input{"m@v1": {Name: "m", Version: "v1"}, "m": {Name: "m"}, "m@v1 ": {Name: "m", Version: "v1 ", Kind: "mod"}} {
		if got := in.Subject(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	ps := SortProblems([]Problem{
		{Missing, Origin{"b", 1}, "", ""}, {Missing, Origin{"a", 10}, "", ""}, {Missing, Origin{"a", 9}, "y", ""},
		{Stale, Origin{"a", 9}, "y", ""}, {Missing, Origin{"a", 9}, "x", "2"}, {Missing, Origin{"a", 9}, "x", "1"}, {Missing, Origin{"b", 1}, "", ""},
	})
	want := []Problem{
		{Missing, Origin{"a", 9}, "x", "1"}, {Missing, Origin{"a", 9}, "x", "2"}, {Missing, Origin{"a", 9}, "y", ""},
		{Stale, Origin{"a", 9}, "y", ""}, {Missing, Origin{"a", 10}, "", ""}, {Missing, Origin{"b", 1}, "", ""},
	}
	if diff := cmp.Diff(want, ps); diff != "" {
		t.Error(diff)
	}
}

func TestBuildConfig(t *testing.T) {
	env := []EnvVar{{Name: "B", Value: "${output_dir}/<&>\u2028"}, {Name: "A", Value: ""}}
	f := BuildConfig(env)
	got, _, err := ParseBuildConfig("c", f.Data)
	if diff := cmp.Diff(env, got); err != nil || diff != "" || f.Path != ".build-config.json" {
		t.Errorf("%v %s", err, diff)
	}
	if text := string(BuildConfig(nil).Data); text != "{\n  \"environment_variables\": [],\n  \"project_files\": []\n}\n" {
		t.Errorf("nothing is written as %s", text)
	}
	for text, want := range map[string]string{
		"":   "c: unexpected end of JSON input",
		"[]": "c: not of the form that Hermeto writes",
		`{"environment_variables": [{"name": "A", "value": "1"}, {"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}`:                  "c: environment variable \"A\": given twice, with two values",
		"{\"environment_variables\": [{\"name\": \"\"}, {\"name\": \"A=B\"}, {\"name\": \"OK\"}, {\"name\": \"C\", \"value\": \"\\u0000\"}]}": "c: environment variable \"\": not a name\nc: environment variable \"A=B\": not a name\nc: environment variable \"C\": a NUL in its value",
		`{"project_files": [{"abspath": "a"}, {"abspath": "/a/../b"}, {"abspath": "/"}, {"abspath": "/a"}]}`:                                  "c: project file \"a\": not an absolute path\nc: project file \"/a/../b\": not an absolute path\nc: project file \"/\": not an absolute path",
	} {
		if _, _, err := ParseBuildConfig("c", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"{}", `{"environment_variables": [], "project_files": [{"abspath": "/x", "template": ""}], "options": {}}`, `{"environment_variables": null}`} {
		if got, _, err := ParseBuildConfig("c", []byte(text)); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func FuzzParseBuildConfig(f *testing.F) {
	f.Add([]byte(`{"environment_variables": [{"name": "A", "value": "${output_dir}"}], "project_files": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, project, err := ParseBuildConfig("c", data)
		if err != nil {
			return
		}
		again, files, err := ParseBuildConfig("c", BuildConfigOf(env, project, "").Data)
		if err != nil || len(env) > 0 && !slices.Equal(env, again) || len(project) > 0 && !slices.Equal(project, files) {
			t.Fatalf("%v, %v; then %v, %v, %v", env, project, again, files, err)
		}
	})
}
