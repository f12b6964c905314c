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
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// A Request is what a preflight is shown.
type Request struct {
	Dockerfile Dockerfile
	Context    fs.FS             // the build context; lockfiles and what Patterns names are all that is read of it
	Files      fs.FS             // the build context with every file, as COPY sees it; nil where it is not at hand
	Deps       *Deps             // nil where the build has no deps context
	Input      string            // the prefetch input (build-arg HERMETIC_INPUT); "" to go by Deps, else by what is found
	Platforms  []string          // those that build steps run on, "linux/amd64"
	BuildArgs  map[string]string // values of ARGs
	Target     string            // the stage that is built; "" for the last
	AllStages  bool              // look at stages too that the target does not need
	Contexts   []string          // names of named contexts (--build-context), in lower case: these are no images
	Policy     *policy.Policy    // the organisation's; nil for none
	Now        time.Time         // when exceptions must be in effect
}

// Deps is what the deps context says of itself.
type Deps struct {
	// Manifest is that of a view; nil for a tree.
	Manifest *cache.Manifest
	// Env is the environment of a tree, from its .build-config.json.
	Env []cache.EnvVar
	// Project are the project files of a tree, whose paths are absolute, and
	// Files what it has at OutputPatterns; nil for none.
	Project []cache.ProjectFile
	Files   fs.FS
}

// Tree tells whether the deps context is an output directory as Hermeto makes
// it, rather than a view of the store.
func (d *Deps) Tree() bool { return d != nil && d.Manifest == nil }

// Run finds everything that can be found without reading the cache's content.
// An error means that the request itself makes no sense (a malformed input, a
// malformed hermetic.yaml); what is wrong with the build is in the Report.
func Run(req Request) (*Report, error) {
	terms, issues, err := readTerms(req)
	if err != nil {
		return nil, err
	}
	df, err := analyse(req, terms)
	if err != nil {
		return nil, err
	}
	pkgs, err := packages(req)
	if err != nil {
		return nil, err
	}
	r := &Report{terms: terms, df: df, Grants: df.grants}
	r.Plan = ecosystem.New(req.Context, pkgs, ecosystem.Options{Platforms: req.Platforms})
	r.addIssues(issues)
	df.undeclared(r.Plan)
	r.Add(df.findings...)
	r.Add(df.commands(req, r.Plan)...)
	r.Add(df.proxies(req.BuildArgs)...)
	r.project(req)
	if req.Files != nil {
		r.Add(slices.DeleteFunc(df.files(req), r.Supplies)...)
	}
	if !df.runs() {
		r.Plan = df.served(r.Plan) // nothing runs, so nothing else is read
	}
	for _, p := range slices.Concat(r.Plan.Problems, r.Plan.Warnings) {
		r.Add(df.place(p))
	}
	r.inputs(req)
	r.Sort()
	return r, nil
}

// readTerms reads what the repository and the organisation say of exceptions.
func readTerms(req Request) (*policy.Terms, []policy.Issue, error) {
	in := policy.Inputs{Policy: req.Policy, Now: req.Now}
	var err error
	project, err := optional(req.Context, policy.ProjectFile)
	if err != nil {
		return nil, nil, err
	}
	if in.Signatures, err = optional(req.Context, policy.SignatureFile); err != nil {
		return nil, nil, err
	}
	if project != nil {
		if in.Project, err = policy.ParseProject(policy.ProjectFile, project, RuleSet()); err != nil {
			return nil, nil, err
		}
	}
	terms, issues := policy.Combine(in)
	return terms, issues, nil
}

// optional reads a file that need not be there; nil if it is not.
func optional(fsys fs.FS, name string) ([]byte, error) {
	data, err := fs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// inputs compares the plan with the deps context.
func (r *Report) inputs(req Request) {
	switch m := req.Deps; {
	case m == nil:
		r.Add(r.df.uncached(r.Plan)...)
		return
	case !m.Tree(): // what a tree holds is known only when it is read
		known := r.Plan.Problems
		r.Plan = ecosystem.Complete(r.Plan, m.Manifest)
		r.Problems(slices.DeleteFunc(slices.Clone(r.Plan.Problems), func(p cache.Problem) bool { return slices.Contains(known, p) }))
		for _, p := range m.Manifest.Missing(r.Plan) {
			f := r.df.place(p)
			if p.Kind == cache.Missing && m.otherPlatform(r.Plan, p) {
				f.Rule = PlatformNotCovered
			}
			r.Add(f)
		}
		r.Plan.Inputs = m.Manifest.Resolve(r.Plan.Inputs)
		r.Problems(ecosystem.Uncovered(r.Plan.Inputs))
	}
	if r.df.runs() {
		r.Add(r.df.uncovered(req, r.Plan)...)
	}
}

// otherPlatform tells whether what is missing is there for another platform.
func (d *Deps) otherPlatform(plan cache.Plan, p cache.Problem) bool {
	for _, in := range plan.Inputs {
		if in.Platform == "" || in.Origin != p.Origin || in.Subject() != p.Subject {
			continue
		}
		for _, e := range d.Manifest.Entries {
			if e.Ecosystem == in.Ecosystem && e.Name == in.Name && e.Version == in.Version && e.Kind == in.Kind {
				return true
			}
		}
	}
	return false
}

// served is the part of a plan that ADDs are served from.
func (d *dockerfile) served(plan cache.Plan) cache.Plan {
	inputs, problems, warnings := plan.Inputs, plan.Problems, plan.Warnings
	plan.Inputs, plan.Problems, plan.Warnings, plan.Env = nil, nil, nil, nil
	if len(d.adds) == 0 {
		return plan
	}
	for _, in := range inputs {
		if slices.ContainsFunc(d.adds, func(a remoteAdd) bool { return in.Ecosystem == "generic" && a.url == in.URL }) {
			plan.Inputs = append(plan.Inputs, in)
		}
	}
	generic := func(p cache.Problem) bool { return ecosystem.Owner(p.Origin.File) == "generic" }
	plan.Problems = slices.DeleteFunc(slices.Clone(problems), func(p cache.Problem) bool { return !generic(p) })
	plan.Warnings = slices.DeleteFunc(slices.Clone(warnings), func(p cache.Problem) bool { return !generic(p) })
	return plan
}

// proxies finds build-args that would give RUN steps a proxy.
func (d *dockerfile) proxies(args map[string]string) []Finding {
	var out []Finding
	for _, name := range slices.Sorted(maps.Keys(args)) {
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy":
			if args[name] != "" {
				out = append(out, Finding{Rule: ProxyArg, Subject: "--build-arg " + name, Cause: "not set in any RUN"})
			}
		}
	}
	return out
}

// packages are those in effect: the input's, else those that the cache was
// made from, else those that are found.
func packages(req Request) ([]cache.Package, error) {
	switch {
	case req.Input != "":
		pkgs, err := ecosystem.ParsePackages(req.Input)
		if err == nil && req.Deps != nil && req.Deps.Manifest != nil {
			pkgs = ecosystem.Pinned(pkgs, req.Deps.Manifest.Packages)
		}
		return pkgs, err
	case req.Deps != nil && req.Deps.Manifest != nil && len(req.Deps.Manifest.Packages) > 0:
		return req.Deps.Manifest.Packages, nil
	}
	return ecosystem.Discover(req.Context)
}

// uncached are the findings of a build without a deps context: one for each
// lockfile, since all that it names is missing.
func (d *dockerfile) uncached(plan cache.Plan) []Finding {
	count := map[string]int{}
	alternatives := map[string]bool{}
	for _, in := range plan.Inputs {
		if in.Need == cache.Alternative {
			if alternatives[in.Subject()] {
				continue
			}
			alternatives[in.Subject()] = true
		}
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
	cache.Missing:     MissingInput,
	cache.Corrupt:     CorruptInput,
	cache.Stale:       StaleCache,
	cache.BadLock:     InvalidLockfile,
	cache.NoLock:      InvalidLockfile,
	cache.NoSum:       InvalidLockfile,
	cache.Unpinned:    InvalidLockfile,
	cache.Unsupported: InvalidLockfile,
	cache.BadVendor:   InconsistentVendor,
	cache.Outside:     OutsideContext,
	cache.Uncovered:   PlatformNotCovered,
	cache.NoCrates:    InvalidLockfile,
	cache.Behind:      WeakChecksum,
	cache.Weak:        WeakChecksum,
}

// Problems turns what reading the cache brought to light into findings of r,
// drawn under the instruction of the Dockerfile that needs it.
func (r *Report) Problems(ps []cache.Problem) {
	for _, p := range ps {
		r.Add(r.df.place(p))
	}
	r.Sort()
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
