package escape

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// script is the program "attempt": it tries what the probe does not, by the
// tools that Dockerfiles use, and then calls the probe.
const script = `#!/bin/sh
at=$1
port=${at%%-*}; size=${at#*-}; size=${size%%-*}
open=
for host in $(cat /bin/probe.hosts); do
	case $host in *:*) name=[$host] ;; *) name=$host ;; esac
	echo "$at" | nc -w 1 $host $port >/dev/null 2>&1 && open="$open nc:$host"
	timeout 3 wget -q -T 2 -O /dev/null http://$name:$port/$at 2>/dev/null && open="$open wget:$host"
	ping -c 1 -W 1 -s $size $host >/dev/null 2>&1 && case $host in 127.0.0.1|::1) ;; *) open="$open ping:$host" ;; esac
done
timeout 3 nslookup $at.example.com {host}:$port 2>&1 | grep -q NXDOMAIN && open="$open dns"
test "$(grep -c : /proc/net/dev)" = 1 || open="$open interfaces"
test -z "$open" || echo "$at: open: $open"
probe "$@"
`

// tools is what the image {tools} is made of; constant once it was made.
var tools ocitar.Image

// toolsImage makes the image {tools}. The program must stay where it is built
// for as long as variants are made.
func toolsImage(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "probe")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, "./probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	hosts, err := addresses()
	if err != nil {
		return "", err
	}
	if tools, err = world.Base("busybox"); err != nil {
		return "", err
	}
	tools.Layers = append(tools.Layers, ocitar.Files(
		ocitar.File{Name: "bin/probe", Mode: 0o755, Source: binary},
		ocitar.File{Name: "bin/probe.hosts", Mode: 0o644, Data: []byte(strings.Join(hosts, "\n") + "\n")},
		ocitar.File{Name: "bin/attempt", Mode: 0o755, Data: []byte(strings.ReplaceAll(script, "{host}", hosts[0]))},
		ocitar.File{Name: "probed", Mode: fs.ModeDir | 0o777},
	).Uncompressed())
	return world.PushImage(ctx, "tools", tools)
}

// makeBase builds base/Dockerfile with upstream's frontend, which lets triggers and
// everything else into the image, and returns its reference.
func (r *room) makeBase() string {
	r.t.Helper()
	ref := world.RegistryHost() + "/base-" + r.listener.nonce + ":latest"
	cmd := world.Buildx(r.t.Context(), "build", "--progress=plain", "--provenance=false", "--allow=network.host",
		"--output=type=image,push=true,name="+ref, r.path("base"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("base image: %v\n%s", err, &log)
	}
	d, err := ocitar.Resolve(r.t.Context(), ref)
	if err != nil {
		r.t.Fatal(err)
	}
	r.listener.take() // building it is no attempt
	return ref + "@" + d.String()
}
