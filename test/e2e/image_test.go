package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// plain is a project whose steps need no network, so upstream's frontend makes
// the same image of it as ours.
const plain = `
-- Dockerfile --
FROM {busybox} AS build
ARG VERSION=1
ENV COLOUR=blue GOFLAGS=-mod=mod
WORKDIR /src
COPY . .
RUN mkdir /out && sort words >/out/sorted
RUN ["/bin/sh", "-c", "cat words words | uniq -c >/out/counted"]
RUN <<END
wc -l words >/out/lines
mkdir -p /etc/app
END
RUN <<END cat >/out/here
text
END
RUN --mount=type=bind,source=words,target=/mounted cp /mounted /out/mounted
RUN --mount=type=tmpfs,target=/scratch touch /scratch/file
USER user
RUN touch /tmp/mine

FROM {busybox}
LABEL version=2
COPY --from=build --chown=1000:1000 /out /out
RUN rm /out/lines && ln -s /out /link && chmod 700 /out
USER 1000:1000
EXPOSE 8080
VOLUME /data
HEALTHCHECK CMD true
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "cat /out/sorted"]
-- words --
pear
apple
apple
`

// An imageFile is an image as a build puts it out.
type imageFile struct {
	config ocispec.Image
	raw    []byte   // the config as it is stored
	names  []string // everything in the layers
}

// exporter makes an archive without anything that depends on the time.
func exporter(file string) []string {
	return []string{
		"--no-cache", "--provenance=false", "--build-arg=SOURCE_DATE_EPOCH=1000000000",
		"--output=type=oci,rewrite-timestamp=true,dest=" + file,
	}
}

// openImage reads an OCI archive of one image.
func openImage(t *testing.T, archive string) imageFile {
	t.Helper()
	dir := t.TempDir()
	if err := ocitar.Extract(archive, dir); err != nil {
		t.Fatal(err)
	}
	blob := func(d ocispec.Descriptor) string { return filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded()) }
	var index ocispec.Index
	decode(t, []byte(read(t, dir, "index.json")), &index)
	var manifest ocispec.Manifest
	for {
		data := []byte(read(t, blob(index.Manifests[0])))
		if err := json.Unmarshal(data, &manifest); err == nil && len(manifest.Layers) > 0 {
			break
		}
		index = ocispec.Index{}
		decode(t, data, &index)
	}
	img := imageFile{raw: []byte(read(t, blob(manifest.Config)))}
	decode(t, img.raw, &img.config)
	for _, l := range manifest.Layers {
		img.names = append(img.names, list(t, blob(l))...)
	}
	return img
}

func decode(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
}

// list is the names in a layer, compressed or not.
func list(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if z, err := gzip.NewReader(f); err == nil {
		r = z
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// ours matches what must not be seen in an image.
var ours = regexp.MustCompile(`(?i)cachi2|hermetic|hermeto|GOPROXY|GOMODCACHE|resolv\.conf|otel`)

func TestImageIsThatOfUpstream(t *testing.T) {
	dir := project(t, plain)
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	write(t, dir, "-- go.mod --\n"+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1")))
	want := filepath.Join(t.TempDir(), "stock.tar")
	stock(t, dir, exporter(want)...).passed(t)
	upstream := openImage(t, want)

	for name, deps := range map[string]string{
		"with a view":              m.prefetch(t, dir),
		"with a tree as Hermeto's": m.prefetch(t, "--layout=hermeto", "--output="+filepath.Join(t.TempDir(), "tree"), dir),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sealed.tar")
			args := []string{with(deps)}
			r := build(t, dir, append(args, exporter(file)...)...).passed(t)
			r.says(t, "[hermetic] verify and lay out")
			img := openImage(t, file)
			if diff := cmp.Diff(string(upstream.raw), string(img.raw)); diff != "" {
				t.Errorf("the config differs from upstream's (-upstream +ours):\n%s", diff)
			}
			if diff := cmp.Diff(upstream.names, img.names); diff != "" {
				t.Errorf("the layers differ from upstream's (-upstream +ours):\n%s", diff)
			}
			if len(img.config.History) < 5 || len(img.names) < 20 {
				t.Errorf("%d history entries, %d files: this test would prove nothing", len(img.config.History), len(img.names))
			}
			wantNothingOfOurs(t, img)
		})
	}
}

// wantNothingOfOurs looks through an image for traces of the frontend.
func wantNothingOfOurs(t *testing.T, img imageFile) {
	t.Helper()
	if found := ours.Find(img.raw); found != nil {
		t.Errorf("the config has %q: %s", found, img.raw)
	}
	for _, name := range img.names {
		if ours.MatchString(name) {
			t.Errorf("a layer has %s", name)
		}
	}
}

// What steps write beside the cache stays out of the image, also where a step
// looks into it and where the image had such a directory before.
func TestWritesBesideTheCacheStayOut(t *testing.T) {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	dir := project(t, `
-- Dockerfile --
FROM {busybox}
COPY go.mod /
RUN echo x >/cachi2/output/deps/gomod/written && mkdir /cachi2/output/more && ls -R /cachi2 | wc -l >/count
RUN test -e /cachi2/output/deps/gomod/written && test -e /cachi2/output/more
-- go.mod --
`+require(full("m1"))+"-- go.sum --\n"+m.goSum(full("m1")))
	file := filepath.Join(t.TempDir(), "image.tar")
	build(t, dir, append(exporter(file), with(m.prefetch(t, dir)))...).passed(t)
	img := openImage(t, file)
	if !slices.Contains(img.names, "count") {
		t.Errorf("the layers hold %q, and not what the step wrote", img.names)
	}
	for _, name := range img.names {
		if ours.MatchString(name) {
			t.Errorf("a layer has %s", name)
		}
	}
	if env := strings.Join(img.config.Config.Env, " "); strings.Contains(env, "cachi2") || strings.Contains(env, "GOPROXY") {
		t.Errorf("the config has %s", env)
	}
}
