package llbgen

import (
	"errors"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// Decode reads a definition. A nil definition, or one with no ops, is scratch:
// the empty graph.
//
// It refuses what the daemon would refuse (an input that is not there, an input
// index out of range, an exec without root mount, a source location that points
// nowhere) and, beyond that, a last op that is more than a terminal with one
// input. Ops may come in any order and more than once; an op that the terminal
// does not need must be well-formed all the same. Kinds and fields that this
// version does not know are no error here: Check reports and Seal refuses them.
//
// Time and memory are linear in the size of def, and the depth of the graph
// costs no stack.
func Decode(def *pb.Definition) (*Graph, error) {
	g := &Graph{byDigest: map[digest.Digest]*node{}}
	if def != nil {
		g.infos, g.source = def.Source.GetInfos(), def.Source != nil
	}
	if len(def.GetDef()) == 0 {
		return g, nil
	}
	var nodes []*node
	for i, raw := range def.Def {
		n := &node{op: new(pb.Op), raw: raw, digest: digest.FromBytes(raw)}
		// Not UnmarshalVT: that one has no limit to how deep a BuildOp may
		// nest definitions, and a stack that overflows cannot be caught.
		if err := proto.Unmarshal(raw, n.op); err != nil {
			return nil, fmt.Errorf("op %d: %w", i, err)
		}
		nodes = append(nodes, n)
	}
	g.terminal = nodes[len(nodes)-1]
	for _, n := range nodes[:len(nodes)-1] {
		if n.digest != g.terminal.digest { // as for the daemon, which takes it out
			g.byDigest[n.digest] = n
			g.nodes = append(g.nodes, n)
		}
	}
	if t := g.terminal.op; t.Op != nil || len(t.Inputs) != 1 {
		return nil, fmt.Errorf("last op: a %s op with %d inputs where the terminal should be", kindOf(t), len(t.Inputs))
	}
	for _, n := range append(g.nodes, g.terminal) {
		if err := g.link(n); err != nil {
			return nil, fmt.Errorf("op %s: %w", n.digest, err)
		}
		if err := validate(n.op); err != nil {
			return nil, fmt.Errorf("op %s: %s op: %w", n.digest, kindOf(n.op), err)
		}
	}
	return g, g.annotate(def)
}

// link resolves the node's inputs.
func (g *Graph) link(n *node) error {
	for i, in := range n.op.Inputs {
		from, ok := g.byDigest[digest.Digest(in.Digest)]
		if !ok {
			return fmt.Errorf("input %d: op %q is not in the definition", i, in.Digest)
		}
		if in.Index < 0 {
			return fmt.Errorf("input %d: output index %d", i, in.Index)
		}
		n.inputs = append(n.inputs, edge{node: from, index: in.Index})
	}
	return nil
}

// annotate hands each node its metadata and locations. What is keyed by a
// digest that is not in the definition says nothing and is dropped.
func (g *Graph) annotate(def *pb.Definition) error {
	for i, info := range g.infos {
		if info == nil {
			return fmt.Errorf("source info %d: nil", i)
		}
	}
	for _, n := range append(g.nodes, g.terminal) {
		n.meta = def.Metadata[string(n.digest)]
	}
	for key, locs := range def.Source.GetLocations() {
		if locs == nil {
			return fmt.Errorf("source location of %s: nil", key)
		}
		n := g.byDigest[digest.Digest(key)]
		if key == string(g.terminal.digest) {
			n = g.terminal
		}
		if n == nil {
			n = new(node) // looked at and forgotten
		}
		n.places = make([]location, 0, len(locs.Locations))
		for _, loc := range locs.Locations {
			if loc == nil || loc.SourceIndex < 0 || int(loc.SourceIndex) >= len(g.infos) {
				return fmt.Errorf("source location of %s: no source with index %d", key, loc.GetSourceIndex())
			}
			n.places = append(n.places, location{info: g.infos[loc.SourceIndex], loc: loc})
		}
	}
	return nil
}

var errNil = errors.New("empty")

// validate checks the inside of one op as far as the passes, or the daemon,
// rely on it.
func validate(op *pb.Op) error {
	inputs := int64(len(op.Inputs))
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		if o.Source == nil {
			return errNil
		}
		if inputs != 0 {
			return fmt.Errorf("%d inputs", inputs)
		}
	case *pb.Op_Exec:
		return validateExec(o.Exec, inputs)
	case *pb.Op_File:
		return validateFile(o.File, inputs)
	case *pb.Op_Build:
		if o.Build == nil {
			return errNil
		}
	case *pb.Op_Merge:
		if o.Merge == nil {
			return errNil
		}
		if int64(len(o.Merge.Inputs)) != inputs {
			return fmt.Errorf("%d layers of %d inputs", len(o.Merge.Inputs), inputs)
		}
		for _, in := range o.Merge.Inputs {
			if err := inRange(in.Input, inputs); err != nil {
				return err
			}
		}
	case *pb.Op_Diff:
		return validateDiff(o.Diff, inputs)
	case *pb.Op_Passthrough:
		return validatePassthrough(o.Passthrough, inputs)
	}
	return nil
}

// validateDiff wants two sides, and no input that is neither.
func validateDiff(diff *pb.DiffOp, inputs int64) error {
	if diff.GetLower() == nil || diff.GetUpper() == nil {
		return errNil
	}
	var used int64
	for _, in := range []int64{diff.Lower.Input, diff.Upper.Input} {
		if err := inRange(in, inputs); err != nil {
			return err
		}
		if in != int64(pb.Empty) {
			used++
		}
	}
	if used != inputs {
		return fmt.Errorf("%d sides of %d inputs", used, inputs)
	}
	return nil
}

// validatePassthrough wants outputs; an op with no inputs at all makes them of
// scratch.
func validatePassthrough(pass *pb.PassthroughOp, inputs int64) error {
	if pass.GetId() == "" || len(pass.GetOutputs()) == 0 {
		return errNil
	}
	for _, in := range pass.Outputs {
		if in < 0 || inputs > 0 && in >= inputs {
			return fmt.Errorf("output of input %d, of %d inputs", in, inputs)
		}
	}
	return nil
}

// validateExec wants a command and a root.
func validateExec(exec *pb.ExecOp, inputs int64) error {
	if exec == nil || exec.Meta == nil {
		return errNil
	}
	if len(exec.Meta.Args) == 0 {
		return errors.New("no args")
	}
	root := false
	for _, m := range exec.Mounts {
		if err := inRange(m.Input, inputs); err != nil {
			return fmt.Errorf("mount %s: %w", m.Dest, err)
		}
		if m.MountType == pb.MountType_CACHE && m.Output != int64(pb.SkipOutput) {
			// No client makes one. Shutting it would renumber the outputs.
			return fmt.Errorf("mount %s: cache mount with an output", m.Dest)
		}
		if m.Dest == pb.RootMount {
			root = true
			if m.MountType != pb.MountType_BIND {
				return fmt.Errorf("mount %s: type %s", m.Dest, m.MountType)
			}
		}
	}
	if !root {
		return errors.New("no root mount")
	}
	return nil
}

// validateFile wants actions. Inputs of an action count on past the inputs of
// the op: they then name earlier actions.
func validateFile(file *pb.FileOp, inputs int64) error {
	if len(file.GetActions()) == 0 {
		return errNil
	}
	for i, a := range file.Actions {
		err := errors.Join(inRange(a.Input, inputs+int64(i)), inRange(a.SecondaryInput, inputs+int64(i)))
		if err != nil {
			return fmt.Errorf("action %d: %w", i, err)
		}
	}
	return nil
}

// inRange accepts pb.Empty and the indexes below n.
func inRange(index, n int64) error {
	if index < int64(pb.Empty) || index >= n {
		return fmt.Errorf("input index %d, of %d inputs", index, n)
	}
	return nil
}
