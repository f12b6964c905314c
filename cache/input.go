package cache

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Origin is the place that demands something: a line of a file in the
// build context. Line counts from 1; 0 means the file as a whole.
type Origin struct {
	File string // slash-separated, relative to the build context
	Line int
}

// String is "file:line", or the file alone.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Compare sorts by file, then by line as a number.
func (o Origin) Compare(p Origin) int {
	return cmp.Or(strings.Compare(o.File, p.File), cmp.Compare(o.Line, p.Line))
}

// Need tells how sure it is that a build uses an Input.
type Need int

const (
	// Listed: the lockfile names it. A cache that we made holds all of these;
	// one made by the package manager itself may rightly lack some, since
	// lockfiles keep lines that no build reads.
	Listed Need = iota
	// Required: no build can do without it.
	Required
	// Optional: the build's base image may have it already (a toolchain).
	// Its absence from a cache is no finding.
	Optional
	// Alternative: one of several inputs of one name and version, of which a
	// build needs at least one. Which one, and what its file is called, is known
	// only to whoever looks at a registry: the manifest has those that were
	// chosen.
	Alternative
)

// A Form tells what a layout makes of the bytes of an Input.
type Form string

const (
	// Plain: a file of these bytes, at Path.
	Plain Form = ""
	// Archive: a directory at Path, with what is in the bytes: a tar archive
	// compressed with gzip that has all of it below one directory.
	Archive Form = "tgz"
	// Checkout: a directory at Path, with what the commit of a Git sum has in
	// it, or what the Packaging picks of that.
	Checkout Form = "git"
)

// noun says what is at the Path of an input.
func (f Form) noun() string {
	if f == Plain {
		return "a file"
	}
	return "a directory of its own"
}

// An Input is one thing a build needs, as a lockfile names it.
type Input struct {
	Ecosystem string // the package type: "gomod"
	Kind      string // what of it, in the ecosystem's words: "zip", "mod", "toolchain"
	Name      string
	Version   string
	Platform  string // "linux/amd64", or "" for any
	Sum       Sum    // what the lockfile promises; zero where it promises nothing
	Path      string // where the tool looks, relative to deps/<ecosystem>; "" of an Alternative before Manifest.Resolve
	Form      Form   `json:",omitempty"` // how it lies there
	Need      Need
	Origin    Origin
	// Elsewhere is the Path that it may have instead in a tree of Hermeto's; ""
	// for none.
	Elsewhere string `json:",omitempty"`

	// Where the lockfile says that it is: for whoever fetches, and in nothing
	// that is written. A URL may have a token in it.
	URL  string `json:"-"` // http or https; "" where the ecosystem derives it; of a crate, the index of its registry
	Size int64  `json:"-"` // in bytes; 0 where the lockfile does not tell
	Auth *Auth  `json:"-"` // the credential that the lockfile asks for; nil for none
	// Wants tells, in the ecosystem's words, which Alternatives are wanted; a
	// line for each package that wants some.
	Wants string `json:"-"`
	// Settings are what the project's own configuration of its package manager
	// says of registries, in that one's format.
	Settings string `json:"-"`
	// Rechecked tells that the package manager holds it against its own lockfile
	// once more: of sums of several algorithms, the strongest is enough for us.
	Rechecked bool `json:"-"`
	// Component is what a bill of materials says of it; nil for what is none,
	// such as a go.mod file.
	Component *Component `json:"-"`
}

// ID identifies what is asked for, whatever its content: the fields that a
// manifest line begins with.
type ID struct{ Ecosystem, Kind, Name, Version, Platform string }

// ID is the identity of in.
func (in Input) ID() ID {
	return ID{in.Ecosystem, in.Kind, in.Name, in.Version, in.Platform}
}

// Compare sorts by all fields in order.
func (id ID) Compare(o ID) int {
	return cmp.Or(strings.Compare(id.Ecosystem, o.Ecosystem), strings.Compare(id.Name, o.Name),
		strings.Compare(id.Version, o.Version), strings.Compare(id.Kind, o.Kind), strings.Compare(id.Platform, o.Platform))
}

// Subject names the input as its ecosystem's users write it: "module@version",
// with "/go.mod" where only that file is meant, as in go.sum.
func (in Input) Subject() string {
	switch {
	case in.Ecosystem == "gomod" && in.Kind == "mod":
		return in.Name + "@" + in.Version + "/go.mod"
	case in.Version == "":
		return in.Name
	case in.Ecosystem == "pip" && in.Sum.Algorithm() != Git:
		return in.Name + "==" + in.Version
	}
	return in.Name + "@" + in.Version
}

// A Problem is something wrong with a lockfile or with the cache, at the place
// that the user can mend.
type Problem struct {
	Kind    ProblemKind
	Origin  Origin
	Subject string
	Cause   string
}

// ProblemKind tells which rule a Problem breaks.
type ProblemKind int

const (
	// Missing: an input is not in the cache.
	Missing ProblemKind = iota + 1
	// Corrupt: an input in the cache is not what the lockfile promises.
	Corrupt
	// Stale: a lockfile is not the one that the cache was made from.
	Stale
	// BadLock: a lockfile cannot be read, or contradicts itself.
	BadLock
	// NoLock: there is no lockfile.
	NoLock
	// NoSum: a lockfile has no checksum for something.
	NoSum
	// Unpinned: a lockfile leaves a choice of versions.
	Unpinned
	// Unsupported: a lockfile says something that this version cannot do.
	Unsupported
	// BadVendor: a vendor directory does not fit its lockfile.
	BadVendor
	// Outside: something local lies outside the build context.
	Outside
	// Uncovered: a lockfile has nothing for a platform of the build.
	Uncovered
	// NoCrates: a source distribution that cargo builds has no lockfile for it, or
	// one that cannot be read; a crate that cargo needs is in no lockfile.
	NoCrates
	// Behind: a lockfile is not what its package manager would write by now, and
	// may do all the same. It is a warning.
	Behind
	// Weak: a lockfile protects less than it seems, by a checksum of a broken
	// algorithm or by a credential that is written out. It is a warning.
	Weak
)

// String is the line users read: "file:line: subject: cause". What a terminal
// would not show as it is, as lockfiles can hold anything, is escaped, and what
// is very long is cut.
func (p Problem) String() string {
	var b strings.Builder
	for _, s := range []string{p.Origin.String(), p.Subject, p.Cause} {
		if s != "" {
			if b.Len() > 0 {
				b.WriteString(": ")
			}
			b.WriteString(printable(s))
		}
	}
	return b.String()
}

// maxPrinted is how many bytes of a subject or a cause are printed.
const maxPrinted = 1000

func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case i >= maxPrinted:
			b.WriteString("…")
			return b.String()
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// Problem is a finding about in.
func (in Input) Problem(kind ProblemKind, cause string) Problem {
	return Problem{Kind: kind, Origin: in.Origin, Subject: in.Subject(), Cause: cause}
}

// SortProblems puts problems in the order that users read them in, and drops
// repetitions.
func SortProblems(ps []Problem) []Problem {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(a.Origin.Compare(b.Origin), strings.Compare(a.Subject, b.Subject),
			strings.Compare(a.Cause, b.Cause), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.Compact(ps)
}
