package llbgen_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/llbgen"
)

const contextSource = "local://context"

func isContext(src *pb.SourceOp) bool { return src.Identifier == contextSource }

// lay puts a file over the context, wherever the definition takes it, and seals
// the result.
func lay(t *testing.T, def *pb.Definition, keep map[digest.Digest]struct{}) *pb.Definition {
	t.Helper()
	g, err := llbgen.Decode(def)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range g.Takes(isContext) {
		base, err := g.Output(ref)
		if err != nil {
			t.Fatal(err)
		}
		op, err := llb.NewDefinitionOp(base)
		if err != nil {
			t.Fatal(err)
		}
		with, err := llb.NewState(op.Output()).File(llb.Mkfile("/lock", 0o644, []byte("sealed")), llb.WithCustomName("overlay")).Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Overlay(ref, with.ToPB(), keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Seal(llbgen.Sandbox{Keep: keep}); err != nil {
		t.Fatal(err)
	}
	out, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// takers are the ops that take an output of an op with this identifier or name,
// by their names.
func takers(t *testing.T, def *pb.Definition, of string) (out []string) {
	t.Helper()
	name := map[string]string{}
	for _, data := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			t.Fatal(err)
		}
		d := string(digest.FromBytes(data))
		name[d] = op.GetSource().GetIdentifier()
		if custom := def.Metadata[d].GetDescription()["llb.customname"]; custom != "" {
			name[d] = custom
		}
		for _, in := range op.Inputs {
			if name[in.Digest] == of && op.Op != nil {
				out = append(out, name[d])
			}
		}
	}
	slices.Sort(out)
	return out
}

// project is a graph that copies from a context, copies all of it, and mounts it.
func project(t *testing.T) *pb.Definition {
	t.Helper()
	ctx := llb.Local("context")
	st := llb.Image("example.com/base").File(llb.Copy(ctx, "a", "/a"), llb.WithCustomName("copy")).
		File(llb.Copy(ctx, ".", "/all"), llb.WithCustomName("copy all")).
		Run(llb.Shlex("make"), llb.AddMount("/src", ctx, llb.Readonly), llb.WithCustomName("run")).Root()
	def, err := st.Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

func TestOverlay(t *testing.T) {
	came := project(t)
	def := lay(t, came, nil)
	if got := takers(t, def, contextSource); !slices.Equal(got, []string{"overlay"}) {
		t.Errorf("the context is taken by %q", got)
	}
	if got := takers(t, def, "overlay"); !slices.Equal(got, []string{"copy", "copy all", "run"}) {
		t.Errorf("the overlay is taken by %q", got)
	}
	if found := llbgen.Check(def); slices.ContainsFunc(found, func(v llbgen.Violation) bool { return v.Kind != llbgen.UnpinnedImage }) {
		t.Errorf("%v", found)
	}
	for range 100 {
		if again := lay(t, came, nil); !slices.EqualFunc(def.Def, again.Def, bytes.Equal) {
			t.Fatal("two runs differ")
		}
	}
}

// TestOverlayTwice: a graph that went through it before stays as it is.
func TestOverlayTwice(t *testing.T) {
	once := lay(t, project(t), nil)
	if twice := lay(t, once, nil); !slices.EqualFunc(once.Def, twice.Def, bytes.Equal) {
		t.Errorf("%s\nthen\n%s", llbgen.Dump(once), llbgen.Dump(twice))
	}
}

// TestOverlayKeeps: ops that must stay byte for byte go on taking the context
// itself.
func TestOverlayKeeps(t *testing.T) {
	def := project(t)
	keep := map[digest.Digest]struct{}{}
	for _, data := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			t.Fatal(err)
		}
		if name := def.Metadata[string(digest.FromBytes(data))].GetDescription()["llb.customname"]; strings.HasPrefix(name, "copy") || op.GetSource() != nil {
			keep[digest.FromBytes(data)] = struct{}{}
		}
	}
	out := lay(t, def, keep)
	if got := takers(t, out, contextSource); !slices.Equal(got, []string{"copy", "copy all", "overlay"}) {
		t.Errorf("the context is taken by %q", got)
	}
	if got := takers(t, out, "overlay"); !slices.Equal(got, []string{"run"}) {
		t.Errorf("the overlay is taken by %q", got)
	}
}

// TestOverlayOfNothing changes nothing: an op that the graph does not have, or
// that nothing takes.
func TestOverlayOfNothing(t *testing.T) {
	def := project(t)
	with := on(t, copyOp())
	for _, ref := range []llbgen.OutputRef{{Digest: digest.FromString("none")}, {Digest: digest.FromBytes(def.Def[0]), Index: 7}} {
		g, err := llbgen.Decode(def)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Overlay(ref, with, nil); err != nil {
			t.Fatal(err)
		}
		out, err := g.Encode()
		if err != nil || !slices.EqualFunc(def.Def, out.Def, bytes.Equal) {
			t.Errorf("%v: the graph has changed: %v", ref, err)
		}
	}
	g, err := llbgen.Decode(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Result(); got != (llbgen.OutputRef{}) {
		t.Errorf("scratch is %v", got)
	}
}
