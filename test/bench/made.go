package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// A registry is one of made-up packages: what it answers, by path. What it is
// made of is the same in each run.
type registry map[string][]byte

// ServeHTTP implements http.Handler.
func (r registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, ok := r[req.URL.Path]
	if !ok {
		http.NotFound(w, req)
		return
	}
	switch {
	case strings.HasSuffix(req.URL.Path, "/"):
		w.Header().Set("Content-Type", "text/html")
	case path.Ext(req.URL.Path) == "":
		w.Header().Set("Content-Type", "application/json")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// A maker makes up packages of many sizes, as those of people are: most are
// small, and few make up most of the bytes.
type maker struct {
	random *rand.Rand
	pool   []byte  // text to cut files from
	median float64 // bytes of a package before it is packed
	spread float64 // of the logarithm
}

// newMaker makes packages of which half are larger than median, in bytes before
// they are packed.
func newMaker(median, spread float64) *maker {
	m := &maker{random: rand.New(rand.NewPCG(1, 2)), median: median, spread: spread}
	words := make([]string, 4000)
	for i := range words {
		words[i] = strconv.FormatUint(m.random.Uint64N(1<<40), 36)
	}
	var b bytes.Buffer
	for b.Len() < 4<<20 {
		b.WriteString(words[int(float64(len(words))*math.Pow(m.random.Float64(), 3))])
		b.WriteByte(" \n\t(;"[m.random.IntN(5)])
	}
	m.pool = b.Bytes()
	return m
}

// meanFile is how large a source file is, in bytes.
const meanFile = 6 << 10

// files are the contents of one package.
func (m *maker) files() [][]byte {
	left := int(m.median * math.Exp(m.spread*m.random.NormFloat64()))
	left = min(max(left, 512), 32<<20)
	var out [][]byte
	for left > 0 {
		n := min(left, 1+int(meanFile*m.random.ExpFloat64()), len(m.pool)/2)
		at := m.random.IntN(len(m.pool) - n)
		out = append(out, m.pool[at:at+n])
		left -= n
	}
	return out
}

// tarball packs a package below the directory dir: the file head, and others.
func (m *maker) tarball(dir, head, text, ext string) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	put := func(name string, data []byte) error {
		if err := t.WriteHeader(&tar.Header{Name: dir + "/" + name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	if err := put(head, []byte(text)); err != nil {
		return nil, err
	}
	if err := put("src/lib"+ext, nil); err != nil {
		return nil, err
	}
	for i, data := range m.files() {
		if err := put(fmt.Sprintf("src/m%d/f%d.txt", i%7, i), data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(t.Close(), z.Close())
	return b.Bytes(), err
}

// wheel packs a Python package.
func (m *maker) wheel(name string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name string, data io.Reader) error {
		w, err := z.Create(name)
		if err == nil {
			_, err = io.Copy(w, data)
		}
		return err
	}
	for i, data := range m.files() {
		if err := put(fmt.Sprintf("%s/f%d.txt", name, i), bytes.NewReader(data)); err != nil {
			return nil, err
		}
	}
	info := name + "-1.0.0.dist-info/"
	for _, f := range [][2]string{
		{"METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0.0\n"},
		{"WHEEL", "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"RECORD", ""},
	} {
		if err := put(info+f[0], strings.NewReader(f[1])); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}

// A tree is the files of a project, by path.
type tree map[string]string

// crates makes n crates, the sparse index that lists them at url/index/, and a
// project that needs them all.
func (m *maker) crates(r registry, url string, n int) (tree, error) {
	var manifest, lock, needs strings.Builder
	index := "sparse+" + url + "/index/"
	manifest.WriteString("[package]\nname = \"bench\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n")
	for i := range n {
		name := fmt.Sprintf("c%05d", i)
		data, err := m.tarball(name+"-1.0.0", "Cargo.toml", "[package]\nname = \""+name+"\"\nversion = \"1.0.0\"\nedition = \"2021\"\n", ".rs")
		if err != nil {
			return nil, err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		r["/crates/"+name+"/1.0.0/download"] = data
		r["/index/"+name[:2]+"/"+name[2:4]+"/"+name] = fmt.Appendf(nil, `{"name":%q,"vers":"1.0.0","deps":[],"cksum":%q,"features":{},"yanked":false}`+"\n", name, sum)
		fmt.Fprintf(&manifest, "%s = { version = \"=1.0.0\", registry = \"bench\" }\n", name)
		fmt.Fprintf(&needs, " %q,\n", name)
		fmt.Fprintf(&lock, "\n[[package]]\nname = %q\nversion = \"1.0.0\"\nsource = %q\nchecksum = %q\n", name, index, sum)
	}
	r["/index/config.json"] = fmt.Appendf(nil, `{"dl": "%s/crates"}`, url)
	return tree{
		"Cargo.toml":         manifest.String(),
		"Cargo.lock":         "version = 4\n\n[[package]]\nname = \"bench\"\nversion = \"0.1.0\"\ndependencies = [\n" + needs.String() + "]\n" + lock.String(),
		"src/lib.rs":         "",
		".cargo/config.toml": "[registries.bench]\nindex = \"" + index + "\"\n",
	}, nil
}

// wheels makes n wheels, the index that lists them at url/simple/, and a project
// that needs them all.
func (m *maker) wheels(r registry, url string, n int) (tree, error) {
	var lock strings.Builder
	for i := range n {
		name := fmt.Sprintf("p%05d", i)
		data, err := m.wheel(name)
		if err != nil {
			return nil, err
		}
		file := name + "-1.0.0-py3-none-any.whl"
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		r["/files/"+file] = data
		r["/simple/"+name+"/"] = fmt.Appendf(nil, "<!DOCTYPE html><html><body><a href=\"%s/files/%s#sha256=%s\">%s</a></body></html>\n", url, file, sum, file)
		fmt.Fprintf(&lock, "%s==1.0.0 --hash=sha256:%s\n", name, sum)
	}
	return tree{"requirements.txt": lock.String()}, nil
}

// npm makes n packages, the registry that has them, and a project that needs
// them all.
func (m *maker) npm(r registry, url string, n int) (tree, error) {
	type locked struct {
		Name         string            `json:"name,omitempty"`
		Version      string            `json:"version"`
		Resolved     string            `json:"resolved,omitempty"`
		Integrity    string            `json:"integrity,omitempty"`
		Dependencies map[string]string `json:"dependencies,omitempty"`
	}
	root := locked{Name: "bench", Version: "0.1.0", Dependencies: map[string]string{}}
	packages := map[string]locked{}
	for i := range n {
		name := fmt.Sprintf("n%05d", i)
		text := fmt.Sprintf(`{"name": %q, "version": "1.0.0"}`, name)
		data, err := m.tarball("package", "package.json", text, ".js")
		if err != nil {
			return nil, err
		}
		sum := sha512.Sum512(data)
		at := "/" + name + "/-/" + name + "-1.0.0.tgz"
		p := locked{Version: "1.0.0", Resolved: url + at, Integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}
		packages["node_modules/"+name], root.Dependencies[name] = p, "1.0.0"
		r[at] = data
		r["/"+name] = fmt.Appendf(nil, `{"name": %q, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": %q, "version": "1.0.0", "dist": {"tarball": %q, "integrity": %q}}}}`,
			name, name, p.Resolved, p.Integrity)
	}
	packages[""] = root
	lock, err := json.MarshalIndent(map[string]any{
		"name": "bench", "version": "0.1.0", "lockfileVersion": 3, "requires": true, "packages": packages,
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(root)
	return tree{"package-lock.json": string(lock), "package.json": string(manifest)}, err
}
