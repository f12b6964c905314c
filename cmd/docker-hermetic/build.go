package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// depsContext is the name of the build context that carries the cache.
const depsContext = "hermetic"

// Build-args that are ours to set.
const (
	syntaxArg = "BUILDKIT_SYNTAX"
	inputArg  = "HERMETIC_INPUT"
)

const buildLong = `Fetch what the lockfiles in CONTEXT name, check the build, and start it with the
network shut: "docker buildx build" with the frontend and the fetched files
added. Every flag of "docker buildx build" is passed on to it; its exit code is
passed back. The last line is the level that the build has reached.

With --build-context hermetic=DIR of your own nothing is fetched. Without buildx
the daemon that BUILDKIT_HOST names is asked directly.`

const buildExample = `  $ hermetic build -t app --platform linux/amd64,linux/arm64 .

  The same without network, from what was fetched before:
  $ hermetic build -t app --offline .`

// buildCommand takes its flags apart itself: most of them are buildx's.
func (p *program) buildCommand() *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:                   "build [flags] [flags of docker buildx build] CONTEXT",
		Short:                 "Fetch, check and build, with the network shut",
		Long:                  buildLong,
		Example:               buildExample,
		ValidArgsFunction:     onlyDirectories,
		DisableFlagParsing:    true,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			line, err := parseBuild(args)
			if err != nil {
				return err
			}
			if line.on("help") {
				return cmd.Help()
			}
			return p.build(cmd.Context(), line)
		},
	}
	// For the help alone; parseBuild has its own table.
	o.register(cmd.Flags())
	cmd.Flags().String("policy", "", "the policy that the frontend image has, `FILE`, to check against it before anything is fetched (KEY=VALUE is buildx's own --policy)")
	cmd.Flags().String("frontend", "", "the frontend, image `REF` or OCI archive (default: $HERMETIC_FRONTEND, else the one that hermetic comes with)")
	return cmd
}

// A job is a build that is ready to start.
type job struct {
	line     *buildLine
	frontend frontendImage
	deps     string // the directory of the deps context; "" where the user gave one
	input    string // the prefetch input; "" for none
	scratch  string // a directory for files that the builder writes
	metadata string // the metadata file where the user wants none; "" where that is the user's own
}

// build is the whole of "hermetic build".
func (p *program) build(ctx context.Context, line *buildLine) error {
	b, err := p.findBuilder(ctx)
	if err != nil {
		return err
	}
	if len(b.command) == 0 {
		if err := needsBuildx(line); err != nil {
			return err
		}
	}
	o, err := line.fetchOptions(p)
	if err != nil {
		return err
	}
	j := job{line: line}
	if o.input != "" {
		pkgs, err := parseInput(o.input)
		if err != nil {
			return err
		}
		j.input = inputJSON(pkgs)
	}
	if err := p.prepare(ctx, &j, o); err != nil {
		return err
	}
	return p.start(ctx, b, j)
}

// fetchOptions are our own flags; a build-arg HERMETIC_INPUT is --input by
// another name.
func (l *buildLine) fetchOptions(p *program) (*fetchOptions, error) {
	o := &fetchOptions{
		input: l.last("input"), store: l.last("store"),
		offline: l.on("offline"), verify: l.on("verify"), progress: prefetchProgress(l, p.env),
	}
	for _, v := range l.values("mirror") {
		if err := o.mirrors.Set(v); err != nil {
			return nil, usage(fmt.Sprintf("--mirror %s: %v", v, err), "")
		}
	}
	args := p.buildArgs(l.values("build-arg"))
	if _, given := args[syntaxArg]; given {
		return nil, usage("--build-arg "+syntaxArg+": the frontend of a hermetic build is hermetic's", "use --frontend REF for another image of it")
	}
	if given, ok := args[inputArg]; ok {
		if o.input != "" && o.input != given {
			return nil, usage("--input and --build-arg "+inputArg+": two prefetch inputs", "drop one of them")
		}
		o.input = given
	}
	return o, nil
}

// prefetchProgress is how fetching is shown where the build is shown as the
// user asked buildx for.
func prefetchProgress(l *buildLine, env map[string]string) string {
	mode := progressMode(l, env)
	switch {
	case l.on("quiet"), mode == "quiet", mode == "none", mode == "rawjson":
		return "quiet" // rawjson: what reads it expects buildx's words alone
	case mode == "plain", mode == "tty":
		return mode
	}
	return "auto"
}

// progressMode is how the user asked buildx to show the build; "" by default.
func progressMode(l *buildLine, env map[string]string) string {
	if mode := l.last("progress"); mode != "" {
		return mode
	}
	return env["BUILDKIT_PROGRESS"]
}

// prepare finds the frontend, checks the build and fetches what it needs.
func (p *program) prepare(ctx context.Context, j *job, o *fetchOptions) error {
	given, own := contextValue(j.line.values("build-context"), depsContext)
	remote := isRemote(j.line.context)
	if remote && !own {
		return usage(fmt.Sprintf("%s: not a directory of this machine", j.line.context),
			"name a checkout, whose lockfiles can be read here; or fetch in one and pass --build-context hermetic=DIR")
	}
	var c *buildContext
	if !remote {
		var err error
		if c, err = openContext(j.line.context); err != nil {
			return err
		}
		defer c.Close()
	}
	store, err := p.openStore(o, c)
	if err != nil {
		return err
	}
	j.scratch = filepath.Join(store.Dir(), "tmp")
	if j.frontend, err = p.frontendImage(j.line.last("frontend"), store); err != nil {
		return err
	}
	if own {
		return p.preflightGiven(j, c, given)
	}
	report, err := p.preflightPlanned(j, c)
	if err != nil {
		return err
	}
	manifest, err := p.fetch(ctx, store, report.Plan, o)
	if err != nil {
		return err
	}
	j.deps, err = store.View(manifest, "")
	return err
}

// preflightPlanned checks a build against the cache that will be made for it,
// before anything is fetched.
func (p *program) preflightPlanned(j *job, c *buildContext) (*preflight.Report, error) {
	req, err := p.buildRequest(j, c)
	if err != nil {
		return nil, err
	}
	pkgs, err := p.packages(c, req.Input)
	if err != nil {
		return nil, err
	}
	plan := ecosystem.New(req.Context, pkgs, ecosystem.Options{Platforms: req.Platforms})
	req.Deps = &preflight.Deps{Manifest: promised(plan)}
	report, err := preflight.Run(req.Request)
	if err != nil {
		return nil, unfit(err)
	}
	return report, p.refused(j, report)
}

// promised is the manifest of a cache that has all of a plan.
func promised(plan cache.Plan) *cache.Manifest {
	m := &cache.Manifest{Packages: plan.Packages, Locks: plan.Locks}
	for _, in := range plan.Inputs {
		m.Entries = append(m.Entries, cache.Entry{ID: in.ID(), Sum: in.Sum, Pack: -1})
	}
	m.Encode() // sorts
	return m
}

// preflightGiven checks a build against the deps context that the user gave,
// where both are directories of this machine. Else the frontend does.
func (p *program) preflightGiven(j *job, c *buildContext, given string) error {
	if c == nil || isRemote(given) {
		return nil
	}
	deps, err := openDeps(given)
	if err != nil {
		return err
	}
	req, err := p.buildRequest(j, c)
	if err != nil {
		return err
	}
	req.Deps = &deps.Deps
	report, err := preflight.Run(req.Request)
	if err != nil {
		return unfit(err)
	}
	return p.refused(j, report)
}

// refused is the error of a report that stops a build. A report of warnings
// alone is nothing: the build prints them where they belong. The report is not
// closed: which exceptions are used is known when the build has its graph.
func (p *program) refused(j *job, r *preflight.Report) error {
	failed := r.Of(preflight.Error)
	if len(failed) == 0 {
		return nil
	}
	f := &fault{code: exitRefused, lines: preflight.Text(r.Findings),
		text: count(len(failed), "error", "errors") + "; no build was started"}
	ownImage := j.line.last("frontend") != "" || p.env["HERMETIC_FRONTEND"] != ""
	if ownImage && j.line.policy() == "" && slices.ContainsFunc(failed, func(f preflight.Finding) bool { return f.Rule.Exceptable }) {
		f.hints = []string{"what a policy in the frontend image grants is not known here: name it with --policy FILE"}
	}
	if slices.ContainsFunc(failed, func(f preflight.Finding) bool { return f.Rule == preflight.InvalidLockfile }) {
		f.hints = append(f.hints, narrower(j.input, r.Plan.Packages)...)
	}
	return f
}

// buildRequest is what a preflight of the build is shown. Steps may run on this
// machine's platform as well as on those that are built for.
func (p *program) buildRequest(j *job, c *buildContext) (request, error) {
	l := j.line
	targets := l.values("platform")
	if one := p.env["DOCKER_DEFAULT_PLATFORM"]; len(targets) == 0 && one != "" {
		targets = []string{one}
	}
	o := &checkOptions{
		file: l.last("file"), input: j.input, target: l.last("target"), policy: l.policy(),
		buildArgs: l.values("build-arg"), contexts: l.values("build-context"), platforms: append([]string{ownPlatform()}, targets...),
	}
	req, err := p.request(o, c)
	if o.file == "-" {
		p.stdin = bytes.NewReader(req.Dockerfile.Data) // the builder reads it as well
	}
	return req, err
}

// arguments are what buildx gets after "build": ours first, so that the user's
// own are the last word about everything else.
func (j job) arguments() []string {
	args := []string{"--build-arg", syntaxArg + "=" + j.frontend.ref}
	if j.frontend.layout != "" {
		args = append(args, "--build-context", frontendContext+"=oci-layout://"+j.frontend.layout+"@"+j.frontend.digest.String())
	}
	if j.deps != "" {
		args = append(args, "--build-context", depsContext+"="+j.deps)
	}
	if j.input != "" {
		args = append(args, "--build-arg", inputArg+"="+j.input)
	}
	if j.metadata != "" {
		args = append(args, "--metadata-file", j.metadata)
	}
	return append(args, j.line.passed...)
}

// start hands the build over.
func (p *program) start(ctx context.Context, b builder, j job) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if len(b.command) > 0 {
		return p.buildx(ctx, b, j)
	}
	response, err := p.solve(ctx, b.host, j)
	if err != nil {
		return err
	}
	p.conclude(j.line, response[reportKey])
	return nil
}

// buildx hands the build over to buildx. The report comes back in its metadata
// file, the user's own or one that nobody else sees.
func (p *program) buildx(ctx context.Context, b builder, j job) error {
	var env []string
	name := j.line.last("metadata-file")
	if name == "" && !j.line.calls() {
		// Without a place for the file the build goes on, and says no level.
		if dir, err := os.MkdirTemp(j.scratch, "metadata-"); err == nil {
			defer os.RemoveAll(dir)
			name = filepath.Join(dir, "metadata.json")
			j.metadata, env = name, []string{"BUILDX_METADATA_PROVENANCE=disabled"} // it costs time, and nobody reads it
		}
	}
	err := p.runBuildx(ctx, child{append(append(b.command, "build"), j.arguments()...), env})
	if err == nil && !j.line.calls() {
		p.conclude(j.line, reportIn(name))
	}
	return err
}

// reportIn is the report in a metadata file; "" where there is none.
func reportIn(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	var metadata map[string]json.RawMessage
	var report string
	if json.Unmarshal(data, &metadata) != nil || json.Unmarshal(metadata[reportKey], &report) != nil {
		return ""
	}
	return report
}
