package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/dirhash"
)

// TestKilledPrefetch kills the CLI at fifty moments between its start and its
// end, two processes at a time on one store. Whatever is left is whole, and a
// prefetch that is let live makes the build pass.
func TestKilledPrefetch(t *testing.T) {
	m := newMirror(t)
	m.delay = 5 * time.Millisecond
	var names []string
	for i := range 24 {
		names = append(names, full(fmt.Sprintf("k%d", i)))
		m.addNoise(t, names[i])
	}
	dir := project(t, `
-- Dockerfile --
FROM {busybox} AS b
COPY go.mod .
RUN find /cachi2 -name '*.zip' | wc -l >/count
FROM scratch
COPY --from=b /count /
-- go.mod --
`+require(names...)+"-- go.sum --\n"+m.goSum(names...))
	command := func(store string) *exec.Cmd {
		cmd := exec.Command(cli, "prefetch", "--store="+store, "--progress=quiet", dir)
		cmd.Env = append(world.Env(), m.env()...)
		return cmd
	}
	start := time.Now()
	output(command(t.TempDir())).passed(t)
	whole := time.Since(start)

	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	kills := 0
	for range 5 {
		store := t.TempDir() // new ones, so that kills hit beginnings as well as ends
		for range 5 {
			kills += killTwo(t, func() *exec.Cmd { return command(store) }, func() time.Duration {
				return time.Duration(random.Int64N(int64(whole))) / 2
			})
			wantSoundStore(t, store)
		}
		// Two at once on what the killed ones left.
		results := make(chan result, 2)
		for range cap(results) {
			go func() { results <- output(command(store)) }()
		}
		for range cap(results) {
			r := (<-results).passed(t)
			out, _ := files(t, dir, with(strings.TrimSpace(r.log)))
			if got := read(t, out, "count"); got != "24\n" {
				t.Errorf("a step sees %s archives", got)
			}
		}
		wantSoundStore(t, store)
	}
	t.Logf("%d of 50 were killed, the others had ended; one takes %v", kills, whole)
	if kills < 10 {
		t.Error("too few were killed; this test would prove little")
	}
}

// killTwo starts a command twice and kills the processes one after the other; it
// counts those that had not ended before.
func killTwo(t *testing.T, command func() *exec.Cmd, wait func() time.Duration) int {
	t.Helper()
	pair := []*exec.Cmd{command(), command()}
	for _, cmd := range pair {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, cmd := range pair {
		time.Sleep(wait())
		cmd.Process.Kill() // an error means that it has ended
	}
	kills := 0
	for _, cmd := range pair {
		cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			kills++
		}
	}
	return kills
}

// wantSoundStore reads every byte of a store: each blob is what its name says,
// each line of the index tells the truth, each view with a manifest is whole.
func wantSoundStore(t *testing.T, store string) {
	t.Helper()
	walk := func(below string, check func(name, base string) error) {
		err := filepath.WalkDir(filepath.Join(store, below), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return check(name, d.Name())
		})
		if err != nil && !os.IsNotExist(err) {
			t.Errorf("store after a kill: %v", err)
		}
	}
	walk("blobs/sha256", func(name, base string) error {
		if got, err := sha256File(name); err != nil || got != base {
			return fmt.Errorf("blob %s: has sha256 %s, %v", base, got, err)
		}
		return nil
	})
	walk("index", func(name, base string) error {
		var blob string
		var size int64
		if _, err := fmt.Sscanf(read(t, name), "sha256:%64s %d\n", &blob, &size); err != nil {
			return fmt.Errorf("index %s: %v", name, err)
		}
		file := filepath.Join(store, "blobs", "sha256", blob[:2], blob)
		info, err := os.Stat(file)
		if err != nil || info.Size() != size {
			return fmt.Errorf("index %s: %v, want %d bytes", name, err, size)
		}
		sum, err := hex.DecodeString(base)
		if err != nil {
			return err
		}
		hash := dirhash.HashZip
		if strings.Contains(name, "/h1mod/") {
			hash = hashMod
		}
		if got, err := hash(file, dirhash.Hash1); err != nil || got != "h1:"+base64.StdEncoding.EncodeToString(sum) {
			return fmt.Errorf("index %s: the blob has %s, %v", name, got, err)
		}
		return nil
	})
	views, _ := filepath.Glob(filepath.Join(store, "views", "*", "hermetic.manifest"))
	for _, view := range views {
		for _, e := range manifest(t, filepath.Dir(view)).Entries {
			if e.Pack >= 0 {
				continue
			}
			blob := e.Blob.Sum.Hex()
			if got, err := sha256File(filepath.Join(filepath.Dir(view), e.BlobName())); err != nil || got != blob {
				t.Errorf("view %s: %s has sha256 %s, %v", view, blob, got, err)
			}
		}
	}
}

func sha256File(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

func hashMod(file string, hash dirhash.Hash) (string, error) {
	return hash([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return os.Open(file) })
}
