package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend"
)

// A blob is a file of that many made-up bytes, which nobody holds in memory.
type blob struct {
	seed uint64
	size int64
}

// block is what a blob repeats, each time with another number in front: what is
// served shall cost next to nothing.
var block = func() []byte {
	b := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

// WriteTo implements io.WriterTo.
func (b blob) WriteTo(w io.Writer) (int64, error) {
	done := int64(0)
	own := bytes.Clone(block)
	for done < b.size {
		binary.LittleEndian.PutUint64(own, b.seed)
		binary.LittleEndian.PutUint64(own[8:], uint64(done))
		n, err := w.Write(own[:min(int64(len(own)), b.size-done)])
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (b blob) sum() string {
	h := sha256.New()
	b.WriteTo(h) // a hash takes all
	return fmt.Sprintf("%x", h.Sum(nil))
}

// blobs serves blobs by their number and writes the project that needs them.
func (b *bench) blobs(ctx context.Context, name string, of []blob) (dir string, err error) {
	url, err := serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil || i >= len(of) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(of[i].size, 10))
		of[i].WriteTo(w)
	}))
	if err != nil {
		return "", err
	}
	dir = filepath.Join(b.dir, name)
	return dir, writeFiles(dir, tree{"artifacts.lock.yaml": artifacts(url, of)})
}

// artifacts is the lockfile of blobs at url.
func artifacts(url string, of []blob) string {
	var lock strings.Builder
	lock.WriteString("metadata:\n  version: \"1.0\"\nartifacts:\n")
	for i, b := range of {
		fmt.Fprintf(&lock, "- download_url: %s/%d\n  filename: f%d\n  checksum: sha256:%s\n", url, i, i, b.sum())
	}
	return lock.String()
}

// changed measures what it takes until a build can use one dependency of 2,000
// that changed, of 1 GB in all: the prefetch, and a build that transfers the deps
// context, verifies it, lays it out and runs nothing to speak of.
func (b *bench) changed(ctx context.Context) error {
	const n, total = 2000, 1 << 30
	sizes := newMaker(1, 1)
	var of []blob
	weights, sum := make([]float64, n), 0.0
	for i := range weights {
		weights[i] = math.Exp(sizes.spread * sizes.random.NormFloat64())
		sum += weights[i]
	}
	for i, w := range weights {
		of = append(of, blob{uint64(i), int64(w / sum * total)})
	}
	r := prefetchRun{store: filepath.Join(b.dir, "changed-store")}
	defer os.RemoveAll(r.store)
	var took sample
	for i := range fetching + 1 {
		of[n/2].seed = uint64(n + i)
		var err error
		if r.project, err = b.blobs(ctx, "changed", of); err != nil {
			return err
		}
		if err := writeFiles(r.project, tree{"Dockerfile": "FROM " + b.images["busybox"] + "\nRUN true\n"}); err != nil {
			return err
		}
		f, err := b.prefetched(ctx, r)
		if err != nil {
			return err
		}
		build, out, err := b.build(ctx, r.project, b.with("frontend", "--build-context", "hermetic="+f.dir)...)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		if i > 0 { // the first has all of them to fetch and to transfer
			took = append(took, f.took+build)
			if os.Getenv("V") != "" {
				fmt.Println(f.took, build, out)
			}
		}
	}
	limit(fmt.Sprintf("prefetch and build, one of %d inputs changed (%d GB)", n, total>>30), took.median().Seconds(), "s", 2.5)
	return nil
}

// memory looks at the most memory that a prefetch and a layout take: of one file
// that is much larger than it, and of many archives that are unpacked at once.
func (b *bench) memory(ctx context.Context) error {
	const large = 3 << 30
	dir, err := b.blobs(ctx, "large", []blob{{1, large}})
	if err != nil {
		return err
	}
	if err := b.peaks(ctx, prefetchRun{project: dir}, fmt.Sprintf("of a file of %d GB", large>>30)); err != nil {
		return err
	}
	l := languages[0]
	l.median, l.spread = 8e6, 1
	const n = 40
	dir, url, err := b.made(ctx, l, n)
	if err != nil {
		return err
	}
	return b.peaks(ctx, prefetchRun{project: dir, args: l.mirrored(url)}, fmt.Sprintf("of %d large crates", n))
}

// peaks prints the memory of a prefetch and of the layout of what came of it.
func (b *bench) peaks(ctx context.Context, r prefetchRun, what string) error {
	root, err := os.MkdirTemp(b.dir, "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	r.store = filepath.Join(root, "store")
	r.args = append(r.args, "--output", filepath.Join(root, "hermetic", "deps"))
	if err := os.Mkdir(filepath.Join(root, "hermetic"), 0o755); err != nil {
		return err
	}
	f, err := b.prefetched(ctx, r)
	if err != nil {
		return err
	}
	limit("peak memory of a prefetch "+what, float64(f.peakMB), "MB", maxPeak)
	_, peak, err := b.layout(ctx, r.project, root)
	if err != nil {
		return err
	}
	limit("peak memory of a layout "+what, float64(peak), "MB", maxPeak)
	return nil
}

// layout runs the frontend's layout step with root as its root directory, as a
// build does, on the deps context that is in it.
func (b *bench) layout(ctx context.Context, project, root string) (took time.Duration, peakMB int64, err error) {
	plan, err := plan(project)
	if err != nil {
		return 0, 0, err
	}
	in := filepath.Join(root, "hermetic")
	manifest, err := os.ReadFile(filepath.Join(in, "deps", cache.ManifestFile))
	if err != nil {
		return 0, 0, err
	}
	order, err := frontend.Order{Kind: plan.Inputs[0].Ecosystem, Inputs: plan.Inputs, Manifest: string(manifest)}.Encode()
	if err != nil {
		return 0, 0, err
	}
	exe, err := os.ReadFile(filepath.Join(b.lab.Repo(), "bin", "hermetic-frontend"))
	if err != nil {
		return 0, 0, err
	}
	err = errors.Join(os.MkdirAll(filepath.Join(in, "out"), 0o755), os.MkdirAll(filepath.Join(in, "report"), 0o755),
		writeFiles(in, tree{"plan/plan.json.gz": string(order)}), os.WriteFile(filepath.Join(root, "exe"), exe, 0o755))
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, "/exe", frontend.LayoutVerb)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	took, peakMB, err = watched(cmd)
	if err != nil {
		return 0, 0, fmt.Errorf("layout: %w\n%s", err, stderr.String())
	}
	report, err := os.ReadFile(filepath.Join(in, "report", "report.json"))
	if err == nil && string(report) != "null" {
		err = fmt.Errorf("layout: %s", report)
	}
	return took, peakMB, err
}

// plan is what a project needs.
func plan(dir string) (cache.Plan, error) {
	fsys := os.DirFS(dir)
	pkgs, err := ecosystem.Discover(fsys)
	if err != nil {
		return cache.Plan{}, err
	}
	p := ecosystem.New(fsys, pkgs, ecosystem.Options{Platforms: []string{"linux/" + runtime.GOARCH}})
	if len(p.Problems) > 0 {
		return p, fmt.Errorf("%s: %s", dir, p.Problems[0])
	}
	return p, nil
}

// verification compares the reading and hashing of a deps context that is in
// the page cache with what the machine's CPUs can hash.
func (b *bench) verification(ctx context.Context) error {
	const files, size = 64, 32 << 20
	var of []blob
	for i := range files {
		of = append(of, blob{uint64(i), size})
	}
	dir, err := b.blobs(ctx, "verification", of)
	if err != nil {
		return err
	}
	f, err := b.prefetched(ctx, prefetchRun{project: dir, store: filepath.Join(b.dir, "verification-store")})
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(b.dir, "verification-store"))
	p, err := plan(dir)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(f.dir, cache.ManifestFile))
	if err != nil {
		return err
	}
	m, err := cache.ParseManifest(cache.ManifestFile, text)
	if err != nil {
		return err
	}
	var ours, openssl []float64
	for i := range 2*fetching + 1 {
		took, err := timed(func() error { return check(f.dir, m, p.Inputs) })
		if err != nil {
			return err
		}
		speed, err := opensslSpeed(ctx)
		if err != nil {
			return err
		}
		if i > 0 { // the first round warms up
			ours, openssl = append(ours, files*size/took.Seconds()), append(openssl, speed*float64(runtime.NumCPU()))
		}
	}
	atLeast(fmt.Sprintf("verification of %d GB / openssl × %d CPUs, in GB/s", files*size>>30, runtime.NumCPU()),
		median(ours)/1e9, median(openssl)/1e9, 0.8)
	return nil
}

// check verifies a deps context.
func check(dir string, m *cache.Manifest, inputs []cache.Input) error {
	v, err := cache.OpenView(dir, m)
	if err != nil {
		return err
	}
	defer v.Close()
	if found := cache.Check(v, inputs); len(found) > 0 {
		return fmt.Errorf("%s: %s", dir, found[0])
	}
	return nil
}

// opensslSpeed is how many bytes a second one CPU hashes with openssl, for a
// second, in pieces of 16 kB.
func opensslSpeed(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "openssl", "speed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp", "sha256").Output()
	if err != nil {
		return 0, fmt.Errorf("openssl speed: %w", err)
	}
	for line := range strings.Lines(string(out)) { // "+F:24:sha256:1401000000.00"
		if f := strings.Split(strings.TrimSpace(line), ":"); f[0] == "+F" {
			return strconv.ParseFloat(f[len(f)-1], 64)
		}
	}
	return 0, errors.New("openssl speed: no result")
}
