package llbgen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
)

// Kind names what is wrong. The words are stable.
type Kind string

// What Check finds. Seal refuses those in the second group, and only those.
const (
	Network          Kind = "Network"          // an exec asks for the host's network; plain RUN lines, which ask for none in particular, are not reported
	SecurityInsecure Kind = "SecurityInsecure" // an exec asks to be privileged
	SSHMount         Kind = "SSHMount"         // an exec is given a socket of the client
	Device           Kind = "Device"           // an exec is given a CDI device
	SecretMount      Kind = "SecretMount"      // an exec is given a secret, as a file or a variable
	CacheMount       Kind = "CacheMount"       // an exec has a directory that other builds write to
	ProxyEnv         Kind = "ProxyEnv"         // an exec gets proxy variables that the cache does not see
	ExtraHost        Kind = "ExtraHost"        // an exec has a host name added
	UnpinnedHTTP     Kind = "UnpinnedHTTP"     // a URL with no checksum
	UnpinnedGit      Kind = "UnpinnedGit"      // a repository at no full commit
	UnpinnedImage    Kind = "UnpinnedImage"    // an image of a registry, with no digest
	RemoteSource     Kind = "RemoteSource"     // a URL with a checksum or a repository at a full commit: immutable, but fetched by the build
	UnknownSource    Kind = "UnknownSource"    // a source of a scheme that this version does not know

	Malformed     Kind = "Malformed"     // the definition does not decode; there are no other findings then
	BuildOp       Kind = "BuildOp"       // a build in the build: its graph is data, out of sight
	UnknownOp     Kind = "UnknownOp"     // an op, a mount type or a field that this version does not know
	ReservedMount Kind = "ReservedMount" // an exec mounts at, below or above a Dest of the Sandbox
	ReservedEnv   Kind = "ReservedEnv"   // an exec gets a variable of the Sandbox from a secret
	OpenInput     Kind = "OpenInput"     // an op that Replace brought in is an exec that is not shut; Seal does not refuse one of Sandbox.Keep
)

// Violation is one finding.
type Violation struct {
	Kind Kind

	// Digest is the op's, in the definition that was checked.
	Digest digest.Digest

	// Name is what the progress output calls the op.
	Name string

	// Subject is what Kind is about, for programs: the URL, image or repository
	// (with #ref) as the op has it, credentials included; the Dest of the mount
	// (ReservedMount: of the Sandbox's); the variable, host, device or network.
	Subject string

	// Pin is what makes a RemoteSource immutable: a digest, or a commit in hex.
	Pin string

	// Detail is the finding in words: lower case, no full stop.
	Detail string

	// Places are where in the Dockerfile the op comes from. An op that carries
	// none, as the sources of ADD do, has those of the ops nearest above it.
	// None of them is without ranges. They fit errdefs.Source.
	Places []Place
}

// Place is some ranges of one file.
type Place struct {
	Info   *pb.SourceInfo
	Ranges []*pb.Range
}

// String returns file:line of the first range, or the file alone.
func (p Place) String() string {
	if len(p.Ranges) == 0 {
		return p.Info.GetFilename()
	}
	return fmt.Sprintf("%s:%d", p.Info.GetFilename(), p.Ranges[0].GetStart().GetLine())
}

// String returns file:line: name: detail, the place left out if there is none.
func (v Violation) String() string {
	var words []string
	if len(v.Places) > 0 {
		words = append(words, v.Places[0].String())
	}
	if v.Name != "" {
		words = append(words, v.Name)
	}
	return strings.Join(append(words, v.Detail), ": ")
}

// ViolationError says why Seal refused. It has at least one Violation, and all
// that Seal would refuse, sorted as Check sorts.
type ViolationError struct {
	Violations []Violation
}

// Error returns one line a violation.
func (e *ViolationError) Error() string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		lines[i] = v.String()
	}
	return strings.Join(lines, "\n")
}

// finding is a Violation that does not know its place yet.
type finding struct {
	node *node
	Violation
}

// report completes findings and sorts them: by place, those without one last,
// then by op, inputs first, then by kind and subject.
func (g *Graph) report(found []finding) []Violation {
	if len(found) == 0 {
		return nil
	}
	order := map[*node]int{}
	above := map[*node][]*node{}
	for i, n := range g.order() {
		order[n] = i
		for _, in := range n.inputs {
			above[in.node] = append(above[in.node], n)
		}
	}
	for i, f := range found {
		found[i].Digest, found[i].Name, found[i].Places = f.node.digest, f.node.name(), places(f.node, above)
	}
	slices.SortStableFunc(found, func(a, b finding) int {
		return cmp.Or(
			comparePlaces(a.Places, b.Places),
			cmp.Compare(order[a.node], order[b.node]),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Subject, b.Subject),
		)
	})
	out := make([]Violation, len(found))
	for i, f := range found {
		out[i] = f.Violation
	}
	return out
}

// places returns the places of a node, or those of the nearest nodes above it
// that have any. A place that names a file and no line is worth as much as
// none: an image that only RUN --mount names has such a one.
func places(n *node, above map[*node][]*node) []Place {
	seen := map[*node]bool{n: true}
	for level := []*node{n}; len(level) > 0; {
		var found []Place
		var next []*node
		for _, n := range level {
			found = append(found, n.ownPlaces()...)
			for _, up := range above[n] {
				if !seen[up] {
					seen[up] = true
					next = append(next, up)
				}
			}
		}
		if len(found) > 0 {
			return found
		}
		level = next
	}
	return nil
}

// ownPlaces returns the places that an op itself carries.
func (n *node) ownPlaces() []Place {
	var found []Place
	for _, p := range n.places {
		if len(p.loc.Ranges) > 0 {
			found = append(found, Place{Info: p.info, Ranges: p.loc.Ranges})
		}
	}
	return found
}

// comparePlaces orders by file and position of the first place.
func comparePlaces(a, b []Place) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(b), len(a))
	}
	x, y := a[0].Ranges[0].GetStart(), b[0].Ranges[0].GetStart()
	return cmp.Or(
		cmp.Compare(a[0].Info.GetFilename(), b[0].Info.GetFilename()),
		cmp.Compare(x.GetLine(), y.GetLine()),
		cmp.Compare(x.GetCharacter(), y.GetCharacter()),
	)
}
