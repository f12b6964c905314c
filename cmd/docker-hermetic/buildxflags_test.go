package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBuild(t *testing.T) {
	type want struct {
		Context string
		Passed  string // joined by spaces
		Uses    string // name=value, joined by spaces
	}
	tests := []struct {
		name, args string
		want       want
	}{
		{"context last", "-t app .", want{".", "-t app .", "tag=app"}},
		{"context first", ". -t app", want{".", ". -t app", "tag=app"}},
		{"context between", "--push dir --load", want{"dir", "--push dir --load", "push=true load=true"}},
		{"long with equals", "--tag=app --file=a/b .", want{".", "--tag=app --file=a/b .", "tag=app file=a/b"}},
		{"value like a flag", "--build-arg --x .", want{".", "--build-arg --x .", "build-arg=--x"}},
		{"value like a context", "--target . dir", want{"dir", "--target . dir", "target=."}},
		{"value with equals", "--build-arg A=b=c .", want{".", "--build-arg A=b=c .", "build-arg=A=b=c"}},
		{"empty value", "--target= .", want{".", "--target= .", "target="}},
		{"short joined", "-fDockerfile .", want{".", "-fDockerfile .", "file=Dockerfile"}},
		{"short with equals", "-f=Dockerfile .", want{".", "-f=Dockerfile .", "file=Dockerfile"}},
		{"short stdin", "-f - .", want{".", "-f - .", "file=-"}},
		{"shorts together", "-qD .", want{".", "-qD .", "quiet=true debug=true"}},
		{"shorts, the last with a value", "-qt app .", want{".", "-qt app .", "quiet=true tag=app"}},
		{"shorts, the last with a joined value", "-Dqoout .", want{".", "-Dqoout .", "debug=true quiet=true output=out"}},
		{"switched with a value", "--push=false --load=1 .", want{".", "--push=false --load=1 .", "push=false load=true"}},
		{"short switched with a value", "-q=false .", want{".", "-q=false .", "quiet=false"}},
		{"context from standard input", "-t app -", want{"-", "-t app -", "tag=app"}},
		{"url", "https://example.com/repo.git#main", want{"https://example.com/repo.git#main", "https://example.com/repo.git#main", ""}},
		{"double dash", "-t app -- -dir", want{"-dir", "-t app -- -dir", "tag=app"}},
		{"double dash last", ". --", want{".", ". --", ""}},
		{"own flags are not passed", "--offline --input gomod --mirror=gomod=http://127.0.0.1:1 --store s --verify=false -t app --frontend ref .",
			want{".", "-t app .", "offline=true input=gomod mirror=gomod=http://127.0.0.1:1 store=s verify=false tag=app frontend=ref"}},
		{"a policy file is ours, buildx's policies are not", "--policy p.yaml --policy filename=x,strict=true --policy=q.yaml .",
			want{".", "--policy filename=x,strict=true .", "policy=p.yaml policy=filename=x,strict=true policy=q.yaml"}},
		{"own flags after context", ". --offline", want{".", ".", "offline=true"}},
		{"unknown with equals", "--new=x .", want{".", "--new=x .", ""}},
		{"unknown last", ". --new", want{".", ". --new", ""}},
		{"unknown before a flag", "--new -t app .", want{".", "--new -t app .", "tag=app"}},
		{"unknown with a value", "--new x -t app .", want{".", "--new x -t app .", "tag=app"}},
		{"unknown that takes the place", "--new .", want{".", "--new .", ""}},
		{"unknown short", "-Z .", want{".", "-Z .", ""}},
		{"unknown short among known", "-qZ=1 .", want{".", "-qZ=1 .", ""}},
		{"hidden flags", "--cpu-shares 2 -m 1g --rm --isolation default .",
			want{".", "--cpu-shares 2 -m 1g --rm --isolation default .", "cpu-shares=2 memory=1g rm=true isolation=default"}},
		{"repeated", "-t a -t b --platform linux/amd64,linux/arm64 .",
			want{".", "-t a -t b --platform linux/amd64,linux/arm64 .", "tag=a tag=b platform=linux/amd64,linux/arm64"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := parseBuild(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			var uses []string
			for _, u := range l.uses {
				uses = append(uses, u.name+"="+u.value)
			}
			got := want{l.context, strings.Join(l.passed, " "), strings.Join(uses, " ")}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got)\n%s", tt.args, diff)
			}
		})
	}
}

func TestParseBuildErrors(t *testing.T) {
	tests := []struct{ args, want string }{
		{"", "build: no CONTEXT"},
		{"-t app", "build: no CONTEXT"},
		{"--new", "build: no CONTEXT"},
		{"-t", "-t: no value"},
		{". --tag", "--tag: no value"},
		{"-qf", "-f: no value"},
		{"--push=perhaps .", "--push=perhaps: want true or false"},
		{"a b", "build: 2 arguments where one CONTEXT is expected: a b"},
		{"-- a b", "build: 2 arguments where one CONTEXT is expected: a b"},
		{"--new a b c", "--new: not a flag of buildx 0.38: CONTEXT cannot be told from its value"},
		{"--new a --other b", "--new: not a flag of buildx 0.38: CONTEXT cannot be told from its value"},
	}
	for _, tt := range tests {
		_, err := parseBuild(strings.Fields(tt.args))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q: error %v, want %s", tt.args, err, tt.want)
		}
	}
}

// TestBuildFlagsOwn holds the table to its rule: what is ours is never passed
// on, and the help of the command names it. --policy is ours and buildx's.
func TestBuildFlagsOwn(t *testing.T) {
	flags := (&program{}).buildCommand().Flags()
	for name, f := range buildFlags {
		if own := flags.Lookup(name) != nil; own != (f.own || name == "policy") {
			t.Errorf("--%s: in the help %v, our own %v", name, own, f.own)
		}
	}
	for letter, name := range shortFlags {
		if _, ok := buildFlags[name]; !ok {
			t.Errorf("-%c: --%s is no flag", letter, name)
		}
	}
}

// FuzzParseBuild: whatever the arguments, those that are passed on are the given
// ones in their order, and CONTEXT is one of them.
func FuzzParseBuild(f *testing.F) {
	for _, s := range []string{"-t app .", "-qfx -- a", "--new a b", "-", "--", "--=", "-=", "--offline .", "-Zq= -"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		l, err := parseBuild(args)
		if err != nil || l.on("help") {
			return
		}
		rest, found := args, false
		for _, p := range l.passed {
			i := 0
			for i < len(rest) && rest[i] != p {
				i++
			}
			if i == len(rest) {
				t.Fatalf("%q: passed on %q, which is not what was given", args, l.passed)
			}
			rest = rest[i+1:]
			found = found || p == l.context
		}
		if !found {
			t.Fatalf("%q: context %q is not passed on", args, l.context)
		}
	})
}
