package escape

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/dirhash"
)

// published are the modules of the proxy {go.sum} stands for. The large one has
// a file of its own in a deps context, the small one is in the pack.
var published = sync.OnceValue(func() map[string][]byte {
	noise := make([]byte, 100<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	found := map[string][]byte{}
	for _, name := range []string{"small", "large"} {
		var data bytes.Buffer
		w := zip.NewWriter(&data)
		files := map[string][]byte{"go.mod": []byte("module example.com/" + name + "\n"), "code.go": []byte("package " + name + "\n")}
		if name == "large" {
			files["noise"] = noise
		}
		for _, file := range []string{"go.mod", "code.go", "noise"} {
			if text, ok := files[file]; ok {
				f, _ := w.Create("example.com/" + name + "@v1.0.0/" + file) // writes to memory do not fail
				_, _ = f.Write(text)
			}
		}
		_ = w.Close()
		found["/example.com/"+name+"/@v/v1.0.0.zip"] = data.Bytes()
		found["/example.com/"+name+"/@v/v1.0.0.mod"] = files["go.mod"]
		found["/example.com/"+name+"/@v/v1.0.0.info"] = []byte(`{"Version":"v1.0.0"}`)
	}
	return found
})

// newModules starts a Go module proxy with what is published.
func newModules() (*httptest.Server, error) {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := published()[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	})), nil
}

// modulesSum is the go.sum of what is published.
func modulesSum() string {
	var b strings.Builder
	for _, name := range []string{"example.com/large", "example.com/small"} {
		z, err := zip.NewReader(bytes.NewReader(published()["/"+name+"/@v/v1.0.0.zip"]), int64(len(published()["/"+name+"/@v/v1.0.0.zip"])))
		if err != nil {
			panic(err)
		}
		open := map[string]*zip.File{}
		var files []string
		for _, f := range z.File {
			open[f.Name] = f
			files = append(files, f.Name)
		}
		sum, err := dirhash.Hash1(files, func(file string) (io.ReadCloser, error) { return open[file].Open() })
		if err != nil {
			panic(err)
		}
		mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(published()["/"+name+"/@v/v1.0.0.mod"])), nil
		})
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s v1.0.0 %s\n%s v1.0.0/go.mod %s\n", name, sum, name, mod)
	}
	return b.String()
}

// entry is a zip entry whose header says what it likes.
type entry struct {
	name             string
	data             []byte // compressed
	packed, unpacked uint64
	crc              uint32
}

// bombs are zips that nobody should unpack.
var bombs = map[string]func() []byte{
	// says that it is 10 GB
	"declared": func() []byte { return rawZip(entry{name: "go.mod", data: []byte{3, 0}, unpacked: 10 << 30}) },
	// says that it is 1 KB and is 1 GB
	"understated": func() []byte { return rawZip(entry{name: "noise", data: zeros(1 << 30), unpacked: 1 << 10}) },
	// as much as is allowed, of zeros
	"full": func() []byte { return rawZip(entry{name: "noise", data: zeros(480 << 20), unpacked: 480 << 20}) },
	// entries that are all the same 400 MB
	"overlapping": func() []byte {
		var all []entry
		data := zeros(400 << 20)
		for i := range 50 {
			all = append(all, entry{name: fmt.Sprint(i), data: data, unpacked: 400 << 20})
		}
		return rawZip(all...)
	},
	// a million entries
	"entries": func() []byte {
		var all []entry
		for i := range 1_000_000 {
			all = append(all, entry{name: fmt.Sprint(i)})
		}
		return rawZip(all...)
	},
	// zips in a zip
	"nested": func() []byte {
		data := rawZip(entry{name: "noise", data: zeros(100 << 20), unpacked: 100 << 20})
		for range 10 {
			data = rawZip(entry{name: "a.zip", data: stored(data), unpacked: uint64(len(data))},
				entry{name: "b.zip", data: stored(data), unpacked: uint64(len(data))})
		}
		return data
	},
	// names that lead elsewhere
	"names": func() []byte {
		return rawZip(entry{name: "../../../etc/passwd"}, entry{name: "/etc/passwd"}, entry{name: "a\nb"}, entry{name: strings.Repeat("n/", 30000)})
	},
	"garbage": func() []byte { return bytes.Repeat([]byte("PK\x01\x02"), 1<<20) },
}

// zeros is a stream of that many zeros, compressed. The stream of a part is
// repeated: each ends at a byte.
func zeros(n int) []byte {
	const part = 1 << 20
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression) // memory does not fail
	_, _ = w.Write(make([]byte, part))
	_ = w.Flush()
	one := bytes.Clone(b.Bytes())
	return append(bytes.Repeat(one, n/part), 3, 0) // an empty last block
}

// stored is data as a stream that is not compressed.
func stored(data []byte) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.NoCompression)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func rawZip(entries ...entry) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		method := zip.Deflate
		if len(e.data) == 0 {
			method = zip.Store
		}
		if e.crc == 0 {
			e.crc = crc32.ChecksumIEEE(e.data)
		}
		f, err := w.CreateRaw(&zip.FileHeader{
			Name: "example.com/large@v1.0.0/" + e.name, Method: method, CRC32: e.crc,
			CompressedSize64: uint64(len(e.data)), UncompressedSize64: e.unpacked,
		})
		if err != nil {
			panic(err)
		}
		_, _ = f.Write(e.data)
	}
	_ = w.Close()
	return b.Bytes()
}

var largeLine = regexp.MustCompile(`(example\.com/large v1\.0\.0 zip - \S+) sha256:([0-9a-f]{64}) \d+ blob`)

// bomb puts a bomb in the place of the large module, with a manifest that tells
// no lie about it.
func (r *room) bomb(kind string) error {
	bomb, ok := bombs[kind]
	if !ok {
		return fmt.Errorf("no bomb called %q", kind)
	}
	text, err := os.ReadFile(r.path("deps", "hermetic.manifest"))
	if err != nil {
		return err
	}
	line := largeLine.FindSubmatch(text)
	if line == nil {
		return fmt.Errorf("no large module in the manifest:\n%s", text)
	}
	data := bomb()
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	text = largeLine.ReplaceAll(text, fmt.Appendf(nil, "$1 sha256:%s %d blob", sum, len(data)))
	if err := os.Remove(r.path("deps", "gomod", "blobs", "sha256", string(line[2]))); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.path("deps"), "gomod", "blobs", "sha256", sum), data, 0o644); err != nil {
		return err
	}
	return replaceFile(r.path("deps", "hermetic.manifest"), text)
}
