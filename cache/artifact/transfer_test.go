package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/hermetic-build/hermetic/internal/lab/registrytest"
)

// listing is each file of a directory with its time.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out[name] = info.ModTime().String() + info.Mode().String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func indexed(t *testing.T, dir string) []digest.Digest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	var out []digest.Digest
	for _, m := range index.Manifests {
		out = append(out, m.Digest)
	}
	return out
}

// TestLayout writes two images into one layout, each twice.
func TestLayout(t *testing.T) {
	s := newStore(t)
	dir := filepath.Join(t.TempDir(), "new", "layout")
	m := many(t, s, 80)
	a := make1(t, s, m)
	addModule(t, s, m, "example.com/added", "v1.0.0")
	b := make1(t, s, m)
	for _, image := range []*Artifact{a, b} {
		if err := image.WriteLayout(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	before := listing(t, dir)
	for _, image := range []*Artifact{a, b} {
		if err := image.WriteLayout(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
		t.Errorf("the second time: %s", diff)
	}
	if diff := cmp.Diff([]digest.Digest{a.Digest(), b.Digest()}, indexed(t, dir)); diff != "" {
		t.Error(diff)
	}
	// Blobs that are cut off are made anew, those of the right length where that
	// is asked for.
	blob := filepath.Join(dir, "blobs", "sha256", b.layers[0].desc.Digest.Encoded())
	for _, damage := range []func([]byte) []byte{
		func(d []byte) []byte { return d[:len(d)/2] },
		func(d []byte) []byte { d[len(d)/2] ^= 1; return d },
	} {
		data, err := os.ReadFile(blob)
		if err = errors.Join(err, os.Chmod(blob, 0o644), os.WriteFile(blob, damage(data), 0o644)); err != nil {
			t.Fatal(err)
		}
		b.verify = true
		if err := b.WriteLayout(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if !isWhole(blob, b.layers[0].desc.Digest) {
			t.Error("a damaged blob was left")
		}
	}
}

// TestLayoutTogether writes many images into one layout at the same time: all
// are in the index.
func TestLayoutTogether(t *testing.T) {
	dir := t.TempDir()
	var images []*Artifact
	for range 8 {
		s := newStore(t)
		m := many(t, s, 1+len(images))
		images = append(images, make1(t, s, m), make1(t, s, m))
	}
	var wg sync.WaitGroup
	for _, a := range images {
		wg.Go(func() {
			if err := a.WriteLayout(t.Context(), dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(indexed(t, dir)); n != 8 {
		t.Errorf("%d images in the index, want 8", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, tmpPrefix+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCheckLayout refuses what is no layout, and touches nothing of it.
func TestCheckLayout(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"empty", nil, ""},
		{"unfinished", map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`}, ""},
		{"other", map[string]string{"main.go": "package main"}, "not empty, and no OCI layout: no oci-layout"},
		{"no json", map[string]string{"oci-layout": "x"}, "no OCI layout: oci-layout: invalid character 'x' looking for beginning of value"},
		{"later", map[string]string{"oci-layout": `{"imageLayoutVersion":"2"}`}, `an OCI layout of version "2", which this version does not write`},
		{"bad index", map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": "{"}, "index.json: unexpected end of JSON input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			if err := CheckLayout(dir); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.want == "" {
				return
			}
			before := listing(t, dir)
			s := newStore(t)
			if make1(t, s, many(t, s, 1)).WriteLayout(t.Context(), dir) == nil {
				t.Error("was written")
			}
			if diff := cmp.Diff(before, listing(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if CheckLayout(file) == nil {
		t.Error("a file passes for a layout")
	}
}

// serve is a registry on loopback and the reference of "cache:v1" in it.
func serve(t *testing.T, r *registrytest.Registry) Reference {
	t.Helper()
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	ref, err := ParseReference(strings.TrimPrefix(server.URL, "http://") + "/team/cache:v1")
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestPush sends an image, the same again, and one with a module changed.
func TestPush(t *testing.T) {
	registry := registrytest.New()
	ref := serve(t, registry)
	s := newStore(t)
	m := many(t, s, 399)
	addModule(t, s, m, "example.com/m399", "v1.0.0")
	total := int64(0)
	for _, step := range []struct {
		name  string
		fresh int // blobs beside the manifest
	}{{"first", -1}, {"again", 0}, {"changed", 3}} { // shard, manifest of the context, config
		if step.name == "changed" {
			m = many(t, s, 399)
			addModule(t, s, m, "example.com/m399", "v1.1.0")
		}
		a := make1(t, s, m)
		sent, err := a.Push(t.Context(), ref, PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		counts := registry.Counts()
		t.Logf("%s: %+v, registry %+v", step.name, sent, counts)
		want := Sent{Blobs: counts.Uploads, Bytes: counts.Bytes, Held: len(a.blobs) + 1 - counts.Uploads}
		if diff := cmp.Diff(want, sent); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
		switch {
		case step.name == "first":
			total = counts.Bytes
		case step.name == "again" && counts.Uploads != 0:
			t.Errorf("again: %d uploads", counts.Uploads)
		case step.name == "changed" && (counts.Uploads != step.fresh+1 || counts.Bytes > total/16):
			t.Errorf("changed: %d uploads of %d bytes; the whole has %d", counts.Uploads, counts.Bytes, total)
		}
		if got := digest.FromBytes(registry.Manifest("team/cache:v1")); got != a.Digest() {
			t.Errorf("%s: the tag is %s, want %s", step.name, got, a.Digest())
		}
		for _, desc := range a.blobs {
			if int64(len(registry.Blob(desc.Digest))) != desc.Size {
				t.Errorf("%s: blob %s is not there", step.name, desc.Digest)
			}
		}
	}
}

// TestPushBreaks answers requests with errors: some pass, others do not.
func TestPushBreaks(t *testing.T) {
	s := newStore(t)
	a := make1(t, s, many(t, s, 3))
	var n atomic.Int32
	upTo := func(most int32, status int) func(*http.Request) int {
		return func(r *http.Request) int {
			if r.Method == http.MethodPut && n.Add(1) <= most {
				return status
			}
			return 0
		}
	}
	for _, tt := range []struct {
		name   string
		broken func(*http.Request) int
		want   string // in the error; "" for none
		denied bool
	}{
		{"passes", upTo(2, 502), "", false},
		{"cut off", func(r *http.Request) int {
			if r.Method == http.MethodPut && n.Add(1) <= 3 {
				io.CopyN(io.Discard, r.Body, 1000)
				panic(http.ErrAbortHandler)
			}
			return 0
		}, "", false},
		{"too many requests", upTo(2, 429), "", false},
		{"stays", upTo(1000, 502), ": 502 Bad Gateway", false},
		{"forbidden", upTo(1000, 403), ": 403 Forbidden", true},
		{"refused", upTo(1000, 400), ": 400 Bad Request", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.Store(0)
			registry := registrytest.New()
			registry.Break = tt.broken
			_, err := a.Push(t.Context(), serve(t, registry), PushOptions{Pause: time.Millisecond})
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || tt.want == "" || !strings.HasSuffix(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "?\n") {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if _, ok := errors.AsType[*DeniedError](err); ok != tt.denied {
				t.Errorf("%T", err)
			}
			if registry.Manifest("team/cache:v1") != nil {
				t.Error("there is a manifest")
			}
		})
	}
}

// TestPushLogin has a registry that wants a password.
func TestPushLogin(t *testing.T) {
	s := newStore(t)
	a := make1(t, s, many(t, s, 3))
	registry := registrytest.New()
	registry.User, registry.Password = "user", "s3cret"
	ref := serve(t, registry)
	credentials := func(secret string) PushOptions {
		return PushOptions{Pause: time.Millisecond, Credentials: func(host string) (string, string, error) {
			if host != ref.Host() {
				t.Errorf("asked for %q", host)
			}
			return "user", secret, nil
		}}
	}
	if _, err := a.Push(t.Context(), ref, credentials("s3cret")); err != nil {
		t.Error(err)
	}
	registry = registrytest.New()
	registry.User, registry.Password = "user", "s3cret"
	ref = serve(t, registry)
	for name, o := range map[string]PushOptions{"wrong": credentials("guess"), "none": {Pause: time.Millisecond}} {
		_, err := a.Push(t.Context(), ref, o)
		if _, ok := errors.AsType[*DeniedError](err); !ok {
			t.Errorf("%s: %v (%T)", name, err, err)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "guess") {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(err)
	}
}

// TestPushDamaged sends from a store with a flipped bit.
func TestPushDamaged(t *testing.T) {
	s := newStore(t)
	m := many(t, s, 1)
	a := make1(t, s, m)
	path := s.Path(m.Entries[0].Blob)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[10] ^= 1
	if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
	_, err = a.Push(t.Context(), serve(t, registrytest.New()), PushOptions{Pause: time.Millisecond})
	damaged(t, "push", err, &DamagedError{[]string{"example.com/m0@v1.0.0"}})
}

// TestPushEnds cancels a push, and pushes to where nobody listens.
func TestPushEnds(t *testing.T) {
	s := newStore(t)
	a := make1(t, s, many(t, s, 1))
	server := httptest.NewServer(nil)
	server.Close()
	ref, err := ParseReference(strings.TrimPrefix(server.URL, "http://") + "/cache")
	if err != nil {
		t.Fatal(err)
	}
	if ref.String() != strings.TrimPrefix(server.URL, "http://")+"/cache:latest" {
		t.Error(ref)
	}
	_, err = a.Push(t.Context(), ref, PushOptions{})
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	registry := registrytest.New()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	registry.Break = func(*http.Request) int { cancel(stop); return 502 }
	if _, err := a.Push(ctx, serve(t, registry), PushOptions{}); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// TestParseReference reads references.
func TestParseReference(t *testing.T) {
	for in, want := range map[string]string{
		"example.com/cache":       "example.com/cache:latest",
		"example.com:5000/a/b:v1": "example.com:5000/a/b:v1",
		"example.com/Upper":       "!invalid reference format: repository name (Upper) must be lowercase",
		"example.com/cache@sha256:" + strings.Repeat("0", 64): "!a digest cannot be pushed to; name a tag",
		"": "!invalid reference format",
	} {
		got, err := ParseReference(in)
		text := ""
		if err != nil {
			text = "!" + err.Error()
		} else {
			text = got.String()
		}
		if text != want {
			t.Errorf("%q: %q, want %q", in, text, want)
		}
	}
}
