package script

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// fails tells whether a command certainly ends in failure.
func fails(s *syntax.Stmt) bool {
	if s.Negated || s.Background {
		return false
	}
	switch x := s.Cmd.(type) {
	case *syntax.CallExpr:
		if len(x.Args) == 0 {
			return false
		}
		switch x.Args[0].Lit() {
		case "false":
			return true
		case "exit", "return":
			return len(x.Args) == 1 || isFailure(x.Args[1])
		}
	case *syntax.Block:
		return failsLast(x.Stmts)
	case *syntax.Subshell:
		return failsLast(x.Stmts)
	case *syntax.BinaryCmd:
		return x.Op == syntax.AndStmt && fails(x.Y)
	}
	return false
}

func failsLast(stmts []*syntax.Stmt) bool {
	if len(stmts) == 0 {
		return false
	}
	last := stmts[len(stmts)-1]
	if call, ok := last.Cmd.(*syntax.CallExpr); ok && len(stmts) > 1 && len(call.Args) == 1 {
		return call.Args[0].Lit() == "false" // a bare exit has the status of what is before it
	}
	return fails(last)
}

// isFailure tells whether a word is an exit status other than 0.
func isFailure(w *syntax.Word) bool {
	s := w.Lit()
	return s != "" && strings.Trim(s, "0123456789") == "" && strings.Trim(s, "0") != ""
}

// endsWell tells whether a script ends with "; exit 0" or "; true", to be fine
// whatever happened before: none of it stops at a failure.
func endsWell(stmts []*syntax.Stmt) bool {
	if len(stmts) < 2 {
		return false
	}
	for _, s := range stmts {
		if call, ok := s.Cmd.(*syntax.CallExpr); ok && len(call.Args) > 1 && call.Args[0].Lit() == "set" {
			return false
		}
	}
	last := stmts[len(stmts)-1]
	call, ok := last.Cmd.(*syntax.CallExpr)
	return isCall(last, []string{"true", ":"}) ||
		ok && len(call.Args) == 2 && call.Args[0].Lit() == "exit" && call.Args[1].Lit() == "0"
}

// asksStatus tells whether a command begins with a look at how the one before
// it ended ($?), so that a failure of that is provided for.
func asksStatus(s *syntax.Stmt) (asks bool) {
	look := func(n syntax.Node) bool {
		p, ok := n.(*syntax.ParamExp)
		asks = asks || ok && p.Param != nil && p.Param.Value == "?"
		return !asks
	}
	switch x := s.Cmd.(type) {
	case *syntax.IfClause:
		return len(x.Cond) > 0 && asksStatus(x.Cond[0])
	case *syntax.BinaryCmd:
		return asksStatus(x.X)
	case *syntax.CaseClause:
		syntax.Walk(x.Word, look)
	case *syntax.TestClause, *syntax.ArithmCmd, *syntax.CallExpr:
		if call, ok := x.(*syntax.CallExpr); ok && len(call.Args) > 0 && call.Args[0].Lit() == "exit" {
			return false
		}
		syntax.Walk(x, look)
	}
	return asks
}

// leaves tells whether a command leaves the loop, the function or the script
// with success: what is in front of it is tried, and may fail.
func leaves(s *syntax.Stmt) bool {
	call, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 {
		return false
	}
	switch call.Args[0].Lit() {
	case "break", "continue":
		return true
	case "exit", "return":
		return len(call.Args) == 1 || !isFailure(call.Args[1])
	}
	return false
}

// isCall tells whether a command is one of these words and nothing else.
func isCall(s *syntax.Stmt, names []string) bool {
	call, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || s.Negated || len(call.Args) != 1 || len(s.Redirs) > 0 {
		return false
	}
	return slices.Contains(names, call.Args[0].Lit())
}
