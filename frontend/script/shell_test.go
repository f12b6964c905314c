package script_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/hermetic-build/hermetic/frontend/script"
)

// prelude makes what the generated scripts start. npm notes the number it is
// given, and fails for the first N; foo succeeds or not, as F says. The script is
// run in all environments; for each its status is printed and what npm noted.
const prelude = `
npm() { echo "$3" >&9; [ "$3" -gt "$N" ]; }
foo() { return "$F"; }
ok() { return 0; }
export -f npm foo ok
exec 9>&1
export N=$2
for F in 0 1; do for T in 0 1; do for L in "" "a b"; do
  export F T L
  echo "env N=$N F=$F T=$T L=$L"
  ( eval "$1" ) > /dev/null 2>&1
  echo "status $?"
done; done; done
`

// A writer writes random scripts of the commands of the prelude.
type writer struct {
	*rand.Rand
	n     int // numbers given
	loops int
	funcs int
}

func (w *writer) npm() string {
	w.n++
	return fmt.Sprintf("npm ci --prefix %d", w.n)
}

func (w *writer) simple() string {
	switch w.IntN(14) {
	case 0, 1, 2, 3, 4:
		return w.npm()
	case 5:
		return "foo"
	case 6:
		return `[ "$T" = 1 ]`
	case 7:
		return `exit ` + fmt.Sprint(w.IntN(2))
	case 8:
		return "true"
	case 9:
		return "false"
	case 10:
		return "X=$(" + w.list(1) + ")"
	case 11:
		return `echo "$(` + w.list(1) + `)"`
	case 12:
		return []string{"set -e", "set +e"}[w.IntN(2)]
	}
	if w.loops > 0 {
		return []string{"break", "continue"}[w.IntN(2)]
	}
	return ":"
}

func (w *writer) command(depth int) string {
	if depth <= 0 {
		return w.simple()
	}
	depth--
	switch w.IntN(16) {
	case 0, 1:
		return w.command(depth) + " && " + w.command(depth)
	case 2, 3:
		return w.command(depth) + " || " + w.command(depth)
	case 4:
		return "{ " + w.list(depth) + "; }"
	case 5:
		return "(" + w.list(depth) + ")"
	case 6:
		return "if " + w.list(depth) + "; then " + w.list(depth) + "; fi"
	case 7:
		return "if " + w.list(depth) + "; then " + w.list(depth) + "; else " + w.list(depth) + "; fi"
	case 8:
		w.loops++
		defer func() { w.loops-- }()
		return "for i in " + []string{"$L", "a", "a b", `"$L"`}[w.IntN(4)] + "; do " + w.list(depth) + "; done"
	case 9:
		loops := w.loops
		w.loops = 0 // no continue: it would have no end
		defer func() { w.loops = loops }()
		return "while true; do " + w.list(depth) + "; break; done"
	case 10:
		return "case $T in 0) " + w.list(depth) + ";; *) " + w.list(depth) + ";; esac"
	case 11:
		loops := w.loops
		w.loops = 0
		body := w.list(depth)
		w.loops = loops
		w.funcs++ // it calls none but those before it, so nothing recurses
		return fmt.Sprintf("f%d() { %s; }", w.funcs, body)
	case 12:
		if w.funcs > 0 {
			return fmt.Sprintf("f%d", 1+w.IntN(w.funcs))
		}
		return "! " + w.simple()
	case 13:
		return w.simple() + " | " + w.simple()
	case 14:
		return "eval '" + strings.ReplaceAll(w.list(depth), "'", `'\''`) + "'"
	}
	loops := w.loops
	w.loops = 0
	defer func() { w.loops = loops }()
	return "bash -c '" + strings.ReplaceAll(w.list(depth), "'", `'\''`) + "'"
}

func (w *writer) list(depth int) string {
	var out []string
	for range 1 + w.IntN(2) + w.IntN(2)*w.IntN(2) {
		out = append(out, w.command(depth))
	}
	return strings.Join(out, "; ")
}

// TestAgainstShell runs random scripts in bash: a command that is reported is
// started in every environment, or the script fails. What is certain here is
// certain there. What follows a command that needs the network is certain as far
// as that succeeds (&&) or fails (||), so some number of failures must do.
func TestAgainstShell(t *testing.T) {
	reported, written := 0, 0
	for seed := range uint64(250) {
		w := &writer{Rand: rand.New(rand.NewPCG(seed, 1))}
		text := w.list(2)
		c := &instructions.RunCommand{ShellDependantCmdLine: instructions.ShellDependantCmdLine{CmdLine: []string{text}, PrependShell: true}}
		fetches := script.NewFile(nil, '\\').Run(c, script.Settings{Shell: []string{"/bin/bash", "-c"}}).Fetches(nil)
		written += w.n
		reported += len(fetches)
		runs := map[int][]shellRun{}
		for _, f := range fetches {
			number, err := strconv.Atoi(f.Command[strings.LastIndexByte(f.Command, ' ')+1:])
			if err != nil {
				t.Fatal(err)
			}
			miss := ""
			for failing := range number {
				if runs[failing] == nil {
					runs[failing] = environments(t, text, failing)
				}
				if miss = missed(runs[failing], strconv.Itoa(number)); miss == "" {
					break
				}
			}
			if miss != "" {
				t.Errorf("seed %d: %q is not started with %s\n%s", seed, f.Command, miss, text)
			}
		}
	}
	t.Logf("%d of %d commands are reported", reported, written)
	if reported < 100 {
		t.Errorf("%d commands are reported: the scripts are no test", reported)
	}
}

// missed is the first environment in which the script succeeds and the numbered
// command is not started; "" for none.
func missed(runs []shellRun, number string) string {
	for _, run := range runs {
		if run.status == "0" && !slices.Contains(run.started, number) {
			return run.env
		}
	}
	return ""
}

// A shellRun is what bash did in one environment.
type shellRun struct {
	env, status string
	started     []string
}

func environments(t *testing.T, text string, failing int) []shellRun {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", prelude, "bash", text, strconv.Itoa(failing))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, &stderr, text)
	}
	var out []shellRun
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if env, ok := strings.CutPrefix(line, "env "); ok {
			out = append(out, shellRun{env: env})
		} else if status, ok := strings.CutPrefix(line, "status "); ok {
			out[len(out)-1].status = status
		} else {
			out[len(out)-1].started = append(out[len(out)-1].started, line)
		}
	}
	if len(out) != 8 {
		t.Fatalf("%d environments, want 8\n%s", len(out), text)
	}
	return out
}
