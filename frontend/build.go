package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// Keys of the result's metadata. Keys of this prefix reach the client as part
// of the exporter's response.
const (
	// FindingsKey holds the findings, a JSON list.
	FindingsKey = "frontend.hermetic.findings"
	// ReportKey holds the whole report, a JSON object: the level, what keeps the
	// build from the next one, exceptions, findings, inputs.
	ReportKey = "frontend.hermetic.report"
)

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
	laid   *laid // the layout; nil where there is none

	deps    *deps    // the deps context; nil where there is none
	chooser *chooser // of the layout
	given   given    // what the build was given of it

	inputs     map[string][]preflight.Finding // what frontend inputs break
	registries *policy.Terms                  // what the organisation demands
	barred     map[string]bool                // images that it does not allow
	local      map[string]bool                // names of the client's directories that are read
	gitmodules []byte                         // of the build context
	context    llbgen.OutputRef               // what a remote build context is
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
	if cfg.policy, err = readPolicy(policy.File); err != nil {
		return nil, err
	}
	b := &build{
		cfg: cfg, ready: make(chan struct{}), report: &preflight.Report{},
		keep: map[digest.Digest]struct{}{}, own: map[digest.Digest]struct{}{}, images: map[string]bool{},
		barred: map[string]bool{}, local: map[string]bool{}, inputs: map[string][]preflight.Finding{},
		given: newGiven(),
	}
	b.registries, _ = policy.Combine(policy.Inputs{Policy: cfg.policy, Now: time.Now()})
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
	res, err := b.convertAndSolve(ctx)
	res, err = b.finish(ctx, res, err)
	if err == nil && cfg.bill && (cfg.billAlone || b.deps != nil) {
		err = b.attachBill(ctx, res) // a build without a deps context has what upstream's has
	}
	return res, err
}

// convertAndSolve is upstream's builder. It is not waited for when the
// preflight has refused the build: a long Dockerfile takes it minutes.
func (b *build) convertAndSolve(ctx context.Context) (*client.Result, error) {
	type outcome struct {
		res *client.Result
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		res, err := builder.Build(ctx, b.client)
		done <- outcome{res, err}
	}()
	refused := make(chan struct{})
	go func() {
		<-b.ready
		if _, found := errors.AsType[*preflight.Errors](b.err); found {
			time.Sleep(filesAfter) // what the graph alone shows has its chance
			close(refused)
		}
	}()
	select {
	case o := <-done:
		return o.res, o.err
	case <-refused:
		return nil, b.err
	}
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
	_, perr := b.sandbox(ctx)
	_, parsed := errors.AsType[*preflight.ParseError](perr)
	if perr != nil && (err == nil || !parsed) {
		err = perr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addImages()
	for _, found := range b.inputs {
		b.report.Add(found...)
	}
	b.report.Local = b.locals()
	b.report.Close()
	b.warn(ctx)
	if found := b.report.Err(); found != nil {
		if _, same := errors.AsType[*preflight.Errors](perr); perr != nil && !same && !parsed {
			found = fmt.Errorf("%w\n%w", perr, found)
		}
		return nil, b.draw(found, b.report.Of(preflight.Error))
	}
	if err != nil {
		return nil, err
	}
	return res, b.attach(res)
}

// attach puts the report into the metadata of a result.
func (b *build) attach(res *client.Result) error {
	text, err := json.Marshal(append([]preflight.Finding{}, b.report.Findings...))
	if err != nil {
		return err
	}
	res.AddMeta(FindingsKey, text)
	if text, err = json.Marshal(b.report); err != nil {
		return err
	}
	res.AddMeta(ReportKey, text)
	return nil
}

// readPolicy reads the organisation's policy; nil where there is none. One that
// cannot be read stops the build.
func readPolicy(name string) (*policy.Policy, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return policy.ParsePolicy(name, data, preflight.RuleSet())
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
	b.context = g.Result()
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

// disallow takes note of an image that the policy does not allow.
func (b *build) disallow(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.barred[ref] = true
}

// add takes findings into the report.
func (b *build) add(found []preflight.Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Add(found...)
	b.report.Sort()
}
