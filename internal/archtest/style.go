package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
)

// What Style allows.
const (
	MaxFileLines = 600
	MaxFuncLines = 60
	MaxParams    = 4 // a leading context.Context not counted
)

// badNames are names of packages that say nothing of what is inside.
var badNames = []string{"util", "utils", "helpers", "common", "types"}

// Style returns what one source file breaks, as "file:line: subject: cause", in
// the order of the file: its length, the length of its functions, their
// parameters. A function that is mostly one switch may be as long as that needs
// to be. Generated files break nothing. An error is one of parsing.
func Style(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var found []string
	complain := func(at ast.Node, format string, args ...any) {
		p := fset.Position(at.Pos())
		found = append(found, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
	}
	if slices.Contains(badNames, file.Name.Name) {
		complain(file.Name, "package %s: a name that says nothing", file.Name.Name)
	}
	if n := fset.File(file.FileStart).LineCount(); n > MaxFileLines {
		complain(file, "file: %d lines, at most %d", n, MaxFileLines)
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := lines(fset, fn); n > MaxFuncLines && longestSwitch(fset, fn)*2 <= n {
			complain(fn, "func %s: %d lines, at most %d", fn.Name.Name, n, MaxFuncLines)
		}
		params, bools := parameters(fn)
		if params > MaxParams {
			complain(fn, "func %s: %d parameters, at most %d", fn.Name.Name, params, MaxParams)
		}
		for _, b := range bools {
			complain(fn, "func %s: bool parameter %s", fn.Name.Name, b)
		}
	}
	return found, nil
}

// lines counts the lines of a node, its doc comment left out.
func lines(fset *token.FileSet, n ast.Node) int {
	start := n.Pos()
	if fn, ok := n.(*ast.FuncDecl); ok {
		start = fn.Type.Func
	}
	return fset.Position(n.End()).Line - fset.Position(start).Line + 1
}

// longestSwitch counts the lines of the longest switch or select in a function.
func longestSwitch(fset *token.FileSet, fn *ast.FuncDecl) int {
	longest := 0
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
			longest = max(longest, lines(fset, n))
		}
		return true
	})
	return longest
}

// parameters counts a function's parameters, a leading context left out, and
// names those that are plain bools.
func parameters(fn *ast.FuncDecl) (count int, bools []string) {
	for i, field := range fn.Type.Params.List {
		if sel, ok := field.Type.(*ast.SelectorExpr); ok && i == 0 && sel.Sel.Name == "Context" {
			continue
		}
		count += max(1, len(field.Names))
		if id, ok := field.Type.(*ast.Ident); !ok || id.Name != "bool" {
			continue
		}
		if len(field.Names) == 0 {
			bools = append(bools, "_")
		}
		for _, name := range field.Names {
			bools = append(bools, name.Name)
		}
	}
	return count, bools
}
