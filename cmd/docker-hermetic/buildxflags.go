package main

import (
	"fmt"
	"strconv"
	"strings"
)

// arity is what a flag takes.
type arity int

const (
	switched arity = iota + 1 // --flag or --flag=BOOL
	valued                    // --flag VALUE or --flag=VALUE
)

// A buildFlag is one flag of "hermetic build".
type buildFlag struct {
	arity arity
	own   bool // ours: buildx does not see it
}

// buildFlags are the flags of "buildx build" v0.38, hidden ones included, and
// our own. They have to be known so that CONTEXT is found wherever it stands.
var buildFlags = map[string]buildFlag{}

// shortFlags are the flags of one letter.
var shortFlags = map[byte]string{
	'f': "file", 't': "tag", 'o': "output", 'q': "quiet", 'D': "debug", 'h': "help", 'm': "memory", 'c': "cpu-shares",
}

func init() {
	for _, name := range []string{
		"add-host", "allow", "annotation", "attest", "build-arg", "build-context", "builder", "cache-from", "cache-to",
		"call", "cgroup-parent", "cpu-period", "cpu-quota", "cpu-shares", "cpuset-cpus", "cpuset-mems", "file", "iidfile",
		"isolation", "label", "memory", "memory-swap", "metadata-file", "network", "no-cache-filter", "output", "platform",
		"policy", "print", "progress", "provenance", "resource", "sbom", "secret", "security-opt", "shm-size", "ssh", "tag",
		"target", "ulimit",
	} {
		buildFlags[name] = buildFlag{arity: valued}
	}
	for _, name := range []string{
		"check", "compress", "debug", "force-rm", "help", "load", "no-cache", "pull", "push", "quiet", "rm", "squash",
	} {
		buildFlags[name] = buildFlag{arity: switched}
	}
	for _, name := range []string{"frontend", "input", "mirror", "store"} {
		buildFlags[name] = buildFlag{arity: valued, own: true}
	}
	for _, name := range []string{"offline", "verify"} {
		buildFlags[name] = buildFlag{arity: switched, own: true}
	}
}

// A buildLine is the arguments of "hermetic build", taken apart.
type buildLine struct {
	context string
	passed  []string  // the arguments without our own flags, as they stood
	uses    []flagUse // flags that are known, in order
	places  []place   // what is no flag
	foreign []string  // flags that are not known
	unknown []string  // those of them without "=VALUE"
}

// A flagUse is a known flag with its value, "true" or "false" for a switched one.
type flagUse struct{ name, value string }

// ours tells --policy FILE, which is ours, from buildx's own --policy, whose
// value is a list of KEY=VALUE.
func (u flagUse) ours() bool { return u.name == "policy" && !strings.Contains(u.value, "=") }

// A place is an argument that is no flag.
type place struct {
	text  string
	doubt bool // it follows a flag that is not known, and may be its value
}

// parseBuild takes the arguments of "hermetic build" apart, by the rules of
// buildx (those of github.com/spf13/pflag). A flag that it does not know is
// passed on; where CONTEXT then cannot be told from its value, that is an error.
func parseBuild(args []string) (*buildLine, error) {
	l := &buildLine{}
	for len(args) > 0 {
		n, err := l.take(args)
		if err != nil {
			return nil, err
		}
		args = args[n:]
	}
	if l.on("help") {
		return l, nil
	}
	return l, l.findContext()
}

// take reads the argument at the head of args and tells how many it used up.
func (l *buildLine) take(args []string) (int, error) {
	arg := args[0]
	switch {
	case arg == "--":
		l.passed = append(l.passed, args...)
		for _, a := range args[1:] {
			l.places = append(l.places, place{text: a})
		}
		return len(args), nil
	case strings.HasPrefix(arg, "--"):
		return l.long(args)
	case len(arg) > 1 && arg[0] == '-':
		return l.short(args)
	}
	l.positional(place{text: arg})
	return 1, nil
}

func (l *buildLine) positional(p place) {
	l.places = append(l.places, p)
	l.passed = append(l.passed, p.text)
}

// long reads "--name", "--name=value" or "--name value".
func (l *buildLine) long(args []string) (int, error) {
	name, value, has := strings.Cut(args[0][2:], "=")
	flag, known := buildFlags[name]
	switch {
	case !known:
		return l.stranger(args), nil
	case has:
		return 1, l.use(flagUse{name, value}, args[:1])
	case flag.arity == switched:
		return 1, l.use(flagUse{name, "true"}, args[:1])
	case len(args) == 1:
		return 0, usage(fmt.Sprintf("--%s: no value", name), `run "hermetic build --help"`)
	}
	return 2, l.use(flagUse{name, args[1]}, args[:2])
}

// short reads letters that stand together, "-qf Dockerfile": all but the last
// are switched.
func (l *buildLine) short(args []string) (int, error) {
	var uses []flagUse
	n := 1
	for letters := args[0][1:]; letters != ""; letters = letters[1:] {
		name, known := shortFlags[letters[0]]
		if !known {
			return l.stranger(args), nil
		}
		value, rest := "", letters[1:]
		switch {
		case strings.HasPrefix(rest, "="):
			value, letters = rest[1:], letters[:1]
		case buildFlags[name].arity == switched:
			value = "true"
		case rest != "":
			value, letters = rest, letters[:1]
		case len(args) == 1:
			return 0, usage(fmt.Sprintf("-%c: no value", letters[0]), `run "hermetic build --help"`)
		default:
			value, n = args[1], 2
		}
		uses = append(uses, flagUse{name, value})
	}
	l.passed = append(l.passed, args[:n]...)
	for _, u := range uses {
		if err := l.use(u, nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// stranger passes a flag on that is not known. What follows it may be its value.
func (l *buildLine) stranger(args []string) int {
	l.passed = append(l.passed, args[0])
	name, _, complete := strings.Cut(args[0], "=")
	l.foreign = append(l.foreign, name)
	if complete {
		return 1
	}
	l.unknown = append(l.unknown, args[0])
	if len(args) > 1 && (args[1] == "-" || !strings.HasPrefix(args[1], "-")) {
		l.positional(place{text: args[1], doubt: true})
		return 2
	}
	return 1
}

// use records a known flag and passes its arguments on, unless it is our own.
func (l *buildLine) use(u flagUse, args []string) error {
	flag := buildFlags[u.name]
	if flag.arity == switched {
		on, err := strconv.ParseBool(u.value)
		if err != nil {
			return usage(fmt.Sprintf("--%s=%s: want true or false", u.name, u.value), "")
		}
		u.value = strconv.FormatBool(on)
	}
	l.uses = append(l.uses, u)
	if !flag.own && !u.ours() {
		l.passed = append(l.passed, args...)
	}
	return nil
}

// findContext finds the one argument that is no flag and no flag's value.
func (l *buildLine) findContext() error {
	var sure, all []string
	for _, p := range l.places {
		all = append(all, p.text)
		if !p.doubt {
			sure = append(sure, p.text)
		}
	}
	switch {
	case len(sure) == 1:
		l.context = sure[0]
	case len(all) == 1:
		l.context = all[0]
	case len(l.unknown) > 0 && len(all) > 0:
		return usage(fmt.Sprintf("%s: not a flag of buildx 0.38: CONTEXT cannot be told from its value", l.unknown[0]),
			fmt.Sprintf("write %s=VALUE", l.unknown[0]))
	case len(all) == 0:
		return usage("build: no CONTEXT", "add . for the current directory")
	default:
		return usage(fmt.Sprintf("build: %d arguments where one CONTEXT is expected: %s", len(all), strings.Join(all, " ")), "")
	}
	return nil
}

// values are those given to a flag, in order.
func (l *buildLine) values(name string) []string {
	var out []string
	for _, u := range l.uses {
		if u.name == name {
			out = append(out, u.value)
		}
	}
	return out
}

// last is the value that counts of a flag that is given once; "" for none.
func (l *buildLine) last(name string) string {
	all := l.values(name)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// policy is the file of our --policy, the last one; "" for none.
func (l *buildLine) policy() string {
	file := ""
	for _, u := range l.uses {
		if u.ours() {
			file = u.value
		}
	}
	return file
}

// calls tells whether buildx is asked about the build, rather than to build.
func (l *buildLine) calls() bool {
	call := l.last("call")
	return call != "" && call != "build" || l.last("print") != "" || l.on("check")
}

// on tells whether a switched flag is on.
func (l *buildLine) on(name string) bool { return l.last(name) == "true" }
