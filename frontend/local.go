package frontend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/urlutil"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// localScheme begins the identifiers of directories of the client.
const localScheme = "local://"

// reads takes note of a source if it is a directory of the client.
func (b *build) reads(src *pb.SourceOp) {
	if name, ok := strings.CutPrefix(src.Identifier, localScheme); ok {
		b.readsLocal(name)
	}
}

func (b *build) readsLocal(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.local[name] = true
}

// use takes note of the sources of a sealed graph.
func (b *build) use(sources []*pb.SourceOp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, src := range sources {
		u := preflight.Used{URI: urlutil.RedactCredentials(src.Identifier)}
		for _, attr := range []string{pb.AttrHTTPChecksum, pb.AttrGitChecksum, pb.AttrImageChecksum} {
			u.Pin = cmp.Or(u.Pin, src.Attrs[attr])
		}
		if !slices.Contains(b.report.Sources, u) {
			b.report.Sources = append(b.report.Sources, u)
		}
	}
	slices.SortFunc(b.report.Sources, func(x, y preflight.Used) int {
		return cmp.Or(strings.Compare(x.URI, y.URI), strings.Compare(x.Pin, y.Pin))
	})
}

// locals are the directories of the client that the build reads, in words.
func (b *build) locals() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.local)) {
		switch name {
		case dockerui.DefaultLocalNameContext:
			out = append(out, "the build context")
		case b.cfg.file:
			out = append(out, "the Dockerfile")
		case DepsContext:
			out = append(out, "the deps context")
		default:
			out = append(out, fmt.Sprintf("the named context %q", name))
		}
	}
	return out
}

// lookForFiles finds out, beside other work, which files a graph wants to copy
// from a directory of the client that has no such files. What is transferred
// for that is what the build transfers anyway: it is the same source. The
// channel gets one answer.
func (b *build) lookForFiles(ctx context.Context, g *llbgen.Graph) <-chan []preflight.Finding {
	done := make(chan []preflight.Finding, 1)
	sources := map[digest.Digest][]preflight.Source{}
	defs := map[digest.Digest]*pb.Definition{} // made here: the graph is about to change
	for _, src := range g.Sources() {
		b.reads(src)
	}
	for _, c := range g.Copies() {
		if !strings.HasPrefix(c.Source.Identifier, localScheme) {
			continue
		}
		if def, err := g.Output(llbgen.OutputRef{Digest: c.From}); err == nil {
			defs[c.From] = def
		}
		f := b.at(c.Places)
		sources[c.From] = append(sources[c.From], preflight.Source{Path: c.Path, Line: f.Line, End: f.End})
	}
	go func() {
		var found []preflight.Finding
		for from, s := range sources {
			found = append(found, b.filesOf(ctx, defs[from], s)...)
		}
		done <- b.lacking(ctx, found)
	}()
	return done
}

// filesOf looks into one directory. One that does not arrive is for the build
// itself to complain about.
func (b *build) filesOf(ctx context.Context, def *pb.Definition, sources []preflight.Source) []preflight.Finding {
	if def == nil {
		return nil
	}
	res, err := b.client.Client.Solve(ctx, client.SolveRequest{Definition: def})
	if err != nil {
		return nil
	}
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return nil
	}
	b.mu.Lock()
	gitmodules := b.gitmodules
	b.mu.Unlock()
	return preflight.Files(newRefFS(ctx, ref), b.cfg.filename, gitmodules, sources)
}

// lacking are the findings about files that the build itself does not supply. It
// waits for the preflight to know.
func (b *build) lacking(ctx context.Context, found []preflight.Finding) []preflight.Finding {
	if len(found) == 0 {
		return nil
	}
	_, _ = b.sandbox(ctx) // its error is told elsewhere
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(found, b.report.Supplies)
}
