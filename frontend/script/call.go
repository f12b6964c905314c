package script

import (
	"path"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// call follows a simple command.
func (r *reader) call(c ctx, x *syntax.CallExpr) (plain bool) {
	plain = true
	var bound []binding
	for _, a := range x.Assigns {
		v, ok := r.value(c, a)
		plain = plain && ok
		if a.Name != nil {
			bound = append(bound, binding{a.Name.Value, v})
		}
	}
	if len(x.Args) == 0 {
		for _, b := range bound {
			r.assign(c, b.name, b.value)
		}
		return plain
	}
	k := c
	k.last = false
	switch x.Args[0].Lit() {
	case "[", "test":
		k.mute = true
	}
	words := r.words(k, x.Args)
	c.env = bound
	if len(words) == 0 || !words[0].one {
		r.incomplete = true
		return c.last
	}
	return r.command(c, words)
}

// value is what an assignment sets, and whether the commands in it are not
// tests.
func (r *reader) value(c ctx, a *syntax.Assign) (v value, plain bool) {
	if a.Array != nil || a.Index != nil || a.Name == nil {
		r.buried(c, a)
		return value{}, true
	}
	if a.Value == nil {
		return value{whole: true}, true
	}
	plain = r.substitutions(c, a.Value)
	e := expansion{r: r, c: c, node: a.Value, single: true}
	e.parts(a.Value.Parts, unquoted)
	v = value{e.b.String(), !e.unknown}
	if a.Append {
		old, set := r.get(a.Name.Value)
		if !set || !old.whole {
			return value{}, plain
		}
		v.text = old.text + v.text
	}
	return v, plain
}

// declare follows export, local, declare and readonly.
func (r *reader) declare(c ctx, x *syntax.DeclClause) bool {
	r.incomplete = r.incomplete || len(x.Args) == 0 || x.Args[0].Naked && x.Args[0].Name == nil && plainLiteral(x.Args[0].Value) == "-p" // shows the variables
	for _, a := range x.Args {
		switch {
		case a.Naked && a.Name == nil:
			r.substitutions(c, a.Value)
			if plainLiteral(a.Value) == "" {
				r.forget() // names that are not known
			}
		case a.Naked:
		default:
			v, _ := r.value(c, a)
			r.assign(c, a.Name.Value, v)
		}
	}
	return true
}

// substitutions follows the commands in a word. The answer is that of stmt for
// the last of them.
func (r *reader) substitutions(c ctx, w *syntax.Word) (plain bool) {
	if w == nil {
		return true
	}
	return r.substituted(c, w.Parts)
}

func (r *reader) substituted(c ctx, parts []syntax.WordPart) (plain bool) {
	plain = true
	for _, part := range parts {
		switch x := part.(type) {
		case *syntax.Lit, *syntax.SglQuoted:
		case *syntax.DblQuoted:
			plain = r.substituted(c, x.Parts)
		case *syntax.CmdSubst:
			r.subshell(c, func() { plain = r.list(c, x.Stmts) && r.exit == certain })
		case *syntax.ProcSubst:
			r.subshell(c, func() { r.list(c, x.Stmts) })
		case *syntax.ParamExp:
			if isSimple(x) {
				continue
			}
			k := c
			k.sure = false // a default may not be needed
			r.buried(k, x)
			if x.Exp != nil && x.Param != nil && (x.Exp.Op == syntax.AssignUnset || x.Exp.Op == syntax.AssignUnsetOrNull) {
				r.assign(k, x.Param.Value, value{})
			}
		default:
			r.buried(c, x)
		}
	}
	return plain
}

// buried follows the commands in a test, an arithmetic expression or an
// expansion. That they fail is tolerated.
func (r *reader) buried(c ctx, node syntax.Node) {
	if node == nil {
		return
	}
	c.mute, c.last = true, false
	syntax.Walk(node, func(n syntax.Node) bool {
		switch x := n.(type) {
		case *syntax.CmdSubst:
			r.subshell(c, func() { r.list(c, x.Stmts) })
			return false
		case *syntax.ProcSubst:
			r.subshell(c, func() { r.list(c, x.Stmts) })
			return false
		}
		return !r.spent
	})
}

// command follows the start of a program or of what the shell has itself.
func (r *reader) command(c ctx, words []word) (plain bool) {
	for len(words) > 0 && r.step() {
		name := words[0].program()
		if name == "" {
			r.incomplete = true
			return c.last
		}
		if words[0].whole && words[0].text == name {
			if fn := r.funcs[name]; fn != nil {
				return r.invoke(c, fn, words[1:])
			}
			if b, ok := builtins[name]; ok {
				return b(r, c, words)
			}
		}
		r.incomplete = r.incomplete || !isSystem(words[0])
		if isShell(name) {
			if c.depth > 0 { // not the instruction's own
				r.used[name] = true
			}
			return r.shell(c, words)
		}
		r.used[name] = true
		k, rest, ok := r.unwrap(c, words)
		if !ok {
			return r.program(c, words)
		}
		c, words = k, rest
	}
	return true
}

// isSystem tells whether the program that a word names is the one that goes by
// its name: a script of the project may be called "install" as well.
func isSystem(w word) bool {
	dir, name := path.Split(w.text)
	switch {
	case !w.whole:
		return false
	case dir == "":
		return true
	case !leafs[name] && lookup(name) != nil:
		return strings.HasPrefix(dir, "/") && strings.HasSuffix(dir, "/bin/")
	}
	switch dir {
	case "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/", "/busybox/":
		return true
	}
	return false
}

// program is the base name of the program that a word names; "" where that is
// not known.
func (w word) program() string {
	if w.whole {
		return baseName(w.text)
	}
	if i := strings.LastIndexByte(w.tail, '/'); i >= 0 {
		return w.tail[i+1:]
	}
	return ""
}

// invoke follows the call of a function.
func (r *reader) invoke(c ctx, fn *function, args []word) bool {
	c.depth++
	if c.depth > maxDepth {
		r.incomplete = true
		r.exit = max(r.exit, perhaps)
		return c.last
	}
	if !fn.sure {
		r.incomplete = true // another program of that name, perhaps
	}
	saved := r.leave
	c.src, c.args, c.sure = fn.src, &args, c.sure && fn.sure
	plain := r.stmt(c, fn.body)
	r.leave = saved
	return plain
}

// A builtin is a command that the shell has itself.
type builtin func(r *reader, c ctx, words []word) (plain bool)

// builtins are the commands of the shell. Those that only change what is not
// followed here, such as the directory, do nothing.
var builtins map[string]builtin

func init() {
	nothing := func(*reader, ctx, []word) bool { return true }
	test := func(*reader, ctx, []word) bool { return false }
	builtins = map[string]builtin{
		"[": test, "test": test, "false": test, "type": test, "hash": test, "kill": test,
		"exit":     func(r *reader, c ctx, w []word) bool { return r.leaving(&r.exit, c, w) },
		"return":   func(r *reader, c ctx, w []word) bool { return r.leaving(&r.leave, c, w) },
		"break":    func(r *reader, c ctx, _ []word) bool { return r.leaving(&r.next, c, nil) },
		"continue": func(r *reader, c ctx, _ []word) bool { return r.leaving(&r.next, c, nil) },
		"exec":     (*reader).execBuiltin,
		"command":  (*reader).commandBuiltin,
		"builtin":  func(r *reader, c ctx, w []word) bool { return r.command(c, w[1:]) },
		"eval":     (*reader).eval,
		"set":      (*reader).set,
		"shift":    (*reader).shift,
		".":        (*reader).source,
		"source":   (*reader).source,
		"unset":    (*reader).unset,
		"read":     (*reader).fill, "mapfile": (*reader).fill, "readarray": (*reader).fill, "getopts": (*reader).fill,
		"trap":  (*reader).unread,
		"alias": (*reader).unread,
	}
	for _, name := range strings.Fields(": true cd pushd popd dirs echo pwd umask ulimit wait jobs times shopt unalias printf enable disown bg fg") {
		builtins[name] = nothing
	}
}

// leaving ends the script, the function or the round of a loop. One that ends
// with failure ends the build, so it changes nothing where it may not be
// reached.
func (r *reader) leaving(what *reach, c ctx, words []word) bool {
	if r.certainly(c) {
		*what = never
		return true
	}
	if len(words) > 1 && words[1].whole && strings.Trim(words[1].text, "0") != "" && !r.inner {
		return true
	}
	*what = max(*what, perhaps)
	return true
}

func (r *reader) execBuiltin(c ctx, words []word) bool {
	words = skipOptions(words[1:], fields("-a"))
	if len(words) == 0 {
		return true // redirections alone
	}
	plain := r.command(c, words)
	if r.certainly(c) {
		r.exit = never
	} else {
		r.exit = max(r.exit, perhaps)
	}
	return plain
}

func (r *reader) commandBuiltin(c ctx, words []word) bool {
	if len(words) > 1 && strings.HasPrefix(words[1].text, "-") && strings.ContainsAny(words[1].text, "vV") {
		return false
	}
	words = skipOptions(words[1:], nil)
	if len(words) == 0 {
		return true
	}
	if fn := words[0].text; words[0].whole && r.funcs[fn] != nil {
		saved := r.funcs[fn]
		r.funcs[fn] = nil
		defer func() { r.funcs[fn] = saved }()
	}
	return r.command(c, words)
}

func (r *reader) eval(c ctx, words []word) bool {
	c.depth++
	c.stdin, c.env = nil, nil
	src := &source{}
	for _, w := range words[1:] {
		part := r.asScript(c, w)
		for _, g := range part.segs {
			src.segs = append(src.segs, seg{len(src.text) + g.off, g.line})
		}
		src.text += part.text + " "
		if len(src.text) > maxText {
			break
		}
	}
	c.src = src
	return r.inline(c)
}

// set follows set -e and set +e, and gives up the positional parameters where
// others are set.
func (r *reader) set(c ctx, words []word) bool {
	r.incomplete = r.incomplete || len(words) == 1 // shows the variables
	for i, w := range words[1:] {
		sign, letters := "", w.text
		if letters != "" && (letters[0] == '-' || letters[0] == '+') {
			sign, letters = letters[:1], letters[1:]
		}
		option := sign != "" && strings.HasSuffix(letters, "o") && len(words) > i+2 && words[i+2].text == "errexit"
		switch {
		case sign == "" && i > 0 && strings.HasSuffix(words[i].text, "o"): // the name of an option
		case sign == "" || letters == "-":
			if c.args != nil {
				*c.args = []word{{}}
			}
			return true
		case strings.Contains(letters, "e") && letters[0] != '-' || option:
			r.lenient = sign == "+" || r.lenient && !r.certainly(c)
			if sign == "-" && r.inner {
				r.exit = max(r.exit, perhaps) // any command may end this shell, and the script goes on
			}
		}
	}
	return true
}

func (r *reader) shift(c ctx, _ []word) bool {
	if c.args != nil {
		*c.args = []word{{}}
	}
	return true
}

func (r *reader) unset(c ctx, words []word) bool {
	for _, w := range words[1:] {
		r.assign(c, w.text, value{whole: true})
	}
	return true
}

// fill makes unknown what a command reads into variables.
func (r *reader) fill(_ ctx, words []word) bool {
	for _, w := range words[1:] {
		r.vars[w.text] = value{}
	}
	return false
}

// unread is a command that makes the shell run what is not followed.
func (r *reader) unread(ctx, []word) bool {
	r.incomplete = true
	return true
}
