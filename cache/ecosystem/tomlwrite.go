package ecosystem

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A tomlField is a key of a table that is written. Its value is a *tomlNode, a
// string, a bool, an int, a []any of values, or a tomlFields.
type tomlField struct {
	key   string
	value any
}

// tomlFields is a table, in the order in which it is written.
type tomlFields []tomlField

// tomlWriter writes a document as cargo does: a table a paragraph, values before
// tables, lists of more than one on lines of their own.
type tomlWriter struct{ out strings.Builder }

// writeTOML is a document.
func writeTOML(doc tomlFields) string {
	var w tomlWriter
	w.body("", doc)
	return w.out.String()
}

// fieldsOf is a table in the order in which it is written; ok is false for what
// is none.
func fieldsOf(v any) (fields tomlFields, ok bool) {
	switch v := v.(type) {
	case tomlFields:
		return v, true
	case *tomlNode:
		if v.kind != unstable.Table {
			return nil, false
		}
		for _, key := range v.keys {
			fields = append(fields, tomlField{key, v.table[key]})
		}
		return fields, true
	}
	return nil, false
}

// tablesOf are the elements of a list that is written as tables; ok is false for
// any other value.
func tablesOf(v any) (tables []tomlFields, ok bool) {
	list := itemsOf(v)
	if len(list) == 0 {
		return nil, false
	}
	for _, item := range list {
		t, ok := fieldsOf(item)
		if !ok {
			return nil, false
		}
		tables = append(tables, t)
	}
	return tables, true
}

// itemsOf are the elements of a list; nil for anything else.
func itemsOf(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case *tomlNode:
		if v.kind != unstable.Array {
			return nil
		}
		out := make([]any, len(v.list))
		for i, item := range v.list {
			out[i] = item
		}
		return out
	}
	return nil
}

// body writes the values of a table, then the tables in it.
func (w *tomlWriter) body(name string, t tomlFields) {
	for _, f := range t {
		_, isTable := fieldsOf(f.value)
		_, isTables := tablesOf(f.value)
		if !isTable && !isTables {
			w.out.WriteString(tomlKeyPlain(f.key) + " = ")
			w.value(f.value)
			w.out.WriteByte('\n')
		}
	}
	for _, f := range t {
		below := tomlKeyPlain(f.key)
		if name != "" {
			below = name + "." + below
		}
		if sub, ok := fieldsOf(f.value); ok {
			if len(sub) == 0 || slices.ContainsFunc(sub, isPlain) {
				w.header("[" + below + "]")
			}
			w.body(below, sub)
			continue
		}
		subs, _ := tablesOf(f.value)
		for _, sub := range subs {
			w.header("[[" + below + "]]")
			w.body(below, sub)
		}
	}
}

// isPlain tells whether a field stands in the body of its table.
func isPlain(f tomlField) bool {
	_, isTable := fieldsOf(f.value)
	_, isTables := tablesOf(f.value)
	return !isTable && !isTables
}

func (w *tomlWriter) header(text string) {
	if w.out.Len() > 0 {
		w.out.WriteByte('\n')
	}
	w.out.WriteString(text + "\n")
}

// value writes what stands behind "=".
func (w *tomlWriter) value(v any) {
	switch v := v.(type) {
	case string:
		w.out.WriteString(tomlText(v))
	case bool:
		w.out.WriteString(strconv.FormatBool(v))
	case int:
		w.out.WriteString(strconv.Itoa(v))
	case []any:
		w.list(v)
	case tomlFields:
		w.inline(v)
	case *tomlNode:
		w.node(v)
	}
}

// node writes a value as it was read, in the notation that cargo has for it.
func (w *tomlWriter) node(n *tomlNode) {
	switch n.kind {
	case unstable.String:
		w.out.WriteString(tomlText(n.text))
	case unstable.Integer:
		i, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimPrefix(n.text, "+"), "_", ""), 0, 64)
		if err != nil {
			i, _ = strconv.ParseInt(strings.ReplaceAll(strings.TrimPrefix(n.text, "+"), "_", ""), 10, 64)
		}
		w.out.WriteString(strconv.FormatInt(i, 10))
	case unstable.Float:
		f, _ := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64) // the parser has seen that it is one
		w.out.WriteString(tomlFloat(f))
	case unstable.LocalDateTime, unstable.DateTime:
		w.out.WriteString(strings.ToUpper(strings.ReplaceAll(n.text, " ", "T")))
	case unstable.Array:
		w.list(itemsOf(n))
	case unstable.Table:
		fields, _ := fieldsOf(n)
		w.inline(fields)
	default:
		w.out.WriteString(n.text)
	}
}

func (w *tomlWriter) list(items []any) {
	switch len(items) {
	case 0:
		w.out.WriteString("[]")
		return
	case 1:
		w.out.WriteByte('[')
		w.value(items[0])
		w.out.WriteByte(']')
		return
	}
	w.out.WriteString("[\n")
	for _, item := range items {
		w.out.WriteString("    ")
		w.value(item)
		w.out.WriteString(",\n")
	}
	w.out.WriteByte(']')
}

func (w *tomlWriter) inline(t tomlFields) {
	if len(t) == 0 {
		w.out.WriteString("{}")
		return
	}
	for i, f := range t {
		before := ", "
		if i == 0 {
			before = "{ "
		}
		w.out.WriteString(before + tomlKeyPlain(f.key) + " = ")
		w.value(f.value)
	}
	w.out.WriteString(" }")
}

// tomlKeyPlain is a key in the notation that needs no escapes, if there is one.
func tomlKeyPlain(key string) string {
	if bareKey.MatchString(key) {
		return key
	}
	if text := tomlText(key); !strings.HasPrefix(text, `"""`) && !strings.HasPrefix(text, "'''") {
		return text
	}
	return `"` + escapeTOML(key, `\n`) + `"` // TOML has no key in the notations for several lines
}

// tomlFloat is a number that nobody takes for an integer.
func tomlFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// tomlText is a string in the notation that needs no escapes, if there is one.
func tomlText(s string) string {
	controls := strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f })
	lines, escapes := strings.Contains(s, "\n"), strings.ContainsAny(s, "\\")
	double, single := longestRun(s, '"'), longestRun(s, '\'')
	switch {
	case !controls && !escapes && double == 0 && !lines:
		return `"` + s + `"`
	case !controls && single == 0 && !lines:
		return "'" + s + "'"
	case !controls && !escapes && double <= 2:
		return `"""` + opening(s) + s + `"""`
	case !controls && single <= 2:
		return "'''" + opening(s) + s + "'''"
	case lines:
		return `"""` + opening(s) + escapeTOML(s, "\n") + `"""`
	}
	return `"` + escapeTOML(s, `\n`) + `"`
}

// opening is the line break that the notation for several lines begins with.
func opening(s string) string {
	if strings.Contains(s, "\n") {
		return "\n"
	}
	return ""
}

// longestRun is how often c stands side by side in s.
func longestRun(s string, c byte) int {
	longest, n := 0, 0
	for i := range len(s) {
		if s[i] != c {
			n = 0
			continue
		}
		n++
		longest = max(longest, n)
	}
	return longest
}

// escapeTOML is a string with escapes; newline is what stands for a line break.
func escapeTOML(s, newline string) string {
	var b strings.Builder
	for _, r := range s {
		short := strings.IndexRune("\b\t\f\r\"\\", r)
		switch {
		case r == '\n':
			b.WriteString(newline)
		case short >= 0:
			b.WriteString(`\` + `btfr"\`[short:short+1])
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
