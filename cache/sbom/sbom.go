// Package sbom writes and reads bills of materials: components as CycloneDX 1.6
// or SPDX 2.3, in the subset of either that Hermeto has (its docs/sbom.md), so
// that what reads those reads ours. It is pure, and equal components make equal
// bytes.
//
// Which name to reach for:
//
//	Merge       lists of components into one, without repetitions
//	CycloneDX   components as a document of the one format
//	SPDX        the same as one of the other
//	Parse       a document of either, made here or by Hermeto
//
// What a component is called in both:
//
//	                 CycloneDX                         SPDX
//	Properties       properties                        annotations by "Tool: hermeto:jsonencoded", in JSON
//	Notes            annotations of the document       annotations by "Tool: hermeto:backend"
//	URL              reference "distribution"          downloadLocation
//	Proxies          the same, commented "proxy URL"   sourceInfo, joined by ";"
//	Patches          pedigree.patches                  external references of the type "patch"
//
// Policies of Konflux know the components of a prefetch by a property
// hermeto:found_by, whatever its value; ours is Tool.
package sbom

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
)

// Tool is the name that documents and components have of who made them.
const Tool = "hermetic"

// Vendor is whose tool that is.
const Vendor = "hermetic-build"

// Options are what a document says beside its components.
type Options struct {
	// Created is the time of the document; annotations have it, too.
	Created time.Time
	// Name is that of an SPDX document; "" is "unnamed".
	Name string
	// App is the program whose names the properties have: "" is "hermeto", and
	// "cachi2" what it was called before.
	App string
}

// app is App or its default.
func (o Options) app() string { return cmp.Or(o.App, defaultApp) }

const (
	defaultApp   = "hermeto"
	distribution = "distribution"
	proxyComment = "proxy URL"
)

// created is the time as both formats want it.
func (o Options) created() string { return o.Created.UTC().Format("2006-01-02T15:04:05Z") }

// Merge joins lists of components: one for each package URL, sorted by it.
func Merge(lists ...[]cache.Component) []cache.Component {
	all := slices.Concat(lists...)
	for i := range all {
		all[i].PURL = spelled(all[i].PURL)
	}
	slices.SortStableFunc(all, func(a, b cache.Component) int { return strings.Compare(a.PURL, b.PURL) })
	var out []cache.Component
	for _, c := range all {
		if n := len(out); n > 0 && out[n-1].PURL == c.PURL {
			out[n-1] = out[n-1].Merge(c)
			continue
		}
		out = append(out, c.Merge(c)) // sorts what is in it
	}
	return out
}

// prepared are components as documents have them: merged, and each with who
// found it, in the names of the program.
func (o Options) prepared(components []cache.Component) []cache.Component {
	out := Merge(components)
	for i, c := range out {
		if !slices.ContainsFunc(c.Properties, isFoundBy) {
			c.Properties = append(slices.Clone(c.Properties), cache.Property{Name: cache.FoundBy, Value: Tool})
		}
		for j, p := range c.Properties {
			c.Properties[j].Name = o.renamed(p.Name)
		}
		for j, note := range c.Notes {
			c.Notes[j] = o.renamed(note)
		}
		c.Type = cmp.Or(c.Type, "library")
		out[i] = c.Merge(c)
	}
	return out
}

// renamed is a name of Hermeto's as the program has it.
func (o Options) renamed(name string) string {
	if rest, ok := strings.CutPrefix(name, defaultApp+":"); ok {
		return o.app() + ":" + rest
	}
	return name
}

// isFoundBy tells the property that says who found a component.
func isFoundBy(p cache.Property) bool {
	return p.Name == cache.FoundBy || p.Name == "cachi2:found_by"
}

// spelled is a package URL as Hermeto spells it: slashes in qualifiers stand for
// themselves. Both spellings mean the same, but many compare texts.
func spelled(purl string) string {
	head, query, ok := strings.Cut(purl, "?")
	if !ok {
		return purl
	}
	query, subpath, has := strings.Cut(query, "#")
	query = strings.NewReplacer("%2F", "/", "%2f", "/").Replace(query)
	if has {
		query += "#" + subpath
	}
	return head + "?" + query
}
