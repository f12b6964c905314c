package llbgen_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/llbgen"
)

// execs lists the execs of a definition as "network: last argument".
func execs(t *testing.T, def *pb.Definition) []string {
	t.Helper()
	var out []string
	for _, raw := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		if e := op.GetExec(); e != nil {
			proxy := ""
			if e.Meta.ProxyEnv != nil {
				proxy = " with proxy"
			}
			out = append(out, fmt.Sprintf("%s%s: %s", strings.ToLower(e.Network.String()), proxy, e.Meta.Args[len(e.Meta.Args)-1]))
		}
	}
	return out
}

// TestGrant opens single lines of a Dockerfile. The op that two lines have in
// common is asked about once, with both places.
func TestGrant(t *testing.T) {
	def := fromDockerfile(t, txtar.Parse([]byte(`
-- args --
HTTP_PROXY=http://127.0.0.1:1
-- image/example.com/trigger:latest --
{"os": "linux", "architecture": "amd64", "config": {"OnBuild": ["RUN onbuild"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:0000000000000000000000000000000000000000000000000000000000000001"]}}
-- Dockerfile --
FROM example.com/trigger:latest AS a
RUN one
RUN --network=host two
FROM example.com/base AS b
RUN same
FROM example.com/base AS c
RUN same
FROM a
COPY --from=b /x /x
COPY --from=c /y /y
`)))
	for _, tc := range []struct {
		lines []int32
		want  []string
	}{
		{nil, []string{"none: onbuild", "none: one", "none: two", "none: same"}},
		{[]int32{2}, []string{"none: onbuild", "unset with proxy: one", "none: two", "none: same"}},
		{[]int32{3}, []string{"none: onbuild", "none: one", "host with proxy: two", "none: same"}},
		{[]int32{5}, []string{"none: onbuild", "none: one", "none: two", "none: same"}},
		{[]int32{5, 7}, []string{"none: onbuild", "none: one", "none: two", "unset with proxy: same"}},
	} {
		box := llbgen.Sandbox{Grant: func(places []llbgen.Place) bool {
			for _, p := range places {
				if !slices.Contains(tc.lines, p.Ranges[0].Start.Line) {
					return false
				}
			}
			return true
		}}
		sealed, err := llbgen.Seal(def, box)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, execs(t, sealed)); diff != "" {
			t.Errorf("lines %v: -want +got:\n%s", tc.lines, diff)
		}
		again, err := llbgen.Seal(sealed, box)
		if err != nil || !bytes.Equal(marshal(t, again), marshal(t, sealed)) {
			t.Errorf("lines %v: sealing twice is not sealing once: %v", tc.lines, err)
		}
	}
}

// TestMask leaves a mount out where an exec mounts something of its own.
func TestMask(t *testing.T) {
	def := fromDockerfile(t, txtar.Parse([]byte(`
-- Dockerfile --
FROM example.com/base
RUN plain
RUN --mount=type=tmpfs,target=/etc above
RUN --mount=type=bind,source=x,target=/etc/resolv.conf,rw at
RUN --mount=type=tmpfs,target=/etc/resolv.confd beside
`)))
	box := llbgen.Sandbox{Mounts: []llbgen.Mount{{
		Definition: dependencies(t), Dest: "/etc/resolv.conf", Selector: "r", Readonly: true, Mask: true,
	}}}
	if found := box.Check(def); found != nil {
		t.Errorf("Check says %v", found)
	}
	sealed, err := llbgen.Seal(def, box)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, raw := range sealed.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		for _, m := range op.GetExec().GetMounts() {
			if m.Dest == "/etc/resolv.conf" && m.Selector == "r" {
				got = append(got, op.GetExec().Meta.Args[len(op.GetExec().Meta.Args)-1])
			}
		}
	}
	if diff := cmp.Diff([]string{"plain", "beside"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	again, err := llbgen.Seal(sealed, box)
	if err != nil || !bytes.Equal(marshal(t, again), marshal(t, sealed)) {
		t.Errorf("sealing twice is not sealing once: %v", err)
	}
}

// TestKeepProxy leaves the proxy variables alone, and shuts the network.
func TestKeepProxy(t *testing.T) {
	def := fromDockerfile(t, txtar.Parse([]byte("-- args --\nHTTP_PROXY=http://127.0.0.1:1\n-- Dockerfile --\nFROM example.com/base\nRUN one\n")))
	sealed, err := llbgen.Seal(def, llbgen.Sandbox{KeepProxy: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"none with proxy: one"}, execs(t, sealed)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestShare leaves the cache mounts of one line alone.
func TestShare(t *testing.T) {
	def := fromDockerfile(t, txtar.Parse([]byte(`
-- Dockerfile --
FROM example.com/base
RUN --mount=type=cache,target=/c one
RUN --mount=type=cache,target=/c two
`)))
	sealed, err := llbgen.Seal(def, llbgen.Sandbox{Share: func(places []llbgen.Place) bool {
		return places[0].Ranges[0].Start.Line == 3
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, raw := range sealed.Def {
		var op pb.Op
		if err := op.UnmarshalVT(raw); err != nil {
			t.Fatal(err)
		}
		for _, m := range op.GetExec().GetMounts() {
			if m.Dest == "/c" {
				got = append(got, fmt.Sprintf("%s %s", m.MountType, op.GetExec().Meta.Args[2]))
			}
		}
	}
	if diff := cmp.Diff([]string{"BIND one", "CACHE two"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
