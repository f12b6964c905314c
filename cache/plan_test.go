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
			{"GOPROXY", "file://${GOMODCACHE}/cache/download"}, {"GOSUMDB", "off"}, {"GOMODCACHE", "${output_dir}/deps/gomod/pkg/mod"},
		}, []EnvVar{
			{"GOMODCACHE", "/out/deps/gomod/pkg/mod"}, {"GOPROXY", "file:///out/deps/gomod/pkg/mod/cache/download"}, {"GOSUMDB", "off"},
		}},
		{"without braces", []EnvVar{{"A", "$output_dir/$B-$output_dirs"}, {"B", "b"}}, []EnvVar{{"A", "/out/b-$output_dirs"}, {"B", "b"}}},
		{"dollars", []EnvVar{{"A", "$$output_dir $$$$ $ ${ $} ${} ${1} $1 ${a b} ${output_dir"}}, []EnvVar{{"A", "$output_dir $$ $ ${ $} ${} ${1} $1 ${a b} ${output_dir"}}},
		{"unknown", []EnvVar{{"A", "${HOME}/$PATH/${output_dir}"}}, []EnvVar{{"A", "${HOME}/$PATH//out"}}},
		{"itself", []EnvVar{{"A", "${A}:x"}}, []EnvVar{{"A", "${A}:x"}}},
		{"a cycle", []EnvVar{{"A", "a${B}"}, {"B", "b${C}"}, {"C", "c${A}"}, {"D", "${A}"}},
			[]EnvVar{{"A", "abc${A}"}, {"B", "bca${B}"}, {"C", "cab${C}"}, {"D", "abc${A}"}}},
		{"output_dir is ours", []EnvVar{{"output_dir", "/elsewhere"}, {"A", "${output_dir}"}}, []EnvVar{{"A", "/out"}, {"output_dir", "/elsewhere"}}},
		{"strange names", []EnvVar{{"a}b", "${a}"}, {"a", "x"}, {"", "${}"}}, []EnvVar{{"", "${}"}, {"a", "x"}, {"a}b", "x"}}},
		{"twice", []EnvVar{{"A", "2"}, {"B", "${A}"}, {"A", "1"}}, []EnvVar{{"A", "1"}, {"A", "2"}, {"B", "1"}}},
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
	double := []EnvVar{{"V0", "x"}}
	for i := range 200 {
		double = append(double, EnvVar{fmt.Sprintf("V%d", i+1), fmt.Sprintf("${V%d}${V%d}", i, i)})
	}
	chain := []EnvVar{{"V0", strings.Repeat("x", 1<<19)}}
	for i := range 50_000 {
		chain = append(chain, EnvVar{fmt.Sprintf("V%d", i+1), fmt.Sprintf("${V%d}", i)})
	}
	slices.Reverse(chain)
	fan := []EnvVar{{"big", strings.Repeat("y", 1<<18)}, {"fan", strings.Repeat("${big}", 10_000)}, {"empty", ""}, {"many", strings.Repeat("${empty}", 100_000)}}
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
		vars := []EnvVar{{n1, v1}, {n2, v2}, {"x", "${x}${A}${B}" + v1}}
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
	plan := Plan{
		Packages: []Package{{Type: "gomod", Path: "b"}, {Type: "gomod", Path: "."}, {Type: "gomod", Path: "b"}},
		Locks:    []Lock{{"b/go.sum", sumB}, {"b/go.sum", sumB}, {"a/go.sum", sumA}},
		Env:      []EnvVar{{"B", "2"}, {"A", "1"}},
		Inputs: []Input{
			in("same", Listed, sumA, "b"), in("same", Required, sumA, "c"), in("same", Listed, sumA, "a"),
			in("differs", Listed, sumA, "a"), in("differs", Listed, sumB, "b"), in("differs", Listed, sumB, "c"),
			in("tool", Optional, Sum{}, "a"), in("tool", Optional, sumA, "b"), in("tool", Optional, Sum{}, "c"),
			in("strong", Optional, sumA, "a"), in("strong", Listed, sumA, "b"),
			in("a", Listed, sumA, "z"),
		},
	}
	want := Plan{
		Packages: []Package{{Type: "gomod", Path: "."}, {Type: "gomod", Path: "b"}},
		Locks:    []Lock{{"a/go.sum", sumA}, {"b/go.sum", sumB}},
		Env:      []EnvVar{{"A", "1"}, {"B", "2"}},
		Inputs: []Input{
			in("a", Listed, sumA, "z"), in("differs", Listed, sumA, "a"), in("same", Required, sumA, "a"),
			in("strong", Listed, sumA, "a"), in("tool", Optional, sumA, "b"),
		},
		Problems: []Problem{
			{BadLock, Origin{"b", 1}, "differs@v1.0.0", "another sum than at a:1"},
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
	p := Plan{Env: []EnvVar{{"A", "1"}}}
	p.Add(Plan{Env: []EnvVar{{"A", "1"}, {"B", "1"}}, Packages: []Package{{Type: "gomod", Path: "."}}, Inputs: []Input{{Name: "x"}}, Locks: []Lock{{File: "l"}}, Problems: []Problem{{Cause: "c"}}})
	want := Plan{Env: []EnvVar{{"A", "1"}, {"B", "1"}}, Packages: []Package{{Type: "gomod", Path: "."}}, Inputs: []Input{{Name: "x"}}, Locks: []Lock{{File: "l"}}, Problems: []Problem{{Cause: "c"}}}
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
	env := []EnvVar{{"B", "${output_dir}/<&>\u2028"}, {"A", ""}}
	f := BuildConfig(env)
	got, err := ParseBuildConfig("c", f.Data)
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
	} {
		if _, err := ParseBuildConfig("c", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"{}", `{"environment_variables": [], "project_files": [{"abspath": "/x", "template": ""}], "options": {}}`, `{"environment_variables": null}`} {
		if got, err := ParseBuildConfig("c", []byte(text)); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func FuzzParseBuildConfig(f *testing.F) {
	f.Add([]byte(`{"environment_variables": [{"name": "A", "value": "${output_dir}"}], "project_files": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := ParseBuildConfig("c", data)
		if err != nil {
			return
		}
		again, err := ParseBuildConfig("c", BuildConfig(env).Data)
		if err != nil || len(env) > 0 && !slices.Equal(env, again) {
			t.Fatalf("%v; then %v, %v", env, again, err)
		}
	})
}
