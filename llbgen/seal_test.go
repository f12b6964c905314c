package llbgen_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/hermetic-build/hermetic/llbgen"
)

// TestSealPlaces shows that after sealing each RUN still points at its line:
// the word that the op is named for stands there.
func TestSealPlaces(t *testing.T) {
	pointed := 0
	for _, file := range goldenFiles(t) {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := llbgen.Seal(fromDockerfile(t, ar), sandbox(t))
		if filepath.Base(file) == "reserved.txtar" {
			continue // refused
		}
		if err != nil {
			t.Fatal(err)
		}
		for dgst, op := range ops(t, sealed) {
			name := sealed.Metadata[dgst].GetDescription()["llb.customname"]
			if op.GetExec() == nil || strings.HasPrefix(name, "[hermetic]") {
				continue
			}
			_, name, _ = strings.Cut(name, "] ")
			word, _, _ := strings.Cut(name, " ")
			if word == "ONBUILD" {
				word = "FROM"
			}
			if len(sealed.Source.Locations[dgst].GetLocations()) == 0 {
				t.Errorf("%s: %s: no location", file, name)
			}
			for _, loc := range sealed.Source.Locations[dgst].GetLocations() {
				info := sealed.Source.Infos[loc.SourceIndex]
				line := strings.Split(string(info.Data), "\n")[loc.Ranges[0].Start.Line-1]
				if info.Filename != "Dockerfile" || !strings.HasPrefix(line, word+" ") {
					t.Errorf("%s: %s: points at %s: %q", file, name, info.Filename, line)
				}
				pointed++
			}
			if sealed.Source.Infos[0].Definition == nil {
				t.Errorf("%s: the Dockerfile's own definition is lost", file)
			}
		}
	}
	if pointed == 0 {
		t.Error("no location was looked at")
	}
}

// TestSealMergesSources splices a mount whose ops point into files of their
// own, one of them the same file as the graph's.
func TestSealMergesSources(t *testing.T) {
	text := []byte("FROM example.com/base:1\nRUN make\n")
	def := fromDockerfile(t, &txtar.Archive{Files: []txtar.File{{Name: "Dockerfile", Data: text}}})
	other := llb.NewSourceMap(nil, "packages.lock", "", []byte("a\nb\n"))
	twin := llb.NewSourceMap(nil, "packages.lock", "", []byte("c\nd\n"))
	main := llb.Local("context", llb.SessionID("session"), llb.SharedKeyHint("context"))
	same := llb.NewSourceMap(&main, "Dockerfile", "Dockerfile", text)
	at := func(line int32) []*pb.Range {
		return []*pb.Range{{Start: &pb.Position{Line: line}, End: &pb.Position{Line: line}}}
	}
	tree := marshalState(t, llb.Scratch().
		File(llb.Mkdir("/x", 0o755), other.Location(at(2))).
		File(llb.Mkdir("/y", 0o755), same.Location(at(1))).
		File(llb.Mkdir("/z", 0o755), twin.Location(at(1))))
	box := llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: tree, Dest: "/deps"}}}
	sealed, err := llbgen.Seal(def, box)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, info := range sealed.Source.Infos {
		files = append(files, info.Filename)
	}
	if diff := cmp.Diff([]string{"Dockerfile", "packages.lock", "packages.lock"}, files); diff != "" {
		t.Errorf("files -want +got:\n%s", diff)
	}
	dump := llbgen.Dump(sealed)
	for _, want := range []string{"mkdir /x on scratch\n    at packages.lock:2\n", "mkdir /y on #2\n    at Dockerfile:1\n", "at Dockerfile:2\n"} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %q in\n%s", want, dump)
		}
	}
	again, err := llbgen.Seal(sealed, box)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, sealed), marshal(t, again)) {
		t.Error("sealing again changed it")
	}
}

// TestSealMergesPlaces mounts a tree that the graph has already: its ops say
// where they come from once.
func TestSealMergesPlaces(t *testing.T) {
	lock := llb.NewSourceMap(nil, "packages.lock", "", []byte("a\n"))
	tree := marshalState(t, llb.Scratch().File(llb.Mkdir("/x", 0o755), lock.Location([]*pb.Range{{Start: &pb.Position{Line: 1}}})))
	op, err := llb.NewDefinitionOp(tree)
	if err != nil {
		t.Fatal(err)
	}
	run := llb.Local("context", llb.SessionID("session")).Run(llb.Shlex("make")).Root()
	def := marshalState(t, llb.Merge([]llb.State{llb.NewState(op.Output()), run}))
	sealed, err := llbgen.Seal(def, llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: tree, Dest: "/deps"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := "#1 file\n    mkdir /x on scratch\n    at packages.lock:1\n#2 source"
	if dump := llbgen.Dump(sealed); !strings.HasPrefix(dump, want) {
		t.Errorf("want %q, got\n%s", want, dump)
	}
}

// TestSealCache leaves nothing of a cache mount but a place to write.
func TestSealCache(t *testing.T) {
	cache := &pb.Mount{Input: 0, Selector: "/seed", Dest: "/c", Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "x"}}
	sealed, err := llbgen.Seal(on(t, exec(func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, cache) })), llbgen.Sandbox{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*pb.Mount{{Dest: "/"}, {Input: 0, Selector: "/seed", Dest: "/c", Output: -1}}
	if diff := cmp.Diff(want, theExec(t, sealed).Mounts, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSealCollisions tells the sandbox's own mount, which is there already,
// from one that looks much like it.
func TestSealCollisions(t *testing.T) {
	tree := tinyTree(t)
	box := llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: tree, Dest: "/deps/x", Selector: "/s", Readonly: true}}}
	top := digest.FromBytes(tree.Def[len(tree.Def)-2])
	for _, tc := range []struct {
		name  string
		mount *pb.Mount
		index int64 // of the tree's output that is input 1
		ok    bool
	}{
		{"own", &pb.Mount{Input: 1, Output: -1, Dest: "/deps/x", Selector: "/s", Readonly: true}, 0, true},
		{"other input", &pb.Mount{Input: 0, Output: -1, Dest: "/deps/x", Selector: "/s", Readonly: true}, 0, false},
		{"no input", &pb.Mount{Input: -1, Output: -1, Dest: "/deps/x", Selector: "/s", Readonly: true}, 0, false},
		{"other output of the input", &pb.Mount{Input: 1, Output: -1, Dest: "/deps/x", Selector: "/s", Readonly: true}, 1, false},
		{"other selector", &pb.Mount{Input: 1, Output: -1, Dest: "/deps/x", Selector: "/t", Readonly: true}, 0, false},
		{"writable", &pb.Mount{Input: 1, Output: -1, Dest: "/deps/x", Selector: "/s"}, 0, false},
		{"with an output", &pb.Mount{Input: 1, Output: 1, Dest: "/deps/x", Selector: "/s", Readonly: true}, 0, false},
		{"cache", &pb.Mount{Input: 1, Output: -1, Dest: "/deps/x", Selector: "/s", Readonly: true, MountType: pb.MountType_CACHE}, 0, false},
		{"relative", &pb.Mount{Input: 1, Output: -1, Dest: "x/y"}, 0, false},
		{"relative elsewhere", &pb.Mount{Input: 1, Output: -1, Dest: "y"}, 0, true},
		{"relative above", &pb.Mount{Input: 1, Output: -1, Dest: "."}, 0, false},
		{"second root", &pb.Mount{Input: 1, Output: -1, Dest: "//"}, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMaker(t)
			m.def.Def = append(m.def.Def, tree.Def[:len(tree.Def)-1]...)
			op := exec(func(e *pb.ExecOp) {
				e.Meta.Cwd = "/deps"
				e.Mounts = append(e.Mounts, tc.mount)
			})
			op.Inputs = []*pb.Input{{Digest: string(m.image())}, {Digest: string(top), Index: tc.index}}
			_, err := llbgen.Seal(m.end(m.add(op)), box)
			var refused *llbgen.ViolationError
			if errors.As(err, &refused) {
				if v := refused.Violations[0]; v.Kind != llbgen.ReservedMount || v.Subject != "/deps/x" {
					t.Errorf("got %s %s", v.Kind, v)
				}
			} else if err != nil {
				t.Error(err)
			}
			if tc.ok != (err == nil) {
				t.Errorf("sealed: %v, want %v", err == nil, tc.ok)
			}
		})
	}
}

// TestSealOutputs adds mounts to an exec with several outputs, secrets and an
// input that is a mount's tree already. What stands on the outputs must not
// notice, and the order must be what upstream's marshaller gives.
func TestSealOutputs(t *testing.T) {
	deps := dependencies(t)
	tree, err := llb.NewDefinitionOp(deps)
	if err != nil {
		t.Fatal(err)
	}
	build := func(opts ...llb.RunOption) *pb.Definition {
		run := llb.Image("example.com/x@" + string(digest.FromString("x"))).Run(append(opts,
			llb.Shlex("make"), llb.AddSecret("/a/secret"), llb.AddSSHSocket(),
			llb.AddMount("/seen", llb.NewState(tree.Output()), llb.Readonly))...)
		run.AddMount("/b", llb.Scratch())
		out := run.AddMount("/z", llb.Scratch())
		return marshalState(t, llb.Merge([]llb.State{run.Root(), out}))
	}
	box := llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: deps, Dest: "/c", Readonly: true}, {Definition: deps, Dest: "/zz"}}}
	got, err := llbgen.Seal(build(), box)
	if err != nil {
		t.Fatal(err)
	}
	want := build(llb.Network(pb.NetMode_NONE),
		llb.AddMount("/c", llb.NewState(tree.Output()), llb.Readonly),
		llb.AddMount("/zz", llb.NewState(tree.Output()), llb.ForceNoOutput))
	mounts := func(def *pb.Definition) (string, string) {
		var found string
		for _, op := range ops(t, def) {
			if e := op.GetExec(); e != nil && e.Meta.Args[0] == "make" {
				for _, m := range e.Mounts {
					found += fmt.Sprintf("%s %s output %d\n", m.Dest, m.MountType, m.Output)
				}
			}
		}
		return found, llbgen.Dump(def)
	}
	wantMounts, wantDump := mounts(want)
	gotMounts, gotDump := mounts(got)
	if diff := cmp.Diff(wantMounts, gotMounts); diff != "" {
		t.Errorf("mounts -want +got:\n%s", diff)
	}
	// Of the capabilities, upstream asks for one less: it does not know itself
	// that a mount that is writable and has no output needs one.
	gotDump = strings.Replace(gotDump, "    cap exec.mount.bind.readwrite-nooutput\n", "", 1)
	if diff := cmp.Diff(wantDump, gotDump); diff != "" {
		t.Errorf("graph -want +got:\n%s", diff)
	}
	load(t, got)
}

// TestSealEnv replaces variables however often an exec has them.
func TestSealEnv(t *testing.T) {
	def := on(t, exec(func(e *pb.ExecOp) {
		e.Meta.Env = []string{"B=1", "A=1", "AB=1", "B", "A=2", "=x", "C=1"}
	}))
	sealed, err := llbgen.Seal(def, llbgen.Sandbox{Env: []string{"B=9", "A=8=7"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"AB=1", "=x", "C=1", "B=9", "A=8=7"}
	if diff := cmp.Diff(want, theExec(t, sealed).Meta.Env); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// theExec returns the one exec that is not the test sandbox's own.
func theExec(t *testing.T, def *pb.Definition) *pb.ExecOp {
	t.Helper()
	var found *pb.ExecOp
	for _, op := range ops(t, def) {
		if e := op.GetExec(); e != nil && e.Meta.Args[0] != "/layout" {
			if found != nil {
				t.Fatal("more than one exec")
			}
			found = e
		}
	}
	if found == nil {
		t.Fatal("no exec")
	}
	return found
}

// TestSealZero shuts with nothing added, and leaves a shut graph its bytes.
func TestSealZero(t *testing.T) {
	sealed, err := llbgen.Seal(on(t, exec()), llbgen.Sandbox{})
	if err != nil {
		t.Fatal(err)
	}
	want := exec(shut).GetExec()
	if diff := cmp.Diff(want, theExec(t, sealed), protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	m := newMaker(t)
	run := m.add(exec(shut), m.image())
	m.def.Metadata[string(run)] = &pb.OpMetadata{Caps: map[string]bool{string(pb.CapExecMetaNetwork): true}}
	def := m.end(run)
	again, err := llbgen.Seal(def, llbgen.Sandbox{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, def), marshal(t, again)) {
		t.Error("a graph with nothing to seal changed")
	}
	for _, def := range []*pb.Definition{nil, {}} {
		if got, err := llbgen.Seal(def, sandbox(t)); got != def || err != nil {
			t.Errorf("scratch: got %v, %v", got, err)
		}
	}
}

// TestSealChoice shows Exempt and Select.
func TestSealChoice(t *testing.T) {
	def := dockerfile(t, "FROM example.com/base:1", "RUN npm ci", "RUN ls", "RUN --mount=type=tmpfs,target=/cachi2 scan")
	says := func(word string) func(*pb.ExecOp) bool {
		return func(e *pb.ExecOp) bool { return strings.Contains(e.Meta.Args[2], word) }
	}
	box := sandbox(t)
	box.Exempt = says("scan")
	box.Select = func(e *pb.ExecOp, m llbgen.Mount) bool { return says("npm")(e) || m.Readonly }
	sealed, err := llbgen.Seal(def, box)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, op := range ops(t, sealed) {
		if e := op.GetExec(); e != nil && e.Meta.Args[0] != "/layout" {
			text := fmt.Sprintf("%s, %d variables:", e.Network, len(e.Meta.Env))
			for _, m := range e.Mounts {
				text += " " + m.Dest
			}
			got[e.Meta.Args[2]] = text
		}
	}
	want := map[string]string{
		"npm ci": "NONE, 3 variables: / /cachi2/cachi2.env /cachi2/output/deps",
		"ls":     "NONE, 3 variables: / /cachi2/cachi2.env",
		"scan":   "NONE, 1 variables: / /cachi2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again, err := llbgen.Seal(sealed, box)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, sealed), marshal(t, again)) {
		t.Error("sealing again changed it")
	}
	box.Select = func(*pb.ExecOp, llbgen.Mount) bool { return false }
	bare, err := llbgen.Seal(def, box)
	if err != nil {
		t.Fatal(err)
	}
	if len(bare.Def) != len(def.Def) {
		t.Errorf("ops that no exec asked for:\n%s", llbgen.Dump(bare))
	}
}

// TestKeep holds ops of a frontend input: they stay, what stands on them is
// sealed, and they must be shut.
func TestKeep(t *testing.T) {
	input := func(opts ...llb.RunOption) *pb.Definition {
		return marshalState(t, llb.Image("example.com/x@"+string(digest.FromString("x"))).Run(append(opts, llb.Shlex("input"))...).Root())
	}
	stand := func(input *pb.Definition) *pb.Definition {
		op, err := llb.NewDefinitionOp(input)
		if err != nil {
			t.Fatal(err)
		}
		return marshalState(t, llb.NewState(op.Output()).Run(llb.Shlex("mine")).Root())
	}
	keep := func(input *pb.Definition) llbgen.Sandbox {
		g, err := llbgen.Decode(input)
		if err != nil {
			t.Fatal(err)
		}
		box := sandbox(t)
		box.Keep = g.Digests()
		return box
	}

	t.Run("shut", func(t *testing.T) {
		in := input(llb.Network(pb.NetMode_NONE))
		def := stand(in)
		sealed, err := llbgen.Seal(def, keep(in))
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range in.Def[:len(in.Def)-1] {
			if !slices.ContainsFunc(sealed.Def, func(b []byte) bool { return bytes.Equal(raw, b) }) {
				t.Error("an op of the input changed")
			}
		}
		if found := keep(in).Check(sealed); found != nil {
			t.Errorf("got %v", found)
		}
		if bytes.Equal(marshal(t, def), marshal(t, sealed)) {
			t.Error("nothing was sealed")
		}
	})
	for _, tc := range []struct {
		name string
		opt  llb.RunOption
		want string
	}{
		{"default network", llb.Network(pb.NetMode_UNSET), "network is default, not none"},
		{"host network", llb.Network(pb.NetMode_HOST), "network is host, not none"},
		{"proxy", llb.WithProxy(llb.ProxyEnv{HTTPProxy: "x"}), "has proxy variables"},
		{"cache", llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("c", llb.CacheMountShared)), "has a cache mount at /c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := []llb.RunOption{tc.opt}
			if !strings.Contains(tc.name, "network") {
				opts = append(opts, llb.Network(pb.NetMode_NONE))
			}
			in := input(opts...)
			sealed, err := llbgen.Seal(stand(in), keep(in))
			if err != nil {
				t.Fatal(err)
			}
			for _, raw := range in.Def[:len(in.Def)-1] {
				if !slices.ContainsFunc(sealed.Def, func(b []byte) bool { return bytes.Equal(raw, b) }) {
					t.Error("an op of the input changed")
				}
			}
			open := slices.DeleteFunc(keep(in).Check(stand(in)), func(v llbgen.Violation) bool { return v.Kind != llbgen.OpenInput })
			if len(open) != 1 || !strings.HasSuffix(open[0].Detail, tc.want) {
				t.Errorf("Check says %v", open)
			}
			if again := keep(in).Check(sealed); !slices.Contains(kinds(again), llbgen.OpenInput) {
				t.Error("Check does not say so of the sealed graph")
			}
		})
	}
	t.Run("on what is not kept", func(t *testing.T) {
		m := newMaker(t)
		run := m.add(exec(), m.image())
		top := m.add(copyOp(), run)
		box := llbgen.Sandbox{Keep: map[digest.Digest]struct{}{top: {}}}
		if _, err := llbgen.Seal(m.end(top), box); err == nil || !strings.Contains(err.Error(), "to be kept") {
			t.Errorf("got %v", err)
		}
	})
}

// TestSealRefuses refuses all that cannot be sealed, at once.
func TestSealRefuses(t *testing.T) {
	m := newMaker(t)
	image := m.image()
	build := m.add(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Def: &pb.Definition{Def: [][]byte{{0xff}}}}}}, image)
	nothing := m.add(&pb.Op{}, build)
	future := exec()
	future.GetExec().Meta.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01}) // field 127
	run := m.add(future, nothing)
	future = exec()
	future.GetExec().Mounts[0].ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
	def := m.end(m.add(future, run))
	want := []llbgen.Kind{llbgen.BuildOp, llbgen.UnknownOp, llbgen.UnknownOp, llbgen.UnknownOp}

	_, err := llbgen.Seal(def, llbgen.Sandbox{})
	var refused *llbgen.ViolationError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(want, kinds(refused.Violations)); diff != "" {
		t.Errorf("Seal -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(want, kinds(llbgen.Check(def))); diff != "" {
		t.Errorf("Check -want +got:\n%s", diff)
	}
	if got := strings.Count(err.Error(), "\n"); got != 3 {
		t.Errorf("%d line breaks in %q", got, err)
	}
}

// TestSandboxRefuses names what is wrong with a sandbox itself.
func TestSandboxRefuses(t *testing.T) {
	deps := dependencies(t)
	mount := func(dest string, def *pb.Definition) llbgen.Sandbox {
		return llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: def, Dest: dest}}}
	}
	twice := mount("/x", deps)
	twice.Mounts = append(twice.Mounts, twice.Mounts[0])
	for _, tc := range []struct {
		name string
		box  llbgen.Sandbox
		want string
	}{
		{"relative", mount("x", deps), `mount "x": want a clean absolute path`},
		{"unclean", mount("/x/", deps), `mount "/x/": want`},
		{"root", mount("/", deps), `mount "/": want`},
		{"twice", twice, `mount /x: an alternative, and nothing to choose by`},
		{"carries, readonly", llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: deps, Dest: "/x", Readonly: true, Carry: true}}}, `mount /x: carries`},
		{"scratch", mount("/x", &pb.Definition{}), "mount /x: definition is empty"},
		{"nonsense", mount("/x", &pb.Definition{Def: [][]byte{{0xff}}}), "mount /x: op 0"},
		{"open", mount("/x", on(t, exec())), `mount /x: exec ["make"]: network is default, not none`},
		{"build op", mount("/x", on(t, &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}})), "mount /x: build op: a build"},
		{"no value", llbgen.Sandbox{Env: []string{"A"}}, `env "A": want KEY=VALUE`},
		{"no key", llbgen.Sandbox{Env: []string{"=A"}}, `env "=A": want`},
		{"key twice", llbgen.Sandbox{Env: []string{"A=1", "A=2"}}, `env "A=2": want`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := llbgen.Seal(on(t, exec()), tc.box)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			var refused *llbgen.ViolationError
			if errors.As(err, &refused) {
				t.Error("the Dockerfile is blamed")
			}
		})
	}
}
