package script

import (
	"slices"
	"strings"
	"sync"
)

// A program is how the arguments of a program are read, and which of its
// commands go to the network. Lists are parted by blanks, lists of commands by
// commas, as a command may have two words ("toolchain install"); "*" is any
// command, "-" is none given.
type program struct {
	kind   string // package type that covers it
	values string // options that take the next word as their value
	quiet  string // options with which it stays off the network; --help, --version and --dry-run always do
	env    string // variables that, when set, keep it off the network; with a ! when set to 0 or false
	flags  string // options that go to the network, whatever the command
	lists  string // options that name files that name packages
	source string // options whose value is a URL that it opens
	always string // commands that go to the network
	named  string // commands that do for what they are given, if it is not local
	either string // commands that do for what they are given, if it is not local, and when given nothing
	urls   string // commands that do for a URL
	long   string // "-": options of many letters begin with one dash
	wary   string // "-": an unknown argument may be an option that keeps it off the network
	closed string // commands that run no foreign code
	scoped string // options with which commands that fetch run no foreign code
	except string // of these, those that run the project's own all the same
	direct string // "-": what it is given it opens itself, whatever is covered

	local func(a *arguments, operand string) bool // what is not fetched
	veto  func(a *arguments) bool                 // other reasons for which nothing is
	url   func(w word) bool                       // what it opens; nil for isRemote
}

// compiled is a program with its lists taken apart.
type compiled struct {
	*program
	values, quiet, flags, lists, source set
	always, named, either, urls, closed set
	scoped, except                      set
}

type set map[string]bool

// fields is the set of words in a list.
func fields(s string) set {
	out := set{}
	for _, w := range strings.Fields(s) {
		out[w] = true
	}
	return out
}

// commands is the set of commands in a list.
func commands(s string) set {
	out := set{}
	for _, w := range strings.Split(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out[w] = true
		}
	}
	return out
}

func (s set) has(w string) bool { return s[w] || s["*"] }

// catalogue is programs, taken apart once.
var catalogue = sync.OnceValue(func() map[string]*compiled {
	out := map[string]*compiled{}
	for _, table := range []map[string]*program{transfers, systems, languages, tools} {
		for names, p := range table {
			c := &compiled{
				program: p, values: fields(p.values + " " + p.source), quiet: fields(p.quiet), flags: fields(p.flags),
				lists: fields(p.lists), source: fields(p.source), always: commands(p.always), named: commands(p.named),
				either: commands(p.either), urls: commands(p.urls), closed: commands(p.closed), scoped: fields(p.scoped), except: commands(p.except),
			}
			for _, o := range []string{"--help", "--version", "--dry-run"} {
				c.quiet[o] = !c.values[o]
			}
			for _, name := range strings.Fields(names) {
				out[name] = c
			}
		}
	}
	return out
})

// lookup finds a program, whatever version its name ends with (pip3.11).
func lookup(name string) *compiled {
	if p := catalogue()[name]; p != nil {
		return p
	}
	if strings.HasPrefix(name, "go1.") {
		return catalogue()["go1"] // go1.22.1, of golang.org/dl
	}
	return catalogue()[strings.TrimRight(name, "0123456789.-")]
}

// IsPlain tells of a program that Uses lists whether it does nothing but what its
// arguments say, to files that they name: it installs nothing, and has no
// settings that name others.
func IsPlain(name string) bool {
	_, wraps := wrappers[name]
	return leafs[name] || isShell(name) || name == "find" || wraps && lookup(name) == nil
}

// arguments are those of a program, read by its table.
type arguments struct {
	r        *reader
	c        ctx
	options  []option
	operands []word
	command  string // of one or two words
	rest     []word // operands behind the command
	unsure   bool   // there are arguments of which nothing is known
}

type option struct {
	name  string
	value word
}

// option returns the first option of these names.
func (a *arguments) option(names ...string) (option, bool) {
	for _, o := range a.options {
		if slices.Contains(names, o.name) {
			return o, true
		}
	}
	return option{}, false
}

// read reads the arguments of a program.
func (p *compiled) read(r *reader, c ctx, words []word) *arguments {
	a := &arguments{r: r, c: c}
	words = words[1:]
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch {
		case !w.whole && w.text == "" && !w.one:
			a.unsure = true
			a.operands = append(a.operands, w)
		case w.text == "--" && w.whole:
			a.operands = append(a.operands, words...)
			words = nil
		case len(w.text) < 2 || w.text[0] != '-':
			a.operands = append(a.operands, w)
		default:
			words = p.option(a, w, words)
		}
	}
	return a
}

// option reads an option; its value may be the next word.
func (p *compiled) option(a *arguments, w word, rest []word) []word {
	name, text, attached := strings.Cut(w.text, "=")
	value := w
	value.text, value.node, value.one = text, nil, true
	long := strings.HasPrefix(name, "--") || p.long != ""
	switch {
	case attached && (long || len(name) == 2):
		a.options = append(a.options, option{name, value})
	case !w.whole:
		a.unsure = true
	case p.values[w.text] && len(rest) > 0:
		a.options = append(a.options, option{w.text, rest[0]})
		return rest[1:]
	case long || len(w.text) == 2:
		a.options = append(a.options, option{name: w.text})
	default:
		return p.cluster(a, w, rest)
	}
	return rest
}

// cluster reads options of one letter that follow one dash; the last may have
// its value attached.
func (p *compiled) cluster(a *arguments, w word, rest []word) []word {
	for i := 1; i < len(w.text); i++ {
		name := "-" + w.text[i:i+1]
		switch {
		case !p.values[name]:
			a.options = append(a.options, option{name: name})
			continue
		case i+1 < len(w.text):
			w.text, w.node = w.text[i+1:], nil
			a.options = append(a.options, option{name, w})
		case len(rest) > 0:
			a.options = append(a.options, option{name, rest[0]})
			return rest[1:]
		}
		break
	}
	return rest
}

// choose finds the command among the operands: its two words if the table has
// these, else the first.
func (p *compiled) choose(a *arguments) {
	var at []int
	for i, w := range a.operands {
		if w.whole && w.text != "" && !strings.HasPrefix(w.text, "+") {
			if at = append(at, i); len(at) == 2 {
				break
			}
		} else if w.text != "" || w.one {
			if !strings.HasPrefix(w.text, "+") {
				break
			}
		}
	}
	if len(at) == 0 {
		a.rest = a.operands
		if len(a.operands) == 0 {
			a.command = "-"
		}
		return
	}
	if len(at) == 2 {
		two := a.operands[at[0]].text + " " + a.operands[at[1]].text
		if p.always[two] || p.named[two] || p.either[two] || p.urls[two] || p.closed[two] {
			a.command, a.rest = two, a.operands[at[1]+1:]
			return
		}
	}
	a.command, a.rest = a.operands[at[0]].text, a.operands[at[0]+1:]
	if p.named["*"] || p.urls["*"] {
		a.command, a.rest = "*", a.operands
	}
}

// A need is what a command wants of the network.
type need int

const (
	nothing  need = iota
	packages      // what a package may cover
	address       // a URL or a host of its own
)

// need is what a command certainly wants.
func (p *compiled) need(a *arguments) need {
	p.choose(a)
	if a.unsure && p.wary != "" || p.isQuiet(a) {
		return nothing
	}
	for _, o := range a.options {
		switch {
		case p.source[o.name] && isRemote(o.value):
			return address
		case p.flags[o.name]:
			return packages
		}
	}
	rest := a.rest
	switch a.command {
	case "run", "exec", "dlx":
		rest = rest[:min(1, len(rest))]
	}
	takes := p.named.has(a.command) || p.either.has(a.command)
	known := false
	for _, w := range rest {
		if (takes || p.urls.has(a.command)) && p.opens(w) {
			return address
		}
		known = known || w.text != "" && !isLocalURL(w.text) && !p.isLocal(a, w.text)
	}
	_, listed := a.anyOf(p.lists)
	switch {
	case takes && listed, p.always.has(a.command), takes && known, p.either[a.command] && len(rest) == 0:
		if p.direct != "" {
			return address
		}
		return packages
	}
	return nothing
}

// opens tells whether an argument is a URL on the network.
func (p *compiled) opens(w word) bool {
	if p.url != nil {
		return p.url(w)
	}
	return isRemote(w)
}

// anyOf returns the first option that is in a set.
func (a *arguments) anyOf(s set) (option, bool) {
	for _, o := range a.options {
		if s[o.name] {
			return o, true
		}
	}
	return option{}, false
}

func (p *compiled) isLocal(a *arguments, s string) bool {
	if p.local != nil {
		return p.local(a, s)
	}
	return isPath(s)
}

// isQuiet tells whether an option or a variable keeps the program off the
// network, or may do so.
func (p *compiled) isQuiet(a *arguments) bool {
	if _, ok := a.anyOf(p.quiet); ok || p.veto != nil && p.veto(a) || p.kind != "" && a.r.covered {
		return true
	}
	for _, name := range strings.Fields(p.env) {
		name, off := strings.CutPrefix(name, "!")
		v, set := a.setting(name)
		if !set {
			continue
		}
		switch strings.ToLower(v.text) {
		case "", "0", "false", "no", "off":
			if !v.whole || off && v.text != "" {
				return true
			}
		default:
			if !off {
				return true
			}
		}
	}
	return false
}

// isClosed tells whether a command runs no foreign code.
func (p *compiled) isClosed(a *arguments) bool {
	if a.unsure {
		return false
	}
	if _, ok := a.anyOf(p.scoped); ok && !p.except[a.command] && (p.always[a.command] || p.named[a.command] || p.either[a.command]) {
		return true
	}
	return p.closed.has(a.command) && !a.has("-toolexec", "-exec", "-vettool") && (p.kind != "gomod" || !a.startsTools())
}

// startsTools tells whether GOFLAGS may make the go command start other programs
// than its own.
func (a *arguments) startsTools() bool {
	v, set := a.setting("GOFLAGS")
	return set && (!v.whole || strings.Contains(v.text, "exec") || strings.Contains(v.text, "vettool"))
}

// setting is a variable of the program's environment.
func (a *arguments) setting(name string) (v value, set bool) {
	for _, b := range slices.Backward(a.c.env) {
		if b.name == name {
			return b.value, true
		}
	}
	if v, ok := a.r.vars[name]; ok {
		return v, true
	}
	text, ok := a.r.env[name]
	return value{text, true}, ok
}

// program notes what the start of a program means. The answer is that of stmt.
func (r *reader) program(c ctx, words []word) (plain bool) {
	name := words[0].program()
	p := lookup(name)
	if name == "find" {
		return r.find(c, words)
	}
	if p == nil {
		r.incomplete = r.incomplete || !leafs[name] || name == "tar" && runsCommands(words)
		return !tests[name] && (c.last || plains[name] || leafs[name])
	}
	a := p.read(r, c, words)
	n := p.need(a)
	if n != nothing && r.minded(c) {
		r.report(p, words, n)
		r.found[len(r.found)-1].decisive = c.last
	}
	if !p.isClosed(a) {
		r.incomplete = true
	}
	return n != nothing || !isTest(a, name)
}

// find follows what find runs of each file that it finds.
func (r *reader) find(c ctx, words []word) bool {
	c.sure = false // it may find nothing
	for i, w := range words {
		if !w.whole {
			r.incomplete = r.incomplete || !w.one || strings.HasPrefix(w.text, "-")
			continue
		}
		switch w.text {
		case "-exec", "-execdir", "-ok", "-okdir":
			run := words[i+1:]
			if end := slices.IndexFunc(run, func(w word) bool { return w.text == ";" || w.text == "+" }); end >= 0 {
				run = run[:end]
			}
			if len(run) > 0 {
				r.command(c, run)
			}
		}
	}
	return false
}

// report notes a command that needs the network.
func (r *reader) report(p *compiled, words []word, n need) {
	f := found{Fetch: Fetch{
		Line: words[0].line(), Command: shorten(text(words)), Kind: p.kind, direct: n == address,
	}, src: words[0].src}
	if f.direct {
		f.Kind = "generic"
	}
	f.Cause = f.cause()
	if words[0].node != nil {
		f.off = int(words[0].node.Pos().Offset())
	}
	r.found = append(r.found, f)
}

// text is a command as it stands in its script.
func text(words []word) string {
	first, last := words[0], words[len(words)-1]
	if last.src == nil && len(words) > 1 {
		last = words[len(words)-2] // what xargs adds
	}
	if first.node != nil && last.node != nil && first.src == last.src {
		from, to := int(first.node.Pos().Offset()), int(last.node.End().Offset())
		if from < to && to <= len(first.src.text) {
			return readable(first.src.text[from:to])
		}
	}
	var out []string
	for _, w := range words {
		out = append(out, w.text)
	}
	return readable(strings.Join(out, " "))
}

// readable shows what is not known as an ellipsis.
func readable(s string) string { return strings.ReplaceAll(s, "${"+unknownName+"}", "…") }

// runsCommands tells whether tar is told to run programs.
func runsCommands(words []word) bool {
	for _, w := range words[1:] {
		if !w.whole && w.text == "" || strings.HasPrefix(w.text, "--to-command") || strings.HasPrefix(w.text, "--use-compress") ||
			strings.HasPrefix(w.text, "-I") || strings.HasPrefix(w.text, "--checkpoint-action") || strings.HasPrefix(w.text, "--info-script") {
			return true
		}
	}
	return false
}
