package llbgen_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/hermetic-build/hermetic/llbgen"
)

func TestCheckExec(t *testing.T) {
	mount := func(m *pb.Mount) func(*pb.ExecOp) {
		return func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, m) }
	}
	for _, tc := range []struct {
		name string
		edit func(*pb.ExecOp)
		want string // kind subject: detail; empty for no finding
	}{
		{"plain", func(*pb.ExecOp) {}, ""},
		{"none", shut, ""},
		{"host", func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST }, "Network host: asks for network host"},
		{"network of the future", func(e *pb.ExecOp) { e.Network = 7 }, "Network 7: asks for network 7"},
		{"insecure", func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE }, "SecurityInsecure insecure: asks for security mode insecure"},
		{"security of the future", func(e *pb.ExecOp) { e.Security = 7 }, "SecurityInsecure 7: asks for security mode 7"},
		{"ssh", mount(&pb.Mount{Input: -1, Dest: "/s", MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{ID: "default"}}), `SSHMount /s: mounts ssh socket "default" at /s`},
		{"secret", mount(&pb.Mount{Input: -1, Dest: "/s", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "key"}}), `SecretMount /s: mounts secret "key" at /s`},
		{"secret without options", mount(&pb.Mount{Input: -1, Dest: "/s", MountType: pb.MountType_SECRET}), `SecretMount /s: mounts secret "" at /s`},
		{"secret variable", func(e *pb.ExecOp) { e.Secretenv = []*pb.SecretEnv{{ID: "key", Name: "KEY"}} }, `SecretMount KEY: gets secret "key" as variable KEY`},
		{"cache", mount(&pb.Mount{Input: -1, Output: -1, Dest: "/c", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "x"}}), `CacheMount /c: mounts cache "x" at /c`},
		{"tmpfs", mount(&pb.Mount{Input: -1, Output: -1, Dest: "/t", MountType: pb.MountType_TMPFS}), ""},
		{"mount type of the future", mount(&pb.Mount{Input: -1, Output: -1, Dest: "/t", MountType: 9}), "UnknownOp exec: mount at /t is of no known type"},
		{"device", func(e *pb.ExecOp) { e.CdiDevices = []*pb.CDIDevice{{Name: "v/gpu=0", Optional: true}} }, "Device v/gpu=0: asks for device v/gpu=0"},
		{"proxy", func(e *pb.ExecOp) { e.Meta.ProxyEnv = &pb.ProxyEnv{AllProxy: "x"} }, "ProxyEnv all_proxy: gets the proxy variable all_proxy"},
		{"empty proxy", func(e *pb.ExecOp) { e.Meta.ProxyEnv = &pb.ProxyEnv{} }, ""},
		{"host name", func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a.example.com", IP: "127.0.0.1"}} }, "ExtraHost a.example.com: has host a.example.com added at 127.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			checkOne(t, on(t, exec(tc.edit)), tc.want)
		})
	}
}

func TestCheckSource(t *testing.T) {
	const (
		sum    = "sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d"
		commit = "0123456789abcdef0123456789abcdef01234567"
	)
	long := strings.Repeat("0123456789abcdef", 4)
	for _, tc := range []struct {
		name, id string
		attrs    map[string]string
		want     string // kind subject (pin): detail
	}{
		{"local", "local://context", nil, ""},
		{"layout", "oci-layout://example.com/x@" + sum, nil, ""},
		{"layout blob", "oci-layout+blob://example.com/x@" + sum, nil, ""},
		{"image", "docker-image://example.com/x@" + sum, nil, ""},
		{"image with tag and digest", "docker-image://example.com/x:1@" + sum, nil, ""},
		{"image with tag", "docker-image://example.com/x:1", nil, "UnpinnedImage example.com/x:1: image example.com/x:1 has no digest"},
		{"image with broken digest", "docker-image://example.com/x@sha256:12", nil, "UnpinnedImage example.com/x@sha256:12: image example.com/x@sha256:12 has no digest"},
		{"image with checksum", "docker-image://example.com/x:1", map[string]string{pb.AttrImageChecksum: sum}, ""},
		{"image blob", "docker-image+blob://example.com/x@" + sum, nil, ""},
		{"image blob with tag", "docker-image+blob://example.com/x:1", nil, "UnpinnedImage example.com/x:1: image example.com/x:1 has no digest"},
		{"http", "http://example.com/x", nil, "UnpinnedHTTP http://example.com/x: http://example.com/x has no checksum"},
		{"https", "https://example.com/x", map[string]string{pb.AttrHTTPFilename: "x"}, "UnpinnedHTTP https://example.com/x: https://example.com/x has no checksum"},
		{"https with broken checksum", "https://example.com/x", map[string]string{pb.AttrHTTPChecksum: "md5"}, "UnpinnedHTTP https://example.com/x: https://example.com/x has no checksum"},
		{"https with checksum", "https://example.com/x", map[string]string{pb.AttrHTTPChecksum: sum}, "RemoteSource https://example.com/x (" + sum + "): https://example.com/x is fetched by the build"},
		{"https with password", "https://u:p@example.com/x", nil, "UnpinnedHTTP https://u:p@example.com/x: https://xxxxx:xxxxx@example.com/x has no checksum"},
		{"git", "git://example.com/x.git", nil, "UnpinnedGit https://example.com/x.git: https://example.com/x.git is not at a full commit"},
		{"git at branch", "git://example.com/x.git#main:sub", nil, "UnpinnedGit https://example.com/x.git#main: https://example.com/x.git#main is not at a full commit"},
		{"git at commit", "git://example.com/x.git#" + commit, nil, "RemoteSource https://example.com/x.git#" + commit + " (" + commit + "): https://example.com/x.git#" + commit + " is fetched by the build"},
		{"git at sha256 commit", "git://example.com/x.git#" + long, nil, "RemoteSource https://example.com/x.git#" + long + " (" + long + "): https://example.com/x.git#" + long + " is fetched by the build"},
		{"git at short commit", "git://example.com/x.git#0123456", nil, "UnpinnedGit https://example.com/x.git#0123456: https://example.com/x.git#0123456 is not at a full commit"},
		{"git at commit in capitals", "git://example.com/x.git#" + strings.ToUpper(commit), nil, "UnpinnedGit https://example.com/x.git#" + strings.ToUpper(commit) + ": https://example.com/x.git#" + strings.ToUpper(commit) + " is not at a full commit"},
		{"git with checksum", "git://example.com/x.git#v1", map[string]string{pb.AttrGitChecksum: commit, pb.AttrFullRemoteURL: "ssh://git@example.com/x.git"}, "RemoteSource ssh://git@example.com/x.git#v1 (" + commit + "): ssh://xxxxx@example.com/x.git#v1 is fetched by the build"},
		{"git with prefix", "git://example.com/x.git#v1", map[string]string{pb.AttrGitChecksum: commit[:12]}, "UnpinnedGit https://example.com/x.git#v1: https://example.com/x.git#v1 is not at a full commit"},
		{"unknown", "ftp://example.com/x", nil, "UnknownSource ftp://example.com/x: source ftp://example.com/x is of no known kind"},
		{"no scheme", "x", nil, "UnknownSource x: source x is of no known kind"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMaker(t)
			checkOne(t, m.end(m.add(source(tc.id, tc.attrs))), tc.want)
		})
	}
}

// checkOne compares what Check says with at most one finding.
func checkOne(t *testing.T, def *pb.Definition, want string) {
	t.Helper()
	var got []string
	for _, v := range llbgen.Check(def) {
		line := string(v.Kind) + " " + v.Subject
		if v.Pin != "" {
			line += " (" + v.Pin + ")"
		}
		got = append(got, line+": "+v.Detail)
	}
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCheckMalformed(t *testing.T) {
	found := llbgen.Check(&pb.Definition{Def: [][]byte{{0xff}}})
	if len(found) != 1 || found[0].Kind != llbgen.Malformed || found[0].Detail == "" {
		t.Errorf("got %v", found)
	}
	for _, def := range []*pb.Definition{nil, {}} {
		if found := llbgen.Check(def); found != nil {
			t.Errorf("scratch: got %v", found)
		}
	}
}

// TestCheckUnreached shows that what never runs is not reported.
func TestCheckUnreached(t *testing.T) {
	m := newMaker(t)
	image := m.image()
	m.add(exec(func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST }), image)
	if found := llbgen.Check(m.end(image)); found != nil {
		t.Errorf("got %v", found)
	}
}

// TestCheckPlaces shows whose lines a finding has: the op's own, or those of
// what stands on it, however far up.
func TestCheckPlaces(t *testing.T) {
	m := newMaker(t)
	web := m.add(source("https://example.com/x", nil))
	once := m.add(copyOp(), web)
	left := m.add(exec(func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST }), once)
	right := m.add(exec(func(e *pb.ExecOp) { e.Meta.Args = []string{"right"} }), once)
	def := m.end(m.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}}, left, right))
	at := func(line int32) *pb.Locations {
		return &pb.Locations{Locations: []*pb.Location{{Ranges: []*pb.Range{{Start: &pb.Position{Line: line}}}}}}
	}
	def.Source = &pb.Source{
		Infos: []*pb.SourceInfo{{Filename: "Dockerfile", Data: []byte("FROM\n")}},
		Locations: map[string]*pb.Locations{
			string(left):  at(7),
			string(right): at(5),
			string(web):   {Locations: []*pb.Location{{}}}, // a file and no line
		},
	}
	var got []string
	for _, v := range llbgen.Check(def) {
		line := string(v.Kind)
		for _, p := range v.Places {
			line += " " + p.String()
		}
		got = append(got, line)
	}
	want := []string{"UnpinnedHTTP Dockerfile:7 Dockerfile:5", "Network Dockerfile:7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCheckSorted shows findings in the order of the Dockerfile, not of the graph.
func TestCheckSorted(t *testing.T) {
	def := dockerfile(t,
		"FROM example.com/base:1 AS late",
		"RUN --network=host --mount=type=ssh --mount=type=secret,id=a true",
		"FROM example.com/base:1 AS early",
		"RUN --network=host early",
		"FROM scratch",
		"COPY --from=early / /",
		"COPY --from=late / /",
		"ADD https://example.com/x /",
	)
	want := []llbgen.Kind{llbgen.Network, llbgen.SSHMount, llbgen.SecretMount, llbgen.Network, llbgen.UnpinnedHTTP}
	if diff := cmp.Diff(want, kinds(llbgen.Check(def))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCheckSealedNames shows that Check needs no definitions to know what is
// reserved, and needs them to know its own mounts again.
func TestCheckSealedNames(t *testing.T) {
	box := sandbox(t)
	sealed, err := llbgen.Seal(dockerfile(t, "FROM example.com/base:1", "RUN make"), box)
	if err != nil {
		t.Fatal(err)
	}
	if found := box.Check(sealed); found != nil {
		t.Errorf("own mounts are reported: %v", found)
	}
	names := llbgen.Sandbox{Mounts: []llbgen.Mount{{Dest: "/cachi2/output/deps"}}}
	want := []llbgen.Kind{llbgen.ReservedMount}
	if diff := cmp.Diff(want, kinds(names.Check(sealed))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCheckState shows a graph that no Dockerfile makes: a client's own.
func TestCheckState(t *testing.T) {
	st := llb.Image("example.com/x:1").Run(llb.Shlex("make"), llb.AddExtraHost("a.example.com", []byte{127, 0, 0, 1})).Root()
	want := []llbgen.Kind{llbgen.UnpinnedImage, llbgen.ExtraHost}
	found := llbgen.Check(marshalState(t, st))
	if diff := cmp.Diff(want, kinds(found)); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	if err := found[0].Digest.Validate(); err != nil || found[0].Name != "docker-image://example.com/x:1" {
		t.Errorf("got %+v: %v", found[0], err)
	}
}
