package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A tomlNode is a value of a TOML file with its line.
type tomlNode struct {
	line  int
	kind  unstable.Kind // Table of a table in either notation
	text  string        // of a scalar
	table map[string]*tomlNode
	keys  []string // of the table, in the order of the file
	list  []*tomlNode
}

// put adds a key to a table.
func (n *tomlNode) put(key string, value *tomlNode) {
	n.table[key] = value
	n.keys = append(n.keys, key)
}

// maxTOMLDepth bounds brackets in brackets: the parser follows them.
const maxTOMLDepth = 200

// A tomlTree reads a TOML file into nodes.
type tomlTree struct {
	*lockReader
	parser unstable.Parser
	starts []int // where each line begins
}

// tree reads data; nil is no TOML.
func (r *lockReader) tree(data []byte) *tomlNode {
	if line, cause := notText(data); cause != "" {
		r.problem(line, "", cause)
		return nil
	}
	data = withoutMark(data)
	t := &tomlTree{lockReader: r, starts: []int{0}}
	depth := 0
	for i, c := range data {
		switch c {
		case '\n':
			t.starts = append(t.starts, i+1)
		case '[', '{':
			if depth++; depth > maxTOMLDepth {
				r.problem(len(t.starts), "", "too many brackets in brackets")
				return nil
			}
		case ']', '}':
			depth = max(0, depth-1)
		}
	}
	t.parser.Reset(data)
	root := &tomlNode{line: 1, kind: unstable.Table, table: map[string]*tomlNode{}}
	t.statements(root)
	if err := t.parser.Error(); err != nil {
		line, text := 0, err.Error()
		if bad, ok := errors.AsType[*unstable.ParserError](err); ok {
			text = bad.Message
			if len(bad.Highlight) > 0 {
				line = bytes.Count(data[:cap(data)-cap(bad.Highlight)], []byte("\n")) + 1
			}
		}
		r.problem(line, "", "not TOML: "+text)
		return nil
	}
	return root
}

// statements reads headers and keys into root.
func (t *tomlTree) statements(root *tomlNode) {
	at := root
	made := map[*tomlNode]bool{}
	for t.parser.NextExpression() {
		e := t.parser.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			if e.Kind == unstable.KeyValue && at != nil {
				t.set(at, e)
			}
			continue
		}
		keys, line := t.key(e)
		parent := t.descend(root, keys[:len(keys)-1], line)
		if at = nil; parent == nil {
			continue
		}
		last := keys[len(keys)-1]
		have := parent.table[last]
		switch {
		case e.Kind == unstable.ArrayTable:
			if have == nil {
				have = &tomlNode{line: line, kind: unstable.Array}
				parent.put(last, have)
			}
			if have.kind != unstable.Array {
				t.twice(line, last, have)
				continue
			}
			at = &tomlNode{line: line, kind: unstable.Table, table: map[string]*tomlNode{}}
			have.list = append(have.list, at)
		case have == nil:
			at = &tomlNode{line: line, kind: unstable.Table, table: map[string]*tomlNode{}}
			parent.put(last, at)
			made[at] = true
		case have.kind == unstable.Table && !made[have]:
			at = have // made by a table below it
			made[at] = true
		default:
			t.twice(line, last, have)
		}
	}
}

func (t *tomlTree) twice(line int, key string, first *tomlNode) {
	t.problem(line, "", fmt.Sprintf("key %.80q: there is one at line %d", key, first.line))
}

// descend finds or makes the table that keys lead to; nil is none.
func (t *tomlTree) descend(at *tomlNode, keys []string, line int) *tomlNode {
	for _, k := range keys {
		next := at.table[k]
		if next == nil {
			next = &tomlNode{line: line, kind: unstable.Table, table: map[string]*tomlNode{}}
			at.put(k, next)
		}
		if next.kind == unstable.Array && len(next.list) > 0 {
			next = next.list[len(next.list)-1]
		}
		if next.kind != unstable.Table {
			t.twice(line, k, next)
			return nil
		}
		at = next
	}
	return at
}

// set reads "key = value" into a table.
func (t *tomlTree) set(at *tomlNode, e *unstable.Node) {
	keys, line := t.key(e)
	parent := t.descend(at, keys[:len(keys)-1], line)
	if parent == nil {
		return
	}
	last := keys[len(keys)-1]
	if first := parent.table[last]; first != nil {
		t.twice(line, last, first)
		return
	}
	parent.put(last, t.value(e.Value(), line))
}

// value reads a value; line is that of its key.
func (t *tomlTree) value(v *unstable.Node, line int) *tomlNode {
	n := &tomlNode{line: line, kind: v.Kind}
	switch v.Kind {
	case unstable.Array:
		for it := v.Children(); it.Next(); {
			item := t.value(it.Node(), line)
			n.list = append(n.list, item)
		}
	case unstable.InlineTable:
		n.kind, n.table = unstable.Table, map[string]*tomlNode{}
		first := 0
		for it := v.Children(); it.Next(); {
			if e := it.Node(); e.Kind == unstable.KeyValue {
				if _, at := t.key(e); first == 0 {
					first = at
				}
				t.set(n, e)
			}
		}
		if first > 0 {
			n.line = first
		}
	default:
		n.text = string(v.Data)
	}
	return n
}

// key is the key of a statement, and its line.
func (t *tomlTree) key(e *unstable.Node) (parts []string, line int) {
	for it := e.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
		if line == 0 {
			i, found := slices.BinarySearch(t.starts, int(it.Node().Raw.Offset))
			if line = i; found {
				line++
			}
		}
	}
	if len(parts) == 0 {
		parts = []string{""}
	}
	return parts, line
}

// str is the string at a path of keys; "" where there is none.
func (n *tomlNode) str(keys ...string) string {
	if n = n.at(keys...); n == nil || n.kind != unstable.String {
		return ""
	}
	return n.text
}

// at is the node at a path of keys; nil where there is none.
func (n *tomlNode) at(keys ...string) *tomlNode {
	for _, k := range keys {
		if n == nil || n.kind != unstable.Table {
			return nil
		}
		n = n.table[k]
	}
	return n
}

// items are the elements of the list at a path of keys.
func (n *tomlNode) items(keys ...string) []*tomlNode {
	if n = n.at(keys...); n == nil || n.kind != unstable.Array {
		return nil
	}
	return n.list
}

// values are those of a table, in the order of the file; none of anything else.
func (n *tomlNode) values() []*tomlNode {
	if n == nil || n.kind != unstable.Table {
		return nil
	}
	out := make([]*tomlNode, len(n.keys))
	for i, key := range n.keys {
		out[i] = n.table[key]
	}
	return out
}

// strs are the strings of the list at a key.
func (n *tomlNode) strs(key string) []string {
	var out []string
	for _, item := range n.items(key) {
		if item.kind == unstable.String {
			out = append(out, item.text)
		}
	}
	return out
}

// major is what a version begins with.
func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}
