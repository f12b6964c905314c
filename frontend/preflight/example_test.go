package preflight_test

import (
	"fmt"
	"testing/fstest"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

func Example() {
	lockfiles := fstest.MapFS{
		"go.mod": {Data: []byte("module example.com/app\n\ngo 1.26\n\nrequire golang.org/x/mod v0.41.0\n")},
		"go.sum": {Data: []byte("golang.org/x/mod v0.41.0 h1:e+6AVn+6SCrLYHwguuUB59gikprbLZ+Z0dwPTCafKH4=\n")},
	}
	report, err := preflight.Run(preflight.Request{
		Dockerfile: preflight.Dockerfile{
			Name: "Dockerfile",
			Data: []byte("FROM scratch\nCOPY . .\nRUN --network=host go build .\n"),
		},
		Context: lockfiles,
		Deps:    nil, // the build has no --build-context hermetic=DIR
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(preflight.Text(report.Findings))
	for _, f := range report.Findings {
		fmt.Printf("%s is drawn under line %d of the Dockerfile\n", f.Rule.Name, f.Line)
	}
	fmt.Println("stops the build:", report.Err() != nil)
	// Output:
	// MissingInput: 1 input is not in the cache
	// go.sum: 1 input: not in the cache: the build has no deps context
	// hint: run "hermetic prefetch CONTEXT" and pass the directory that it prints: --build-context hermetic=DIR
	// see https://github.com/hermetic-build/hermetic/blob/main/docs/rules/MissingInput.md
	// RunNetwork: 1 instruction asks for a network and does not get one
	// Dockerfile:3: RUN --network=host: sealed all the same
	// hint: remove --network: every RUN is sealed
	// see https://github.com/hermetic-build/hermetic/blob/main/docs/rules/RunNetwork.md
	// MissingInput is drawn under line 3 of the Dockerfile
	// RunNetwork is drawn under line 3 of the Dockerfile
	// stops the build: true
}
