package script

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// A word is what is known of an argument.
type word struct {
	text  string // all of it, or its beginning
	tail  string // its end, behind what is not known
	whole bool   // text is all
	one   bool   // it is one argument, or begins one; else it may be none
	// Where it stands. node is nil where it was made from no shell word; script
	// tells that src is the word's own text.
	src    *source
	node   *syntax.Word
	script bool
}

// line is the line of the Dockerfile that the word begins on.
func (w word) line() int {
	switch {
	case w.src == nil:
		return 0
	case w.node != nil:
		return w.src.line(int(w.node.Pos().Offset()))
	}
	return w.src.line(0)
}

// maxValue bounds what a variable may hold: values that are made of values grow
// fast.
const maxValue = 4 << 10

// get is what is known of a variable.
func (r *reader) get(name string) (v value, set bool) {
	if v, ok := r.vars[name]; ok {
		return v, true
	}
	if text, ok := r.env[name]; ok && !r.hidden {
		return value{text, true}, true
	}
	return value{}, false
}

// assign sets a variable; not reached for certain, it may be anything then.
func (r *reader) assign(c ctx, name string, v value) {
	if !r.certainly(c) || len(v.text) > maxValue {
		v = value{}
	}
	r.vars[name] = v
	r.names = append(r.names, name)
}

// forgetSince makes unknown what was assigned since there were n assignments.
func (r *reader) forgetSince(n int) {
	for _, name := range r.names[n:] {
		r.vars[name] = value{}
	}
}

// forget makes all variables unknown: commands that were not read ran in this
// shell.
func (r *reader) forget() {
	for name := range r.vars {
		r.vars[name] = value{}
	}
	r.hidden = true
}

// words expands the words of a command, and follows the commands in them.
func (r *reader) words(c ctx, in []*syntax.Word) []word {
	out := make([]word, 0, len(in))
	for _, w := range in {
		if !r.step() {
			return nil
		}
		if lit := plainLiteral(w); lit != "" {
			out = append(out, word{text: lit, whole: true, one: true, src: c.src, node: w})
			continue
		}
		r.substitutions(c, w)
		if isAll(w) {
			out = append(out, c.params()...)
			continue
		}
		e := expansion{r: r, c: c, node: w}
		e.parts(w.Parts, unquoted)
		out = append(out, e.end()...)
	}
	return out
}

// plainLiteral is a word without quotes and expansions; "" for others.
func plainLiteral(w *syntax.Word) string {
	if len(w.Parts) == 1 {
		if lit, ok := w.Parts[0].(*syntax.Lit); ok && strings.IndexByte(lit.Value, '\\') < 0 {
			return lit.Value
		}
	}
	return ""
}

// isAll tells whether a word is "$@".
func isAll(w *syntax.Word) bool {
	if len(w.Parts) != 1 {
		return false
	}
	part := w.Parts[0]
	if q, ok := part.(*syntax.DblQuoted); ok && len(q.Parts) == 1 {
		part = q.Parts[0]
	}
	p, ok := part.(*syntax.ParamExp)
	return ok && isSimple(p) && p.Param.Value == "@"
}

// isSimple tells whether an expansion is that of a variable and nothing else.
func isSimple(p *syntax.ParamExp) bool {
	return p.Param != nil && p.Exp == nil && p.Index == nil && p.Slice == nil && p.Repl == nil &&
		!p.Excl && !p.Length && !p.Width && !p.IsSet && p.Names == 0 && p.NestedParam == nil &&
		p.Flags == nil && len(p.Modifiers) == 0
}

// quoting is what a part of a word stands in.
type quoting int

const (
	unquoted quoting = iota
	quoted
	document // a here-document whose word is not quoted
	verbatim // a here-document whose word is quoted
)

// An expansion builds the arguments that a word becomes. With hole, unknown
// parts leave a variable of that name behind, as in a script that has yet to be
// parsed, and segs collects where the bytes come from.
type expansion struct {
	r    *reader
	c    ctx
	node *syntax.Word
	hole string

	single  bool // an assignment: blanks in values part no words
	done    []word
	b       strings.Builder
	tail    strings.Builder
	unknown bool // a part is unknown
	loose   bool // that part may be any number of arguments
	any     bool // something makes this a word, if only quotes
	segs    []seg
}

func (e *expansion) parts(parts []syntax.WordPart, q quoting) {
	for _, part := range parts {
		switch x := part.(type) {
		case *syntax.Lit:
			e.literal(x, q)
		case *syntax.SglQuoted:
			e.any = true
			if x.Dollar && strings.IndexByte(x.Value, '\\') >= 0 {
				e.lost(quoted)
				continue
			}
			e.add(x.Value, int(x.Left.Offset())+1)
		case *syntax.DblQuoted:
			e.any = true
			e.parts(x.Parts, quoted)
		case *syntax.ParamExp:
			e.param(x, q)
		default: // commands, arithmetic, patterns
			e.lost(q)
		}
	}
}

// literal adds literal text, its escapes taken off.
func (e *expansion) literal(x *syntax.Lit, q quoting) {
	s, at := x.Value, int(x.ValuePos.Offset())
	e.any = true
	if q == verbatim || strings.IndexByte(s, '\\') < 0 {
		e.add(s, at)
		return
	}
	start := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			continue
		}
		if q == unquoted || strings.IndexByte("$`\\\n", s[i+1]) >= 0 || q == quoted && s[i+1] == '"' {
			e.add(s[start:i], at+start)
			start = i + 1
			if s[i+1] == '\n' {
				start++
			}
		}
		i++
	}
	e.add(s[min(start, len(s)):], at+start)
}

// add adds known text that stands at an offset of the script; -1 for that of a
// variable.
func (e *expansion) add(s string, at int) {
	if s != "" {
		e.any = true
	}
	if e.hole != "" {
		e.place(s, at)
	}
	if e.unknown && e.hole == "" {
		e.tail.WriteString(s)
		return
	}
	if e.b.Len()+len(s) > maxText {
		e.r.spent = true
		return
	}
	e.b.WriteString(s)
}

// place notes the lines of text that is added now.
func (e *expansion) place(s string, at int) {
	if at < 0 || s == "" {
		return
	}
	src := e.c.src
	e.segs = append(e.segs, seg{e.b.Len(), src.line(at)})
	for _, g := range src.between(at, at+len(s)) {
		e.segs = append(e.segs, seg{e.b.Len() + g.off - at, g.line})
	}
}

// lost notes an unknown part.
func (e *expansion) lost(q quoting) {
	if e.hole != "" {
		e.b.WriteString("${" + e.hole + "}")
		return
	}
	e.unknown = true
	e.tail.Reset()
	if q == unquoted && !e.single {
		e.loose = true
	} else {
		e.any = true
	}
}

func (e *expansion) param(x *syntax.ParamExp, q quoting) {
	v, set := e.lookup(x)
	if !set || !v.whole && v.text == "" {
		e.lost(q)
		return
	}
	if q != unquoted || e.hole != "" || e.single {
		e.add(v.text, -1)
	} else {
		e.split(v.text)
	}
	if !v.whole {
		e.lost(q)
	}
}

// lookup is the value of an expansion, where that is easily known.
func (e *expansion) lookup(x *syntax.ParamExp) (v value, set bool) {
	plain := *x
	plain.Exp = nil
	if !isSimple(&plain) {
		return value{}, false
	}
	name := x.Param.Value
	if len(name) == 1 && name[0] >= '1' && name[0] <= '9' {
		n := int(name[0] - '1')
		args := e.c.params()
		if n >= len(args) || !args[n].one {
			return value{}, false
		}
		v, set = value{args[n].text, args[n].whole}, true
	} else {
		v, set = e.r.get(name)
	}
	if x.Exp == nil || !set || !v.whole {
		return v, set && x.Exp == nil
	}
	switch x.Exp.Op {
	case syntax.DefaultUnset, syntax.AssignUnset, syntax.ErrorUnset:
		return v, true
	case syntax.DefaultUnsetOrNull, syntax.AssignUnsetOrNull, syntax.ErrorUnsetOrNull:
		return v, v.text != ""
	}
	return value{}, false
}

// split adds the value of a variable outside quotes: blanks in it part words.
func (e *expansion) split(s string) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		if s != "" && e.any {
			e.flush()
		}
		return
	}
	if e.unknown {
		e.loose = true
		e.add(s, -1)
		return
	}
	if e.any && isBlank(s[0]) {
		e.flush()
	}
	for i, f := range fields {
		if i > 0 {
			e.flush()
		}
		e.add(f, -1)
	}
	if isBlank(s[len(s)-1]) {
		e.flush()
	}
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\n' }

// flush ends a word.
func (e *expansion) flush() {
	if !e.any && !e.unknown {
		return
	}
	text := e.b.String()
	e.done = append(e.done, word{
		text: text, tail: e.tail.String(), whole: !e.unknown,
		one: !e.loose || text != "" || e.tail.Len() > 0, src: e.c.src, node: e.node,
	})
	e.b.Reset()
	e.tail.Reset()
	e.unknown, e.loose, e.any = false, false, false
}

func (e *expansion) end() []word {
	e.flush()
	return e.done
}

// between are the segs that begin behind one offset and before another.
func (s *source) between(from, to int) []seg {
	var out []seg
	for _, g := range s.segs {
		if g.off > from && g.off < to {
			out = append(out, g)
		}
	}
	return out
}

// unknownName is the variable that stands for what is not known in a script
// that is made of words.
const unknownName = "__unknown"

// asScript is the script that a word holds.
func (r *reader) asScript(c ctx, w word) *source {
	if w.script {
		return w.src
	}
	if w.node == nil {
		return &source{w.text, []seg{{0, w.line()}}}
	}
	c.src = w.src
	return r.document(c, w.node, unquoted)
}

// document is the script that a shell word or a here-document becomes.
func (r *reader) document(c ctx, w *syntax.Word, q quoting) *source {
	e := expansion{r: r, c: c, node: w, hole: unknownName}
	e.segs = append(e.segs, seg{0, c.src.line(int(w.Pos().Offset()))})
	e.parts(w.Parts, q)
	src := &source{text: e.b.String()}
	for _, g := range e.segs { // parts overlap at their beginnings
		if n := len(src.segs); n > 0 && src.segs[n-1].off >= g.off {
			if src.segs[n-1].off == g.off {
				src.segs[n-1] = g
			}
			continue
		}
		src.segs = append(src.segs, g)
	}
	return src
}
