package llbgen_test

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/hermetic-build/hermetic/llbgen"
)

// maker builds definitions that no client would.
type maker struct {
	t   testing.TB
	def *pb.Definition
}

func newMaker(t testing.TB) *maker {
	return &maker{t: t, def: &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}}
}

// add appends an op that takes output 0 of each input.
func (m *maker) add(op *pb.Op, inputs ...digest.Digest) digest.Digest {
	m.t.Helper()
	for _, in := range inputs {
		op.Inputs = append(op.Inputs, &pb.Input{Digest: string(in)})
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.raw(raw)
}

// raw appends bytes.
func (m *maker) raw(raw []byte) digest.Digest {
	m.def.Def = append(m.def.Def, raw)
	return digest.FromBytes(raw)
}

// image appends a pinned base image.
func (m *maker) image() digest.Digest {
	return m.add(source("docker-image://example.com/base@"+string(digest.FromString("base")), nil))
}

// end appends the terminal.
func (m *maker) end(in digest.Digest) *pb.Definition {
	m.t.Helper()
	m.add(&pb.Op{}, in)
	return m.def
}

func source(id string, attrs map[string]string) *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: id, Attrs: attrs}}}
}

// exec returns a plain exec, changed by edits.
func exec(edits ...func(*pb.ExecOp)) *pb.Op {
	e := &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"make"}, Cwd: "/"},
		Mounts: []*pb.Mount{{Dest: "/"}},
	}
	for _, edit := range edits {
		edit(e)
	}
	return &pb.Op{Op: &pb.Op_Exec{Exec: e}}
}

func shut(e *pb.ExecOp) { e.Network = pb.NetMode_NONE }

// copyOp copies all of input 0 to scratch.
func copyOp() *pb.Op {
	return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{{
		Input: int64(pb.Empty), SecondaryInput: 0, Output: 0,
		Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/", Dest: "/"}},
	}}}}}
}

// on returns a definition of one op on a base image.
func on(t testing.TB, op *pb.Op) *pb.Definition {
	t.Helper()
	m := newMaker(t)
	return m.end(m.add(op, m.image()))
}

// kinds lists the kinds of violations, in order.
func kinds(found []llbgen.Violation) []llbgen.Kind {
	var out []llbgen.Kind
	for _, v := range found {
		out = append(out, v.Kind)
	}
	return out
}
