package llbgen

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
)

// Graph is a decoded definition. Passes change it in place; Encode turns it
// back into a definition, in which an op that no pass touched has the very
// bytes it came with. The zero value is the empty graph, which is what scratch
// decodes to.
//
// A Graph shares memory with the definition it was made from and changes none
// of it.
type Graph struct {
	nodes    []*node // as they came, the terminal left out
	byDigest map[digest.Digest]*node
	terminal *node // nil in the empty graph
	infos    []*pb.SourceInfo
	source   bool // the definition had a Source, be it empty
}

// OutputRef names one output of one op.
type OutputRef struct {
	// Digest is the op's digest in the definition that was decoded.
	Digest digest.Digest
	// Index counts the op's outputs from 0. An exec has one for each mount
	// whose Output is not SkipOutput, in the order of its mounts.
	Index int64
}

// node is one op. Neither op nor meta is ever modified: a pass puts a changed
// clone in its place.
type node struct {
	op     *pb.Op
	raw    []byte
	digest digest.Digest // of raw
	inputs []edge        // parallel to op.Inputs, which is not looked at once linked
	meta   *pb.OpMetadata
	places []location // nil if nothing is said of places; empty if it is said that there are none

	stale bool // raw is out of date: op or something below it changed
	fixed bool // belongs to a spliced definition: no pass may change it
}

// edge is one output that a node takes.
type edge struct {
	node  *node
	index int64
}

// location keeps the file it points into at hand, as an index means nothing
// once two definitions are merged.
type location struct {
	info *pb.SourceInfo
	loc  *pb.Location
}

// same reports whether both edges name the same output of the same bytes.
func (e edge) same(o edge) bool {
	if e.index != o.index {
		return false
	}
	return e.node == o.node || !e.node.stale && !o.node.stale && e.node.digest == o.node.digest
}

// exec returns the node's ExecOp, or nil.
func (n *node) exec() *pb.ExecOp { return n.op.GetExec() }

// name is what the progress output calls the op.
func (n *node) name() string {
	if name := n.meta.GetDescription()["llb.customname"]; name != "" {
		return name
	}
	switch op := n.op.Op.(type) {
	case *pb.Op_Source:
		return op.Source.Identifier
	case *pb.Op_Exec:
		return fmt.Sprintf("exec %q", op.Exec.Meta.Args)
	}
	return kindOf(n.op) + " op"
}

// kindOf names the kind of an op in one word.
func kindOf(op *pb.Op) string {
	switch op.Op.(type) {
	case *pb.Op_Source:
		return "source"
	case *pb.Op_Exec:
		return "exec"
	case *pb.Op_File:
		return "file"
	case *pb.Op_Build:
		return "build"
	case *pb.Op_Merge:
		return "merge"
	case *pb.Op_Diff:
		return "diff"
	case *pb.Op_Passthrough:
		return "passthrough"
	}
	return "unknown"
}

// Digests returns the digests of all ops that g was decoded from, the terminal
// left out. It is what Sandbox.Keep wants of a frontend input.
func (g *Graph) Digests() map[digest.Digest]struct{} {
	set := make(map[digest.Digest]struct{}, len(g.byDigest))
	for d := range g.byDigest {
		set[d] = struct{}{}
	}
	return set
}

// live returns the nodes that the terminal stands on, inputs before consumers
// and otherwise in the order they came. The terminal is not among them. No
// recursion: a definition may be as deep as it is long.
func (g *Graph) live() []*node {
	if g.terminal == nil {
		return nil
	}
	reached := make(map[*node]bool, len(g.nodes))
	for todo := []*node{g.terminal}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, in := range n.inputs {
			if !reached[in.node] {
				reached[in.node] = true
				todo = append(todo, in.node)
			}
		}
	}
	order := make([]*node, 0, len(reached))
	emitted := make(map[*node]bool, len(reached))
	for _, n := range g.nodes {
		if reached[n] {
			order = appendPostorder(order, emitted, n)
		}
	}
	// What a pass spliced in below the terminal alone is in no list yet.
	order = appendPostorder(order, emitted, g.terminal)
	return order[:len(order)-1]
}

// order is live with the terminal at its end; nothing for the empty graph.
func (g *Graph) order() []*node {
	if g.terminal == nil {
		return nil
	}
	return append(g.live(), g.terminal)
}

// appendPostorder appends root and what it stands on, inputs first, to order,
// unless emitted already.
func appendPostorder(order []*node, emitted map[*node]bool, root *node) []*node {
	type frame struct {
		node *node
		next int
	}
	if emitted[root] {
		return order
	}
	emitted[root] = true
	stack := []frame{{node: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.node.inputs) {
			order = append(order, top.node)
			stack = stack[:len(stack)-1]
			continue
		}
		in := top.node.inputs[top.next].node
		top.next++
		if !emitted[in] {
			emitted[in] = true
			stack = append(stack, frame{node: in})
		}
	}
	return order
}

// spread marks as stale all that stands on something stale.
func (g *Graph) spread() {
	for _, n := range g.order() {
		n.stale = n.stale || slices.ContainsFunc(n.inputs, func(e edge) bool { return e.node.stale })
	}
}

// Replace puts the output that with's terminal names in the place of old: all
// that took old takes it instead, and ops that nothing needs any more are left
// out by Encode. The ops of with are taken as they are, those included that
// stand on old themselves: later passes over g leave them alone.
//
// It is an error if old is not an op of g, if nothing takes it, if with is
// empty (scratch), or if with does not decode.
func (g *Graph) Replace(old OutputRef, with *pb.Definition) error {
	from, ok := g.byDigest[old.Digest]
	if !ok {
		return fmt.Errorf("replace %s:%d: no such op", old.Digest, old.Index)
	}
	to, err := g.splice(with)
	if err != nil {
		return fmt.Errorf("replace %s:%d: %w", old.Digest, old.Index, err)
	}
	found := false
	for _, n := range g.order() {
		for i, in := range n.inputs {
			if in.node == from && in.index == old.Index {
				n.inputs[i] = to
				n.stale, found = true, true
			}
		}
	}
	if !found {
		return fmt.Errorf("replace %s:%d: nothing takes this output", old.Digest, old.Index)
	}
	g.spread()
	return nil
}

// splice decodes def into nodes of its own and returns the output its terminal
// names. The nodes become part of g once something in g takes that output.
// They share no node with g, even where they share an op: a pass that rewires g
// cannot close a circle through them. Encode makes equal ops one again.
func (g *Graph) splice(def *pb.Definition) (edge, error) {
	sub, err := Decode(def)
	if err != nil {
		return edge{}, err
	}
	if sub.terminal == nil {
		return edge{}, fmt.Errorf("definition is empty")
	}
	for _, n := range sub.nodes {
		n.fixed = true
	}
	return sub.terminal.inputs[0], nil
}
