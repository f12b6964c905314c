// Package archtest holds the rules of the house as data, and its test holds the
// module to them: which package may import which, and how long things get. It
// is imported by nothing.
//
// Which name to reach for:
//
//	Rules    the import rules; a new package that matters gets its line here
//	Rule     one of them
//	Graph    packages and their imports, from go list or made up
//	Broken   the rules a graph breaks, each with the chain of imports that does it
//	Style    what one source file breaks: length, parameters
//
// A pattern is an import path; one that begins with "./" is below the module's
// own path, and one that ends with "/..." means the package and all below it.
package archtest

import (
	"slices"
	"strings"
)

// Rules are the import rules of this module. Packages that do not exist break
// none.
var Rules = []Rule{
	{
		Name: "the frontend image cannot contain a fetcher",
		From: []string{"./cmd/hermetic-frontend", "./frontend/..."},
		To:   []string{"./cache/fetch/..."},
	},
	{
		Name:   "only the CLI and tests link the fetcher",
		From:   []string{"./..."},
		Except: []string{"./cmd/docker-hermetic", "./cache/fetch/...", "./internal/lab/...", "./test/..."},
		To:     []string{"./cache/fetch/..."},
	},
	{
		Name:   "only the CLI pushes the cache",
		From:   []string{"./..."},
		Except: []string{"./cmd/docker-hermetic", "./cache/artifact"},
		To:     []string{"./cache/artifact"},
	},
	{
		Name:   "only the fetcher, the CLI and tests speak HTTP",
		From:   []string{"./..."},
		Except: []string{"./cmd/docker-hermetic", "./cache/fetch/...", "./internal/lab/...", "./test/..."},
		To:     []string{"net/http/..."},
		Reach:  Direct,
	},
	{
		Name: "the graph passes know nothing of this module",
		From: []string{"./llbgen/..."},
		To:   []string{"./cache/...", "./frontend/...", "./cmd/...", "./internal/..."},
	},
	{
		Name:  "the graph passes are pure",
		From:  []string{"./llbgen/..."},
		To:    []string{"context", "log/...", "math/rand/...", "net", "net/http/...", "os/...", "time"},
		Reach: Direct,
	},
	{
		Name:  "rules, policies and scripts are pure",
		From:  []string{"./frontend/preflight", "./frontend/policy", "./frontend/script"},
		To:    []string{"context", "log/...", "math/rand/...", "net", "net/http/...", "os/..."},
		Reach: Direct,
	},
	{
		Name: "policies and scripts know nothing of rules",
		From: []string{"./frontend/policy", "./frontend/script"},
		To:   []string{"./frontend/preflight", "./llbgen/..."},
	},
	{
		Name: "the cache knows nothing of BuildKit",
		From: []string{"./cache/..."},
		To:   []string{"./llbgen/...", "./frontend/...", "github.com/moby/buildkit/..."},
	},
	{
		Name:  "the cache opens no socket and starts no program",
		From:  []string{"./cache"},
		To:    []string{"net", "net/http/...", "os/exec"},
		Reach: Own,
	},
	{
		Name:  "lockfile grammars open no socket and start no program",
		From:  []string{"./cache/ecosystem/..."},
		To:    []string{"net", "net/http/...", "os/exec"},
		Reach: Own,
	},
	{
		Name:  "lockfile grammars read no disk",
		From:  []string{"./cache/ecosystem/..."},
		To:    []string{"os"},
		Reach: Direct,
	},
	{
		Name:  "bills of materials are pure",
		From:  []string{"./cache/sbom"},
		To:    []string{"context", "log/...", "math/rand/...", "net", "net/http/...", "os/..."},
		Reach: Direct,
	},
	{
		Name:   "only the BuildKit side imports BuildKit",
		From:   []string{"./..."},
		Except: []string{"./frontend/...", "./llbgen/...", "./cmd/...", "./internal/lab/...", "./test/..."},
		To:     []string{"github.com/moby/buildkit/..."},
		Reach:  Direct,
	},
}

// Reach says how far a rule looks.
type Reach int

// The reaches. Linked is the zero value, and the strictest.
const (
	Linked Reach = iota // any chain of imports: what ends up in the binary
	Own                 // a chain through packages of this module, the last step leaving it at most
	Direct              // the package's own imports
)

// Rule forbids the packages of From, those of Except left out, to import those
// of To. From means packages of this module alone.
type Rule struct {
	Name   string // a sentence that is true when the rule holds
	From   []string
	Except []string
	To     []string
	Reach  Reach
}

// Graph is packages and what they import. Test files do not count.
type Graph struct {
	Module  string              // path of the module
	Imports map[string][]string // import path to import paths; other modules and the standard library included
}

// Breach is one broken rule.
type Breach struct {
	Rule  string
	Chain []string // import paths, from the culprit to what it must not import
}

// String shows the chain, one arrow an import.
func (b Breach) String() string { return b.Rule + ": " + strings.Join(b.Chain, " -> ") }

// Broken returns the breaches in g: for each culprit the shortest chain, the
// first in alphabetical order of several. A chain that leads through another
// culprit of the same rule is that culprit's. They are sorted by rule, then by
// culprit.
func Broken(g Graph, rules []Rule) []Breach {
	var found []Breach
	for _, r := range rules {
		bound := func(path string) bool {
			return g.own(path) && g.matches(path, r.From) && !g.matches(path, r.Except)
		}
		for _, from := range sortedKeys(g.Imports) {
			if !bound(from) {
				continue
			}
			chain := g.chain(from, r)
			if chain != nil && !slices.ContainsFunc(chain[1:len(chain)-1], bound) {
				found = append(found, Breach{Rule: r.Name, Chain: chain})
			}
		}
	}
	return found
}

// chain returns the shortest chain from a package to one that r forbids it.
func (g Graph) chain(from string, r Rule) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && (r.Reach == Direct || r.Reach == Own && !g.own(at)) {
			continue // its imports are not looked at
		}
		next := slices.Sorted(slices.Values(g.Imports[at]))
		for _, to := range next {
			if _, seen := before[to]; seen {
				continue
			}
			before[to] = at
			if g.matches(to, r.To) {
				return walk(before, to)
			}
			queue = append(queue, to)
		}
	}
	return nil
}

// walk returns the way to a package, from its start.
func walk(before map[string]string, to string) []string {
	var way []string
	for at := to; at != ""; at = before[at] {
		way = append(way, at)
	}
	slices.Reverse(way)
	return way
}

// own reports whether a package is of this module.
func (g Graph) own(path string) bool {
	return path == g.Module || strings.HasPrefix(path, g.Module+"/")
}

// matches reports whether a package is one that the patterns mean.
func (g Graph) matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		p, all := strings.CutSuffix(p, "/...")
		if rest, ok := strings.CutPrefix(p, "."); ok {
			p = g.Module + rest
		}
		return path == p || all && strings.HasPrefix(path, p+"/")
	})
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
