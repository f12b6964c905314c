package frontend

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/llbgen"
)

// chosen is what of a layout with four package types an exec gets, in words.
func chosen(t *testing.T, exec *pb.ExecOp) string {
	t.Helper()
	l := &laid{kinds: []string{"cargo", "generic", "gomod", "pip"}, base: &pb.Definition{}, rest: &pb.Definition{}, trees: map[string]*pb.Definition{}, env: []cache.EnvVar{
		{Name: "GOMODCACHE", Value: "${output_dir}/deps/gomod/pkg/mod", Ecosystem: "gomod"},
		{Name: "PIP_NO_INDEX", Value: "true", Ecosystem: "pip"},
		{Name: "HERMETO", Value: "1"},
	}}
	for _, kind := range l.kinds {
		l.trees[kind] = &pb.Definition{}
	}
	c := newChooser(l)
	c.files["/.cargo/config.toml"] = []string{"cargo"}
	got := c.choose(exec)
	var words []string
	if got.all {
		words = append(words, "all")
	}
	if got.base {
		words = append(words, "base")
	}
	words = append(words, slices.Sorted(maps.Keys(got.kinds))...)
	for _, m := range []struct {
		mount llbgen.Mount
		want  bool
	}{
		{llbgen.Mount{Definition: l.rest, Dest: depsMount}, got.all},
		{llbgen.Mount{Definition: l.base, Dest: depsMount}, !got.all && (got.base && len(got.kinds) == 0 || len(got.kinds) > 1)},
		{llbgen.Mount{Definition: l.trees["gomod"], Dest: depsMount}, !got.all && got.kinds["gomod"] && len(got.kinds) == 1},
		{llbgen.Mount{Definition: l.trees["gomod"], Dest: OutputDir + "/deps/gomod"}, got.all || got.kinds["gomod"] && len(got.kinds) > 1},
		{llbgen.Mount{Dest: "/.cargo/config.toml"}, got.all || got.kinds["cargo"]},
		{llbgen.Mount{Dest: "/etc/resolv.conf"}, true},
	} {
		if c.mount(exec, m.mount) != m.want {
			t.Errorf("%q: mount at %s: %v", exec.Meta.Args, m.mount.Dest, !m.want)
		}
	}
	for name, want := range map[string]bool{
		"GOMODCACHE": got.all || got.kinds["gomod"], "PIP_NO_INDEX": got.all || got.kinds["pip"], "HERMETO": len(words) > 0,
	} {
		if c.env(exec, name) != want {
			t.Errorf("%q: variable %s: %v", exec.Meta.Args, name, !want)
		}
	}
	return strings.Join(words, " ")
}

// shell is an exec as RUN makes one.
func shell(text string) *pb.ExecOp {
	return &pb.ExecOp{Meta: &pb.Meta{Args: []string{"/bin/sh", "-c", text}, Cwd: "/src", Env: []string{"PATH=/usr/bin:/bin"}}}
}

func TestChoice(t *testing.T) {
	for text, want := range map[string]string{
		// Files alone.
		"mkdir -p /x && cp a b && chmod 755 b; rm -rf /var/lib/apt/lists/*": "",
		"echo hello > /x":            "",
		"ln -s /x /y && useradd app": "",
		"sudo cp a b | xargs -n1 rm && sh -c ls && find . -name x": "",
		"apt-get install -y gcc":                                   "all",
		"find / -xdev -name '*.pyc' -delete":                       "",
		"if [ -f /x ]; then . /x.env; fi; ls":                      "all",
		"sed -i 's/[^a-z]//g; s,/,,' x":                            "",
		"sed -i 's/[^a-z]//g' x":                                   "",
		// One package manager.
		"go build ./...": "gomod",
		"cd app && CGO_ENABLED=0 go build -trimpath -ldflags=\"-s -w -X main.v=$VERSION\" -o /app .": "gomod",
		"go mod download && go vet ./... && rm -rf /tmp/x":                                           "gomod",
		"cargo fetch":                          "cargo",
		"pip list && go version":               "gomod pip",
		"set -eux; go env; go install ./cmd/x": "gomod",
		// What runs code that nobody has read.
		"go test ./...":                   "all",
		"go generate ./...":               "all",
		"go run ./gen":                    "all",
		"go build -toolexec ./x ./...":    "all",
		"cargo build --release":           "all",
		"pip install -r requirements.txt": "all",
		"pip wheel -r requirements.txt":   "all",
		"pip download x":                  "all",
		"npm ls":                          "all", // npm is not among the types
		"make":                            "all",
		"./build.sh":                      "all",
		"sh build.sh":                     "all",
		"python3 x.py":                    "all",
		"./install x":                     "all",
		"cat x | sh":                      "all",
		"$TOOL x":                         "all",
		"eval \"$X\"":                     "all",
		"find . -exec ./x {} ;":           "all",
		"f() { cargo build; }; f":         "all",
		"alias ls=make; ls":               "all",
		"go build ./... && make":          "all",
		// Paths and variables.
		"cp /cachi2/output/deps/generic/tool /usr/bin/tool":                             "base generic",
		"test -e /cachi2/output/deps/generic":                                           "base generic",
		"cat \"/cachi2/cachi2.env\"":                                                    "base",
		"if [ -f /cachi2/cachi2.env ]; then . /cachi2/cachi2.env; fi && go build ./...": "base gomod",
		". /cachi2/cachi2.env && cp /cachi2/output/deps/pip/x-1.tar.gz . && go build":   "base gomod pip",
		"ls $GOMODCACHE":                                "gomod",
		"ls \"${GOMODCACHE}\" $PIP_NO_INDEX":            "gomod pip",
		"echo $HERMETO":                                 "all",
		"ls /cachi2":                                    "all",
		"ls -R /cachi2/output/deps":                     "all",
		"cat /cachi2/output/bom.json":                   "all",
		"ls /cachi2/cachi2.env.d":                       "all",
		"ls /cachi2/output/deps/generic2":               "all",
		"ls /cachi2/output/deps/gen*":                   "all",
		"ls /cachi2/output/deps/generic/../gomod":       "all",
		"cd /cachi2/output/deps/generic && ls ../gomod": "all",
		"cd / && ls cachi2/output/deps/generic":         "all",
		"ls /*/output":                                  "all",
		"ls /c*/output":                                 "all",
		"ls /[abc]achi2/output":                         "all",
		"D=cachi2; ls /$D":                              "all",
	} {
		if got := chosen(t, shell(text)); got != want {
			t.Errorf("%s: gets %q, want %q", text, got, want)
		}
	}
}

// TestChoiceOfExecs goes by more than the text of a shell.
func TestChoiceOfExecs(t *testing.T) {
	with := func(change func(*pb.Meta)) *pb.ExecOp {
		e := shell("cp $FROM/x /y")
		change(e.Meta)
		return e
	}
	for name, tt := range map[string]struct {
		exec *pb.ExecOp
		want string
	}{
		"exec form":                              {with(func(m *pb.Meta) { m.Args = []string{"go", "build", "./..."} }), "gomod"},
		"exec form of a script":                  {with(func(m *pb.Meta) { m.Args = []string{"/src/build"} }), "all"},
		"another shell":                          {with(func(m *pb.Meta) { m.Args = []string{"/bin/bash", "-o", "pipefail", "-c", "go build"} }), "gomod"},
		"a login shell":                          {with(func(m *pb.Meta) { m.Args = []string{"/bin/bash", "-lc", "go build"} }), "all"},
		"PowerShell":                             {with(func(m *pb.Meta) { m.Args = []string{"pwsh", "-c", "cp a b"} }), "all"},
		"a here-document of its own interpreter": {with(func(m *pb.Meta) { m.Args = []string{"/dev/pipes/EOF"} }), "all"},
		"SBOM scanner":                           {with(func(m *pb.Meta) { m.Args = []string{"/bin/scanner"} }), "all"},
		"a variable of the image":                {with(func(m *pb.Meta) { m.Env = []string{"FROM=/cachi2/output"} }), "all"},
		"another variable":                       {with(func(m *pb.Meta) { m.Env = []string{"FROM=/x"} }), ""},
		"the directory":                          {with(func(m *pb.Meta) { m.Cwd = "/cachi2/output" }), "all"},
		"GOFLAGS":                                {with(func(m *pb.Meta) { m.Args[2], m.Env = "go build", []string{"GOFLAGS=-toolexec=x"} }), "all"},
		"variables that we set":                  {with(func(m *pb.Meta) { m.Env = []string{"GOMODCACHE=/cachi2/output/deps/gomod/pkg/mod"} }), ""},
		"BASH_ENV":                               {with(func(m *pb.Meta) { m.Env = []string{"BASH_ENV=/x"} }), "all"},
	} {
		if got := chosen(t, tt.exec); got != tt.want {
			t.Errorf("%s: gets %q, want %q", name, got, tt.want)
		}
	}
}

// TestChoiceOfOne: where one tree is all that there is, it has all that may be
// asked for.
func TestChoiceOfOne(t *testing.T) {
	l := &laid{kinds: []string{"gomod"}, trees: map[string]*pb.Definition{"gomod": {}}}
	c := newChooser(l)
	for text, want := range map[string]bool{"make": true, "go build": true, "cat /cachi2/cachi2.env": true, "ls": false} {
		if got := c.mount(shell(text), llbgen.Mount{Definition: l.trees["gomod"], Dest: depsMount}); got != want {
			t.Errorf("%s: mount %v", text, got)
		}
	}
}

func TestKindsOf(t *testing.T) {
	plan := cache.Plan{Env: []cache.EnvVar{{Name: "GOSUMDB", Value: "x", Ecosystem: "gomod"}}}
	env := []cache.EnvVar{
		{Name: "GOSUMDB", Value: "sum"}, {Name: "GOCACHE", Value: "${output_dir}/deps/gomod"},
		{Name: "X", Value: "${output_dir}/deps/cobol/x"}, {Name: "Y", Value: "y"},
	}
	want := []string{"gomod", "gomod", "", ""}
	for i, v := range kindsOf(env, plan) {
		if v.Ecosystem != want[i] || v.Value != env[i].Value {
			t.Errorf("%s: %+v", v.Name, v)
		}
	}
}
