package llbgen

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// Encode writes the graph as a definition. Ops are in order, inputs first, the
// terminal last; what nothing needs is left out; ops that have become equal are
// one op, with the metadata and the locations of all. The same graph gives the
// same bytes on every run.
//
// It is an error if a pass has changed what a build op stands on: such an op
// cannot be rewritten.
func (g *Graph) Encode() (*pb.Definition, error) {
	out := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	files := &fileTable{infos: slices.Clone(g.infos)}
	locations := map[string]*pb.Locations{}
	renamed := map[*node]digest.Digest{}
	seen := map[digest.Digest]bool{}

	for _, n := range g.order() {
		raw, err := n.marshal(renamed)
		if err != nil {
			return nil, fmt.Errorf("op %s: %w", n.digest, err)
		}
		dgst := digest.FromBytes(raw)
		renamed[n] = dgst
		if !seen[dgst] {
			seen[dgst] = true
			out.Def = append(out.Def, raw)
		}
		key := string(dgst)
		if n.meta != nil {
			out.Metadata[key] = mergeMetadata(out.Metadata[key], n.meta)
		}
		if n.places != nil {
			locations[key] = files.merge(locations[key], n.places)
		}
	}
	if g.source || len(files.infos) > 0 {
		out.Source = &pb.Source{Infos: files.infos, Locations: locations}
	}
	return out, nil
}

// marshal returns the bytes of the node's op, given the digests of its inputs.
func (n *node) marshal(renamed map[*node]digest.Digest) ([]byte, error) {
	if !n.stale {
		return n.raw, nil
	}
	if n.op.GetBuild() != nil {
		return nil, fmt.Errorf("build op: its inputs changed")
	}
	// The clone is shallow: only the inputs are about to be replaced.
	op := &pb.Op{Op: n.op.Op, Platform: n.op.Platform, Constraints: n.op.Constraints}
	op.ProtoReflect().SetUnknown(n.op.ProtoReflect().GetUnknown())
	for _, in := range n.inputs {
		op.Inputs = append(op.Inputs, &pb.Input{Digest: string(renamed[in.node]), Index: in.index})
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(op)
}

// mergeMetadata joins what two ops that became one say of themselves, as
// upstream's marshaller does (client/llb/state.go, mergeMetadata): flags and
// capabilities add up, of the rest the later one wins. Neither is modified.
func mergeMetadata(a, b *pb.OpMetadata) *pb.OpMetadata {
	if a == nil {
		return b
	}
	m := a.CloneVT()
	m.IgnoreCache = m.IgnoreCache || b.IgnoreCache
	for k, v := range b.Description {
		if m.Description == nil {
			m.Description = map[string]string{}
		}
		m.Description[k] = v
	}
	for k := range b.Caps {
		setCap(m, k)
	}
	if b.ExportCache != nil {
		m.ExportCache = b.ExportCache
	}
	if b.ProgressGroup != nil {
		m.ProgressGroup = b.ProgressGroup
	}
	if b.LinuxResources != nil {
		m.LinuxResources = b.LinuxResources
	}
	return m
}

// setCap asks for a capability of the daemon.
func setCap(m *pb.OpMetadata, id string) {
	if m.Caps == nil {
		m.Caps = map[string]bool{}
	}
	m.Caps[id] = true
}

// fileTable numbers source files. It starts with those of the graph itself, so
// that their numbers stay.
type fileTable struct {
	infos []*pb.SourceInfo
}

// index returns the number of info, adding it unless an equal one is there.
func (t *fileTable) index(info *pb.SourceInfo) int32 {
	i := slices.IndexFunc(t.infos, func(o *pb.SourceInfo) bool { return o == info })
	if i < 0 {
		i = slices.IndexFunc(t.infos, func(o *pb.SourceInfo) bool { return sameFile(o, info) })
	}
	if i < 0 {
		i = len(t.infos)
		t.infos = append(t.infos, info)
	}
	return int32(i)
}

// merge returns locs with those of places added that it does not have yet.
func (t *fileTable) merge(locs *pb.Locations, places []location) *pb.Locations {
	merged := &pb.Locations{Locations: slices.Clone(locs.GetLocations())}
	for _, p := range places {
		loc := p.loc
		if i := t.index(p.info); i != loc.SourceIndex {
			loc = &pb.Location{SourceIndex: i, Ranges: loc.Ranges}
		}
		// Upstream repeats a place for one op; only another op's are compared.
		if !slices.ContainsFunc(locs.GetLocations(), loc.EqualVT) {
			merged.Locations = append(merged.Locations, loc)
		}
	}
	return merged
}

// sameFile compares without following definitions that nest.
func sameFile(a, b *pb.SourceInfo) bool {
	return a.Filename == b.Filename && a.Language == b.Language && bytes.Equal(a.Data, b.Data) &&
		slices.EqualFunc(a.Definition.GetDef(), b.Definition.GetDef(), bytes.Equal)
}
