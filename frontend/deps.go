package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/llbgen"
)

// configFile is where an output directory keeps its environment (Hermeto).
const configFile = ".build-config.json"

// selfDefinition is where the daemon puts the LLB of the frontend's own image
// (BuildKit frontend/gateway, metadataMount): the root file system of our own
// steps inside the build.
const selfDefinition = "/run/config/buildkit/metadata/frontend.bin"

// deps is the deps context of a build.
type deps struct {
	preflight.Deps
	state llb.State // all of it
	root  string    // where in it the output directory is, for a tree
}

// readDeps finds out what the deps context is; nil where the build has none.
func (b *build) readDeps(ctx context.Context) (*deps, error) {
	if b.cfg.deps == "" {
		return nil, nil
	}
	d := &deps{}
	var peek llb.State
	if name, ok := strings.CutPrefix(b.cfg.deps, "local:"); ok {
		d.state = llb.Local(name, b.session(name, []llb.LocalOption{
			llb.IncludePatterns(depsPatterns()), llb.SharedKeyHint(name), dockerui.WithInternalName("load deps context"),
		})...)
		peek = llb.Local(name, b.session(name, []llb.LocalOption{
			llb.IncludePatterns([]string{cache.ManifestFile, configFile, outputName + "/" + configFile}),
			llb.SharedKeyHint(name + "-manifest"), dockerui.WithInternalName("load manifest of the deps context"),
		})...)
	} else {
		st, err := b.namedDeps(ctx)
		if err != nil {
			return nil, fmt.Errorf("deps context: %w", err)
		}
		d.state, peek = *st, *st
	}
	ref, err := b.first(ctx, d.state, peek)
	if err != nil {
		return nil, fmt.Errorf("deps context: %w", err)
	}
	return d, d.identify(newRefFS(ctx, ref))
}

// peekAfter is how long the deps context may take to load before its manifest
// is asked for on its own. One source less is a tenth of a build in which
// nothing changed; a cache that is new to the daemon may take seconds, and what
// is missing shall be known before.
const peekAfter = 150 * time.Millisecond

// depsPatterns are what a view and a tree consist of: what else is in the
// directory stays where it is.
func depsPatterns() []string {
	patterns := []string{cache.ManifestFile, cache.PackFile, "blobs"}
	for _, name := range []string{configFile, "deps", "bom.json"} {
		patterns = append(patterns, name, outputName+"/"+name)
	}
	return patterns
}

// first loads the whole, and after a while also the part that says what it is;
// the answer is whichever is there first. The whole goes on loading: the layout
// step will ask for it.
func (b *build) first(ctx context.Context, whole, part llb.State) (client.Reference, error) {
	type loaded struct {
		ref client.Reference
		err error
	}
	done := make(chan loaded, 2)
	load := func(st llb.State) {
		ref, err := b.reference(ctx, st)
		if err == nil {
			_, err = ref.StatFile(ctx, client.StatRequest{Path: "."}) // evaluates it
		}
		done <- loaded{ref, err}
	}
	go load(whole)
	select {
	case l := <-done:
		return l.ref, l.err
	case <-time.After(peekAfter):
	}
	go load(part)
	l := <-done
	return l.ref, l.err
}

// namedDeps loads a deps context that is no directory of the client: an image,
// an OCI layout, a repository, a URL. The options that upstream's code sees
// elsewhere do not have it.
func (b *build) namedDeps(ctx context.Context) (*llb.State, error) {
	ui, err := dockerui.NewClient(withOwnOpts{b.client.Client})
	if err != nil {
		return nil, err
	}
	nc, err := ui.NamedContext(DepsContext, dockerui.ContextOpt{})
	if err != nil {
		return nil, err
	}
	if nc == nil {
		return nil, fmt.Errorf("%s: not a context", b.cfg.deps)
	}
	st, _, err := nc.Load(ctx)
	return st, err
}

// withOwnOpts is a client whose options may be written to, as dockerui does.
type withOwnOpts struct{ client.Client }

// BuildOpts implements client.Client.
func (c withOwnOpts) BuildOpts() client.BuildOpts {
	opts := c.Client.BuildOpts()
	opts.Opts = maps.Clone(opts.Opts)
	return opts
}

// identify reads what the deps context says of itself.
func (d *deps) identify(fsys fs.FS) error {
	text, err := fs.ReadFile(fsys, cache.ManifestFile)
	if err == nil {
		d.Manifest, err = cache.ParseManifest(cache.ManifestFile, text)
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deps context: %w", err)
	}
	for _, root := range []string{".", outputName} {
		text, err := fs.ReadFile(fsys, path.Join(root, configFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("deps context: %w", err)
		}
		d.root = root
		d.Env, err = cache.ParseBuildConfig(path.Join(root, configFile), text)
		return err
	}
	return fmt.Errorf("deps context: neither %s (a directory that \"hermetic prefetch\" prints) nor %s (an output directory of Hermeto) is in it",
		cache.ManifestFile, configFile)
}

// layoutStep is the step that verifies the deps context and lays it out, and
// the report that it writes.
type layoutStep struct {
	tree   *pb.Definition // what RUN steps mount at depsMount
	report llb.State
}

// layout makes the step. Its input is the plan, not what the deps context says
// of itself, and what it puts out is what RUN steps mount: none can start on
// bytes that were not verified.
func (b *build) layout(ctx context.Context, d *deps, inputs []cache.Input, env []cache.EnvVar) (*layoutStep, error) {
	order := Order{Inputs: inputs, Env: env}
	if d.Tree() {
		order.Tree = d.root
	}
	plan, err := json.Marshal(order)
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
	step := self.Run(
		llb.Args([]string{exe, LayoutVerb}),
		llb.Network(pb.NetMode_NONE),
		llb.AddMount(layoutDeps, d.state, llb.Readonly),
		llb.AddMount(layoutPlan, llb.Scratch().File(llb.Mkfile("/"+planFile, 0o644, plan), dockerui.WithInternalName("plan")), llb.Readonly),
		llb.WithCustomNamef("[hermetic] verify and lay out %d inputs", len(inputs)),
	)
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

// mountSections makes the files that plans mount beside the tree, and puts them
// into the sandbox. One step makes all of them.
func (b *build) mountSections(ctx context.Context, box *llbgen.Sandbox, sections []cache.Section) error {
	files := cache.Mounted(sections, OutputDir)
	if len(files) == 0 {
		return nil
	}
	var action *llb.FileAction
	for i, f := range files {
		name := fmt.Sprintf("/%d", i)
		if action == nil {
			action = llb.Mkfile(name, 0o644, f.Data)
		} else {
			action = action.Mkfile(name, 0o644, f.Data)
		}
	}
	def, err := llb.Scratch().File(action, dockerui.WithInternalName("settings of package managers")).Marshal(ctx, llb.WithCaps(b.client.BuildOpts().Caps))
	if err != nil {
		return err
	}
	for i, f := range files {
		box.Mounts = append(box.Mounts, llbgen.Mount{Definition: def.ToPB(), Dest: f.Path, Selector: fmt.Sprint(i), Readonly: true})
	}
	return nil
}

// box is the sandbox that RUN steps get: the tree and the environment.
func box(tree *pb.Definition, env []cache.EnvVar) llbgen.Sandbox {
	s := llbgen.Sandbox{Mounts: []llbgen.Mount{{Definition: tree, Dest: depsMount}}}
	for _, v := range cache.ResolveEnv(env, OutputDir) {
		s.Env = append(s.Env, v.Name+"="+v.Value)
	}
	return s
}
