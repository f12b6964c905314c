package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// childVar makes the test binary one of children instead: a process of its own
// that can be killed, or can get in another one's way.
const childVar = "HERMETIC_CACHE_TEST_CHILD"

var children = map[string]func(args []string) error{
	"put": childPut, "view": childView,
}

func TestMain(m *testing.M) {
	run, ok := children[os.Getenv(childVar)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child starts a process and waits until it begins its work; the buffer gets
// what it complains about.
func child(t *testing.T, name string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), childVar+"="+name)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatalf("%v: %s", err, &complaints)
	}
	return cmd, &complaints
}

// begin tells the test that a child begins its work.
func begin() { os.Stdout.WriteString("!") }

// childContent is what children store under n: of many sizes, in two notations,
// so that different processes store the same and different things.
func childContent(n int) (Sum, []byte, error) {
	if n%3 == 0 {
		data := fmt.Appendf(nil, "module example.com/m%d\n", n)
		sum, err := H1Mod.of(bytes.NewReader(data), int64(len(data)))
		return sum, data, err
	}
	data := bytes.Repeat([]byte(strconv.Itoa(n)+"\n"), 1+n%50*400)
	return SumBytes(data), data, nil
}

// childPut stores things until it is killed.
func childPut(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	begin()
	for {
		sum, data, err := childContent(rand.IntN(400))
		if err != nil {
			return err
		}
		if _, err := s.Put(sum, data); err != nil {
			return err
		}
		if _, ok := s.Lookup(sum); !ok {
			return fmt.Errorf("%s is not there after Put", sum)
		}
	}
}

func TestKilledWriters(t *testing.T) {
	s := newStore(t)
	const kills, atOnce = 50, 2
	for range kills / atOnce {
		var running [atOnce]*exec.Cmd
		var out [atOnce]*bytes.Buffer
		for i := range running {
			running[i], out[i] = child(t, "put", s.Dir())
		}
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		for i, cmd := range running {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			cmd.Wait() // it says that the process was killed
			if out[i].Len() > 0 {
				t.Errorf("a writer complains: %s", out[i])
			}
		}
	}
	lines := 0
	for _, name := range files(t, filepath.Join(s.Dir(), "index")) {
		f := strings.Split(name, "/")
		raw := mustHex(t, f[2])
		if sum := (Sum{Algorithm(f[0]), raw}); !s.Verify(sum) {
			t.Errorf("index %s: its blob is not there or not good", name)
		}
		lines++
	}
	if lines == 0 {
		t.Error("no index line: the writers were killed too early to show anything")
	}
	for _, name := range files(t, filepath.Join(s.Dir(), "blobs")) {
		data, err := os.ReadFile(filepath.Join(s.Dir(), "blobs", name))
		if err != nil || SumBytes(data).Hex() != filepath.Base(name) {
			t.Errorf("blob %s: other content, %v", name, err)
		}
	}
}

func mustHex(t testing.TB, text string) string {
	t.Helper()
	s, err := ParseSum("sha256:" + text)
	if err != nil {
		t.Fatal(err)
	}
	return s.value
}

// viewManifest stores what a view can hold, and lists it: small and large
// blobs, some of them in two places.
func viewManifest(s *Store) (*Manifest, error) {
	m := &Manifest{Packages: []Package{{Type: "gomod", Path: "."}}}
	for i := range 20 {
		small := fmt.Appendf(nil, "small %d", i/2)
		large := bytes.Repeat(fmt.Appendf(nil, "large %d ", i/2), packLimit)
		for kind, data := range map[string][]byte{"small": small, "large": large} {
			b, err := s.Put(SumBytes(data), data)
			if err != nil {
				return nil, err
			}
			m.Entries = append(m.Entries, Entry{ID: ID{Ecosystem: []string{"cargo", "gomod"}[i%2], Name: fmt.Sprintf("%s%02d", kind, i), Kind: kind}, Sum: b.Sum, Blob: b})
		}
	}
	return m, nil
}

// childView makes the same view again and again; args are the store, the
// directory ("" for the store's), and how often.
func childView(args []string) error {
	s, err := Open(args[0])
	if err != nil {
		return err
	}
	m, err := viewManifest(s)
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	begin()
	for range times {
		dir, err := s.View(m, args[1])
		if err != nil {
			return err
		}
		// Now and then the view is damaged under the feet of the others.
		if rand.IntN(4) == 0 {
			os.Remove(filepath.Join(dir, m.Entries[rand.IntN(len(m.Entries))].BlobName()))
		}
	}
	return nil
}

// viewDirs are a directory in the store, one beside it and one on another file
// system.
func viewDirs(t *testing.T) map[string]string {
	return map[string]string{"in the store": "", "beside it": filepath.Join(t.TempDir(), "view"), "elsewhere": otherFileSystem(t)}
}

// otherFileSystem is a directory that hard links from the test's own cannot
// reach.
func otherFileSystem(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hermetic-test-")
	if err != nil {
		t.Fatalf("the test needs a second file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "x")); !errors.Is(err, syscall.EXDEV) {
		t.Fatalf("the test needs a second file system; linking from %s to %s: %v", file, dir, err)
	}
	return filepath.Join(dir, "view")
}

func TestConcurrentViews(t *testing.T) {
	for name, dir := range viewDirs(t) {
		s := newStore(t)
		m, err := viewManifest(s)
		if err != nil {
			t.Fatal(err)
		}
		a, outA := child(t, "view", s.Dir(), dir, "60")
		b, outB := child(t, "view", s.Dir(), dir, "60")
		if errA, errB := a.Wait(), b.Wait(); errA != nil || errB != nil {
			t.Errorf("%s: %v, %v\n%s%s", name, errA, errB, outA, outB)
		}
		got, err := s.View(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		checkView(t, name, got, m)
		if left := files(t, filepath.Join(s.Dir(), "tmp")); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

func TestKilledViews(t *testing.T) {
	for name, dir := range viewDirs(t) {
		s := newStore(t)
		m, err := viewManifest(s)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			cmd, out := child(t, "view", s.Dir(), dir, "1000000")
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			cmd.Wait() // it says that the process was killed
			if out.Len() > 0 {
				t.Errorf("%s: %s", name, out)
			}
		}
		got, err := s.View(m, dir)
		if err != nil {
			t.Fatal(err)
		}
		sweep(got, tmpPrefix, time.Now().Add(2*tmpAge))
		checkView(t, name, got, m)
	}
}

// checkView tells whether a view holds exactly what its manifest lists.
func checkView(t *testing.T, name, dir string, m *Manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil || !bytes.Equal(text, m.Encode()) {
		t.Errorf("%s: manifest %q, %v", name, text, err)
		return
	}
	read, err := ParseManifest(ManifestFile, text)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	want := map[string]bool{ManifestFile: true}
	sizes := map[string]int64{}
	var inputs []Input
	for _, e := range read.Entries {
		want[e.BlobName()] = true
		if e.Pack >= 0 {
			sizes[e.BlobName()] = max(sizes[e.BlobName()], e.Pack+e.Blob.Size)
		}
		inputs = append(inputs, Input{Ecosystem: e.Ecosystem, Kind: e.Kind, Name: e.Name, Version: e.Version, Platform: e.Platform, Sum: e.Sum})
	}
	have := map[string]bool{}
	for _, f := range files(t, dir) {
		have[f] = true
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	for pack, size := range sizes {
		if info, err := os.Stat(filepath.Join(dir, pack)); err != nil || info.Size() != size || info.Mode() != 0o444 {
			t.Errorf("%s: %s %v, %v; want %d bytes", name, pack, info, err, size)
		}
	}
	v, err := OpenView(dir, read)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer v.Close()
	for _, p := range Check(v, inputs) {
		t.Errorf("%s: %s", name, p)
	}
	if _, err := v.Open(Input{Name: "no such"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: what is not in the manifest: %v", name, err)
	}
}
