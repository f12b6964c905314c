package script_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/hermetic-build/hermetic/frontend/script"
)

func Example() {
	const dockerfile = `FROM base
RUN set -e && \
    # the tool
    curl -fsSL https://example.com/tool -o /usr/bin/tool && \
    [ -f go.sum ] && go mod download
`
	ast, _ := parser.Parse(strings.NewReader(dockerfile))
	stages, _, _ := instructions.Parse(ast.AST, nil)
	file := script.NewFile([]byte(dockerfile), ast.EscapeToken)
	run := file.Run(stages[0].Commands[0].(*instructions.RunCommand), script.Settings{})
	for _, f := range run.Fetches(nil) {
		fmt.Printf("%d: %s: %s\n", f.Line, f.Command, f.Cause)
	}
	fmt.Println(run.Uses())
	// Output:
	// 4: curl -fsSL https://example.com/tool -o /usr/bin/tool: needs the network; a package of type "generic" can fetch it before the build, as a file
	// [curl go] true
}

func TestCauses(t *testing.T) {
	r := runs(t, "FROM base\nRUN npm ci && apk add git && curl https://example.com && . /cachi2/cachi2.env && . /tmp/hermeto.env\n")[0]
	var got []string
	for _, f := range r.Fetches(nil) {
		got = append(got, f.Cause)
	}
	for _, e := range r.EnvFiles() {
		got = append(got, e.Path+": "+e.Cause)
	}
	want := []string{
		`needs the network; a package of type "npm" would cover it`,
		`needs the network; no package type covers it`,
		`needs the network; a package of type "generic" can fetch it before the build, as a file`,
		`/cachi2/cachi2.env: sourced without a test, so the step fails where nothing was prefetched`,
		`/tmp/hermeto.env: not there in Konflux, which sets the variables itself`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestCoveredIsNotAskedForGeneric(t *testing.T) {
	r := runs(t, "FROM base\nRUN curl https://example.com/x; npm ci; apk add git\n")[0]
	var asked []string
	got := r.Fetches(func(kind string) bool {
		asked = append(asked, kind)
		return true
	})
	if diff := cmp.Diff([]string{"npm"}, asked); diff != "" {
		t.Errorf("asked: -want +got\n%s", diff)
	}
	if len(got) != 2 || got[0].Command != "curl https://example.com/x" || got[1].Command != "apk add git" {
		t.Errorf("got %v", got)
	}
}

// TestElsewhere: an instruction that is not in the file, such as a trigger, is
// on the line that it says itself.
func TestElsewhere(t *testing.T) {
	ast, err := parser.Parse(strings.NewReader("RUN true && \\\n npm ci\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := instructions.ParseCommand(ast.AST.Children[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"", "FROM base\nONBUILD RUN npm ci\n", "\n\n\n", "RUN true && \\\n other\n"} {
		got := script.NewFile([]byte(data), '\\').Run(c.(*instructions.RunCommand), script.Settings{}).Fetches(nil)
		if len(got) != 1 || got[0].Line != 1 || got[0].Command != "npm ci" {
			t.Errorf("%q: %v", data, got)
		}
	}
}

func TestLineEndings(t *testing.T) {
	got := runs(t, "FROM base\r\nRUN true && \\\r\n  # x\r\n  npm ci && \\\r\n  yarn\r\n")[0].Fetches(nil)
	if len(got) != 2 || got[0].Line != 4 || got[1].Line != 5 {
		t.Errorf("got %v", got)
	}
}

// TestSettingsAreNotChanged: the caller's variables stay as they are.
func TestSettingsAreNotChanged(t *testing.T) {
	ast, err := parser.Parse(strings.NewReader("FROM base\nRUN A=2; export B=3; unset A; . /x; npm ci\n"))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := script.Settings{Shell: []string{"/bin/bash", "-c"}, Env: map[string]string{"A": "1"}}
	script.NewFile([]byte("FROM base\n"), '\\').Run(stages[0].Commands[0].(*instructions.RunCommand), s)
	want := script.Settings{Shell: []string{"/bin/bash", "-c"}, Env: map[string]string{"A": "1"}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// hostile are scripts that are large, deep or grow: nothing is said of what goes
// beyond the bounds, and saying so takes little.
func hostile() map[string]string {
	out := map[string]string{}
	for _, open := range []string{
		"(", "$(", "{ ", "if ", "\"$(", "${a:-", "((", "$((", "[[ (", "while ", "case x in x) ", "f() ", "<(", "a[", "${a[", "`",
		"a&&", "a||", "a|", "a;", "! ", "time ", "coproc ", "for i do ", "sh -c '", "eval ", "sudo ", "env A=b ", "a=$a$a;",
		"x(){ x;};x;", "\\", "$a", "\"", "a -", "--", "{a,", "xargs ",
	} {
		out[open] = strings.Repeat(open, (1<<20)/len(open))
		out["short "+open] = strings.Repeat(open, 4000/len(open))
	}
	double := "x0() { curl https://example.com/x; };"
	for i := 1; i < 30; i++ {
		double += fmt.Sprintf("x%d() { x%d; x%d; };", i, i-1, i-1)
	}
	out["doubling functions"] = double + "x9; x29"
	out["doubling values"] = "a=aaaaaaaa;" + strings.Repeat("a=$a$a;", 100) + "npm ci $a"
	quoted := "npm ci"
	for range 12 {
		quoted = "sh -c '" + strings.ReplaceAll(quoted, "'", `'\''`) + "'"
	}
	out["scripts in scripts"] = quoted
	out["many commands"] = strings.Repeat("curl https://example.com/x; ", 2000)
	return out
}

func TestHostile(t *testing.T) {
	names := make([]string, 0)
	scripts := hostile()
	for name := range scripts {
		names = append(names, name)
	}
	slices.Sort(names)
	var before, after runtime.MemStats
	for _, name := range names {
		text := strings.ReplaceAll(scripts[name], "\n", " ")
		runtime.ReadMemStats(&before)
		for _, c := range []instructions.ShellDependantCmdLine{
			{CmdLine: []string{text}, PrependShell: true},
			{CmdLine: []string{"sh", "-c", text}},
			{CmdLine: []string{"<<EOF"}, PrependShell: true, Files: []instructions.ShellInlineFile{{Name: "EOF", Data: text}}},
		} {
			r := script.NewFile(nil, '\\').Run(&instructions.RunCommand{ShellDependantCmdLine: c}, script.Settings{})
			if len(text) > 1<<19 && len(r.Fetches(nil)) > 0 {
				t.Errorf("%s: fetches of a script that is too long", name)
			}
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
			t.Errorf("%s: %d MB allocated", name, grown>>20)
		}
	}
}

func TestWithinBounds(t *testing.T) {
	for name, want := range map[string]int{"many commands": 2000, "scripts in scripts": 0} {
		c := &instructions.RunCommand{ShellDependantCmdLine: instructions.ShellDependantCmdLine{CmdLine: []string{hostile()[name]}, PrependShell: true}}
		if got := len(script.NewFile(nil, '\\').Run(c, script.Settings{}).Fetches(nil)); got != want {
			t.Errorf("%s: %d fetches, want %d", name, got, want)
		}
	}
}

// FuzzRun: whatever the Dockerfile, nothing panics, lines exist, commands are
// short and in one line, and two readings answer the same.
func FuzzRun(f *testing.F) {
	for _, s := range corpus(f) {
		f.Add("FROM base\n"+s.text, "A", "https://example.com/x y")
	}
	for _, text := range hostile() {
		f.Add("FROM base\nRUN "+text[:min(len(text), 2000)], "", "")
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		ast, err := parser.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		stages, _, err := instructions.Parse(ast.AST, nil)
		if err != nil {
			return
		}
		lines := strings.Count(text, "\n") + 1
		file := script.NewFile([]byte(text), ast.EscapeToken)
		for _, stage := range stages {
			for _, cmd := range stage.Commands {
				c, ok := cmd.(*instructions.RunCommand)
				if !ok {
					continue
				}
				settings := script.Settings{Env: map[string]string{name: value}}
				check(t, file.Run(c, settings), lines)
				if diff := cmp.Diff(file.Run(c, settings), file.Run(c, settings), cmp.AllowUnexported(script.Run{}, script.Fetch{})); diff != "" {
					t.Errorf("two answers\n%s", diff)
				}
			}
		}
	})
}

func check(t *testing.T, r *script.Run, lines int) {
	t.Helper()
	for _, f := range r.Fetches(nil) {
		if f.Line < 1 || f.Line > lines || f.Command == "" || len([]rune(f.Command)) > 80 || strings.ContainsAny(f.Command, "\n\r\x00") || f.Cause == "" {
			t.Errorf("%d lines: %+v", lines, f)
		}
	}
	for _, e := range r.EnvFiles() {
		if e.Line < 1 || e.Line > lines || e.Path == "" {
			t.Errorf("%d lines: %+v", lines, e)
		}
	}
	programs, _ := r.Uses()
	if !slices.IsSorted(programs) || slices.Contains(programs, "") {
		t.Errorf("programs %q", programs)
	}
}

// thousand is a Dockerfile of a thousand lines, made of the corpus.
func thousand(b *testing.B) string {
	var out strings.Builder
	out.WriteString("FROM base\n")
	for n := 1; n < 1000; {
		for _, s := range corpus(b) {
			if s.first() == 0 || strings.HasPrefix(s.text, "SHELL") || n >= 1000 {
				continue
			}
			out.WriteString(s.text)
			n += strings.Count(s.text, "\n")
		}
	}
	return out.String()
}

// BenchmarkThousandLines reads all RUNs of a Dockerfile of a thousand lines that
// has little else; parsing it as a Dockerfile is not counted.
func BenchmarkThousandLines(b *testing.B) {
	text := thousand(b)
	ast, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	stages, _, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		read(script.NewFile([]byte(text), ast.EscapeToken), stages)
	}
}

// BenchmarkParse is what BuildKit's parser takes for the same, to compare.
func BenchmarkParse(b *testing.B) {
	text := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		ast, err := parser.Parse(strings.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := instructions.Parse(ast.AST, nil); err != nil {
			b.Fatal(err)
		}
	}
}
