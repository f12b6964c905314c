package llbgen

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

// Seal returns def with every exec shut:
//
//   - its network is none, and the proxy variables that BuildKit would slip in
//     at run time, unseen by the cache, are gone;
//   - it has the mounts and the env of the sandbox; mounts of its own keep their
//     outputs, so nothing that stands on them notices;
//   - its cache mounts are private, start as what they were declared to start
//     as (empty, in most cases) and are thrown away.
//
// Sealing twice is sealing once: the result of the second time has the same
// bytes. Nothing else about def changes, and def itself never does. A nil or
// empty definition (scratch) is returned as it is.
//
// An exec that Sandbox.Grant or Share names keeps its network or its cache
// mounts, and kept ops stay as they are. A source that has no place of its own, as those of ADD, gets that of what
// stands on it, so that a download that fails is drawn in the Dockerfile.
//
// What cannot be sealed is refused with a *ViolationError: build ops, ops and
// fields that this version does not know, mounts that collide with the
// sandbox's, spliced execs that are open. All else that Check reports stays as it
// is: it is for the caller to look at first. Other errors mean that def or the
// sandbox is malformed.
func Seal(def *pb.Definition, s Sandbox) (*pb.Definition, error) {
	g, err := Decode(def)
	if err != nil {
		return nil, err
	}
	if err := g.Seal(s); err != nil {
		return nil, err
	}
	if g.terminal == nil {
		return def, nil
	}
	return g.Encode()
}

// Seal is the package's Seal, on a graph. Ops that came in by Replace are left
// as they are. A graph whose sealing failed is of no further use.
func (g *Graph) Seal(s Sandbox) error {
	b, err := s.open()
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	kept := b.visit(g)
	if found := g.report(g.refusals(b)); len(found) > 0 {
		return &ViolationError{Violations: found}
	}
	for _, n := range kept {
		if n.stale {
			return fmt.Errorf("%s: to be kept, but changed already", n.name())
		}
	}
	for _, n := range g.live() {
		if n.exec() != nil && !b.leaves(n) {
			b.seal(n)
		}
	}
	g.placeSources()
	g.spread()
	for _, n := range kept {
		if n.stale {
			return fmt.Errorf("%s: to be kept, but stands on an op that is not", n.name())
		}
	}
	return nil
}

// seal shuts one exec.
func (b *box) seal(n *node) {
	op := n.op.CloneVT()
	exec := op.GetExec()
	caps := []string{string(pb.CapExecMetaNetwork)}
	var lost []string
	if !b.granted(n) {
		exec.Network = pb.NetMode_NONE
		if !b.KeepProxy {
			exec.Meta.ProxyEnv = nil
			lost = append(lost, string(pb.CapExecMetaProxy))
		}
	}

	shares := b.shares(n)
	if !shares {
		lost = append(lost, string(pb.CapExecMountCache), string(pb.CapExecMountCacheSharing))
	}
	for _, m := range exec.Mounts {
		if m.MountType != pb.MountType_CACHE || shares {
			continue
		}
		m.MountType, m.CacheOpt, m.Output = pb.MountType_BIND, nil, int64(pb.SkipOutput)
		caps = append(caps, capsOf(m)...)
	}
	if !b.exempt(n.exec()) {
		exec.Meta.Env = b.environ(n.exec())
	}
	for _, m := range b.wanted(n) {
		added := b.mount(m, n, outputs(exec.Mounts))
		switch {
		case b.in(m, n):
		case m.Carry:
			exec.Mounts = insertOutput(exec.Mounts, added)
		default:
			exec.Mounts = insertMount(exec.Mounts, added)
		}
		caps = append(caps, capsOf(added)...)
	}
	if !proto.Equal(op, n.op) {
		n.op, n.stale = op, true
	}
	n.setCaps(caps, lost)
}

// placeSources gives sources of ADD the places of what stands on them.
func (g *Graph) placeSources() {
	for _, n := range g.live() {
		for _, in := range n.inputs {
			src := in.node
			if src.op.GetSource() != nil && isRemote(src.op.GetSource()) && src.places == nil {
				src.places = n.places
			}
		}
	}
}

// isRemote tells the sources that ADD makes.
func isRemote(src *pb.SourceOp) bool {
	scheme, _, _ := strings.Cut(src.Identifier, "://")
	return scheme == "http" || scheme == "https" || scheme == "git"
}

// input returns the index of an input, adding it if need be.
func (n *node) input(e edge) int64 {
	i := slices.IndexFunc(n.inputs, e.same)
	if i < 0 {
		i = len(n.inputs)
		n.inputs = append(n.inputs, e)
	}
	return int64(i)
}

// insertMount puts m where upstream's marshaller would (client/llb/exec.go,
// ExecOp.Marshal): by Dest, ahead of secrets and ssh sockets.
func insertMount(mounts []*pb.Mount, m *pb.Mount) []*pb.Mount {
	i := slices.IndexFunc(mounts, func(o *pb.Mount) bool {
		return o.Dest > m.Dest || o.MountType == pb.MountType_SECRET || o.MountType == pb.MountType_SSH
	})
	if i < 0 {
		i = len(mounts)
	}
	return slices.Insert(mounts, i, m)
}

// capsOf lists what a bind mount asks of the daemon.
func capsOf(m *pb.Mount) []string {
	caps := []string{string(pb.CapExecMountBind)}
	if m.Selector != "" {
		caps = append(caps, string(pb.CapExecMountSelector))
	}
	if m.ContentCache != pb.MountContentCache_DEFAULT {
		caps = append(caps, string(pb.CapExecMountContentCache))
	}
	if !m.Readonly && m.Output == int64(pb.SkipOutput) {
		caps = append(caps, string(pb.CapExecMountBindReadWriteNoOutput))
	}
	return caps
}

// setCaps asks for capabilities and stops asking for others.
func (n *node) setCaps(add, remove []string) {
	meta := new(pb.OpMetadata)
	if n.meta != nil {
		meta = n.meta.CloneVT()
	}
	for _, c := range add {
		setCap(meta, c)
	}
	for _, c := range remove {
		delete(meta.Caps, c)
	}
	n.meta = meta
}

// whyOpen tells why a fixed exec may not stay as it is: what Seal would have to
// change. It is empty if the exec is shut, and for nil.
func whyOpen(exec *pb.ExecOp) string {
	switch {
	case exec == nil:
		return ""
	case exec.Network != pb.NetMode_NONE:
		return "network is " + networkName(exec.Network) + ", not none"
	case exec.Meta.ProxyEnv != nil:
		return "has proxy variables"
	}
	for _, m := range exec.Mounts {
		if m.MountType == pb.MountType_CACHE {
			return "has a cache mount at " + m.Dest
		}
	}
	return ""
}

// networkName is the word for a network mode on a RUN line.
func networkName(mode pb.NetMode) string {
	switch mode {
	case pb.NetMode_UNSET:
		return "default"
	case pb.NetMode_HOST:
		return "host"
	case pb.NetMode_NONE:
		return "none"
	}
	return mode.String()
}
