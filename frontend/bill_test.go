package frontend

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

func TestWantsBill(t *testing.T) {
	for _, test := range []struct {
		options string // names and values, separated by spaces
		want    string // what upstream's builder gets
		wanted  bool
	}{
		{options: "", want: ""},
		{options: "attest:provenance=mode=max", want: "attest:provenance"},
		{options: "attest:sbom=", want: "attest:sbom", wanted: true},
		{options: "attest:sbom=generator=example.com/scan", want: "attest:sbom", wanted: true},
		{options: "attest:sbom=generator=hermetic attest:provenance=", want: "attest:provenance", wanted: true},
		{options: "attest:SBOM=generator=hermetic", want: "", wanted: true},
		{options: "build-arg:BUILDKIT_ATTEST_SBOM=generator=hermetic", want: "", wanted: true},
		{options: "attest:sbom=generator=docker.io/library/hermetic", want: "attest:sbom", wanted: true},
	} {
		opts := map[string]string{}
		for _, o := range strings.Fields(test.options) {
			name, value, _ := strings.Cut(o, "=")
			opts[name] = value
		}
		wanted, _, err := wantsBill(opts)
		left := forUpstream(opts)
		delete(left, keyCmdline)
		if got := strings.Join(slices.Sorted(maps.Keys(left)), " "); wanted != test.wanted || err != nil || got != test.want {
			t.Errorf("%s: wanted %v, %v, upstream gets %q", test.options, wanted, err, got)
		}
	}
	if _, _, err := wantsBill(map[string]string{"attest:sbom": `generator="`}); err == nil {
		t.Error("no error")
	}
}

func TestGiven(t *testing.T) {
	component := func(purl string, notes ...string) cache.Component {
		c := cache.Component{PURL: purl, Notes: notes}
		if len(notes) > 0 {
			c.Notes = []string{"hermeto:backend:" + notes[0]}
		}
		return c
	}
	file := component("pkg:generic/file?download_url=https%3A%2F%2Fexample.com", "generic")
	all := []cache.Component{
		component("pkg:golang/a@v1", "gomod"), component("pkg:npm/b@1", "npm"), component("pkg:rpm/c@1", "rpm"),
		component("pkg:npm/d@1", "experimental:x-d"), file, component("pkg:generic/other", "generic"), component("pkg:pypi/old@1"),
	}
	for _, test := range []struct {
		name  string
		given given
		want  string
	}{
		{"nothing", newGiven(), ""},
		{"all", given{all: true}, "generic/file generic/other golang/a@v1 npm/b@1 npm/d@1 pypi/old@1 rpm/c@1"},
		{"a type", given{kinds: map[string]bool{"npm": true}}, "npm/b@1 pypi/old@1"},
		{"an experimental type", given{kinds: map[string]bool{"x-d": true}}, "npm/d@1 pypi/old@1"},
		{"a file", given{files: map[cache.ID]cache.Input{{}: {Component: &file}}}, "generic/file"},
	} {
		var got []string
		for _, c := range test.given.of(all) {
			name, _, _ := strings.Cut(strings.TrimPrefix(c.PURL, "pkg:"), "?")
			got = append(got, name)
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}
