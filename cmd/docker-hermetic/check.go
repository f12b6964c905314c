package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

type checkOptions struct {
	file      string
	deps      string
	input     string
	target    string
	policy    string
	format    string
	buildArgs []string
	contexts  []string
	platforms []string
}

// The forms in which check prints what it finds.
const (
	formatText   = "text"
	formatJSON   = "json"   // the list of findings
	formatReport = "report" // all that is known of the build
	formatSARIF  = "sarif"
)

var formats = []string{formatText, formatJSON, formatReport, formatSARIF}

const checkLong = `Say what a build would say before its first RUN step, without a builder: inputs
that the cache lacks, lockfiles that changed since it was made, instructions
that reach outside, files that are not there. With --deps every byte of the
cache is checked as well.

The exceptions of CONTEXT/hermetic.yaml count, within what --policy allows. The
last line is the level that the build may claim.

Exit code 0 if nothing stops the build, 3 if something does, 2 if hermetic.yaml
or the policy cannot be read.`

const checkExample = `  $ hermetic check --deps $(hermetic prefetch .) .
  UnpinnedImage: 1 image is not pinned by digest
  Dockerfile:1: example.com/golang:1.26: no digest
  hint: write image:tag@sha256:… so that the same file is the same build tomorrow
  hermetic: 0 errors, 1 warning
  not pinned: Dockerfile:1: example.com/golang:1.26: no digest
  level: sealed`

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
	flags.StringVar(&o.policy, "policy", "", "what the organisation demands and allows, `FILE`")
	flags.Var(word(&o.format, formats...), "format", "what is printed: "+strings.Join(formats, ", "))
	flags.StringArrayVar(&o.buildArgs, "build-arg", nil, "`NAME=VALUE` of an ARG; without a value, that of the environment")
	flags.StringArrayVar(&o.contexts, "build-context", nil, "`NAME=VALUE` of a named context; hermetic=DIR is --deps")
	flags.StringArrayVar(&o.platforms, "platform", nil, "platforms that build steps run on, `OS/ARCH[,...]` (default "+ownPlatform()+")")
	completeWords(cmd, "format", formats...)
	return cmd
}

// check prints the findings about one CONTEXT.
func (p *program) check(o *checkOptions, name string) error {
	dir, err := o.depsDir()
	if err != nil {
		return err
	}
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
	if dir != "" {
		if deps, err = openDeps(dir); err != nil {
			return err
		}
		req.Deps = &deps.Deps
	}
	report, err := preflight.Run(req.Request)
	if err != nil {
		return unfit(err)
	}
	if deps != nil {
		problems, err := deps.check(report.Plan)
		if err != nil {
			return err
		}
		report.Problems(problems)
	}
	report.Local = []string{"the build context", "the Dockerfile"} // as the frontend says it
	report.Close()
	return p.publish(report, o.format, req)
}

// depsDir is the directory of the deps context, by one of its two names; ""
// for none.
func (o *checkOptions) depsDir() (string, error) {
	given, ok := contextValue(o.contexts, depsContext)
	switch {
	case !ok:
		return o.deps, nil
	case o.deps != "":
		return "", usage("--deps and --build-context "+depsContext+": two deps contexts", "drop one of them")
	case isRemote(given):
		return "", usage(fmt.Sprintf("--build-context %s=%s: not a directory of this machine", depsContext, given),
			"check what is in it on a machine that has it as a directory; a build checks it anyway")
	}
	return given, nil
}

// A request is what a preflight is shown, and where the files are that
// findings may name otherwise than by their path in the context.
type request struct {
	preflight.Request
	root  string            // the context's absolute path
	paths map[string]string // absolute paths, by the names in findings
}

// request is what a preflight is shown, but for the deps context.
func (p *program) request(o *checkOptions, c *buildContext) (request, error) {
	df, file, err := p.readDockerfile(o.file, c.name)
	if err != nil {
		return request{}, err
	}
	wanted, err := parsePlatforms(o.platforms)
	if err != nil {
		return request{}, err
	}
	if len(wanted) == 0 {
		wanted = []string{ownPlatform()}
	}
	req := request{Request: preflight.Request{
		Dockerfile: df, Context: c.fs(), Platforms: wanted, BuildArgs: p.buildArgs(o.buildArgs), Target: o.target, Now: time.Now(),
	}}
	if req.Contexts, err = contextNames(o.contexts); err != nil {
		return request{}, err
	}
	if req.Files, err = c.files(file); err != nil {
		return request{}, err
	}
	if o.policy != "" {
		if req.Policy, err = readPolicy(o.policy); err != nil {
			return request{}, err
		}
	}
	if o.input != "" {
		pkgs, err := parseInput(o.input)
		if err != nil {
			return request{}, err
		}
		req.Input = inputJSON(pkgs)
	}
	return req, req.locate(c.name, map[string]string{df.Name: file, o.policy: o.policy})
}

// locate takes note of where files are; paths are by the names in findings.
func (r *request) locate(root string, paths map[string]string) (err error) {
	if r.root, err = filepath.Abs(root); err != nil {
		return err
	}
	r.paths = map[string]string{}
	for name, at := range paths {
		if at == "" {
			continue // standard input, or none
		}
		if r.paths[name], err = filepath.Abs(at); err != nil {
			return err
		}
	}
	return nil
}

// readPolicy reads the organisation's policy. One that cannot be read grants
// nothing and stops everything.
func readPolicy(name string) (*policy.Policy, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, usage(fmt.Sprintf("policy %s: %v", name, bare(err)), "")
	}
	pol, err := policy.ParsePolicy(name, data, preflight.RuleSet())
	return pol, unfit(err)
}

// unfit turns what is wrong with the files that grant and demand into a misuse:
// nothing can be said of a build until they are mended.
func unfit(err error) error {
	if e, ok := errors.AsType[*policy.Errors](err); ok {
		return &fault{code: exitUsage, lines: e.Error(),
			text: e.Problems[0].Origin.File + ": " + count(len(e.Problems), "problem", "problems") + "; nothing was checked"}
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && slices.Contains([]string{policy.ProjectFile, policy.SignatureFile}, filepath.Base(e.Path)) {
		return usage(filepath.Base(e.Path)+": "+e.Err.Error(), "")
	}
	return err
}

// contextNames are the names of named contexts, in lower case.
func contextNames(flags []string) ([]string, error) {
	var names []string
	for _, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if !ok || name == "" || value == "" {
			return nil, usage(fmt.Sprintf("--build-context %q: want NAME=VALUE", f), "")
		}
		names = append(names, strings.ToLower(name))
	}
	return names, nil
}

// contextValue is the value of a named context, the last one.
func contextValue(flags []string, name string) (value string, ok bool) {
	for _, f := range flags {
		if n, rest, _ := strings.Cut(f, "="); strings.EqualFold(n, name) {
			value, ok = rest, true
		}
	}
	return value, ok
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
// has in the context, as lockfiles do. Its path is "" for standard input.
func (p *program) readDockerfile(file, context string) (df preflight.Dockerfile, path string, err error) {
	if file == "-" {
		data, err := io.ReadAll(p.stdin)
		return preflight.Dockerfile{Name: "Dockerfile", Data: data}, "", err
	}
	if path = file; path == "" {
		path = filepath.Join(context, "Dockerfile")
	}
	data, err := os.ReadFile(path)
	if file == "" && errors.Is(err, fs.ErrNotExist) {
		lower := filepath.Join(context, "dockerfile")
		if data, err := os.ReadFile(lower); err == nil {
			return preflight.Dockerfile{Name: "dockerfile", Data: data}, lower, nil
		}
	}
	if err != nil {
		return preflight.Dockerfile{}, "", trouble(fmt.Sprintf("%s: %v", path, bare(err)), "name the Dockerfile with -f FILE")
	}
	name := path
	if rel, err := filepath.Rel(context, path); err == nil && filepath.IsLocal(rel) {
		name = filepath.ToSlash(rel)
	}
	return preflight.Dockerfile{Name: name, Data: data}, path, nil
}

// publish prints a report: what was asked for to standard output, the verdict
// to standard error. The error is that of a build that the report would stop.
func (p *program) publish(r *preflight.Report, format string, req request) error {
	var out any
	switch format {
	case formatJSON:
		out = append([]preflight.Finding{}, r.Findings...)
	case formatReport:
		out = r
	case formatSARIF:
		out = (&sarifWriter{request: req}).log(r)
	default:
		if text := preflight.Text(r.Findings); text != "" {
			fmt.Fprintln(p.stdout, text)
		}
	}
	if out != nil {
		encoder := json.NewEncoder(p.stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(out); err != nil {
			return err
		}
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	v, err := parseVerdict(data)
	if err != nil {
		return err
	}
	p.say("%s", v.counts())
	for _, line := range append(v.details(), v.last()) {
		fmt.Fprintln(p.stderr, line)
	}
	if v.count(preflight.Error) > 0 {
		return exited(exitRefused)
	}
	return nil
}
