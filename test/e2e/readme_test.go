package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hermetic-build/hermetic/internal/lab"
)

// A session is a terminal session of the README: commands, and what it shows
// of their output. Sessions that show an ERROR must end badly.
type session struct {
	commands []string
	shows    []string
}

// sessions reads the "console" blocks of a Markdown text. "…" stands for
// lines that are left out.
func sessions(text string) []session {
	var out []session
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		var s session
		for line := range strings.Lines(block[1]) {
			line = strings.TrimRight(line, "\n")
			if cmd, ok := strings.CutPrefix(line, "$ "); ok {
				s.commands = append(s.commands, cmd)
			} else if line != "…" && line != "" {
				s.shows = append(s.shows, line)
			}
		}
		out = append(out, s)
	}
	return out
}

// TestREADME runs every command of the README in the order it has them, in a
// copy of the example. Two targets of make are run elsewhere: demo in TestDemo,
// and test is what runs this.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(world.Repo(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := sessions(string(text))
	if len(all) < 8 {
		t.Fatalf("%d sessions in the README; the test reads it wrongly", len(all))
	}
	env := readmeEnv(t)
	for _, s := range all {
		script := strings.Join(s.commands, "\n")
		t.Run(s.commands[0], func(t *testing.T) {
			cmd := exec.Command("sh", "-euc", script)
			cmd.Env, cmd.Dir = env.vars, env.dir
			if strings.HasPrefix(script, "make ") {
				cmd.Dir = world.Repo()
				cmd.Args[2] = env.makeOnly(t, s.commands)
			}
			r := output(cmd)
			fails := strings.Contains(strings.Join(s.shows, "\n"), "ERROR: ")
			if (r.err != nil) != fails {
				t.Fatalf("%s: %v\n%s", script, r.err, r.log)
			}
			for _, line := range s.shows {
				if !strings.Contains(unnumbered(r.log), unnumbered(line)) {
					t.Errorf("the README shows %q; the log does not\n%s", line, r.log)
				}
			}
		})
	}
}

// unnumbered drops what differs from run to run or by the machine's Go settings:
// step numbers, sizes, times, whether a toolchain is among the inputs.
func unnumbered(s string) string {
	s = regexp.MustCompile(`(?m)^#[0-9]+ `).ReplaceAllString(s, "")
	s = regexp.MustCompile(`[0-9.]+[kM]?B|[0-9.]+s\b|[0-9]+ inputs`).ReplaceAllString(s, "N")
	return regexp.MustCompile(`DONE N|N N done|N done|CACHED`).ReplaceAllString(s, "DONE")
}

// A place is where the README's commands run.
type place struct {
	dir  string
	vars []string
}

// readmeEnv makes the project, an old deps context for it that lacks three
// modules, and an environment in which the CLI is installed. The project is a
// checkout, as projects are.
func readmeEnv(t *testing.T) place {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "app")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(world.Repo(), "examples", "go"))); err != nil {
		t.Fatal(err)
	}
	edit(t, filepath.Join(dir, "Dockerfile"), func(s string) string { return strings.Replace(s, "golang:1.26", images.golang, 1) })
	var sum string
	edit(t, filepath.Join(dir, "go.sum"), func(s string) string {
		sum = s
		return regexp.MustCompile(`(?m)^(github.com/go-chi/chi|github.com/google/uuid|go.uber.org/zap).*\n`).ReplaceAllString(s, "")
	})
	old := filepath.Join(root, "old")
	output(exec.Command(cli, "prefetch", "--progress=quiet", "--output", old, dir)).passed(t)
	edit(t, filepath.Join(dir, "go.sum"), func(string) string { return sum })
	checkout(t, dir)

	prefix := filepath.Join(root, "local")
	env := append(world.Env(), "FRONTEND="+images.frontend, "old="+old, "HERMETIC_FRONTEND="+images.frontend,
		"REGISTRY="+world.RegistryHost(), "REPOSITORY="+repository(t, dir),
		"PREFIX="+prefix, "PATH="+strings.Join([]string{filepath.Join(prefix, "bin"), pathDocker(t, world), os.Getenv("PATH")}, ":"))
	return place{dir: dir, vars: env}
}

// repository serves the checkout dir by git, and is its URL.
func repository(t *testing.T, dir string) string {
	t.Helper()
	s := newGitServer(t)
	s.git(t, s.dir, "clone", "-q", dir, "app.git")
	return s.url + "/app.git"
}

// pathDocker is a directory with a program "docker" that has buildx: the
// machine's docker, or the lab's buildx alone where there is none.
func pathDocker(t *testing.T, l *lab.Lab) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := exec.LookPath("docker"); err == nil {
		return dir
	}
	script := "#!/bin/sh\n[ \"$1\" = buildx ] && shift && exec " + l.Bin("buildx") + " \"$@\"\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// makeOnly leaves out the targets that other tests run, after a look that they
// exist.
func (p place) makeOnly(t *testing.T, commands []string) string {
	t.Helper()
	var run []string
	for _, c := range commands {
		if c == "make demo" || c == "make test" {
			cmd := exec.Command("make", "-n", strings.TrimPrefix(c, "make "))
			cmd.Dir = world.Repo()
			output(cmd).passed(t)
			continue
		}
		run = append(run, strings.Replace(c, "make install", "make -s install PREFIX=\"$PREFIX\"", 1))
	}
	return strings.Join(append(run, "true"), "\n")
}

// edit rewrites a file.
func edit(t *testing.T, name string, f func(string) string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(f(string(data))), 0o644); err != nil {
		t.Fatal(err)
	}
}
