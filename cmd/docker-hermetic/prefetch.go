package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

	parallel, tries int           // 0 for the default, as of stall
	stall           time.Duration // without a byte
	crates          fetch.Crates
	rawErrors       bool // what fetching says is for the caller to put into words
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
	push      string
	platforms []string
	bom       string
}

const prefetchLong = `Fetch all that the lockfiles in CONTEXT name, check it against them, and print
the directory that a build is given as its build context "hermetic". Nothing of
CONTEXT is changed and nothing in it is run.

What was fetched before is not fetched again; one store serves all projects.

With --output type=oci or --push the cache becomes an image, and what is printed
is its name with its digest: it stands for the directory.`

const prefetchExample = `  $ hermetic prefetch .
  /home/me/.cache/hermetic/views/5f0c0d1c4e1f2a7be1e51f7bdc9a7f10
  $ docker buildx build --build-arg BUILDKIT_SYNTAX=example.com/hermetic \
      --build-context hermetic=$(hermetic prefetch .) .

  A directory as Hermeto makes it, for other builders:
  $ hermetic prefetch --layout hermeto --output ./hermeto-output .

  An image that a release can pin:
  $ hermetic prefetch --push registry.example.com/app-deps:1.2 .
  docker-image://registry.example.com/app-deps:1.2@sha256:9f1c…`

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
	flags.StringVar(&o.output, "output", "", "write to `DIR` instead of the store; type=oci,dest=DIR: an image in the OCI layout DIR")
	flags.StringVar(&o.push, "push", "", "push an image of it to `REF` in a registry")
	flags.Var(word(&o.layout, layoutView, layoutHermeto), "layout", "what is written to --output: "+layoutView+", "+layoutHermeto)
	flags.Var(word(&o.progress, progressModes...), "progress", "how progress is shown: "+strings.Join(progressModes, ", "))
	flags.StringArrayVar(&o.platforms, "platform", nil, "platforms that build steps run on, `OS/ARCH[,...]` (default "+ownPlatform()+")")
	flags.StringVar(&o.bom, "bom", "", "write a bill of materials to `FILE`: CycloneDX, or SPDX where it ends with .spdx.json")
	completeWords(cmd, "layout", layoutView, layoutHermeto)
	completeWords(cmd, "progress", progressModes...)
	return cmd
}

// prefetch fetches for one CONTEXT and prints where the result is.
func (p *program) prefetch(ctx context.Context, o *prefetchOptions, name string) error {
	out, err := o.destination()
	if err != nil {
		return err
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
	if err := out.writable(); err != nil {
		return err
	}
	store, err := p.openStore(&o.fetchOptions, c)
	if err != nil {
		return err
	}
	given := ecosystem.Options{Platforms: wanted}
	if o.layout == layoutHermeto || o.bom != "" {
		given = p.described(given, name)
	}
	plan, err := p.soundPlan(c, o.input, given)
	if err != nil {
		return err
	}
	if out.manifest, err = p.fetch(ctx, store, plan, &o.fetchOptions); err != nil {
		return err
	}
	plan = ecosystem.Complete(plan, out.manifest)
	if out.source, err = realPath(name); err != nil {
		return fmt.Errorf("%s: %w", name, bare(err))
	}
	if err := p.bills(o, plan, &out, given.Revisions["."].Time); err != nil {
		return err
	}
	if out.directory() {
		dir, err := write(ctx, store, plan, out)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, dir)
	}
	if out.image() {
		return p.writeImage(ctx, store, out)
	}
	return nil
}

// soundPlan is the plan of the prefetch input, or of all that the context has;
// what is wrong with the lockfiles, all of it, is the error.
func (p *program) soundPlan(c *buildContext, input string, o ecosystem.Options) (cache.Plan, error) {
	pkgs, err := p.packages(c, input)
	if err != nil {
		return cache.Plan{}, err
	}
	if len(pkgs) == 0 {
		p.say("%s: no lockfile of %s; the deps context is empty", c.name, strings.Join(ecosystem.Types(), ", "))
		for _, hidden := range c.hidden() {
			p.say("%s hides %s at %s", ignoreName, hidden.Type, hidden.Path)
		}
	}
	plan := ecosystem.New(c.fs(), pkgs, o)
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
	return plan, &fault{code: exitRefused, lines: lines.String(), hints: append(ecosystem.Remedies(plan.Problems), narrower(input, pkgs)...),
		text: count(len(plan.Problems), "problem", "problems") + "; nothing was fetched"}
}

// narrower is the hint that not all that was found needs to be used: where
// lockfiles lie about that no build reads, nobody mends them.
func narrower(input string, found []cache.Package) []string {
	if input != "" || len(found) < 2 {
		return nil
	}
	return []string{fmt.Sprintf("%d packages were found; where the build uses fewer, name those: --input '[%s, …]'", len(found), found[0])}
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

// ignoreCrates is Hermeto's variable for those who build no Rust in Python packages.
const ignoreCrates = "HERMETO_PIP__IGNORE_DEPENDENCIES_CRATES"

// fetch makes the store hold all that plan needs.
func (p *program) fetch(ctx context.Context, store *cache.Store, plan cache.Plan, o *fetchOptions) (*cache.Manifest, error) {
	if text := p.env[ignoreCrates]; text != "" {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, usage(fmt.Sprintf("%s: %.80q: want true or false", ignoreCrates, text), "")
		}
		if on {
			o.crates = fetch.CratesIgnored
		}
	}
	progress, done := p.showProgress(o.progress)
	manifest, err := fetch.All(ctx, store, plan, fetch.Options{
		Env:      func(name string) string { return p.env[name] },
		Mirrors:  o.mirrors,
		Offline:  o.offline,
		Verify:   o.verify,
		Crates:   o.crates,
		Progress: progress,
		Parallel: o.parallel, Tries: o.tries, StallTimeout: o.stall,
	})
	done()
	if o.rawErrors {
		return manifest, err
	}
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
