package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A tomlTable is one table of a lockfile, as it is written: a header and the
// keys below it. The keys before the first header are a table without a name.
type tomlTable struct {
	name   string // its key, joined with dots
	line   int
	values map[string]tomlValue // by key, joined with dots
}

// A tomlValue is what a lockfile says of a key.
type tomlValue struct {
	line int
	kind unstable.Kind
	text string   // of a string or a number; "" for others
	list []string // of an array, its strings
}

// tables reads the tables of a TOML file in their order. Keys that stand twice
// in one table, and tables that do, are problems; those that end with "[]" are
// elements of lists and may.
func (r *lockReader) tables(data []byte) []tomlTable {
	if line, cause := notText(data); cause != "" {
		r.problem(line, "", cause)
		return nil
	}
	data = withoutMark(data)
	lines := newLineIndex(data)
	var p unstable.Parser
	p.Reset(data)
	out := []tomlTable{{line: 1, values: map[string]tomlValue{}}}
	seen := map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		key, line := tomlKey(e, lines)
		switch e.Kind {
		case unstable.ArrayTable:
			out = append(out, tomlTable{key + "[]", line, map[string]tomlValue{}})
		case unstable.Table:
			if first := seen[key]; first > 0 {
				r.problem(line, "", fmt.Sprintf("table [%.80s]: there is one at line %d", key, first))
			}
			seen[key] = line
			out = append(out, tomlTable{key, line, map[string]tomlValue{}})
		case unstable.KeyValue:
			table := &out[len(out)-1]
			if first, twice := table.values[key]; twice {
				r.problem(line, "", fmt.Sprintf("key %.80q: there is one at line %d", key, first.line))
				continue
			}
			v := tomlValue{line: line, kind: e.Value().Kind}
			if v.kind == unstable.String || v.kind == unstable.Integer {
				v.text = string(e.Value().Data)
			}
			if v.kind == unstable.Array {
				v.list = stringsOf(e.Value())
			}
			table.values[key] = v
		}
	}
	if err := p.Error(); err != nil {
		line, text := tomlError(data, err)
		r.problem(line, "", "not TOML: "+text)
		return nil
	}
	return out
}

// stringsOf are the strings of an array.
func stringsOf(array *unstable.Node) []string {
	var out []string
	for it := array.Children(); it.Next(); {
		if n := it.Node(); n.Kind == unstable.String {
			out = append(out, string(n.Data))
		}
	}
	return out
}

// tomlKey is the key of a header or a value, and its line.
func tomlKey(e *unstable.Node, lines lineIndex) (key string, line int) {
	var parts []string
	for it := e.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
		if line == 0 {
			line = lines.at(int(it.Node().Raw.Offset))
		}
	}
	return strings.Join(parts, "."), line
}

// tomlError is what the parser says, and where.
func tomlError(data []byte, err error) (line int, text string) {
	bad, ok := errors.AsType[*unstable.ParserError](err)
	if !ok {
		return 0, err.Error()
	}
	if len(bad.Highlight) > 0 {
		line = bytes.Count(data[:cap(data)-cap(bad.Highlight)], []byte("\n")) + 1
	}
	return line, bad.Message
}

// A lineIndex tells the line of an offset: it holds where each line begins.
type lineIndex []int

func newLineIndex(data []byte) lineIndex {
	index := lineIndex{0}
	for i, c := range data {
		if c == '\n' {
			index = append(index, i+1)
		}
	}
	return index
}

func (l lineIndex) at(offset int) int {
	i, found := slices.BinarySearch(l, offset)
	if found {
		return i + 1
	}
	return i
}
