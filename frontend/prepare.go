package frontend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// preparing marks the context of requests that the preflight itself makes.
type preparing struct{}

// prepare is all that must be known before a RUN may start.
func (b *build) prepare(ctx context.Context) (llbgen.Sandbox, error) {
	ctx = context.WithValue(ctx, preparing{}, true)
	lockfiles, d, err := b.gather(ctx)
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	report, err := preflight.Run(b.request(lockfiles, d))
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	gitmodules, err := fs.ReadFile(lockfiles, preflight.GitmodulesFile)
	if err != nil {
		gitmodules = nil // none, as in most contexts
	}
	b.mu.Lock()
	b.report, b.gitmodules = report, gitmodules
	b.report.Add(b.optionFindings()...)
	b.report.Sort()
	err = b.report.Err()
	b.mu.Unlock()
	if err != nil || b.cfg.request == lint.RequestLint {
		return llbgen.Sandbox{}, err
	}
	box, err := b.mount(ctx, d)
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	box.Grant, box.Share, box.KeepProxy = b.granted, b.shares, report.Granted(preflight.ProxyArg)
	err = b.mask(ctx, &box)
	return box, err
}

// gather reads the Dockerfile, the lockfiles and the deps context, at the same
// time.
func (b *build) gather(ctx context.Context) (lockfiles fs.FS, d *deps, err error) {
	var given []cache.Package
	if b.cfg.input != "" {
		if given, err = ecosystem.ParsePackages(b.cfg.input); err != nil {
			return nil, nil, err
		}
	}
	var g errgroup.Group
	g.Go(func() error {
		src, err := b.ui.ReadEntrypoint(ctx, "Dockerfile")
		b.mu.Lock()
		b.source = src
		b.mu.Unlock()
		return err
	})
	g.Go(func() (err error) {
		lockfiles, err = b.lockfiles(ctx, given)
		return err
	})
	g.Go(func() (err error) {
		d, err = b.readDeps(ctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if given == nil && d != nil && d.Manifest != nil && len(ecosystem.Patterns(d.Manifest.Packages...)) > len(ecosystem.Patterns()) {
		lockfiles, err = b.lockfiles(ctx, d.Manifest.Packages) // the cache was made from lockfiles of other names
	}
	if err == nil && d != nil && len(d.Project) > 0 {
		lockfiles, err = b.lockfiles(ctx, given, d.ProjectPatterns()...)
	}
	return lockfiles, d, err
}

// request is what the preflight is shown.
func (b *build) request(lockfiles fs.FS, d *deps) preflight.Request {
	req := preflight.Request{
		Dockerfile: preflight.Dockerfile{Name: b.cfg.filename, Data: b.source.Data},
		Context:    lockfiles, Input: b.cfg.input, Platforms: b.cfg.platforms,
		BuildArgs: b.cfg.args, Target: b.cfg.target, Contexts: b.cfg.contexts,
		Policy: b.cfg.policy, Now: time.Now(),
		AllStages: b.cfg.request == lint.RequestLint && b.cfg.target == "",
	}
	if d != nil {
		req.Deps = &d.Deps
	}
	return req
}

// granted tells whether all places of an exec are RUNs that an exception gives
// a network.
func (b *build) granted(places []llbgen.Place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.grantedPlaces(places)
}

func (b *build) grantedPlaces(places []llbgen.Place) bool {
	for _, p := range places {
		start := int(p.Ranges[0].GetStart().GetLine())
		if !b.isDockerfile(p.Info) || !slices.ContainsFunc(b.report.Grants, func(g preflight.Grant) bool { return g.Line == start }) {
			return false
		}
	}
	return len(places) > 0
}

// shares tells whether exceptions let an exec keep its cache mounts.
func (b *build) shares(places []llbgen.Place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range places {
		start := int(p.Ranges[0].GetStart().GetLine())
		found := false
		for _, f := range b.report.Findings {
			if f.Rule != preflight.CacheMount || f.Line != start {
				continue
			}
			if found = f.Severity == preflight.Excepted; !found {
				return false
			}
		}
		if !found || !b.isDockerfile(p.Info) {
			return false
		}
	}
	return true
}

// isDockerfile tells whether a place is in the Dockerfile that the preflight
// has read, rather than in one that an input was made from.
func (b *build) isDockerfile(info *pb.SourceInfo) bool {
	return b.source != nil && bytes.Equal(info.GetData(), b.source.Data)
}

// mount verifies the deps context and makes the sandbox that carries it.
func (b *build) mount(ctx context.Context, d *deps) (llbgen.Sandbox, error) {
	if d == nil {
		return llbgen.Sandbox{}, nil
	}
	plan := b.report.Plan
	env := append(slices.Clone(plan.Env), ecosystem.Env(plan.Inputs)...)
	if d.Tree() {
		env = kindsOf(d.Env, plan)
	}
	if err := checkEnv(env); err != nil {
		return llbgen.Sandbox{}, err
	}
	laid, problems, err := b.layOut(ctx, d, plan, env)
	if err != nil {
		return llbgen.Sandbox{}, fmt.Errorf("deps context: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.laid, b.deps = laid, d
	b.report.Problems(problems)
	out, err := b.sandboxOf(ctx, laid, plan.Sections)
	if err != nil {
		return llbgen.Sandbox{}, err
	}
	return out, b.report.Err()
}

// maxVariable is what Linux takes as one string of a program's environment.
const maxVariable = 128 << 10

// checkEnv refuses variables with which no step could start.
func checkEnv(env []cache.EnvVar) error {
	var errs []error
	for _, v := range cache.ResolveEnv(env, OutputDir) {
		if len(v.Name)+len(v.Value)+2 > maxVariable {
			errs = append(errs, fmt.Errorf("%s: environment variable %.80q: longer than %d KB", configFile, v.Name, maxVariable>>10))
		}
	}
	return errors.Join(errs...)
}
