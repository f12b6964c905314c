// Package preflight decides, before the first RUN starts, what is wrong with a
// build: inputs that the cache lacks, lockfiles that changed since it was made,
// instructions that would reach outside. It is pure: it is shown the
// Dockerfile, the lockfiles and what the deps context says of itself, and
// answers with a Report. The frontend runs it inside BuildKit and "hermetic
// check" on a laptop, so the two cannot disagree.
//
// Which name to reach for: Run makes the Report of a Request; Rules are all
// rules; Find looks one up; Report.Err is the error that stops a build.
package preflight

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// A Request is what a preflight is shown.
type Request struct {
	Dockerfile Dockerfile
	Context    fs.FS             // the build context; lockfiles are all that is read of it
	Deps       *Deps             // nil where the build has no deps context
	Input      string            // the prefetch input (build-arg HERMETIC_INPUT); "" to go by Deps, else by what is found
	Platforms  []string          // those that build steps run on, "linux/amd64"
	BuildArgs  map[string]string // values of ARGs
	Target     string            // the stage that is built; "" for the last
	Contexts   []string          // names of named contexts (--build-context), in lower case: these are no images
}

// Deps is what the deps context says of itself.
type Deps struct {
	// Manifest is that of a view; nil for a tree.
	Manifest *cache.Manifest
	// Env is the environment of a tree, from its .build-config.json.
	Env []cache.EnvVar
}

// Tree tells whether the deps context is an output directory as Hermeto makes
// it, rather than a view of the store.
func (d *Deps) Tree() bool { return d != nil && d.Manifest == nil }

// Run finds everything that can be found without reading the cache's content.
// An error means that the request itself makes no sense (a malformed input);
// what is wrong with the build is in the Report.
func Run(req Request) (*Report, error) {
	df, err := analyse(req)
	if err != nil {
		return nil, err
	}
	pkgs, err := packages(req)
	if err != nil {
		return nil, err
	}
	r := &Report{Plan: ecosystem.New(req.Context, pkgs, ecosystem.Options{Platforms: req.Platforms})}
	r.Add(df.findings...)
	if !df.runs() {
		r.Plan.Inputs, r.Plan.Problems = nil, nil // nothing runs, so nothing is read
		r.Sort()
		return r, nil
	}
	for _, p := range r.Plan.Problems {
		r.Add(df.place(p))
	}
	if req.Deps == nil {
		r.Add(df.uncached(r.Plan)...)
	} else if !req.Deps.Tree() { // what a tree holds is known only when it is read
		for _, p := range req.Deps.Manifest.Missing(r.Plan) {
			r.Add(df.place(p))
		}
	}
	if req.Deps != nil {
		if m := req.Deps.Manifest; m != nil {
			r.Plan.Inputs = m.Resolve(r.Plan.Inputs)
		}
		r.Add(df.uncovered(req, r.Plan)...)
	}
	r.Sort()
	return r, nil
}

// packages are those in effect: the input's, else those that the cache was
// made from, else those that are found.
func packages(req Request) ([]cache.Package, error) {
	switch {
	case req.Input != "":
		return ecosystem.ParsePackages(req.Input)
	case req.Deps != nil && req.Deps.Manifest != nil && len(req.Deps.Manifest.Packages) > 0:
		return req.Deps.Manifest.Packages, nil
	}
	return ecosystem.Discover(req.Context)
}

// uncached are the findings of a build without a deps context: one for each
// lockfile, since all that it names is missing.
func (d *dockerfile) uncached(plan cache.Plan) []Finding {
	count := map[string]int{}
	for _, in := range plan.Inputs {
		if in.Need != cache.Optional {
			count[in.Origin.File]++
		}
	}
	var out []Finding
	for file, n := range count {
		noun := "inputs"
		if n == 1 {
			noun = "input"
		}
		f := d.place(cache.Problem{Kind: cache.Missing, Origin: cache.Origin{File: file},
			Subject: fmt.Sprintf("%d %s", n, noun), Cause: "not in the cache: the build has no deps context"})
		f.stands = n
		out = append(out, f)
	}
	return out
}

// kinds are the rules that problems of lockfiles and caches break.
var kinds = map[cache.ProblemKind]*Rule{
	cache.Missing:   MissingInput,
	cache.Corrupt:   CorruptInput,
	cache.Stale:     StaleCache,
	cache.BadLock:   InvalidLockfile,
	cache.BadVendor: InconsistentVendor,
	cache.Outside:   OutsideContext,
}

// Problems turns what reading the cache brought to light into findings of r,
// drawn under the instruction of the Dockerfile that needs it.
func (r *Report) Problems(req Request, ps []cache.Problem) error {
	df, err := analyse(req)
	if err != nil {
		return err
	}
	for _, p := range ps {
		r.Add(df.place(p))
	}
	r.Sort()
	return nil
}

// uncovered finds lockfiles that the build may read and that the packages in
// effect leave out.
func (d *dockerfile) uncovered(req Request, plan cache.Plan) []Finding {
	found, err := ecosystem.Discover(req.Context)
	if err != nil {
		return nil // the walk failed before; the build will say why
	}
	have := map[string]bool{}
	for _, l := range plan.Locks {
		have[l.File] = true
	}
	for _, p := range plan.Packages {
		have[p.String()] = true
	}
	var out []Finding
	for _, p := range found {
		if have[p.String()] {
			continue
		}
		for _, l := range ecosystem.New(req.Context, []cache.Package{p}, ecosystem.Options{}).Locks {
			if !have[l.File] {
				out = append(out, Finding{Rule: UncoveredLockfile, Origin: cache.Origin{File: l.File}, Cause: "no package of the prefetch input reads it"})
			}
		}
	}
	return out
}

// mentions tells whether a command line names one of the programs, anywhere
// in it.
func mentions(text string, programs []string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n;&|()\"'`=", r) })
	for _, w := range words {
		for _, p := range programs {
			if w == p || strings.HasSuffix(w, "/"+p) {
				return true
			}
		}
	}
	return false
}
