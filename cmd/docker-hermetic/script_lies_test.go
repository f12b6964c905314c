package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hermetic-build/hermetic/cache"
)

// liar serves files, save that below
//
//	/short/   fewer bytes arrive than are announced
//	/long/    more bytes arrive than the file has
//	/other/   other bytes arrive, as many as the file has
//	/html/    a page of somebody who wants a login arrives
//
// The rest of the path is that of the file.
func liar(files http.Handler, dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		how, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if how != "short" && how != "long" && how != "other" && how != "html" {
			files.ServeHTTP(w, r)
			return
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		switch how {
		case "short":
			w.Header().Set("Content-Length", strconv.Itoa(len(data)+100))
		case "long":
			data = append(data, make([]byte, 1<<20)...)
		case "other":
			data = bytes.Repeat([]byte("x"), len(data))
		case "html":
			data = []byte("<html><title>Sign in</title></html>")
		}
		_, _ = w.Write(data) // the client may have gone
	})
}

// sumsCmd puts the sha256 of files into others.
func sumsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: sums FILE...")
	}
	word := regexp.MustCompile(`@SUM ([^@]+)@`)
	for _, name := range args {
		text := word.ReplaceAllStringFunc(ts.ReadFile(name), func(s string) string {
			data, err := os.ReadFile(ts.MkAbs(word.FindStringSubmatch(s)[1]))
			ts.Check(err)
			return cache.SumBytes(data).Hex()
		})
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

// crateCmd writes a crate that is what its kind says.
func crateCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: crate KIND NAME-VERSION FILE")
	}
	top := args[1] + "/"
	file := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
	entries := []tar.Header{file(top + "Cargo.toml"), file(top + "src/lib.rs")}
	switch args[0] {
	case "good":
	case "bomb":
		entries = append(entries, tar.Header{Name: top + "zeros", Mode: 0o644, Size: 600 << 20})
	case "link":
		entries = append(entries, tar.Header{Name: top + "out", Typeflag: tar.TypeSymlink, Linkname: "../../.."}, file(top+"out/escaped"))
	case "climb":
		entries = append(entries, file(top+"../../escaped"))
	case "device":
		entries = append(entries, tar.Header{Name: top + "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})
	case "twice":
		entries = append(entries, file(top+"Cargo.toml"))
	default:
		ts.Fatalf("crate: no kind %q", args[0])
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, h := range entries {
		ts.Check(w.WriteHeader(&h))
		_, err := io.CopyN(w, zeros{}, h.Size)
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(z.Close())
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[2])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), out.Bytes(), 0o644))
}

// sdistCmd packs a directory as a source distribution is packed, below its name.
func sdistCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sdist DIR FILE")
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(filepath.Dir(dir), name)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}))
	ts.Check(w.Close())
	ts.Check(z.Close())
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[1])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o644))
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// pipindexCmd writes the page of a package in an index of Python packages: a line
// for each file, with what it says of it.
func pipindexCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pipindex DIR URL[#FRAGMENT]...")
	}
	var page strings.Builder
	for _, at := range args[1:] {
		url, _, _ := strings.Cut(at, "#")
		fmt.Fprintf(&page, "<a href=%q>%s</a>\n", at, url[strings.LastIndex(url, "/")+1:])
	}
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o755))
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "index.html"), []byte(page.String()), 0o644))
}
