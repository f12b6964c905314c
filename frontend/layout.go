package frontend

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// LayoutVerb is the argument with which the frontend's binary runs inside a
// build as the step that verifies and lays out the deps context.
const LayoutVerb = "layout"

// What the step sees and makes.
const (
	layoutDeps   = "/hermetic/deps"   // the deps context
	layoutPlan   = "/hermetic/plan"   // plan.json, an Order
	layoutOut    = "/hermetic/out"    // output/ and cachi2.env
	layoutReport = "/hermetic/report" // report.json, a list of cache.Problem

	planFile   = "plan.json"
	reportFile = "report.json"
)

// Order is what the layout step is told to do.
type Order struct {
	Inputs []cache.Input
	Env    []cache.EnvVar
	// Tree is the output directory in the deps context, for one that a package
	// manager's tools made; "" for a view of the store.
	Tree string `json:",omitempty"`
}

// RunLayout is the layout step. It ends well also when inputs are missing or
// damaged: its report then says so, and the frontend that waits for it refuses
// the build. Only trouble with the step itself is an error.
func RunLayout() error {
	data, err := os.ReadFile(filepath.Join(layoutPlan, planFile))
	if err != nil {
		return err
	}
	var order Order
	if err := json.Unmarshal(data, &order); err != nil {
		return fmt.Errorf("%s: %w", planFile, err)
	}
	return order.run(layoutDeps, layoutOut, layoutReport)
}

// run lays out the deps context at from below out, and writes the report.
func (o Order) run(from, out, report string) error {
	dir := filepath.Join(out, outputName)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // the umask took part of it
		return err
	}
	var problems []cache.Problem
	var err error
	if o.Tree != "" {
		problems, err = o.copyTree(filepath.Join(from, filepath.FromSlash(o.Tree)), dir)
	} else {
		problems, err = o.fromView(from, dir)
	}
	if err != nil {
		return err
	}
	env := cache.File{Path: envName, Data: envFile(cache.ResolveEnv(o.Env, OutputDir))}
	if _, err := (cache.Layout{Extra: []cache.File{env}}).Write(out, nil); err != nil {
		return err
	}
	text, err := json.Marshal(problems)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(report, reportFile), text, 0o644)
}

func (o Order) fromView(from, dir string) ([]cache.Problem, error) {
	text, err := os.ReadFile(filepath.Join(from, cache.ManifestFile))
	if err != nil {
		return nil, err
	}
	m, err := cache.ParseManifest(cache.ManifestFile, text)
	if err != nil {
		return nil, err
	}
	view, err := cache.OpenView(from, m)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return ecosystem.Layout(o.Inputs, cache.BuildConfig(o.Env)).Write(dir, view)
}

func (o Order) copyTree(from, dir string) ([]cache.Problem, error) {
	tree, err := cache.OpenTree(from)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	problems := ecosystem.Layout(o.Inputs, cache.File{}).Check(tree)
	more, err := cache.CopyTree(dir, from)
	return cache.SortProblems(append(problems, more...)), err
}

// envFile is the environment as lines for a shell to source, as Hermeto's
// generate-env writes them. Builds test for the file to find out whether they
// are hermetic.
func envFile(env []cache.EnvVar) []byte {
	var b strings.Builder
	for _, v := range env {
		fmt.Fprintf(&b, "export %s=%s\n", v.Name, shellQuote(v.Value))
	}
	return []byte(b.String())
}

// shellQuote quotes as Python's shlex.quote does, which Hermeto uses.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}
