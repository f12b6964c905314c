package llbgen_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/hermetic-build/hermetic/llbgen"
)

// FuzzDecode feeds forged definitions to every pass. None may panic; what
// decodes encodes to something stable, which is the very bytes that came if
// those were tidy; what can be sealed is shut, and sealed for good.
//
// The test binary links much that the fuzzer instruments too; run it with
// -fuzzminimizetime=20x, or it spends its time on making inputs smaller.
func FuzzDecode(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		def := new(pb.Definition)
		if proto.Unmarshal(data, def) != nil {
			return
		}
		before := marshal(t, def)
		llbgen.Check(def)
		llbgen.Dump(def)
		g, err := llbgen.Decode(def)
		if err != nil {
			return
		}
		once, err := g.Encode()
		if err != nil {
			t.Fatalf("decodes and does not encode: %v", err)
		}
		if tidy(def) && !bytes.Equal(before, marshal(t, once)) {
			t.Errorf("a tidy definition changed:\n%s\n%s", llbgen.Dump(def), llbgen.Dump(once))
		}
		g, err = llbgen.Decode(once)
		if err != nil {
			t.Fatalf("what Encode wrote does not decode: %v", err)
		}
		twice, err := g.Encode()
		if err != nil || !bytes.Equal(marshal(t, once), marshal(t, twice)) {
			t.Errorf("Encode is not stable: %v", err)
		}
		fuzzSeal(t, def)
		if !bytes.Equal(before, marshal(t, def)) {
			t.Error("a pass changed the definition it was given")
		}
	})
}

// fuzzSeal holds Seal to its promise on whatever it does not refuse.
func fuzzSeal(t *testing.T, def *pb.Definition) {
	box := llbgen.Sandbox{
		Mounts: []llbgen.Mount{
			{Definition: tinyTree(t), Dest: "/deps", Selector: "/x", Readonly: true},
			{Definition: tinyTree(t), Dest: "/tree", Carry: true},
		},
		Env: []string{"A=b"},
	}
	sealed, err := llbgen.Seal(def, box)
	if err != nil {
		return
	}
	for _, v := range box.Check(sealed) {
		switch v.Kind {
		case llbgen.Network, llbgen.ProxyEnv, llbgen.CacheMount, llbgen.Malformed, llbgen.ReservedMount:
			t.Errorf("sealed, and yet: %s %s", v.Kind, v)
		}
	}
	again, err := llbgen.Seal(sealed, box)
	if err != nil {
		t.Fatalf("sealing again: %v", err)
	}
	if !bytes.Equal(marshal(t, sealed), marshal(t, again)) {
		t.Errorf("sealing again changed it:\n%s\n%s", llbgen.Dump(sealed), llbgen.Dump(again))
	}
}

// tinyTree is a mount's definition of two ops.
func tinyTree(t testing.TB) *pb.Definition {
	m := newMaker(t)
	return m.end(m.add(copyOp(), m.add(source("local://deps", nil))))
}

// tidy reports whether a definition is as clients write them: each op once,
// inputs first, none unused, nothing said of an op that is not there.
func tidy(def *pb.Definition) bool {
	seen := map[string]bool{}
	for _, raw := range def.Def {
		op := new(pb.Op)
		if proto.Unmarshal(raw, op) != nil {
			return false
		}
		for _, in := range op.Inputs {
			if !seen[in.Digest] {
				return false
			}
		}
		d := string(digest.FromBytes(raw))
		if seen[d] {
			return false
		}
		seen[d] = true
	}
	for d := range seen {
		if !reaches(def, d) {
			return false
		}
	}
	for key := range def.Metadata {
		if !seen[key] {
			return false
		}
	}
	for key := range def.Source.GetLocations() {
		if !seen[key] {
			return false
		}
	}
	return !strange(def.ProtoReflect()) && (def.Source == nil || !strange(def.Source.ProtoReflect()) && !strangeLocations(def.Source))
}

// reaches reports whether the terminal stands on the op. It is slow and plain.
func reaches(def *pb.Definition, want string) bool {
	inputs := map[string][]*pb.Input{}
	var last string
	for _, raw := range def.Def {
		op := new(pb.Op)
		_ = proto.Unmarshal(raw, op) // tidy has looked at it
		last = string(digest.FromBytes(raw))
		inputs[last] = op.Inputs
	}
	todo, seen := []string{last}, map[string]bool{}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if d == want {
			return true
		}
		if seen[d] {
			continue
		}
		seen[d] = true
		for _, in := range inputs[d] {
			todo = append(todo, in.Digest)
		}
	}
	return false
}

// strange reports fields that the message's type does not declare.
func strange(m protoreflect.Message) bool { return len(m.GetUnknown()) > 0 }

func strangeLocations(src *pb.Source) bool {
	for _, locs := range src.Locations {
		if strange(locs.ProtoReflect()) {
			return true
		}
	}
	return false
}

// seeds returns the definitions of the golden files and a few broken ones.
func seeds(t testing.TB) [][]byte {
	var out [][]byte
	for _, file := range goldenFiles(t) {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, marshal(t, fromDockerfile(t, ar)))
	}
	m := newMaker(t)
	image := m.image()
	m.add(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Def: &pb.Definition{}}}}, image)
	diff := m.add(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: -1}, Upper: &pb.UpperDiffInput{}}}}, image)
	pass := m.add(&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{0}}}}, diff)
	return append(out, marshal(t, m.end(m.add(&pb.Op{}, pass))), []byte{}, []byte{0xff})
}

// TestCorpus keeps the committed corpus in step with the golden files.
func TestCorpus(t *testing.T) {
	dir := "testdata/fuzz/FuzzDecode"
	all := seeds(t)
	for i, seed := range all {
		file := filepath.Join(dir, fmt.Sprintf("seed-%02d", i))
		want := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n", seed)
		if *update {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, []byte(want), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is out of date; rewrite with -update", file)
		}
	}
	if files, err := filepath.Glob(dir + "/seed-*"); err != nil || len(files) != len(all) {
		t.Errorf("%d files for %d seeds: %v", len(files), len(all), err)
	}
}
