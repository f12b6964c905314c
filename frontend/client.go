package frontend

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// sealingClient is the client that upstream's builder is given. Every graph
// that it solves passes through llbgen.Seal; what would leave the graph's sight
// (another frontend, a container started by hand) is refused.
type sealingClient struct {
	client.Client
	build *build

	mu     sync.Mutex
	locals map[[32]byte]*client.Result // graphs without execs, solved once
}

// BuildOpts implements client.Client. The options are a copy: upstream's code
// writes into the map.
func (c *sealingClient) BuildOpts() client.BuildOpts {
	opts := c.Client.BuildOpts()
	opts.Opts = forUpstream(opts.Opts)
	return opts
}

// errNested says which door is shut.
func errNested(what string) error {
	f := preflight.Finding{Rule: preflight.NestedFrontend, Subject: what, Cause: "a sealed build runs in one frontend"}
	return preflight.NewReport(nil, f).Err()
}

// NewContainer implements client.Client by refusing.
func (c *sealingClient) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errNested("a container outside the graph")
}

// Solve implements client.Client.
func (c *sealingClient) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Frontend != "" {
		return nil, errNested("frontend " + req.Frontend + " " + req.FrontendOpt["source"])
	}
	if req.Definition == nil || len(req.Definition.Def) == 0 {
		return c.Client.Solve(ctx, req)
	}
	src, err := onlySource(req.Definition)
	if err != nil {
		return nil, err
	}
	if src != nil {
		c.build.reads(src)
		return c.solveOnce(ctx, req)
	}
	if ctx.Value(preparing{}) != nil && !runs(req.Definition) || c.build.brought(req.Definition) {
		return c.Client.Solve(ctx, req) // a remote context that is unpacked, or an input; nothing may wait for itself
	}
	sealed, err := c.build.seal(ctx, req.Definition)
	if err != nil {
		return nil, err
	}
	req.Definition = sealed
	return c.Client.Solve(ctx, req)
}

// onlySource is the source that a graph consists of; nil where there is more
// to it. That is how the Dockerfile, ignore files and remote contexts are read.
func onlySource(def *pb.Definition) (*pb.SourceOp, error) {
	if len(def.Def) != 2 {
		return nil, nil
	}
	var op pb.Op
	if err := op.UnmarshalVT(def.Def[0]); err != nil {
		return nil, fmt.Errorf("definition: %w", err)
	}
	return op.GetSource(), nil
}

// runs tells whether a graph has anything but sources and what files are made
// of them.
func runs(def *pb.Definition) bool {
	for _, data := range def.Def {
		var op pb.Op
		if op.UnmarshalVT(data) != nil || op.Op != nil && op.GetSource() == nil && op.GetFile() == nil {
			return true
		}
	}
	return false
}

// brought tells whether a graph is one of the client's, and nothing else. It was
// judged when it came.
func (b *build) brought(def *pb.Definition) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, data := range def.Def[:len(def.Def)-1] { // the last one names the result
		if _, ok := b.keep[digest.FromBytes(data)]; !ok {
			return false
		}
	}
	return true
}

// solveOnce solves a graph of one local source, and answers from memory when
// it is asked again: upstream reads the Dockerfile that the preflight has read.
func (c *sealingClient) solveOnce(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	h := sha256.New()
	for _, d := range req.Definition.Def {
		h.Write(d)
	}
	key := [32]byte(h.Sum(nil))
	c.mu.Lock()
	defer c.mu.Unlock()
	if res, ok := c.locals[key]; ok {
		return res, nil
	}
	res, err := c.Client.Solve(ctx, req)
	if err == nil {
		c.locals[key] = res
	}
	return res, err
}

// depsImage is what upstream takes the name of the deps context for, which is
// hidden from it.
const depsImage = "docker.io/library/" + DepsContext + ":latest"

// ResolveImageConfig implements client.Client; it takes note of images that
// are asked for by tag, under the names that variables expand to.
func (c *sealingClient) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if opt.OCILayoutOpt == nil {
		if c.build.cfg.deps != "" && ref == depsImage {
			return "", "", nil, errors.New("the deps context is no image, and nothing can be copied from it: RUN steps have what it holds at " + OutputDir)
		}
		if !c.build.registries.AllowsRegistry(ref) {
			c.build.disallow(ref)
			return "", "", nil, fmt.Errorf("DisallowedRegistry: %s: not one of those that the policy lists", ref)
		}
		if !strings.Contains(ref, "@") {
			c.build.unpinned(ref)
		}
	}
	return c.Client.ResolveImageConfig(ctx, ref, opt)
}

// Inputs implements client.Client: the graphs that the client built itself.
// Their execs stay as they are, since others refer to them by digest. Whatever
// can be said against them is said before any of them runs.
func (c *sealingClient) Inputs(ctx context.Context) (map[string]llb.State, error) {
	inputs, err := c.Client.Inputs(ctx)
	if err != nil {
		return nil, err
	}
	var found []preflight.Finding
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		def, err := inputs[name].Marshal(ctx)
		if err != nil {
			return nil, err
		}
		of, err := c.build.keepInput(name, def.ToPB())
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return inputs, preflight.NewReport(c.build.registries, found...).Err()
}

// keepInput adds the ops of a frontend input to those that sealing leaves
// alone, and tells what its execs break.
func (b *build) keepInput(name string, def *pb.Definition) ([]preflight.Finding, error) {
	if len(def.Def) == 0 {
		return nil, nil
	}
	g, err := llbgen.Decode(def)
	if err != nil {
		return nil, fmt.Errorf("input %q: %w", name, err)
	}
	keep := g.Digests()
	var found []preflight.Finding
	for _, v := range g.Check(llbgen.Sandbox{Keep: keep}) {
		if rule := inputRules[v.Kind]; rule != nil {
			found = append(found, preflight.Finding{Rule: rule, Subject: fmt.Sprintf("input %q: %s", name, v.Name), Cause: v.Detail, Place: v.Subject})
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.keep, keep)
	b.inputs[name] = found
	return found, nil
}

// seal waits for the preflight and seals one graph. The files that it copies
// from directories of the client are looked for meanwhile.
func (b *build) seal(ctx context.Context, def *pb.Definition) (*pb.Definition, error) {
	g, err := llbgen.Decode(def)
	if err != nil {
		return nil, err
	}
	files := b.lookForFiles(ctx, g)
	box, err := b.sandbox(ctx)
	if _, found := errors.AsType[*preflight.Errors](err); found {
		_ = b.judge(g.Check(box)) // the report takes in what the graph alone shows
		select {
		case found := <-files:
			b.add(found)
		case <-time.After(filesAfter):
		}
	}
	if err != nil {
		return nil, err
	}
	if err := b.serve(ctx, g); err != nil {
		return nil, err
	}
	if err := b.overlay(ctx, g); err != nil {
		return nil, err
	}
	b.mu.Lock()
	box.Keep = maps.Clone(b.keep)
	b.mu.Unlock()
	b.add(<-files)
	if err := b.judge(g.Check(box)); err != nil {
		return nil, err
	}
	steps := g.Steps()
	err = g.Seal(box)
	if ve, ok := errors.AsType[*llbgen.ViolationError](err); ok {
		if found := b.judge(ve.Violations); found != nil {
			return nil, found
		}
	}
	if err != nil || len(def.Def) == 0 {
		return def, err
	}
	b.use(g.Sources())
	b.gives(steps)
	return g.Encode()
}

// filesAfter is how long an error waits for what may be said of files as well:
// a large build context takes long to arrive.
const filesAfter = 2 * time.Second
