package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/moby/buildkit/util/suggest"
	"go.yaml.in/yaml/v3"

	"github.com/hermetic-build/hermetic/cache"
)

const (
	maxFile       = 1 << 20 // bytes of a file
	maxExceptions = 1000    // in a list
	maxShown      = 100     // problems in the text of an error
)

// Errors are all problems of one file, by line.
type Errors struct{ Problems []cache.Problem }

// Error has a line for each problem, "file:line: subject: cause", and says how
// many more there are after the hundredth.
func (e *Errors) Error() string {
	var lines []string
	for _, p := range e.Problems[:min(maxShown, len(e.Problems))] {
		lines = append(lines, p.String())
	}
	if more := len(e.Problems) - maxShown; more > 0 {
		lines = append(lines, fmt.Sprintf("%s: %d more", e.Problems[0].Origin.File, more))
	}
	return strings.Join(lines, "\n")
}

// A document is a file while it is read: what is wrong with it so far.
type document struct {
	file     string
	problems []cache.Problem
}

func (d *document) complain(line int, subject, format string, args ...any) {
	d.problems = append(d.problems, cache.Problem{
		Origin: cache.Origin{File: d.file, Line: line}, Subject: subject, Cause: fmt.Sprintf(format, args...),
	})
}

// err is everything wrong with the document, or nil.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b cache.Problem) int { return cmp.Compare(a.Origin.Line, b.Origin.Line) })
	return &Errors{slices.Compact(d.problems)}
}

func (d *document) origin(n *yaml.Node) cache.Origin { return cache.Origin{File: d.file, Line: n.Line} }

// load parses the file into the node of its one document. The node is nil
// where the file is empty or is not to be read any further.
func (d *document) load(data []byte) *yaml.Node {
	if d.checkText(data); len(d.problems) > 0 {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		d.syntax(err, data)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.complain(second.Line, "document", "a file holds one document, and another begins here")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err, data)
	}
	root := doc.Content[0]
	d.checkPlain(root)
	if isNull(root) {
		return nil
	}
	return root
}

// checkText finds what makes a file unfit to be read or reviewed, whatever its
// grammar.
func (d *document) checkText(data []byte) {
	if len(data) > maxFile {
		d.complain(0, "", "%d bytes, at most %d", len(data), maxFile)
		return
	}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if !utf8.Valid(line) {
			d.complain(number, "", "not UTF-8")
			continue
		}
		if number == 1 && bytes.HasPrefix(line, []byte("\ufeff")) {
			d.complain(number, "", "begins with a byte order mark")
			continue
		}
		if i := bytes.IndexFunc(line, isHidden); i >= 0 {
			r, _ := utf8.DecodeRune(line[i:])
			d.complain(number, "", "holds the character %U, which does not show", r)
		}
	}
}

// isHidden tells whether a reader of the file would be misled by r: control
// characters, other line breaks than LF, and those that reverse text.
func isHidden(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	case '\u2028', '\u2029', '\ufeff':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

var (
	syntaxError   = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntax reports what the YAML parser says. It leaves the first line out, and
// may mean a line after the last.
func (d *document) syntax(err error, data []byte) {
	m := syntaxError.FindStringSubmatch(err.Error())
	if m == nil {
		d.complain(0, "syntax", "%s", err)
		return
	}
	if a := unknownAnchor.FindStringSubmatch(m[2]); a != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+a[1]))
		d.complain(1+bytes.Count(before, []byte("\n")), "*"+a[1], "anchors and aliases are not used here")
		return
	}
	if strings.Contains(m[2], "cannot start any token") || strings.Contains(m[2], "tab character") {
		if line := tabbed(data); line > 0 {
			d.complain(line, "syntax", "a tab in the indentation, which YAML takes for nothing but spaces")
			return
		}
	}
	line, _ := strconv.Atoi(m[1]) // none is 0
	lines := bytes.Count(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) + 1
	d.complain(min(max(line, 1), lines), "syntax", "%s", m[2])
}

// tabbed is the first line with a tab in its indentation, or 0.
func tabbed(data []byte) int {
	number := 0
	for line := range bytes.Lines(data) {
		number++
		rest := bytes.TrimLeft(line, " ")
		if bytes.HasPrefix(rest, []byte("\t")) && len(bytes.TrimSpace(rest)) > 0 {
			return number
		}
	}
	return 0
}

// checkPlain refuses what makes YAML mean something else than it shows.
func (d *document) checkPlain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.complain(n.Line, "*"+n.Value, "anchors and aliases are not used here")
		return
	case n.Anchor != "":
		d.complain(n.Line, "&"+n.Anchor, "anchors and aliases are not used here")
	case n.Style&yaml.TaggedStyle != 0:
		d.complain(n.Line, n.Tag, "tags are not used here")
	}
	for _, child := range n.Content {
		d.checkPlain(child)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kind says what a node is, in the words of the messages.
func kind(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!timestamp":
		return "a time"
	}
	return "text"
}

// A field is a key of a mapping and its value.
type field struct {
	name  string
	key   *yaml.Node
	value *yaml.Node
}

// fields are the fields of a mapping whose keys are all among names; subject
// names the mapping. Fields that are wrong are reported and left out.
func (d *document) fields(n *yaml.Node, subject string, names []string) map[string]field {
	if n.Kind == yaml.AliasNode {
		return nil // reported
	}
	if n.Kind != yaml.MappingNode {
		d.complain(n.Line, subject, "want keys, got %s", kind(n))
		return nil
	}
	found := map[string]field{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f := field{n.Content[i].Value, n.Content[i], n.Content[i+1]}
		first, again := found[f.name]
		switch {
		case f.key.Kind != yaml.ScalarNode:
			d.complain(f.key.Line, subject, "a key must be a word, not %s", kind(f.key))
		case !slices.Contains(names, f.name):
			d.complain(f.key.Line, f.name, "no such key%s", oneOf(f.name, names))
		case again:
			d.complain(f.key.Line, f.name, "given again; the first is in line %d", first.key.Line)
		case isNull(f.value):
			d.complain(f.key.Line, f.name, "has no value; remove the key, or write what it is to be")
			found[f.name] = field{name: f.name, key: f.key}
		default:
			found[f.name] = f
		}
	}
	return found
}

// items are the elements of a list; ok tells whether it is one.
func (d *document) items(f field) (elements []field, ok bool) {
	switch {
	case f.value == nil || f.value.Kind == yaml.AliasNode:
		return nil, false
	case f.value.Kind != yaml.SequenceNode:
		d.complain(f.value.Line, f.name, "want a list, got %s", kind(f.value))
		return nil, false
	}
	for _, n := range f.value.Content {
		elements = append(elements, field{f.name, f.key, n})
	}
	return elements, true
}

// text is a scalar that YAML takes for text, without space around it; ok tells
// whether it is there and good.
func (d *document) text(f field) (s string, ok bool) {
	if n := f.value; n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!str" && !isNull(n) {
		d.complain(n.Line, f.name, "want text, got %s; put it in quotes", kind(n))
		return "", false
	}
	return d.scalar(f)
}

// line is a text on one line, as messages print it.
func (d *document) line(f field) (s string, ok bool) {
	s, ok = d.text(f)
	return strings.Join(strings.Fields(s), " "), ok
}

// scalar is a scalar as it is written, without space around it; ok tells
// whether it is there and good.
func (d *document) scalar(f field) (s string, ok bool) {
	n := f.value
	switch {
	case n == nil || n.Kind == yaml.AliasNode:
		return "", false
	case n.Kind != yaml.ScalarNode || isNull(n):
		d.complain(n.Line, f.name, "want text, got %s", kind(n))
	case strings.TrimSpace(n.Value) == "":
		d.complain(n.Line, f.name, "is empty")
	case strings.ContainsFunc(n.Value, isHidden):
		i := strings.IndexFunc(n.Value, isHidden)
		r, _ := utf8.DecodeRuneInString(n.Value[i:])
		d.complain(n.Line, f.name, "holds the character %U, which does not show", r)
	default:
		return strings.TrimSpace(n.Value), true
	}
	return "", false
}

// boolean is a field that is true or false.
func (d *document) boolean(f field) Demand[bool] {
	n := f.value
	switch {
	case n == nil || n.Kind == yaml.AliasNode:
	case n.Tag == "!!bool" && n.Kind == yaml.ScalarNode && (n.Value == "true" || n.Value == "false"):
		return Demand[bool]{n.Value == "true", d.origin(n)}
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
		d.complain(n.Line, f.name, "want true or false, got the text %q", n.Value)
	case n.Kind == yaml.ScalarNode:
		d.complain(n.Line, f.name, "want true or false, got %s", n.Value)
	default:
		d.complain(n.Line, f.name, "want true or false, got %s", kind(n))
	}
	return Demand[bool]{}
}

// oneOf says what s might have been, as the end of a message: the option that
// is like it, or all if they are few.
func oneOf(s string, options []string) string {
	for _, o := range options {
		if strings.EqualFold(s, o) {
			return fmt.Sprintf("; did you mean %q?", o)
		}
	}
	if match, ok := suggest.Search(s, options, true); ok {
		return fmt.Sprintf("; did you mean %q?", match)
	}
	if len(options) > 10 {
		return ""
	}
	return ": want one of " + strings.Join(options, ", ")
}
