// Command docker-hermetic brings the dependencies of a build onto this machine,
// checks that a build needs nothing else, and starts the build with the network
// shut. It is a docker plugin, "docker hermetic …", and the same binary runs on
// its own under any other name, "hermetic …".
//
// Where to look: run.go has the commands, tui.go the voice; prefetch.go,
// check.go and build.go are a command each. What a build is handed is decided
// in build.go and carried out by buildx.go (buildx) or solve.go (BuildKit).
//
// Exit codes: 0 good, 1 trouble, 2 usage, 3 inputs are missing or a rule is
// broken; of a build that was started, the builder's own; 128 and the signal's
// number where a signal ended the program.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// ballast is memory that is never touched, and so costs none; the garbage
// collector counts it. With it the first collection comes when the program has
// made some 50 MB, not 4: a run in which nothing changed is over by then. Beyond
// that it collects more often than by default, not less.
const (
	ballast   = 96 << 20 // bytes
	gcPercent = 50
)

func main() {
	weight := make([]byte, ballast)
	debug.SetGCPercent(gcPercent)
	code := mainExit()
	runtime.KeepAlive(weight)
	os.Exit(code)
}

// mainExit is the program with the process around it; its result is the exit
// code.
func mainExit() int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	return run(ctx, os.Args, os.Environ(), streams{os.Stdin, os.Stdout, os.Stderr})
}

// untilSignal is a context that the first interrupt or termination ends; its
// cause is an *interruption. The second one ends the process at once.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&interruption{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
