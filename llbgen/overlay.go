package llbgen

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
)

// Result is the output that the terminal names; the zero OutputRef for the empty
// graph.
func (g *Graph) Result() OutputRef {
	if g.terminal == nil {
		return OutputRef{}
	}
	in := g.terminal.inputs[0]
	return OutputRef{Digest: in.node.digest, Index: in.index}
}

// Takes lists the outputs that something in g takes, of those that match tells
// by their op.
func (g *Graph) Takes(match func(*pb.SourceOp) bool) []OutputRef {
	var out []OutputRef
	for _, n := range g.order() {
		for _, in := range n.inputs {
			src := in.node.op.GetSource()
			if src == nil || !match(src) {
				continue
			}
			if ref := (OutputRef{Digest: in.node.digest, Index: in.index}); !slices.Contains(out, ref) {
				out = append(out, ref)
			}
		}
	}
	return out
}

// Output is the definition of one output of g and what it stands on. It is nil
// where g has no such op.
func (g *Graph) Output(ref OutputRef) (*pb.Definition, error) {
	n, ok := g.byDigest[ref.Digest]
	if !ok {
		return nil, nil
	}
	return (&Graph{
		nodes: g.nodes, byDigest: g.byDigest, infos: g.infos, source: g.source,
		terminal: &node{op: &pb.Op{}, inputs: []edge{{node: n, index: ref.Index}}, stale: true},
	}).Encode()
}

// Overlay is Replace for a definition that stands on old itself: a tree of which
// some files are others. What takes old takes it instead, save the ops that keep
// names, which must stay byte for byte, and the op at the end of with, which is
// there already where g went through the same before: doing it twice is doing it
// once. It is no error if nothing takes old, or if g has no such op.
func (g *Graph) Overlay(old OutputRef, with *pb.Definition, keep map[digest.Digest]struct{}) error {
	from, ok := g.byDigest[old.Digest]
	if !ok {
		return nil
	}
	to, err := g.splice(with)
	if err != nil {
		return fmt.Errorf("overlay %s:%d: %w", old.Digest, old.Index, err)
	}
	below := map[*node]bool{} // what old stands on: none of it can take the overlay
	appendPostorder(nil, below, from)
	for _, n := range g.order() {
		_, kept := keep[n.digest]
		if n.fixed || kept || below[n] || n != g.terminal && n.digest == to.node.digest {
			continue
		}
		for i, in := range n.inputs {
			if in.node == from && in.index == old.Index {
				n.inputs[i] = to
				n.stale = true
			}
		}
	}
	g.spread()
	return nil
}
