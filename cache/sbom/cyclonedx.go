package sbom

import (
	"bytes"
	"maps"
	"slices"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/hermetic-build/hermetic/cache"
)

// CycloneDX is components as a CycloneDX 1.6 document in JSON
// (https://cyclonedx.org/docs/1.6/json).
func CycloneDX(components []cache.Component, o Options) ([]byte, error) {
	components = o.prepared(components)
	bom := cdx.BOM{
		BOMFormat: cdx.BOMFormat, SpecVersion: cdx.SpecVersion1_6, Version: 1,
		// The form of before 1.5, as Hermeto reads no other.
		Metadata:   &cdx.Metadata{Tools: &cdx.ToolsChoice{Tools: &[]cdx.Tool{{Vendor: Vendor, Name: Tool}}}},
		Components: &[]cdx.Component{},
	}
	subjects := map[string][]cdx.BOMReference{} // by note
	for _, c := range components {
		*bom.Components = append(*bom.Components, toCycloneDX(c))
		for _, note := range c.Notes {
			subjects[note] = append(subjects[note], cdx.BOMReference(c.PURL))
		}
	}
	var notes []cdx.Annotation
	for _, note := range slices.Sorted(maps.Keys(subjects)) {
		of := subjects[note]
		notes = append(notes, cdx.Annotation{
			Subjects: &of, Annotator: &cdx.Annotator{Organization: &cdx.OrganizationalEntity{Name: Vendor}},
			Timestamp: o.created(), Text: note,
		})
	}
	if len(notes) > 0 {
		bom.Annotations = &notes
	}
	var b bytes.Buffer
	enc := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	err := enc.Encode(&bom)
	return b.Bytes(), err
}

func toCycloneDX(c cache.Component) cdx.Component {
	out := cdx.Component{
		BOMRef: c.PURL, Type: cdx.ComponentType(c.Type), Name: c.Name, Version: c.Version, PackageURL: c.PURL,
	}
	var properties []cdx.Property
	for _, p := range c.Properties {
		properties = append(properties, cdx.Property{Name: p.Name, Value: p.Value})
	}
	out.Properties = &properties
	var refs []cdx.ExternalReference
	if c.URL != "" {
		refs = append(refs, cdx.ExternalReference{Type: cdx.ERTypeDistribution, URL: c.URL})
	}
	for _, proxy := range c.Proxies {
		refs = append(refs, cdx.ExternalReference{Type: cdx.ERTypeDistribution, URL: proxy, Comment: proxyComment})
	}
	if len(refs) > 0 {
		out.ExternalReferences = &refs
	}
	if len(c.Patches) > 0 {
		var patches []cdx.Patch
		for _, p := range c.Patches {
			patches = append(patches, cdx.Patch{Type: cdx.PatchTypeUnofficial, Diff: &cdx.Diff{URL: p}})
		}
		out.Pedigree = &cdx.Pedigree{Patches: &patches}
	}
	return out
}

// parseCycloneDX reads the components of a document.
func parseCycloneDX(data []byte) ([]cache.Component, error) {
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return nil, err
	}
	notes := map[string][]string{} // by reference
	for _, a := range some(bom.Annotations) {
		for _, subject := range some(a.Subjects) {
			notes[string(subject)] = append(notes[string(subject)], a.Text)
		}
	}
	var out []cache.Component
	for _, c := range some(bom.Components) {
		one := cache.Component{Type: string(c.Type), Name: c.Name, Version: c.Version, PURL: c.PackageURL, Notes: notes[c.BOMRef]}
		if c.BOMRef != c.PackageURL {
			one.Notes = append(one.Notes, notes[c.PackageURL]...)
		}
		for _, p := range some(c.Properties) {
			one.Properties = append(one.Properties, cache.Property{Name: p.Name, Value: p.Value})
		}
		for _, r := range some(c.ExternalReferences) {
			switch {
			case r.Type != cdx.ERTypeDistribution:
			case r.Comment == proxyComment:
				one.Proxies = append(one.Proxies, r.URL)
			default:
				one.URL = r.URL
			}
		}
		if c.Pedigree != nil {
			for _, p := range some(c.Pedigree.Patches) {
				if p.Diff != nil {
					one.Patches = append(one.Patches, p.Diff.URL)
				}
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// some is what a pointer to a list points to, if it does.
func some[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}
