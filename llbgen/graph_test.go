package llbgen_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/hermetic-build/hermetic/llbgen"
)

func TestDecodeRefuses(t *testing.T) {
	nowhere := digest.FromString("nowhere")
	for _, tc := range []struct {
		name string
		make func(m *maker) *pb.Definition
		want string // part of the error
	}{
		{"no protobuf", func(m *maker) *pb.Definition { m.raw([]byte{0xff}); return m.end(m.image()) }, "op 0: "},
		{"text that is no UTF-8", func(m *maker) *pb.Definition {
			m.raw(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "\x0a\x01\xff"))
			return m.end(m.image())
		}, "invalid UTF-8"},
		{"no terminal", func(m *maker) *pb.Definition { m.image(); return m.def }, "last op: a source op with 0 inputs where the terminal should be"},
		{"terminal alone", func(m *maker) *pb.Definition { return m.end(nowhere) }, "input 0: op \"" + string(nowhere) + "\" is not in the definition"},
		{"terminal with two inputs", func(m *maker) *pb.Definition { i := m.image(); m.add(&pb.Op{}, i, i); return m.def }, "unknown op with 2 inputs"},
		{"terminal as input", func(m *maker) *pb.Definition {
			end := m.add(&pb.Op{}, m.image())
			m.add(copyOp(), end)
			m.def.Def[1], m.def.Def[2] = m.def.Def[2], m.def.Def[1]
			return m.def
		}, "is not in the definition"},
		{"terminal as input, there twice", func(m *maker) *pb.Definition {
			end := m.add(&pb.Op{}, m.image())
			m.add(copyOp(), end)
			m.raw(m.def.Def[1])
			return m.def
		}, "is not in the definition"},
		{"missing input", func(m *maker) *pb.Definition { return m.end(m.add(copyOp(), nowhere)) }, "is not in the definition"},
		{"missing input of an unreached op", func(m *maker) *pb.Definition { m.add(copyOp(), nowhere); return m.end(m.image()) }, "is not in the definition"},
		{"negative output", func(m *maker) *pb.Definition {
			m.add(&pb.Op{Inputs: []*pb.Input{{Digest: string(m.image()), Index: -1}}})
			return m.def
		}, "output index -1"},
		{"source with inputs", func(m *maker) *pb.Definition { return m.end(m.add(source("local://x", nil), m.image())) }, "source op: 1 inputs"},
		{"exec without meta", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) { e.Meta = nil }), m.image()))
		}, "exec op: empty"},
		{"exec without args", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) { e.Meta.Args = nil }), m.image()))
		}, "exec op: no args"},
		{"exec without root", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) { e.Mounts[0].Dest = "/x" }), m.image()))
		}, "no root mount"},
		{"exec with a cache for root", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) { e.Mounts[0].MountType = pb.MountType_CACHE; e.Mounts[0].Output = -1 }), m.image()))
		}, "mount /: type CACHE"},
		{"exec with an output of a cache", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) {
				e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/c", Output: 1, MountType: pb.MountType_CACHE})
			}), m.image()))
		}, "mount /c: cache mount with an output"},
		{"exec with an input too many", func(m *maker) *pb.Definition {
			return m.end(m.add(exec(func(e *pb.ExecOp) { e.Mounts[0].Input = 1 }), m.image()))
		}, "mount /: input index 1, of 1 inputs"},
		{"file without actions", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_File{File: &pb.FileOp{}}}, m.image()))
		}, "file op: empty"},
		{"file that copies from its own future", func(m *maker) *pb.Definition {
			op := copyOp()
			op.GetFile().Actions[0].SecondaryInput = 1
			return m.end(m.add(op, m.image()))
		}, "action 0: input index 1, of 1 inputs"},
		{"merge of less than its inputs", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}, m.image()))
		}, "merge op: 0 layers of 1 inputs"},
		{"merge out of range", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 3}}}}}, m.image()))
		}, "input index 3"},
		{"diff with one side", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{}}}}, m.image()))
		}, "diff op: empty"},
		{"diff with an idle input", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{Input: -1}}}}, m.image()))
		}, "0 sides of 1 inputs"},
		{"passthrough of nothing", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x"}}}, m.image()))
		}, "passthrough op: empty"},
		{"passthrough out of range", func(m *maker) *pb.Definition {
			return m.end(m.add(&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{1}}}}, m.image()))
		}, "output of input 1, of 1 inputs"},
		{"location in no file", func(m *maker) *pb.Definition {
			def := m.end(m.image())
			def.Source = &pb.Source{Locations: map[string]*pb.Locations{"x": {Locations: []*pb.Location{{}}}}}
			return def
		}, "source location of x: no source with index 0"},
		{"nil locations", func(m *maker) *pb.Definition {
			def := m.end(m.image())
			def.Source = &pb.Source{Locations: map[string]*pb.Locations{"x": nil}}
			return def
		}, "source location of x: nil"},
		{"nil location", func(m *maker) *pb.Definition {
			def := m.end(m.image())
			def.Source = &pb.Source{Locations: map[string]*pb.Locations{"x": {Locations: []*pb.Location{nil}}}}
			return def
		}, "source location of x"},
		{"nil file", func(m *maker) *pb.Definition {
			def := m.end(m.image())
			def.Source = &pb.Source{Infos: []*pb.SourceInfo{nil}}
			return def
		}, "source info 0: nil"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			def := tc.make(newMaker(t))
			_, err := llbgen.Decode(def)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
			if _, err := llbgen.Seal(def, llbgen.Sandbox{}); err == nil {
				t.Error("Seal took it")
			}
			if dump := llbgen.Dump(def); !strings.HasPrefix(dump, "malformed: ") {
				t.Errorf("Dump: %s", dump)
			}
		})
	}
}

// TestDecodeNested feeds a build op that nests definitions 200,000 deep. A
// decoder without a limit would overflow its stack, which nothing can catch.
func TestDecodeNested(t *testing.T) {
	raw := make([]byte, 8<<20)
	at := len(raw)
	wrap := func(field protowire.Number) {
		head := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(len(raw)-at))
		at -= len(head)
		copy(raw[at:], head)
	}
	for range 200_000 {
		wrap(3) // SourceInfo.definition
		wrap(2) // Source.infos
		wrap(3) // Definition.Source
	}
	wrap(3) // BuildOp.def
	wrap(5) // Op.build
	m := newMaker(t)
	if _, err := llbgen.Decode(m.end(m.raw(raw[at:]))); err == nil {
		t.Error("it decodes")
	}
}

// TestEncodeKeeps shows that a definition comes back byte for byte, metadata
// and source included.
func TestEncodeKeeps(t *testing.T) {
	for _, file := range goldenFiles(t) {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		def := fromDockerfile(t, ar)
		g, err := llbgen.Decode(def)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(marshal(t, def), marshal(t, got)) {
			t.Errorf("%s: changed", file)
		}
	}
}

// TestEncodeKeepsOdd does so for what no client writes, and yet is tidy.
func TestEncodeKeepsOdd(t *testing.T) {
	def := on(t, copyOp())
	place := &pb.Location{Ranges: []*pb.Range{{Start: &pb.Position{Line: 1}}}}
	def.Source = &pb.Source{Infos: []*pb.SourceInfo{{Filename: "a"}, {Filename: "a"}}, Locations: map[string]*pb.Locations{}}
	for _, raw := range def.Def { // the terminal too; twice the same place
		def.Source.Locations[string(digest.FromBytes(raw))] = &pb.Locations{Locations: []*pb.Location{place, place}}
		def.Metadata[string(digest.FromBytes(raw))] = &pb.OpMetadata{IgnoreCache: true}
	}
	g, err := llbgen.Decode(def)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(def, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestEncodeCollapse makes two ops one: what is said of either is said of it.
func TestEncodeCollapse(t *testing.T) {
	m := newMaker(t)
	image := m.image()
	a := m.add(exec(func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST }), image)
	b := m.add(exec(), image)
	layers := []*pb.MergeInput{{Input: 0}, {Input: 1}}
	def := m.end(m.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: layers}}}, a, b))
	def.Metadata[string(a)] = &pb.OpMetadata{
		Caps: map[string]bool{"a": true}, Description: map[string]string{"k": "a", "a": "a"},
		ExportCache: &pb.ExportCache{Value: true}, ProgressGroup: &pb.ProgressGroup{Id: "a"},
	}
	def.Metadata[string(b)] = &pb.OpMetadata{
		IgnoreCache: true, Caps: map[string]bool{"b": true}, Description: map[string]string{"k": "b"},
		ProgressGroup: &pb.ProgressGroup{Id: "b"}, LinuxResources: &pb.LinuxResources{Memory: 1},
	}
	sealed, err := llbgen.Seal(def, llbgen.Sandbox{})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.OpMetadata{
		IgnoreCache: true, Caps: map[string]bool{"a": true, "b": true, "exec.meta.network": true}, Description: map[string]string{"k": "b", "a": "a"},
		ExportCache: &pb.ExportCache{Value: true}, ProgressGroup: &pb.ProgressGroup{Id: "b"}, LinuxResources: &pb.LinuxResources{Memory: 1},
	}
	for dgst, op := range ops(t, sealed) {
		if op.GetExec() != nil {
			if diff := cmp.Diff(want, sealed.Metadata[dgst], protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	}
	if len(sealed.Def) != 4 {
		t.Errorf("%d ops", len(sealed.Def))
	}
}

// TestEncodeOrder shows what Encode tidies: order, repetition, what is unused.
func TestEncodeOrder(t *testing.T) {
	tidy := newMaker(t)
	image := tidy.image()
	want := tidy.end(tidy.add(copyOp(), image))

	messy := newMaker(t)
	messy.add(copyOp(), image)
	messy.image()
	messy.image()
	messy.add(source("local://unused", nil))
	messy.raw(want.Def[len(want.Def)-1])
	messy.def.Metadata["sha256:none"] = &pb.OpMetadata{IgnoreCache: true}

	g, err := llbgen.Decode(messy.def)
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(llbgen.Dump(want), llbgen.Dump(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !bytes.Equal(marshal(t, want), marshal(t, got)) {
		t.Error("other bytes")
	}
}

// TestDeep seals a chain that recursion would not survive in bounded stack.
func TestDeep(t *testing.T) {
	m := newMaker(t)
	top := m.image()
	const depth = 50_000
	for range depth {
		top = m.add(exec(), top)
	}
	sealed, err := llbgen.Seal(m.end(top), sandbox(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(sealed.Def), depth+6; got != want {
		t.Errorf("%d ops, want %d", got, want)
	}
	if found := llbgen.Check(sealed); found != nil {
		t.Errorf("%v", found[0])
	}
}

func TestReplace(t *testing.T) {
	def := dockerfile(t,
		"FROM example.com/base:1",
		"ADD https://example.com/x.tar /a/",
		"RUN --network=host one",
		"ADD https://example.com/x.tar /b/",
	)
	cached := marshalState(t, llb.Local("hermetic", llb.SessionID("session")).
		Run(llb.Shlex("verify"), llb.Network(pb.NetMode_NONE)).Root())
	web := llbgen.Check(def)[0]
	if web.Kind != llbgen.UnpinnedHTTP {
		t.Fatalf("got %v", web)
	}

	g, err := llbgen.Decode(def)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Replace(llbgen.OutputRef{Digest: web.Digest}, cached); err != nil {
		t.Fatal(err)
	}
	if err := g.Seal(sandbox(t)); err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	load(t, got)
	dump := llbgen.Dump(got)
	if strings.Contains(dump, "source https:") {
		t.Errorf("the source is still there:\n%s", dump)
	}
	for _, want := range []string{
		"copy /x.tar from #3 to /a/ on #1\n",
		"copy /x.tar from #3 to /b/ on #9\n",
		"#3 exec [\"verify\"]" + "\n    network none\n    cwd /\n    mount / <- #2 output 0\n    platform", // no env, no other mount
		"at Dockerfile:2\n", "at Dockerfile:4\n",
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %q in\n%s", want, dump)
		}
	}
}

// TestReplaceLast replaces what the terminal itself takes, and an output other
// than the first.
func TestReplaceLast(t *testing.T) {
	m := newMaker(t)
	run := m.add(exec(func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Input: -1, Dest: "/x", Output: 1}) }), m.image())
	m.add(&pb.Op{Inputs: []*pb.Input{{Digest: string(run), Index: 1}}})
	with := newMaker(t)
	other := with.end(with.add(source("local://other", nil)))

	g, err := llbgen.Decode(m.def)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Replace(llbgen.OutputRef{Digest: run, Index: 0}, other); err == nil {
		t.Error("replaced an output that nothing takes")
	}
	if err := g.Replace(llbgen.OutputRef{Digest: run, Index: 1}, other); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("#1 source local://other\n=> #1\n", g.Dump()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, other), marshal(t, got)) {
		t.Error("other bytes than the definition it was replaced by")
	}
}

// TestReplaceWrapped replaces an output by something made of that very output,
// with ops that both graphs have. Only the first graph's consumers move.
func TestReplaceWrapped(t *testing.T) {
	m := newMaker(t)
	image := m.image()
	def := m.end(m.add(copyOp(), image))
	with := newMaker(t)
	wrap := with.end(with.add(copyOp(), with.add(copyOp(), with.image())))

	g, err := llbgen.Decode(def)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Replace(llbgen.OutputRef{Digest: image}, wrap); err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	load(t, got)
	if len(got.Def) != 5 { // image, three copies, terminal
		t.Errorf("%d ops:\n%s", len(got.Def), llbgen.Dump(got))
	}
}

// TestReplaceKeepsFields shows that an op whose input is replaced keeps fields
// that this version does not know.
func TestReplaceKeepsFields(t *testing.T) {
	unknown := []byte{0xf8, 0x07, 0x01} // field 127
	m := newMaker(t)
	image := m.image()
	op := copyOp()
	op.ProtoReflect().SetUnknown(unknown)
	g, err := llbgen.Decode(m.end(m.add(op, image)))
	if err != nil {
		t.Fatal(err)
	}
	with := newMaker(t)
	if err := g.Replace(llbgen.OutputRef{Digest: image}, with.end(with.add(source("local://other", nil)))); err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops(t, got) {
		if op.GetFile() != nil && !bytes.Equal(op.ProtoReflect().GetUnknown(), unknown) {
			t.Errorf("got %v", op)
		}
	}
}

// TestReplaceThenSeal changes, by a replacement, an op that a mount's
// definition has as well. It is no longer that op.
func TestReplaceThenSeal(t *testing.T) {
	tree := newMaker(t)
	image := tree.image()
	layout := tree.add(exec(shut), image)
	box := llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: tree.end(layout), Dest: "/deps"}}}
	with := newMaker(t)
	other := with.end(with.add(source("local://other", nil)))
	replaced := func(def *pb.Definition) *llbgen.Graph {
		g, err := llbgen.Decode(def)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Replace(llbgen.OutputRef{Digest: image}, other); err != nil {
			t.Fatal(err)
		}
		return g
	}

	m := newMaker(t)
	m.image()
	g := replaced(m.end(m.add(copyOp(), m.add(exec(shut), image))))
	if err := g.Seal(box); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(g.Dump(), "mount /deps <- ") {
		t.Errorf("the changed op is left alone:\n%s", g.Dump())
	}

	sealed, err := llbgen.Seal(on(t, exec(func(e *pb.ExecOp) { e.Meta.Args[0] = "x" })), box)
	if err != nil {
		t.Fatal(err)
	}
	var refused *llbgen.ViolationError
	if err := replaced(sealed).Seal(box); !errors.As(err, &refused) || refused.Violations[0].Kind != llbgen.ReservedMount {
		t.Errorf("a mount of the changed op passes for the sandbox's: %v", err)
	}
}

func TestReplaceRefuses(t *testing.T) {
	m := newMaker(t)
	image := m.image()
	unused := m.add(source("local://unused", nil))
	def := m.end(m.add(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}}, image))
	with := newMaker(t)
	other := with.end(with.add(source("local://other", nil)))
	for _, tc := range []struct {
		name string
		old  digest.Digest
		with *pb.Definition
		want string
	}{
		{"no such op", digest.FromString("x"), other, "no such op"},
		{"unused op", unused, other, "nothing takes this output"},
		{"by scratch", image, &pb.Definition{}, "definition is empty"},
		{"by nonsense", image, &pb.Definition{Def: [][]byte{{0xff}}}, "op 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := llbgen.Decode(def)
			if err != nil {
				t.Fatal(err)
			}
			err = g.Replace(llbgen.OutputRef{Digest: tc.old}, tc.with)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("below a build op", func(t *testing.T) {
		g, err := llbgen.Decode(def)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Replace(llbgen.OutputRef{Digest: image}, other); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Encode(); err == nil {
			t.Error("encoded a build op whose inputs changed")
		}
	})
}

func TestEmptyGraph(t *testing.T) {
	var g llbgen.Graph
	if err := g.Seal(sandbox(t)); err != nil {
		t.Error(err)
	}
	if err := g.Replace(llbgen.OutputRef{}, nil); err == nil {
		t.Error("replaced nothing")
	}
	if found := g.Check(sandbox(t)); found != nil {
		t.Error(found)
	}
	def, err := g.Encode()
	if err != nil || len(def.Def) != 0 {
		t.Errorf("got %v, %v", def, err)
	}
	if got := fmt.Sprint(g.Dump(), len(g.Digests())); got != "scratch\n0" {
		t.Errorf("got %q", got)
	}
}
