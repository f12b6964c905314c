package preflight

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// OutputDir is where RUN steps see the output directory: the path of Konflux's
// builds.
const OutputDir = "/cachi2/output"

// OutputPatterns are the files of an output directory that package managers
// read there and that are project files of Hermeto's all the same.
var OutputPatterns = []string{".cargo/config.toml", "bundler/config_override/config", "settings.xml"}

// ProjectPatterns are the files of a build context that tell where project files
// of a tree belong, in the pattern language of .dockerignore.
func (d *Deps) ProjectPatterns() []string {
	var out []string
	for _, f := range d.Project {
		if p := "**/" + ecosystem.PatternOf(path.Base(f.Path)); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// project finds the files that have to lie over the build context, for a build
// in which something runs and that has a cache for it to use.
func (r *Report) project(req Request) {
	if req.Deps == nil || !r.df.runs() {
		r.Plan.Overlays = nil
		return
	}
	files := slices.DeleteFunc(slices.Clone(r.Plan.Project), func(f cache.ProjectFile) bool { return f.Foreign })
	if req.Deps.Tree() {
		files = r.treeFiles(req)
	} else {
		files = req.Deps.Manifest.Fill(files, r.Plan.Inputs)
	}
	var problems []cache.Problem
	r.Project, problems = cache.Replace(req.Context, files, OutputDir)
	for _, p := range problems {
		r.Add(r.df.place(p))
	}
}

// treeFiles are the project files of a tree, by their places in the context:
// those that no Section stands for.
func (r *Report) treeFiles(req Request) []cache.ProjectFile {
	var known []cache.ProjectFile
	home := r.cargoHome(req)
	for _, f := range req.Deps.Project {
		if f.Path == home {
			r.Plan.Sections = append(r.Plan.Sections, ecosystem.CargoConfig(f, OutputDir))
		} else if f.IsRewritten() || inTree(req.Deps.Files, f.Path) {
			known = append(known, f)
		} else {
			r.Add(Finding{Rule: UnplacedFile, Origin: cache.Origin{File: f.Path}, Cause: "not a file that a package manager is known to need"})
		}
	}
	placed, rest := cache.Locate(req.Context, known)
	for _, f := range rest {
		if !inTree(req.Deps.Files, f.Path) {
			r.Add(Finding{Rule: UnplacedFile, Origin: cache.Origin{File: f.Path}, Cause: "not in the build context, nor in the output directory"})
		}
	}
	placed = slices.DeleteFunc(placed, func(f cache.ProjectFile) bool {
		return slices.ContainsFunc(r.Plan.Project, func(p cache.ProjectFile) bool { return p.Foreign && p.Path == f.Path })
	})
	for _, p := range cache.Changed(req.Context, placed) {
		r.Add(r.df.place(p))
	}
	return placed
}

// cargoHome is the path of the configuration of cargo that is in the output
// directory itself, for Python packages with Rust in them; "" for none. It has
// nothing but sources, and so it is the shortest. Where the build has crates of its
// own the plan has a configuration that serves these packages, too.
func (r *Report) cargoHome(req Request) string {
	own := slices.ContainsFunc(r.Plan.Sections, func(s cache.Section) bool { return s.File == ecosystem.CargoConfig(cache.ProjectFile{}, "").File })
	if own || !slices.Contains(req.Deps.Env, ecosystem.CargoHome) {
		return ""
	}
	home := cache.ProjectFile{}
	for _, f := range req.Deps.Project {
		if strings.HasSuffix(f.Path, "/"+OutputPatterns[0]) && (home.Path == "" || len(f.Template) < len(home.Template)) {
			home = f
		}
	}
	return home.Path
}

// inTree tells whether a path is that of a file of the output directory, where
// it was when it was made.
func inTree(tree fs.FS, name string) bool {
	return tree != nil && slices.ContainsFunc(OutputPatterns, func(p string) bool {
		if !strings.HasSuffix(name, "/"+p) {
			return false
		}
		_, err := fs.Stat(tree, p)
		return err == nil
	})
}

// Supplies tells whether the build context of a sealed build has what a finding
// says that it lacks: a source of COPY, or a submodule.
func (r *Report) Supplies(f Finding) bool {
	over := func(at string) bool { return takes(f.Subject, at) || takes(at, f.Subject) }
	switch f.Rule {
	case MissingSource:
		return slices.ContainsFunc(r.Project, func(p cache.File) bool { return takes(f.Subject, p.Path) && !strings.HasPrefix(f.Subject, p.Path+"/") }) ||
			slices.ContainsFunc(r.Plan.Overlays, func(o cache.Overlay) bool { return over(o.Path) })
	case EmptySubmodule:
		return slices.ContainsFunc(r.Plan.Overlays, func(o cache.Overlay) bool { return o.Path == f.Subject })
	}
	return false
}
