// Command hermetic-frontend is the frontend image's one program: started by
// BuildKit without arguments it is the frontend, and with "layout" it is the
// step inside a build that verifies and lays out the deps context.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/moby/buildkit/util/appcontext"

	"github.com/hermetic-build/hermetic/frontend"
)

// ballast is memory that is never touched, and so costs none. The garbage
// collector counts it: with it the first collection comes when the program has
// made some 110 MB. The program lives for a fraction of a second, and a build in
// which nothing changed waits for it. Beyond that it collects as often as its
// size asks for, and near memoryLimit more often, so that hostile files cannot
// fill the machine.
const (
	ballast     = 220 << 20 // bytes
	gcPercent   = 50
	memoryLimit = ballast + 320<<20 // bytes; the ballast counts, though it costs none
)

func main() {
	weight := make([]byte, ballast)
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	err := run(os.Args[1:])
	runtime.KeepAlive(weight)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hermetic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		return serve(appcontext.Context(), frontend.Build)
	case len(args) == 1 && args[0] == frontend.LayoutVerb:
		return frontend.RunLayout()
	}
	return fmt.Errorf("arguments %q: BuildKit starts this program; people use hermetic", args)
}
