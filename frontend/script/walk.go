package script

import (
	"slices"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/syntax"
)

// Bounds of one instruction. What goes beyond says nothing. The parser recurses
// with the nesting of a script, so that is bounded before it starts.
const (
	maxText    = 64 << 10  // bytes of one script
	maxTotal   = 256 << 10 // bytes of all scripts parsed for an instruction
	maxNesting = 200       // brackets open at once
	maxSteps   = 50_000    // commands and words read
	maxDepth   = 10        // scripts in scripts, calls of functions in functions
)

// A reader follows one instruction.
type reader struct {
	env      map[string]string // settings
	vars     map[string]value  // assigned since
	names    []string          // assigned since, one after the other
	hidden   bool              // env does not hold any more: unknown code may have changed it
	covered  bool              // an environment file was sourced: package managers may be offline
	funcs    map[string]*function
	declared []namedFunc     // what funcs held before, one declaration after the other
	remotes  map[string]bool // names of git remotes whose URL is on the network
	shellState

	steps, bytes int
	spent        bool // a bound was hit
	incomplete   bool
	used         map[string]bool
	found        []found
	sourced      []EnvFile
}

type namedFunc struct {
	name     string
	function *function // nil for none
}

// A shellState is what a shell does not hand back to the one that started it.
type shellState struct {
	lenient bool  // set +e
	inner   bool  // its failure is not that of the script
	exit    reach // what is left of the shell
	leave   reach // what is left of the function
	next    reach // what is left of the loop's body
}

// found is a Fetch and its place, which tells it from others.
type found struct {
	Fetch
	src      *source
	off      int
	decisive bool // its failure is that of the list it is in
}

// reach tells whether control gets to what follows.
type reach int

const (
	certain reach = iota
	perhaps
	never
)

// A value is what is known of a variable.
type value struct {
	text  string
	whole bool // false: anything may follow text
}

type function struct {
	body *syntax.Stmt
	src  *source
	sure bool // declared for certain
}

// A ctx is how a command is reached.
type ctx struct {
	src     *source
	sure    bool             // its list is reached for certain
	mute    bool             // its failure is tolerated
	last    bool             // its failure is that of the script
	errexit bool             // the shell was started with -e
	trial   bool             // its failure leads to something else: what is behind && may be left out
	args    *[]word          // positional parameters; nil where there are none
	stdin   *syntax.Redirect // a here-document or here-string
	env     []binding        // assignments in front of the command
	depth   int
}

// A binding is a variable of one command.
type binding struct {
	name  string
	value value
}

func newReader(s Settings) *reader {
	return &reader{env: s.Env, vars: map[string]value{}, used: map[string]bool{}}
}

// exec is the start of a process with arguments, the instruction's own.
func (r *reader) exec(words []word) {
	if _, ok := r.env["BASH_ENV"]; ok {
		r.incomplete = true
	}
	c := ctx{sure: true, last: true, src: &source{}}
	r.command(c, words)
}

// interpret runs a file by the interpreter that its first line names.
func (r *reader) interpret(interpreter []string, src *source) {
	words := literals(interpreter[1:], 0)
	if len(words) > 0 && baseName(words[0].text) == "env" {
		words = words[1:]
		for len(words) > 0 && strings.HasPrefix(words[0].text, "-") {
			words = words[1:]
		}
	}
	if len(words) == 0 || !isShell(baseName(words[0].text)) {
		r.incomplete = true
		return
	}
	r.script(ctx{sure: true, last: true}, src)
}

// params are the positional parameters.
func (c ctx) params() []word {
	if c.args == nil {
		return nil
	}
	return *c.args
}

// script parses a text and follows it, in a shell of its own.
func (r *reader) script(c ctx, src *source) (plain bool) {
	c.src, c.stdin, c.env = src, nil, nil
	c.depth++
	r.subshell(c, func() {
		r.lenient = false
		plain = r.inline(c) && r.exit == certain
	})
	return plain
}

// inline parses the text of c and follows it in the shell at hand.
func (r *reader) inline(c ctx) bool {
	r.bytes += len(c.src.text)
	if c.depth > maxDepth || len(c.src.text) > maxText || r.bytes > maxTotal || nesting(c.src.text) > maxNesting {
		r.spent = true
		return true
	}
	file := parse(c.src.text)
	if file == nil {
		r.incomplete = true
		r.exit = max(r.exit, perhaps)
		return true
	}
	if !c.errexit && endsWell(file.Stmts) {
		c.mute = true
	}
	return r.list(c, file.Stmts)
}

// parse is nil for what is no script. The scripts are anybody's, so a parser
// that stumbles over one must not take the build's report with it.
func parse(text string) (file *syntax.File) {
	defer func() {
		if recover() != nil {
			file = nil
		}
	}()
	p := parsers.Get().(*syntax.Parser)
	file, err := p.Parse(strings.NewReader(text), "")
	parsers.Put(p)
	if err != nil {
		return nil
	}
	return file
}

// parsers are used again: a new one is larger than most scripts.
var parsers = sync.Pool{New: func() any { return syntax.NewParser(syntax.Variant(syntax.LangBash)) }}

// nesting is how many brackets are open at once at most, those in quotes
// included.
func nesting(text string) int {
	depth, deepest := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(', '{', '[':
			depth++
			deepest = max(deepest, depth)
		case ')', '}', ']':
			depth = max(0, depth-1)
		}
	}
	return deepest
}

// step counts work; false when there was too much of it.
func (r *reader) step() bool {
	r.steps++
	if r.steps > maxSteps {
		r.spent = true
	}
	return !r.spent
}

// ahead is what control may still reach.
func (r *reader) ahead() reach { return max(r.exit, r.leave, r.next) }

// certainly tells whether a command is reached for certain.
func (r *reader) certainly(c ctx) bool { return c.sure && r.ahead() == certain }

// minded tells whether a command is reached for certain and must not fail.
func (r *reader) minded(c ctx) bool {
	return r.certainly(c) && !c.mute && (!r.lenient || c.last)
}

// list follows commands one after the other. The answer is that of stmt for the
// last.
func (r *reader) list(c ctx, stmts []*syntax.Stmt) bool {
	plain := true
	for i, s := range stmts {
		k := c
		k.last = c.last && i == len(stmts)-1
		k.mute = c.mute || i+1 < len(stmts) && asksStatus(stmts[i+1])
		plain = r.stmt(k, s)
	}
	return plain
}

// stmt follows a command. The answer tells whether it is one whose failure is an
// error, rather than a test that may be false.
func (r *reader) stmt(c ctx, s *syntax.Stmt) (plain bool) {
	if s == nil || !r.step() {
		return true
	}
	c.stdin = nil
	for _, redir := range s.Redirs {
		r.substitutions(c, redir.Word)
		if redir.Hdoc != nil {
			r.substitutions(c, redir.Hdoc)
		}
		switch redir.Op {
		case syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
			c.stdin = redir
		}
	}
	c.mute = c.mute || s.Negated
	if s.Coprocess {
		c.sure = false
	}
	if s.Background {
		c.last = false
		r.subshell(c, func() { r.cmd(c, s.Cmd) })
		return true
	}
	plain = r.cmd(c, s.Cmd)
	return plain && !s.Negated
}

// subshell follows what runs in a shell of its own: it may leave that alone.
func (r *reader) subshell(c ctx, body func()) {
	saved, mark, declared := r.shellState, len(r.names), len(r.declared)
	r.inner = r.inner || !c.last
	body()
	r.shellState = saved
	r.forgetSince(mark)
	for _, d := range slices.Backward(r.declared[declared:]) {
		r.funcs[d.name] = d.function
	}
	r.declared = r.declared[:declared]
}

func (r *reader) cmd(c ctx, cmd syntax.Command) (plain bool) {
	switch x := cmd.(type) {
	case nil:
		return true
	case *syntax.CallExpr:
		return r.call(c, x)
	case *syntax.BinaryCmd:
		return r.binary(c, x)
	case *syntax.Block:
		return r.list(c, x.Stmts)
	case *syntax.Subshell:
		r.subshell(c, func() { plain = r.list(c, x.Stmts) && r.exit == certain })
		return plain
	case *syntax.IfClause:
		return r.ifClause(c, x)
	case *syntax.CaseClause:
		r.substitutions(c, x.Word)
		plain = true
		for _, item := range x.Items {
			plain = r.unsure(c, item.Stmts) && plain
		}
		return plain
	case *syntax.ForClause:
		return r.forClause(c, x)
	case *syntax.WhileClause:
		return r.whileClause(c, x)
	case *syntax.FuncDecl:
		body, rest := declaration(x.Body)
		if x.Name != nil {
			r.declareFunc(x.Name.Value, &function{body, c.src, r.certainly(c)})
		}
		if rest == nil {
			return true
		}
		return r.stmt(c, rest)
	case *syntax.DeclClause:
		return r.declare(c, x)
	case *syntax.TimeClause:
		if x.Stmt == nil {
			return true
		}
		return r.stmt(c, x.Stmt)
	case *syntax.CoprocClause:
		c.sure = false
		return r.stmt(c, x.Stmt)
	case *syntax.TestClause, *syntax.ArithmCmd, *syntax.LetClause:
		r.buried(c, cmd)
		return false
	}
	r.incomplete = true
	return false
}

// declareFunc declares a function, until the shell ends.
func (r *reader) declareFunc(name string, fn *function) {
	if r.funcs == nil {
		r.funcs = map[string]*function{}
	}
	r.declared = append(r.declared, namedFunc{name, r.funcs[name]})
	r.funcs[name] = fn
}

// declaration parts a function from what follows its declaration behind && and
// the like, which the parser takes for its body. In what follows, the
// declaration is an empty command; nil when nothing follows.
func declaration(s *syntax.Stmt) (body, rest *syntax.Stmt) {
	b, ok := s.Cmd.(*syntax.BinaryCmd)
	if !ok {
		return s, nil
	}
	body, first := declaration(b.X)
	if first == nil {
		first = &syntax.Stmt{Position: s.Position}
	}
	outer, list := *s, *b
	list.X, outer.Cmd = first, &list
	return body, &outer
}

// unsure follows commands that may not be reached.
func (r *reader) unsure(c ctx, stmts []*syntax.Stmt) (plain bool) {
	c.sure = false
	return r.list(c, stmts)
}

func (r *reader) ifClause(c ctx, x *syntax.IfClause) (plain bool) {
	cond := c
	plain = true
	for ; x != nil; x = x.Else {
		cond.mute, cond.last = true, false
		r.list(cond, x.Cond)
		cond.sure = false // of an elif
		plain = r.unsure(c, x.Then) && plain
	}
	return plain
}

func (r *reader) whileClause(c ctx, x *syntax.WhileClause) (plain bool) {
	forever := []string{"true", ":"}
	if x.Until {
		forever = []string{"false"}
	}
	body, cond := c, c
	body.last = false
	body.sure = c.sure && len(x.Cond) == 1 && isCall(x.Cond[0], forever)
	cond.mute, cond.last = true, false
	r.loop(func() {
		r.list(cond, x.Cond)
		plain = r.list(body, x.Do)
	})
	return plain
}

func (r *reader) forClause(c ctx, x *syntax.ForClause) (plain bool) {
	body := c
	body.last = false
	iter, ok := x.Loop.(*syntax.WordIter)
	if !ok || x.Select {
		r.buried(c, x.Loop)
		r.loop(func() { plain = r.unsure(body, x.Do) })
		return plain
	}
	var items []word
	if iter.InPos.IsValid() {
		items = r.words(c, iter.Items)
	} else {
		items = c.params()
	}
	body.sure = c.sure && len(items) > 0 && items[0].one
	first := value{}
	if body.sure {
		first = value{items[0].text, items[0].whole}
	}
	r.loop(func() {
		r.assign(body, iter.Name.Value, first)
		plain = r.list(body, x.Do)
	})
	return plain
}

// loop follows a body once, for the first of its rounds.
func (r *reader) loop(body func()) {
	saved, mark := r.next, len(r.names)
	body()
	r.next = saved
	r.forgetSince(mark)
}

func (r *reader) binary(c ctx, x *syntax.BinaryCmd) bool {
	switch x.Op {
	case syntax.AndStmt:
		k := c
		k.mute = c.mute || leaves(x.Y)
		plain := r.stmt(k, x.X)
		k = c
		k.sure = c.sure && plain && !c.trial && !leaves(x.Y)
		return r.stmt(k, x.Y) && plain
	case syntax.OrStmt:
		return r.or(c, x)
	}
	left := c
	left.last = false
	r.subshell(left, func() { r.stmt(left, x.X) })
	var plain bool
	r.subshell(c, func() { plain = r.stmt(c, x.Y) && r.exit == certain })
	return plain
}

// or follows X || Y. What X cannot get is tolerated, save where Y ends the
// script, or cannot get it either: then X is certain to fail, and Y is reached.
func (r *reader) or(c ctx, x *syntax.BinaryCmd) bool {
	first, k := len(r.found), c
	mark := len(r.names)
	if fails(x.Y) {
		r.stmt(k, x.X)
		k.sure = false
		r.subshell(k, func() { r.stmt(k, x.Y) })
		if r.inner {
			r.exit = max(r.exit, perhaps)
		}
		return true
	}
	sources := len(r.sourced)
	k.trial, k.last = true, true
	r.stmt(k, x.X)
	r.sourced = r.sourced[:sources]
	k.trial, k.last = c.trial, c.last
	second := len(r.found)
	k.sure = false
	for i := first; i < second; i++ {
		k.sure = k.sure || c.sure && r.found[i].decisive
		r.found[i].decisive = false // Y decides
	}
	plain := r.stmt(k, x.Y)
	if len(r.found) == second {
		r.found = r.found[:first]
	}
	r.sourced = r.sourced[:sources]
	r.forgetSince(mark)
	return plain
}
