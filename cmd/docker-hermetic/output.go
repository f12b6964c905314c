package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tonistiigi/go-csvvalue"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/artifact"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// The layouts of an output directory.
const (
	layoutView    = "view"    // what a build takes as its deps context
	layoutHermeto = "hermeto" // the tree that Hermeto makes
)

// configFile is where an output directory of Hermeto keeps its environment.
const configFile = ".build-config.json"

// markers are the files by which an output directory is known as one.
var markers = map[string]string{layoutView: cache.ManifestFile, layoutHermeto: configFile}

// An output is what is to be written where; dir is "" for the store's own
// place.
type output struct {
	manifest *cache.Manifest
	dir      string
	layout   string
	source   string // the absolute path of the build context
	bom      []byte // of a tree: its bill of materials

	oci    string             // the directory of an OCI layout; "" for none
	push   artifact.Reference // where in a registry; zero for nowhere
	verify bool               // read again what was written before
	quiet  bool               // no words about what was sent
}

// directory tells whether a deps context or a tree is to be written.
func (o output) directory() bool { return o.dir != "" || !o.image() }

// image tells whether an image is to be made.
func (o output) image() bool { return o.oci != "" || o.push != (artifact.Reference{}) }

// destination is the output that the flags ask for.
func (o *prefetchOptions) destination() (output, error) {
	out := output{layout: o.layout, verify: o.verify, quiet: o.progress == "quiet" || o.progress == "json"}
	var err error
	if out.dir, out.oci, err = splitOutput(o.output); err != nil {
		return output{}, usage(fmt.Sprintf("--output %s: %v", o.output, err), "an example is --output type=oci,dest=deps")
	}
	if o.push != "" {
		if out.push, err = artifact.ParseReference(o.push); err != nil {
			return output{}, usage(fmt.Sprintf("--push %s: %v", o.push, err), "an example is --push registry.example.com/app-deps:1.2")
		}
		if o.offline {
			return output{}, usage("--push and --offline: a registry is a network", "drop one of them, or write an image with --output type=oci,dest=DIR")
		}
	}
	switch {
	case o.layout == layoutHermeto && out.oci != "":
		return output{}, usage("--layout hermeto: an image holds what a build takes, not a tree of Hermeto", "drop one of them")
	case o.layout == layoutHermeto && out.dir == "":
		return output{}, usage("--layout hermeto: no --output to write it to", "add --output DIR")
	}
	return out, nil
}

// splitOutput reads --output: a directory, or buildx's notation for an OCI
// layout.
func splitOutput(text string) (dir, oci string, err error) {
	if !strings.HasPrefix(text, "type=") {
		return text, "", nil
	}
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return "", "", err
	}
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch {
		case key == "type" && value == "oci", key == "tar" && value == "false": // what buildx calls a layout
		case key == "type":
			return "", "", fmt.Errorf("type %q: want oci", value)
		case key == "dest":
			oci = value
		default:
			return "", "", fmt.Errorf("%q: want type=oci,dest=DIR", f)
		}
	}
	if oci == "" {
		return "", "", errors.New("no dest=DIR")
	}
	return "", oci, nil
}

// writable refuses directories that hold something else: what is in an output
// directory will be gone.
func (o output) writable() error {
	if o.dir != "" {
		return replaceable(o.dir, markers[o.layout])
	}
	if o.oci == "" {
		return nil
	}
	if err := artifact.CheckLayout(o.oci); err != nil {
		return trouble(fmt.Sprintf("--output %s: %v", o.oci, bare(err)), "name a directory that does not exist yet")
	}
	return nil
}

// write makes the output and is its absolute path.
func write(ctx context.Context, store *cache.Store, plan cache.Plan, o output) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	dir := o.dir
	if dir != "" {
		var err error
		if dir, err = realPath(dir); err != nil {
			return "", fmt.Errorf("--output %s: %w", o.dir, bare(err))
		}
	}
	if o.layout != layoutHermeto {
		return store.View(o.manifest, dir)
	}
	view, err := store.View(o.manifest, "")
	if err != nil {
		return "", err
	}
	src, err := cache.OpenView(view, o.manifest)
	if err != nil {
		return "", err
	}
	defer src.Close()
	o.dir = dir
	return dir, replaceDir(dir, func(tmp string) error {
		return writeTree(ctx, tmp, o.tree(plan), src)
	})
}

// tree is that of a plan, as far as the manifest has it.
func (o output) tree(plan cache.Plan) cache.Layout {
	inputs := o.manifest.Resolve(plan.Inputs)
	env := slices.Concat(plan.Env, ecosystem.Env(inputs), ecosystem.OutputEnv(plan))
	project := o.manifest.Fill(plan.Project, plan.Inputs)
	for _, f := range plan.Output {
		f.Path = filepath.Join(o.dir, filepath.FromSlash(f.Path))
		project = append(project, f)
	}
	l := ecosystem.Layout(inputs, cache.BuildConfigOf(env, project, o.source))
	l.Extra = append(l.Extra, cache.File{Path: bomFile, Data: o.bom})
	return l
}

// writeTree writes a layout to the empty directory dir.
func writeTree(ctx context.Context, dir string, l cache.Layout, src cache.Source) error {
	problems, err := l.Write(dir, src)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		var lines strings.Builder
		for _, p := range problems {
			fmt.Fprintln(&lines, p)
		}
		return &fault{code: exitRefused, lines: lines.String(), text: "the store is damaged; nothing was written",
			hints: []string{"run again with --verify: it fetches what is damaged again"}}
	}
	return context.Cause(ctx)
}

// replaceDir makes dir what fill puts into an empty directory, in one step: who
// looks sees the old tree or the new one, and a fill that does not succeed
// leaves the old one. A process that is killed may leave a directory
// ".hermetic-…" beside dir.
func replaceDir(dir string, fill func(tmp string) error) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	stage, err := os.MkdirTemp(parent, ".hermetic-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	fresh, old := filepath.Join(stage, "new"), filepath.Join(stage, "old")
	if err := os.Mkdir(fresh, 0o755); err != nil {
		return err
	}
	if err := fill(fresh); err != nil {
		return err
	}
	err = os.Rename(dir, old)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	had := err == nil
	if err := os.Rename(fresh, dir); err != nil {
		if had {
			os.Rename(old, dir) // the tree that was there is better than none
		}
		return err
	}
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
