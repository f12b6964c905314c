package cache

import "strings"

// maxExpansions bounds the work that a hostile set of templates can cause:
// references double at each level.
const maxExpansions = 10_000

// expander replaces ${name} by values[name], again and again. It reads only
// the braced form that Hermeto writes; a name without a value stays, and so
// does one that refers to itself.
type expander struct {
	values map[string]string
	left   int             // expansions that may still be made
	open   map[string]bool // names being expanded: a cycle ends here
}

func (e *expander) expand(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		value, known := e.values[name]
		if !closed || !known || e.open[name] || e.left <= 0 {
			b.WriteString("${")
			s = rest
			continue
		}
		e.left--
		e.open[name] = true
		b.WriteString(e.expand(value))
		delete(e.open, name)
		s = after
	}
}
