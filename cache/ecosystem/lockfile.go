package ecosystem

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/hermetic-build/hermetic/cache"
)

// maxProblems bounds what is said of one lockfile.
const maxProblems = 1000

// readLock reads a lockfile of at most limit bytes. Mind that a tree of YAML
// takes a hundred times the bytes of its text, at worst. The cause, "" where it
// worked, says in words why not.
func readLock(fsys fs.FS, name string, limit int64) (data []byte, cause string) {
	info, err := fs.Stat(fsys, name)
	switch {
	case err != nil:
		return nil, readCause(err)
	case !info.Mode().IsRegular():
		return nil, "not a regular file"
	case info.Size() > limit:
		return nil, tooLarge(limit)
	}
	data, err = fs.ReadFile(fsys, name)
	switch {
	case err != nil:
		return nil, readCause(err)
	case int64(len(data)) > limit: // it has grown
		return nil, tooLarge(limit)
	}
	return data, ""
}

// absence is the kind of problem that a lockfile is which cannot be read.
func absence(err error) cache.ProblemKind {
	if errors.Is(err, fs.ErrNotExist) {
		return cache.NoLock
	}
	return cache.BadLock
}

// unread is the problem of a lockfile that readLock could not read.
func unread(fsys fs.FS, name, cause string) cache.Problem {
	_, err := fs.Stat(fsys, name)
	return cache.Problem{Kind: absence(err), Origin: cache.Origin{File: name}, Cause: cause}
}

func tooLarge(limit int64) string { return fmt.Sprintf("larger than %d MB", limit>>20) }

// A lockReader gathers what is wrong with one lockfile.
type lockReader struct {
	file     string
	problems []cache.Problem
	more     int // problems beyond maxProblems
	warnings []cache.Problem
}

// problem records what is wrong at a line; subject may be "".
func (r *lockReader) problem(line int, subject, cause string) {
	r.record(cache.BadLock, line, subject, cause)
}

// record is problem for one of another kind.
func (r *lockReader) record(kind cache.ProblemKind, line int, subject, cause string) {
	if len(r.problems) >= maxProblems {
		r.more++
		return
	}
	r.problems = append(r.problems, cache.Problem{Kind: kind, Origin: cache.Origin{File: r.file, Line: line}, Subject: subject, Cause: cause})
}

// warn records what is accepted at a line, and should be mended.
func (r *lockReader) warn(line int, subject, cause string) {
	r.warnings = append(r.warnings, cache.Problem{Kind: cache.Weak, Origin: cache.Origin{File: r.file, Line: line}, Subject: subject, Cause: cause})
}

// all are the problems, with the number of those that were left out.
func (r *lockReader) all() []cache.Problem {
	if r.more == 0 {
		return r.problems
	}
	last := cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: r.file}, Cause: fmt.Sprintf("%d more problems", r.more)}
	return append(slices.Clone(r.problems), last)
}

// A yamlReader reads a tree of YAML by what is expected of it: each method
// takes a node and its name for messages, and records what else it is.
type yamlReader struct {
	lockReader
	subject string // of what is being read
	left    int    // nodes that may still be visited: aliases can repeat them without end
}

// yamlLine matches an error of the parser that names a line.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

// parse reads the one document of data; nil is none that can be read.
func (r *yamlReader) parse(data []byte) *yaml.Node {
	r.left = 4*len(data) + 1 // no file without aliases has as many
	if line, cause := notText(data); cause != "" {
		r.problem(line, "", cause)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if err == io.EOF {
		r.problem(0, "", "empty")
		return nil
	}
	if err == nil {
		if err = dec.Decode(&next); err == io.EOF {
			return doc.Content[0]
		}
		if err == nil {
			r.problem(next.Line, "", "a second document: want one")
			return nil
		}
	}
	line, text := yamlError(data, err)
	r.problem(line, "", "not YAML: "+text)
	return nil
}

// yamlError is what the parser says, and where: it names no line for the first
// one, and none for anchors.
func yamlError(data []byte, err error) (line int, text string) {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits
		return line, m[2]
	}
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if _, rest, ok := strings.Cut(text, "anchor '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		if before, _, ok := bytes.Cut(data, []byte("*"+name)); ok {
			return bytes.Count(before, []byte("\n")) + 1, text
		}
	}
	return 1, text
}

// notText finds the first byte that no YAML has.
func notText(data []byte) (line int, cause string) {
	if !utf8.Valid(data) {
		for i, text := range bytes.SplitAfter(data, []byte("\n")) {
			if !utf8.Valid(text) {
				return i + 1, "not UTF-8"
			}
		}
	}
	at := bytes.IndexFunc(data, func(c rune) bool { return c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f })
	if at < 0 {
		return 0, ""
	}
	return bytes.Count(data[:at], []byte("\n")) + 1, fmt.Sprintf("a control character, U+%04X", data[at])
}

// withoutMark is a text without the byte order mark that editors of Windows put
// before it, which cargo, uv, pip and npm read over.
func withoutMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// errSpent ends the reading of a tree whose aliases multiply.
var errSpent = errors.New("aliases repeat more than the file holds")

// visit follows aliases to what they stand for.
func (r *yamlReader) visit(n *yaml.Node) *yaml.Node {
	if r.left--; r.left < 0 {
		panic(errSpent)
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// wrong records that what is named, "" for the subject itself, is not as it
// should be.
func (r *yamlReader) wrong(n *yaml.Node, what, cause string) {
	if what != "" {
		cause = what + ": " + cause
	}
	r.problem(n.Line, r.subject, cause)
}

// mapping are the entries of a mapping, by key; nil where n is none. Unknown
// keys and those that stand twice are problems.
func (r *yamlReader) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	n = r.visit(n)
	if n.Kind != yaml.MappingNode {
		r.wrong(n, what, "not a mapping")
		return nil
	}
	entries := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := r.visit(n.Content[i])
		switch {
		case key.Kind != yaml.ScalarNode:
			r.wrong(key, what, "a key that is no word")
		case !slices.Contains(known, key.Value):
			r.problem(key.Line, r.subject, fmt.Sprintf("key %.80q: not one of %s", key.Value, strings.Join(known, ", ")))
		case entries[key.Value] != nil:
			r.problem(key.Line, r.subject, fmt.Sprintf("key %q: there is one at line %d", key.Value, entries[key.Value].Line))
		default:
			entries[key.Value] = n.Content[i+1]
		}
	}
	return entries
}

// has tells whether a mapping has one of the keys.
func (r *yamlReader) has(n *yaml.Node, keys ...string) bool {
	n = r.visit(n)
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(n.Content); i += 2 {
		if slices.Contains(keys, r.visit(n.Content[i]).Value) {
			return true
		}
	}
	return false
}

// list are the entries of a list.
func (r *yamlReader) list(n *yaml.Node, what string) []*yaml.Node {
	n = r.visit(n)
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, what, "not a list")
		return nil
	}
	return n.Content
}

// text is a string; ok is false where n is none, which is a problem.
func (r *yamlReader) text(n *yaml.Node, what string) (text string, ok bool) {
	n = r.visit(n)
	switch {
	case n.Kind != yaml.ScalarNode:
		r.wrong(n, what, "not a string")
	case n.ShortTag() == "!!null":
		r.wrong(n, what, "empty")
	case n.ShortTag() != "!!str":
		r.wrong(n, what, fmt.Sprintf("%.80s is not a string: put it in quotes", n.Value))
	default:
		return n.Value, true
	}
	return "", false
}
