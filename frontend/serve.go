package frontend

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// serve puts files of the cache in the place of the downloads of ADD: those
// with the same URL and the same sum. The bytes come from the layout step,
// which has verified them.
func (b *build) serve(ctx context.Context, g *llbgen.Graph) error {
	b.mu.Lock()
	tree, plan := b.laid, b.report.Plan
	b.mu.Unlock()
	if tree == nil {
		return nil
	}
	done := map[digest.Digest]bool{}
	for _, c := range g.Copies() {
		in, ok := preflight.Served(plan, c.Source.Identifier, c.Source.Attrs[pb.AttrHTTPChecksum])
		if !ok || done[c.From] || b.lacks(in) {
			continue
		}
		done[c.From] = true
		file, err := b.artifact(ctx, in, c.Source)
		if err != nil {
			return err
		}
		if err := g.Replace(llbgen.OutputRef{Digest: c.From}, file); err != nil {
			return err
		}
		b.mu.Lock()
		b.given.files[in.ID()] = in
		b.mu.Unlock()
	}
	return nil
}

// lacks tells whether an exception lets the build go on without the input.
func (b *build) lacks(in cache.Input) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.report.Findings {
		if f.Rule == preflight.MissingInput && f.Origin == in.Origin && f.Subject == in.Subject() {
			return true
		}
	}
	return false
}

// artifact is what the source of an ADD gives, made from the cache: a
// directory with one file, which only its owner may read unless the ADD says
// otherwise (BuildKit source/http).
func (b *build) artifact(ctx context.Context, in cache.Input, src *pb.SourceOp) (*pb.Definition, error) {
	dir, from, err := b.laidOut(path.Join("deps", in.Ecosystem, in.Path))
	if err != nil {
		return nil, err
	}
	name := src.Attrs[pb.AttrHTTPFilename]
	if name == "" {
		name = path.Base(strings.TrimSuffix(src.Identifier, "/"))
	}
	st := llb.Scratch().File(
		llb.Copy(dir, from, "/"+name, &llb.CopyInfo{Mode: &llb.ChmodOpt{Mode: 0o600}}),
		dockerui.WithInternalName(fmt.Sprintf("%s from the cache", in.Name)),
	)
	def, err := st.Marshal(ctx, llb.WithCaps(b.client.BuildOpts().Caps))
	if err != nil {
		return nil, err
	}
	return def.ToPB(), nil
}

// resolvConf is what RUN steps read in /etc/resolv.conf: without it they would
// see that of the daemon's host.
const resolvConf = "# A sealed build has no network, and so no name servers.\n"

// mask hides /etc/resolv.conf. The file is one step more. Where the client
// asks for provenance with all steps and nothing else is added to the build,
// these shall be the steps of the Dockerfile.
func (b *build) mask(ctx context.Context, box *llbgen.Sandbox) error {
	if b.cfg.fullSteps && b.laid == nil {
		return nil
	}
	st := llb.Scratch().File(llb.Mkfile("/resolv.conf", 0o644, []byte(resolvConf)), dockerui.WithInternalName("mask /etc/resolv.conf"))
	def, err := st.Marshal(ctx, llb.WithCaps(b.client.BuildOpts().Caps))
	if err != nil {
		return err
	}
	box.Mounts = append(box.Mounts, llbgen.Mount{
		Definition: def.ToPB(), Dest: "/etc/resolv.conf", Selector: "resolv.conf", Readonly: true, Mask: true,
	})
	return nil
}
