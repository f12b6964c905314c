package ocitar

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ctdarchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func sample(arch string) Image {
	img := Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Layers: []Layer{
			Files(
				File{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
				File{Name: "bin/tool", Mode: 0o755, Data: []byte("#!" + arch)},
				File{Name: "bin/sh", Mode: fs.ModeSymlink, Target: "tool"},
				File{Name: "bin-extra", Mode: 0o600, UID: 1000, GID: 100},
			),
			Files(File{Name: strings.Repeat("long/", 60) + "name", Mode: fs.ModeSetuid | 0o755}).Uncompressed(),
		},
	}
	img.Config.Entrypoint = []string{"/bin/tool"}
	img.Config.Env = []string{"PATH=/bin"}
	img.Config.Labels = map[string]string{"b": "2", "a": "1", "c": "3"}
	img.Config.OnBuild = []string{"RUN true"}
	return img
}

// TestRead reads an archive with containerd's importer, which shares no code
// with the writer, and compares everything a runtime would see.
func TestRead(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "image.tar")
	want, err := Write(path, sample("arm64"), sample("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	desc, err := ctdarchive.ImportIndex(ctx, store, f)
	if err != nil {
		t.Fatal(err)
	}
	var top ocispec.Index
	readJSON(t, store, desc, &top)
	if len(top.Manifests) != 1 || top.Manifests[0].Digest != want {
		t.Fatalf("index.json holds %v, want %s alone", top.Manifests, want)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		p := ocispec.Platform{OS: "linux", Architecture: arch}
		manifest, err := images.Manifest(ctx, store, top.Manifests[0], platforms.OnlyStrict(p))
		if err != nil {
			t.Fatal(err)
		}
		var config dockerspec.DockerOCIImage
		readJSON(t, store, manifest.Config, &config)
		if diff := cmp.Diff(sample(arch).Config, config.Config); diff != "" {
			t.Errorf("%s: config (-want +got):\n%s", arch, diff)
		}
		if diff := cmp.Diff(p, config.Platform); diff != "" {
			t.Errorf("%s: platform (-want +got):\n%s", arch, diff)
		}
		var got []string
		for i, layer := range manifest.Layers {
			plain := readLayer(t, store, layer)
			if d := digest.FromBytes(plain); d != config.RootFS.DiffIDs[i] {
				t.Errorf("%s: layer %d is %s, the config says %s", arch, i, d, config.RootFS.DiffIDs[i])
			}
			got = append(got, list(t, plain)...)
		}
		if diff := cmp.Diff(sampleFiles(arch), got); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", arch, diff)
		}
	}
}

// sampleFiles is what [list] says of the layers of sample.
func sampleFiles(arch string) []string {
	files := []string{
		"bin/ 5 755 0:0 ",
		"bin/sh 2 777 0:0 tool",
		"bin/tool 0 755 0:0 #!" + arch,
		"bin-extra 0 600 1000:100 ",
		"tmp/ 5 1777 0:0 ",
	}
	for i := range 60 {
		files = append(files, strings.Repeat("long/", i+1)+" 5 755 0:0 ")
	}
	return append(files, strings.Repeat("long/", 60)+"name 0 4755 0:0 ")
}

// TestSameDigest writes the same image 100 times, its parts given in every order
// that must not matter, and on disk at another place, with another age and owner.
func TestSameDigest(t *testing.T) {
	var first digest.Digest
	var firstBytes []byte
	for i := range 100 {
		dir := t.TempDir()
		tree := filepath.Join(dir, fmt.Sprint("tree", i))
		writeTree(t, tree, time.Unix(int64(i)*1e6, 0))
		a, b := sample("amd64"), sample("arm64")
		a.Layers = append(a.Layers, Tree(tree, TreeOptions{At: "opt/tree"}))
		if i%2 == 1 {
			a, b = b, a
		}
		path := filepath.Join(dir, "image.tar")
		d, err := Write(path, a, b)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first, firstBytes = d, data
		}
		if d != first || !bytes.Equal(data, firstBytes) {
			t.Fatalf("run %d: %s, the first was %s", i, d, first)
		}
	}
}

// TestDifferentDigest shows that the digest sees each field.
func TestDifferentDigest(t *testing.T) {
	seen := map[digest.Digest]string{}
	for name, change := range map[string]func(*Image){
		"nothing":      func(*Image) {},
		"entrypoint":   func(img *Image) { img.Config.Entrypoint = []string{"/x"} },
		"onbuild":      func(img *Image) { img.Config.OnBuild = nil },
		"label":        func(img *Image) { img.Config.Labels = map[string]string{"a": "2"} },
		"platform":     func(img *Image) { img.Platform.Architecture = "arm64" },
		"variant":      func(img *Image) { img.Platform.Variant = "v2" },
		"layer":        func(img *Image) { img.Layers = img.Layers[:1] },
		"uncompressed": func(img *Image) { img.Layers[0] = img.Layers[0].Uncompressed() },
		"mode":         func(img *Image) { img.Layers[0] = Files(File{Name: "f", Mode: 0o600}) },
		"setuid":       func(img *Image) { img.Layers[0] = Files(File{Name: "f", Mode: fs.ModeSetuid | 0o600}) },
		"owner":        func(img *Image) { img.Layers[0] = Files(File{Name: "f", Mode: 0o600, UID: 1}) },
	} {
		img := sample("amd64")
		change(&img)
		d, err := WriteLayout(t.TempDir(), img)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[d] = name
	}
}

func TestTreeSkip(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, epoch)
	layer := Tree(dir, TreeOptions{At: "a/b", Skip: func(name string) bool { return name == "sub" || name == "file" }})
	var buf bytes.Buffer
	if err := layer.write(&buf); err != nil {
		t.Fatal(err)
	}
	want := []string{"a/ 5 755 0:0 ", "a/b/ 5 755 0:0 ", "a/b/link 2 777 0:0 sub/nested"}
	if diff := cmp.Diff(want, list(t, buf.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTarball(t *testing.T) {
	var plain bytes.Buffer
	if err := Files(File{Name: "f", Mode: 0o640, Data: []byte("x")}).write(&plain); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rootfs.tar")
	if err := os.WriteFile(path, plain.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := WriteLayout(dir, Image{Layers: []Layer{Tarball(path).Uncompressed()}}); err != nil {
		t.Fatal(err)
	}
	blob, err := os.ReadFile(layout(dir).blob(digest.FromBytes(plain.Bytes())))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(blob, plain.Bytes()) {
		t.Error("the tarball was changed")
	}
}

func TestWriteErrors(t *testing.T) {
	tests := []struct {
		name   string
		images []Image
		want   string
	}{
		{"none", nil, "no image to write"},
		{"twice", []Image{sample("amd64"), sample("amd64")}, "two images for platform linux/amd64"},
		{"absolute", files(File{Name: "/etc"}), `"/etc": not a clean path below the root`},
		{"escape", files(File{Name: "a/../../b"}), "not a clean path"},
		{"duplicate", files(File{Name: "a"}, File{Name: "a"}), "a: listed twice"},
		{"device", files(File{Name: "a", Mode: fs.ModeDevice}), "a: unsupported file type"},
		{"gone", files(File{Name: "a", Source: "/nonexistent/a"}), "no such file"},
		{"tree", []Image{{Layers: []Layer{Tree("/nonexistent/tree", TreeOptions{})}}}, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image.tar")
			_, err := Write(path, tt.images...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			left, _ := os.ReadDir(filepath.Dir(path))
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	want, err := Write(path, sample("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "layout")
	if err := Extract(path, out); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(dir, "again.tar")
	if err := archive(again, out); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(again)
	if !bytes.Equal(a, b) {
		t.Error("packing what was extracted gives another archive")
	}
	for _, p := range []string{path, out} {
		if got, err := Digest(p); err != nil || got != want {
			t.Errorf("Digest(%s) = %s, %v; want %s", p, got, err, want)
		}
	}
}

func TestExtractErrors(t *testing.T) {
	empty := digest.FromBytes(nil).Encoded()
	tests := []struct {
		name string
		hdr  tar.Header
		want string
	}{
		{"escape", tar.Header{Name: "../index.json", Typeflag: tar.TypeReg}, "no place in an OCI layout"},
		{"blob escape", tar.Header{Name: "blobs/sha256/../../../x", Typeflag: tar.TypeReg}, "no place"},
		{"absolute", tar.Header{Name: "/etc/passwd", Typeflag: tar.TypeReg}, "no place"},
		{"link", tar.Header{Name: "index.json", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "not a regular file"},
		{"corrupt", tar.Header{Name: "blobs/sha256/" + empty, Typeflag: tar.TypeReg, Size: 1}, "content differs from its digest"},
		{"no index", tar.Header{Name: "blobs/sha256/" + empty, Typeflag: tar.TypeReg}, "not an OCI archive"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "bad.tar")
			var buf bytes.Buffer
			tw := tar.NewWriter(&buf)
			if err := tw.WriteHeader(&tt.hdr); err != nil {
				t.Fatal(err)
			}
			tw.Write(make([]byte, tt.hdr.Size))
			tw.Close()
			if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "out")
			if err := Extract(path, out); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if _, err := os.Stat(layout(out).blob(digest.FromBytes(nil))); err == nil && tt.name == "corrupt" {
				t.Error("a corrupt blob was kept")
			}
		})
	}
}

// FuzzExtract feeds arbitrary archives: whatever they say, each blob that is
// kept has its digest, and nothing appears beside the output directory.
func FuzzExtract(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.tar")
	if _, err := Write(path, Image{Layers: []Layer{Files(File{Name: "f"})}}); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		in := filepath.Join(dir, "in.tar")
		if err := os.WriteFile(in, data, 0o644); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "out")
		err := Extract(in, out)
		if entries, _ := os.ReadDir(dir); len(entries) > 2 {
			t.Fatalf("written outside: %v", entries)
		}
		if err != nil {
			return
		}
		Digest(out)
		blobs, _ := os.ReadDir(layout(out).blobs())
		for _, b := range blobs {
			content, err := os.ReadFile(filepath.Join(layout(out).blobs(), b.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if got := digest.FromBytes(content).Encoded(); got != b.Name() {
				t.Fatalf("blob %s has digest %s", b.Name(), got)
			}
		}
	})
}

// TestPushLoopbackOnly: the refusal comes before the image is even read.
func TestPushLoopbackOnly(t *testing.T) {
	for _, ref := range []string{"busybox", "example.com/a", "192.0.2.1:5000/a", "localhost.example.com/a"} {
		_, err := Push(context.Background(), "/nonexistent", ref)
		if err == nil || !strings.HasSuffix(err.Error(), "not a registry on loopback") {
			t.Errorf("Push to %s: got error %v", ref, err)
		}
		if _, err := Resolve(context.Background(), ref); err == nil || !strings.HasSuffix(err.Error(), "not a registry on loopback") {
			t.Errorf("Resolve %s: got error %v", ref, err)
		}
	}
}

func files(f ...File) []Image { return []Image{{Layers: []Layer{Files(f...)}}} }

func writeTree(t *testing.T, dir string, age time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"file": 0o644, "sub/nested": 0o755} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, age, age); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sub/nested", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

func readJSON(t *testing.T, p content.Provider, desc ocispec.Descriptor, v any) {
	t.Helper()
	data, err := content.ReadBlob(context.Background(), p, desc)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

func readLayer(t *testing.T, p content.Provider, desc ocispec.Descriptor) []byte {
	t.Helper()
	data, err := content.ReadBlob(context.Background(), p, desc)
	if err != nil {
		t.Fatal(err)
	}
	if desc.MediaType == ocispec.MediaTypeImageLayer {
		return data
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if zr.Name != "" || !zr.ModTime.IsZero() {
		t.Errorf("gzip header has name %q, time %v", zr.Name, zr.ModTime)
	}
	plain, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// list draws a tar as one line per entry: name, type, mode, owner, content or target.
func list(t *testing.T, data []byte) []string {
	t.Helper()
	var lines []string
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if !hdr.ModTime.Equal(epoch) || hdr.Uname != "" || hdr.Gname != "" {
			t.Errorf("%s: time %v, owner %q:%q", hdr.Name, hdr.ModTime, hdr.Uname, hdr.Gname)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %c %o %d:%d %s", hdr.Name, hdr.Typeflag, hdr.Mode, hdr.Uid, hdr.Gid, string(body)+hdr.Linkname))
	}
}
