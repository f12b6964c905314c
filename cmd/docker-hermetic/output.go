package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
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
	return dir, replaceDir(dir, func(tmp string) error {
		return writeTree(ctx, tmp, o.tree(plan), src)
	})
}

// tree is that of a plan, as far as the manifest has it.
func (o output) tree(plan cache.Plan) cache.Layout {
	return ecosystem.Layout(o.manifest.Resolve(plan.Inputs), cache.BuildConfigOf(plan.Env, plan.Project, o.source))
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
