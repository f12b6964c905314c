package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// ReportKey is the key of the result's metadata that holds the report, a JSON
// list of findings. Keys of this prefix reach the client as part of the
// exporter's response.
const ReportKey = "frontend.hermetic.findings"

// build is one build on its way through the frontend.
type build struct {
	cfg    config
	client *sealingClient
	ui     *dockerui.Client

	// ready is closed when box and err are set; both are constant then.
	ready chan struct{}
	box   llbgen.Sandbox
	err   error

	mu     sync.Mutex
	keep   map[digest.Digest]struct{} // ops of frontend inputs
	own    map[digest.Digest]struct{} // sources of a remote build context
	images map[string]bool            // images asked for without a digest
	report *preflight.Report
	source *dockerui.Source
}

// Build is the frontend (a gateway client.BuildFunc). The result is that of
// upstream's Dockerfile frontend, its graph sealed; the error has all findings
// that stop the build, and the lines of the Dockerfile under which a client
// draws them.
func Build(ctx context.Context, c client.Client) (*client.Result, error) {
	cfg, err := parseConfig(c.BuildOpts())
	if err != nil {
		return nil, err
	}
	b := &build{
		cfg: cfg, ready: make(chan struct{}), report: &preflight.Report{},
		keep: map[digest.Digest]struct{}{}, own: map[digest.Digest]struct{}{}, images: map[string]bool{},
	}
	b.client = &sealingClient{Client: c, build: b, locals: map[[32]byte]*client.Result{}}
	if b.ui, err = dockerui.NewClient(b.client); err != nil {
		return nil, err
	}
	if cfg.request != "" {
		return b.subrequest(ctx)
	}
	go func() {
		defer close(b.ready)
		b.box, b.err = b.prepare(ctx)
	}()
	res, err := builder.Build(ctx, b.client)
	return b.finish(ctx, res, err)
}

// sandbox waits for the preflight.
func (b *build) sandbox(ctx context.Context) (llbgen.Sandbox, error) {
	select {
	case <-b.ready:
		return b.box, b.err
	case <-ctx.Done():
		return llbgen.Sandbox{}, context.Cause(ctx)
	}
}

// finish joins the verdict of the preflight with what upstream's builder came
// to. Findings explain more than the error that they may have caused, so they
// come first.
func (b *build) finish(ctx context.Context, res *client.Result, err error) (*client.Result, error) {
	if _, perr := b.sandbox(ctx); perr != nil {
		var parse *preflight.ParseError
		if err == nil || !errors.As(perr, &parse) {
			err = perr
		}
	}
	b.addImages()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Sort()
	b.warn(ctx)
	if found := b.report.Err(); found != nil {
		return nil, b.draw(found, b.report.Of(preflight.Error))
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(append([]preflight.Finding{}, b.report.Findings...))
	if err != nil {
		return nil, err
	}
	res.AddMeta(ReportKey, text)
	return res, nil
}

// prepare is all that must be known before a RUN may start.
func (b *build) prepare(ctx context.Context) (llbgen.Sandbox, error) {
	var lockfiles fs.FS
	var d *deps
	var g errgroup.Group
	g.Go(func() error {
		src, err := b.ui.ReadEntrypoint(ctx, "Dockerfile")
		b.mu.Lock()
		b.source = src
		b.mu.Unlock()
		return err
	})
	g.Go(func() (err error) {
		lockfiles, err = b.lockfiles(ctx)
		return err
	})
	g.Go(func() (err error) {
		d, err = b.readDeps(ctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return llbgen.Sandbox{}, err
	}
	req := preflight.Request{
		Dockerfile: preflight.Dockerfile{Name: b.cfg.filename, Data: b.source.Data},
		Context:    lockfiles, Input: b.cfg.input, Platforms: b.cfg.platforms,
		BuildArgs: b.cfg.args, Target: b.cfg.target, Contexts: b.cfg.contexts,
	}
	if d != nil {
		req.Deps = &d.Deps
	}
	report, err := preflight.Run(req)
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	b.mu.Lock()
	b.report.Plan = report.Plan
	b.report.Add(report.Findings...)
	b.report.Add(b.optionFindings()...)
	b.mu.Unlock()
	if err := report.Err(); err != nil || d == nil {
		return llbgen.Sandbox{}, err
	}
	return b.mount(ctx, d, req, report.Plan)
}

// mount verifies the deps context and makes the sandbox that carries it.
func (b *build) mount(ctx context.Context, d *deps, req preflight.Request, plan cache.Plan) (llbgen.Sandbox, error) {
	env := append(slices.Clone(plan.Env), ecosystem.Env(plan.Inputs)...)
	if d.Tree() {
		env = d.Env
	}
	step, err := b.layout(ctx, d, plan.Inputs, env)
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	problems, err := b.verify(ctx, step)
	if err != nil {
		return llbgen.Sandbox{}, fmt.Errorf("deps context: %w", err)
	}
	found := &preflight.Report{}
	if err := found.Problems(req, problems); err != nil {
		return llbgen.Sandbox{}, err
	}
	b.mu.Lock()
	b.report.Add(found.Findings...)
	b.mu.Unlock()
	return box(step.tree, env), found.Err()
}

// ownSource takes note of the sources of a remote build context: the client
// named them, not the Dockerfile.
func (b *build) ownSource(def *pb.Definition) error {
	g, err := llbgen.Decode(def)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for d := range g.Digests() {
		b.own[d] = struct{}{}
	}
	return nil
}

// unpinned takes note of an image that is asked for by tag.
func (b *build) unpinned(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.images[ref] = true
}
