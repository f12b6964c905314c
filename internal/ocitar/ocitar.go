// Package ocitar writes OCI images without a container engine, the same bytes
// for the same input on every machine and every run.
//
// Reach for [Write] to make an archive, [WriteLayout] to make a layout
// directory (cheaper for a large local base), [Digest] for the name of what was
// written, [Extract] to turn an archive into a layout, and [Push] to copy either
// to a registry on loopback.
//
// A layer is made by [Files], [Tree] or [Tarball]. Both written forms hold the
// same files, drawn in the order an archive stores them:
//
//	oci-layout
//	index.json              one descriptor: the manifest, or the index of several platforms
//	blobs/sha256/<hex> ...  sorted
//
// The formats are those of the OCI image specification 1.1
// (https://github.com/opencontainers/image-spec).
package ocitar

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is one image of one platform, described completely by its fields: two
// equal values have the same digest.
type Image struct {
	Platform ocispec.Platform
	// Config is the run configuration with Docker's extensions (OnBuild, Shell,
	// Healthcheck).
	Config dockerspec.DockerOCIImageConfig
	// Layers are applied in order, the first at the bottom.
	Layers []Layer
}

// epoch is the only time that ever appears in an image.
var epoch = time.Unix(0, 0).UTC()

// Write writes images as an OCI archive to path and returns the digest that
// names it, see [Digest]. The archive appears whole or not at all. One image is
// stored as its manifest; several, of different platforms, as one index sorted
// by platform, whatever the order of the arguments.
func Write(path string, images ...Image) (digest.Digest, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".ocitar-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	layout := filepath.Join(dir, "layout")
	root, err := WriteLayout(layout, images...)
	if err != nil {
		return "", err
	}
	staged := filepath.Join(dir, "archive")
	if err := archive(staged, layout); err != nil {
		return "", err
	}
	return root, os.Rename(staged, path)
}

// WriteLayout writes images as an OCI layout into dir, which is made if need be,
// and returns the digest that names it, see [Digest]. Blobs already in dir stay;
// index.json is written last and replaced whole.
func WriteLayout(dir string, images ...Image) (digest.Digest, error) {
	if len(images) == 0 {
		return "", fmt.Errorf("%s: no image to write", dir)
	}
	l := layout(dir)
	if err := os.MkdirAll(l.blobs(), 0o755); err != nil {
		return "", err
	}
	manifests := make([]ocispec.Descriptor, 0, len(images))
	for _, img := range images {
		desc, err := l.writeImage(img)
		if err != nil {
			return "", fmt.Errorf("%s: %s: %w", dir, platforms.Format(img.Platform), err)
		}
		manifests = append(manifests, desc)
	}
	root := manifests[0]
	if len(manifests) > 1 {
		var err error
		if root, err = l.writeIndex(manifests); err != nil {
			return "", err
		}
	}
	return root.Digest, l.writeRoot(root)
}

// Digest returns the digest that names the image in path, an archive or a layout
// directory: that of its manifest, or of its index when it holds several
// platforms. This is the digest to put after "@" in an oci-layout reference.
func Digest(path string) (digest.Digest, error) {
	desc, err := root(path)
	return desc.Digest, err
}

// layout is the directory of an OCI layout.
type layout string

func (l layout) blobs() string { return filepath.Join(string(l), "blobs", "sha256") }

func (l layout) blob(d digest.Digest) string { return filepath.Join(l.blobs(), d.Encoded()) }

func (l layout) writeImage(img Image) (ocispec.Descriptor, error) {
	config := dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created:  &epoch,
			Platform: img.Platform,
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
		},
		Config: img.Config,
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Layers:    []ocispec.Descriptor{},
	}
	for _, layer := range img.Layers {
		desc, diffID, err := l.writeLayer(layer)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, ocispec.History{Created: &epoch, CreatedBy: layer.name})
	}
	var err error
	if manifest.Config, err = l.writeJSON(ocispec.MediaTypeImageConfig, config); err != nil {
		return ocispec.Descriptor{}, err
	}
	desc, err := l.writeJSON(ocispec.MediaTypeImageManifest, manifest)
	desc.Platform = &img.Platform
	return desc, err
}

func (l layout) writeIndex(manifests []ocispec.Descriptor) (ocispec.Descriptor, error) {
	slices.SortFunc(manifests, func(a, b ocispec.Descriptor) int {
		return cmp.Compare(platforms.Format(*a.Platform), platforms.Format(*b.Platform))
	})
	for i, m := range manifests[1:] {
		if p := platforms.Format(*m.Platform); p == platforms.Format(*manifests[i].Platform) {
			return ocispec.Descriptor{}, fmt.Errorf("%s: two images for platform %s", string(l), p)
		}
	}
	return l.writeJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: manifests,
	})
}

// writeRoot writes the two files that make a directory of blobs a layout.
func (l layout) writeRoot(root ocispec.Descriptor) error {
	files := []struct {
		name  string
		value any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{ocispec.ImageIndexFile, ocispec.Index{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageIndex,
			Manifests: []ocispec.Descriptor{root},
		}},
	}
	for _, f := range files {
		data, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		staged := filepath.Join(string(l), "."+f.name)
		if err := os.WriteFile(staged, data, 0o644); err != nil {
			return err
		}
		if err := os.Rename(staged, filepath.Join(string(l), f.name)); err != nil {
			return err
		}
	}
	return nil
}

func (l layout) writeJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := digest.FromBytes(data)
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	return desc, os.WriteFile(l.blob(d), data, 0o644)
}

// archive packs the layout in dir as a tar at path. index.json comes before the
// blobs so that [Digest] need not read them.
func archive(path, dir string) error {
	blobs, err := os.ReadDir(layout(dir).blobs())
	if err != nil {
		return err
	}
	names := []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile}
	for _, b := range blobs {
		names = append(names, "blobs/sha256/"+b.Name())
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, name := range names {
		if err := addFile(tw, File{Name: name, Mode: 0o644, Source: filepath.Join(dir, name)}); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

// maxIndex bounds what is read of an index.json: ours holds one descriptor.
const maxIndex = 1 << 20

// root returns the descriptor in the index.json of an archive or layout.
func root(path string) (ocispec.Descriptor, error) {
	r, err := openIndex(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer r.Close()
	var index ocispec.Index
	if err := json.NewDecoder(io.LimitReader(r, maxIndex)).Decode(&index); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %s: %w", path, ocispec.ImageIndexFile, err)
	}
	if n := len(index.Manifests); n != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %s: %d images where one was expected", path, ocispec.ImageIndexFile, n)
	}
	desc := index.Manifests[0]
	if err := desc.Digest.Validate(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %s: digest %q: %w", path, ocispec.ImageIndexFile, desc.Digest, err)
	}
	return desc, nil
}

func openIndex(path string) (io.ReadCloser, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.IsDir() {
		return os.Open(filepath.Join(path, ocispec.ImageIndexFile))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	tr := tar.NewReader(f)
	for {
		hdr, err := tr.Next()
		if err != nil {
			f.Close()
			if err == io.EOF {
				err = fmt.Errorf("no %s", ocispec.ImageIndexFile)
			}
			return nil, fmt.Errorf("%s: not an OCI archive: %w", path, err)
		}
		if strings.TrimPrefix(hdr.Name, "./") == ocispec.ImageIndexFile {
			return struct {
				io.Reader
				io.Closer
			}{tr, f}, nil
		}
	}
}
