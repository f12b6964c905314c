package ecosystem

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

func TestToolchain(t *testing.T) {
	const work = "go.work"
	tests := []struct {
		name      string
		goMod     string // the go and toolchain lines
		goWork    string
		platforms string
		want      string // versions without v0.0.1-, and the line
	}{
		{"no lines", "", "", "linux/amd64", ""},
		{"a language", "go 1.26", "", "linux/amd64", ""},
		{"an old language", "go 1.20", "", "linux/amd64", ""},
		{"an old release", "go 1.20.5", "", "linux/amd64", ""},
		{"a release", "go 1.26.1", "", "linux/amd64", "go1.26.1.linux-amd64 go.mod:2"},
		{"the first release", "go 1.21.0", "", "linux/amd64", "go1.21.0.linux-amd64 go.mod:2"},
		{"a candidate", "go 1.26rc1", "", "linux/amd64", "go1.26rc1.linux-amd64 go.mod:2"},
		{"a candidate of the first", "go 1.21rc2", "", "linux/amd64", "go1.21rc2.linux-amd64 go.mod:2"},
		{"a beta", "go 1.26beta1", "", "linux/amd64", "go1.26beta1.linux-amd64 go.mod:2"},
		{"newer toolchain", "go 1.26.1\ntoolchain go1.26.3", "", "linux/amd64", "go1.26.3.linux-amd64 go.mod:3"},
		{"newer toolchain, as numbers", "go 1.26.9\ntoolchain go1.26.10", "", "linux/amd64", "go1.26.10.linux-amd64 go.mod:3"},
		{"same toolchain", "go 1.26.1\ntoolchain go1.26.1", "", "linux/amd64", "go1.26.1.linux-amd64 go.mod:2"},
		{"older toolchain", "go 1.26.1\ntoolchain go1.25.9", "", "linux/amd64", "go1.26.1.linux-amd64 go.mod:2"},
		{"older than a language", "go 1.26\ntoolchain go1.25.9", "", "linux/amd64", ""},
		{"toolchain of a language", "go 1.26\ntoolchain go1.26.2", "", "linux/amd64", "go1.26.2.linux-amd64 go.mod:3"},
		{"candidate of a language", "go 1.26\ntoolchain go1.26rc1", "", "linux/amd64", "go1.26rc1.linux-amd64 go.mod:3"},
		{"candidate before the release", "go 1.26.0\ntoolchain go1.26rc1", "", "linux/amd64", "go1.26.0.linux-amd64 go.mod:2"},
		{"toolchain for an old language", "go 1.20\ntoolchain go1.22.3", "", "linux/amd64", "go1.22.3.linux-amd64 go.mod:3"},
		{"toolchain alone", "toolchain go1.22.3", "", "linux/amd64", "go1.22.3.linux-amd64 go.mod:2"},
		{"default", "go 1.26.1\ntoolchain default", "", "linux/amd64", "go1.26.1.linux-amd64 go.mod:2"},
		{"a suffix", "go 1.26.1\ntoolchain go1.26.2-acme", "", "linux/amd64", "go1.26.2-acme.linux-amd64 go.mod:3"},
		{"an older suffix", "go 1.26.2\ntoolchain go1.26.1-acme", "", "linux/amd64", "go1.26.2.linux-amd64 go.mod:2"},
		{"platforms", "go 1.26.1", "", "linux/arm64/v8 linux/arm/v7 linux/amd64/v3 linux/s390x",
			"go1.26.1.linux-amd64 go.mod:2, go1.26.1.linux-arm go.mod:2, go1.26.1.linux-arm64 go.mod:2, go1.26.1.linux-s390x go.mod:2"},
		{"variants of one", "go 1.26.1", "", "linux/amd64 linux/amd64/v2", "go1.26.1.linux-amd64 go.mod:2"},
		{"no platforms", "go 1.26.1", "", "", ""},
		{"strange platforms", "go 1.26.1", "", "linux //", "go1.26.1.- go.mod:2, go1.26.1.linux go.mod:2"},
		{"workspace", "go 1.26.1", "go 1.26.2", "linux/amd64", "go1.26.2.linux-amd64 go.work:1"},
		{"workspace toolchain", "go 1.26.1", "go 1.26.1\ntoolchain go1.27.0", "linux/amd64", "go1.27.0.linux-amd64 go.work:2"},
		{"older workspace", "go 1.26.5", "go 1.26.2", "linux/amd64", "go1.26.2.linux-amd64 go.work:1"},
		{"workspace without lines", "go 1.26.5", "// none", "linux/amd64", "go1.26.5.linux-amd64 go.mod:2"},
	}
	for _, tt := range tests {
		fsys := fstest.MapFS{"go.mod": {Data: []byte("module m\n" + tt.goMod + "\n")}}
		if tt.goWork != "" {
			fsys[work] = &fstest.MapFile{Data: []byte(tt.goWork + "\nuse .\n")}
		}
		plan := New(fsys, []cache.Package{{Type: "gomod", Path: "."}}, Options{Platforms: strings.Fields(tt.platforms)})
		for _, p := range plan.Problems {
			t.Errorf("%s: %s", tt.name, p)
		}
		var got []string
		for _, in := range plan.Inputs {
			if in.Name != toolchainModule || in.Need != cache.Optional || !in.Sum.IsZero() || in.Kind != kindZip {
				t.Errorf("%s: %v", tt.name, in)
			}
			got = append(got, strings.TrimPrefix(in.Version, "v0.0.1-")+" "+in.Origin.String())
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestEnvOfToolchain(t *testing.T) {
	tool := cache.Input{Ecosystem: "gomod", Name: toolchainModule, Version: "v0.0.1-go1.26.1.linux-amd64"}
	other := cache.Input{Ecosystem: "gomod", Name: "example.com/a", Version: "v1.0.0"}
	foreign := cache.Input{Ecosystem: "cobol", Name: toolchainModule}
	for _, tt := range []struct {
		inputs []cache.Input
		want   []cache.EnvVar
	}{
		{nil, nil}, {[]cache.Input{other, foreign}, nil},
		{[]cache.Input{other, tool, tool}, []cache.EnvVar{{Name: "GOTOOLCHAIN", Value: "auto", Ecosystem: "gomod"}}},
	} {
		if diff := cmp.Diff(tt.want, Env(tt.inputs)); diff != "" {
			t.Errorf("%v: %s", tt.inputs, diff)
		}
	}
}
