package script

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// A Run is what was read of one RUN instruction.
type Run struct {
	fetches  []Fetch
	envFiles []EnvFile
	programs []string
	complete bool
}

// A Fetch is a command that certainly needs the network.
type Fetch struct {
	Line    int    // of the Dockerfile
	Command string // as it stands there, cut to 80 characters, without wrappers such as sudo
	Cause   string // says that it needs the network, and what would cover it
	// Kind is the package type (Hermeto's names: gomod, cargo, npm, …) that would
	// cover it, "" where there is none.
	Kind string
	// direct commands open a URL themselves: no package keeps them from it.
	direct bool
}

// Fetches are the commands that certainly need the network and that no package
// in effect covers, by line. covered tells whether a package type is in effect,
// or the build context brings its packages along (a vendor directory, an
// offline cache); nil stands for none. A command that opens a URL itself, such
// as curl, is reported whatever is in effect: a generic artifact is a file, and
// the command goes to the network all the same.
func (r *Run) Fetches(covered func(kind string) bool) []Fetch {
	var out []Fetch
	for _, f := range r.fetches {
		if f.direct || f.Kind == "" || covered == nil || !covered(f.Kind) {
			out = append(out, f)
		}
	}
	return out
}

// Uses are the base names of the programs that the instruction may start,
// sorted, each once. complete tells that it starts no others: neither are any
// of them handed commands that were not read (make, scripts, package managers
// that run foreign code), nor was anything unknown.
func (r *Run) Uses() (programs []string, complete bool) {
	return slices.Clone(r.programs), r.complete
}

// An EnvFile is an environment file of Hermeto that is sourced without a test
// whether it is there.
type EnvFile struct {
	Line  int    // of the Dockerfile
	Path  string // as the script names it
	Cause string
}

// EnvFiles are the environment files of Hermeto that the instruction sources,
// by line. One that is tested for first is none:
//
//	if [ -f /cachi2/cachi2.env ]; then . /cachi2/cachi2.env; fi
func (r *Run) EnvFiles() []EnvFile { return slices.Clone(r.envFiles) }

// result is what a reader found, sorted, each command once.
func (r *reader) result() *Run {
	out := &Run{complete: !r.incomplete}
	for name := range r.used {
		out.programs = append(out.programs, name)
	}
	slices.Sort(out.programs)
	if r.spent {
		out.complete = false
		return out
	}
	type at struct {
		src *source
		off int
	}
	seen := map[at]bool{}
	for _, f := range r.found {
		if p := (at{f.src, f.off}); !seen[p] {
			seen[p] = true
			out.fetches = append(out.fetches, f.Fetch)
		}
	}
	slices.SortStableFunc(out.fetches, func(a, b Fetch) int { return a.Line - b.Line })
	for _, e := range r.sourced {
		if !slices.Contains(out.envFiles, e) {
			out.envFiles = append(out.envFiles, e)
		}
	}
	slices.SortStableFunc(out.envFiles, func(a, b EnvFile) int { return a.Line - b.Line })
	return out
}

// maxCommand is how many characters of a command are shown.
const maxCommand = 80

// shorten makes a command one line of at most maxCommand characters.
func shorten(s string) string {
	if len(s) > 8*maxCommand {
		s = s[:8*maxCommand]
	}
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\\\r\n", " "), "\\\n", " ") // continuation lines
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(c rune) bool { return c <= ' ' || c == 0x7f }), " ")
	if utf8.RuneCountInString(s) <= maxCommand {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:maxCommand-1]), " ") + "…"
}

// cause says in words what a command lacks.
func (f Fetch) cause() string {
	switch {
	case f.direct:
		return `needs the network; a package of type "generic" can fetch it before the build, as a file`
	case f.Kind == "":
		return "needs the network; no package type covers it"
	}
	return `needs the network; a package of type "` + f.Kind + `" would cover it`
}
