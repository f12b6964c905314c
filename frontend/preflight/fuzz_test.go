package preflight_test

import (
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// FuzzRun: whatever the files hold, a preflight does not panic, its report is
// sorted, every place in it exists, and two runs answer the same.
func FuzzRun(f *testing.F) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		f.Fatalf("no cases in testdata: %v", err)
	}
	for _, name := range names {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		files := map[string][]byte{}
		for _, file := range ar.Files {
			files[file.Name] = file.Data
		}
		f.Add(files["Dockerfile"], files["go.mod"], files["go.sum"], files["manifest"])
	}
	f.Fuzz(func(t *testing.T, dockerfile, mod, sum, manifest []byte) {
		context := fstest.MapFS{"Dockerfile": {Data: dockerfile}, "go.mod": {Data: mod}, "go.sum": {Data: sum}}
		req := preflight.Request{
			Dockerfile: preflight.Dockerfile{Name: "Dockerfile", Data: dockerfile},
			Context:    context, Platforms: []string{"linux/amd64"},
		}
		if m, err := cache.ParseManifest("manifest", fill(context, manifest)); err == nil {
			req.Deps = &preflight.Deps{Manifest: m}
		}
		report, err := preflight.Run(req)
		if err != nil {
			return
		}
		checkReport(t, req, report)
		again, err := preflight.Run(req)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(preflight.Text(report.Findings), preflight.Text(again.Findings)); diff != "" {
			t.Errorf("two runs differ\n%s", diff)
		}
	})
}
