package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
)

// buildctl builds as a client that knows nothing of "# syntax" lines: it names
// the frontend itself.
func buildctl(t *testing.T, dir string, args ...string) result {
	t.Helper()
	line := []string{"--addr=" + world.BuildkitAddr(), "build", "--progress=plain", "--local=context=" + dir, "--local=dockerfile=" + dir}
	cmd := exec.CommandContext(t.Context(), world.Bin("buildctl"), append(line, args...)...)
	cmd.Env = world.Env()
	return output(cmd)
}

func TestSyntaxLineDoesNotLeadOut(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
# syntax={registry}/no/such/frontend
FROM {busybox} AS b
RUN --network=host ip -o link | wc -l >/links
FROM scratch
COPY --from=b /links /
`)
	t.Run("upstream's frontend follows it", func(t *testing.T) {
		if r := buildctl(t, dir, "--frontend=dockerfile.v0", "--no-cache"); r.err == nil || !strings.Contains(r.log, "no/such/frontend") {
			t.Errorf("%v\n%s", r.err, r.log)
		}
	})
	t.Run("ours does not", func(t *testing.T) {
		out := t.TempDir()
		buildctl(t, dir, "--frontend=gateway.v0", "--opt=source="+images.frontend, "--no-cache", "--output=type=local,dest="+out).passed(t)
		if got := read(t, out, "links"); got != "1\n" {
			t.Errorf("%s network interfaces; want loopback alone", got)
		}
	})
}

// ask solves with a frontend through the client library and returns what came
// of it, with the digests of all vertices.
func ask(t *testing.T, dir string, req gateway.SolveRequest) (*gateway.Result, map[digest.Digest]bool, error) {
	t.Helper()
	c, err := client.New(t.Context(), world.BuildkitAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	local, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[digest.Digest]bool{}
	status := make(chan *client.SolveStatus)
	var wait sync.WaitGroup
	wait.Go(func() {
		for s := range status {
			for _, v := range s.Vertexes {
				seen[v.Digest] = true
			}
		}
	})
	var res *gateway.Result
	opt := client.SolveOpt{LocalMounts: map[string]fsutil.FS{"context": local, "dockerfile": local}}
	_, err = c.Build(t.Context(), opt, "e2e", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		var err error
		if res, err = gw.Solve(ctx, req); err == nil && res.Ref != nil {
			_, err = res.Ref.ReadDir(ctx, gateway.ReadDirRequest{Path: "/"}) // makes the daemon do it
		}
		return res, err
	}, status)
	wait.Wait()
	return res, seen, err
}

// request is a solve by our frontend.
func request(opts map[string]string) gateway.SolveRequest {
	opts = maps.Clone(opts)
	opts["source"] = images.frontend
	return gateway.SolveRequest{Frontend: "gateway.v0", FrontendOpt: opts, Evaluate: true}
}

// TestShownGraphIsSealed: whoever asks for the graph is shown the one that runs.
func TestShownGraphIsSealed(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
RUN --network=host true
RUN --mount=type=cache,target=/c true
FROM b
RUN ["/bin/true"]
`)
	opts := map[string]string{"requestid": convertllb.RequestConvertLLB, "frontend.caps": "moby.buildkit.frontend.subrequests"}
	modes := func(req gateway.SolveRequest) map[string]int {
		res, _, err := ask(t, dir, req)
		if err != nil {
			t.Fatal(err)
		}
		var shown struct {
			Def map[string]struct {
				Exec *struct{ Network string }
			}
		}
		decode(t, res.Metadata["result.json"], &shown)
		found := map[string]int{}
		for _, op := range shown.Def {
			if op.Exec != nil {
				found[op.Exec.Network]++
			}
		}
		return found
	}
	upstream := gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: opts}
	if diff := cmp.Diff(map[string]int{"HOST": 1, "": 2}, modes(upstream)); diff != "" {
		t.Errorf("upstream's graph has other modes; this test would prove nothing: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"NONE": 3}, modes(request(opts))); diff != "" {
		t.Errorf("modes of our graph: -want +got:\n%s", diff)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS first
ARG COLOUR=blue
RUN --network=host true
# second the one that counts
FROM first AS second
maintainer nobody
-- go.mod --
module example.com/app

require example.com/absent v1.0.0
`)
	for call, wants := range map[string][]string{
		"check":   {"MaintainerDeprecated", "Dockerfile:6"},
		"outline": {"second", "COLOUR", "blue"},
		"targets": {"first", "second", "the one that counts"},
	} {
		t.Run(call, func(t *testing.T) {
			build(t, dir, "--call="+call).says(t, wants...)
		})
	}
}

func TestFrontendInputs(t *testing.T) {
	dir := project(t, "-- Dockerfile --\nFROM base\nRUN --network=host test -e /made && env >/env\n")
	base := llb.Image(strings.TrimSuffix(images.busybox, "\n"))
	made := func(mode pb.NetMode, opts ...llb.RunOption) (gateway.SolveRequest, digest.Digest) {
		opts = append(opts, llb.Args([]string{"/bin/sh", "-c", "touch /made"}), llb.Network(mode))
		st := base.Run(opts...).Root()
		def, err := st.Marshal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req := request(map[string]string{"context:base": "input:base", "frontend.caps": "moby.buildkit.frontend.inputs"})
		req.FrontendInputs = map[string]*pb.Definition{"base": def.ToPB()}
		for _, data := range def.Def {
			var op pb.Op
			if err := op.UnmarshalVT(data); err != nil {
				t.Fatal(err)
			}
			if op.GetExec() != nil {
				return req, digest.FromBytes(data)
			}
		}
		t.Fatal("no exec in the input")
		return req, ""
	}
	t.Run("a closed one stays as it is", func(t *testing.T) {
		req, exec := made(llb.NetModeNone)
		_, seen, err := ask(t, dir, req)
		if err != nil || !seen[exec] {
			t.Errorf("got %v; the input's step %s was solved: %v", err, exec, seen[exec])
		}
	})
	t.Run("an open one stays as it is, and is told of", func(t *testing.T) {
		req, exec := made(llb.NetModeSandbox)
		res, seen, err := ask(t, dir, req)
		if err != nil || !seen[exec] {
			t.Fatalf("got %v; the input's step %s was solved: %v", err, exec, seen[exec])
		}
		contains(t, "the report", string(res.Metadata["frontend.hermetic.report"]), `"level":"none"`, `"rule":"OpenInput"`, "network is default")
	})
	t.Run("an open one stops a strict build", func(t *testing.T) {
		req, _ := made(llb.NetModeSandbox)
		strict := project(t, "-- Dockerfile --\nFROM base\nRUN true\n-- hermetic.yaml --\nstrict: true\n")
		_, _, err := ask(t, strict, req)
		if err == nil || !strings.Contains(err.Error(), "OpenInput: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a privileged one is refused before it runs", func(t *testing.T) {
		req, exec := made(llb.NetModeNone, llb.Security(llb.SecurityModeInsecure))
		_, seen, err := ask(t, dir, req)
		if err == nil || !strings.Contains(err.Error(), "SecurityInsecure: ") || seen[exec] {
			t.Errorf("got %v; the input's step was solved: %v", err, seen[exec])
		}
	})
}

// TestCacheMountsArePrivate: what one build leaves in a cache mount reaches no
// other.
func TestCacheMountsArePrivate(t *testing.T) {
	// --no-cache would begin with an empty mount, and the name of a mount is no
	// part of what BuildKit goes by when it remembers a step: its text is new.
	nonce := fmt.Sprint(time.Now().UnixNano())
	mount := "RUN --mount=type=cache,id=e" + nonce + ",target=/c,sharing=locked : " + nonce + "; "
	writer := project(t, "-- Dockerfile --\nFROM {busybox}\n"+mount+"echo left >/c/left\n")
	reader := project(t, "-- Dockerfile --\nFROM {busybox} AS b\n"+mount+"ls -A /c >/found && touch /c/mine\n"+mount+`ls -A /c >>/found
FROM scratch
COPY --from=b /found /
`)
	out := t.TempDir()
	stock(t, writer).passed(t)
	stock(t, reader, "--output=type=local,dest="+out).passed(t)
	if got := read(t, out, "found"); got != "left\nleft\nmine\n" {
		t.Errorf("with upstream's frontend a step found %q; this test would prove nothing", got)
	}
	build(t, writer).passed(t).says(t, "CacheMount: Dockerfile:2: /c: private and empty")
	out, _ = files(t, reader)
	if got := read(t, out, "found"); got != "" {
		t.Errorf("a step found %q in its cache mount", got)
	}
}

func TestSecretsWorkWithAWarning(t *testing.T) {
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
RUN --mount=type=secret,id=token cp /run/secrets/token /copy
RUN --mount=type=secret,id=token,env=TOKEN echo "$TOKEN" >>/copy
FROM scratch
COPY --from=b /copy /
`)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, r := files(t, dir, "--no-cache", "--secret=id=token,src="+secret)
	if got := read(t, out, "copy"); got != "hush\nhush\n\n" && got != "hush\nhush\n" {
		t.Errorf("the steps were given %q", got)
	}
	r.says(t, "SecretMount: Dockerfile:2: token: recorded", "SecretMount: Dockerfile:3: token: recorded")
}

// TestTriggersOfABaseImage: what a base image makes the build run is judged as
// if the Dockerfile said it.
func TestTriggersOfABaseImage(t *testing.T) {
	for name, trigger := range map[string]string{
		"SshMount":         "RUN --mount=type=ssh true",
		"SecurityInsecure": "RUN --security=insecure true",
		"UnpinnedAdd":      "ADD https://example.com/file /",
		"ReservedMount":    "RUN --mount=type=tmpfs,target=/cachi2 true",
	} {
		t.Run(name, func(t *testing.T) {
			base, err := world.Base("busybox")
			if err != nil {
				t.Fatal(err)
			}
			base.Config.OnBuild = []string{trigger}
			ref, err := world.PushImage(t.Context(), "trigger", base)
			if err != nil {
				t.Fatal(err)
			}
			dir := project(t, "-- Dockerfile --\n# comment\nFROM "+ref+"\nRUN true\n")
			found, r := steps(t, dir, with(hermetoTree(t)), "--allow=security.insecure")
			contains(t, "the error", r.failed(t), name+": 1 ", "Dockerfile:2: ")
			r.says(t, "2 | >>> FROM ")
			if names := ran(found); len(names) > 0 {
				t.Errorf("steps ran: %q", names)
			}
		})
	}
}

// TestFindingsReachTheClient: a build that went well hands its warnings to
// programs, too.
func TestFindingsReachTheClient(t *testing.T) {
	dir := project(t, "-- Dockerfile --\nFROM {busybox}\nRUN --network=host true\n")
	file := filepath.Join(t.TempDir(), "metadata.json")
	build(t, dir, "--metadata-file="+file).passed(t)
	var metadata map[string]json.RawMessage
	decode(t, []byte(read(t, file)), &metadata)
	text := bytes.ReplaceAll(metadata["frontend.hermetic.findings"], []byte(`\"`), []byte(`"`))
	contains(t, "the metadata", string(text), `"rule":"RunNetwork"`, `"severity":"warning"`, `"file":"Dockerfile"`, `"line":2`)
}
