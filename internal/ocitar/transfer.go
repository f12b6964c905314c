package ocitar

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Extract unpacks an OCI archive into the layout directory dir, which is made if
// need be. Every blob is checked against the digest it is named by; an entry
// that has no place in a layout is an error, and nothing is written outside dir.
func Extract(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(layout(dir).blobs(), 0o755); err != nil {
		return err
	}
	tr := tar.NewReader(f)
	seen := map[string]bool{}
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: not an OCI archive: %w", archive, err)
		}
		name := path.Clean(hdr.Name)
		if hdr.Typeflag != tar.TypeDir {
			err = extractEntry(tr, hdr, filepath.Join(dir, name))
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", archive, hdr.Name, err)
		}
		seen[name] = true
	}
	if !seen[ocispec.ImageIndexFile] || !seen[ocispec.ImageLayoutFile] {
		return fmt.Errorf("%s: not an OCI archive: no %s or no %s", archive, ocispec.ImageLayoutFile, ocispec.ImageIndexFile)
	}
	return nil
}

func extractEntry(r io.Reader, hdr *tar.Header, to string) error {
	if hdr.Typeflag != tar.TypeReg {
		return errors.New("not a regular file")
	}
	name := path.Clean(hdr.Name)
	if name == ocispec.ImageIndexFile || name == ocispec.ImageLayoutFile {
		return copyTo(to, r)
	}
	hex, ok := strings.CutPrefix(name, "blobs/sha256/")
	want := digest.NewDigestFromEncoded(digest.SHA256, hex)
	if !ok || want.Validate() != nil {
		return errors.New("no place in an OCI layout")
	}
	verifier := want.Verifier()
	if err := copyTo(to, io.TeeReader(r, verifier)); err != nil {
		return err
	}
	if !verifier.Verified() {
		os.Remove(to)
		return errors.New("content differs from its digest")
	}
	return nil
}

func copyTo(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	return f.Close()
}

// Push copies the image in path, an archive or a layout directory, to ref, such
// as "127.0.0.1:5000/busybox:latest", over plain HTTP, and returns its digest.
// Blobs that the registry has are not sent again. A ref whose host is not
// loopback is refused before anything is sent.
func Push(ctx context.Context, path, ref string) (digest.Digest, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	if err := checkLoopback(reference.Domain(named)); err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	desc, err := root(path)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir, err := os.MkdirTemp("", "ocitar-*")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(dir)
		if err := Extract(path, dir); err != nil {
			return "", err
		}
		path = dir
	}
	// With the digest in the ref the pusher tags the root alone, not every
	// manifest below it.
	tagged := reference.TagNameOnly(named).String() + "@" + desc.Digest.String()
	pusher, err := newResolver().Pusher(ctx, tagged)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	if err := remotes.PushContent(ctx, pusher, desc, layout(path), nil, platforms.All, nil); err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return desc.Digest, nil
}

// Resolve returns the digest that the registry on loopback has under ref. A ref
// that it does not have gives an error that is errdefs.ErrNotFound.
func Resolve(ctx context.Context, ref string) (digest.Digest, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	if err := checkLoopback(reference.Domain(named)); err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	_, desc, err := newResolver().Resolve(ctx, reference.TagNameOnly(named).String())
	return desc.Digest, err
}

func newResolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
}

func checkLoopback(domain string) error {
	host, _, err := net.SplitHostPort(domain)
	if err != nil {
		host = domain
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("not a registry on loopback")
	}
	return nil
}

// ReaderAt implements [content.Provider] on the blobs of a layout.
func (l layout) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	f, err := os.Open(l.blob(desc.Digest))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return blobReader{f, info.Size()}, nil
}

type blobReader struct {
	*os.File
	size int64
}

func (b blobReader) Size() int64 { return b.size }
