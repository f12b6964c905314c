package cache

import (
	"cmp"
	"maps"
	"slices"
)

// A Component is one entry of a bill of materials. An Input whose bytes are one
// has it in its field; a Plan has those of which nothing is fetched: the
// packages themselves, local ones, those that others bundle.
type Component struct {
	Type       string // as CycloneDX 1.6 calls it: "library", or "file"
	Name       string
	Version    string // "" where there is none
	PURL       string // a package URL in its canonical form, https://github.com/package-url/purl-spec
	Properties []Property
	// Notes are what bills of materials say of it in annotations: Hermeto's
	// "hermeto:backend:<type>", which ecosystem.Components adds.
	Notes []string
	// URL is where the lockfile says that its bytes are; "" where it does not,
	// and where a registry's name says it.
	URL string
	// Proxies are the URLs of what stood between us and its registry.
	Proxies []string
	// Patches are the URLs of differences that a package manager applies to it.
	Patches []string
}

// A Property says something of a component in the words of CycloneDX, such as
// cdx:npm:package:bundled, or of Hermeto, such as hermeto:pip:package:binary.
type Property struct {
	Name  string
	Value string
}

// The properties that components of several ecosystems have, as Hermeto names
// them.
const (
	FoundBy         = "hermeto:found_by"                     // the tool that made the entry
	MissingHash     = "hermeto:missing_hash:in_file"         // a lockfile that does not say what it is
	BuildDependency = "hermeto:pip:package:build-dependency" // "true"
	PipBinary       = "hermeto:pip:package:binary"           // "true"
	GemBinary       = "hermeto:bundler:package:binary"       // "true"
	NpmBundled      = "cdx:npm:package:bundled"              // "true"
	NpmDevelopment  = "cdx:npm:package:development"          // "true"
)

// onlyBoth are the properties of a component that two entries for it must share:
// what one of them needs to run is not needed for building alone.
var onlyBoth = []string{BuildDependency, NpmBundled, NpmDevelopment}

// Merge is what two entries of one package URL say together. What is a
// dependency of a kind for both is one, and what is binary for either is.
// Properties, notes and URLs are sorted.
func (c Component) Merge(d Component) Component {
	both := map[Property]int{}
	for _, list := range [][]Property{c.Properties, d.Properties} {
		for i, p := range list {
			if !slices.Contains(list[:i], p) {
				both[p]++
			}
		}
	}
	c.Properties = nil
	for _, p := range slices.SortedFunc(maps.Keys(both), compareProperties) {
		if !slices.Contains(onlyBoth, p.Name) || both[p] == 2 {
			c.Properties = append(c.Properties, p)
		}
	}
	c.Type, c.Name = cmp.Or(c.Type, d.Type), cmp.Or(c.Name, d.Name)
	c.Version, c.URL = cmp.Or(c.Version, d.Version), cmp.Or(c.URL, d.URL)
	c.Notes = union(c.Notes, d.Notes)
	c.Proxies = union(c.Proxies, d.Proxies)
	c.Patches = union(c.Patches, d.Patches)
	return c
}

func compareProperties(a, b Property) int { return compareStrings(a.Name, b.Name, a.Value, b.Value) }

// union are the strings of both, sorted, each once.
func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
