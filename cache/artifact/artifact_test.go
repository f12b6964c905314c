package artifact

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/cache"
)

var update = flag.Bool("update", false, "rewrite testdata")

// newStore is an empty store.
func newStore(t testing.TB) *cache.Store {
	t.Helper()
	s, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise is n bytes that depend on the name alone.
func noise(name string, n int) []byte {
	data := make([]byte, n)
	var seed [32]byte
	copy(seed[:], name)
	rand.NewChaCha8(seed).Read(data)
	return data
}

// put adds an input with its blob.
func put(t testing.TB, s *cache.Store, m *cache.Manifest, id cache.ID, size int) {
	t.Helper()
	data := noise(id.Name+"@"+id.Version+id.Kind, size)
	b, err := s.Put(cache.SumBytes(data), data)
	if err != nil {
		t.Fatal(err)
	}
	m.Entries = append(m.Entries, cache.Entry{ID: id, Sum: b.Sum, Blob: b, Pack: -1})
}

// many is a manifest of n modules of a zip and a go.mod each.
func many(t testing.TB, s *cache.Store, n int) *cache.Manifest {
	t.Helper()
	m := &cache.Manifest{
		Packages: []cache.Package{{Type: "gomod", Path: "."}},
		Locks:    []cache.Lock{{File: "go.sum", Sum: cache.SumBytes([]byte("sums"))}},
	}
	for i := range n {
		addModule(t, s, m, fmt.Sprintf("example.com/m%d", i), "v1.0.0")
	}
	return m
}

func addModule(t testing.TB, s *cache.Store, m *cache.Manifest, name, version string) {
	t.Helper()
	put(t, s, m, cache.ID{Ecosystem: "gomod", Name: name, Version: version, Kind: "zip"}, 100<<10)
	put(t, s, m, cache.ID{Ecosystem: "gomod", Name: name, Version: version, Kind: "mod"}, 300)
}

func make1(t testing.TB, s *cache.Store, m *cache.Manifest) *Artifact {
	t.Helper()
	a, err := New(t.Context(), s, m, Options{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestFiles unpacks an image with archive/tar and opens what comes out as the
// view that a build reads.
func TestFiles(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 60)
	m.Place() // packed, as the prefetch leaves it
	layout := t.TempDir()
	a := make1(t, s, m)
	if err := a.WriteLayout(t.Context(), layout); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := unpack(t, layout, a.Digest(), dir)
	if config.OS != "linux" || !config.Created.Equal(epoch) {
		t.Errorf("config: %+v", config)
	}
	text, err := os.ReadFile(filepath.Join(dir, cache.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cache.ParseManifest(cache.ManifestFile, text)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Entries) != 120 || !bytes.Equal(got.Encode(), m.Loose().Encode()) {
		t.Errorf("another manifest: %d entries", len(got.Entries))
	}
	view, err := cache.OpenView(dir, got)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var inputs []cache.Input
	for _, e := range got.Entries {
		inputs = append(inputs, cache.Input{Ecosystem: e.Ecosystem, Name: e.Name, Version: e.Version, Kind: e.Kind, Sum: e.Sum})
	}
	if problems := cache.Check(view, inputs); len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}
}

// unpack applies the layers of an image and checks what no reader of ours does:
// order, times, modes, digests of what is unpacked.
func unpack(t *testing.T, layout string, d digest.Digest, dir string) ocispec.Image {
	t.Helper()
	var manifest ocispec.Manifest
	var config ocispec.Image
	readJSON(t, layout, d, &manifest)
	readJSON(t, layout, manifest.Config.Digest, &config)
	if len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		t.Fatalf("%d layers, %d in the config", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for i, l := range manifest.Layers {
		data := readBlob(t, layout, l.Digest)
		if d := digest.FromBytes(data); d != config.RootFS.DiffIDs[i] || int64(len(data)) != l.Size {
			t.Errorf("layer %d: %s of %d bytes", i, d, len(data))
		}
		last := ""
		for tr := tar.NewReader(bytes.NewReader(data)); ; {
			hdr, err := tr.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if hdr.Name <= last || !hdr.ModTime.Equal(epoch) || hdr.Uid != 0 || hdr.Gid != 0 || hdr.Uname != "" {
				t.Errorf("layer %d: %+v after %s", i, hdr, last)
			}
			last = hdr.Name
			to := filepath.Join(dir, filepath.FromSlash(hdr.Name))
			if hdr.Typeflag == tar.TypeDir {
				err = os.MkdirAll(to, hdr.FileInfo().Mode())
			} else {
				content, rerr := io.ReadAll(tr)
				err = errors.Join(rerr, os.WriteFile(to, content, hdr.FileInfo().Mode()))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return config
}

func readBlob(t *testing.T, layout string, d digest.Digest) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", d.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readJSON(t *testing.T, layout string, d digest.Digest, v any) {
	t.Helper()
	if err := json.Unmarshal(readBlob(t, layout, d), v); err != nil {
		t.Fatal(err)
	}
}

// TestDeterministic makes one image a hundred times, from entries in another
// order and from another store.
func TestDeterministic(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 20)
	want := make1(t, s, m).Digest()
	for i := range 100 {
		rand.Shuffle(len(m.Entries), func(i, j int) { m.Entries[i], m.Entries[j] = m.Entries[j], m.Entries[i] })
		if i == 50 {
			s = newStore(t)
			m = many(t, s, 20)
		}
		if got := make1(t, s, m).Digest(); got != want {
			t.Fatalf("run %d: %s, want %s", i, got, want)
		}
	}
}

// TestManifest has the whole manifest of a small image.
func TestManifest(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 1)
	var got any
	if err := json.Unmarshal(make1(t, s, m).manifest, &got); err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(got, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/manifest.json"
	if *update {
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)+"\n"); diff != "" {
		t.Error(diff)
	}
}

// TestNothing makes an image of a manifest without inputs.
func TestNothing(t *testing.T) {
	a := make1(t, newStore(t), &cache.Manifest{})
	if n := len(a.layers); n != 1 {
		t.Errorf("%d layers, want the manifest's alone", n)
	}
}

// TestDelta changes one module among many: its shard and the manifest are all
// that is new, and the order of the others stays.
func TestDelta(t *testing.T) {
	s := newStore(t)
	before := many(t, s, 400)
	after := many(t, s, 399)
	addModule(t, s, after, "example.com/m399", "v1.1.0")
	a, b := make1(t, s, before), make1(t, s, after)
	if n := len(a.layers); n < 24 || n > 33 {
		t.Fatalf("%d layers of 40 MB", n)
	}
	if len(a.layers) != len(b.layers) {
		t.Fatalf("%d layers, then %d", len(a.layers), len(b.layers))
	}
	changed := 0
	for i := range a.layers {
		if a.layers[i].desc.Digest != b.layers[i].desc.Digest {
			changed++
		}
	}
	if changed != 2 {
		t.Errorf("%d layers changed, want the shard and the manifest", changed)
	}
}

// TestGrow adds modules one by one: no step touches more than a shard, which it
// may divide, and the manifest.
func TestGrow(t *testing.T) {
	s := newStore(t)
	m := &cache.Manifest{}
	have := map[digest.Digest]bool{}
	for i := range 150 {
		addModule(t, s, m, fmt.Sprintf("example.com/m%d", i), "v1.0.0")
		fresh := 0
		for _, l := range make1(t, s, m).layers {
			if !have[l.desc.Digest] {
				fresh++
			}
			have[l.desc.Digest] = true
		}
		if fresh > 3 { // both halves of a shard, and the manifest
			t.Errorf("module %d: %d new layers", i, fresh)
		}
	}
}

// TestShards spreads made-up files.
func TestShards(t *testing.T) {
	file := func(name string, size int64) blobFile {
		return blobFile{name: name, blob: cache.Blob{Size: size}, key: [32]byte(noise(name, 32))}
	}
	var huge, equal []blobFile
	for i := range 40 {
		huge = append(huge, file(fmt.Sprint(i), aloneSize+int64(i)))
		one := file(fmt.Sprint(i), divideFrom[0])
		one.key = [32]byte{}
		equal = append(equal, one)
	}
	if n := len(shards(huge)); n < maxAlone+2 || n > maxAlone+1<<len(divideFrom) {
		t.Errorf("40 large files: %d layers", n)
	}
	if got := shards(huge)[0][0].blob.Size; got != aloneSize+39 {
		t.Errorf("the first layer has %d bytes, want the largest", got)
	}
	if n := len(shards(equal)); n != 1 {
		t.Errorf("files of one package: %d layers", n)
	}
	if got := shards(nil); got != nil {
		t.Errorf("nothing: %v", got)
	}
	for _, set := range [][]blobFile{huge, equal} {
		n := 0
		for _, s := range shards(set) {
			n += len(s)
		}
		if n != len(set) {
			t.Errorf("%d of %d files", n, len(set))
		}
	}
}

// TestReadAt reads a layer in pieces of every small size, across all borders.
func TestReadAt(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 2)
	for _, l := range make1(t, s, m).layers {
		whole, err := io.ReadAll(io.NewSectionReader(l, 0, l.size))
		if err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(whole) != l.desc.Digest || int64(len(whole)) != l.size {
			t.Fatal("another layer")
		}
		for _, n := range []int{1, 511, 512, 513, 4000} {
			p := make([]byte, n)
			for off := int64(0); off < l.size; off += int64(max(n, 97)) {
				k, err := l.ReadAt(p, off)
				if want := whole[off:min(l.size, off+int64(n))]; !bytes.Equal(p[:k], want) || (err == io.EOF) != (len(want) < n) {
					t.Fatalf("%d bytes at %d: %d, %v", n, off, k, err)
				}
			}
		}
	}
}

// TestDamaged makes images of a store with a flipped bit. No digest is given to
// wrong bytes, and nothing wrong is written under a digest that is known.
func TestDamaged(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 3)
	path := s.Path(m.Entries[0].Blob)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	set := func(data []byte) {
		t.Helper()
		if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want := &DamagedError{[]string{"example.com/m0@v1.0.0"}}
	set(bad)
	_, err = New(t.Context(), s, m, Options{})
	damaged(t, "new", err, want)
	set(good)
	a := make1(t, s, m)
	set(bad)
	dir := t.TempDir()
	damaged(t, "layout", a.WriteLayout(t.Context(), dir), want)
	if _, err := os.Stat(filepath.Join(dir, ocispec.ImageIndexFile)); err == nil {
		t.Error("there is an index")
	}
	if _, err = New(t.Context(), s, m, Options{}); err != nil {
		t.Errorf("a known layer was read: %v", err)
	}
	_, err = New(t.Context(), s, m, Options{Verify: true})
	damaged(t, "verify", err, want)
	set(bad[:100])
	_, err = New(t.Context(), s, m, Options{Verify: true})
	damaged(t, "cut off", err, want)
}

func damaged(t *testing.T, what string, err error, want *DamagedError) {
	t.Helper()
	got, ok := errors.AsType[*DamagedError](err)
	if !ok {
		t.Errorf("%s: %v", what, err)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}
