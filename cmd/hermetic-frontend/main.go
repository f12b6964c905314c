// Command hermetic-frontend is the frontend image's one program: started by
// BuildKit without arguments it is the frontend, and with "layout" it is the
// step inside a build that verifies and lays out the deps context.
package main

import (
	"fmt"
	"os"

	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/util/appcontext"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // the codec that the daemon speaks

	"github.com/hermetic-build/hermetic/frontend"
)

func main() {
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
