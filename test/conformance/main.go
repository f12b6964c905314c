// Command conformance runs BuildKit's own tests of its Dockerfile frontend, in
// the version of go.mod, against upstream's frontend and against ours:
//
//	go run ./test/conformance [-run REGEXP]
//
// It prints a column of figures for each, and by name and reason what passes
// with upstream's and not with ours. There are three columns:
//
//	stock        upstream's frontend
//	ours         dist/hermetic-frontend.oci.tar, as shipped
//	with policy  the tests that fail with ours, save those that a rule stopped from
//	             which there is no exception, once more, with the image of ours
//	             and policy.yaml in it
//
// A test that fails with ours is accounted for when it passes in the third
// column, or when intended.txt lists it with a reason. One whose output names no
// rule is run without the policy again, so that chance is not taken for an effect
// of the policy. The exit status is 1 when
// one is not, when an entry of intended.txt covers no such test any more, or
// when the stock column shows that the seeds are not good enough.
//
// docs/conformance.md has the figures and what they mean.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/hermetic-build/hermetic/internal/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	only := flag.String("run", "", "run only the tests whose names match this regular expression")
	flag.Parse()
	list, errs := parseIntended("test/conformance/intended.txt", intendedText)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	l, err := lab.Start(ctx, lab.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r, err := newRunner(ctx, l)
	if err != nil {
		return err
	}
	selected := every
	if *only != "" {
		selected = "^" + root + "$/(" + *only + ")/^worker=oci$/"
	}
	rep, err := r.columns(ctx, selected)
	if err != nil {
		return err
	}
	rep.apply(list)
	if *only != "" {
		rep.stale = nil
	}
	rep.print(os.Stdout)
	return rep.err()
}

// newRunner makes everything that the runs need.
func newRunner(ctx context.Context, l *lab.Lab) (*runner, error) {
	r := &runner{lab: l, dir: filepath.Join(l.Dir(), "conformance")}
	r.mirror = filepath.Join(r.dir, "mirror")
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if r.binary, err = compile(ctx, l.Repo(), r.dir); err != nil {
		return nil, err
	}
	if err := r.images(ctx); err != nil {
		return nil, err
	}
	return r, seed(ctx, l, r.mirror)
}

// image is the archive of a column's frontend.
func (r *runner) image(name string) string { return filepath.Join(r.dir, name+".oci.tar") }

// images makes the frontends' images. Ours is a copy, so that all columns show
// the same even if somebody builds it anew in the meantime.
func (r *runner) images(ctx context.Context) error {
	if err := stockImage(ctx, r.lab, r.image(stock)); err != nil {
		return err
	}
	shipped := filepath.Join(r.lab.Repo(), "dist", "hermetic-frontend.oci.tar")
	if err := copyFile(r.image(ours), shipped); err != nil {
		return fmt.Errorf("%w: run: make image", err)
	}
	cmd := exec.CommandContext(ctx, "make", "-s", "-C", r.lab.Repo(), "image",
		"IMAGE="+r.image(excepting), "POLICY=test/conformance/policy.yaml")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w\n%s", err, out)
	}
	return nil
}

// columns runs the suite with each frontend.
func (r *runner) columns(ctx context.Context, selected string) (*report, error) {
	rep := new(report)
	var err error
	if rep.stock, err = r.run(ctx, job{"stock", stock, selected}); err != nil {
		return nil, err
	}
	if rep.ours, err = r.run(ctx, job{"ours", ours, selected}); err != nil {
		return nil, err
	}
	rep.differences = worse(rep.stock, rep.ours)
	if parts := rep.exceptable(); len(parts) > 0 {
		if rep.policy, err = r.run(ctx, job{"policy", excepting, pattern(parts)}); err != nil {
			return nil, err
		}
		rep.noteExcepted()
	}
	if parts := rep.unnamed(); len(parts) > 0 {
		again, err := r.run(ctx, job{"again", ours, pattern(parts)})
		if err != nil {
			return nil, err
		}
		rep.noteAgain(again)
	}
	return rep, nil
}
