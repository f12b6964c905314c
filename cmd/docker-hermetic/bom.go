package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/cache/fetch"
	"github.com/hermetic-build/hermetic/cache/sbom"
)

// bomFile is the bill of materials of an output directory of Hermeto.
const bomFile = "bom.json"

// bomFormats are the formats of a bill of materials, by Hermeto's names.
var bomFormats = map[string]func([]cache.Component, sbom.Options) ([]byte, error){
	"cyclonedx": sbom.CycloneDX, "spdx": sbom.SPDX,
}

// A bill is what a bill of materials is made from beside the plan.
type bill struct {
	manifest *cache.Manifest
	commit   time.Time // of the source; zero where there is none
	format   string
}

// bill is the bill of materials of what the manifest has of a plan, and so of
// what a build mounts.
func (p *program) bill(plan cache.Plan, b bill) ([]byte, error) {
	created, err := p.created(b.commit)
	if err != nil {
		return nil, err
	}
	components := ecosystem.Components(plan, b.manifest.Resolve(plan.Inputs))
	return bomFormats[b.format](components, sbom.Options{Created: created, App: p.app})
}

// writeBill writes it to a file, whose name tells the format.
func (p *program) writeBill(name string, plan cache.Plan, b bill) error {
	b.format = "cyclonedx"
	if strings.HasSuffix(name, ".spdx.json") {
		b.format = "spdx"
	}
	text, err := p.bill(plan, b)
	if err != nil {
		return err
	}
	if err := putFile(name, text); err != nil {
		return fmt.Errorf("--bom %s: %w", name, bare(err))
	}
	return nil
}

// bills makes the bills of materials that a prefetch is to make: the one of
// --bom, and that of a tree.
func (p *program) bills(o *prefetchOptions, plan cache.Plan, out *output, commit time.Time) error {
	if o.bom != "" {
		if err := p.writeBill(o.bom, plan, bill{manifest: out.manifest, commit: commit}); err != nil {
			return err
		}
	}
	if o.layout != layoutHermeto {
		return nil
	}
	var err error
	out.bom, err = p.bill(plan, bill{out.manifest, commit, "cyclonedx"})
	return err
}

// created is the time of a bill of materials: SOURCE_DATE_EPOCH, else the
// commit's, so that the same source makes the same bytes.
func (p *program) created(commit time.Time) (time.Time, error) {
	if text := p.env["SOURCE_DATE_EPOCH"]; text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return time.Time{}, refused(codeInput, fmt.Sprintf("SOURCE_DATE_EPOCH %q: not a number of seconds", text))
		}
		return time.Unix(seconds, 0), nil
	}
	if commit.IsZero() {
		return cache.Epoch, nil
	}
	return commit, nil
}

// registries are those that are set on this machine.
func (p *program) registries() map[string]ecosystem.Registry {
	env := func(name string) string { return p.env[name] }
	return map[string]ecosystem.Registry{
		"npm": {URL: fetch.NpmRegistry(env), Public: fetch.BuiltinNpmRegistry},
		"pip": {URL: fetch.PipIndex(env), Public: fetch.DefaultPipIndex},
	}
}

// described is o with what a bill of materials says of the context at name, as
// far as it is known.
func (p *program) described(o ecosystem.Options, name string) ecosystem.Options {
	o.Registries = p.registries()
	repo, err := openRepository(name)
	if err != nil {
		return o
	}
	o.Repository = repo.revision().Repository
	o.Revisions = repo.revisions(name, nil)
	return o
}
