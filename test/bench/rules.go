package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// longLines is how long the Dockerfile is on which the rules are measured.
const longLines = 1000

// longDockerfile makes a Dockerfile of that many lines, as people write them:
// stages that copy from one another, and RUNs of several lines.
func longDockerfile(base string) []byte {
	var b strings.Builder
	lines := 0
	add := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		b.WriteString(text)
		lines += strings.Count(text, "\n")
	}
	for stage := 0; lines < longLines-20; stage++ {
		add("FROM %s AS s%d\nARG VERSION=1.%d\nENV HOME=/root LANG=C.UTF-8\nWORKDIR /src/%d\n", base, stage, stage, stage)
		if stage > 0 {
			add("COPY --from=s%d /src /from\n", stage-1)
		}
		add("COPY src/main.c Makefile ./\n")
		for i := range 5 {
			add("RUN set -eux; \\\n    mkdir -p /out/%d && \\\n    echo \"version ${VERSION}\" > /out/%d/version && \\\n"+
				"    if [ -f Makefile ]; then cp Makefile /out/%d; fi && \\\n    sort -u /etc/passwd | head -n 3 > /out/%d/users\n", i, i, i, i)
		}
	}
	for lines < longLines {
		add("LABEL line=%d\n", lines)
	}
	return []byte(b.String())
}

// rules compares all rules on a long Dockerfile with upstream's conversion of
// it, in this process: what the preflight adds to a build, were it not done at
// the same time.
func (b *bench) rules(ctx context.Context) error {
	df := longDockerfile(b.images["busybox"])
	local := llb.Local("context")
	amd64 := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	caps := pb.Caps.CapSet(pb.Caps.All())
	convert := func() error {
		res, err := dockerfile2llb.Dockerfile2LLB(ctx, df, dockerfile2llb.ConvertOpt{
			MainContext: &local, MetaResolver: plainImages{}, LLBCaps: &caps, TargetPlatform: &amd64,
			SourceMap: llb.NewSourceMap(&local, "Dockerfile", "Dockerfile", df),
		})
		if err == nil {
			_, err = res.State.Marshal(ctx)
		}
		return err
	}
	check := func() error {
		_, err := preflight.Run(preflight.Request{
			Dockerfile: preflight.Dockerfile{Name: "Dockerfile", Data: df}, Context: fstest.MapFS{},
			Platforms: []string{"linux/amd64"}, Now: time.Now(),
		})
		return err
	}
	var ours, stock sample
	for range b.rounds {
		t1, err := timed(check)
		if err != nil {
			return err
		}
		t2, err := timed(convert)
		if err != nil {
			return err
		}
		ours, stock = append(ours, t1), append(stock, t2)
	}
	what := fmt.Sprintf("%d rules on %d lines / stock conversion of the same", len(preflight.Rules), longLines)
	ratio(what, ours, stock, 1.2)

	dir := filepath.Join(b.dir, "long")
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o755); err != nil {
		return err
	}
	if err := writeFiles(dir, map[string]string{"Dockerfile": string(df), "src/main.c": "", "Makefile": ""}); err != nil {
		return err
	}
	a, c, err := b.sideBySide(ctx, dir, b.with("frontend", "--call=check"), b.with("dockerfile", "--call=check"))
	if err != nil {
		return err
	}
	ratio("the whole of --check on the same / stock frontend", a, c, 1.2)
	return nil
}

// plainImages answers for the configs of base images.
type plainImages struct{}

// ResolveImageConfig implements llb.ImageMetaResolver.
func (plainImages) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	const config = `{"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/bin"]}, "rootfs": {"type": "layers"}}`
	return ref, digest.FromString(ref), []byte(config), nil
}

// steps compares many short RUN steps, none of them cached.
func (b *bench) steps(ctx context.Context) error {
	const n = 40
	dir := filepath.Join(b.dir, "steps")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeFiles(dir, map[string]string{"Dockerfile": "FROM " + b.images["busybox"] + "\n" + strings.Repeat("RUN true\n", n)}); err != nil {
		return err
	}
	var ours, none, open sample
	for i := range max(3, b.rounds/2) {
		for _, v := range []struct {
			to   *sample
			args []string
		}{
			{&ours, b.with("frontend")},
			{&none, b.with("dockerfile", "--network=none")},
			{&open, b.with("dockerfile")},
		} {
			took, out, err := b.build(ctx, dir, append(v.args, "--no-cache")...)
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			if i > 0 { // the first round warms up
				*v.to = append(*v.to, took)
			}
		}
	}
	ratio(fmt.Sprintf("%d RUN steps, sealed / stock with --network=none", n), ours, none, 1.1)
	ratio(fmt.Sprintf("%d RUN steps, sealed / stock with default network", n), ours, open, 1.1)
	return nil
}
