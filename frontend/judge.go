package frontend

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/cache"
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
	llbgen.OpenInput:        preflight.NestedFrontend,
}

// judge turns what a graph breaks into findings. The error has those that stop
// the build.
func (b *build) judge(vs []llbgen.Violation) error {
	found := &preflight.Report{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range vs {
		rule, ok := rules[v.Kind]
		if v.Kind == llbgen.Network && b.cfg.network == "host" {
			continue // said once, of the option: optionFindings
		}
		if _, own := b.own[v.Digest]; !ok || own {
			continue
		}
		f := preflight.Finding{Rule: rule, Origin: cache.Origin{File: b.cfg.filename}, Subject: v.Name, Cause: v.Detail}
		if len(v.Places) > 0 && len(v.Places[0].Ranges) > 0 {
			r := v.Places[0].Ranges
			f.Line, f.End = int(r[0].GetStart().GetLine()), int(r[len(r)-1].GetEnd().GetLine())
			f.Origin.Line = f.Line
		}
		if !b.known(f) {
			found.Add(f)
		}
	}
	found.Sort()
	b.report.Add(found.Findings...)
	return b.report.Err()
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
	b.mu.Lock()
	defer b.mu.Unlock()
	have := map[string]bool{}
	for _, f := range b.report.Findings {
		if f.Rule == preflight.UnpinnedImage {
			have[normal(f.Subject)] = true
		}
	}
	for ref := range b.images {
		if !have[normal(ref)] {
			b.report.Add(preflight.Finding{Rule: preflight.UnpinnedImage, Origin: cache.Origin{File: b.cfg.filename}, Subject: ref, Cause: "no digest"})
		}
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
	for _, f := range b.report.Of(preflight.Warn) {
		opts := client.WarnOpts{
			Detail: [][]byte{[]byte(f.Rule.Summary(1))}, URL: f.Rule.URL(),
			Range: ranges(f),
		}
		if f.Rule.Hint != "" {
			opts.Detail = append(opts.Detail, []byte("hint: "+f.Rule.Hint))
		}
		b.source.Warn(ctx, fmt.Sprintf("%s: %s", f.Rule.Name, f), opts)
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
