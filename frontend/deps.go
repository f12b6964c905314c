package frontend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
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
		b.readsLocal(DepsContext)
		d.state = llb.Local(name, b.session(name, []llb.LocalOption{
			llb.IncludePatterns(depsPatterns()), llb.SharedKeyHint(name), dockerui.WithInternalName("load deps context"),
		})...)
		peek = llb.Local(name, b.session(name, []llb.LocalOption{
			llb.IncludePatterns(peekPatterns()),
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
	patterns := append([]string{cache.ManifestFile}, ecosystem.Types()...)
	for _, name := range append([]string{configFile, "deps", "bom.json"}, preflight.OutputPatterns...) {
		patterns = append(patterns, name, outputName+"/"+name)
	}
	return patterns
}

// peekPatterns are what tells what a deps context is.
func peekPatterns() []string {
	patterns := []string{cache.ManifestFile}
	for _, name := range append([]string{configFile}, preflight.OutputPatterns...) {
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
	ui, err := dockerui.NewClient(withOwnOpts{b.client.Client, b.client})
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
type withOwnOpts struct {
	client.Client
	images *sealingClient
}

// ResolveImageConfig implements client.Client: to an image that has the cache
// the same applies as to any other.
func (c withOwnOpts) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return c.images.ResolveImageConfig(ctx, ref, opt)
}

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
		if d.Files, err = fs.Sub(fsys, root); err != nil {
			return fmt.Errorf("deps context: %w", err)
		}
		d.Env, d.Project, err = cache.ParseBuildConfig(path.Join(root, configFile), text)
		return err
	}
	return fmt.Errorf("deps context: neither %s (a directory that \"hermetic prefetch\" prints) nor %s (an output directory of Hermeto) is in it",
		cache.ManifestFile, configFile)
}
