package artifact

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
)

// Type is the artifact type in the manifest of the image.
const Type = "application/vnd.hermetic.deps-context.v1"

// Annotations of the manifest, beside those of the OCI image specification.
const (
	// VersionAnnotation is the version of hermetic that made the image.
	VersionAnnotation = "io.github.hermetic-build.version"
	// PackagesAnnotation is what was prefetched for: the prefetch input, in JSON.
	PackagesAnnotation = "io.github.hermetic-build.packages"
	// LocksAnnotation is what it was made from: a JSON object of the paths of
	// lockfiles and their digests.
	LocksAnnotation = "io.github.hermetic-build.locks"
)

// maxAnnotation bounds the JSON of an annotation, since registries bound
// manifests at 4 MiB (distribution specification). What is longer is left out:
// the manifest of the deps context, the last layer, has all of it.
const maxAnnotation = 256 << 10

// Options are what an image depends on besides its manifest.
type Options struct {
	// Version goes into an annotation, and so into the digest.
	Version string
	// Verify has all blobs read, even of layers whose digest is known.
	Verify bool
}

// An Artifact is the image of one manifest; its bytes are still in the store.
type Artifact struct {
	verify   bool
	layers   []*layer
	config   []byte
	manifest []byte
	desc     ocispec.Descriptor // of the manifest
	blobs    []ocispec.Descriptor
}

// A DamagedError is inputs whose blobs in the store are not what their names
// say.
type DamagedError struct{ Inputs []string }

func (e *DamagedError) Error() string {
	lines := make([]string, len(e.Inputs))
	for i, name := range e.Inputs {
		lines[i] = name + ": damaged in the store"
	}
	return strings.Join(lines, "\n")
}

// New decides what is in the image of m, whose blobs the store must hold. Blobs
// are read and checked, once for each layer that this store has not yet made;
// what is damaged is a *DamagedError.
func New(ctx context.Context, store *cache.Store, m *cache.Manifest, o Options) (*Artifact, error) {
	m = m.Loose()
	a := &Artifact{verify: o.Verify}
	for _, files := range shards(blobFiles(m)) {
		entries := make([]entry, len(files))
		for i, f := range files {
			entries[i] = entry{name: f.name, input: f.input, blob: f.blob, file: store.Path(f.blob), size: f.blob.Size}
		}
		l, err := newLayer(count(len(files)), entries)
		if err != nil {
			return nil, err
		}
		a.layers = append(a.layers, l)
	}
	text := m.Encode()
	last, err := newLayer("manifest", []entry{{name: cache.ManifestFile, data: text, size: int64(len(text))}})
	if err != nil {
		return nil, err
	}
	a.layers = append(a.layers, last)
	if err := a.sumLayers(ctx, store); err != nil {
		return nil, err
	}
	return a, a.describe(m, o)
}

func count(n int) string {
	if n == 1 {
		return "1 blob"
	}
	return fmt.Sprintf("%d blobs", n)
}

// sumLayers finds out the digests of the layers. The store remembers those that
// were computed before, under the layer's key:
//
//	layers/<key>    "sha256:<hex>"
func (a *Artifact) sumLayers(ctx context.Context, store *cache.Store) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	damaged := make([][]string, len(a.layers))
	for i, l := range a.layers {
		g.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			d, bad, err := a.sumLayer(store, l)
			damaged[i] = bad
			l.desc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: l.size}
			return err
		})
	}
	err := g.Wait()
	if bad := slices.Concat(damaged...); err == nil && len(bad) > 0 {
		slices.Sort(bad)
		err = &DamagedError{bad}
	}
	return err
}

// sumLayer is the digest of a layer, computed once.
func (a *Artifact) sumLayer(store *cache.Store, l *layer) (digest.Digest, []string, error) {
	note := "layers/" + l.key()
	if text, err := store.ReadNote(note); err == nil && !a.verify {
		if d, err := digest.Parse(string(text)); err == nil && d.Algorithm() == digest.SHA256 {
			return d, nil, nil
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	d, damaged, err := l.sum()
	if err != nil || len(damaged) > 0 {
		return "", damaged, err
	}
	return d, nil, store.WriteNote(note, []byte(d))
}

// describe makes the config and the manifest. The platform is one that any
// builder accepts: the daemon does not choose among the platforms of an image
// that is no index, and inputs of all platforms are in it.
func (a *Artifact) describe(m *cache.Manifest, o Options) error {
	config := ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: Type,
	}
	for _, l := range a.layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.desc.Digest)
		config.History = append(config.History, ocispec.History{Created: &epoch, CreatedBy: "hermetic prefetch: " + l.title})
		manifest.Layers = append(manifest.Layers, l.desc)
	}
	var err error
	if manifest.Annotations, err = annotations(m, o); err != nil {
		return err
	}
	if a.config, err = json.Marshal(config); err != nil {
		return err
	}
	manifest.Config = ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(a.config), Size: int64(len(a.config)),
	}
	if a.manifest, err = json.Marshal(manifest); err != nil {
		return err
	}
	a.desc = ocispec.Descriptor{
		MediaType: manifest.MediaType, ArtifactType: Type,
		Digest: digest.FromBytes(a.manifest), Size: int64(len(a.manifest)),
	}
	a.blobs = append(slices.Clone(manifest.Layers), manifest.Config)
	slices.SortFunc(a.blobs, func(x, y ocispec.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	a.blobs = slices.CompactFunc(a.blobs, func(x, y ocispec.Descriptor) bool { return x.Digest == y.Digest })
	return nil
}

// annotations say what the image was made from.
func annotations(m *cache.Manifest, o Options) (map[string]string, error) {
	types := map[string]int{}
	for _, e := range m.Entries {
		types[e.Ecosystem]++
	}
	var parts []string
	for t, n := range types {
		parts = append(parts, fmt.Sprintf("%s %d", t, n))
	}
	slices.Sort(parts)
	out := map[string]string{
		ocispec.AnnotationTitle:       "hermetic deps context",
		ocispec.AnnotationDescription: cmp.Or(strings.Join(parts, ", "), "no inputs"),
		ocispec.AnnotationCreated:     epoch.Format("2006-01-02T15:04:05Z07:00"),
		VersionAnnotation:             o.Version,
	}
	locks := map[string]string{}
	for _, l := range m.Locks {
		locks[l.File] = l.Sum.String()
	}
	for name, v := range map[string]any{PackagesAnnotation: m.Packages, LocksAnnotation: locks} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if len(text) <= maxAnnotation && len(text) > len("null") {
			out[name] = string(text)
		}
	}
	return out, nil
}

// Digest names the image.
func (a *Artifact) Digest() digest.Digest { return a.desc.Digest }

// reader is the content of a layer, the config or the manifest.
func (a *Artifact) reader(d digest.Digest) content.ReaderAt {
	switch d {
	case a.desc.Digest:
		return memory(a.manifest)
	case digest.FromBytes(a.config):
		return memory(a.config)
	}
	for _, l := range a.layers {
		if l.desc.Digest == d {
			return l
		}
	}
	return nil
}

// explain is the error of a transfer of d; where the store itself is damaged,
// that is the cause.
func (a *Artifact) explain(d digest.Digest, err error) error {
	l, ok := a.reader(d).(*layer)
	if !ok {
		return err
	}
	if _, damaged, serr := l.sum(); serr == nil && len(damaged) > 0 {
		return &DamagedError{damaged}
	}
	return err
}
