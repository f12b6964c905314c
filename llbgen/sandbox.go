package llbgen

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
)

// Sandbox is what every exec of a sealed definition gets. Network is not a
// field: it is none, save where Grant says otherwise. The zero value shuts the
// network and adds nothing.
type Sandbox struct {
	// Mounts are added to every exec. Their Dests are reserved: an exec that
	// mounts something else at, below or above one of them cannot be sealed.
	// Mounts of one Dest are alternatives: an exec gets the first of them that
	// Select gives it.
	Mounts []Mount

	// Env, as KEY=VALUE, replaces variables of the same names wherever an exec
	// has them, and comes last, in the order given. The names are reserved.
	Env []string

	// Keep holds ops that must stay byte for byte, such as those that came in
	// as frontend inputs (Graph.Digests lists them): another graph may have run
	// them already. Check reports a kept exec that is not shut; Seal leaves it
	// as it is. Digests that the definition does not have are ignored.
	Keep map[digest.Digest]struct{}

	// Grant, if not nil, tells of an exec that stands at these places, all that
	// it has, whether it keeps the network and the proxy variables that it asks
	// for. It is not asked for an exec without a place.
	Grant func([]Place) bool

	// Share, if not nil, tells in the same way whether an exec keeps its cache
	// mounts, which other builds write to.
	Share func([]Place) bool

	// KeepProxy leaves the proxy variables in execs. The cache does not see them.
	KeepProxy bool

	// Exempt, if not nil, tells of an exec that it gets neither Mounts nor Env;
	// its network is shut all the same. The answer must not depend on what
	// sealing changes (env, mounts, network): go by the args.
	Exempt func(*pb.ExecOp) bool

	// Select, if not nil, tells of an exec whether it gets this mount. The same
	// caution applies. A mount that no exec gets is not added to the graph; its
	// Dest is reserved all the same.
	Select func(*pb.ExecOp, Mount) bool

	// SelectEnv, if not nil, tells of an exec whether it gets the variable of this
	// name. One that it does not get stays what it is. The same caution applies.
	SelectEnv func(exec *pb.ExecOp, name string) bool

	// HashCarried leaves it to the daemon how it finds out that what a mount
	// carries is what it was, which is by reading all of it; for daemons without
	// the capability exec.mount.cache.content.
	HashCarried bool
}

// Mount is one tree that sealed execs see.
type Mount struct {
	// Definition makes the tree: the output that its terminal names. Execs in
	// it are left as they are, so they must be shut already: network none, no
	// proxy variables, no cache mounts.
	Definition *pb.Definition

	// Dest is where execs see it: absolute, clean, not the root.
	Dest string

	// Selector is the path inside the tree to show; empty for all of it.
	Selector string

	// Readonly makes writes fail. Otherwise each exec writes to a copy of its
	// own, which is thrown away.
	Readonly bool

	// Carry keeps that copy, which mounts of one tree have in common: execs of the same user that stand on this one, by
	// their root file systems, find what it wrote. Each exec then has one output more, behind
	// those that it has anyway. It goes with neither Readonly nor Mask.
	Carry bool

	// Mask means that the mount hides what belongs to a network. An exec that
	// mounts something else at, below or above Dest does not get it, rather
	// than being refused, and one that keeps its network does not get it either.
	Mask bool
}

// box is a Sandbox made ready for one graph.
type box struct {
	Sandbox
	mounts []boxMount
	keys   map[string]bool            // names of the variables in Env
	own    map[digest.Digest]struct{} // ops of the mounts' definitions
	left   map[*node]bool             // nodes of the graph that are in own or Keep
	takes  map[*node]state            // what mounts that carry take of an exec
}

// boxMount is a Mount with its definition decoded.
type boxMount struct {
	Mount
	tree  edge
	index int // in box.mounts
}

// open decodes the mounts' definitions. Their nodes are part of no graph until
// an exec takes one. The box is usable, if incomplete, next to an error.
func (s Sandbox) open() (*box, error) {
	b := &box{Sandbox: s, keys: map[string]bool{}, own: map[digest.Digest]struct{}{}, left: map[*node]bool{}}
	var errs []error
	for _, v := range s.Env {
		key, _, ok := strings.Cut(v, "=")
		if !ok || key == "" || b.keys[key] {
			errs = append(errs, fmt.Errorf("env %q: want KEY=VALUE, each key once", v))
		}
		b.keys[key] = true
	}
	for i, m := range s.Mounts {
		if !path.IsAbs(m.Dest) || path.Clean(m.Dest) != m.Dest || m.Dest == pb.RootMount {
			errs = append(errs, fmt.Errorf("mount %q: want a clean absolute path below the root", m.Dest))
		}
		if m.Carry && (m.Readonly || m.Mask) {
			errs = append(errs, fmt.Errorf("mount %s: carries what nobody may write", m.Dest))
		}
		if s.Select == nil && slices.ContainsFunc(s.Mounts[:i], func(o Mount) bool { return o.Dest == m.Dest }) {
			errs = append(errs, fmt.Errorf("mount %s: an alternative, and nothing to choose by", m.Dest))
		}
		tree, err := b.decodeMount(m)
		for _, o := range b.mounts {
			if o.tree.node != nil && tree.node != nil && o.tree.same(tree) {
				tree = o.tree // one tree, however often it is mounted
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.Dest, err))
		}
		b.mounts = append(b.mounts, boxMount{Mount: m, tree: tree, index: i})
	}
	return b, errors.Join(errs...)
}

// decodeMount decodes one mount's definition and holds it to its promise.
func (b *box) decodeMount(m Mount) (edge, error) {
	g, err := Decode(m.Definition)
	if err != nil {
		return edge{}, err
	}
	if g.terminal == nil {
		return edge{}, errors.New("definition is empty")
	}
	for _, n := range g.live() {
		n.fixed = true
		b.own[n.digest] = struct{}{}
		if n.op.GetBuild() != nil {
			return edge{}, fmt.Errorf("%s: a build inside the build cannot be looked into", n.name())
		}
		if why := whyUnknown(n.op); why != "" {
			return edge{}, fmt.Errorf("%s: %s", n.name(), why)
		}
		if why := whyOpen(n.exec()); why != "" {
			return edge{}, fmt.Errorf("%s: %s", n.name(), why)
		}
	}
	return g.terminal.inputs[0], nil
}

// visit learns which nodes of g sealing must leave alone. It returns those of
// them that are in Keep.
func (b *box) visit(g *Graph) (kept []*node) {
	for _, n := range g.live() {
		if _, ok := b.Keep[n.digest]; ok {
			b.left[n] = true
			kept = append(kept, n)
		}
		if _, ok := b.own[n.digest]; ok && !n.stale {
			b.left[n] = true
		}
	}
	b.follow(g)
	return kept
}

// leaves reports whether sealing leaves the node as it is.
func (b *box) leaves(n *node) bool { return n.fixed || b.left[n] }

// exempt reports whether an exec gets neither mounts nor env.
func (b *box) exempt(exec *pb.ExecOp) bool {
	return b.Exempt != nil && b.Exempt(exec)
}

// wanted returns the mounts that an exec gets.
func (b *box) wanted(n *node) []boxMount {
	exec := n.exec()
	if b.exempt(exec) {
		return nil
	}
	var out []boxMount
	for _, m := range b.mounts {
		switch {
		case b.Select != nil && !b.Select(exec, m.Mount),
			m.Mask && (b.yields(m, n) || b.granted(n)),
			slices.ContainsFunc(out, func(o boxMount) bool { return o.Dest == m.Dest }):
		default:
			out = append(out, m)
		}
	}
	return out
}

// yields reports whether an exec has a mount that this one gives way to.
func (b *box) yields(m boxMount, n *node) bool {
	return slices.ContainsFunc(n.exec().Mounts, func(have *pb.Mount) bool {
		return !b.is(m, n, have) && m.collides(n, have)
	})
}

// collides reports whether another mount of the exec is at, below or above this
// one's Dest. Destinations are resolved as the daemon does (gateway/container,
// PrepareMounts).
func (m boxMount) collides(n *node, have *pb.Mount) bool {
	if have.Dest == pb.RootMount {
		return false
	}
	dest := have.Dest
	if !path.IsAbs(path.Clean(dest)) {
		dest = path.Join("/", n.exec().Meta.Cwd, dest)
	}
	dest = path.Clean(dest)
	return dest == m.Dest || below(dest, m.Dest) || below(m.Dest, dest)
}

// granted reports whether an exec keeps its network.
func (b *box) granted(n *node) bool { return asks(b.Grant, n) }

// shares reports whether an exec keeps its cache mounts.
func (b *box) shares(n *node) bool { return asks(b.Share, n) }

func asks(f func([]Place) bool, n *node) bool {
	if f == nil {
		return false
	}
	places := n.ownPlaces()
	return len(places) > 0 && f(places)
}

// in reports whether the exec has the mount already.
func (b *box) in(m boxMount, n *node) bool {
	return slices.ContainsFunc(n.exec().Mounts, func(have *pb.Mount) bool { return b.is(m, n, have) })
}

// is reports whether an exec's mount is this very one.
func (b *box) is(m boxMount, n *node, have *pb.Mount) bool {
	return m.tree.node != nil && have.Dest == m.Dest && have.Selector == m.Selector && have.Readonly == m.Readonly &&
		have.MountType == pb.MountType_BIND && (have.Output != int64(pb.SkipOutput)) == m.Carry &&
		have.Input >= 0 && n.inputs[have.Input].same(b.source(m, n))
}

// conflict returns the Dest of the mount that another mount of the exec n
// would hide, fill or lie below; empty if there is none.
func (b *box) conflict(n *node, have *pb.Mount) string {
	if slices.ContainsFunc(b.mounts, func(m boxMount) bool { return b.is(m, n, have) }) {
		return ""
	}
	for _, m := range b.mounts {
		if !m.Mask && m.collides(n, have) {
			return m.Dest
		}
	}
	return ""
}

// below reports whether a is a path inside b; both are clean.
func below(a, b string) bool {
	return strings.HasPrefix(a, strings.TrimSuffix(b, "/")+"/")
}

// environ replaces the box's variables in the env of an exec.
func (b *box) environ(exec *pb.ExecOp) []string {
	keys := map[string]bool{}
	var own []string
	for _, v := range b.Env {
		if key, _, _ := strings.Cut(v, "="); b.SelectEnv == nil || b.SelectEnv(exec, key) {
			keys[key] = true
			own = append(own, v)
		}
	}
	if len(own) == 0 {
		return exec.Meta.Env
	}
	rest := slices.DeleteFunc(slices.Clone(exec.Meta.Env), func(v string) bool {
		key, _, _ := strings.Cut(v, "=")
		return keys[key]
	})
	return append(rest, own...)
}
