// Command bench measures what a sealed build costs, side by side with what
// people use today, in one run on one machine: the ratios are the result, the
// seconds are only theirs.
//
//	go run ./test/bench [-run REGEXP] [-n ROUNDS]
//
// Everything is real and on loopback: buildkitd, buildx, the registry, the go
// command, and a module proxy that serves the machine's own module cache.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/hermetic-build/hermetic/internal/lab"
)

// bench is what the measurements share.
type bench struct {
	lab    *lab.Lab
	dir    string // scratch, on the lab's file system
	rounds int
	images map[string]string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	only := flag.String("run", "", "measure only what this regular expression matches")
	rounds := flag.Int("n", 11, "rounds of each build")
	flag.Parse()
	want, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	b := &bench{rounds: *rounds, images: map[string]string{}}
	if b.lab, err = lab.Start(ctx, lab.Options{}); err != nil {
		return err
	}
	defer func() {
		if cerr := b.lab.Close(); err == nil {
			err = cerr
		}
	}()
	if b.dir, err = os.MkdirTemp(b.lab.Dir(), "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for _, name := range []string{"busybox", "frontend", "dockerfile"} {
		if b.images[name], err = b.lab.Image(ctx, name); err != nil {
			return err
		}
	}
	for _, m := range b.measurements() {
		if want.MatchString(m.name) {
			if err := m.f(ctx); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

// A measurement prints some rows. The flag -run chooses by its name.
type measurement struct {
	name string
	f    func(context.Context) error
}

func (b *bench) measurements() []measurement {
	all := []measurement{{"prefetch", b.prefetch}}
	for _, l := range languages {
		all = append(all, measurement{l.name, func(ctx context.Context) error { return b.languages(ctx, l) }})
	}
	return append(all, []measurement{
		{"again", b.again}, {"memory", b.memory}, {"verification", b.verification}, {"changed", b.changed},
		{"noop", b.noop}, {"many", b.many}, {"missing", b.missing}, {"rules", b.rules}, {"steps", b.steps}, {"scale", b.scale},
	}...)
}

// sample is a series of durations.
type sample []time.Duration

func (s sample) median() time.Duration { return median(s) }

func median[S ~[]T, T cmp.Ordered](s S) T {
	t := slices.Clone(s)
	slices.Sort(t)
	return t[len(t)/2]
}

// ratio prints one comparison: medians, and the ratio next to its bound.
func ratio(what string, ours, theirs sample, bound float64) {
	r := float64(ours.median()) / float64(theirs.median())
	fmt.Printf("%-58s %8.3fs / %8.3fs = %5.2f  (%s %.2f)\n", what, ours.median().Seconds(), theirs.median().Seconds(), r, verdict(r <= bound), bound)
}

// limit prints one figure next to what it may be at most.
func limit(what string, value float64, unit string, bound float64) {
	fmt.Printf("%-58s %8.3g %-2s %21s(%s %g %s)\n", what, value, unit, "", verdict(value <= bound), bound, unit)
}

// atLeast prints two figures, and next to the bound what part of theirs ours is.
func atLeast(what string, ours, theirs, bound float64) {
	r := ours / theirs
	fmt.Printf("%-58s %9.3f / %9.3f = %5.2f  (%s %.2f)\n", what, ours, theirs, r, verdict(r >= bound), bound)
}

// verdict is the word that stands before a bound.
type verdict bool

func (within verdict) String() string {
	if within {
		return "within"
	}
	return "OVER"
}

// timed runs f and tells how long it took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}
