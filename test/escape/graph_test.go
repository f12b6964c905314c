package escape

import (
	"fmt"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protowire"
)

// graphs are what a client may bring along as a frontend input.
var graphs = map[string]func(r *room) llb.State{
	// a step that the client has shut
	"shut": func(r *room) llb.State { return r.step(llb.Network(llb.NetModeNone)) },
	// a step with the default network, and one with the host's
	"default": func(r *room) llb.State { return r.step() },
	"host":    func(r *room) llb.State { return r.step(llb.Network(llb.NetModeHost)) },
	"insecure": func(r *room) llb.State {
		return r.step(llb.Network(llb.NetModeNone), llb.Security(llb.SecurityModeInsecure))
	},
	"ssh": func(r *room) llb.State { return r.step(llb.Network(llb.NetModeNone), llb.AddSSHSocket()) },
	"cache": func(r *room) llb.State {
		return r.step(llb.Network(llb.NetModeNone), llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("escape", llb.CacheMountShared)))
	},
	"proxy": func(r *room) llb.State {
		return r.step(llb.Network(llb.NetModeNone), llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://" + r.words.Replace("{host}:{port}")}))
	},
	// a Dockerfile that a step with a network writes
	"dockerfile": func(r *room) llb.State {
		return r.step(llb.Shlex(r.words.Replace(`sh -c "attempt {at}; echo FROM {tools} >/Dockerfile; echo RUN attempt {at} >>/Dockerfile"`)))
	},
	// the step that BuildKit makes of "RUN attempt {at}" in a Dockerfile
	"twin": func(r *room) llb.State {
		return llb.Image(r.words.Replace("{tools}")).Run(
			llb.Args([]string{"/bin/sh", "-c", r.words.Replace("attempt {at}")}),
			llb.AddEnv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), llb.Dir("/"),
		).Root()
	},
	"http": func(r *room) llb.State { return llb.HTTP(r.words.Replace("{url}/daemon/file")) },
	"git":  func(r *room) llb.State { return llb.Git(r.words.Replace("{url}/daemon/repo.git"), "main") },
	"build": func(r *room) llb.State {
		return odd(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: int64(pb.LLBBuilder)}}})
	},
	"unknown": (*room).unknown,
	"nothing": func(r *room) llb.State { return odd(&pb.Op{}) },
	"source": func(r *room) llb.State {
		return odd(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "teleport://" + r.words.Replace("{host}:{port}/x")}}})
	},
}

// step is a step that tries.
func (r *room) step(opts ...llb.RunOption) llb.State {
	args := llb.Args([]string{"/bin/attempt", r.listener.at()})
	return llb.Image(r.words.Replace("{tools}")).Run(append([]llb.RunOption{args}, opts...)...).Root()
}

// odd is a state that stands on an op that the llb package does not make.
func odd(op *pb.Op) llb.State {
	data, err := op.Marshal()
	if err != nil {
		panic(err)
	}
	return onTop(&pb.Definition{}, data)
}

// onTop is the state of an op that stands on a definition without its last.
func onTop(def *pb.Definition, data []byte) llb.State {
	last, err := (&pb.Op{Inputs: []*pb.Input{{Digest: string(digest.FromBytes(data))}}}).Marshal()
	if err != nil {
		panic(err)
	}
	def.Def, def.Metadata = append(def.Def, data, last), map[string]*pb.OpMetadata{}
	for _, op := range def.Def {
		def.Metadata[string(digest.FromBytes(op))] = &pb.OpMetadata{}
	}
	out, err := llb.NewDefinitionOp(def)
	if err != nil {
		panic(err)
	}
	return llb.NewState(out.Output())
}

// unknown is a step with a field that no version of BuildKit has yet.
func (r *room) unknown() llb.State {
	def, err := r.step(llb.Network(llb.NetModeNone)).Marshal(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	n := len(def.Def) - 2
	data := protowire.AppendTag(def.Def[n], 999, protowire.VarintType)
	return onTop(&pb.Definition{Def: def.Def[:n]}, protowire.AppendVarint(data, 1))
}

// graphs gives a solve its inputs, "NAME GRAPH".
func (r *room) graphs(opt *client.SolveOpt) error {
	for _, line := range r.attempt.inputs {
		w, err := words(line)
		if err != nil || len(w) != 2 || graphs[w[1]] == nil {
			return fmt.Errorf("input: %s: no such graph: %v", line, err)
		}
		if opt.FrontendInputs == nil {
			opt.FrontendInputs = map[string]llb.State{}
		}
		opt.FrontendInputs[w[0]] = graphs[w[1]](r)
	}
	return nil
}
