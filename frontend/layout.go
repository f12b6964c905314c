package frontend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// LayoutVerb is the argument with which the frontend's binary runs inside a
// build as the step that verifies and lays out the deps context.
const LayoutVerb = "layout"

// What the step sees and makes.
const (
	layoutDeps   = "/hermetic/deps"   // the deps context, or the part of one package type at its place
	layoutPlan   = "/hermetic/plan"   // plan.json.gz, an Order
	layoutOut    = "/hermetic/out"    // output/ and cachi2.env
	layoutReport = "/hermetic/report" // report.json, a list of cache.Problem

	planFile   = "plan.json.gz"
	reportFile = "report.json"
)

// Order is what a layout step is told to do: to lay out the inputs of one
// package type, or what all of them have in common.
type Order struct {
	// Kind is the package type, "" for what they have in common.
	Kind string `json:",omitempty"`
	// Inputs are all of this type that the build needs, and Manifest says which
	// blobs of the view they are, if it is one (cache.Manifest).
	Inputs   []cache.Input `json:",omitempty"`
	Manifest string        `json:",omitempty"`
	// Derived are lockfiles inside of Archives that inputs are from. The view has
	// the archives, and both must agree.
	Derived  []cache.Derived `json:",omitempty"`
	Archives []cache.Input   `json:",omitempty"`
	// Tree tells that the deps context is an output directory, which a package
	// manager's tools made, rather than a view of the store.
	Tree bool `json:",omitempty"`
	// Env is the environment.
	Env []cache.EnvVar `json:",omitempty"`
	// Kinds are the package types that have steps of their own, in the order of
	// what all have in common.
	Kinds []string `json:",omitempty"`
}

// place is where below layoutDeps the step has its part of the deps context:
// where it is in the whole.
func (o Order) place() string {
	if o.Tree && o.Kind != "" {
		return "deps/" + o.Kind
	}
	return o.Kind
}

// RunLayout is the layout step. It ends well also when inputs are missing or
// damaged: its report then says so, and the frontend that waits for it refuses
// the build. Only trouble with the step itself is an error.
func RunLayout() error {
	data, err := os.ReadFile(filepath.Join(layoutPlan, planFile))
	if err != nil {
		return err
	}
	order, err := parseOrder(data)
	if err != nil {
		return fmt.Errorf("%s: %w", planFile, err)
	}
	return order.run(layoutDeps, layoutOut, layoutReport)
}

// Encode is the order as the file that the step reads. It is compressed, as it
// is part of the graph: the daemon keeps that, and writes it into the record of
// each build.
func (o Order) Encode() ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	err = errors.Join(json.NewEncoder(z).Encode(o), z.Close())
	return b.Bytes(), err
}

func parseOrder(data []byte) (o Order, err error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return o, err
	}
	err = json.NewDecoder(z).Decode(&o)
	return o, err
}

// run lays out the deps context at from below out, and writes the report.
func (o Order) run(from, out, report string) error {
	places := []string{outputName}
	if o.Kind != "" {
		places = append(places, path.Join(outputName, "deps", o.Kind))
	}
	for _, kind := range o.Kinds {
		places = append(places, path.Join(outputName, "deps", kind))
	}
	for _, p := range places {
		if err := cache.MkdirWorld(out, p); err != nil {
			return err
		}
	}
	problems, err := o.lay(from, out)
	if err != nil {
		return err
	}
	env := cache.File{Path: envName, Data: cache.EnvFile(cache.ResolveEnv(o.Env, OutputDir))}
	if _, err = (cache.Layout{Extra: []cache.File{env}}).Write(out, nil); err != nil {
		return err
	}
	text, err := json.Marshal(problems)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(report, reportFile), text, 0o644)
}

// lay writes the output directory.
func (o Order) lay(from, out string) ([]cache.Problem, error) {
	dir := filepath.Join(out, outputName)
	layout := ecosystem.Layout(o.Inputs, cache.BuildConfig(o.Env))
	layout.Extra = slices.DeleteFunc(layout.Extra, func(f cache.File) bool {
		return strings.HasPrefix(f.Path, "deps/") && !strings.HasPrefix(f.Path, "deps/"+o.Kind+"/")
	})
	if err := os.MkdirAll(filepath.Join(from, filepath.FromSlash(o.place())), 0o755); err != nil { // nothing is mounted there
		return nil, err
	}
	if o.Tree {
		tree, err := cache.OpenTree(from)
		if err != nil {
			return nil, err
		}
		defer tree.Close()
		var own []string
		for _, kind := range o.Kinds {
			own = append(own, path.Join("deps", kind))
		}
		problems := layout.Check(tree)
		more, err := cache.CopyTree(dir, from, own...)
		return cache.SortProblems(append(problems, more...)), err
	}
	m := &cache.Manifest{}
	if o.Manifest != "" {
		var err error
		if m, err = cache.ParseManifest(cache.ManifestFile, []byte(o.Manifest)); err != nil {
			return nil, err
		}
	}
	view, err := cache.OpenView(from, m)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	problems, err := layout.Write(dir, view)
	return cache.SortProblems(append(problems, cache.CheckDerived(view, o.Archives, o.Derived)...)), err
}
