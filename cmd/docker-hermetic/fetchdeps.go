package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

type fetchDepsOptions struct {
	fetchOptions
	source string
	output string
	format string
}

const fetchDepsLong = `Fetch what the lockfiles of PKG name and write an output directory as Hermeto
does: deps, .build-config.json and bom.json. Arguments and exit codes are
Hermeto's; what differs on purpose is in docs/hermeto.md.

PKG is a package type, JSON, or a file with JSON. The directory is changed only
once all is there.`

func (h *hermetoProgram) fetchDepsCommand() *cobra.Command {
	var o fetchDepsOptions
	cmd := &cobra.Command{
		Use:                   "fetch-deps [flags] PKG",
		Short:                 "Fetch dependencies as Hermeto does",
		Long:                  fetchDepsLong,
		Example:               "  $ " + h.own() + " fetch-deps --source . '{\"type\": \"gomod\", \"path\": \".\"}'",
		Args:                  exactly(1, "PKG"),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return h.fetchDeps(cmd.Context(), &o, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.source, "source", ".", "the `DIR` that PKG is in, of a git repository")
	flags.StringVar(&o.output, "output", "./"+h.app+"-output", "write to `DIR`")
	flags.Var(word(&o.format, "cyclonedx", "spdx"), "sbom-output-type", "format of bom.json: cyclonedx, spdx")
	flags.Var(word(&o.progress, progressModes...), "progress", "how progress is shown: "+strings.Join(progressModes, ", "))
	for _, name := range []string{"cgo-disable", "dev-package-managers", "force-gomod-tidy", "gomod-vendor", "gomod-vendor-check"} {
		flags.Bool(name, false, "accepted; changes nothing")
		flags.Lookup(name).Hidden = true
	}
	completeWords(cmd, "sbom-output-type", "cyclonedx", "spdx")
	completeWords(cmd, "progress", progressModes...)
	return cmd
}

// own is what people type to reach these commands.
func (h *hermetoProgram) own() string {
	if h.standsIn {
		return h.app
	}
	return "hermetic"
}

// exactly is the arguments of a command that takes n of them.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usage(fmt.Sprintf("%s: %d arguments where %s is expected", cmd.Name(), len(args), what),
			fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
	}
}

// fetchDeps is the whole of "fetch-deps".
func (h *hermetoProgram) fetchDeps(ctx context.Context, o *fetchDepsOptions, pkg string) error {
	config, err := h.configuration()
	if err != nil {
		return err
	}
	if err := config.apply(&o.fetchOptions); err != nil {
		return err
	}
	c, err := openContext(o.source)
	if err != nil {
		return usage("--source "+err.Error(), "")
	}
	defer c.Close()
	pkgs, err := hermetoInput(pkg)
	if err != nil {
		return err
	}
	if err := present(c, pkgs); err != nil {
		return err
	}
	from, err := h.repository(o.source, pkgs)
	if err != nil {
		return err
	}
	plan, err := h.hermetoPlan(c, pkgs, from)
	if err != nil {
		return err
	}
	plan.Env = append(plan.Env, config.environment(pkgs)...)
	store, done, err := h.anyStore(&o.fetchOptions)
	if err != nil {
		return err
	}
	defer done()
	o.rawErrors = true
	switch {
	case config.on("pip.ignore_dependencies_crates"):
		o.crates = fetch.CratesIgnored
	case h.mode != "permissive":
		o.crates = fetch.CratesRequired
	}
	manifest, err := h.fetch(ctx, store, plan, &o.fetchOptions)
	if err != nil {
		return hermetoFault(err)
	}
	plan = ecosystem.Complete(plan, manifest)
	config.markProxied(plan.Inputs)
	text, err := h.bill(plan, bill{manifest, from.at, o.format})
	if err != nil {
		return err
	}
	source, err := realPath(o.source)
	if err != nil {
		return err
	}
	return writeHermeto(ctx, store, plan, output{manifest: manifest, dir: o.output, source: source, bom: text})
}

// hermetoInput reads PKG.
func hermetoInput(pkg string) ([]cache.Package, error) {
	text := strings.TrimSpace(pkg)
	if info, err := os.Stat(pkg); err == nil && info.Mode().IsRegular() {
		data, err := os.ReadFile(pkg)
		if err != nil {
			return nil, usage(fmt.Sprintf("PKG %s: %v", pkg, bare(err)), "")
		}
		text = string(data)
	}
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		if err := json.Unmarshal([]byte(text), new(any)); err != nil {
			return nil, usage("PKG: not JSON: "+err.Error(), `an example is '{"type": "gomod", "path": "."}'`)
		}
	}
	pkgs, err := ecosystem.ParsePackages(text)
	if err != nil {
		return nil, refused(codeInput, err.Error(), `an example is '{"type": "gomod", "path": "."}'`)
	}
	return pkgs, nil
}

// present finds packages whose directories are not there.
func present(c *buildContext, pkgs []cache.Package) error {
	var gone []string
	for _, p := range pkgs {
		if info, err := c.root.Stat(filepath.FromSlash(p.Path)); err != nil || !info.IsDir() {
			gone = append(gone, fmt.Sprintf("package %s: no such directory in %s", p, c.name))
		}
	}
	if len(gone) > 0 {
		return refused(codeInput, strings.Join(gone, "\n"))
	}
	return installed(c, pkgs)
}

// installed finds packages of npm that are installed in the source already: npm
// would take what is there for what was fetched.
func installed(c *buildContext, pkgs []cache.Package) error {
	var there []string
	for _, p := range pkgs {
		name := path.Join(p.Path, "node_modules")
		if _, err := c.root.Lstat(filepath.FromSlash(name)); err == nil && p.Type == "npm" {
			there = append(there, name+": a directory of installed packages in the source")
		}
	}
	if len(there) > 0 {
		return refused(codeRejected, strings.Join(there, "\n"), "fetch for a source as it is in the repository, without node_modules")
	}
	return nil
}

// origins are what is known of where a source comes from.
type origins struct {
	repository
	revisions map[string]ecosystem.Revision
}

// repository finds out where the source comes from, which a bill of materials
// says of all that is its own.
func (h *hermetoProgram) repository(source string, pkgs []cache.Package) (origins, error) {
	repo, err := openRepository(source)
	switch {
	case err == nil:
	case h.mode == "permissive" && (errors.Is(err, errNoRepository) || errors.Is(err, errNoOrigin)):
		h.say("%s: %v; the bill of materials does not say where it comes from", source, err)
	case errors.Is(err, errNoRepository):
		return origins{}, refused(codeNoGit, fmt.Sprintf("%s: %v", source, err), "--mode permissive does without")
	case errors.Is(err, errNoOrigin):
		return origins{}, refused(codeNoOrigin, fmt.Sprintf("%s: %v", source, err), "git remote add origin URL", "--mode permissive does without")
	default:
		return origins{}, refused(codeGit, fmt.Sprintf("%s: %v", source, err))
	}
	var dirs []string
	for _, p := range pkgs {
		dirs = append(dirs, p.Path)
	}
	return origins{repo, repo.revisions(source, dirs)}, nil
}

// vendorNote is how Hermeto marks what it lets pass.
const vendorNote = "hermeto:permissive-mode:gomod:vendor-directory-changed-after-vendoring"

// hermetoPlan is the plan of packages, without what Hermeto does not have: Go
// toolchains, and variables of npm, and of uv where nothing of it is locked.
func (h *hermetoProgram) hermetoPlan(c *buildContext, pkgs []cache.Package, from origins) (cache.Plan, error) {
	plan := ecosystem.New(c.fs(), pkgs, ecosystem.Options{
		Repository: from.revision().Repository, Revisions: from.revisions, Least: true,
		Registries: h.registries(),
	})
	plan.Inputs = slices.DeleteFunc(plan.Inputs, func(in cache.Input) bool { return in.Need == cache.Optional })
	uv := slices.ContainsFunc(plan.Locks, func(l cache.Lock) bool {
		return !strings.HasSuffix(l.File, ".txt") && ecosystem.Owner(l.File) == "pip"
	})
	plan.Env = slices.DeleteFunc(plan.Env, func(v cache.EnvVar) bool {
		return strings.HasPrefix(v.Name, "npm_config_") || !uv && strings.HasPrefix(v.Name, "UV_")
	})
	var problems []cache.Problem
	for _, warning := range plan.Warnings {
		if warning.Kind == cache.Behind && h.mode != "permissive" {
			problems = append(problems, warning) // cargo vendor --locked is one
			continue
		}
		h.say("warning: %s", warning)
	}
	for _, p := range plan.Problems {
		if p.Kind == cache.BadVendor && h.mode == "permissive" {
			h.say("warning: %s", p)
			for i, component := range plan.Components {
				if slices.Contains(component.Notes, "hermeto:backend:gomod") && !slices.Contains(component.Notes, vendorNote) {
					plan.Components[i].Notes = append(slices.Clone(component.Notes), vendorNote)
				}
			}
			continue
		}
		problems = append(problems, p)
	}
	if problems = cache.SortProblems(problems); len(problems) > 0 {
		return plan, listed(problems, count(len(problems), "problem", "problems")+"; nothing was fetched")
	}
	return plan, nil
}

// anyStore is the user's store; where there is no place for one, one that ends
// with this program.
func (p *program) anyStore(o *fetchOptions) (*cache.Store, func(), error) {
	if _, err := cache.DefaultDir(); err != nil && p.env["HERMETIC_STORE"] == "" {
		dir, err := os.MkdirTemp("", "hermetic-store-")
		if err != nil {
			return nil, nil, err
		}
		store, err := cache.Open(dir)
		return store, func() { os.RemoveAll(dir) }, err
	}
	store, err := p.openStore(o, nil)
	return store, func() {}, err
}

// hermetoFiles are what fetch-deps writes to an output directory, in the order
// in which they come into view: a directory with the last of them is complete.
var hermetoFiles = []string{"deps", bomFile, configFile}

// writeHermeto makes dir an output directory. It is made beside what is there
// and then takes its place; whatever else the directory holds stays. A process
// that is killed meanwhile may leave a directory ".hermetic-…" in it, and none
// of the old files or all of them.
func writeHermeto(ctx context.Context, store *cache.Store, plan cache.Plan, o output) error {
	dir := o.dir
	var err error
	if o.dir, err = realPath(dir); err != nil {
		return fmt.Errorf("--output %s: %w", dir, bare(err))
	}
	view, err := store.View(o.manifest, "")
	if err != nil {
		return err
	}
	src, err := cache.OpenView(view, o.manifest)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--output %s: %w", dir, bare(err))
	}
	stage, err := os.MkdirTemp(dir, ".hermetic-")
	if err != nil {
		return fmt.Errorf("--output %s: %w", dir, bare(err))
	}
	defer os.RemoveAll(stage)
	fresh, old := filepath.Join(stage, "new"), filepath.Join(stage, "old")
	for _, name := range []string{fresh, old, filepath.Join(fresh, "deps")} {
		if err := errors.Join(os.Mkdir(name, 0o777), os.Chmod(name, 0o777)); err != nil {
			return err
		}
	}
	if err := writeTree(ctx, fresh, o.tree(plan), src); err != nil {
		return err
	}
	return exchange(dir, fresh, old)
}

// exchange puts the files of fresh in the place of those of dir, which go to old;
// where that does not work out, they come back.
func exchange(dir, fresh, old string) error {
	var undo []func()
	back := func(err error) error {
		for _, f := range slices.Backward(undo) {
			f()
		}
		return err
	}
	move := func(from, to string) error {
		err := os.Rename(from, to)
		if err == nil {
			undo = append(undo, func() { os.Rename(to, from) })
		}
		return err
	}
	for _, name := range slices.Backward(hermetoFiles) {
		if err := move(filepath.Join(dir, name), filepath.Join(old, name)); err != nil && !os.IsNotExist(err) {
			return back(err)
		}
	}
	for _, name := range hermetoFiles {
		if err := move(filepath.Join(fresh, name), filepath.Join(dir, name)); err != nil {
			return back(err)
		}
	}
	return nil
}
