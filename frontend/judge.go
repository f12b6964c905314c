package frontend

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// maxDrawn bounds how many places of the Dockerfile an error draws; its text
// has all of them.
const maxDrawn = 8

// rules are those that a graph can break. A kind without a rule is mended by
// sealing and needs no word.
var rules = map[llbgen.Kind]*preflight.Rule{
	llbgen.Network:          preflight.RunNetwork,
	llbgen.SecurityInsecure: preflight.SecurityInsecure,
	llbgen.SSHMount:         preflight.SSHMount,
	llbgen.Device:           preflight.Device,
	llbgen.SecretMount:      preflight.SecretMount,
	llbgen.CacheMount:       preflight.CacheMount,
	llbgen.ExtraHost:        preflight.ExtraHost,
	llbgen.UnpinnedHTTP:     preflight.UnpinnedAdd,
	llbgen.UnpinnedGit:      preflight.UnpinnedAdd,
	llbgen.RemoteSource:     preflight.UndeclaredAdd,
	llbgen.UnknownSource:    preflight.BuildOp,
	llbgen.Malformed:        preflight.BuildOp,
	llbgen.BuildOp:          preflight.BuildOp,
	llbgen.UnknownOp:        preflight.BuildOp,
	llbgen.ReservedMount:    preflight.ReservedMount,
	llbgen.ReservedEnv:      preflight.ReservedMount,
	llbgen.OpenInput:        preflight.OpenInput,
}

// inputRules are those that an exec can break that the client brought along.
// What is said of its sources is the business of whoever built the input.
var inputRules = map[llbgen.Kind]*preflight.Rule{
	llbgen.OpenInput:        preflight.OpenInput,
	llbgen.SecurityInsecure: preflight.SecurityInsecure,
	llbgen.SSHMount:         preflight.SSHMount,
	llbgen.Device:           preflight.Device,
	llbgen.BuildOp:          preflight.BuildOp,
	llbgen.UnknownOp:        preflight.BuildOp,
	llbgen.UnknownSource:    preflight.BuildOp,
	llbgen.Malformed:        preflight.BuildOp,
}

// judge turns what a graph breaks into findings. The error has those that stop
// the build.
func (b *build) judge(vs []llbgen.Violation) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []preflight.Finding
	failed := b.report.Err() != nil
	for _, v := range vs {
		rule, ok := rules[v.Kind]
		if v.Kind == llbgen.Network && b.cfg.network == "host" {
			continue // said once, of the option: optionFindings
		}
		_, own := b.own[v.Digest]
		_, kept := b.keep[v.Digest]
		if !ok || own && isSource(v.Kind) || kept && isOpen(v.Kind) || v.Kind == llbgen.RemoteSource && b.isContext(v.Subject) {
			continue // what kept execs break is said of the input
		}
		if v.Kind == llbgen.Network && b.grantedPlaces(v.Places) {
			continue
		}
		if _, declared := preflight.Served(b.report.Plan, v.Subject, v.Pin); declared && failed {
			continue // it would be served, were it there
		}
		f := b.at(v.Places)
		f.Rule, f.Subject, f.Cause, f.Place = rule, v.Name, v.Detail, v.Subject
		if !b.known(f) {
			found = append(found, f)
		}
	}
	b.report.Add(found...)
	b.report.Sort()
	return b.report.Err()
}

// isOpen tells what can be said against an exec of an input.
func isOpen(k llbgen.Kind) bool {
	return inputRules[k] != nil || k == llbgen.Network || k == llbgen.CacheMount
}

// isSource tells what can be said against a source.
func isSource(k llbgen.Kind) bool {
	return k == llbgen.UnpinnedHTTP || k == llbgen.UnpinnedGit || k == llbgen.RemoteSource
}

// at is a finding at a place: of the Dockerfile, or of the one that an input
// was made from, under whose lines nothing can be drawn.
func (b *build) at(places []llbgen.Place) preflight.Finding {
	f := preflight.Finding{Origin: cache.Origin{File: b.cfg.filename}}
	if len(places) == 0 || len(places[0].Ranges) == 0 {
		return f
	}
	r := places[0].Ranges
	f.Origin.Line = int(r[0].GetStart().GetLine())
	if b.isDockerfile(places[0].Info) {
		f.Line, f.End = f.Origin.Line, int(r[len(r)-1].GetEnd().GetLine())
	} else {
		f.Origin.File = places[0].Info.GetFilename()
	}
	return f
}

// isContext tells whether a remote source is a named context: the client named
// it, not the Dockerfile.
func (b *build) isContext(subject string) bool {
	return slices.ContainsFunc(b.cfg.remotes, func(at string) bool {
		at, _, _ = strings.Cut(at, "#")
		subject, _, _ := strings.Cut(subject, "#")
		return at != "" && at == subject
	})
}

// known tells whether the preflight has found the same at the same line of the
// Dockerfile: it says it in the words of the file, the graph in its own.
func (b *build) known(f preflight.Finding) bool {
	for _, k := range b.report.Findings {
		if k.Rule == f.Rule && f.Line != 0 && k.Line == f.Line {
			return true
		}
	}
	return false
}

// optionFindings are those about options of the client.
func (b *build) optionFindings() []preflight.Finding {
	if b.cfg.network != "host" {
		return nil
	}
	return []preflight.Finding{{Rule: preflight.RunNetwork, Subject: "--network=" + b.cfg.network, Cause: "sealed all the same"}}
}

// addImages reports images whose names only upstream's expansion told.
func (b *build) addImages() {
	have := map[string]bool{}
	for _, f := range b.report.Findings {
		have[f.Rule.Name+" "+normal(f.Subject)] = true
	}
	add := func(rule *preflight.Rule, ref, cause string) {
		if !have[rule.Name+" "+normal(ref)] {
			b.report.Add(preflight.Finding{Rule: rule, Origin: cache.Origin{File: b.cfg.filename}, Subject: ref, Cause: cause})
		}
	}
	for ref := range b.images {
		add(preflight.UnpinnedImage, ref, "no digest")
	}
	for ref := range b.barred {
		add(preflight.DisallowedRegistry, ref, "not one of those that the policy lists")
	}
}

// normal is the full name of an image.
func normal(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.TagNameOnly(named).String()
}

// warn prints the warnings of the report where the client shows those of
// upstream's linter.
func (b *build) warn(ctx context.Context) {
	if b.source == nil {
		return
	}
	shown := slices.DeleteFunc(slices.Clone(b.report.Findings), func(f preflight.Finding) bool { return !isShown(f) })
	for _, f := range shown[:min(len(shown), maxWarned)] {
		opts := client.WarnOpts{
			Detail: [][]byte{[]byte(f.Rule.Summary(1))}, URL: f.Rule.URL(),
			Range: ranges(f),
		}
		if f.Rule.Hint != "" {
			opts.Detail = append(opts.Detail, []byte("hint: "+f.Rule.Hint))
		}
		b.source.Warn(ctx, fmt.Sprintf("%s: %s%s", f.Rule.Name, f, f.Excuse()), opts)
	}
	if more := len(shown) - maxWarned; more > 0 {
		b.source.Warn(ctx, fmt.Sprintf("%d more warnings: all are in the metadata of the result", more), client.WarnOpts{URL: policyURL})
	}
	for _, note := range b.report.Notes() {
		b.source.Warn(ctx, "note: "+note, client.WarnOpts{URL: policyURL})
	}
	if b.report.Err() == nil {
		b.warnLevel(ctx)
	}
}

// maxWarned bounds how many warnings are printed: each carries the whole
// Dockerfile to the daemon and to the client.
const maxWarned = 100

// isShown tells whether a finding is printed by a build that goes on: warnings,
// and what the repository has an exception for. What the organisation grants to
// everybody is no news; the report has it.
func isShown(f preflight.Finding) bool {
	return f.Severity == preflight.Warn || f.Severity == preflight.Excepted && f.Exception.Source == policy.Repository
}

// policyURL is where exceptions and levels are explained.
const policyURL = "https://github.com/hermetic-build/hermetic/blob/main/docs/policy.md"

// warnLevel says last, where a build can claim no level, why.
func (b *build) warnLevel(ctx context.Context) {
	level, obstacles := b.report.Level()
	if level > policy.None {
		return
	}
	for _, o := range obstacles {
		if o.Level == policy.Sealed {
			at := ranges(preflight.Finding{Line: o.Line})
			b.source.Warn(ctx, "level none: "+o.Cause, client.WarnOpts{URL: policyURL, Range: at})
		}
	}
}

// draw attaches the lines of the Dockerfile to an error.
func (b *build) draw(err error, found []preflight.Finding) error {
	if b.source == nil {
		return err
	}
	info := &pb.SourceInfo{
		Data: b.source.SourceMap.Data, Filename: b.source.SourceMap.Filename, Language: b.source.SourceMap.Language,
		Definition: b.source.SourceMap.Definition.ToPB(),
	}
	drawn := map[string]bool{}
	for _, f := range found {
		r := ranges(f)
		key := fmt.Sprint(f.Line, f.End)
		if r == nil || drawn[key] || len(drawn) == maxDrawn {
			continue
		}
		drawn[key] = true
		err = errdefs.WithSource(err, &errdefs.Source{Info: info, Ranges: r})
	}
	return err
}

// ranges is where a finding is drawn.
func ranges(f preflight.Finding) []*pb.Range {
	if f.Line == 0 {
		return nil
	}
	return []*pb.Range{{
		Start: &pb.Position{Line: int32(f.Line)},
		End:   &pb.Position{Line: int32(max(f.Line, f.End))},
	}}
}
