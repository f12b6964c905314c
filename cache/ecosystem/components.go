package ecosystem

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// A Describer completes what a bill of materials says of an input by what is
// known only once its file is: in is resolved against a manifest.
type Describer interface {
	Describe(in cache.Input, c cache.Component) cache.Component
}

// Components are what a bill of materials has of a plan of which inputs, resolved
// against a manifest, are there. Each is noted as its package type's; repetitions
// are left for sbom.Merge.
func Components(plan cache.Plan, inputs []cache.Input) []cache.Component {
	out := slices.Clone(plan.Components)
	for _, in := range inputs {
		if in.Component == nil {
			continue
		}
		c := *in.Component
		e, err := find(in.Ecosystem)
		if d, ok := e.(Describer); err == nil && ok {
			c = d.Describe(in, c)
		}
		out = append(out, noted(c, in.Ecosystem))
	}
	return out
}

// noted is c with the note that says which package type it is of.
func noted(c cache.Component, kind string) cache.Component {
	note := backendNote + kind
	if experimental, ok := strings.CutPrefix(kind, "x-"); ok {
		note = backendNote + experimentalNote + "x-" + experimental
	}
	if !slices.Contains(c.Notes, note) {
		c.Notes = append(slices.Clone(c.Notes), note)
	}
	return c
}

// Backends are the package types that a component is noted as; none where the
// bill of materials that it is from does not say.
func Backends(c cache.Component) []string {
	var kinds []string
	for _, note := range c.Notes {
		if kind, ok := strings.CutPrefix(note, backendNote); ok {
			kinds = append(kinds, strings.TrimPrefix(kind, experimentalNote))
		}
	}
	return kinds
}

// What the notes of components begin with, before their package type.
const (
	backendNote      = "hermeto:backend:"
	experimentalNote = "experimental:"
)

// library is a component that is a package.
func library(name string, p packageurl.PackageURL) *cache.Component {
	return &cache.Component{Type: "library", Name: name, Version: p.Version, PURL: p.ToString()}
}

// qualifiers are those of a package URL, given as names and values in turn;
// those without a value are left out.
func qualifiers(pairs ...string) packageurl.Qualifiers {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	return packageurl.QualifiersFromMap(m)
}

// localPURL is the package URL of something in the build context, at dir.
func (o Options) localPURL(kind, name, version, dir string) packageurl.PackageURL {
	rev, subpath := o.revision(dir)
	if subpath == "." || rev.Repository == "" {
		subpath = ""
	}
	return *packageurl.NewPackageURL(kind, "", name, version, qualifiers("vcs_url", rev.Repository), subpath)
}

// revision is what the directory is checked out of, and its path in there.
func (o Options) revision(dir string) (rev Revision, subpath string) {
	dir = path.Clean(dir)
	for at := dir; at != "." && at != "/"; at = path.Dir(at) {
		if rev, known := o.Revisions[at]; known && rev.Repository != "" {
			return rev, path.Clean(strings.TrimPrefix(strings.TrimPrefix(dir, at), "/"))
		}
	}
	rev = o.Revisions["."]
	rev.Repository = o.Repository
	return rev, dir
}

// commit is what follows the last "@" of the Repository.
func (r Revision) commit() string {
	return r.Repository[strings.LastIndexByte(r.Repository, '@')+1:]
}

// path is host and path of the Repository, "github.com/owner/name"; "" where it
// is not known.
func (r Revision) path() string {
	at := strings.LastIndexByte(r.Repository, '@')
	if at < 0 {
		return ""
	}
	u, err := url.Parse(strings.TrimPrefix(r.Repository[:at], "git+"))
	if err != nil {
		return ""
	}
	return path.Join(u.Hostname(), strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), ".git"))
}

// withoutLogin is a URL without its credentials; "" where it is none.
func withoutLogin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	if u.Host != "" && u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}
