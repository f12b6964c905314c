package preflight

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// An Obstacle keeps a build from a level, and so from those above it.
type Obstacle struct {
	Level policy.Level `json:"level"`
	Cause string       `json:"cause"`
	Line  int          `json:"-"` // of the Dockerfile; 0 where it is none
}

// obstacles are the rules whose findings, granted or hidden ones included,
// keep a build from a level.
var obstacles = map[*Rule]policy.Level{
	OpenInput:     policy.Sealed,
	UnpinnedImage: policy.Pinned,
	UnpinnedAdd:   policy.Pinned,
	SecretMount:   policy.Complete,
	ExtraHost:     policy.Complete,
}

// Level is what the build may claim, and what keeps it from more, the lowest
// level first. It is final when all findings are in the report.
func (r *Report) Level() (policy.Level, []Obstacle) {
	var found []Obstacle
	for _, g := range r.Grants {
		found = append(found, Obstacle{policy.Sealed, fmt.Sprintf("%s:%d: %s: has a network (granted %s)", r.df.name, g.Line, clip(g.Text), grantor(g.Exception)), g.Line})
	}
	for _, f := range r.Findings {
		level, ok := obstacles[f.Rule]
		if (f.Rule == CacheMount || f.Rule == ProxyArg) && f.Severity == Excepted { // it is kept then
			level, ok = policy.Pinned, true
		}
		if ok {
			found = append(found, Obstacle{level, f.String(), f.Line})
		}
	}
	for _, what := range r.Local {
		found = append(found, Obstacle{policy.Complete, what + ": sent by the client, so nobody can say later what was in it", 0})
	}
	found = append(found, Obstacle{policy.Reproduced, "one build cannot show that another gives the same digest", 0})
	slices.SortStableFunc(found, func(a, b Obstacle) int { return int(a.Level) - int(b.Level) })
	return found[0].Level - 1, found
}

// clip cuts the text of an instruction, which may be a whole script.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Close adds what can be said only when all else is in the report: exceptions
// that nothing needed, and a level that is not reached. It is called once.
func (r *Report) Close() {
	if r.terms == nil {
		return
	}
	r.addIssues(r.terms.Review())
	level, found := r.Level()
	r.addIssues(r.terms.Shortfall(level, found[0].Cause))
	r.Sort()
}

// Notes are worth saying and are no findings: what the repository demands in
// vain, since the policy demands more.
func (r *Report) Notes() []string {
	notes := []string{}
	if r.terms != nil {
		for _, p := range r.terms.Overruled {
			notes = append(notes, p.String())
		}
	}
	return notes
}

// RuleSet is what the parsers of exceptions must know of the rules.
func RuleSet() policy.Rules {
	var set policy.Rules
	for _, r := range Rules {
		set = append(set, policy.Rule{Name: r.Name, Exceptable: r.Exceptable, NeedsPlace: r == RunNetwork})
	}
	return set
}

// addIssues turns what is wrong with exceptions into findings.
func (r *Report) addIssues(issues []policy.Issue) {
	for _, i := range issues {
		rule, ok := Find(i.Rule)
		if !ok {
			rule = InvalidException
		}
		r.Add(Finding{Rule: rule, Origin: i.Origin, Subject: i.Subject, Cause: i.Cause})
	}
}

// MarshalJSON is the machine-readable form of docs/formats.md.
func (r *Report) MarshalJSON() ([]byte, error) {
	level, found := r.Level()
	out := struct {
		Level      policy.Level       `json:"level"`
		Obstacles  []Obstacle         `json:"obstacles"`
		Networks   []network          `json:"networks"`
		Exceptions []policy.Exception `json:"exceptions"`
		Notes      []string           `json:"notes"`
		Findings   []Finding          `json:"findings"`
		Packages   []cache.Package    `json:"packages"`
		Inputs     []input            `json:"inputs"`
		Sources    []Used             `json:"sources"`
	}{
		Level: level, Obstacles: found, Networks: []network{}, Exceptions: []policy.Exception{}, Notes: r.Notes(),
		Findings: append([]Finding{}, r.Findings...), Packages: append([]cache.Package{}, r.Plan.Packages...), Inputs: []input{},
		Sources: append([]Used{}, r.Sources...),
	}
	if r.terms != nil {
		out.Exceptions = append(out.Exceptions, r.terms.Used()...)
	}
	for _, g := range r.Grants {
		out.Networks = append(out.Networks, network{r.df.name, g.Line, g.Text, g.Exception.Value()})
	}
	for _, in := range r.Plan.Inputs {
		out.Inputs = append(out.Inputs, input{in.Ecosystem, in.Name, in.Version, in.Kind, in.Platform, in.Sum.String(), in.Origin.String()})
	}
	return json.Marshal(out)
}

// network is a Grant in JSON.
type network struct {
	File        string `json:"file"`
	Line        int    `json:"line"`
	Instruction string `json:"instruction"`
	Exception   string `json:"exception"`
}

// input is a cache.Input in JSON.
type input struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	Version  string `json:"version,omitempty"`
	Kind     string `json:"kind"`
	Platform string `json:"platform,omitempty"`
	Sum      string `json:"sum,omitempty"`
	Origin   string `json:"origin"`
}
