package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

// fetchOptions are what prefetch and build know of fetching.
type fetchOptions struct {
	input    string
	mirrors  mirrors
	store    string // "" for the user's own
	progress string
	offline  bool
	verify   bool
}

// register adds the flags that prefetch and build share.
func (o *fetchOptions) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.input, "input", "", "the packages to fetch for, `JSON|FILE` as Hermeto takes it (default: all that CONTEXT has)")
	flags.Var(&o.mirrors, "mirror", "fetch packages of a type from here, a list as in GOPROXY")
	flags.BoolVar(&o.offline, "offline", false, "use what the store has, and no network")
	flags.BoolVar(&o.verify, "verify", false, "read all that the store has, and fetch again what is damaged")
	flags.StringVar(&o.store, "store", "", "keep what is fetched in `DIR` (default: $HERMETIC_STORE, else hermetic in the user's cache directory)")
}

type prefetchOptions struct {
	fetchOptions
	output    string
	layout    string
	platforms []string
}

const prefetchLong = `Fetch all that the lockfiles in CONTEXT name, check it against them, and print
the directory that a build is given as its build context "hermetic". Nothing of
CONTEXT is changed and nothing in it is run.

What was fetched before is not fetched again; one store serves all projects.`

const prefetchExample = `  $ hermetic prefetch .
  /home/me/.cache/hermetic/views/5f0c0d1c4e1f2a7be1e51f7bdc9a7f10
  $ docker buildx build --build-arg BUILDKIT_SYNTAX=example.com/hermetic \
      --build-context hermetic=$(hermetic prefetch .) .

  A directory as Hermeto makes it, for other builders:
  $ hermetic prefetch --layout hermeto --output ./hermeto-output .`

func (p *program) prefetchCommand() *cobra.Command {
	var o prefetchOptions
	cmd := &cobra.Command{
		Use:                   "prefetch [flags] [CONTEXT]",
		Short:                 "Fetch what a build needs, and check it",
		Long:                  prefetchLong,
		Example:               prefetchExample,
		Args:                  oneContext,
		ValidArgsFunction:     onlyDirectories,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.prefetch(cmd.Context(), &o, argument(args))
		},
	}
	flags := cmd.Flags()
	o.register(flags)
	flags.StringVar(&o.output, "output", "", "write to `DIR` instead of the store")
	flags.Var(word(&o.layout, layoutView, layoutHermeto), "layout", "what is written to --output: "+layoutView+", "+layoutHermeto)
	flags.Var(word(&o.progress, progressModes...), "progress", "how progress is shown: "+strings.Join(progressModes, ", "))
	flags.StringArrayVar(&o.platforms, "platform", nil, "platforms that build steps run on, `OS/ARCH[,...]` (default "+ownPlatform()+")")
	completeWords(cmd, "layout", layoutView, layoutHermeto)
	completeWords(cmd, "progress", progressModes...)
	return cmd
}

// prefetch fetches for one CONTEXT and prints where the result is.
func (p *program) prefetch(ctx context.Context, o *prefetchOptions, name string) error {
	if o.layout == layoutHermeto && o.output == "" {
		return usage("--layout hermeto: no --output to write it to", "add --output DIR")
	}
	wanted, err := parsePlatforms(o.platforms)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		wanted = []string{ownPlatform()}
	}
	c, err := openContext(name)
	if err != nil {
		return err
	}
	defer c.Close()
	if o.output != "" {
		if err := replaceable(o.output, markers[o.layout]); err != nil {
			return err
		}
	}
	store, err := p.openStore(&o.fetchOptions, c)
	if err != nil {
		return err
	}
	plan, err := p.soundPlan(c, o.input, wanted)
	if err != nil {
		return err
	}
	manifest, err := p.fetch(ctx, store, plan, &o.fetchOptions)
	if err != nil {
		return err
	}
	source, err := realPath(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, bare(err))
	}
	dir, err := write(ctx, store, plan, output{manifest, o.output, o.layout, source})
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, dir)
	return nil
}

// soundPlan is the plan of the prefetch input, or of all that the context has;
// what is wrong with the lockfiles, all of it, is the error.
func (p *program) soundPlan(c *buildContext, input string, platforms []string) (cache.Plan, error) {
	pkgs, err := p.packages(c, input)
	if err != nil {
		return cache.Plan{}, err
	}
	if len(pkgs) == 0 {
		p.say("%s: no lockfile of %s; the deps context is empty", c.name, strings.Join(ecosystem.Types(), ", "))
	}
	plan := ecosystem.New(c.fs(), pkgs, ecosystem.Options{Platforms: platforms})
	for _, warning := range plan.Warnings {
		p.say("warning: %s", warning)
	}
	if len(plan.Problems) == 0 {
		return plan, nil
	}
	var lines strings.Builder
	for _, problem := range plan.Problems {
		fmt.Fprintln(&lines, problem)
	}
	return plan, &fault{code: exitRefused, lines: lines.String(),
		text: count(len(plan.Problems), "problem", "problems") + "; nothing was fetched"}
}

// openStore opens the store, which must not be part of what is built: a build
// would send it to the builder, and change with all that is fetched. c is nil
// where nothing of this machine is built.
func (p *program) openStore(o *fetchOptions, c *buildContext) (*cache.Store, error) {
	dir := o.store
	if dir == "" {
		dir = p.env["HERMETIC_STORE"]
	}
	if dir == "" {
		var err error
		if dir, err = cache.DefaultDir(); err != nil {
			return nil, trouble(err.Error(), "name a directory with --store DIR or HERMETIC_STORE")
		}
	}
	if c != nil {
		in, err := inside(c.name, dir)
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", dir, bare(err))
		}
		if in {
			return nil, usage(fmt.Sprintf("store %s: inside the build context %s", dir, c.name),
				"name a directory elsewhere with --store DIR or HERMETIC_STORE, or build a smaller CONTEXT")
		}
	}
	store, err := cache.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, bare(err))
	}
	return store, nil
}

// fetch makes the store hold all that plan needs.
func (p *program) fetch(ctx context.Context, store *cache.Store, plan cache.Plan, o *fetchOptions) (*cache.Manifest, error) {
	progress, done := p.showProgress(o.progress)
	manifest, err := fetch.All(ctx, store, plan, fetch.Options{
		Env:      func(name string) string { return p.env[name] },
		Mirrors:  o.mirrors,
		Offline:  o.offline,
		Verify:   o.verify,
		Progress: progress,
	})
	done()
	return manifest, unfetched(err)
}

// mirrors are where packages are fetched from, by type: the flag --mirror.
type mirrors map[string]string

func (m *mirrors) String() string { return "" }

// Type implements pflag.Value.
func (m *mirrors) Type() string { return "TYPE=URL" }

// Set implements pflag.Value.
func (m *mirrors) Set(s string) error {
	kind, url, ok := strings.Cut(s, "=")
	if !ok || url == "" {
		return errors.New("want TYPE=URL")
	}
	if !slices.Contains(ecosystem.Types(), kind) {
		return fmt.Errorf("package type %q: not one of %s", kind, strings.Join(ecosystem.Types(), ", "))
	}
	if *m == nil {
		*m = mirrors{}
	}
	if _, twice := (*m)[kind]; twice {
		return fmt.Errorf("%s has one already; put several places into one list, as in GOPROXY", kind)
	}
	(*m)[kind] = url
	return nil
}

// replaceable refuses an output directory that holds anything but an output of
// the same kind, told by its marker: what is in it will be gone.
func replaceable(dir, marker string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--output %s: %w", dir, bare(err))
	}
	if info, err := os.Lstat(filepath.Join(dir, marker)); err != nil || !info.Mode().IsRegular() {
		return trouble(fmt.Sprintf("--output %s: not empty, and has no %s: it may not be replaced", dir, marker),
			"name a directory that does not exist yet")
	}
	return nil
}
