package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type readCloser = io.ReadCloser

func openString(s string) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

// run is what one run of bin/hermetic prefetch came to.
type fetched struct {
	dir   string // the deps context
	took  time.Duration
	rssMB int64
}

// hermetic runs prefetch on a project with a store and a proxy.
func (b *bench) hermetic(ctx context.Context, project, store, proxy string) (fetched, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.lab.Repo(), "bin", "hermetic"), "prefetch", "--progress", "quiet", project)
	cmd.Env = append(os.Environ(), "GOPROXY="+proxy, "GOTOOLCHAIN=local", "HERMETIC_STORE="+store)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	took, err := timed(cmd.Run)
	if err != nil {
		return fetched{}, fmt.Errorf("prefetch: %w\n%s", err, stderr.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return fetched{strings.TrimSpace(stdout.String()), took, usage.Maxrss >> 10}, nil
}

// prefetch compares a cold prefetch of 400 real modules with go mod download
// from the same proxy, and looks at memory and at the second run.
func (b *bench) prefetch(ctx context.Context) error {
	const n = 420
	project, cache, err := b.realModule(ctx, n)
	if err != nil {
		return err
	}
	proxy, err := serve(ctx, http.FileServer(http.Dir(cache)))
	if err != nil {
		return err
	}
	var ours, theirs, again sample
	var rss int64
	for i := range 3 {
		store := filepath.Join(b.dir, fmt.Sprint("store-", i))
		f, err := b.hermetic(ctx, project, store, proxy)
		if err != nil {
			return err
		}
		ours, rss = append(ours, f.took), max(rss, f.rssMB)
		for range 3 {
			f, err := b.hermetic(ctx, project, store, proxy)
			if err != nil {
				return err
			}
			again = append(again, f.took)
		}
		modcache := filepath.Join(b.dir, fmt.Sprint("gomodcache-", i))
		took, err := timed(func() error {
			_, err := b.goTool(ctx, project, []string{"GOPROXY=" + proxy, "GOSUMDB=off", "GOMODCACHE=" + modcache, "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local"}, "mod", "download")
			return err
		})
		if err != nil {
			return err
		}
		theirs = append(theirs, took)
		os.RemoveAll(modcache)
		if i > 0 {
			os.RemoveAll(store)
		}
	}
	ratio(fmt.Sprintf("cold prefetch of %d modules / go mod download", n), ours, theirs, 0.5)
	fmt.Printf("%-58s %8d MB  (bound 150 MB)\n", "its peak memory", rss)
	fmt.Printf("%-58s %8.3fs  (bound 0.150s)\n", "prefetch again, nothing changed", again.median().Seconds())
	return nil
}

// commandOutput runs a program and returns all that it prints.
func commandOutput(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}
