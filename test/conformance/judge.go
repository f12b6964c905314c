package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// outcome is how a test ended, in the words of test2json; "" is a test that was
// not run to its end.
type outcome string

const (
	passed  outcome = "pass"
	failed  outcome = "fail"
	skipped outcome = "skip"
)

// A test is one test of the suite, or one part of a test: a leaf of the tree
// that `go test` makes of names.
type test struct {
	outcome outcome
	output  string
}

// column is one run of the suite.
type column struct {
	// all are the tests and their parts, by name.
	all map[string]test
	// parts are what the judgement is about: the leaves, and what failed although
	// all below it passed.
	parts map[string]test
	// cases are the tests that the suite registers, each with one frontend, one
	// worker and one choice of its matrix: what upstream counts.
	cases map[string]outcome
	took  time.Duration
}

// event is what is used of a line of test2json, see `go doc test2json`.
type event struct {
	Action string
	Test   string
	Output string
}

// root is the only test function of the suite; all others are its children.
const root = "TestIntegration"

// parse reads the events of one run.
func parse(r io.Reader) (column, error) {
	all := map[string]*test{}
	var order []string
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return column{}, err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return column{}, fmt.Errorf("line %d: %w", n, err)
		}
		if !strings.HasPrefix(e.Test, root+"/") {
			continue
		}
		if all[e.Test] == nil {
			all[e.Test] = new(test)
			order = append(order, e.Test)
		}
		switch outcome(e.Action) {
		case passed, failed, skipped:
			all[e.Test].outcome = outcome(e.Action)
		case "output":
			all[e.Test].output += e.Output
		}
	}
	return tree(all, order), nil
}

// tree tells leaves and cases apart; a parent is always met before its children.
func tree(all map[string]*test, order []string) column {
	c := column{all: map[string]test{}, parts: map[string]test{}, cases: map[string]outcome{}}
	children := map[string][]string{}
	for _, name := range order {
		parent := root
		for at := name; at != root; at = at[:strings.LastIndexByte(at, '/')] {
			if at != name && all[at] != nil {
				parent = at
				break
			}
		}
		children[parent] = append(children[parent], name)
	}
	for _, name := range children[root] {
		c.cases[short(name)] = all[name].outcome
	}
	for name, t := range all {
		c.all[short(name)] = *t
		blamed := slices.ContainsFunc(children[name], func(child string) bool { return all[child].outcome == failed })
		if len(children[name]) == 0 || t.outcome == failed && !blamed {
			c.parts[short(name)] = *t
		}
	}
	return c
}

// same is what all names have in common.
var same = regexp.MustCompile(`^` + root + `/|/(worker|frontend)=[^/]*`)

// short is the name without what is the same in all.
func short(name string) string { return same.ReplaceAllString(name, "") }

// count is the number of cases of each outcome.
func (c column) count(o outcome) int {
	n := 0
	for _, got := range c.cases {
		if got == o {
			n++
		}
	}
	return n
}

// bad are the parts that did not pass, sorted, skipped ones left out.
func (c column) bad() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.parts)) {
		if o := c.parts[name].outcome; o != passed && o != skipped {
			names = append(names, name)
		}
	}
	return names
}

// ruleNames finds the rules that a text names.
var ruleNames = func() *regexp.Regexp {
	var names []string
	for _, r := range preflight.Rules {
		names = append(names, r.Name)
	}
	return regexp.MustCompile(`\b(` + strings.Join(names, "|") + `): `)
}()

// rules are the rules that a test's output shows, sorted: those that are errors,
// or, where there is none, those of warnings, which tests count.
func (t test) rules() []*preflight.Rule {
	found := map[preflight.Severity]map[string]*preflight.Rule{}
	for _, name := range ruleNames.FindAllStringSubmatch(t.output, -1) {
		if r, ok := preflight.Find(name[1]); ok {
			if found[r.Severity] == nil {
				found[r.Severity] = map[string]*preflight.Rule{}
			}
			found[r.Severity][r.Name] = r
		}
	}
	shown := found[preflight.Error]
	if len(shown) == 0 {
		shown = found[preflight.Warn]
	}
	return slices.SortedFunc(maps.Values(shown), func(a, b *preflight.Rule) int { return cmp.Compare(a.Name, b.Name) })
}

// difference is a part that ends otherwise with ours than with the stock
// frontend, in our disfavour.
type difference struct {
	name  string
	ours  outcome
	rules []*preflight.Rule // errors of ours that stopped it
	// excepted is how it ended with the policy that excepts these rules; "" if it
	// was not tried.
	excepted outcome
	// again is how it ended without the policy the second time; "" if it was not
	// tried.
	again outcome
	// intended is the entry that covers it, nil if there is none.
	intended *entry
}

// granted tells whether it is the policy that lets the part pass: a rule was
// named, or the part failed a second time without the policy.
func (d difference) granted() bool {
	return d.excepted == passed && (len(d.rules) > 0 || d.again == failed)
}

// understood tells whether a difference has an explanation that the run accepts.
func (d difference) understood() bool { return d.granted() || d.intended != nil }

// worse are the parts that pass with stock and not with ours, sorted by name.
func worse(stock, ours column) []difference {
	names := slices.Collect(maps.Keys(stock.parts))
	names = append(names, slices.Collect(maps.Keys(ours.parts))...)
	slices.Sort(names)
	var found []difference
	for _, name := range slices.Compact(names) {
		if got := ours.all[name]; stock.all[name].outcome == passed && got.outcome != passed && ours.isPart(name) {
			found = append(found, difference{name: name, ours: got.outcome, rules: got.rules()})
		}
	}
	return found
}

// isPart tells whether a name is to be judged: it is a part, or was never run.
func (c column) isPart(name string) bool {
	_, part := c.parts[name]
	_, ran := c.all[name]
	return part || !ran
}

// exceptable tells whether a policy could let the part pass: no rule stopped it
// from which there is no exception. A part whose output names no rule is tried
// too: not every test prints what it was told.
func (d difference) exceptable() bool {
	return !slices.ContainsFunc(d.rules, func(r *preflight.Rule) bool { return !r.Exceptable })
}
