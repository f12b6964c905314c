package escape

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// crateIndex is the registry that the lockfiles of attempts name; --mirror leads
// elsewhere.
const crateIndex = "sparse+https://example.com/index/"

// An entry of a crate is what its header says. A name with a NUL goes where the
// format has room for one.
type crateEntry struct {
	tar.Header
	data io.Reader
}

func crateFile(name, text string) crateEntry {
	return crateEntry{tar.Header{Name: "bad-1.0.0/" + name, Mode: 0o644, Size: int64(len(text))}, strings.NewReader(text)}
}

func crateNode(name string, kind byte, more tar.Header) crateEntry {
	more.Name, more.Typeflag, more.Mode = "bad-1.0.0/"+name, kind, 0o644
	return crateEntry{more, strings.NewReader("")}
}

// crateKinds are crates that nobody should publish. Each has a Cargo.toml and a
// lib.rs before what is told here.
var crateKinds = map[string]func() []crateEntry{
	"good": func() []crateEntry { return nil },
	// 2 GB of zeros in one file
	"bomb": func() []crateEntry {
		return []crateEntry{{tar.Header{Name: "bad-1.0.0/zeros", Mode: 0o644, Size: 2 << 30}, io.LimitReader(nothing{}, 2<<30)}}
	},
	// more files than anybody has
	"files": func() []crateEntry {
		var out []crateEntry
		for i := range 110_000 {
			out = append(out, crateFile(fmt.Sprint("src/", i), ""))
		}
		return out
	},
	// directories in directories
	"deep": func() []crateEntry { return []crateEntry{crateFile(strings.Repeat("d/", 5000)+"x", "")} },
	// a directory that is a link, and a file behind it
	"link": func() []crateEntry {
		return []crateEntry{crateNode("out", tar.TypeSymlink, tar.Header{Linkname: "../../../.."}), crateFile("out/escaped", "x")}
	},
	"absolute-link": func() []crateEntry {
		return []crateEntry{crateNode("passwd", tar.TypeSymlink, tar.Header{Linkname: "/etc/passwd"})}
	},
	"hard-link": func() []crateEntry {
		return []crateEntry{crateNode("passwd", tar.TypeLink, tar.Header{Linkname: "../../../../etc/passwd"})}
	},
	"climb":    func() []crateEntry { return []crateEntry{crateFile("../../../../../escaped", "x")} },
	"absolute": func() []crateEntry { return []crateEntry{crateNamed("/escaped")} },
	// beside its own directory, where another crate belongs
	"sibling": func() []crateEntry { return []crateEntry{crateNamed("good-1.0.0/lib.rs")} },
	"device": func() []crateEntry {
		return []crateEntry{crateNode("null", tar.TypeChar, tar.Header{Devmajor: 1, Devminor: 3})}
	},
	"block": func() []crateEntry {
		return []crateEntry{crateNode("disk", tar.TypeBlock, tar.Header{Devmajor: 8})}
	},
	"fifo": func() []crateEntry { return []crateEntry{crateNode("pipe", tar.TypeFifo, tar.Header{})} },
	"setuid": func() []crateEntry {
		e := crateFile("tool", "#!/bin/sh\n")
		e.Mode = 0o6755
		return []crateEntry{e, {tar.Header{Name: "bad-1.0.0/sticky/", Typeflag: tar.TypeDir, Mode: 0o7777}, strings.NewReader("")}}
	},
	"nul": func() []crateEntry { return []crateEntry{crateFile("a@NUL@b", "x")} },
	"backslash": func() []crateEntry {
		return []crateEntry{crateFile(`..\..\escaped`, "x")}
	},
	// names that are one where case does not count
	"case":  func() []crateEntry { return []crateEntry{crateFile("README", "upper"), crateFile("readme", "lower")} },
	"twice": func() []crateEntry { return []crateEntry{crateFile("twice", "one"), crateFile("twice", "two")} },
	// the file that says what a vendored crate is
	"checksum": func() []crateEntry {
		return []crateEntry{crateFile(".cargo-checksum.json", `{"files":{},"package":"lie"}`), crateFile("sub/.cargo-checksum.json", "{}")}
	},
	// a file where the other needs a directory
	"file-and-directory": func() []crateEntry { return []crateEntry{crateFile("x", "file"), crateFile("x/y", "below")} },
	"garbage":            nil,
}

func crateNamed(name string) crateEntry {
	e := crateFile("", "x")
	e.Name = name
	return e
}

// nothing is an endless stream of zeros.
type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// crateOf is the bytes of a crate of one kind.
func crateOf(kind string) ([]byte, error) {
	if kind == "garbage" {
		return bytes.Repeat([]byte("\x1f\x8b\x08\x00garbage"), 1<<10), nil
	}
	makeEntries, ok := crateKinds[kind]
	if !ok {
		return nil, fmt.Errorf("no crate called %q", kind)
	}
	name := "bad"
	if kind == "good" {
		name = "good"
	}
	entries := slices.Concat([]crateEntry{
		crateFile("Cargo.toml", fmt.Sprintf("[package]\nname = %q\nversion = \"1.0.0\"\n", name)), crateFile("src/lib.rs", "pub fn f() {}\n"),
	}, makeEntries())
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if kind == "good" {
			e.Name = strings.Replace(e.Name, "bad-", "good-", 1)
		}
		if err := e.write(z); err != nil {
			return nil, err
		}
	}
	_, err = z.Write(make([]byte, 1024))
	if err == nil {
		err = z.Close()
	}
	return out.Bytes(), err
}

// write adds the entry to a stream of tar blocks.
func (e crateEntry) write(out io.Writer) error {
	w := tar.NewWriter(out)
	nul := strings.Contains(e.Name, "@NUL@")
	if nul { // by the record of an extended header, which the library refuses to write
		record := fmt.Sprintf(" path=%s\n", strings.ReplaceAll(e.Name, "@NUL@", "\x00"))
		record = fmt.Sprint(len(record)+2) + record
		var block [512]byte
		copy(block[:], "bad-1.0.0/pax")
		copy(block[100:], "0000644\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x00", len(record))+"00000000000\x00")
		copy(block[148:], "        ")
		block[156] = 'x'
		copy(block[257:], "ustar\x0000")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		if _, err := out.Write(append(block[:], append([]byte(record), make([]byte, 512-len(record)%512)...)...)); err != nil {
			return err
		}
		e.Name = "bad-1.0.0/nul"
	}
	if err := w.WriteHeader(&e.Header); err != nil {
		return err
	}
	if _, err := io.Copy(w, e.data); err != nil {
		return err
	}
	return w.Flush()
}

// crate makes the build context a package that needs a good crate and one of a
// kind, with a lockfile that has the sums of both, and a registry in named/crates.
func (r *room) crate(kind string) error {
	lock := "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"bad\",\n \"good\",\n]\n"
	dir := r.path("named", "crates")
	for _, c := range [][2]string{{"bad", kind}, {"good", "good"}} {
		data, err := crateOf(c[1])
		if err != nil {
			return err
		}
		at := filepath.Join(dir, c[0], "1.0.0")
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(at, "download"), data, 0o644); err != nil {
			return err
		}
		lock += fmt.Sprintf("\n[[package]]\nname = %q\nversion = \"1.0.0\"\nsource = %q\nchecksum = \"%x\"\n", c[0], crateIndex, sha256.Sum256(data))
	}
	for name, text := range map[string]string{
		filepath.Join(dir, "config.json"):  fmt.Sprintf(`{"dl": "file://%s"}`, dir),
		r.path("context", "Cargo.lock"):    lock,
		r.path("context", "Cargo.toml"):    "[package]\nname = \"app\"\nversion = \"0.1.0\"\n",
		r.path("context", "src/main.rs"):   "fn main() {}\n",
		r.path("context", ".dockerignore"): "",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
