package frontend

import (
	"context"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// subrequest answers questions about the Dockerfile. All are upstream's to
// answer but the one that shows the graph: that must be the sealed one.
func (b *build) subrequest(ctx context.Context) (*client.Result, error) {
	if b.cfg.request != convertllb.RequestConvertLLB {
		close(b.ready)
		return builder.Build(ctx, b.client)
	}
	go func() {
		defer close(b.ready)
		b.box, b.err = b.prepare(ctx)
	}()
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

// convert is upstream's conversion, as its own subrequest does it.
func (b *build) convert(ctx context.Context) (llb.State, error) {
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, b.source.Data, dockerfile2llb.ConvertOpt{
		Config: b.ui.Config, Client: b.ui, SourceMap: b.source.SourceMap, MetaResolver: b.client,
	})
	if err != nil {
		return llb.State{}, err
	}
	return res.State, nil
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
