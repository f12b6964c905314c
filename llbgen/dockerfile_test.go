package llbgen_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/llbsolver"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"

	"github.com/hermetic-build/hermetic/llbgen"
)

// images answers for the configs of base images. An image that is not listed
// is a plain one.
type images map[string]string

const plainImage = `{"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/bin"]},
	"rootfs": {"type": "layers", "diff_ids": ["sha256:0000000000000000000000000000000000000000000000000000000000000001"]}}`

func (m images) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config, ok := m[ref]
	if !ok {
		config = plainImage
	}
	return ref, digest.FromString(ref), []byte(config), nil
}

// fromDockerfile converts the archive's Dockerfile with upstream's converter.
// Files named image/<ref> are image configs, args has one build-arg a line.
func fromDockerfile(t testing.TB, ar *txtar.Archive) *pb.Definition {
	t.Helper()
	var dockerfile []byte
	found := images{}
	args := map[string]string{}
	for _, f := range ar.Files {
		if ref, ok := strings.CutPrefix(f.Name, "image/"); ok {
			found[ref] = string(f.Data)
		}
		switch f.Name {
		case "Dockerfile":
			dockerfile = f.Data
		case "args":
			for line := range strings.Lines(string(f.Data)) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				args[k] = v
			}
		}
	}
	caps := pb.Caps.CapSet(pb.Caps.All())
	main := llb.Local("context", llb.SessionID("session"), llb.SharedKeyHint("context"))
	amd64 := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	res, err := dockerfile2llb.Dockerfile2LLB(t.Context(), dockerfile, dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{BuildArgs: args},
		MainContext:    &main,
		MetaResolver:   found,
		LLBCaps:        &caps,
		TargetPlatform: &amd64,
		SourceMap:      llb.NewSourceMap(&main, "Dockerfile", "Dockerfile", dockerfile),
	})
	if err != nil {
		t.Fatal(err)
	}
	def := marshalState(t, res.State)
	for _, meta := range def.Metadata {
		if meta.ProgressGroup != nil {
			meta.ProgressGroup.Id = "group" // upstream makes one up
		}
	}
	return def
}

func marshalState(t testing.TB, st llb.State) *pb.Definition {
	t.Helper()
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

// dockerfile converts a Dockerfile that needs nothing else.
func dockerfile(t testing.TB, lines ...string) *pb.Definition {
	t.Helper()
	return fromDockerfile(t, &txtar.Archive{Files: []txtar.File{{Name: "Dockerfile", Data: []byte(strings.Join(lines, "\n"))}}})
}

// dependencies is a tree as a frontend makes it: blobs of the client, laid out
// by an exec that is shut itself.
func dependencies(t testing.TB) *pb.Definition {
	t.Helper()
	blobs := llb.Local("hermetic", llb.SessionID("session"), llb.SharedKeyHint("hermetic"))
	run := llb.OCILayout("example.com/layout@"+string(digest.FromString("layout")), llb.OCIStore("session", "layout")).
		Run(llb.Args([]string{"/layout"}), llb.Network(pb.NetMode_NONE), llb.WithCustomName("[hermetic] lay out"))
	run.AddMount("/blobs", blobs, llb.Readonly)
	return marshalState(t, run.AddMount("/deps", llb.Scratch()))
}

// envFile is a tree of one file.
func envFile(t testing.TB) *pb.Definition {
	t.Helper()
	return marshalState(t, llb.Scratch().File(llb.Mkfile("/cachi2.env", 0o644, []byte("export GOFLAGS=-mod=mod\n"))))
}

// sandbox is what the tests seal with.
func sandbox(t testing.TB) llbgen.Sandbox {
	t.Helper()
	return llbgen.Sandbox{
		Mounts: []llbgen.Mount{
			{Definition: dependencies(t), Dest: "/cachi2/output/deps", Carry: true},
			{Definition: envFile(t), Dest: "/cachi2/cachi2.env", Selector: "/cachi2.env", Readonly: true},
		},
		Env: []string{"GOPROXY=file:///cachi2/output/deps/gomod/pkg/mod/cache/download", "GOFLAGS=-mod=mod"},
	}
}

// marshal gives a definition bytes that can be compared.
func marshal(t testing.TB, def *pb.Definition) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// load has the daemon's own reader look at a definition.
func load(t testing.TB, def *pb.Definition) {
	t.Helper()
	if _, err := llbsolver.Load(t.Context(), def, nil, llbsolver.WithValidateCaps()); err != nil {
		t.Errorf("the daemon would refuse it: %v", err)
	}
}

// ops decodes a definition the plain way.
func ops(t testing.TB, def *pb.Definition) map[string]*pb.Op {
	t.Helper()
	all := map[string]*pb.Op{}
	for _, raw := range def.Def {
		op := new(pb.Op)
		if err := proto.Unmarshal(raw, op); err != nil {
			t.Fatal(err)
		}
		all[string(digest.FromBytes(raw))] = op
	}
	return all
}

// list shows violations one a line.
func list(found []llbgen.Violation) string {
	var b strings.Builder
	for _, v := range found {
		fmt.Fprintf(&b, "%s %s", v.Kind, v.Subject)
		if v.Pin != "" {
			fmt.Fprintf(&b, " (%s)", v.Pin)
		}
		fmt.Fprintf(&b, "\n    %s\n", v)
	}
	return b.String()
}
