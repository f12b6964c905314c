// Command hermetic-frontend is the frontend image's one program: started by
// BuildKit without arguments it is the frontend, and with "layout" it is the
// step inside a build that verifies and lays out the deps context.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/util/appcontext"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec that the daemon speaks

	"github.com/hermetic-build/hermetic/frontend"
)

// memoryLimit is where the garbage collector sets in. The program lives for a
// fraction of a second and a build in which nothing changed waits for it, so
// below the limit it does not collect at all.
const memoryLimit = 256 << 20

func main() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hermetic:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		return grpcclient.RunFromEnvironment(appcontext.Context(), frontend.Build)
	case len(args) == 1 && args[0] == frontend.LayoutVerb:
		return frontend.RunLayout()
	}
	return fmt.Errorf("arguments %q: BuildKit starts this program; people use hermetic", args)
}
