package ecosystem

import (
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"
	"golang.org/x/mod/module"

	"github.com/hermetic-build/hermetic/cache"
)

// goComponent is the component that a module is; name is what go.mod calls it.
func goComponent(name string, m module.Version) *cache.Component {
	return goLibrary(name, m, "")
}

// goLibrary is a module whose source is at vcsURL, which may be "".
func goLibrary(name string, m module.Version, vcsURL string) *cache.Component {
	namespace, base := path.Split(m.Path)
	p := packageurl.NewPackageURL("golang", strings.TrimSuffix(namespace, "/"), base, m.Version,
		qualifiers("type", "module", "vcs_url", vcsURL), "")
	return library(name, *p)
}

// called is what the modules of the set call a module of go.sum: the module that
// it replaces, else itself.
func (s goSet) called(name, version string) string {
	target := module.Version{Path: name, Version: version}
	i := slices.IndexFunc(s.replaces, func(r goReplace) bool { return r.New == target })
	if i < 0 {
		return name
	}
	return s.replaces[i].Old.Path
}

// describe adds the components that are in the build context: the modules
// themselves, and directories that stand in for others.
func (p *goPlan) describe(set goSet) {
	for _, m := range set.mods {
		p.localModule(m.file.Module.Mod.Path, m.dir)
	}
	for _, r := range set.replaces {
		if r.New.Version != "" || !set.mayRequire(r.Old) {
			continue
		}
		if at := path.Join(r.file.dir, r.New.Path); !path.IsAbs(r.New.Path) && at != ".." && !strings.HasPrefix(at, "../") {
			p.localModule(r.Old.Path, at)
		}
	}
}

// localModule adds the module in a directory of the build context. As in
// Hermeto, its package URL is that of the place where it is published, its
// repository and its directory there, and its version that of the commit.
func (p *goPlan) localModule(name, dir string) {
	m := module.Version{Path: name}
	rev, subpath := p.options.revision(dir)
	if at := rev.path(); at != "" {
		m.Path = path.Join(at, subpath)
	}
	if commit := rev.commit(); len(commit) >= 12 && !rev.Time.IsZero() {
		_, major, _ := module.SplitPathVersion(name)
		m.Version = module.PseudoVersion(module.PathMajorPrefix(major), "", rev.Time, commit[:12])
	}
	p.Components = append(p.Components, *goLibrary(name, m, rev.Repository))
}

// vendoredModules adds the modules of a vendor directory that provide packages.
func (p *goPlan) vendoredModules(list vendorList) {
	for _, v := range list.mods {
		m, name := v.mod, v.mod.Path
		switch {
		case !v.packages, isDir(v.replace):
			continue // without a package, or in the build context
		case v.replace.Path != "":
			m = v.replace
		}
		p.Components = append(p.Components, *goComponent(name, m))
	}
}
