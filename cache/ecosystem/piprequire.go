package ecosystem

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// A pipTree is a requirements file with all that it includes.
type pipTree struct {
	plan        *pipPlan
	open        []string        // files being read, each included by the one before
	done        map[string]bool // files read, by name and what they are read for
	wanted      []pipLine
	constraints map[string][]pipLine // by name
	index       string
	indexAt     cache.Origin
}

// A pipLine is a requirement and the file it is in.
type pipLine struct {
	pipRequirement
	file string
}

func (l pipLine) origin() cache.Origin { return cache.Origin{File: l.file, Line: l.line} }

// requirements plans a requirements file.
func (p *pipPlan) requirements(name string) {
	t := &pipTree{plan: p, done: map[string]bool{}, constraints: map[string][]pipLine{}}
	t.readFile(name, pipInclude{}, cache.Origin{})
	page, auth := t.indexPage()
	first := map[string]pipLine{}
	for _, l := range t.wanted {
		if !l.when.onAny(p.envs) {
			continue
		}
		l = t.constrain(l)
		if was, twice := first[pyName(l.name)+"\n"+l.cond]; twice && (was.url != l.url || !samePyVersion(was.version, l.version)) {
			p.problem(l.origin(), l.subject(), "another version than at "+was.origin().String())
			continue
		}
		first[pyName(l.name)+"\n"+l.cond] = l
		p.requirement(l, page, auth)
	}
}

// readFile reads one file and what it includes.
func (t *pipTree) readFile(name string, as pipInclude, at cache.Origin) {
	key := fmt.Sprint(name, as.constraints)
	switch {
	case slices.Contains(t.open, name):
		t.plan.problem(at, name, "includes itself")
		return
	case t.done[key]:
		return
	case len(t.done) >= maxIncludes:
		t.plan.problem(at, name, fmt.Sprintf("more than %d files", maxIncludes))
		return
	}
	t.done[key] = true
	data, ok := t.plan.lock(name, maxRequirements, at)
	if !ok {
		return
	}
	f, r := parseRequirements(name, data)
	t.plan.report(r)
	if f.index != "" {
		origin := cache.Origin{File: name, Line: f.indexLine}
		if t.index != "" && t.index != f.index {
			t.plan.problem(origin, "", "option --index-url: there is another at "+t.indexAt.String())
		} else if t.index == "" {
			t.index, t.indexAt = f.index, origin
		}
	}
	for _, q := range f.requirements {
		l := pipLine{q, name}
		if as.constraints {
			t.constraints[pyName(q.name)] = append(t.constraints[pyName(q.name)], l)
		} else {
			t.wanted = append(t.wanted, l)
		}
	}
	t.open = append(t.open, name)
	for _, in := range f.includes {
		t.include(name, in, as)
	}
	t.open = t.open[:len(t.open)-1]
}

// include reads a file that another one names; what constraints include are
// constraints.
func (t *pipTree) include(from string, in, as pipInclude) {
	origin := cache.Origin{File: from, Line: in.line}
	to := path.Join(path.Dir(from), in.name)
	switch {
	case strings.Contains(in.name, "://"):
		t.plan.problem(origin, in.name, "a requirements file that is not in the build context")
	case path.IsAbs(in.name) || to == ".." || strings.HasPrefix(to, "../") || strings.Contains(in.name, "\x00"):
		t.plan.Problems = append(t.plan.Problems, cache.Problem{Kind: cache.Outside, Origin: origin, Subject: in.name, Cause: "outside the build context"})
	default:
		in.constraints = in.constraints || as.constraints
		t.readFile(to, in, origin)
	}
}

// constrain completes a requirement by the constraints for its package, which
// must not contradict it.
func (t *pipTree) constrain(l pipLine) pipLine {
	for _, c := range t.constraints[pyName(l.name)] {
		if !c.when.onAny(t.plan.envs) || l.url != "" {
			continue
		}
		switch {
		case l.version == "":
			l.version = c.version
		case c.version != "" && !samePyVersion(c.version, l.version):
			t.plan.problem(l.origin(), l.subject(), "another version than the constraint at "+c.origin().String())
		}
		switch {
		case len(l.sums) == 0:
			l.sums = c.sums
		case len(c.sums) > 0:
			l.sums = slices.DeleteFunc(slices.Clone(l.sums), func(s cache.Sum) bool { return !slices.Contains(c.sums, s) })
			if len(l.sums) == 0 {
				t.plan.problem(l.origin(), l.subject(), "no checksum in common with the constraint at "+c.origin().String())
				l.sums = c.sums
			}
		}
	}
	return l
}

// indexPage is the index that the file names: its URL without credentials, and
// these.
func (t *pipTree) indexPage() (index string, auth *cache.Auth) {
	if t.index == "" {
		return "", nil
	}
	scheme, rest, ok := strings.Cut(t.index, "://")
	host, below, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		user, secret, _ := strings.Cut(host[:i], ":")
		if plain, err := url.PathUnescape(user); err == nil {
			user = plain
		}
		if plain, err := url.PathUnescape(secret); err == nil {
			secret = plain
		}
		auth, host = &cache.Auth{User: user, Secret: secret}, host[i+1:]
	}
	u, err := url.Parse(scheme + "://" + host + "/" + below)
	switch {
	case !ok || err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "":
		t.plan.problem(t.indexAt, "", "option --index-url: not the URL of an index")
		return "", nil
	case strings.Contains(t.index[strings.LastIndexByte(t.index, '@')+1:], "${"):
		t.plan.problem(t.indexAt, "", "option --index-url: variables for more than credentials")
		return "", nil
	case auth != nil && !cache.Private(u):
		t.plan.problem(t.indexAt, "", "option --index-url: credentials would travel over plain http")
		return "", nil
	case auth != nil && auth.Literal():
		t.plan.Warnings = append(t.plan.Warnings, cache.Problem{Kind: cache.Weak, Origin: t.indexAt, Cause: "option --index-url: a credential is written out: ${NAME} stands for a variable"})
	}
	return strings.TrimSuffix(u.String(), "/"), auth
}

// requirement plans what one line asks for.
func (p *pipPlan) requirement(l pipLine, index string, auth *cache.Auth) {
	switch {
	case l.repo != nil:
		p.repo(l.name, *l.repo, l.origin())
		return
	case l.url != "":
		p.fileRequirement(l)
		return
	}
	if l.version == "" {
		p.Problems = append(p.Problems, cache.Problem{Kind: cache.Unpinned, Origin: l.origin(), Subject: l.subject(), Cause: "not pinned to one version with =="})
		return
	}
	if len(l.sums) == 0 {
		p.Problems = append(p.Problems, cache.Problem{Kind: cache.NoSum, Origin: l.origin(), Subject: l.subject(), Cause: "no --hash: nothing says what it is"})
		return
	}
	name := pyName(l.name)
	component := p.pyComponent(name, l.version, index)
	if index != "" {
		index += "/" + name + "/"
	}
	for _, sum := range l.sums {
		p.Inputs = append(p.Inputs, cache.Input{
			Ecosystem: "pip", Kind: sum.String(), Name: name, Version: l.version, Sum: sum,
			Need: cache.Alternative, Origin: l.origin(), URL: index, Auth: auth, Wants: p.wants.String(),
			Component: component,
		})
	}
}

// fileRequirement plans a requirement that is the URL of a file.
func (p *pipPlan) fileRequirement(l pipLine) {
	if len(l.sums) != 1 {
		p.problem(l.origin(), l.subject(), fmt.Sprintf("%d checksums: a file by URL has exactly one", len(l.sums)))
		return
	}
	file, ok := l.dist()
	if !ok {
		p.problem(l.origin(), l.subject(), fmt.Sprintf("file name %.80q: not one of a distribution", file))
		return
	}
	p.Inputs = append(p.Inputs, cache.Input{
		Ecosystem: "pip", Kind: kindURL, Name: pyName(l.name), Sum: l.sums[0], Path: file,
		Need: cache.Required, Origin: l.origin(), URL: l.url, Component: p.fileComponent(l),
	})
}
