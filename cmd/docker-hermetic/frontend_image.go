package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// defaultFrontend is the image that a release stamps into its binaries, pinned
// by digest; "" for binaries that go with an archive instead.
var defaultFrontend = ""

// archiveName is the frontend as an OCI archive, as it is shipped beside the
// binary.
const archiveName = "hermetic-frontend.oci.tar"

// archiveDirs is where the archive is, relative to the binary: beside it, as
// packages install it, and as "make" leaves it.
var archiveDirs = []string{".", "../lib/hermetic", "../dist"}

// frontendContext is the name under which a frontend from an archive is handed
// to BuildKit: it looks for the image of "# syntax" among the named contexts
// before it asks a registry (BuildKit frontend/gateway/gateway.go).
const frontendContext = "hermetic.frontend"

// A frontendImage is what turns the Dockerfile into a sealed build.
type frontendImage struct {
	ref    string        // as in "# syntax=REF"
	layout string        // the OCI layout that holds it; "" for one from a registry
	digest digest.Digest // of the image in the layout
}

// frontendImage decides which frontend a build gets: --frontend, an image or an
// OCI archive; HERMETIC_FRONTEND, likewise; the stamped one; the archive that
// came with the binary.
func (p *program) frontendImage(flag string, store *cache.Store) (frontendImage, error) {
	for _, ref := range []string{flag, p.env["HERMETIC_FRONTEND"], defaultFrontend} {
		switch {
		case ref == "":
		case strings.HasSuffix(ref, ".tar"):
			return unpackFrontend(ref, store)
		default:
			return frontendImage{ref: ref}, nil
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return frontendImage{}, err
	}
	archive, err := shippedArchive(exe)
	if err != nil {
		return frontendImage{}, err
	}
	return unpackFrontend(archive, store)
}

// shippedArchive finds the archive that came with the binary exe.
func shippedArchive(exe string) (string, error) {
	exe, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return "", err
	}
	for _, dir := range archiveDirs {
		path := filepath.Join(filepath.Dir(exe), dir, archiveName)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", trouble(fmt.Sprintf("no frontend image: %s has no %s beside it", exe, archiveName),
		"name an image or an archive with --frontend or HERMETIC_FRONTEND")
}

// unpackFrontend makes an OCI layout of an archive, once for each content:
//
//	frontends/<digest in hex>/{oci-layout,index.json,blobs/…}
//
// in the store. It appears by one rename, complete and checked.
func unpackFrontend(archive string, store *cache.Store) (frontendImage, error) {
	d, err := ocitar.Digest(archive)
	if err != nil {
		return frontendImage{}, fmt.Errorf("frontend image %s: %w", archive, bare(err))
	}
	dir := filepath.Join(store.Dir(), "frontends", d.Encoded())
	image := frontendImage{ref: frontendContext, layout: dir, digest: d}
	if have, err := ocitar.Digest(dir); err == nil && have == d {
		return image, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return frontendImage{}, err
	}
	tmp, err := os.MkdirTemp(filepath.Join(store.Dir(), "tmp"), "frontend-")
	if err != nil {
		return frontendImage{}, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return frontendImage{}, err
	}
	if err := ocitar.Extract(archive, tmp); err != nil {
		return frontendImage{}, fmt.Errorf("frontend image: %w", err)
	}
	if _, err := ocitar.Digest(dir); err != nil {
		os.RemoveAll(dir) // damaged, or not there
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return frontendImage{}, err // another process that was faster made the same
	}
	return image, nil
}
