package llbgen

import (
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/moby/buildkit/util/urlutil"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Check lists all in a definition that would reach outside or may differ from
// one build to the next, sorted by place in the Dockerfile. It judges nothing:
// what to refuse, warn of or allow is for the caller. Ops that the result does
// not need are not looked at, as they never run. A definition that does not
// decode is one Malformed finding.
func Check(def *pb.Definition) []Violation { return Sandbox{}.Check(def) }

// Check is the package's Check, with the findings that depend on the sandbox:
// ReservedMount, ReservedEnv and OpenInput. A Mount needs no Definition for
// that, except to tell a mount that is there because def was sealed before from
// one that collides with it.
func (s Sandbox) Check(def *pb.Definition) []Violation {
	g, err := Decode(def)
	if err != nil {
		return []Violation{{Kind: Malformed, Detail: err.Error()}}
	}
	return g.Check(s)
}

// Check is Sandbox.Check, on a graph.
func (g *Graph) Check(s Sandbox) []Violation {
	b, _ := s.open() // what is wrong with the sandbox itself is for Seal to say
	kept := b.visit(g)
	found := g.refusals(b)
	for _, n := range kept {
		if why := whyOpen(n.exec()); why != "" {
			found = append(found, finding{n, Violation{Kind: OpenInput, Subject: networkName(n.exec().Network),
				Detail: "taken as it is, but " + why}})
		}
	}
	for _, n := range g.live() {
		switch op := n.op.Op.(type) {
		case *pb.Op_Exec:
			found = append(found, execFindings(n)...)
		case *pb.Op_Source:
			if v := sourceFinding(op.Source); v.Kind != "" {
				found = append(found, finding{n, v})
			}
		}
	}
	return g.report(found)
}

// refusals finds what cannot be sealed.
func (g *Graph) refusals(b *box) []finding {
	var found []finding
	for _, n := range g.live() {
		add := func(kind Kind, subject, detail string) {
			found = append(found, finding{n, Violation{Kind: kind, Subject: subject, Detail: detail}})
		}
		if n.op.GetBuild() != nil {
			add(BuildOp, "build", "a build inside the build cannot be looked into")
		}
		if why := whyUnknown(n.op); why != "" {
			add(UnknownOp, kindOf(n.op), why)
		}
		exec := n.exec()
		if exec == nil {
			continue
		}
		if b.leaves(n) {
			if _, kept := b.Keep[n.digest]; !kept {
				if why := whyOpen(exec); why != "" {
					add(OpenInput, networkName(exec.Network), "taken as it is, but "+why)
				}
			}
			continue
		}
		if b.exempt(exec) {
			continue
		}
		for _, m := range exec.Mounts {
			if dest := b.conflict(n, m); dest != "" {
				add(ReservedMount, dest, fmt.Sprintf("mount at %s collides with %s, which is reserved", m.Dest, dest))
			}
		}
		for _, s := range exec.Secretenv {
			if b.keys[s.Name] {
				add(ReservedEnv, s.Name, fmt.Sprintf("secret sets the variable %s, which is reserved", s.Name))
			}
		}
	}
	return found
}

// execFindings looks at one exec.
func execFindings(n *node) []finding {
	exec := n.exec()
	var found []finding
	add := func(kind Kind, subject, detail string) {
		found = append(found, finding{n, Violation{Kind: kind, Subject: subject, Detail: detail}})
	}
	if exec.Network != pb.NetMode_UNSET && exec.Network != pb.NetMode_NONE {
		name := networkName(exec.Network)
		add(Network, name, "asks for network "+name)
	}
	if exec.Security != pb.SecurityMode_SANDBOX {
		name := strings.ToLower(exec.Security.String())
		add(SecurityInsecure, name, "asks for security mode "+name)
	}
	for _, d := range exec.CdiDevices {
		add(Device, d.Name, "asks for device "+d.Name)
	}
	for _, m := range exec.Mounts {
		switch m.MountType {
		case pb.MountType_SSH:
			add(SSHMount, m.Dest, fmt.Sprintf("mounts ssh socket %q at %s", m.SSHOpt.GetID(), m.Dest))
		case pb.MountType_SECRET:
			add(SecretMount, m.Dest, fmt.Sprintf("mounts secret %q at %s", m.SecretOpt.GetID(), m.Dest))
		case pb.MountType_CACHE:
			add(CacheMount, m.Dest, fmt.Sprintf("mounts cache %q at %s", m.CacheOpt.GetID(), m.Dest))
		}
	}
	for _, s := range exec.Secretenv {
		add(SecretMount, s.Name, fmt.Sprintf("gets secret %q as variable %s", s.ID, s.Name))
	}
	for _, name := range proxyNames(exec.Meta.ProxyEnv) {
		add(ProxyEnv, name, "gets the proxy variable "+name)
	}
	for _, h := range exec.Meta.ExtraHosts {
		add(ExtraHost, h.Host, fmt.Sprintf("has host %s added at %s", h.Host, h.IP))
	}
	return found
}

// proxyNames lists the variables that are set, by the names the daemon gives
// them (solver/llbsolver/ops/exec.go, proxyEnvList; each in capitals as well).
func proxyNames(p *pb.ProxyEnv) []string {
	var names []string
	for _, v := range []struct{ name, value string }{
		{"http_proxy", p.GetHttpProxy()},
		{"https_proxy", p.GetHttpsProxy()},
		{"ftp_proxy", p.GetFtpProxy()},
		{"no_proxy", p.GetNoProxy()},
		{"all_proxy", p.GetAllProxy()},
	} {
		if v.value != "" {
			names = append(names, v.name)
		}
	}
	return names
}

// sourceFinding looks at one source. Its Kind is empty if there is nothing to
// say: the source is the client's own (local, OCI layout) or a pinned image.
func sourceFinding(src *pb.SourceOp) Violation {
	scheme, rest, _ := strings.Cut(src.Identifier, "://")
	switch scheme {
	case "local", "oci-layout", "oci-layout+blob":
		return Violation{}
	case "docker-image", "docker-image+blob":
		return imageFinding(src, rest)
	case "http", "https":
		return httpFinding(src)
	case "git":
		return gitFinding(src, rest)
	}
	return Violation{
		Kind: UnknownSource, Subject: src.Identifier,
		Detail: fmt.Sprintf("source %s is of no known kind", urlutil.RedactCredentials(src.Identifier)),
	}
}

// imageFinding reads the reference as the daemon does (source/containerimage).
func imageFinding(src *pb.SourceOp, ref string) Violation {
	spec, err := reference.Parse(ref)
	if err == nil && spec.Digest().Validate() == nil {
		return Violation{}
	}
	if _, err := digest.Parse(src.Attrs[pb.AttrImageChecksum]); err == nil {
		return Violation{}
	}
	return Violation{Kind: UnpinnedImage, Subject: ref, Detail: fmt.Sprintf("image %s has no digest", ref)}
}

// httpFinding looks for a checksum that the daemon verifies (source/http).
func httpFinding(src *pb.SourceOp) Violation {
	url := urlutil.RedactCredentials(src.Identifier)
	sum, err := digest.Parse(src.Attrs[pb.AttrHTTPChecksum])
	if err != nil {
		return Violation{Kind: UnpinnedHTTP, Subject: src.Identifier, Detail: url + " has no checksum"}
	}
	return Violation{Kind: RemoteSource, Subject: src.Identifier, Pin: string(sum), Detail: url + " is fetched by the build"}
}

// gitFinding reads the reference as the daemon does (source/git, NewGitIdentifier
// and ResolveMetadata): a ref that looks like a commit is one, and a checksum
// that is a whole commit, not a prefix, leaves a ref no choice.
func gitFinding(src *pb.SourceOp, rest string) Violation {
	if !gitutil.IsGitTransport(rest) {
		rest = "https://" + rest
	}
	var remote, ref string
	if u, err := gitutil.ParseURL(rest); err == nil {
		remote = u.Remote
		if u.Opts != nil {
			ref = u.Opts.Ref
		}
	}
	if full := src.Attrs[pb.AttrFullRemoteURL]; full != "" {
		remote = full
	}
	subject, shown := remote, urlutil.RedactCredentials(remote)
	if ref != "" {
		subject, shown = subject+"#"+ref, shown+"#"+ref
	}
	for _, pin := range []string{src.Attrs[pb.AttrGitChecksum], ref} {
		if gitutil.IsCommitSHA(pin) {
			return Violation{Kind: RemoteSource, Subject: subject, Pin: pin, Detail: shown + " is fetched by the build"}
		}
	}
	return Violation{Kind: UnpinnedGit, Subject: subject, Detail: shown + " is not at a full commit"}
}

// whyUnknown tells what in an op this version does not know; empty if nothing.
// The inside of a build op is not looked at.
func whyUnknown(op *pb.Op) string {
	switch {
	case op.Op == nil:
		return "op is of no known kind"
	case op.GetBuild() != nil:
		return ""
	case hasUnknown(op.ProtoReflect()):
		return "op has a field that is not known"
	}
	for _, m := range op.GetExec().GetMounts() {
		if _, ok := pb.MountType_name[int32(m.MountType)]; !ok {
			return fmt.Sprintf("mount at %s is of no known type", m.Dest)
		}
	}
	return ""
}

// hasUnknown reports whether a message, or one inside it, has fields that its
// type does not declare. Messages other than definitions nest a few levels deep.
func hasUnknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
			return true // maps in ops other than build hold strings alone
		case f.IsList():
			for i := range v.List().Len() {
				found = found || hasUnknown(v.List().Get(i).Message())
			}
		default:
			found = hasUnknown(v.Message())
		}
		return !found
	})
	return found
}
