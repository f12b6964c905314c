package ecosystem

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// A uvLock is a uv.lock (https://docs.astral.sh/uv/concepts/projects/layout/):
// packages with their files, and which of them needs which.
type uvLock struct {
	packages []uvPackage
	byName   map[string][]int
}

// A uvPackage is one version of a package in a uv.lock.
type uvPackage struct {
	pyPackage
	root   bool // part of the project
	needs  []uvEdge
	extras map[string][]uvEdge
}

// A uvEdge is what a package needs.
type uvEdge struct {
	name, version string // version "" where there is but one
	extras        []string
	when          *marker
}

// uvLock plans a uv.lock: all that the project may need on the platforms of the
// build, with all its extras and groups.
func (p *pipPlan) uvLock(name string) {
	data, ok := p.lock(name, maxPipLock, cache.Origin{})
	if !ok {
		return
	}
	lock, r := parseUV(name, data)
	p.report(r)
	p.packages(name, lock.reachable(p.lockEnvs()))
}

// parseUV reads a uv.lock.
func parseUV(name string, data []byte) (uvLock, *lockReader) {
	r := &pyLockReader{lockReader{file: name}}
	lock := uvLock{byName: map[string][]int{}}
	root := r.tree(data)
	if root == nil {
		return lock, &r.lockReader
	}
	if v := textOf(root.at("version")); v != "1" {
		r.problem(lineOf(root.at("version")), "", fmt.Sprintf("version %.80q: want 1", v))
		return lock, &r.lockReader
	}
	seen := map[string]int{}
	for _, n := range root.items("package") {
		p := uvPackage{pyPackage: pyPackage{name: n.str("name"), version: n.str("version"), line: n.line}, extras: map[string][]uvEdge{}}
		source := n.at("source")
		if p.name == "" || pipName.FindString(p.name) != p.name || source == nil {
			r.problem(n.line, "", fmt.Sprintf("package %.80q: no name or no source", p.name))
			continue
		}
		key := fmt.Sprint(p.subject(), source.str("registry"), source.str("url"), source.str("git"))
		if index := source.str("registry"); strings.Contains(index, "://") {
			p.index = withoutLogin(index)
		}
		if first, twice := seen[key]; twice {
			r.problem(n.line, p.subject(), fmt.Sprintf("there is one at line %d", first))
			continue
		}
		seen[key] = n.line
		r.uvSource(&p, n, source)
		p.needs = r.edges(p, n.items("dependencies"))
		for _, group := range sortedKeys(n.at("optional-dependencies")) {
			p.extras[group] = r.edges(p, n.items("optional-dependencies", group))
		}
		for _, group := range sortedKeys(n.at("dev-dependencies")) {
			p.needs = append(p.needs, r.edges(p, n.items("dev-dependencies", group))...)
		}
		lock.byName[pyName(p.name)] = append(lock.byName[pyName(p.name)], len(lock.packages))
		lock.packages = append(lock.packages, p)
	}
	return lock, &r.lockReader
}

// sortedKeys are the keys of a table.
func sortedKeys(n *tomlNode) []string {
	var keys []string
	if n != nil {
		for k := range n.table {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// uvSource reads where a package comes from.
func (r *pyLockReader) uvSource(p *uvPackage, n, source *tomlNode) {
	switch {
	case source.at("virtual") != nil, source.at("editable") != nil, source.at("directory") != nil:
		p.root, p.local = true, true
		return
	case source.at("git") != nil:
		repo, err := parseUVRepo(source.str("git"))
		if err != nil {
			r.problem(source.line, p.subject(), err.Error())
			p.bad, p.local = true, true
			return
		}
		p.repo = &repo
		return
	}
	if f := n.at("sdist"); f != nil {
		r.uvFile(p, f, source)
	}
	for _, f := range n.items("wheels") {
		r.uvFile(p, f, source)
	}
}

// uvFile reads a file; of a package by URL, the source has the URL.
func (r *pyLockReader) uvFile(p *uvPackage, f, source *tomlNode) {
	if f.at("url") == nil && f.at("path") == nil && f.table != nil {
		if u := source.at("url"); u != nil {
			f.table["url"] = u
		}
	}
	if f.at("filename") != nil && f.table["name"] == nil {
		f.table["name"] = f.at("filename")
	}
	r.file(&p.pyPackage, f, "hash")
}

// edges reads what a package needs.
func (r *pyLockReader) edges(p uvPackage, list []*tomlNode) []uvEdge {
	var out []uvEdge
	for _, n := range list {
		e := uvEdge{name: n.str("name"), version: n.str("version"), extras: n.strs("extra")}
		if text := n.str("marker"); text != "" {
			var err error
			if e.when, err = parseMarker(text); err != nil {
				r.problem(lineOf(n.at("marker")), p.subject(), err.Error())
				continue
			}
		}
		out = append(out, e)
	}
	return out
}

// reachable are the packages that the project may need on one of the targets.
// A lock without a project keeps all it has.
func (l uvLock) reachable(targets []markerEnv) []pyPackage {
	w := &uvWalk{lock: l, targets: targets, done: map[string]bool{}, used: make([]bool, len(l.packages))}
	roots := 0
	for i, p := range l.packages {
		if p.root {
			roots++
			w.visit(i, sortedExtras(p))
		}
	}
	var out []pyPackage
	for i, p := range l.packages {
		if w.used[i] || roots == 0 {
			out = append(out, p.pyPackage)
		}
	}
	return out
}

func sortedExtras(p uvPackage) []string {
	var out []string
	for e := range p.extras {
		out = append(out, e)
	}
	slices.Sort(out)
	return out
}

// A uvWalk follows needs.
type uvWalk struct {
	lock    uvLock
	targets []markerEnv
	done    map[string]bool
	used    []bool
	queue   []uvEdge
}

// visit follows the package with extras, and all it leads to.
func (w *uvWalk) visit(i int, extras []string) {
	w.enter(i, extras)
	for len(w.queue) > 0 {
		e := w.queue[0]
		w.queue = w.queue[1:]
		for _, j := range w.lock.byName[pyName(e.name)] {
			if p := w.lock.packages[j]; e.version == "" || samePyVersion(p.version, e.version) {
				w.enter(j, e.extras)
			}
		}
	}
}

func (w *uvWalk) enter(i int, extras []string) {
	p := w.lock.packages[i]
	w.used[i] = true
	follow := func(key string, edges []uvEdge) {
		if w.done[key] {
			return
		}
		w.done[key] = true
		for _, e := range edges {
			if e.when.onAny(w.targets) {
				w.queue = append(w.queue, e)
			}
		}
	}
	follow(fmt.Sprint(i), p.needs)
	for _, extra := range extras {
		follow(fmt.Sprint(i, " ", extra), p.extras[extra])
	}
}
