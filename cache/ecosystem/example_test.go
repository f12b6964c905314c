package ecosystem_test

import (
	"fmt"
	"testing/fstest"

	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

func ExampleParsePackages() {
	for _, input := range []string{
		"gomod",
		`{"packages": [{"type": "gomod", "path": "tools"}, {"type": "gomod"}], "flags": ["gomod-vendor"]}`,
		`[{"type": "gomod", "path": "../elsewhere"}, {"type": "gomod", "paths": "."}]`,
	} {
		pkgs, err := ecosystem.ParsePackages(input)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(pkgs)
	}
	// Output:
	// [{"type":"gomod","path":"."}]
	// [{"type":"gomod","path":"."} {"type":"gomod","path":"tools"}]
	// prefetch input: package 1: path "../elsewhere": not a path inside the build context
	// prefetch input: package 2: key "paths": not one of type, path
}

func Example() {
	context := fstest.MapFS{
		"go.mod": {Data: []byte("module example.com/main\n\ngo 1.26.1\n\nrequire example.com/a v1.0.0\n")},
		"go.sum": {Data: []byte("example.com/a v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.com/b v1.0.0\n")},
	}
	pkgs, err := ecosystem.Discover(context)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan := ecosystem.New(context, pkgs, ecosystem.Options{Platforms: []string{"linux/amd64"}})
	for _, in := range plan.Inputs {
		fmt.Println(in.Origin, in.Subject())
	}
	for _, p := range plan.Problems {
		fmt.Println(p)
	}
	for _, f := range ecosystem.Extras(plan.Inputs[:1]) {
		fmt.Println(f.Path)
	}
	// Output:
	// go.sum:1 example.com/a@v1.0.0
	// go.mod:3 golang.org/toolchain@v0.0.1-go1.26.1.linux-amd64
	// go.sum:2: want 3 fields, found 2
	// deps/gomod/pkg/mod/cache/download/example.com/a/@v/list
	// deps/gomod/pkg/mod/cache/download/example.com/a/@v/v1.0.0.info
	// deps/gomod/pkg/mod/cache/download/example.com/a/@v/v1.0.0.ziphash
}
