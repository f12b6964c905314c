package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxIndex bounds what is read of an index.json.
const maxIndex = 16 << 20

// lockPause is how often a process looks whether it is its turn.
const lockPause = 100 * time.Millisecond

// tmpPrefix begins the names of files that are being written.
const tmpPrefix = ".hermetic-"

// CheckLayout refuses a directory into which no image can be written: one that
// holds anything but an OCI layout.
func CheckLayout(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := readBounded(filepath.Join(dir, ocispec.ImageLayoutFile))
	if errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), tmpPrefix) }) {
		return nil // empty, but for what another process is about to write
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("not empty, and no OCI layout: no %s", ocispec.ImageLayoutFile)
	}
	if err != nil {
		return err
	}
	var l ocispec.ImageLayout
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("no OCI layout: %s: %v", ocispec.ImageLayoutFile, err)
	}
	if l.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("an OCI layout of version %q, which this version does not write", l.Version)
	}
	_, err = readIndex(dir)
	return err
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err == nil && len(text) > maxIndex {
		err = fmt.Errorf("%s: larger than %d MB", filepath.Base(name), maxIndex>>20)
	}
	return text, err
}

// readIndex reads the index.json of a layout; one that is not there is empty.
func readIndex(dir string) (*ocispec.Index, error) {
	index := &ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	text, err := readBounded(filepath.Join(dir, ocispec.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, index); err != nil {
		return nil, fmt.Errorf("%s: %v", ocispec.ImageIndexFile, err)
	}
	return index, nil
}

// WriteLayout adds the image to the OCI layout in dir, which is made if need be
// and may hold others. Blobs that are there stay, so that a second image costs
// what differs, and nothing is written where nothing changed. The index comes
// last, by one rename: it names only what is there. Of several processes that
// write at the same time one waits for the other.
func (a *Artifact) WriteLayout(ctx context.Context, dir string) error {
	if err := CheckLayout(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mark := filepath.Join(dir, ocispec.ImageLayoutFile)
	if _, err := os.Stat(mark); err != nil {
		// By a link, not over what another process has made and locked meanwhile.
		err := write(mark, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}, os.Link)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// containerd's store takes one process at a time for each blob.
	lock := flock.New(mark, flock.SetFlag(os.O_RDONLY))
	if _, err := lock.TryLockContext(ctx, lockPause); err != nil {
		return err
	}
	defer lock.Close()
	missing, err := a.missing(dir)
	if err != nil {
		return err
	}
	if err := a.writeBlobs(ctx, dir, missing); err != nil {
		return err
	}
	return a.writeIndex(dir)
}

// missing are the blobs that the layout lacks. What is damaged is removed.
func (a *Artifact) missing(dir string) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	for _, desc := range append(slices.Clone(a.blobs), a.desc) {
		file := filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded())
		info, err := os.Lstat(file)
		if err == nil && info.Mode().IsRegular() && info.Size() == desc.Size && (!a.verify || isWhole(file, desc.Digest)) {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		out = append(out, desc)
	}
	return out, nil
}

// writeBlobs adds blobs to the layout.
func (a *Artifact) writeBlobs(ctx context.Context, dir string, blobs []ocispec.Descriptor) error {
	if len(blobs) == 0 {
		return nil // opening the store would write
	}
	store, err := local.NewStore(dir)
	if err != nil {
		return err
	}
	for _, desc := range blobs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r := a.reader(desc.Digest)
		err := content.WriteBlob(ctx, store, "hermetic-"+desc.Digest.String(), io.NewSectionReader(r, 0, r.Size()), desc)
		if err != nil {
			return a.explain(desc.Digest, err)
		}
	}
	return nil
}

// isWhole tells whether a file has the content of d.
func isWhole(file string, d digest.Digest) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	v := d.Verifier()
	_, err = io.CopyBuffer(v, struct{ io.Reader }{f}, make([]byte, copyBuffer))
	return err == nil && v.Verified()
}

// writeIndex adds the image to index.json.
func (a *Artifact) writeIndex(dir string) error {
	index, err := readIndex(dir)
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		if m.Digest == a.desc.Digest {
			return nil
		}
	}
	index.Manifests = append(index.Manifests, a.desc)
	return write(filepath.Join(dir, ocispec.ImageIndexFile), index, os.Rename)
}

// write makes a file hold v in JSON; it is put into its place whole, by a rename
// or a link.
func write(name string, v any, put func(from, to string) error) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), tmpPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return put(f.Name(), name)
}
