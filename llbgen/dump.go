package llbgen

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// Dump shows a definition as text, for golden files, bug reports and eyes. Ops
// are numbered in order; "#3:1" is output 1 of op 3, "#3" its output 0. The
// text holds no digest of an op and says, of what Seal and Check do not look
// at, the minimum that tells ops apart; it is stable for one definition, but is
// no format to parse. A definition that does not decode is one line.
func Dump(def *pb.Definition) string {
	g, err := Decode(def)
	if err != nil {
		return fmt.Sprintf("malformed: %v\n", err)
	}
	return g.Dump()
}

// Dump is the package's Dump, on a graph.
func (g *Graph) Dump() string {
	if g.terminal == nil {
		return "scratch\n"
	}
	d := &dumper{number: map[*node]int{}}
	for i, n := range g.live() {
		d.number[n] = i + 1
		d.node(n)
	}
	fmt.Fprintf(&d.b, "=> %s\n", d.input(g.terminal, 0))
	return d.b.String()
}

type dumper struct {
	b      strings.Builder
	number map[*node]int
}

// line writes one indented line.
func (d *dumper) line(format string, args ...any) {
	fmt.Fprintf(&d.b, "    "+format+"\n", args...)
}

// input shows an input of n; index as ops have it, with Empty for scratch.
func (d *dumper) input(n *node, index int64) string {
	if index < 0 {
		return "scratch"
	}
	if int(index) >= len(n.inputs) {
		return fmt.Sprintf("action %d", int(index)-len(n.inputs))
	}
	e := n.inputs[index]
	if e.index == 0 {
		return fmt.Sprintf("#%d", d.number[e.node])
	}
	return fmt.Sprintf("#%d:%d", d.number[e.node], e.index)
}

func (d *dumper) node(n *node) {
	fmt.Fprintf(&d.b, "#%d %s", d.number[n], kindOf(n.op))
	switch op := n.op.Op.(type) {
	case *pb.Op_Source:
		fmt.Fprintf(&d.b, " %s\n", op.Source.Identifier)
		for _, k := range slices.Sorted(maps.Keys(op.Source.Attrs)) {
			d.line("attr %s=%q", k, op.Source.Attrs[k])
		}
	case *pb.Op_Exec:
		fmt.Fprintf(&d.b, " %q\n", op.Exec.Meta.Args)
		d.exec(n, op.Exec)
	case *pb.Op_File:
		fmt.Fprintln(&d.b)
		for _, a := range op.File.Actions {
			d.action(n, a)
		}
	case *pb.Op_Passthrough:
		fmt.Fprintf(&d.b, " %q\n", op.Passthrough.Id)
		d.inputs(n)
	default:
		fmt.Fprintln(&d.b)
		d.inputs(n)
	}
	if p := n.op.Platform; p != nil {
		d.line("platform %s", strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/"))
	}
	d.about(n)
}

func (d *dumper) inputs(n *node) {
	for i := range n.inputs {
		d.line("input %s", d.input(n, int64(i)))
	}
}

func (d *dumper) exec(n *node, exec *pb.ExecOp) {
	d.line("network %s", networkName(exec.Network))
	if exec.Security != pb.SecurityMode_SANDBOX {
		d.line("security %s", strings.ToLower(exec.Security.String()))
	}
	d.line("cwd %s", exec.Meta.Cwd)
	if exec.Meta.User != "" {
		d.line("user %s", exec.Meta.User)
	}
	for _, v := range exec.Meta.Env {
		d.line("env %s", v)
	}
	for _, name := range proxyNames(exec.Meta.ProxyEnv) {
		d.line("proxy %s", name)
	}
	for _, h := range exec.Meta.ExtraHosts {
		d.line("host %s %s", h.Host, h.IP)
	}
	for _, m := range exec.Mounts {
		d.line("mount %s", d.mount(n, m))
	}
	for _, s := range exec.Secretenv {
		d.line("secret %q as variable %s", s.ID, s.Name)
	}
	for _, dev := range exec.CdiDevices {
		d.line("device %s", dev.Name)
	}
}

func (d *dumper) mount(n *node, m *pb.Mount) string {
	words := []string{m.Dest}
	switch m.MountType {
	case pb.MountType_BIND:
		words = append(words, "<-", d.input(n, m.Input))
	case pb.MountType_CACHE:
		words = append(words, "<-", d.input(n, m.Input), fmt.Sprintf("cache %q", m.CacheOpt.GetID()), m.CacheOpt.GetSharing().String())
	case pb.MountType_SECRET:
		words = append(words, fmt.Sprintf("secret %q", m.SecretOpt.GetID()))
	case pb.MountType_SSH:
		words = append(words, fmt.Sprintf("ssh %q", m.SSHOpt.GetID()))
	default:
		words = append(words, strings.ToLower(m.MountType.String()))
	}
	if m.Selector != "" {
		words = append(words, "selector "+m.Selector)
	}
	if m.Readonly {
		words = append(words, "readonly")
	}
	if m.Output >= 0 && m.MountType == pb.MountType_BIND {
		words = append(words, fmt.Sprintf("output %d", m.Output))
	}
	if m.ContentCache != pb.MountContentCache_DEFAULT {
		words = append(words, "content cache "+strings.ToLower(m.ContentCache.String()))
	}
	return strings.Join(words, " ")
}

func (d *dumper) action(n *node, a *pb.FileAction) {
	base := d.input(n, a.Input)
	switch op := a.Action.(type) {
	case *pb.FileAction_Copy:
		d.line("copy %s from %s to %s on %s", op.Copy.Src, d.input(n, a.SecondaryInput), op.Copy.Dest, base)
	case *pb.FileAction_Mkfile:
		d.line("mkfile %s (%d bytes) on %s", op.Mkfile.Path, len(op.Mkfile.Data), base)
	case *pb.FileAction_Mkdir:
		d.line("mkdir %s on %s", op.Mkdir.Path, base)
	case *pb.FileAction_Rm:
		d.line("rm %s on %s", op.Rm.Path, base)
	case *pb.FileAction_Symlink:
		d.line("symlink %s to %s on %s", op.Symlink.Newpath, op.Symlink.Oldpath, base)
	default:
		d.line("unknown action on %s", base)
	}
}

// about shows what the definition says of an op, next to the op itself.
func (d *dumper) about(n *node) {
	if name := n.meta.GetDescription()["llb.customname"]; name != "" {
		d.line("name %q", name)
	}
	if n.meta.GetIgnoreCache() {
		d.line("no cache")
	}
	for _, c := range slices.Sorted(maps.Keys(n.meta.GetCaps())) {
		if strings.HasPrefix(c, "exec.") && c != string(pb.CapExecMetaBase) && c != string(pb.CapExecMetaSetsDefaultPath) {
			d.line("cap %s", c)
		}
	}
	for _, p := range n.places {
		d.line("at %s", Place{Info: p.info, Ranges: p.loc.Ranges})
	}
}
