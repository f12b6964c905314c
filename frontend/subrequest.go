package frontend

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// subrequest answers questions about the Dockerfile. All are upstream's to
// answer, but the one that shows the graph, which must be the sealed one, and
// the linter, to which we have something to add.
func (b *build) subrequest(ctx context.Context) (*client.Result, error) {
	switch b.cfg.request {
	case convertllb.RequestConvertLLB, lint.RequestLint:
	default:
		close(b.ready)
		return builder.Build(ctx, b.client)
	}
	go func() {
		defer close(b.ready)
		b.box, b.err = b.prepare(ctx)
	}()
	if b.cfg.request == lint.RequestLint {
		return b.lint(ctx)
	}
	return b.convertLLB(ctx)
}

// convertLLB shows the sealed graph.
func (b *build) convertLLB(ctx context.Context) (*client.Result, error) {
	if _, err := b.sandbox(ctx); err != nil {
		return b.finish(ctx, nil, err)
	}
	st, err := b.convert(ctx)
	if err != nil {
		return nil, err
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	sealed, err := b.seal(ctx, def.ToPB())
	if err != nil {
		return b.finish(ctx, nil, err)
	}
	out, err := describe(sealed)
	if err != nil {
		return nil, err
	}
	return out.ToResult()
}

// lint is upstream's linter with our findings among its warnings. Those that
// would stop a build are its error.
func (b *build) lint(ctx context.Context) (*client.Result, error) {
	_, err := b.sandbox(ctx)
	_, parse := errors.AsType[*preflight.ParseError](err)
	_, found := errors.AsType[*preflight.Errors](err)
	if err != nil && !parse && !found || b.source == nil {
		return nil, err
	}
	results, err := dockerfile2llb.DockerfileLint(ctx, b.source.Data, b.convertOpt())
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addImages()
	b.report.Sort()
	index := results.AddSource(b.source.SourceMap)
	var stops []string
	for _, f := range b.report.Findings {
		if f.Severity < preflight.Warn {
			continue
		}
		results.Warnings = append(results.Warnings, lint.Warning{
			RuleName: f.Rule.Name, Description: f.Rule.Summary(1), URL: f.Rule.URL(), Detail: f.String(),
			Location: &pb.Location{SourceIndex: int32(index), Ranges: ranges(f)},
		})
		if f.Severity == preflight.Error && !slices.Contains(stops, f.Rule.Name) {
			stops = append(stops, f.Rule.Name)
		}
	}
	if len(stops) > 0 && results.Error == nil {
		first := b.report.Of(preflight.Error)[0]
		results.Error = &lint.BuildError{Message: "these rules stop the build: " + strings.Join(stops, ", ")}
		results.Error.Location.SourceIndex, results.Error.Location.Ranges = int32(index), ranges(first)
	}
	return results.ToResult(nil)
}

// convert is upstream's conversion, as its own subrequest does it.
func (b *build) convert(ctx context.Context) (llb.State, error) {
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, b.source.Data, b.convertOpt())
	if err != nil {
		return llb.State{}, err
	}
	return res.State, nil
}

// convertOpt is what upstream's converter is told (builder.Build).
func (b *build) convertOpt() dockerfile2llb.ConvertOpt {
	return dockerfile2llb.ConvertOpt{
		Config: b.ui.Config, Client: b.ui, SourceMap: b.source.SourceMap, MetaResolver: b.client,
	}
}

// describe is a definition in the form of the subrequest's answer.
func describe(def *pb.Definition) (*convertllb.Result, error) {
	res := &convertllb.Result{
		Def: map[digest.Digest]*pb.Op{}, Metadata: map[digest.Digest]llb.OpMetadata{}, Source: def.Source,
	}
	for _, data := range def.Def {
		var op pb.Op
		if err := proto.Unmarshal(data, &op); err != nil {
			return nil, err
		}
		res.Def[digest.FromBytes(data)] = &op
	}
	for d, m := range def.Metadata {
		res.Metadata[digest.Digest(d)] = llb.NewOpMetadata(m)
	}
	return res, nil
}
