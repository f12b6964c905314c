package ecosystem

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxJSONDepth is how deep objects and lists may lie in each other.
const maxJSONDepth = 1000

// A jsonNode is a value of a JSON text, and the place of its bytes.
type jsonNode struct {
	kind       byte         // '{', '[', '"', '0' for a number, 't', 'f' or 'n'
	start, end int32        // bytes of the text
	text       string       // of a string, decoded
	members    []jsonMember // of an object, or of a list
}

// A jsonMember is a key of an object, with its value; without a key it is one of
// a list.
type jsonMember struct {
	key   string
	start int32 // of the key, the byte of its quote
	value jsonNode
}

// at is the value of a key; nil where there is none, or n is no object.
func (n *jsonNode) at(key string) *jsonNode {
	if m := n.member(key); m != nil {
		return &m.value
	}
	return nil
}

func (n *jsonNode) member(key string) *jsonMember {
	if n != nil && n.kind == '{' {
		for i := range n.members {
			if n.members[i].key == key {
				return &n.members[i]
			}
		}
	}
	return nil
}

// str is a string at a key; "" where there is none.
func (n *jsonNode) str(key string) string {
	if v := n.at(key); v != nil && v.kind == '"' {
		return v.text
	}
	return ""
}

// is tells whether the value at a key is true.
func (n *jsonNode) is(key string) bool {
	v := n.at(key)
	return v != nil && v.kind == 't'
}

// object are the members of the object at a key.
func (n *jsonNode) object(key string) []jsonMember {
	if v := n.at(key); v != nil && v.kind == '{' {
		return v.members
	}
	return nil
}

// strings are those of the list, or the one string, at a key.
func (n *jsonNode) strings(key string) []string {
	v := n.at(key)
	switch {
	case v == nil:
		return nil
	case v.kind == '"':
		return []string{v.text}
	case v.kind != '[':
		return nil
	}
	var out []string
	for _, m := range v.members {
		if m.value.kind == '"' {
			out = append(out, m.value.text)
		}
	}
	return out
}

// A jsonError is why a text is not JSON, or has a key twice, and where.
type jsonError struct {
	at    int32 // byte
	cause string
}

func (e *jsonError) Error() string { return e.cause }

// A jsonText is a JSON text that was read, and what is to be changed in it.
type jsonText struct {
	data  []byte
	root  jsonNode
	lines []int32 // where each line begins
	edits []jsonEdit
}

// A jsonEdit puts text in place of the bytes from start to end.
type jsonEdit struct {
	start, end int32
	text       string
}

// parseJSON reads a JSON text (RFC 8259), as strictly as encoding/json does, and
// refuses keys that stand twice. A byte order mark is left alone.
func parseJSON(data []byte) (*jsonText, error) {
	if len(data) > math.MaxInt32 {
		return &jsonText{}, &jsonError{0, "larger than 2 GB"}
	}
	p := &jsonParser{data: data, text: string(data)}
	t := &jsonText{data: data, lines: []int32{0}}
	for i := 0; ; {
		n := bytes.IndexByte(data[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
		t.lines = append(t.lines, int32(i))
	}
	if bytes.HasPrefix(data, []byte("\ufeff")) {
		p.pos = len("\ufeff")
	}
	err := p.value(&t.root, 0)
	if p.space(); err == nil && p.pos < len(data) {
		err = p.fail("what follows the end")
	}
	return t, err
}

// line is the line of a byte, from 1.
func (t *jsonText) line(at int32) int {
	i, found := slices.BinarySearch(t.lines, at)
	if found {
		return i + 1
	}
	return i
}

// replace has a value be another string.
func (t *jsonText) replace(n *jsonNode, text string) {
	t.edits = append(t.edits, jsonEdit{n.start, n.end, quoteJSON(text)})
}

// insertAfter puts a member behind another one of an object, set off as that is.
func (t *jsonText) insertAfter(m *jsonMember, key, text string) {
	start := m.start
	for start > 0 && strings.IndexByte(" \t\r\n", t.data[start-1]) >= 0 {
		start--
	}
	colon := ":"
	for i := m.start + 1; i < m.value.start; i++ {
		if t.data[i-1] != '\\' && t.data[i] == '"' { // the end of the key
			colon = string(t.data[i+1 : m.value.start])
		}
	}
	member := "," + string(t.data[start:m.start]) + quoteJSON(key) + colon + quoteJSON(text)
	t.edits = append(t.edits, jsonEdit{m.value.end, m.value.end, member})
}

// quoteJSON is a string as JSON writes it.
func quoteJSON(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError }) {
		return `"` + s + `"`
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // strings always encode
	return strings.TrimSuffix(b.String(), "\n")
}

// edited is the text with its edits; all other bytes go through keep.
func (t *jsonText) edited(keep func(string) string) string {
	slices.SortStableFunc(t.edits, func(a, b jsonEdit) int { return cmp.Compare(a.start, b.start) })
	var b strings.Builder
	b.Grow(len(t.data) + 128*len(t.edits))
	at := int32(0)
	for _, e := range t.edits {
		b.WriteString(keep(string(t.data[at:e.start])))
		b.WriteString(e.text)
		at = e.end
	}
	b.WriteString(keep(string(t.data[at:])))
	return b.String()
}

// A jsonParser reads a JSON text from pos on.
type jsonParser struct {
	data []byte
	text string // of the same bytes: strings without escapes are parts of it
	pos  int
}

func (p *jsonParser) fail(found string) error {
	return &jsonError{int32(min(p.pos, len(p.data))), "not JSON: " + found}
}

// unexpected says what stands at pos.
func (p *jsonParser) unexpected(want string) error {
	if p.pos >= len(p.data) {
		return p.fail("ends too early")
	}
	return p.fail(fmt.Sprintf("found %q, want %s", p.data[p.pos:p.pos+1], want))
}

func (p *jsonParser) space() {
	for p.pos < len(p.data) && strings.IndexByte(" \t\r\n", p.data[p.pos]) >= 0 {
		p.pos++
	}
}

// next is the next byte that is no space; 0 at the end.
func (p *jsonParser) next() byte {
	p.space()
	if p.pos >= len(p.data) {
		return 0
	}
	return p.data[p.pos]
}

func (p *jsonParser) value(n *jsonNode, depth int) error {
	c := p.next()
	n.kind, n.start = c, int32(p.pos)
	var err error
	switch {
	case depth > maxJSONDepth:
		return p.fail(fmt.Sprintf("more than %d levels", maxJSONDepth))
	case c == '{':
		err = p.object(n, depth)
	case c == '[':
		err = p.list(n, depth)
	case c == '"':
		n.text, err = p.string()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = '0'
		err = p.number()
	default:
		err = p.word(n)
	}
	n.end = int32(p.pos)
	return err
}

func (p *jsonParser) word(n *jsonNode) error {
	for _, w := range []string{"true", "false", "null"} {
		if strings.HasPrefix(p.text[p.pos:], w) {
			n.kind = w[0]
			p.pos += len(w)
			return nil
		}
	}
	return p.unexpected("a value")
}

func (p *jsonParser) object(n *jsonNode, depth int) error {
	p.pos++
	if p.next() == '}' {
		p.pos++
		return nil
	}
	for {
		if p.next() != '"' {
			return p.unexpected("a key")
		}
		m := jsonMember{start: int32(p.pos)}
		var err error
		if m.key, err = p.string(); err != nil {
			return err
		}
		if p.next() != ':' {
			return p.unexpected("a colon")
		}
		p.pos++
		n.members = append(n.members, m)
		if err := p.value(&n.members[len(n.members)-1].value, depth+1); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			return n.unique()
		default:
			return p.unexpected("a comma or }")
		}
	}
}

// unique refuses an object with a key that stands twice.
func (n *jsonNode) unique() error {
	twice := func(m jsonMember) error { return &jsonError{m.start, fmt.Sprintf("key %.80q: stands twice", m.key)} }
	if len(n.members) <= 8 {
		for i, m := range n.members {
			for _, earlier := range n.members[:i] {
				if earlier.key == m.key {
					return twice(m)
				}
			}
		}
		return nil
	}
	seen := make(map[string]struct{}, len(n.members))
	for _, m := range n.members {
		seen[m.key] = struct{}{}
	}
	if len(seen) == len(n.members) {
		return nil
	}
	clear(seen)
	for _, m := range n.members {
		if _, ok := seen[m.key]; ok {
			return twice(m)
		}
		seen[m.key] = struct{}{}
	}
	return nil
}

func (p *jsonParser) list(n *jsonNode, depth int) error {
	p.pos++
	if p.next() == ']' {
		p.pos++
		return nil
	}
	for {
		n.members = append(n.members, jsonMember{start: int32(p.pos)})
		if err := p.value(&n.members[len(n.members)-1].value, depth+1); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return nil
		default:
			return p.unexpected("a comma or ]")
		}
	}
}

// string reads a string, whose quote is at pos.
func (p *jsonParser) string() (string, error) {
	start := p.pos
	p.pos++
	plain := true
	for ; p.pos < len(p.data); p.pos++ {
		switch c := p.data[p.pos]; {
		case c == '"':
			p.pos++
			if plain {
				return p.text[start+1 : p.pos-1], nil
			}
			var s string
			if json.Unmarshal(p.data[start:p.pos], &s) != nil {
				p.pos = start
				return "", p.fail("a string that is none")
			}
			return s, nil
		case c < ' ':
			return "", p.fail(fmt.Sprintf("a control character, U+%04X, in a string", c))
		case c == '\\':
			plain = false
			p.pos++ // what is escaped; Unmarshal reads it
		}
	}
	return "", p.fail("ends too early")
}

// number reads a number, of which pos is at the first character.
func (p *jsonParser) number() error {
	digits := func() bool {
		start := p.pos
		for p.pos < len(p.data) && p.data[p.pos] >= '0' && p.data[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > start
	}
	skip := func(set string) bool {
		if p.pos < len(p.data) && strings.IndexByte(set, p.data[p.pos]) >= 0 {
			p.pos++
			return true
		}
		return false
	}
	skip("-")
	if !skip("0") && !digits() {
		return p.unexpected("a digit")
	}
	if skip(".") && !digits() {
		return p.unexpected("a digit")
	}
	if skip("eE") {
		if skip("+-"); !digits() {
			return p.unexpected("a digit")
		}
	}
	return nil
}

// json reads a JSON file; nil is one that is none, which is a problem.
func (r *lockReader) json(data []byte) *jsonText {
	if !utf8.Valid(data) {
		line, cause := notText(data)
		r.problem(line, "", cause)
		return nil
	}
	t, err := parseJSON(data)
	if e, ok := errors.AsType[*jsonError](err); ok {
		r.problem(t.line(e.at), "", e.cause)
		return nil
	}
	return t
}
