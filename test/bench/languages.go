package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// A language is a package manager beside which a cold prefetch is measured.
type language struct {
	name  string // the package type
	what  string
	tool  string  // the program that must be there
	bound float64 // of the ratio
	n     int     // packages

	make func(m *maker, r registry, url string, n int) (tree, error)
	// median and spread are those of packages of people, see newMaker.
	median, spread float64
	input          string // how the package is described; "" will do for most
	// mirror is where below the registry the package manager looks.
	mirror string
	// fetch is the tool's own command in a copy of the project, with nothing
	// cached. empty is a directory for what it makes.
	fetch func(url, empty string) (args, env []string)
}

var languages = []language{{
	name: "cargo", what: "crates / cargo fetch", tool: "cargo", bound: 0.5, n: 600, make: (*maker).crates, median: 100e3, spread: 1, mirror: "/index/",
	fetch: func(_, empty string) (args, env []string) {
		return []string{"fetch", "--quiet", "--locked"}, []string{"CARGO_HOME=" + empty}
	},
}, {
	name: "pip", what: "wheels / pip download", tool: "python3", bound: 0.3, n: 100, make: (*maker).wheels, median: 500e3, spread: 1.3, mirror: "/simple/", input: `{"type": "pip", "binary": {}}`,
	fetch: func(url, empty string) (args, env []string) {
		return []string{"-m", "pip", "download", "--isolated", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
			"--no-deps", "--require-hashes", "--index-url", url + "/simple/", "--dest", empty, "--requirement", "requirements.txt"}, nil
	},
}, {
	name: "npm", what: "packages / npm ci --ignore-scripts", tool: "npm", bound: 0.4, n: 1000, make: (*maker).npm, median: 25e3, spread: 1.3, mirror: "/",
	fetch: func(url, empty string) (args, env []string) {
		return []string{"ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--registry", url + "/", "--cache", empty}, nil
	},
}}

// fetching are the rounds of a comparison with a package manager: each takes
// seconds.
const fetching = 3

// languages compares cold prefetches with the package managers, which fetch the
// same from the same registry.
func (b *bench) languages(ctx context.Context, l language) error {
	if _, err := exec.LookPath(l.tool); err != nil {
		fmt.Printf("%-58s not measured: no %s on this machine\n", l.what, l.tool)
		return nil
	}
	dir, url, err := b.made(ctx, l, l.n)
	if err != nil {
		return err
	}
	var ours, theirs sample
	var peak int64
	for i := range fetching {
		run := prefetchRun{project: dir, store: filepath.Join(b.dir, fmt.Sprint(l.name, "-store-", i)), args: l.mirrored(url)}
		native := func() error {
			took, err := b.native(ctx, l, dir, url)
			theirs = append(theirs, took)
			return err
		}
		own := func() error {
			f, err := b.prefetched(ctx, run)
			ours, peak = append(ours, f.took), max(peak, f.peakMB)
			return err
		}
		for _, f := range inTurns(i, own, native) {
			if err := f(); err != nil {
				return err
			}
		}
		os.RemoveAll(run.store)
	}
	ratio(fmt.Sprintf("cold prefetch of %d %s", l.n, l.what), ours, theirs, l.bound)
	limit("its peak memory", float64(peak), "MB", maxPeak)
	return nil
}

// again measures a second run in which nothing changed, of 5,000 inputs of each
// package type.
func (b *bench) again(ctx context.Context) error {
	const inputs = 5000
	project, proxy, err := b.madeModules(ctx, inputs/2) // a zip and a go.mod each
	if err != nil {
		return err
	}
	runs := map[string]prefetchRun{"gomod": {project: project, env: []string{"GOPROXY=" + proxy}}}
	for _, l := range languages {
		l.median, l.spread = 4e3, 0.5
		dir, url, err := b.made(ctx, l, inputs)
		if err != nil {
			return err
		}
		runs[l.name] = prefetchRun{project: dir, args: l.mirrored(url)}
	}
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		r := runs[name]
		r.store = filepath.Join(b.dir, "again-"+name)
		var took sample
		peak := int64(0)
		for i := range b.rounds + 1 {
			f, err := b.prefetched(ctx, r)
			if err != nil {
				return err
			}
			if peak = max(peak, f.peakMB); i > 0 {
				took = append(took, f.took)
			}
		}
		limit(fmt.Sprintf("prefetch of %d %s inputs again, nothing changed", inputs, name), took.median().Seconds(), "s", 0.3)
		limit("peak memory, the first time included", float64(peak), "MB", maxPeak)
	}
	return nil
}

// mirrored are the arguments that lead prefetch to the registry at url.
func (l language) mirrored(url string) []string {
	args := []string{"--mirror", l.name + "=" + url + l.mirror}
	if l.input != "" {
		args = append(args, "--input", l.input)
	}
	return args
}

// made serves n packages and writes the project that needs them.
func (b *bench) made(ctx context.Context, l language, n int) (dir, url string, err error) {
	r := registry{}
	if url, err = serve(ctx, r); err != nil {
		return "", "", err
	}
	p, err := l.make(newMaker(l.median, l.spread), r, url, n)
	if err != nil {
		return "", "", err
	}
	dir = filepath.Join(b.dir, fmt.Sprint(l.name, "-", n))
	return dir, url, writeFiles(dir, p)
}

// native runs the package manager's own command in a copy of the project.
func (b *bench) native(ctx context.Context, l language, project, url string) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "native-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, "project"), os.DirFS(project)); err != nil {
		return 0, err
	}
	args, env := l.fetch(url, filepath.Join(dir, "empty"))
	cmd := exec.CommandContext(ctx, l.tool, args...)
	cmd.Dir = filepath.Join(dir, "project")
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	took, err := timed(cmd.Run)
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", l.tool, err, out.String())
	}
	return took, err
}

// inTurns are the two sides of round i: each goes first in every other round.
func inTurns(i int, ours, theirs func() error) []func() error {
	if i%2 == 0 {
		return []func() error{ours, theirs}
	}
	return []func() error{theirs, ours}
}
