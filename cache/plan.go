package cache

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// A Package is one entry of the prefetch input: a package manager and the
// directory it works in, in Hermeto's JSON
// (https://github.com/hermetoproject/hermeto, "fetch-deps").
type Package struct {
	Type string `json:"type"`
	Path string `json:"path"` // slash-separated, relative to the build context; "." is its root
}

// String is the package as JSON.
func (p Package) String() string {
	b, _ := json.Marshal(p) // two strings always marshal
	return string(b)
}

// A Lock is a lockfile that a plan was made from, with the sum of its bytes.
type Lock struct {
	File string
	Sum  Sum
}

// An EnvVar is a variable that RUN steps get. Value may hold ${output_dir}
// and names of other variables: Hermeto's templates.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Plan is all that a set of packages needs. The same plan is downloaded by
// the CLI, compared by the preflight and laid out in the build, so they cannot
// disagree.
type Plan struct {
	Packages []Package
	Locks    []Lock
	Inputs   []Input
	Env      []EnvVar
	Problems []Problem // what is wrong with the lockfiles themselves
}

// Add joins q into p.
func (p *Plan) Add(q Plan) {
	p.Packages = append(p.Packages, q.Packages...)
	p.Locks = append(p.Locks, q.Locks...)
	p.Inputs = append(p.Inputs, q.Inputs...)
	p.Problems = append(p.Problems, q.Problems...)
	for _, v := range q.Env {
		if !slices.Contains(p.Env, v) {
			p.Env = append(p.Env, v)
		}
	}
}

// Normalize sorts p and drops repetitions. Two lockfiles that promise
// different content for the same input become a Problem at the second one.
func (p *Plan) Normalize() {
	slices.SortFunc(p.Packages, comparePackages)
	p.Packages = slices.Compact(p.Packages)
	slices.SortFunc(p.Locks, func(a, b Lock) int { return compareStrings(a.File, b.File, a.Sum.value, b.Sum.value) })
	p.Locks = slices.Compact(p.Locks)
	slices.SortFunc(p.Env, func(a, b EnvVar) int { return compareStrings(a.Name, b.Name, a.Value, b.Value) })
	slices.SortStableFunc(p.Inputs, func(a, b Input) int {
		if c := a.ID().Compare(b.ID()); c != 0 {
			return c
		}
		return a.Origin.Compare(b.Origin)
	})
	kept := p.Inputs[:0]
	for _, in := range p.Inputs {
		if len(kept) == 0 || kept[len(kept)-1].ID() != in.ID() {
			kept = append(kept, in)
			continue
		}
		first := &kept[len(kept)-1]
		need := strongest(first.Need, in.Need)
		switch {
		case first.Sum.IsZero() && !in.Sum.IsZero():
			*first = in // a promise is worth more than a mere name
		case !in.Sum.IsZero() && first.Sum != in.Sum:
			p.Problems = append(p.Problems, in.Problem(BadLock, "another sum than at "+first.Origin.String()))
		}
		first.Need = need
	}
	p.Inputs = kept
	p.Problems = SortProblems(p.Problems)
}

// strongest is the need of what two lockfiles ask for.
func strongest(a, b Need) Need {
	for _, n := range []Need{Required, Listed} {
		if a == n || b == n {
			return n
		}
	}
	return Optional
}

func comparePackages(a, b Package) int { return compareStrings(a.Type, b.Type, a.Path, b.Path) }

// compareStrings compares pairs: a1 with b1, then a2 with b2.
func compareStrings(a1, b1, a2, b2 string) int {
	return cmp.Or(strings.Compare(a1, b1), strings.Compare(a2, b2))
}

// ResolveEnv expands the templates of vars for a tree that is mounted at
// outputDir: ${output_dir} and the names of other variables. The result is
// sorted by name. Names that refer to themselves stay as they are, and so do
// all names once the expansions measure a megabyte.
func ResolveEnv(vars []EnvVar, outputDir string) []EnvVar {
	e := expander{values: map[string]string{}, left: maxExpansion, open: map[string]bool{}}
	for _, v := range vars {
		e.values[v.Name] = v.Value
	}
	e.values["output_dir"] = outputDir
	out := make([]EnvVar, 0, len(vars))
	for _, v := range vars {
		out = append(out, EnvVar{v.Name, e.resolve(v)})
	}
	slices.SortFunc(out, func(a, b EnvVar) int { return compareStrings(a.Name, b.Name, a.Value, b.Value) })
	return out
}
