package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/tools/txtar"

	"github.com/hermetic-build/hermetic/internal/lab/registrytest"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// greeting is a project of two modules, one large and one small; its words are
// in the image that it makes.
func greeting(m *mirror) string {
	names := []string{full("m1"), "example.com/small@v1.0.0"}
	return `
-- Dockerfile --
FROM --platform=$BUILDPLATFORM {golang} AS b
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -o /app . && (/app; echo $TARGETARCH) >/said 2>&1
FROM scratch
COPY --from=b /said /
-- main.go --
package main

import (
	"example.com/m1"
	"example.com/small"
)

func main() { println(m1.Name, small.Name) }
-- go.mod --
` + require(names...) + "-- go.sum --\n" + m.goSum(names...)
}

func newGreetings(t *testing.T) *mirror {
	m := newMirror(t)
	m.addNoise(t, full("m1"))
	m.add(t, "example.com/small@v1.0.0", "-- code.go --\npackage small\n\nconst Name = \"small\"\n")
	return m
}

// asImage prefetches for dir into a layout and into the lab's registry, and
// returns the names that are printed.
func (m *mirror) asImage(t *testing.T, dir string) (layout, pushed string) {
	t.Helper()
	repository := world.RegistryHost() + "/deps/" + strings.ToLower(strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()))
	out := m.prefetch(t, "--output=type=oci,dest="+filepath.Join(t.TempDir(), "layout"), "--push="+repository, dir)
	layout, pushed, ok := strings.Cut(out, "\n")
	if !ok || !strings.HasPrefix(layout, "oci-layout:///") || !strings.HasPrefix(pushed, "docker-image://"+repository+":latest@sha256:") {
		t.Fatalf("prefetch prints %q", out)
	}
	return layout, pushed
}

// TestCacheAsAnImage builds with the cache from an OCI layout and from a
// registry, for each platform and for two at once, and without buildx.
func TestCacheAsAnImage(t *testing.T) {
	m := newGreetings(t)
	dir := project(t, greeting(m))
	layout, pushed := m.asImage(t, dir)
	said := func(arch string) string { return full("m1") + " small\n" + arch + "\n" }
	for name, deps := range map[string]string{"layout": layout, "registry": pushed} {
		for _, arch := range []string{"amd64", "arm64"} {
			t.Run(name+" for "+arch, func(t *testing.T) {
				out, r := files(t, dir, with(deps), "--platform=linux/"+arch)
				if diff := cmp.Diff(said(arch), read(t, out, "said")); diff != "" {
					t.Error(diff)
				}
				r.says(t, "[hermetic] verify and lay out 4 inputs")
			})
		}
		t.Run(name+" for both", func(t *testing.T) {
			out, _ := files(t, dir, with(deps), "--platform=linux/amd64,linux/arm64")
			for _, arch := range []string{"amd64", "arm64"} {
				if diff := cmp.Diff(said(arch), read(t, out, "linux_"+arch, "said")); diff != "" {
					t.Error(diff)
				}
			}
		})
		t.Run(name+" by hermetic build without buildx", func(t *testing.T) {
			home, out := t.TempDir(), t.TempDir()
			bare := []string{"PATH=" + home, "HOME=" + home, "DOCKER_CONFIG=" + home, "HERMETIC_STORE=" + t.TempDir()}
			run(t, bare, "build", "--progress=plain", with(deps), "--output=type=local,dest="+out, dir).passed(t)
			contains(t, "said", read(t, out, "said"), full("m1")+" small\n")
		})
	}
	t.Run("stale", func(t *testing.T) {
		edit(t, filepath.Join(dir, "go.sum"), func(s string) string {
			return s + "example.com/other v1.0.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
		})
		contains(t, "the error", build(t, dir, with(layout)).failed(t), "example.com/other@v1.0.0: not in the cache")
	})
}

// A provenance is what this test reads of BuildKit's SLSA provenance, version 1
// (docs/attestations/slsa-definitions.md there).
type provenance struct {
	PredicateType string `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			ResolvedDependencies []material `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Metadata struct {
				Hermetic     bool `json:"buildkit_hermetic"`
				Completeness struct {
					Request              bool `json:"request"`
					ResolvedDependencies bool `json:"resolvedDependencies"`
				} `json:"buildkit_completeness"`
			} `json:"metadata"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

type material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// has tells whether a material of this digest has a URI with this text in it.
func (p provenance) has(text, sum string) bool {
	return slices.ContainsFunc(p.Predicate.BuildDefinition.ResolvedDependencies, func(m material) bool {
		return strings.Contains(m.URI, text) && (m.Digest["sha256"] == sum || m.Digest["sha1"] == sum)
	})
}

// A verdict is what we and what BuildKit say of one build.
type verdict struct {
	level      string
	obstacles  string
	provenance []provenance // one a platform
}

// judge builds and reads the report, and the provenance in the image.
func judge(t *testing.T, source string, args ...string) verdict {
	t.Helper()
	archive, meta := filepath.Join(t.TempDir(), "image.tar"), filepath.Join(t.TempDir(), "meta.json")
	build(t, source, append(args, "--output=type=oci,dest="+archive, "--metadata-file="+meta)...).passed(t)
	var metadata struct {
		Report string `json:"frontend.hermetic.report"`
	}
	decode(t, []byte(read(t, meta)), &metadata)
	var report struct {
		Level     string
		Obstacles json.RawMessage
	}
	decode(t, []byte(metadata.Report), &report)
	return verdict{report.Level, string(report.Obstacles), provenances(t, archive)}
}

// provenances are those of the attestation manifests in an OCI archive.
func provenances(t *testing.T, archive string) []provenance {
	t.Helper()
	var out []provenance
	for _, text := range attestations(t, archive, "https://slsa.dev/provenance/") {
		var p provenance
		decode(t, text, &p)
		out = append(out, p)
	}
	return out
}

// attestations are the in-toto statements in an OCI archive whose predicate type
// begins so.
func attestations(t *testing.T, archive, kind string) [][]byte {
	t.Helper()
	dir := t.TempDir()
	if err := ocitar.Extract(archive, dir); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	var walk func(d digest.Digest)
	walk = func(d digest.Digest) {
		var node struct {
			Manifests []ocispec.Descriptor
			Layers    []ocispec.Descriptor
		}
		decode(t, []byte(read(t, dir, "blobs", "sha256", d.Encoded())), &node)
		for _, m := range node.Manifests {
			walk(m.Digest)
		}
		for _, l := range node.Layers {
			if strings.HasPrefix(l.Annotations["in-toto.io/predicate-type"], kind) {
				out = append(out, []byte(read(t, dir, "blobs", "sha256", l.Digest.Encoded())))
			}
		}
	}
	root, err := ocitar.Digest(archive)
	if err != nil {
		t.Fatal(err)
	}
	walk(root)
	return out
}

// tarServer serves the files of a txtar archive as a tar over HTTP, and is its
// URL and its sum.
func tarServer(t *testing.T, archive string) (url, sum string) {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, f := range txtar.Parse([]byte(words().Replace(archive))).Files {
		if err := w.WriteHeader(&tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(data.Bytes()) }))
	t.Cleanup(server.Close)
	return server.URL + "/app.tar", digest.FromBytes(data.Bytes()).Encoded()
}

// TestBuildKitCallsItHermetic: of sources that are all named by digest or
// commit, the cache among them, BuildKit itself says that the build was hermetic
// and lists all of them, and our level is complete. With one directory of the
// client among them neither does.
func TestBuildKitCallsItHermetic(t *testing.T) {
	m := newGreetings(t)
	archive := greeting(m)
	dir := project(t, archive)
	layout, pushed := m.asImage(t, dir)
	view := m.prefetch(t, dir)
	sum := func(name string) string { return name[strings.LastIndex(name, ":")+1:] }
	server := newGitServer(t)
	git, commit := server.url+"/app.git", server.add(t, "app.git", words().Replace(archive))
	tarball, tarSum := tarServer(t, archive)
	frontendName, _, _ := strings.Cut(images.frontend, ":latest@")
	for _, c := range []struct {
		name, source, deps string
		material           [2]string // of the source
		hermetic           bool
	}{
		{"git and an image", git + "#" + commit, pushed, [2]string{git, commit}, true},
		{"git and a layout", git + "#main", layout, [2]string{git, commit}, true},
		{"HTTP and an image", tarball, pushed, [2]string{tarball, tarSum}, true},
		{"a directory and an image", dir, pushed, [2]string{}, false},
		{"git and a directory", git + "#" + commit, view, [2]string{git, commit}, false},
	} {
		for _, mode := range []string{"max", "min"} {
			t.Run(c.name+" mode "+mode, func(t *testing.T) {
				v := judge(t, c.source, with(c.deps), "--provenance=mode="+mode)
				if len(v.provenance) != 1 {
					t.Fatalf("%d provenances", len(v.provenance))
				}
				p := v.provenance[0]
				meta := p.Predicate.RunDetails.Metadata
				if meta.Hermetic != c.hermetic || meta.Completeness.ResolvedDependencies != c.hermetic {
					t.Errorf("BuildKit says hermetic %v, %+v; want %v", meta.Hermetic, meta.Completeness, c.hermetic)
				}
				if (v.level == "complete") != c.hermetic {
					t.Errorf("level %s; obstacles %s", v.level, v.obstacles)
				}
				wants := [][2]string{{images.golang[:strings.Index(images.golang, ":latest")], sum(images.golang)}, {frontendName, sum(images.frontend)}}
				if c.material[0] != "" {
					wants = append(wants, c.material)
				}
				if c.deps != view {
					wants = append(wants, [2]string{"", sum(c.deps)})
				}
				for _, w := range wants {
					if !p.has(strings.ReplaceAll(w[0], world.RegistryHost(), ""), w[1]) {
						t.Errorf("no material %s of %s among %v", w[0], w[1], p.Predicate.BuildDefinition.ResolvedDependencies)
					}
				}
				if !c.hermetic {
					contains(t, "what keeps it from complete", v.obstacles, map[bool]string{true: "the deps context", false: "the build context"}[c.deps == view])
				}
			})
		}
	}
	t.Run("for two platforms", func(t *testing.T) {
		v := judge(t, git+"#"+commit, with(pushed), "--provenance=mode=max", "--platform=linux/amd64,linux/arm64")
		if len(v.provenance) != 2 {
			t.Fatalf("%d provenances", len(v.provenance))
		}
		for i, p := range v.provenance {
			if !p.Predicate.RunDetails.Metadata.Hermetic || !p.has("deps", sum(pushed)) {
				t.Errorf("%d: %+v", i, p)
			}
		}
	})
	t.Run("by tag", func(t *testing.T) {
		ref, _, _ := strings.Cut(pushed, "@")
		v := judge(t, git+"#"+commit, with(ref))
		if v.level != "sealed" {
			t.Errorf("level %s", v.level)
		}
		contains(t, "what keeps it from pinned", v.obstacles, "/deps/", ": no digest")
	})
	t.Run("the version before", func(t *testing.T) {
		archive := filepath.Join(t.TempDir(), "image.tar")
		build(t, git+"#"+commit, with(pushed), "--provenance=version=v0.2", "--output=type=oci,dest="+archive).passed(t)
		data := strings.ReplaceAll(read(t, archive), ": ", ":")
		contains(t, "the provenance", data, fmt.Sprintf("%q:true", "https://mobyproject.org/buildkit@v1#hermetic"), sum(pushed))
	})
}

// TestLargeCacheNeedsLittleMemory makes an image of a file that is larger than
// what the program may use of memory, and pushes it.
func TestLargeCacheNeedsLittleMemory(t *testing.T) {
	const size, most = 400 << 20, 200 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	h := sha256.New()
	if _, err := io.Copy(h, zeros()); err != nil {
		t.Fatal(err)
	}
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, zeros()) }))
	defer files.Close()
	registry := registrytest.New()
	registry.Forget = true
	server := httptest.NewServer(registry)
	defer server.Close()
	dir := project(t, fmt.Sprintf(`
-- artifacts.lock.yaml --
metadata: {version: "1.0"}
artifacts:
  - {download_url: %s/large, checksum: "sha256:%x"}
`, files.URL, h.Sum(nil)))
	cmd := exec.CommandContext(t.Context(), cli, "prefetch", "--progress=quiet", "--store="+t.TempDir(),
		"--output=type=oci,dest="+t.TempDir(), "--push="+strings.TrimPrefix(server.URL, "http://")+"/large", dir)
	cmd.Env = world.Env()
	output(cmd).passed(t)
	if got := registry.Counts().Bytes; got < size {
		t.Errorf("%d bytes were pushed", got)
	}
	rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	t.Logf("%d MB", rss>>20)
	if rss > most {
		t.Errorf("%d bytes of memory", rss)
	}
}

// zeroReader reads zeros.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
