package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

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
			d.Files = os.DirFS(at)
			d.Env, d.Project, err = cache.ParseBuildConfig(filepath.Join(at, configFile), text)
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
		return ecosystem.Layout(plan.Inputs, cache.File{}).Check(tree), nil
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
