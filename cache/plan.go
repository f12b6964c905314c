package cache

import (
	"cmp"
	"slices"
	"strings"
)

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
	// Ecosystem is the package type that the variable is for: steps that do not
	// see its inputs have no use for it. Empty is all, or unknown.
	Ecosystem string `json:"-"`
}

// A Section is a part of a configuration file that is mounted for RUN steps, as
// several packages may have something to say in one file: the sections of a
// File, sorted by Name, are its content. Text may hold ${output_dir}.
type Section struct {
	File string // an absolute path in RUN steps
	Name string
	Text string
	// Ecosystem is the package type whose inputs the text is about.
	Ecosystem string
}

// A Plan is all that a set of packages needs. The same plan is downloaded by
// the CLI, compared by the preflight and laid out in the build, so they cannot
// disagree.
type Plan struct {
	Packages []Package
	Locks    []Lock
	Inputs   []Input
	Env      []EnvVar
	Project  []ProjectFile
	Overlays []Overlay
	Sections []Section
	Problems []Problem // what is wrong with the lockfiles themselves
	Warnings []Problem // what is accepted, and should be mended: Weak, Behind
	// Components are what a bill of materials has beside the inputs.
	Components []Component
	// Derived are the lockfiles inside of inputs that some of the inputs are from.
	Derived []Derived
	// Output are files of an output directory itself, relative to it, that
	// builds which are not ours need.
	Output []ProjectFile
}

// Add joins q into p.
func (p *Plan) Add(q Plan) {
	p.Packages = append(p.Packages, q.Packages...)
	p.Locks = append(p.Locks, q.Locks...)
	p.Inputs = append(p.Inputs, q.Inputs...)
	p.Problems = append(p.Problems, q.Problems...)
	p.Warnings = append(p.Warnings, q.Warnings...)
	p.Project = append(p.Project, q.Project...)
	p.Overlays = append(p.Overlays, q.Overlays...)
	p.Sections = append(p.Sections, q.Sections...)
	p.Components = append(p.Components, q.Components...)
	p.Derived = append(p.Derived, q.Derived...)
	p.Output = append(p.Output, q.Output...)
	for _, v := range q.Env {
		if !slices.Contains(p.Env, v) {
			p.Env = append(p.Env, v)
		}
	}
}

// Normalize sorts p and drops repetitions. Two lockfiles that promise
// different content for the same input become a Problem at the second one, and
// so do two inputs that want the same place in a layout. Of sums of different
// algorithms, as lockfiles of different age have them, the strongest is kept
// where the input is Rechecked.
func (p *Plan) Normalize() {
	slices.SortFunc(p.Packages, Package.Compare)
	p.Packages = slices.Compact(p.Packages)
	slices.SortFunc(p.Locks, func(a, b Lock) int { return compareStrings(a.File, b.File, a.Sum.value, b.Sum.value) })
	p.Locks = slices.Compact(p.Locks)
	slices.SortFunc(p.Env, func(a, b EnvVar) int {
		return cmp.Or(compareStrings(a.Name, b.Name, a.Value, b.Value), strings.Compare(a.Ecosystem, b.Ecosystem))
	})
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
		component := mergedComponent(first.Component, in.Component)
		if first.contradicts(in) {
			p.Problems = append(p.Problems, in.Problem(BadLock, "another sum than at "+first.Origin.String()))
		} else if in.Sum.tellsMore(first.Sum) {
			*first = in
		}
		first.Need, first.Component = need, component
		first.Wants = joinLines(first.Wants, in.Wants)
	}
	p.Inputs = kept
	p.Problems = append(p.Problems, collisions(kept)...)
	p.normalizeFiles()
	p.Problems = SortProblems(p.Problems)
	p.Warnings = SortProblems(p.Warnings)
}

// contradicts tells whether in and another input of its ID cannot be the same.
func (in Input) contradicts(other Input) bool {
	if in.Sum.IsZero() || other.Sum.IsZero() || in.Sum == other.Sum {
		return false
	}
	return !in.Rechecked || in.Sum.Algorithm() == other.Sum.Algorithm() || in.Path != other.Path
}

// mergedComponent is what two inputs of one identity are, the first of them kept.
func mergedComponent(first, second *Component) *Component {
	switch {
	case first == nil:
		return second
	case second == nil || second.PURL != first.PURL:
		return first
	}
	both := first.Merge(*second)
	return &both
}

// normalizeFiles sorts project files, overlays and sections. Two packages that
// want different content in one place become a Problem.
func (p *Plan) normalizeFiles() {
	slices.SortFunc(p.Project, func(a, b ProjectFile) int { return compareStrings(a.Path, b.Path, a.Template, b.Template) })
	p.Project = slices.Compact(p.Project)
	for i, f := range p.Project[min(1, len(p.Project)):] {
		if f.Path == p.Project[i].Path {
			p.Problems = append(p.Problems, Problem{Kind: BadLock, Origin: Origin{File: f.Path}, Cause: "two packages want different content in it"})
		}
	}
	slices.SortFunc(p.Overlays, func(a, b Overlay) int { return compareStrings(a.Path, b.Path, a.From, b.From) })
	p.Overlays = slices.Compact(p.Overlays)
	for i, o := range p.Overlays[min(1, len(p.Overlays)):] {
		if o.Path == p.Overlays[i].Path {
			p.Problems = append(p.Problems, Problem{Kind: BadLock, Origin: Origin{File: o.Path}, Cause: "two packages want different content in it"})
		}
	}
	slices.SortFunc(p.Sections, func(a, b Section) int {
		return cmp.Or(strings.Compare(a.File, b.File), compareStrings(a.Name, b.Name, a.Text, b.Text), strings.Compare(a.Ecosystem, b.Ecosystem))
	})
	p.Sections = slices.Compact(p.Sections)
	for i, s := range p.Sections[min(1, len(p.Sections)):] {
		if s.File == p.Sections[i].File && s.Name == p.Sections[i].Name {
			p.Problems = append(p.Problems, Problem{Kind: BadLock, Subject: s.Name, Cause: "two packages give it different meanings, and both would be in " + s.File})
		}
	}
}

// Mounted are the files that RUN steps see beside a layout at outputDir: what
// the sections say, by absolute path. The sections must be sorted, as Normalize
// leaves them.
func Mounted(sections []Section, outputDir string) []File {
	var files []File
	for _, s := range sections {
		text := strings.ReplaceAll(s.Text, "${output_dir}", outputDir)
		if n := len(files); n > 0 && files[n-1].Path == s.File {
			files[n-1].Data = append(append(files[n-1].Data, '\n'), text...)
			continue
		}
		files = append(files, File{Path: s.File, Data: []byte(text)})
	}
	return files
}

// collisions finds inputs that cannot both be in a layout: two at one path, or
// one that is where another needs a directory.
func collisions(inputs []Input) []Problem {
	sorted := slices.Clone(inputs)
	slices.SortStableFunc(sorted, func(a, b Input) int {
		return cmp.Or(strings.Compare(a.Ecosystem, b.Ecosystem), comparePaths(a.Path, b.Path), a.Origin.Compare(b.Origin))
	})
	var ps []Problem
	for i, in := range sorted {
		if i == 0 || in.Path == "" || in.Ecosystem != sorted[i-1].Ecosystem {
			continue
		}
		first := sorted[i-1]
		switch {
		case in.Path == first.Path:
			ps = append(ps, in.Problem(BadLock, "goes where "+first.Subject()+" of "+first.Origin.String()+" goes"))
		case strings.HasPrefix(in.Path, first.Path+"/"):
			ps = append(ps, in.Problem(BadLock, "goes below "+first.Subject()+" of "+first.Origin.String()+", which is "+first.Form.noun()))
		default:
			continue
		}
		sorted[i] = first // the next one may collide with it as well
	}
	return ps
}

// comparePaths sorts a directory right before what is in it.
func comparePaths(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	rank := func(s string) int {
		switch {
		case n == len(s):
			return -2
		case s[n] == '/':
			return -1
		}
		return int(s[n])
	}
	return cmp.Compare(rank(a), rank(b))
}

// strongest is the need of what two lockfiles ask for.
func strongest(a, b Need) Need {
	for _, n := range []Need{Required, Listed, Alternative} {
		if a == n || b == n {
			return n
		}
	}
	return Optional
}

// joinLines are the lines of both, sorted, each once.
func joinLines(a, b string) string {
	if a == b || b == "" {
		return a
	}
	lines := append(strings.Split(a, "\n"), strings.Split(b, "\n")...)
	slices.Sort(lines)
	return strings.TrimPrefix(strings.Join(slices.Compact(lines), "\n"), "\n")
}

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
		out = append(out, EnvVar{v.Name, e.resolve(v), v.Ecosystem})
	}
	slices.SortFunc(out, func(a, b EnvVar) int {
		return cmp.Or(compareStrings(a.Name, b.Name, a.Value, b.Value), strings.Compare(a.Ecosystem, b.Ecosystem))
	})
	return out
}
