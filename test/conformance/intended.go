package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// intended lists the tests that our frontend fails on purpose.
//
//go:embed intended.txt
var intendedText string

// maxIntended is how many entries the list may have.
const maxIntended = 8

// entry is one line of the list: the name of a test, which covers all below it,
// and why it cannot pass with a frontend that seals.
type entry struct{ name, reason string }

// covers tells whether a part of the suite is the entry's.
func (e entry) covers(part string) bool {
	return part == e.name || strings.HasPrefix(part, e.name+"/")
}

// parseIntended reads the list: lines of "name reason", empty ones and those
// that begin with "#" left out. All errors are found at once.
func parseIntended(file, text string) ([]entry, []error) {
	var list []entry
	var errs []error
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, " ")
		e := entry{name, strings.TrimSpace(reason)}
		switch {
		case e.reason == "":
			errs = append(errs, fmt.Errorf("%s:%d: %s: no reason", file, n, e.name))
		case seen[e.name]:
			errs = append(errs, fmt.Errorf("%s:%d: %s: listed twice", file, n, e.name))
		}
		seen[e.name] = true
		list = append(list, e)
	}
	if len(list) > maxIntended {
		errs = append(errs, fmt.Errorf("%s: %d entries, at most %d are allowed", file, len(list), maxIntended))
	}
	return list, errs
}

// apply gives each difference its entry. An entry is stale when it covers nothing
// that fails with ours, be it with stock as well, or something that passes with
// the policy.
func (r *report) apply(list []entry) {
	for i := range list {
		used := slices.ContainsFunc(r.ours.bad(), list[i].covers)
		for j := range r.differences {
			d := &r.differences[j]
			switch {
			case !list[i].covers(d.name):
			case d.granted():
				used = false
			default:
				d.intended = &list[i]
			}
		}
		if !used {
			r.stale = append(r.stale, list[i])
		}
	}
}
