package cache

import (
	"regexp"
	"strings"
)

// maxExpansion bounds the bytes that a hostile set of templates can grow to:
// references double at each level. An environment that a system accepts for
// one process is not larger.
const maxExpansion = 1 << 20

// expander replaces references by values, again and again: the templates of
// Hermeto, which are those of Python's string.Template.safe_substitute. What is
// no reference, or has no value, stays; so does a name that refers to itself.
type expander struct {
	values map[string]string
	left   int             // bytes that may still be inserted
	open   map[string]bool // names being expanded: a cycle ends here
}

// reference matches $$, $name and ${name}.
var reference = regexp.MustCompile(`\$(?:\$|[_a-zA-Z][_a-zA-Z0-9]*|\{[_a-zA-Z][_a-zA-Z0-9]*\})`)

// resolve is the value of v.
func (e *expander) resolve(v EnvVar) string {
	var b strings.Builder
	e.open[v.Name] = true
	e.expand(&b, v.Value)
	delete(e.open, v.Name)
	return b.String()
}

// expand appends s to b.
func (e *expander) expand(b *strings.Builder, s string) {
	for {
		at := reference.FindStringIndex(s)
		if at == nil {
			b.WriteString(s)
			return
		}
		b.WriteString(s[:at[0]])
		ref := s[at[0]:at[1]]
		s = s[at[1]:]
		name := strings.Trim(ref, "${}")
		value, known := e.values[name]
		switch {
		case ref == "$$":
			b.WriteByte('$')
		case !known || e.open[name] || e.left < len(value):
			b.WriteString(ref)
		default:
			e.left -= len(value) + 1
			e.open[name] = true
			e.expand(b, value)
			delete(e.open, name)
		}
	}
}
