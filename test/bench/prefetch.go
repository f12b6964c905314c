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
	"strconv"
	"strings"
	"time"
)

type readCloser = io.ReadCloser

func openString(s string) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

// fetched is what one run of bin/hermetic prefetch came to.
type fetched struct {
	dir    string // the deps context
	took   time.Duration
	peakMB int64
}

// maxPeak is the memory that nothing may take more of, in MB.
const maxPeak = 200

// prefetchRun is one run of bin/hermetic prefetch. Of this user's settings it
// sees none.
type prefetchRun struct {
	project, store string
	env, args      []string
}

// hermetic runs prefetch on a project with a store and a proxy of Go modules.
func (b *bench) hermetic(ctx context.Context, project, store, proxy string) (fetched, error) {
	return b.prefetched(ctx, prefetchRun{project: project, store: store, env: []string{"GOPROXY=" + proxy}})
}

// prefetched runs prefetch.
func (b *bench) prefetched(ctx context.Context, r prefetchRun) (fetched, error) {
	args := append([]string{"prefetch", "--progress", "quiet"}, r.args...)
	cmd := exec.CommandContext(ctx, filepath.Join(b.lab.Repo(), "bin", "hermetic"), append(args, r.project)...)
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "HERMETIC_STORE="+r.store,
		"CARGO_HOME="+filepath.Join(b.dir, "no-cargo-home"), "PIP_CONFIG_FILE="+os.DevNull)
	cmd.Env = append(cmd.Env, r.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	took, peak, err := watched(cmd)
	if err != nil {
		return fetched{}, fmt.Errorf("prefetch: %w\n%s", err, stderr.String())
	}
	return fetched{strings.TrimSpace(stdout.String()), took, peak}, nil
}

// watched runs a command and tells how long it took and the most memory that it
// had, in MB. What wait4 tells of memory does not help: the kernel counts in
// what this process had when it started the command.
func watched(cmd *exec.Cmd) (took time.Duration, peakMB int64, err error) {
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	status := fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	peak := int64(0)
	for {
		select {
		case err := <-done:
			return time.Since(start), peak >> 10, err
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, highWater(status))
		}
	}
}

// highWater is the field VmHWM of a process, in kB; 0 when it is gone.
func highWater(status string) int64 {
	data, _ := os.ReadFile(status)
	_, rest, _ := bytes.Cut(data, []byte("VmHWM:"))
	field, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	n, _ := strconv.ParseInt(string(field), 10, 64)
	return n
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
	var peak int64
	for i := range 3 {
		store := filepath.Join(b.dir, fmt.Sprint("store-", i))
		f, err := b.hermetic(ctx, project, store, proxy)
		if err != nil {
			return err
		}
		ours, peak = append(ours, f.took), max(peak, f.peakMB)
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
	limit("its peak memory", float64(peak), "MB", 150)
	limit("prefetch again, nothing changed", again.median().Seconds(), "s", 0.15)
	return nil
}

// commandOutput runs a program and returns all that it prints.
func commandOutput(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}
