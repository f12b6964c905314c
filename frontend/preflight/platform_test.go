package preflight

import (
	"testing"

	"github.com/hermetic-build/hermetic/cache"
)

// TestOtherPlatform tells an input that the cache has for another platform from
// one that it does not have at all.
func TestOtherPlatform(t *testing.T) {
	in := func(name, platform string, line int) cache.Input {
		return cache.Input{
			Ecosystem: "wheels", Kind: "wheel", Name: name, Version: "1.0", Platform: platform,
			Origin: cache.Origin{File: "lock", Line: line}, Need: cache.Required,
		}
	}
	plan := cache.Plan{Inputs: []cache.Input{in("a", "linux/arm64", 1), in("b", "linux/arm64", 2), in("c", "", 3)}}
	m := &cache.Manifest{}
	for _, e := range []cache.Input{in("a", "linux/amd64", 1), in("c", "linux/amd64", 3)} {
		m.Entries = append(m.Entries, cache.Entry{ID: e.ID(), Pack: -1})
	}
	m.Encode() // sorts
	r := &Report{Plan: plan, df: &dockerfile{}}
	r.inputs(Request{Deps: &Deps{Manifest: m}})
	got := map[string]*Rule{}
	for _, f := range r.Findings {
		got[f.Subject] = f.Rule
	}
	for subject, want := range map[string]*Rule{"a@1.0": PlatformNotCovered, "b@1.0": MissingInput, "c@1.0": MissingInput} {
		if got[subject] != want {
			t.Errorf("%s breaks %v, want %s", subject, got[subject], want.Name)
		}
	}
}
