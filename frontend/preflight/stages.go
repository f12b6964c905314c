package preflight

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// resolve finds out which stages begin with which, and which of them the
// target needs: the builder leaves out the others
// (BuildKit frontend/dockerfile/dockerfile2llb, resolveReachableStages). An
// unknown target, which the builder refuses, needs all.
func (d *dockerfile) resolve(req Request) {
	d.base, d.needed = make([]int, len(d.stages)), make([]bool, len(d.stages))
	for i := range d.stages {
		d.base[i] = -1
		if name, known, _ := d.baseName(i); known {
			if n, ok := d.named(strings.ToLower(name), i); ok {
				d.base[i] = n
			}
		}
	}
	last := len(d.stages) - 1
	if req.Target != "" || req.AllStages {
		n, ok := d.named(strings.ToLower(req.Target), len(d.stages))
		if !ok || req.AllStages {
			for i := range d.needed {
				d.needed[i] = true
			}
			return
		}
		last = n
	}
	d.need(last)
}

// need marks a stage, and all that it takes from.
func (d *dockerfile) need(i int) {
	if i < 0 || d.needed[i] {
		return
	}
	d.needed[i] = true
	d.need(d.base[i])
	if _, known, _ := d.baseName(i); !known {
		d.unsure = max(d.unsure, i)
	}
	for _, cmd := range d.stages[i].Commands {
		switch c := cmd.(type) {
		case *instructions.CopyCommand:
			if n, ok := d.copied(c.From); ok {
				d.need(n)
			}
		case *instructions.RunCommand:
			for _, m := range mounts(c) {
				if n, ok := d.named(strings.ToLower(m.From), len(d.stages)); ok {
					d.need(n)
				}
			}
		}
	}
}

// mayRun tells whether the target needs a stage, or may need it: a variable
// whose value is not known here ("FROM build-$TARGETARCH") may choose any stage
// above it.
func (d *dockerfile) mayRun(i int) bool { return d.needed[i] || i < d.unsure }

// baseName is the image or stage that the i-th stage begins with, if all
// variables in it are known.
func (d *dockerfile) baseName(i int) (name string, known bool, err error) {
	return d.word(d.stages[i].BaseName, d.env)
}

// named finds the last stage of that name among the first n. Names of stages
// are in lower case.
func (d *dockerfile) named(name string, n int) (int, bool) {
	if name == "" {
		return 0, false
	}
	if d.names == nil {
		d.names = map[string][]int{}
		for i, s := range d.stages {
			d.names[s.Name] = append(d.names[s.Name], i)
		}
	}
	all := d.names[name]
	if i, _ := slices.BinarySearch(all, n); i > 0 {
		return all[i-1], true
	}
	return 0, false
}

// copied finds the stage that COPY --from names, by name or number.
func (d *dockerfile) copied(from string) (int, bool) {
	if n, err := strconv.Atoi(from); err == nil {
		return n, n >= 0 && n < len(d.stages)
	}
	return d.named(strings.ToLower(from), len(d.stages))
}
