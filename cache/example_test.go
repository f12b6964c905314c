package cache_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hermetic-build/hermetic/cache"
)

func ExampleParseSum() {
	for _, text := range []string{
		"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", // as npm's lockfiles have it
		"h1mod:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",  // of a lone go.mod file
		"md4:31d6cfe0d16ae931b73c59d7e0c089c0",
	} {
		sum, err := cache.ParseSum(text)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(sum.Algorithm(), sum.Notation())
	}
	// Output:
	// sha256 sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
	// h1mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
	// checksum "md4:31d6cfe0d16ae931b73c59d7e0c089c0": unknown algorithm
}

func ExampleManifest_Missing() {
	have := cache.Input{
		Ecosystem: "gomod", Kind: "mod", Name: "example.com/a", Version: "v1.0.0",
		Sum: cache.SumBytes([]byte("a")), Origin: cache.Origin{File: "go.sum", Line: 1},
	}
	lack := have
	lack.Name, lack.Origin.Line = "example.com/b", 2

	made := cache.Lock{File: "go.sum", Sum: cache.SumBytes([]byte("as it was"))}
	now := cache.Lock{File: "go.sum", Sum: cache.SumBytes([]byte("as it is"))}
	m := cache.Manifest{Locks: []cache.Lock{made}, Entries: []cache.Entry{{ID: have.ID(), Sum: have.Sum}}}
	for _, p := range m.Missing(cache.Plan{Locks: []cache.Lock{now}, Inputs: []cache.Input{have, lack}}) {
		fmt.Println(p)
	}
	// Output:
	// go.sum: changed since the cache was made
	// go.sum:2: example.com/b@v1.0.0/go.mod: not in the cache
}

func ExampleResolveEnv() {
	env := []cache.EnvVar{
		{Name: "GOMODCACHE", Value: "${output_dir}/deps/gomod/pkg/mod"},
		{Name: "GOPROXY", Value: "file://${GOMODCACHE}/cache/download"},
	}
	for _, v := range cache.ResolveEnv(env, "/cachi2/output") {
		fmt.Println(v.Name + "=" + v.Value)
	}
	// Output:
	// GOMODCACHE=/cachi2/output/deps/gomod/pkg/mod
	// GOPROXY=file:///cachi2/output/deps/gomod/pkg/mod/cache/download
}

// What was fetched goes into the store, from there into a view, and from the
// view, which is what a build gets, into the tree that the package manager
// looks at.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	check(err)
	defer os.RemoveAll(dir)

	data := []byte("module example.com/a\n")
	in := cache.Input{
		Ecosystem: "gomod", Kind: "mod", Name: "example.com/a", Version: "v1.0.0",
		Path: "pkg/mod/cache/download/example.com/a/@v/v1.0.0.mod", Sum: cache.SumBytes(data),
	}
	store, err := cache.Open(filepath.Join(dir, "store"))
	check(err)
	blob, err := store.Put(in.Sum, data)
	check(err)
	view, err := store.View(&cache.Manifest{Entries: []cache.Entry{{ID: in.ID(), Sum: in.Sum, Blob: blob}}}, "")
	check(err)

	text, err := os.ReadFile(filepath.Join(view, cache.ManifestFile))
	check(err)
	manifest, err := cache.ParseManifest(cache.ManifestFile, text)
	check(err)
	src, err := cache.OpenView(view, manifest)
	check(err)
	defer src.Close()
	out := filepath.Join(dir, "output")
	check(os.Mkdir(out, 0o755))
	problems, err := cache.Layout{Inputs: []cache.Input{in}, Extra: []cache.File{cache.BuildConfig(nil)}}.Write(out, src)
	check(err)

	fmt.Println(len(problems), "problems")
	check(fs.WalkDir(os.DirFS(out), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Println(name)
		}
		return err
	}))
	// Output:
	// 0 problems
	// .build-config.json
	// deps/gomod/pkg/mod/cache/download/example.com/a/@v/v1.0.0.mod
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
