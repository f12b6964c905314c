package ecosystem

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// generic is plain files, of which a lockfile gives the URL and the sum: the
// "artifacts.lock.yaml" of Hermeto's generic backend. Each goes to
//
//	deps/generic/<filename>
//
// where RUN steps read it; no package manager is told.
type generic struct{}

const (
	artifactsLock = "artifacts.lock.yaml"
	maxArtifacts  = 2 << 20 // bytes of it: ten thousand artifacts and more
	kindFile      = "file"
)

func (generic) Type() string       { return "generic" }
func (generic) Markers() []string  { return []string{artifactsLock} }
func (generic) Patterns() []string { return []string{artifactsLock} }
func (generic) Commands() []string { return nil }

// genericOptions are the keys of a generic package.
type genericOptions struct {
	// Lockfile is relative to the package; "" means artifactsLock.
	Lockfile string `json:"lockfile,omitempty"`
}

func (generic) Options(keys map[string]json.RawMessage) (any, []error) {
	var o genericOptions
	errs := readKeys(keys, map[string]any{"lockfile": &o.Lockfile})
	name := o.Lockfile
	if name == "" {
		return o, errs
	}
	o.Lockfile = path.Clean(name)
	if path.IsAbs(name) || !filepath.IsLocal(filepath.FromSlash(name)) || o.Lockfile == "." ||
		slices.Contains(strings.Split(name, "/"), "..") || strings.Contains(name, "\x00") {
		errs = append(errs, fmt.Errorf("lockfile %.80q: not a path inside the package", name))
	}
	if o.Lockfile == artifactsLock {
		o.Lockfile = ""
	}
	return o, errs
}

// lockfile is the place of p's lockfile in the build context.
func (generic) lockfile(p cache.Package) string {
	var o genericOptions
	if err := p.DecodeOptions(&o); err != nil || o.Lockfile == "" {
		return path.Join(p.Path, artifactsLock)
	}
	return path.Join(p.Path, o.Lockfile)
}

// Files implements Namer.
func (g generic) Files(p cache.Package) []string { return []string{g.lockfile(p)} }

func (g generic) Plan(fsys fs.FS, p cache.Package, _ Options) cache.Plan {
	name := g.lockfile(p)
	data, cause := readLock(fsys, name, maxArtifacts)
	if cause != "" {
		return cache.Plan{Problems: []cache.Problem{unread(fsys, name, cause)}}
	}
	inputs, r := parseArtifacts(name, data)
	return cache.Plan{
		Locks:    []cache.Lock{{File: name, Sum: cache.SumBytes(data)}},
		Inputs:   inputs,
		Problems: r.all(),
		Warnings: r.warnings,
	}
}

// fileComponent is the component that an artifact is; coordinates are those of
// Maven, nil for a plain file.
func fileComponent(in cache.Input, coordinates *packageurl.PackageURL) *cache.Component {
	sum := string(in.Sum.Algorithm()) + ":" + in.Sum.Hex()
	address := withoutLogin(in.URL)
	if coordinates == nil {
		p := packageurl.NewPackageURL("generic", "", in.Path, "", qualifiers("checksum", sum, "download_url", address), "")
		return &cache.Component{Type: "file", Name: in.Path, PURL: p.ToString(), URL: address}
	}
	q := append(coordinates.Qualifiers, packageurl.Qualifier{Key: "checksum", Value: sum})
	coordinates.Qualifiers = packageurl.QualifiersFromMap(q.Map())
	c := library(coordinates.Name, *coordinates)
	c.URL = address
	return c
}
