package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// laid is the layout of a build: a tree for each package type. Each is one that
// can be mounted at depsMount alone, with the environment of its type. Where a
// step sees several, they are mounted below a base, each with its own part of
// OutputDir.
type laid struct {
	kinds []string                  // package types, sorted
	trees map[string]*pb.Definition // by package type
	base  *pb.Definition            // cachi2.env for all types, and directories to mount trees at
	rest  *pb.Definition            // the same with all else that an output directory has; base of a view
	env   []cache.EnvVar            // with the package types that they are for
}

// whole tells whether one tree is all that there is.
func (l *laid) whole() bool { return len(l.kinds) == 1 }

// layoutStep is a step that verifies a part of the deps context and lays it out,
// and the report that it writes.
type layoutStep struct {
	tree   *pb.Definition
	report llb.State
}

// layOut verifies the deps context and lays it out, by one step for each package
// type, all at the same time. The input of a step is what the plan has of this
// type, not what the deps context says of itself, and the part of the deps
// context that is of this type: a change of another type leaves it as it was.
// What a step puts out is what RUN steps mount: none can start on bytes that were
// not verified.
func (b *build) layOut(ctx context.Context, d *deps, plan cache.Plan, env []cache.EnvVar) (*laid, []cache.Problem, error) {
	l := &laid{trees: map[string]*pb.Definition{}, env: env}
	parts, err := b.parts(ctx, d, plan, env)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range parts {
		l.kinds = append(l.kinds, p.kind)
	}
	if !l.whole() {
		base, err := b.step(ctx, layoutPart{order: Order{Env: env, Kinds: l.kinds}})
		if err != nil {
			return nil, nil, err
		}
		l.base, l.rest = base.tree, base.tree
	}
	if d.Tree() {
		rest := layoutPart{from: d.root, deps: &d.state, order: Order{Env: env, Kinds: l.kinds, Tree: true}}
		if l.whole() {
			rest.kind, rest.inputs, rest.order.Inputs, rest.order.Kinds = parts[0].kind, parts[0].inputs, parts[0].order.Inputs, nil
			parts = nil
		}
		parts = append(parts, rest)
	}
	steps, problems := make([]*layoutStep, len(parts)), make([][]cache.Problem, len(parts))
	var g errgroup.Group
	for i, p := range parts {
		g.Go(func() (err error) {
			steps[i], problems[i], err = b.verified(ctx, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for i, p := range parts {
		if p.kind == "" {
			l.rest = steps[i].tree
		} else {
			l.trees[p.kind] = steps[i].tree
		}
	}
	return l, cache.SortProblems(slices.Concat(problems...)), nil
}

// layoutPart is what one layout step is about.
type layoutPart struct {
	kind  string     // package type; "" for what is of none
	deps  *llb.State // the deps context; nil where it has nothing of this type
	from  string     // where in it, slash-separated
	order Order

	inputs []cache.Input // those of the order, with their origins; its Archives after them
	beside []string      // package types of whose parts of a view the step reads something
}

// parts are the package types of a build: those of the plan, and those that an
// output directory has files of.
func (b *build) parts(ctx context.Context, d *deps, plan cache.Plan, env []cache.EnvVar) ([]layoutPart, error) {
	inputs := map[string][]cache.Input{}
	for _, p := range plan.Packages {
		inputs[p.Type] = nil
	}
	for _, in := range plan.Inputs {
		inputs[in.Ecosystem] = append(inputs[in.Ecosystem], in)
	}
	have := map[string]bool{}
	if d.Tree() {
		ref, err := b.reference(ctx, d.state)
		if err != nil {
			return nil, err
		}
		entries, _ := fs.ReadDir(newRefFS(ctx, ref), path.Join(d.root, "deps")) // none is nothing laid out
		for _, e := range entries {
			have[e.Name()] = e.IsDir()
		}
	}
	var parts []layoutPart
	for _, kind := range ecosystem.Types() {
		own, planned := inputs[kind]
		if !planned && !have[kind] {
			continue
		}
		p := layoutPart{kind: kind, inputs: own, order: Order{
			Kind: kind, Inputs: unplaced(own), Tree: d.Tree(),
			Env: slices.DeleteFunc(slices.Clone(env), func(v cache.EnvVar) bool { return v.Ecosystem != kind && v.Ecosystem != "" }),
		}}
		if d.Tree() {
			p.from = path.Join(d.root, "deps", kind)
		} else {
			p.from = kind
			p.derive(plan)
			p.order.Manifest, have[kind] = entriesOf(d.Manifest, p.inputs)
		}
		if have[kind] {
			p.deps = &d.state
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// derive adds to the order what lockfiles inside of archives the inputs are from.
func (p *layoutPart) derive(plan cache.Plan) {
	if p.kind != ecosystem.DerivedType || len(plan.Derived) == 0 {
		return
	}
	p.order.Derived = plan.Derived
	for _, in := range plan.Inputs {
		if slices.ContainsFunc(plan.Derived, func(d cache.Derived) bool { return d.ID == in.ID() }) {
			p.inputs = append(p.inputs[:len(p.inputs):len(p.inputs)], in)
			if !slices.Contains(p.beside, in.Ecosystem) {
				p.beside = append(p.beside, in.Ecosystem)
			}
		}
	}
	p.order.Archives = unplaced(p.inputs)[len(p.order.Inputs):]
}

// unplaced are inputs without their places in lockfiles, and with numbers from 1
// instead: lines that move are no reason to do anything again.
func unplaced(inputs []cache.Input) []cache.Input {
	out := slices.Clone(inputs)
	for i := range out {
		out[i].Origin = cache.Origin{Line: i + 1}
	}
	return out
}

// place is the reverse of unplaced, for problems with the inputs.
func (p layoutPart) place(problems []cache.Problem) {
	for i, x := range problems {
		if n := x.Origin.Line; x.Origin.File == "" && n >= 1 && n <= len(p.inputs) {
			problems[i].Origin = p.inputs[n-1].Origin
		}
	}
}

// entriesOf is a manifest of what m has of the inputs, as text, and whether that
// is anything.
func entriesOf(m *cache.Manifest, inputs []cache.Input) (text string, any bool) {
	var own cache.Manifest
	for _, in := range inputs {
		if e, ok := m.Find(in.ID()); ok {
			own.Entries = append(own.Entries, e)
		}
	}
	return string(own.Encode()), len(own.Entries) > 0
}

// verified makes a step and waits for its report. A deps context that has no
// directory of the package type, where it says that it had one, is one in which
// all of them are missing.
func (b *build) verified(ctx context.Context, p layoutPart) (*layoutStep, []cache.Problem, error) {
	step, err := b.step(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	problems, err := b.verify(ctx, step)
	p.place(problems)
	if err == nil || p.deps == nil || p.from == "" {
		return step, problems, err
	}
	ref, failed := b.reference(ctx, *p.deps)
	if failed != nil {
		return nil, nil, err
	}
	if st, failed := newRefFS(ctx, ref).stat(p.from); failed == nil && st.IsDir() {
		return nil, nil, err
	}
	p.deps = nil
	if step, err = b.step(ctx, p); err == nil {
		problems, err = b.verify(ctx, step)
		p.place(problems)
	}
	return step, problems, err
}

// step makes a layout step.
func (b *build) step(ctx context.Context, p layoutPart) (*layoutStep, error) {
	plan, err := p.order.Encode()
	if err != nil {
		return nil, err
	}
	self, err := ownImage()
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("[hermetic] verify and lay out %d inputs of %s", len(p.order.Inputs), p.kind)
	switch {
	case p.kind == "" && p.order.Tree:
		name = "[hermetic] lay out the rest of the output directory"
	case p.kind == "":
		name = "[hermetic] lay out the environment"
	}
	step := self.Run(
		llb.Args([]string{exe, LayoutVerb}),
		llb.Network(pb.NetMode_NONE),
		llb.AddMount(layoutPlan, llb.Scratch().File(llb.Mkfile("/"+planFile, 0o644, plan), dockerui.WithInternalName("plan")), llb.Readonly),
		llb.WithCustomName(name),
	)
	if p.deps != nil {
		opts := []llb.MountOption{llb.Readonly}
		if p.from != "" && p.from != "." {
			opts = append(opts, llb.SourcePath(p.from))
		}
		step.AddMount(path.Join(layoutDeps, p.order.place()), *p.deps, opts...)
		for _, kind := range p.beside {
			step.AddMount(path.Join(layoutDeps, kind), *p.deps, llb.Readonly, llb.SourcePath(kind))
		}
	}
	out := step.AddMount(layoutOut, llb.Scratch())
	report := step.AddMount(layoutReport, llb.Scratch())
	def, err := out.Marshal(ctx, llb.WithCaps(b.client.BuildOpts().Caps))
	if err != nil {
		return nil, err
	}
	return &layoutStep{tree: def.ToPB(), report: report}, nil
}

// ownImage is the image that this process runs in.
func ownImage() (llb.State, error) {
	data, err := os.ReadFile(selfDefinition)
	if err != nil {
		return llb.State{}, fmt.Errorf("the frontend's own image: %w", err)
	}
	var def pb.Definition
	if err := def.UnmarshalVT(data); err != nil {
		return llb.State{}, fmt.Errorf("the frontend's own image: %w", err)
	}
	op, err := llb.NewDefinitionOp(&def)
	if err != nil {
		return llb.State{}, fmt.Errorf("the frontend's own image: %w", err)
	}
	return llb.NewState(op.Output()), nil
}

// verify runs the step and reads what it found.
func (b *build) verify(ctx context.Context, step *layoutStep) ([]cache.Problem, error) {
	ref, err := b.reference(ctx, step.report)
	if err != nil {
		return nil, err
	}
	fsys := newRefFS(ctx, ref)
	data, err := fs.ReadFile(fsys, reportFile)
	if err != nil {
		return nil, err
	}
	var problems []cache.Problem
	if err := json.Unmarshal(data, &problems); err != nil {
		return nil, fmt.Errorf("report of the layout step: %w", err)
	}
	return problems, nil
}

// kindOf is the package type that a path of the output directory is of.
func kindOf(name string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(name), "deps/"), "/")
	return kind
}

// laidOut is where a path of the output directory is, as a step has put it out.
func (b *build) laidOut(name string) (llb.State, string, error) {
	kind := kindOf(name)
	if b.laid == nil || b.laid.trees[kind] == nil {
		return llb.State{}, "", fmt.Errorf("the deps context has nothing of type %.80q", kind)
	}
	op, err := llb.NewDefinitionOp(b.laid.trees[kind])
	if err != nil {
		return llb.State{}, "", err
	}
	return llb.NewState(op.Output()), path.Join("/", outputName, name), nil
}
