package escape

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/tonistiigi/fsutil"
)

// A room is the directories and words of one build of an attempt.
type room struct {
	t        *testing.T
	attempt  *attempt
	listener *listener
	pairs    []string // words and what they stand for
	words    *strings.Replacer
	syntax   string // the frontend
	dir      string // holds context, deps, named, out
}

// A result is how a build ended.
type result struct {
	at     string
	log    string // with the error at its end
	err    error
	out    string // directory of the result
	took   time.Duration
	memory int64 // the most that a process of the frontend had, in bytes
}

// drawn matches where an error begins: the first place that is drawn, or the
// text.
var drawn = regexp.MustCompile(`(?m)^(\S+:\d+\n-{20}|ERROR: )`)

// message is the error as buildx prints it.
func (r result) message() string {
	if at := drawn.FindStringIndex(r.log); at != nil {
		return r.log[at[0]:]
	}
	return ""
}

func (r *room) path(elem ...string) string { return filepath.Join(append([]string{r.dir}, elem...)...) }

// build writes the files of the attempt and builds once.
func (a *attempt) build(t *testing.T, l *listener, syntax string) result {
	t.Helper()
	r := &room{t: t, attempt: a, listener: l, syntax: syntax, dir: t.TempDir()}
	hosts, err := addresses()
	if err != nil {
		t.Fatal(err)
	}
	day := func(days int) string { return time.Now().AddDate(0, 0, days).Format(time.DateOnly) }
	words := []string{
		"{at}", l.at(), "{port}", l.port, "{host}", hosts[0], "{url}", "http://127.0.0.1:" + l.port, "{socket}", l.socket,
		"{tools}", images.tools, "{busybox}", images.busybox, "{dockerfile}", images.dockerfile,
		"{frontend}", syntax, "{registry}", world.RegistryHost(), "{soon}", day(60), "{past}", day(-60),
		"{go.sum}", modulesSum(), "{out}", r.path("out"), "{named}", r.path("named"), "{context}", r.path("context"),
	}
	r.word(words...)
	for _, dir := range []string{"context", "named", "out"} {
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.makeAll(imageMakers)
	r.write()
	if a.hasBase() {
		if a.base == "" {
			a.base = r.makeBase()
		}
		r.word("{base}", a.base)
		r.write()
	}
	r.makeAll(fileMakers)
	return r.build()
}

// word adds words to those that are replaced, each followed by its replacement.
func (r *room) word(pairs ...string) {
	r.pairs = append(r.pairs, pairs...)
	r.words = strings.NewReplacer(r.pairs...)
}

// write writes the files of the archive.
func (r *room) write() {
	r.t.Helper()
	for _, f := range r.attempt.files {
		if name, ok := strings.CutPrefix(f.Name, "served/"); ok {
			r.listener.served[name] = f.Data
		}
	}
	for _, f := range r.attempt.files {
		name := r.path("context", f.Name)
		for _, dir := range []string{"base/", "deps/", "named/"} {
			if strings.HasPrefix(f.Name, dir) {
				name = r.path(f.Name)
			}
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(r.sums(r.words.Replace(string(f.Data)))), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	os.RemoveAll(r.path("context", "served"))
}

var sumWord = regexp.MustCompile(`\{sha256 ([^}]*)\}`)

// sums replaces {sha256 X}.
func (r *room) sums(text string) string {
	return sumWord.ReplaceAllStringFunc(text, func(word string) string {
		name := sumWord.FindStringSubmatch(word)[1]
		return fmt.Sprintf("sha256:%x", sha256.Sum256(r.listener.served[name]))
	})
}

// replace replaces the words of each line.
func (r *room) replace(lines []string) []string {
	var out []string
	for _, line := range lines {
		out = append(out, r.sums(r.words.Replace(line)))
	}
	return out
}

// build builds by one of the two clients and waits until the bound at most.
func (r *room) build() result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), bound)
	defer cancel()
	begin := time.Now()
	var log bytes.Buffer
	var err error
	done := memory.follow(r.listener.at())
	if r.attempt.library() {
		if err = r.solve(ctx, &log); err != nil {
			fmt.Fprintln(&log)
			for _, source := range errdefs.Sources(err) {
				_ = source.Print(&log) // to memory
			}
			fmt.Fprintf(&log, "ERROR: %v\n", err)
		}
	} else {
		cmd := r.buildx(ctx)
		cmd.Stdout, cmd.Stderr = &log, &log
		err = cmd.Run()
	}
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return result{
		at: r.listener.at(), log: log.String(), err: err, out: r.path("out"), took: time.Since(begin), memory: done(),
	}
}

// mark is a label of the result, and so an option that tells whose frontend a
// process is.
const mark = "escape"

// buildx is "buildx build". It allows everything that can be allowed.
func (r *room) buildx(ctx context.Context) *exec.Cmd {
	args := []string{"build", "--progress=plain", "--allow=network.host", "--allow=security.insecure", "--label=" + mark + "=" + r.listener.at()}
	if !r.attempt.noArg {
		args = append(args, "--build-arg=BUILDKIT_SYNTAX="+r.syntax)
	}
	if r.hasDeps() {
		args = append(args, "--build-context=hermetic="+r.path("deps"))
	}
	if len(r.attempt.holds) > 0 {
		args = append(args, "--output=type=local,dest="+r.path("out"))
	}
	cmd := world.Buildx(ctx, append(append(args, r.replace(r.attempt.args)...), r.path("context"))...)
	cmd.Env = append(cmd.Env, r.replace(r.attempt.env)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // so that the daemon stops as well
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// hasDeps tells whether the build has a deps context of its own. Upstream's
// frontend is given it as well, as a context that nothing uses.
func (r *room) hasDeps() bool {
	_, err := os.Lstat(r.path("deps"))
	return err == nil
}

// solve builds by the client library, which knows nothing of "# syntax" lines.
func (r *room) solve(ctx context.Context, log *bytes.Buffer) error {
	r.t.Helper()
	c, err := client.New(ctx, world.BuildkitAddr())
	if err != nil {
		return err
	}
	defer c.Close()
	opt := client.SolveOpt{
		Frontend:            "gateway.v0",
		FrontendAttrs:       map[string]string{"source": r.syntax, "label:" + mark: r.listener.at()},
		LocalMounts:         map[string]fsutil.FS{},
		AllowedEntitlements: []string{"network.host", "security.insecure"},
		Session:             []session.Attachable{},
		OCIStores:           map[string]content.Store{},
	}
	if err := r.sources(&opt); err != nil {
		return err
	}
	if len(r.attempt.holds) > 0 {
		opt.Exports = []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: r.path("out")}}
	}
	status := make(chan *client.SolveStatus)
	shown := make(chan struct{})
	display, err := progressui.NewDisplay(log, progressui.PlainMode)
	if err != nil {
		return err
	}
	var warnings []client.VertexWarning
	go func() {
		defer close(shown)
		warnings, _ = display.UpdateFrom(context.Background(), status)
	}()
	_, err = c.Solve(ctx, nil, opt, status)
	<-shown
	for _, w := range warnings {
		fmt.Fprintf(log, "WARNING: %s\n", w.Short)
	}
	return err
}

// sources gives a solve its directories, options, sockets and graphs.
func (r *room) sources(opt *client.SolveOpt) (err error) {
	dirs := map[string]string{"context": r.path("context"), "dockerfile": r.path("context")}
	if r.hasDeps() {
		dirs["hermetic"] = r.path("deps")
		opt.FrontendAttrs["context:hermetic"] = "local:hermetic"
	}
	entries, err := os.ReadDir(r.path("named"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := os.Stat(r.path("named", e.Name(), "oci-layout")); err != nil {
			dirs[e.Name()] = r.path("named", e.Name())
		} else if opt.OCIStores[e.Name()], err = local.NewStore(r.path("named", e.Name())); err != nil {
			return err
		}
	}
	for name, dir := range dirs {
		if opt.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return err
		}
	}
	for _, line := range r.replace(r.attempt.opts) {
		key, value, _ := strings.Cut(line, "=")
		opt.FrontendAttrs[key] = value
	}
	if r.attempt.ssh != "" {
		socket, err := sshprovider.NewSSHAgentProvider([]sshprovider.AgentConfig{
			{ID: r.attempt.ssh, Paths: []string{r.listener.socket}, Raw: true},
		})
		if err != nil {
			return err
		}
		opt.Session = append(opt.Session, socket)
	}
	return r.graphs(opt)
}
