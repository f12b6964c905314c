// Package escape tries to get out of a sealed build, and to bring the frontend
// down. Each attempt is one txtar archive in this directory. It runs on the real
// daemon, through buildx or the client library, with the frontend's own image;
// a listener on this machine tells whether anything arrived, from which address
// and by which protocol does not matter. Before that, the same attempt runs with
// upstream's frontend, and must arrive: an attempt that would fail anyway proves
// nothing.
//
// An archive begins with what is tried, in words. After a blank line come
// settings, one a line, most of them as often as needed:
//
//	expect: sealed             the build ends well
//	expect: fails REGEXP       a step of the build fails, with this in the log
//	expect: refused REGEXP     the frontend refuses, with this in the error, and no RUN has begun
//	expect: open REGEXP        the client has opened the build itself: the log says so; packets may arrive
//	control: arrives           with upstream's frontend it arrives; the default
//	control: none, REASON      this cannot be shown with upstream's frontend
//	same: yes                  both builds are the same to the last byte: one must not take steps of the other
//	runs: none, REASON         no RUN tries by the program "probe"; otherwise at least one must
//	daemon: REASON             the daemon itself may fetch what is below {url}/daemon/
//	arg: ARGUMENT              of "buildx build"
//	env: NAME=VALUE            of buildx
//	syntax: none               the build-arg BUILDKIT_SYNTAX is not given: a "# syntax" line names the frontend
//	opt: KEY=VALUE             an option of a solve by the client library, which then takes the place of buildx
//	input: NAME GRAPH          a graph that the client brings (graph_test.go)
//	ssh: ID                    the client forwards a socket, raw, that leads to the listener
//	make: WORD ARGUMENT...     what text cannot express, or not briefly (make_test.go)
//	says: REGEXP               something in the log
//	lacks: REGEXP              nothing in the log
//	holds: FILE REGEXP         a file in the result
//
// Files of the archive are the build context, except those below
//
//	base/      a base image, built with upstream's frontend: {base}
//	deps/      the deps context, given to the build if it is there
//	named/X/   a directory: {named}/X
//	served/    what {url}/daemon/ serves; {sha256 X} is the sum of one of them
//
// Words in braces are replaced:
//
//	{at}         where to: the argument of probe and of attempt
//	{port} {host} {url} {socket}   the listener: port, an address beyond loopback, http URL, Unix socket
//	{tools}      an image with busybox and the programs "probe" and "attempt", a script that calls it
//	{busybox} {dockerfile} {registry}   of the lab; dockerfile is upstream's frontend
//	{frontend}   the frontend that this build is to run in: ours, or upstream's in the control
//	{out} {named} {context}   directories
//	{soon} {past}   dates
//
// Archives of formats that nothing reads yet (npm's tarballs) have no attempts:
// they belong beside the package manager that unpacks them.
package escape

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/internal/lab"
)

// The bounds of every attempt.
const (
	bound     = 30 * time.Second // of one build
	maxMemory = 512 << 20        // bytes, of each process of the frontend
	workers   = 4                // attempts at once
)

// What the attempts share; constant once TestMain has run them.
var (
	world   *lab.Lab
	images  struct{ busybox, frontend, dockerfile, tools string }
	echoes  *pings
	memory  *memoryWatch
	modules *httptest.Server
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runAll(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(ctx context.Context, m *testing.M) (code int, err error) {
	if world, err = lab.Start(ctx, lab.Options{}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	for name, ref := range map[string]*string{
		"busybox": &images.busybox, "frontend": &images.frontend, "dockerfile": &images.dockerfile,
	} {
		if *ref, err = world.Image(ctx, name); err != nil {
			return 0, err
		}
	}
	if out, err := exec.CommandContext(ctx, "make", "-s", "-C", world.Repo(), "bin").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make bin: %w\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "probe-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if images.tools, err = toolsImage(ctx, dir); err != nil {
		return 0, err
	}
	if echoes, err = newPings(); err != nil {
		return 0, err
	}
	if modules, err = newModules(); err != nil {
		return 0, err
	}
	defer modules.Close()
	memory = watchMemory()
	if err := flag.Set("test.parallel", fmt.Sprint(workers)); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func TestEscape(t *testing.T) {
	names, err := filepath.Glob("*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no attempts: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(name, ".txtar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			a, err := parseAttempt(data)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			a.run(t)
		})
	}
	t.Cleanup(func() {
		t.Logf("%d attempts; the frontend never had more than %d MB", len(names), memory.peak()>>20)
	})
}

// run makes the attempt, with upstream's frontend first.
func (a *attempt) run(t *testing.T) {
	control := newListener(t)
	ours := control
	if !a.same && !a.hasBase() { // what a base image tries is fixed in it
		ours = newListener(t)
	}
	if a.control == "arrives" {
		r := a.build(t, control, images.dockerfile)
		if hits := outside(control.take()); len(hits) == 0 {
			t.Errorf("with upstream's frontend nothing arrived: this attempt proves nothing\n%v\n%s", r.err, r.log)
		}
	}
	r := a.build(t, ours, images.frontend)
	for _, wrong := range append(a.judge(r), a.judgePackets(ours.take())...) {
		t.Errorf("%s", wrong)
	}
	if t.Failed() {
		t.Logf("%s\n%v after %v\n%s", a.text, r.err, r.took.Round(10*time.Millisecond), tail(r.log))
	}
	t.Cleanup(func() {
		if late := a.judgePackets(ours.take()); len(late) > 0 {
			t.Errorf("after the build: %s", late)
		}
	})
}

// judgePackets says what arrived that must not.
func (a *attempt) judgePackets(hits []string) []string {
	if a.kind == "open" {
		return nil
	}
	if a.daemon {
		hits = outside(hits)
	}
	if len(hits) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("arrived at the listener: %q", hits)}
}

// outside are the hits that are none of what the daemon itself fetches.
func outside(hits []string) []string {
	return slices.DeleteFunc(slices.Clone(hits), func(hit string) bool {
		return strings.HasPrefix(hit, "tcp GET /daemon/") || strings.HasPrefix(hit, "tcp HEAD /daemon/")
	})
}

var (
	crash = regexp.MustCompile(`(?m)panic: |goroutine \d+ \[|SIGSEGV|fatal error: |exit code: (2|137)\b|signal: killed`)

	// named matches what a message must name: a rule, a file, or an option.
	named = regexp.MustCompile(`Dockerfile|go\.(sum|mod|work)\b|hermetic\.(yaml|manifest)|build-config\.json|artifacts\.lock|deps context|` +
		`HERMETIC_|prefetch input|capability|unsupported request|platform|/passwd|` + strings.Join(ruleNames(), "|"))
)

func ruleNames() []string {
	var names []string
	for _, r := range preflight.Rules {
		names = append(names, r.Name)
	}
	return names
}

// judge says what is wrong with how a build ended.
func (a *attempt) judge(r result) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if r.took >= bound {
		complain("took %v, more than %v", r.took, bound)
	}
	if r.memory > maxMemory {
		complain("a process of the frontend had %d MB, more than %d", r.memory>>20, maxMemory>>20)
	}
	if m := crash.FindString(r.log); m != "" {
		complain("a crash: %q", m)
	}
	tried, open := strings.Contains(r.log, "probe "+r.at+": shut"), strings.Contains(r.log, r.at+": open")
	if open && a.kind != "open" {
		complain("a RUN says that the way is open")
	}
	message := r.message()
	switch {
	case (a.kind == "sealed" || a.kind == "open") && r.err != nil:
		complain("failed: %v", r.err)
	case a.kind == "sealed" && !tried && !a.silent:
		complain("no RUN has tried")
	case a.kind == "open" && !a.want.MatchString(r.log):
		complain("the log does not say %s", a.want)
	case (a.kind == "refused" || a.kind == "fails") && r.err == nil:
		complain("ended well")
	case a.kind == "fails" && !a.want.MatchString(r.log):
		complain("the log does not say %s", a.want)
	case a.kind == "refused" && !a.want.MatchString(message):
		complain("the error does not say %s: %s", a.want, tail(message))
	case a.kind == "refused" && !named.MatchString(message):
		complain("the error names no rule, file or option: %s", tail(message))
	case a.kind == "refused" && (tried || open):
		complain("refused when a RUN had begun")
	}
	for _, want := range a.says {
		if !want.MatchString(r.log) {
			complain("the log does not say %s", want)
		}
	}
	for _, not := range a.lacks {
		if m := not.FindString(r.log); m != "" {
			complain("the log says %q", m)
		}
	}
	for file, want := range a.holds {
		if got, err := os.ReadFile(filepath.Join(r.out, file)); err != nil || !want.Match(got) {
			complain("%s: %q, %v; want %s", file, tail(string(got)), err, want)
		}
	}
	return wrong
}

// tail is the end of a text that may be long.
func tail(s string) string {
	const most = 6000
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
