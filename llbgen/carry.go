package llbgen

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// Writes to a mount that carries are there for the execs that follow. What
// follows is found along the root file system: of an exec, its root mount; of a
// file op, what an action works on, not what it copies from; of a merge, its
// lowest layer:
//
//	source        exec: make a ── file: copy b ── exec: make c
//	  root ───────────▶ root ──────── root ──────────▶ root
//	  tree ───────────▶ /deps ───────────────────────▶ /deps
//
// Two execs that follow the same one both go on from it, and neither sees the
// other. An op that is copied from, and not stood on, carries nothing. Each user
// has writes of its own: what one has made, another may not be allowed to change.

// A state is what mounts that carry take of an exec at some place of a graph,
// where somebody has written. It is not modified.
type state map[writer]edge

// A writer is a user, as execs name it, who writes to a tree, wherever it is
// mounted.
type writer struct {
	tree edge
	user string
}

// writer is who writes to the mount when the exec runs. All names of root are
// one.
func (m boxMount) writer(n *node) writer {
	user := n.exec().Meta.User
	if name, _, _ := strings.Cut(user, ":"); name == "root" || name == "0" {
		user = ""
	}
	return writer{m.tree, user}
}

// follow finds out for each exec what its mounts take. Execs that have them
// already, as the graph was sealed before, are known by it.
func (b *box) follow(g *Graph) {
	b.takes = map[*node]state{}
	left := map[edge]state{}
	for _, n := range g.live() {
		switch op := n.op.Op.(type) {
		case *pb.Op_Exec:
			b.followExec(n, left)
		case *pb.Op_File:
			for _, a := range op.File.Actions {
				if in, ok := base(op.File.Actions, a, len(n.inputs)); ok && a.Output >= 0 {
					left[edge{n, a.Output}] = left[n.inputs[in]]
				}
			}
		case *pb.Op_Merge:
			if first := op.Merge.Inputs[:min(1, len(op.Merge.Inputs))]; len(first) == 1 && first[0].Input >= 0 {
				left[edge{n, 0}] = left[n.inputs[first[0].Input]]
			}
		case *pb.Op_Passthrough:
			for i, in := range op.Passthrough.Outputs {
				if in >= 0 && int(in) < len(n.inputs) {
					left[edge{n, int64(i)}] = left[n.inputs[in]]
				}
			}
		}
	}
}

// base is the input of a file op that an action, or the first of those that it
// follows, works on. Not ok is scratch.
func base(actions []*pb.FileAction, a *pb.FileAction, inputs int) (input int64, ok bool) {
	for a.Input >= int64(inputs) {
		a = actions[a.Input-int64(inputs)] // an earlier one (validateFile)
	}
	return a.Input, a.Input >= 0
}

// followExec finds out what the mounts of an exec take, and what it leaves to
// those that stand on it.
func (b *box) followExec(n *node, left map[edge]state) {
	exec := n.exec()
	root := slices.IndexFunc(exec.Mounts, func(m *pb.Mount) bool { return m.Dest == pb.RootMount })
	var before state
	if in := exec.Mounts[root].Input; in >= 0 {
		before = left[n.inputs[in]]
	}
	after := before
	if !b.leaves(n) && !b.exempt(exec) {
		b.takes[n] = before
		after = b.leave(n, before)
	}
	if exec.Mounts[root].Output != int64(pb.SkipOutput) {
		left[edge{n, outputs(exec.Mounts[:root])}] = after
	}
}

// leave is what an exec leaves in the mounts that carry: the outputs that these
// have, or get when it is sealed.
func (b *box) leave(n *node, before state) state {
	exec := n.exec()
	after := state{}
	maps.Copy(after, before)
	next := outputs(exec.Mounts)
	wanted := b.wanted(n)
	for _, m := range b.mounts {
		if !m.Carry {
			continue
		}
		at := slices.IndexFunc(exec.Mounts, func(have *pb.Mount) bool { return b.is(m, n, have) })
		switch {
		case at >= 0:
			after[m.writer(n)] = edge{n, outputs(exec.Mounts[:at])}
		case slices.ContainsFunc(wanted, func(w boxMount) bool { return w.index == m.index }):
			after[m.writer(n)] = edge{n, next}
			next++
		}
	}
	return after
}

// outputs counts those that mounts have. An exec numbers its outputs in the
// order of its mounts (solver/llbsolver/ops, ExecOp.Exec).
func outputs(mounts []*pb.Mount) int64 {
	var n int64
	for _, m := range mounts {
		if m.Output != int64(pb.SkipOutput) {
			n++
		}
	}
	return n
}

// source is what the mount takes of an exec: what was left to it, or the tree.
func (b *box) source(m boxMount, n *node) edge {
	if e, ok := b.takes[n][m.writer(n)]; ok && m.Carry {
		return e
	}
	return m.tree
}

// mount makes the mount of an exec, the next output of which has the index next.
func (b *box) mount(m boxMount, n *node, next int64) *pb.Mount {
	from := b.source(m, n)
	added := &pb.Mount{
		Input: n.input(from), Dest: m.Dest, Selector: m.Selector, Readonly: m.Readonly,
		Output: int64(pb.SkipOutput),
	}
	if m.Carry {
		added.Output = next
		if !from.same(m.tree) && !b.HashCarried {
			added.ContentCache = pb.MountContentCache_OFF
		}
	}
	return added
}

// insertOutput puts a mount with an output behind the others that have one, so
// that the outputs of these keep their numbers.
func insertOutput(mounts []*pb.Mount, m *pb.Mount) []*pb.Mount {
	at := 0
	for i, o := range mounts {
		if o.Output != int64(pb.SkipOutput) {
			at = i + 1
		}
	}
	return slices.Insert(mounts, at, m)
}
