package llbgen

import (
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
)

// Copy is a file or directory that a file op takes straight from a source op:
// what COPY and ADD of a build context become.
type Copy struct {
	// From is the digest of the source op, Source the op itself.
	From   digest.Digest
	Source *pb.SourceOp
	// Path is what is copied, from the root of the source. It may be a pattern.
	Path string
	// Places are where in the Dockerfile the copy comes from.
	Places []Place
}

// Copies lists the copies of all file ops that the result needs, in the order of
// the graph.
func (g *Graph) Copies() []Copy {
	var out []Copy
	for _, n := range g.live() {
		for _, a := range n.op.GetFile().GetActions() {
			c := a.GetCopy()
			if c == nil || a.SecondaryInput < 0 || int(a.SecondaryInput) >= len(n.inputs) {
				continue // not a copy, or one of what this op itself made
			}
			from := n.inputs[a.SecondaryInput].node
			if from.op.GetSource() == nil {
				continue
			}
			paths := c.RequiredPaths
			if len(c.IncludePatterns) == 0 {
				paths = append([]string{c.Src}, paths...)
			}
			for _, p := range paths {
				out = append(out, Copy{From: from.digest, Source: from.op.GetSource(), Path: p, Places: n.ownPlaces()})
			}
		}
	}
	return out
}

// Sources lists the source ops that the result needs, in the order of the graph.
func (g *Graph) Sources() []*pb.SourceOp {
	var out []*pb.SourceOp
	for _, n := range g.live() {
		if src := n.op.GetSource(); src != nil {
			out = append(out, src)
		}
	}
	return out
}

// Step is an exec.
type Step struct {
	Digest digest.Digest
	Exec   *pb.ExecOp
	// Places are where in the Dockerfile it comes from; none for what no line of
	// it asked for, such as a scanner.
	Places []Place
}

// Steps lists the execs that the result needs, in the order of the graph; those
// of definitions that Replace and Seal brought in are left out.
func (g *Graph) Steps() []Step {
	var out []Step
	for _, n := range g.live() {
		if exec := n.exec(); exec != nil && !n.fixed {
			out = append(out, Step{Digest: n.digest, Exec: exec, Places: n.ownPlaces()})
		}
	}
	return out
}
