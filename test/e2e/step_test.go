package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goEnv is what the go command of a step must be told.
var goEnv = []string{
	"GOCACHE=/cachi2/output/deps/gomod",
	"GOMODCACHE=/cachi2/output/deps/gomod/pkg/mod",
	"GOPATH=/cachi2/output/deps/gomod",
	"GOPROXY=file:///cachi2/output/deps/gomod/pkg/mod/cache/download",
	"GOSUMDB=off",
}

// TestWhatAStepSees has steps of each form write down what they are given.
func TestWhatAStepSees(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
ENV GOPROXY=https://example.com GOSUMDB=example.com GOFLAGS=-mod=mod COLOUR=blue
ARG GOPATH=/elsewhere
COPY go.mod /
RUN env >/shell
RUN ["/bin/sh", "-c", "env >/exec"]
RUN <<END
env >/heredoc
END
RUN <<END
#!/bin/sh
env >/shebang
END
RUN GOPROXY=direct env >/own
RUN env -i sh -c '. /cachi2/cachi2.env && env' >/sourced
RUN find /cachi2 -exec stat -c '%A %n' {} + | sort -k2 >/tree
USER user
RUN id -u >/tmp/uid && echo x >/cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/lock && \
	mkdir /cachi2/output/deps/gomod/new && echo >/cachi2/cachi2.env && cp -r /cachi2/output /tmp/output
RUN test -s /cachi2/cachi2.env && ls /cachi2/output/deps/gomod >/tmp/next
FROM scratch
COPY --from=b /shell /exec /heredoc /shebang /own /sourced /tree /tmp/uid /tmp/next /
-- go.mod --
`+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1")))
	view := m.prefetch(t, dir)
	tree := m.prefetch(t, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir)
	konflux := t.TempDir() // the output directory below "output", as in Konflux's builds
	if err := os.CopyFS(filepath.Join(konflux, "output"), os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	for name, deps := range map[string]string{"view": view, "tree": tree, "tree in output": konflux} {
		t.Run(name, func(t *testing.T) {
			out, _ := files(t, dir, with(deps), "--no-cache")
			for _, form := range []string{"shell", "exec", "heredoc", "shebang", "sourced"} {
				if diff := cmp.Diff(goEnv, variables(read(t, out, form), "GOFLAGS", "PATH", "COLOUR")); diff != "" {
					t.Errorf("%s: -want +got:\n%s", form, diff)
				}
			}
			contains(t, "the environment of a step", read(t, out, "shell"), "GOFLAGS=-mod=mod\n", "COLOUR=blue\n")
			contains(t, "a step that sets a variable itself", read(t, out, "own"), "GOPROXY=direct\n")
			if got := read(t, out, "next"); got != "new\npkg\n" {
				t.Errorf("the next step sees %q; want what the first wrote as well", got)
			}
			if got := read(t, out, "uid"); got != "1000\n" {
				t.Errorf("uid %q", got)
			}
			want := wantTree
			if name != "view" { // a view has no bill of materials
				want = strings.Replace(want, "-rw-rw-rw- /cachi2/output/.build-config.json\n", "-rw-rw-rw- /cachi2/output/.build-config.json\n-rw-rw-rw- /cachi2/output/bom.json\n", 1)
			}
			if diff := cmp.Diff(want, read(t, out, "tree")); diff != "" {
				t.Errorf("tree: -want +got:\n%s", diff)
			}
		})
	}
}

// wantTree is what is laid out for a module, as Hermeto does it; open to all
// users.
const wantTree = `drwxr-xr-x /cachi2
-rw-rw-rw- /cachi2/cachi2.env
drwxrwxrwx /cachi2/output
-rw-rw-rw- /cachi2/output/.build-config.json
drwxrwxrwx /cachi2/output/deps
drwxrwxrwx /cachi2/output/deps/gomod
drwxrwxrwx /cachi2/output/deps/gomod/pkg
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod/cache
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod/cache/download
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1
drwxrwxrwx /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v
-rw-rw-rw- /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/list
-rw-rw-rw- /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/v1.0.0.info
-rw-rw-rw- /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/v1.0.0.mod
-rw-rw-rw- /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/v1.0.0.zip
-rw-rw-rw- /cachi2/output/deps/gomod/pkg/mod/cache/download/example.com/m1/@v/v1.0.0.ziphash
`

// variables are the lines of env that begin with GO, sorted as env of the test
// has them, without the ones named.
func variables(env string, without ...string) []string {
	var out []string
	for line := range strings.Lines(env) {
		name, _, _ := strings.Cut(line, "=")
		skip := !strings.HasPrefix(name, "GO")
		for _, w := range without {
			skip = skip || name == w
		}
		if !skip {
			out = append(out, strings.TrimSpace(line))
		}
	}
	slices.Sort(out)
	return out
}

// TestTheCacheCannotBeCopied: no instruction reads the deps context but through
// the verified mount.
func TestTheCacheCannotBeCopied(t *testing.T) {
	const absent, refused = "not in the build context", "the deps context is no image"
	for name, c := range map[string]struct{ line, want string }{
		"COPY of the mount":         {"COPY /cachi2 /stolen", absent},
		"COPY from the context":     {"COPY --from=hermetic / /stolen", refused},
		"ADD from the mount":        {"ADD /cachi2/cachi2.env /stolen", absent},
		"bind mount of the context": {"RUN --mount=type=bind,from=hermetic,target=/stolen ls /stolen", refused},
		"FROM the context":          {"FROM hermetic", refused},
	} {
		t.Run(name, func(t *testing.T) {
			dir := project(t, "-- Dockerfile --\nFROM {busybox}\n"+c.line+"\n")
			got := build(t, dir, with(hermetoTree(t))).failed(t)
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestFailingStepIsDrawn: the line of the Dockerfile survives the rewriting of
// the graph.
func TestFailingStepIsDrawn(t *testing.T) {
	const two = "FROM {busybox} AS one\nRUN true\nFROM one AS two\nRUN echo two\n"
	for name, c := range map[string]struct{ dockerfile, draws, says string }{
		"first step":        {"FROM {busybox}\nRUN exit 41\n", "2 | >>> RUN exit 41", "exit code: 41"},
		"later stage":       {two + "COPY --from=one /bin/busybox /x\nRUN exit 42\n", "6 | >>> RUN exit 42", "exit code: 42"},
		"exec form":         {two + "RUN [\"/bin/sh\", \"-c\", \"exit 43\"]\n", "5 | >>> RUN [\"/bin/sh\"", "exit code: 43"},
		"bare heredoc":      {two + "RUN <<END\ntrue\nexit 44\nEND\n", "5 | >>> RUN <<END\n   6 | >>> true\n   7 | >>> exit 44\n   8 | >>> END", "exit code: 44"},
		"shebang":           {two + "RUN <<END\n#!/bin/sh\nexit 45\nEND\n", "5 | >>> RUN <<END", "exit code: 45"},
		"several lines":     {two + "RUN true && \\\n\texit 46\n", "6 | >>> \texit 46", "exit code: 46"},
		"with host network": {two + "RUN --network=host exit 47\n", "5 | >>> RUN --network=host", "exit code: 47"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := project(t, "-- Dockerfile --\n"+c.dockerfile)
			r := build(t, dir, with(hermetoTree(t)))
			contains(t, "the error", r.failed(t), c.says)
			r.says(t, " "+c.draws)
		})
	}
}
