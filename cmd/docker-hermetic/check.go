package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

type checkOptions struct {
	file      string
	deps      string
	input     string
	target    string
	format    string
	buildArgs []string
	platforms []string
}

const checkLong = `Say what a build would say before its first RUN step, without a builder: inputs
that the cache lacks, lockfiles that changed since it was made, instructions
that reach outside. With --deps every byte of the cache is checked as well.

Exit code 0 if nothing stops the build, 3 if something does.`

const checkExample = `  $ hermetic check --deps $(hermetic prefetch .) .
  UnpinnedImage: 1 image is not pinned by digest
  Dockerfile:1: example.com/golang:1.26: no digest
  hint: write image:tag@sha256:… so that the same file is the same build tomorrow`

func (p *program) checkCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:                   "check [flags] [CONTEXT]",
		Short:                 "Say what stands in the way of a build, without building",
		Long:                  checkLong,
		Example:               checkExample,
		Args:                  oneContext,
		ValidArgsFunction:     onlyDirectories,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.check(&o, argument(args))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "the Dockerfile, `FILE` or - for standard input (default CONTEXT/Dockerfile)")
	flags.StringVar(&o.deps, "deps", "", "the deps context, `DIR` as \"hermetic prefetch\" prints it or Hermeto makes it")
	flags.StringVar(&o.input, "input", "", "the packages that the build uses, `JSON|FILE` (default: those of --deps, else all that CONTEXT has)")
	flags.StringVar(&o.target, "target", "", "the `STAGE` that is built (default: the last)")
	flags.Var(word(&o.format, "text", "json"), "format", "what is printed: text, json")
	flags.StringArrayVar(&o.buildArgs, "build-arg", nil, "`NAME=VALUE` of an ARG; without a value, that of the environment")
	flags.StringArrayVar(&o.platforms, "platform", nil, "platforms that build steps run on, `OS/ARCH[,...]` (default "+ownPlatform()+")")
	completeWords(cmd, "format", "text", "json")
	return cmd
}

// check prints the findings about one CONTEXT.
func (p *program) check(o *checkOptions, name string) error {
	c, err := openContext(name)
	if err != nil {
		return err
	}
	defer c.Close()
	req, err := p.request(o, c)
	if err != nil {
		return err
	}
	var deps *depsDir
	if o.deps != "" {
		if deps, err = openDeps(o.deps); err != nil {
			return err
		}
		req.Deps = &deps.Deps
	}
	report, err := preflight.Run(req)
	if err != nil {
		return err
	}
	if deps != nil {
		problems, err := deps.check(report.Plan)
		if err != nil {
			return err
		}
		if err := report.Problems(req, problems); err != nil {
			return err
		}
	}
	return p.publish(report, o.format)
}

// request is what a preflight is shown, but for the deps context.
func (p *program) request(o *checkOptions, c *buildContext) (preflight.Request, error) {
	df, err := p.readDockerfile(o.file, c.name)
	if err != nil {
		return preflight.Request{}, err
	}
	wanted, err := parsePlatforms(o.platforms)
	if err != nil {
		return preflight.Request{}, err
	}
	if len(wanted) == 0 {
		wanted = []string{ownPlatform()}
	}
	req := preflight.Request{Dockerfile: df, Context: c.fs(), Platforms: wanted, BuildArgs: p.buildArgs(o.buildArgs), Target: o.target}
	if o.input != "" {
		pkgs, err := parseInput(o.input)
		if err != nil {
			return preflight.Request{}, err
		}
		req.Input = inputJSON(pkgs)
	}
	return req, nil
}

// buildArgs are the values of ARGs; a name alone has the environment's, if any.
func (p *program) buildArgs(flags []string) map[string]string {
	args := map[string]string{}
	for _, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			value, ok = p.env[name]
		}
		if ok {
			args[name] = value
		}
	}
	return args
}

// readDockerfile reads the Dockerfile that docker would take: file, else
// Dockerfile in the context, else dockerfile. In messages it has the name it
// has in the context, as lockfiles do.
func (p *program) readDockerfile(file, context string) (preflight.Dockerfile, error) {
	if file == "-" {
		data, err := io.ReadAll(p.stdin)
		return preflight.Dockerfile{Name: "Dockerfile", Data: data}, err
	}
	path := file
	if path == "" {
		path = filepath.Join(context, "Dockerfile")
	}
	data, err := os.ReadFile(path)
	if file == "" && errors.Is(err, fs.ErrNotExist) {
		if lower, err := os.ReadFile(filepath.Join(context, "dockerfile")); err == nil {
			return preflight.Dockerfile{Name: "dockerfile", Data: lower}, nil
		}
	}
	if err != nil {
		return preflight.Dockerfile{}, trouble(fmt.Sprintf("%s: %v", path, bare(err)), "name the Dockerfile with -f FILE")
	}
	name := path
	if rel, err := filepath.Rel(context, path); err == nil && filepath.IsLocal(rel) {
		name = filepath.ToSlash(rel)
	}
	return preflight.Dockerfile{Name: name, Data: data}, nil
}

// publish prints a report; the error is that of a build that it would stop.
func (p *program) publish(r *preflight.Report, format string) error {
	switch {
	case format == "json":
		text, err := json.MarshalIndent(append([]preflight.Finding{}, r.Findings...), "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(p.stdout, "%s\n", text)
	case len(r.Findings) > 0:
		fmt.Fprintln(p.stdout, preflight.Text(r.Findings))
	}
	failed, warned := len(r.Of(preflight.Error)), len(r.Of(preflight.Warn))
	text := count(failed, "error", "errors") + ", " + count(warned, "warning", "warnings")
	if failed > 0 {
		return &fault{code: exitRefused, text: text}
	}
	p.say("%s", text)
	return nil
}

// A depsDir is a deps context in a directory of this machine.
type depsDir struct {
	dir string // what holds the manifest or the environment
	preflight.Deps
}

// openDeps finds out what the directory holds: a view of a store, or an output
// directory of Hermeto, itself or in "output" as in Konflux's builds.
func openDeps(dir string) (*depsDir, error) {
	text, err := os.ReadFile(filepath.Join(dir, cache.ManifestFile))
	if err == nil {
		d := &depsDir{dir: dir}
		d.Manifest, err = cache.ParseManifest(filepath.Join(dir, cache.ManifestFile), text)
		return d, err
	}
	for _, at := range []string{dir, filepath.Join(dir, "output")} {
		text, err := os.ReadFile(filepath.Join(at, configFile))
		if err == nil {
			d := &depsDir{dir: at}
			d.Env, err = cache.ParseBuildConfig(filepath.Join(at, configFile), text)
			return d, err
		}
	}
	if _, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("--deps %s: %w", dir, bare(err))
	}
	return nil, trouble(fmt.Sprintf("--deps %s: no deps context: neither %s nor %s is in it", dir, cache.ManifestFile, configFile),
		`"hermetic prefetch CONTEXT" makes one and prints its name`)
}

// check reads the inputs of a plan. Those that the manifest does not have are
// the preflight's to report.
func (d *depsDir) check(plan cache.Plan) ([]cache.Problem, error) {
	if d.Tree() {
		tree, err := cache.OpenTree(d.dir)
		if err != nil {
			return nil, err
		}
		defer tree.Close()
		return cache.Check(tree, plan.Inputs), nil
	}
	var listed []cache.Input
	for _, in := range plan.Inputs {
		if e, ok := d.Manifest.Find(in.ID()); ok && (in.Sum.IsZero() || in.Sum == e.Sum) {
			listed = append(listed, in)
		}
	}
	view, err := cache.OpenView(d.dir, d.Manifest)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return cache.Check(view, listed), nil
}
