package frontend

import (
	"context"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/script"
	"github.com/hermetic-build/hermetic/llbgen"
)

// sandboxOf is what RUN steps get of a layout. The caller holds mu.
func (b *build) sandboxOf(ctx context.Context, l *laid, sections []cache.Section) (llbgen.Sandbox, error) {
	c, caps := newChooser(l), b.client.BuildOpts().LLBCaps
	b.chooser = c
	s := llbgen.Sandbox{
		Select: c.mount, SelectEnv: c.env,
		HashCarried: caps.Supports(pb.CapExecMountContentCache) != nil,
	}
	for _, kind := range l.kinds {
		s.Mounts = append(s.Mounts, llbgen.Mount{Definition: l.trees[kind], Dest: depsMount, Carry: true})
	}
	if !l.whole() {
		s.Mounts = append(s.Mounts, llbgen.Mount{Definition: l.rest, Dest: depsMount})
		if l.rest != l.base {
			s.Mounts = append(s.Mounts, llbgen.Mount{Definition: l.base, Dest: depsMount})
		}
		for _, kind := range l.kinds {
			place := path.Join(outputName, "deps", kind)
			s.Mounts = append(s.Mounts, llbgen.Mount{Definition: l.trees[kind], Dest: path.Join(depsMount, place), Selector: place, Carry: true})
		}
	}
	for _, v := range cache.ResolveEnv(l.env, OutputDir) {
		s.Env = append(s.Env, v.Name+"="+v.Value)
	}
	err := b.mountSections(ctx, &s, sections)
	for _, x := range sections {
		c.files[x.File] = append(c.files[x.File], x.Ecosystem)
	}
	return s, err
}

// mountSections makes the files that plans mount beside the trees, and puts them
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

// A chooser decides what of a layout an exec gets, by what its command does: a
// command that provably uses one package manager gets the tree of that one, one
// that provably uses none gets none, and all others get all. A tree that is
// missing breaks a build that goes well in Konflux; one too many is a cache miss.
//
// It goes by the arguments, the directory and the variables of an exec, those
// left out that sealing sets.
type chooser struct {
	layout *laid
	files  map[string][]string // package types of what is mounted beside the trees
	names  map[string][]string // variables, by package type
	own    map[string]bool     // the same, all of them

	mu     sync.Mutex
	chosen map[string]choice
}

// A choice is what an exec gets.
type choice struct {
	all   bool            // everything
	base  bool            // cachi2.env
	kinds map[string]bool // package types
}

func newChooser(l *laid) *chooser {
	c := &chooser{layout: l, files: map[string][]string{}, names: map[string][]string{}, own: map[string]bool{}, chosen: map[string]choice{}}
	for _, v := range l.env {
		c.names[v.Ecosystem] = append(c.names[v.Ecosystem], v.Name)
		c.own[v.Name] = true
	}
	return c
}

// mount tells whether an exec gets a mount of the sandbox (llbgen.Sandbox.Select).
func (c *chooser) mount(exec *pb.ExecOp, m llbgen.Mount) bool {
	got := c.choose(exec)
	if kinds, ok := c.files[m.Dest]; ok {
		return got.all || slices.ContainsFunc(kinds, got.has)
	}
	kind, below := strings.CutPrefix(m.Dest, OutputDir+"/deps/")
	switch {
	case !below && m.Dest != depsMount:
		return true
	case c.layout.whole():
		return got.all || got.base || len(got.kinds) > 0
	case below:
		return got.all || got.kinds[kind] && len(got.kinds) > 1
	case m.Definition == c.layout.rest && got.all, m.Definition == c.layout.base && !got.all:
		return got.all || got.base && len(got.kinds) == 0 || len(got.kinds) > 1
	}
	for kind := range got.kinds {
		return !got.all && len(got.kinds) == 1 && m.Definition == c.layout.trees[kind]
	}
	return false
}

// kinds are the package types of which an exec gets the tree; all is everything
// that the layout has.
func (c *chooser) kinds(exec *pb.ExecOp) (kinds []string, all bool) {
	got := c.choose(exec)
	if c.layout.whole() && (got.base || len(got.kinds) > 0) {
		return c.layout.kinds, got.all // one tree has all that there is
	}
	return slices.Collect(maps.Keys(got.kinds)), got.all
}

// has tells whether the choice has a package type of its own.
func (c choice) has(kind string) bool { return c.kinds[kind] }

// env tells whether an exec gets a variable (llbgen.Sandbox.SelectEnv). One of no
// package type is for all that get anything.
func (c *chooser) env(exec *pb.ExecOp, name string) bool {
	got := c.choose(exec)
	for kind, names := range c.names {
		if slices.Contains(names, name) && (got.kinds[kind] || kind == "" && (got.base || len(got.kinds) > 0)) {
			return true
		}
	}
	return got.all
}

// choose decides, once for all execs that are alike.
func (c *chooser) choose(exec *pb.ExecOp) choice {
	env := map[string]string{}
	for _, v := range exec.Meta.Env {
		if name, value, _ := strings.Cut(v, "="); !c.own[name] {
			env[name] = value
		}
	}
	key := fmt.Sprintf("%q %q %q", exec.Meta.Args, exec.Meta.Cwd, env)
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.chosen[key]
	if !ok {
		got = c.decide(exec.Meta.Args, exec.Meta.Cwd, env)
		c.chosen[key] = got
	}
	return got
}

func (c *chooser) decide(args []string, cwd string, env map[string]string) choice {
	all := choice{all: true}
	programs, complete := script.Args(args, env).Uses()
	if !complete || names(cwd) || slices.ContainsFunc(slices.Collect(maps.Values(env)), names) {
		return all
	}
	got := choice{kinds: map[string]bool{}}
	for _, text := range args {
		if !c.named(text, &got) {
			return all
		}
	}
	for _, p := range programs {
		i := slices.IndexFunc(c.layout.kinds, func(kind string) bool { return slices.Contains(ecosystem.Commands(kind), p) })
		switch {
		case i >= 0:
			got.kinds[c.layout.kinds[i]] = true
		case !script.IsPlain(p):
			return all // dnf, with a repository that an earlier step has pointed to a path of the layout
		}
	}
	return got
}

// depsName is the name of depsMount, without which nobody names a
// path of the layout.
var depsName = path.Base(depsMount)

// names tells whether a text names the layout.
func names(text string) bool {
	return strings.Contains(text, depsName) || rootPattern.MatchString(text)
}

// rootPattern matches patterns of the shell that may expand to depsMount.
var rootPattern = regexp.MustCompile(`(^|[^\w.~/}*?-])/[cahi2]*[*?\[{]`)

// named adds what a text names to a choice: files of the layout, and variables.
// It reports whether that is all that it names.
func (c *chooser) named(text string, got *choice) bool {
	for kind, list := range c.names {
		for _, name := range list {
			if !strings.Contains(text, name) {
				continue
			}
			if kind == "" {
				return false
			}
			got.kinds[kind] = true
		}
	}
	if rootPattern.MatchString(text) {
		return false
	}
	before, after, found := strings.Cut(text, depsName)
	for ; found; before, after, found = strings.Cut(after, depsName) {
		kind, rest, ok := c.below(after)
		if !strings.HasSuffix(before, "/") || !ok || parent.MatchString(text) {
			return false // of another name, or a way to it that is not followed
		}
		got.base, after = true, rest
		if kind != "" {
			got.kinds[kind] = true
		}
	}
	return true
}

// parent matches "..", as an element of a path.
var parent = regexp.MustCompile(`(^|[^.])\.\.($|[^.])`)

// below is the package type that a path below depsMount is of, "" for
// cachi2.env, and what of the text follows it. Not ok is all else.
func (c *chooser) below(text string) (kind, rest string, ok bool) {
	if rest, ok := strings.CutPrefix(text, "/"+envName); ok {
		return "", rest, !continues(rest)
	}
	for _, kind := range c.layout.kinds {
		if rest, ok := strings.CutPrefix(text, "/"+outputName+"/deps/"+kind); ok && !continues(rest) {
			return kind, rest, true
		}
	}
	return "", "", false
}

// continues tells whether a name goes on in a text.
func continues(text string) bool { return nameRest.MatchString(text) }

var nameRest = regexp.MustCompile(`^[^\s/'";|&<>()]`)

// kindsOf says of the variables of an output directory which package types they
// are for: those that the plan has the same names for, and those whose value is
// a path of one. Others are for all.
func kindsOf(env []cache.EnvVar, plan cache.Plan) []cache.EnvVar {
	out := slices.Clone(env)
	for i, v := range out {
		for _, p := range slices.Concat(plan.Env, ecosystem.Env(plan.Inputs)) {
			if p.Name == v.Name {
				out[i].Ecosystem = p.Ecosystem
			}
		}
		_, rest, ok := strings.Cut(v.Value, "${output_dir}/deps/")
		if kind, _, _ := strings.Cut(rest, "/"); ok && out[i].Ecosystem == "" && slices.Contains(ecosystem.Types(), kind) {
			out[i].Ecosystem = kind
		}
	}
	return out
}
