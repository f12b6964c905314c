package sbom

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/hermetic-build/hermetic/cache"
)

// Words of SPDX documents.
const (
	spdxRoot      = "DocumentRoot-File-"
	noAssertion   = "NOASSERTION"
	packageRef    = "PACKAGE-MANAGER"
	purlType      = "purl"
	otherRef      = "OTHER"
	patchType     = "patch"
	jsonEncoded   = ":jsonencoded"
	purposeFile   = "FILE"
	annotatorTool = "Tool"
)

// namespaceBase begins the URI that names an SPDX document; the sha256 of what
// is in it follows.
const namespaceBase = "https://spdx.org/spdxdocs/hermetic-"

// SPDX is components as an SPDX 2.3 document in JSON
// (https://spdx.github.io/spdx-spec/v2.3/).
func SPDX(components []cache.Component, o Options) ([]byte, error) {
	components = o.prepared(components)
	doc := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: cmp.Or(o.Name, "unnamed"),
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Organization", Creator: Vendor}, {CreatorType: annotatorTool, Creator: Tool}},
			Created:  o.created(),
		},
		Packages: []*spdx.Package{{
			PackageSPDXIdentifier: spdxRoot, PackageDownloadLocation: noAssertion, PrimaryPackagePurpose: purposeFile,
		}},
		Relationships: []*spdx.Relationship{relation("DOCUMENT", spdxRoot, common.TypeRelationshipDescribe)},
	}
	for _, c := range components {
		p, err := o.toSPDX(c)
		if err != nil {
			return nil, err
		}
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relation(spdxRoot, p.PackageSPDXIdentifier, common.TypeRelationshipContains))
	}
	content, err := encode(doc)
	if err != nil {
		return nil, err
	}
	doc.DocumentNamespace = namespaceBase + cache.SumBytes(content).Hex()
	return encode(doc)
}

// encode is JSON for people: indented, and with all signs as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

func relation(a, b common.ElementID, kind string) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: kind,
	}
}

// notInID matches what identifiers may not have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// identifier is that of a component: what it is called, for people, and a sum
// of all that it is, so that no two have one.
func identifier(c cache.Component) common.ElementID {
	sum := cache.SumBytes([]byte(c.Name + "\n" + c.Version + "\n" + c.PURL)).Hex()
	id := "Package-" + c.Name
	if c.Version != "" {
		id += "-" + c.Version
	}
	return common.ElementID(notInID.ReplaceAllString(id, "-") + "-" + sum)
}

func (o Options) toSPDX(c cache.Component) (*spdx.Package, error) {
	p := &spdx.Package{
		PackageName: c.Name, PackageSPDXIdentifier: identifier(c), PackageVersion: c.Version,
		PackageDownloadLocation: cmp.Or(c.URL, noAssertion),
		PackageSourceInfo:       strings.Join(c.Proxies, ";"),
		PackageExternalReferences: []*spdx.PackageExternalReference{
			{Category: packageRef, RefType: purlType, Locator: c.PURL},
		},
	}
	if c.Type == "file" {
		p.PrimaryPackagePurpose = purposeFile
	}
	for _, patch := range c.Patches {
		p.PackageExternalReferences = append(p.PackageExternalReferences,
			&spdx.PackageExternalReference{Category: otherRef, RefType: patchType, Locator: patch})
	}
	for _, property := range c.Properties {
		text, err := json.Marshal(struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		}{property.Name, property.Value})
		if err != nil {
			return nil, err
		}
		p.Annotations = append(p.Annotations, o.annotation(jsonEncoded, string(text)))
	}
	for _, note := range c.Notes {
		p.Annotations = append(p.Annotations, o.annotation(":backend", note))
	}
	return p, nil
}

func (o Options) annotation(suffix, text string) spdx.Annotation {
	return spdx.Annotation{
		Annotator:      common.Annotator{AnnotatorType: annotatorTool, Annotator: o.app() + suffix},
		AnnotationDate: o.created(), AnnotationType: "OTHER", AnnotationComment: text,
	}
}

// An spdxDocument is what is read of a document. The types of the library are
// for writing: they take hostile documents too lightly.
type spdxDocument struct {
	Packages []struct {
		Name             string `json:"name"`
		Version          string `json:"versionInfo"`
		DownloadLocation string `json:"downloadLocation"`
		SourceInfo       string `json:"sourceInfo"`
		Purpose          string `json:"primaryPackagePurpose"`
		References       []struct {
			Type    string `json:"referenceType"`
			Locator string `json:"referenceLocator"`
		} `json:"externalRefs"`
		Annotations []struct {
			Annotator string `json:"annotator"`
			Comment   string `json:"comment"`
		} `json:"annotations"`
	} `json:"packages"`
}

// parseSPDX reads the components of a document: packages, one for each of their
// package URLs. Those that have none are no components.
func parseSPDX(data []byte) ([]cache.Component, error) {
	var doc spdxDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	var out []cache.Component
	for _, p := range doc.Packages {
		c := cache.Component{Type: "library", Name: p.Name, Version: p.Version}
		if p.Purpose == purposeFile {
			c.Type = "file"
		}
		if at := p.DownloadLocation; at != noAssertion && at != "NONE" {
			c.URL = at
		}
		if p.SourceInfo != "" {
			c.Proxies = strings.Split(p.SourceInfo, ";")
		}
		for _, a := range p.Annotations {
			property := cache.Property{}
			if !strings.HasSuffix(a.Annotator, jsonEncoded) {
				c.Notes = append(c.Notes, a.Comment)
			} else if err := json.Unmarshal([]byte(a.Comment), &property); err != nil {
				return nil, err
			} else {
				c.Properties = append(c.Properties, property)
			}
		}
		for _, r := range p.References {
			if r.Type == patchType {
				c.Patches = append(c.Patches, r.Locator)
			}
		}
		for _, r := range p.References {
			if r.Type == purlType {
				c.PURL = r.Locator
				out = append(out, c)
			}
		}
	}
	return out, nil
}
