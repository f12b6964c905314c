package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// maxHarness is how many tests may fail with upstream's frontend: for want of
// what this machine or the seeds lack.
const maxHarness = 4

// report is the outcome of all columns.
type report struct {
	stock, ours, policy column
	differences         []difference
	stale               []entry
}

// names are those of the differences that f picks.
func (r *report) names(f func(difference) bool) []string {
	var names []string
	for _, d := range r.differences {
		if f(d) {
			names = append(names, d.name)
		}
	}
	return names
}

// exceptable are the parts to be tried with the policy.
func (r *report) exceptable() []string { return r.names(difference.exceptable) }

// noteExcepted notes how the parts ended that were tried with the policy.
func (r *report) noteExcepted() {
	for i := range r.differences {
		if d := &r.differences[i]; d.exceptable() {
			d.excepted = r.policy.all[d.name].outcome
		}
	}
}

// isUnnamed tells of a part that passes with the policy although its output
// named no rule: it may have failed by chance.
func (d difference) isUnnamed() bool { return d.excepted == passed && len(d.rules) == 0 }

// unnamed are the parts to be tried again without the policy.
func (r *report) unnamed() []string { return r.names(difference.isUnnamed) }

// noteAgain notes how these ended.
func (r *report) noteAgain(again column) {
	for i := range r.differences {
		if d := &r.differences[i]; d.isUnnamed() {
			d.again = again.all[d.name].outcome
		}
	}
}

// print writes the columns, then the names.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s %s, worker oci, linux/%s, loopback only\n\n", upstream, version(), runtime.GOARCH)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tpass\tfail\tskip\tminutes\t")
	for _, c := range []struct {
		name string
		column
	}{{"stock", r.stock}, {"ours", r.ours}, {"with policy", r.policy}} {
		if len(c.cases) > 0 {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t\n", c.name, c.count(passed), len(c.cases)-c.count(passed)-c.count(skipped),
				c.count(skipped), clock(c.took))
		}
	}
	t.Flush()
	if bad := r.stock.bad(); len(bad) > 0 {
		fmt.Fprintf(w, "\nFail with stock, for want of what the harness has not:\n  %s\n", strings.Join(bad, "\n  "))
	}
	r.printDifferences(w)
}

// printDifferences writes a line for each part that passes with stock alone.
func (r *report) printDifferences(w io.Writer) {
	if len(r.differences) == 0 {
		fmt.Fprintln(w, "\nNothing passes with stock alone.")
		return
	}
	fmt.Fprintln(w, "\nPass with stock and not with ours:")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range r.differences {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", d.name, d.ruleNames(), d.verdict())
	}
	t.Flush()
}

// ruleNames are the rules that stopped a part, "-" if none is named.
func (d difference) ruleNames() string {
	var names []string
	for _, r := range d.rules {
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// verdict says in words what became of a difference.
func (d difference) verdict() string {
	switch {
	case d.again == failed:
		return "passes with the policy, fails again without"
	case d.granted():
		return "passes with the policy"
	case d.intended != nil:
		return "intended: " + d.intended.reason
	case d.ours == skipped:
		return "NOT ACCOUNTED FOR: skipped"
	case d.again == passed:
		return "NOT ACCOUNTED FOR: passes when it is run again"
	case d.ours == "":
		return "NOT ACCOUNTED FOR: did not run to its end"
	}
	return "NOT ACCOUNTED FOR"
}

// err is everything that makes the run a failure.
func (r *report) err() error {
	var errs []error
	for _, d := range r.differences {
		if !d.understood() {
			errs = append(errs, fmt.Errorf("conformance: %s: passes with stock and not with ours", d.name))
		}
	}
	for _, e := range r.stale {
		errs = append(errs, fmt.Errorf("conformance: intended.txt: %s: covers no test that fails with ours", e.name))
	}
	if n := r.stock.count(failed); n > maxHarness {
		errs = append(errs, fmt.Errorf("conformance: %d tests fail with stock, at most %d may", n, maxHarness))
	}
	return errors.Join(errs...)
}

// version is that of BuildKit in go.mod.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "github.com/moby/buildkit" })
	if i < 0 {
		return ""
	}
	return info.Deps[i].Version
}

// clock is a duration as minutes and seconds.
func clock(d time.Duration) string {
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}
