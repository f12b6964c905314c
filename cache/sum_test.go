package cache

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/dirhash"
)

func TestParseSum(t *testing.T) {
	const (
		b32  = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
		hex0 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	)
	sri := map[string]string{
		"sha1":   "2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
		"sha384": "OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb",
		"sha512": "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
	}
	tests := []struct{ in, want, notation, err string }{
		{in: "h1:" + b32},
		{in: "h1mod:" + b32, notation: "h1:" + b32},
		{in: "sha256:" + hex0},
		{in: "sha256:" + strings.ToUpper(hex0), want: "sha256:" + hex0},
		{in: "sha256-" + b32, want: "sha256:" + hex0},
		{in: "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{in: "sha1-" + sri["sha1"], want: "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"},
		{in: "sha384-" + sri["sha384"], want: fmt.Sprintf("sha384:%x", sha512.Sum384(nil))},
		{in: "sha512-" + sri["sha512"], want: fmt.Sprintf("sha512:%x", sha512.Sum512(nil))},

		{in: "", err: `checksum "": no algorithm`},
		{in: b32, err: `checksum "` + b32 + `": no algorithm`},
		{in: "-", err: `checksum "-": unknown algorithm`},
		{in: "h1-" + b32, err: "unknown algorithm"},
		{in: "h1mod-" + b32, err: "unknown algorithm"},
		{in: "h2:" + b32, err: "unknown algorithm"},
		{in: "H1:" + b32, err: "unknown algorithm"},
		{in: "md4:31d6cfe0d16ae931b73c59d7e0c089c0", err: "unknown algorithm"},
		{in: "h1:", err: "malformed"},
		{in: "h1:" + b32[:len(b32)-1], err: "malformed"},
		{in: "h1:" + b32 + "=", err: "malformed"},
		{in: "h1:" + strings.Replace(b32, "U=", "V=", 1), err: "malformed"}, // bits beyond the end
		{in: "h1:" + b32[:10] + "\n" + b32[10:], err: "malformed"},
		{in: "h1:" + b32 + "\r\n", err: "malformed"},
		{in: "h1: " + b32, err: "malformed"},
		{in: "h1:" + strings.ReplaceAll(b32, "+", "-"), err: "malformed"},
		{in: "sha256:" + hex0[1:], err: "malformed"},
		{in: "sha256:" + hex0 + "00", err: "malformed"},
		{in: "sha256:" + b32, err: "malformed"},
		{in: "sha256-" + hex0, err: "malformed"},
		{in: "sha512:" + hex0, err: "malformed"},
		{in: "sha256-" + b32 + " sha512-" + sri["sha512"], err: "malformed"},
		{in: "sha256:" + strings.Repeat("é", 1<<20), err: "…\": malformed"},
	}
	for _, tt := range tests {
		got, err := ParseSum(tt.in)
		if tt.err != "" {
			if err == nil || !strings.HasSuffix(err.Error(), tt.err) || !got.IsZero() {
				t.Errorf("ParseSum(%.90q) = %v, %v; want error %q", tt.in, got, err, tt.err)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("ParseSum(%.90q): error of %d bytes", tt.in, len(err.Error()))
			}
			continue
		}
		want, notation := tt.in, tt.notation
		if tt.want != "" {
			want = tt.want
		}
		if notation == "" {
			notation = want
		}
		if err != nil || got.String() != want || got.Notation() != notation {
			t.Errorf("ParseSum(%q) = %v (%s), %v; want %s (%s)", tt.in, got, got.Notation(), err, want, notation)
		}
		if again, err := ParseSum(got.String()); err != nil || again != got {
			t.Errorf("ParseSum(%q) = %v, %v; want %v", got, again, err, got)
		}
		if alg, _, _ := strings.Cut(want, ":"); string(got.Algorithm()) != alg || len(got.Hex()) != 2*sizes[got.Algorithm()] {
			t.Errorf("%s: algorithm %q, hex %q", tt.in, got.Algorithm(), got.Hex())
		}
	}
}

func TestSumText(t *testing.T) {
	for _, s := range []Sum{{}, SumBytes(nil), mustSum(t, "h1mod:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")} {
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := SumBytes([]byte("something else"))
		if err := json.Unmarshal(data, &got); err != nil || got != s {
			t.Errorf("%s: back from JSON %v, %v; want %v", data, got, err, s)
		}
	}
	bad := SumBytes(nil)
	if err := json.Unmarshal([]byte(`"h1:x"`), &bad); err == nil || !bad.IsZero() {
		t.Errorf("malformed: %v, %v", bad, err)
	}
	if got := (Sum{}).String(); got != "-" {
		t.Errorf("zero Sum is %q", got)
	}
}

// The values are those of Python's hashlib for "abc".
func TestSumVectors(t *testing.T) {
	weak := map[Algorithm]bool{"md5": true, "sha1": true}
	for _, text := range []string{
		"md5:900150983cd24fb0d6963f7d28e17f72",
		"sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
		"sha224:23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
		"blake2b:ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
		"blake2s:508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
	} {
		sum := mustSum(t, text)
		if err := sum.Check(strings.NewReader("abc"), 3); err != nil || sum.String() != text {
			t.Errorf("%s: %s, %v", text, sum, err)
		}
		if err := sum.Check(strings.NewReader("abd"), 3); err == nil {
			t.Errorf("%s: is the sum of something else", text)
		}
		if sum.Algorithm().Weak() != weak[sum.Algorithm()] {
			t.Errorf("%s: weak is %v", text, sum.Algorithm().Weak())
		}
	}
}

func TestSumOfBytes(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789"), 100_000)} {
		s1, s256, s384, s512 := sha1.Sum(data), sha256.Sum256(data), sha512.Sum384(data), sha512.Sum512(data)
		mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			"sha1:" + hex.EncodeToString(s1[:]), "sha256:" + hex.EncodeToString(s256[:]),
			"sha384:" + hex.EncodeToString(s384[:]), "sha512:" + hex.EncodeToString(s512[:]),
			strings.Replace(mod, "h1:", "h1mod:", 1),
		} {
			sum := mustSum(t, text)
			if err := sum.Check(bytes.NewReader(data), int64(len(data))); err != nil {
				t.Errorf("%d bytes, %s: %v", len(data), text, err)
			}
			other := append([]byte("!"), data...)
			err := sum.Check(bytes.NewReader(other), int64(len(other)))
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || mismatch.Want != sum || mismatch.Got == sum || mismatch.Got.Algorithm() != sum.Algorithm() {
				t.Errorf("other bytes, %s: %v", text, err)
			}
		}
	}
	if err := (Sum{}).Check(strings.NewReader(""), 0); err == nil {
		t.Error("the zero Sum checks something")
	}
}

func mustSum(t testing.TB, text string) Sum {
	t.Helper()
	s, err := ParseSum(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// zipOf makes a zip of names and contents.
func zipOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// h1 is the sum of a zip, as the go command computes it.
func h1(t testing.TB, data []byte) Sum {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.zip")
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	text, err := dirhash.HashZip(name, dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	return mustSum(t, text)
}

func TestH1IsHashZip(t *testing.T) {
	var stored bytes.Buffer
	z := zip.NewWriter(&stored)
	f, err := z.CreateHeader(&zip.FileHeader{Name: "m@v1.0.0/stored.go", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "package m\n")
	z.SetComment("with a comment")
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":       zipOf(t),
		"one file":    zipOf(t, "m@v1.0.0/go.mod", "module m\n"),
		"unsorted":    zipOf(t, "m@v1.0.0/z.go", "package z", "m@v1.0.0/a.go", "package a", "m@v1.0.0/b/b.go", ""),
		"directories": zipOf(t, "m@v1.0.0/", "", "m@v1.0.0/d/", "", "m@v1.0.0/d/x.go", "package d"),
		"unicode":     zipOf(t, "m@v1.0.0/käse.txt", "ö", "m@v1.0.0/ with space", ""),
		"large":       zipOf(t, "m@v1.0.0/zeros", strings.Repeat("\x00", 3<<20), "m@v1.0.0/text", strings.Repeat("all work ", 100_000)),
		"stored":      stored.Bytes(),
		"prefixed":    append([]byte("#!/bin/sh\n"), zipOf(t, "m@v1.0.0/go.mod", "module m\n")...),
	} {
		want := h1(t, data)
		if err := want.Check(bytes.NewReader(data), int64(len(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		changed := slices.Concat(data[:len(data)-1], []byte("!"))
		if err := want.Check(bytes.NewReader(changed), int64(len(changed))); err == nil && name != "stored" { // there it is the comment
			t.Errorf("%s: a changed zip passes", name)
		}
	}
}

// rawEntry is a zip entry whose header says what the test wants it to say.
type rawEntry struct {
	name   string
	method uint16
	size   uint64
	data   []byte
	crc    uint32 // 0 is checked by nobody
}

func rawZip(t *testing.T, entries ...rawEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := z.CreateRaw(&zip.FileHeader{
			Name: e.name, Method: e.method, UncompressedSize64: e.size, CompressedSize64: uint64(len(e.data)), CRC32: e.crc,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zeros is n zero bytes, deflated.
func zeros(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeroReader{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// countReader counts what is read.
type countReader struct {
	io.ReaderAt
	n int64
}

func (c *countReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

func TestHostileZips(t *testing.T) {
	bomb := zeros(t, 400<<20)
	var directory []rawEntry
	for i := range 700 {
		directory = append(directory, rawEntry{name: fmt.Sprintf("%05d%s", i, strings.Repeat("n", 60_000))})
	}
	end := make([]byte, 22) // an end record that promises 65535 entries
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], 0xffff)
	binary.LittleEndian.PutUint16(end[10:], 0xffff)
	good := zipOf(t, "m@v1.0.0/go.mod", "module m\n")
	flipped := rawZip(t, rawEntry{"m@v1.0.0/x", zip.Store, 3, []byte("abc"), 1})
	tests := []struct {
		name string
		data []byte
		err  string
	}{
		{"nothing", nil, "zip: not a valid zip file"},
		{"text", []byte("module m\n"), "zip: not a valid zip file"},
		{"cut off", good[:len(good)-10], "zip: not a valid zip file"},
		{"entries missing", end, "zip: unexpected EOF"},
		{"larger than it says", rawZip(t, rawEntry{name: "m@v1.0.0/x", method: zip.Deflate, size: 10, data: bomb}), "zip: not a valid zip file"},
		{"smaller than it says", rawZip(t, rawEntry{name: "m@v1.0.0/x", method: zip.Deflate, size: 1 << 20, data: zeros(t, 1000)}), "zip: unexpected EOF"},
		{"checksum", flipped, "zip: checksum error"},
		{"two halves", rawZip(t, rawEntry{name: "a", method: zip.Deflate, size: 300 << 20, data: bomb}, rawEntry{name: "b", method: zip.Deflate, size: 300 << 20, data: bomb}), "zip unpacks to more than 500 MB"},
		{"one huge", rawZip(t, rawEntry{name: "a", method: zip.Deflate, size: 1 << 63, data: bomb}), "zip unpacks to more than 500 MB"},
		{"sizes wrap", rawZip(t, rawEntry{name: "a", method: zip.Store, size: 1 << 63, data: nil}, rawEntry{name: "b", method: zip.Store, size: 1 << 63, data: nil}), "zip unpacks to more than 500 MB"},
		{"name twice", zipOf(t, "m/x", "one", "m/x", "two"), `zip holds "m/x" twice`},
		{"newline", zipOf(t, "m/x\ny", ""), "filenames with newlines are not supported"},
		{"method", rawZip(t, rawEntry{name: "a", method: 99, size: 0, data: nil}), "zip: unsupported compression algorithm"},
		{"directory too large", rawZip(t, directory...), "zip: directory is larger than 32 MB"},
	}
	for _, tt := range tests {
		var before, after runtime.MemStats
		r := &countReader{ReaderAt: bytes.NewReader(tt.data)}
		runtime.ReadMemStats(&before)
		_, err := H1.of(r, int64(len(tt.data)))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 100<<20 {
			t.Errorf("%s: %d MB allocated", tt.name, grown>>20)
		}
		if limit := int64(len(tt.data))/2 + maxDirectory + 1<<20; r.n > limit {
			t.Errorf("%s: %d of %d bytes read", tt.name, r.n, len(tt.data))
		}
	}
}

// neverRead fails a test that reads it.
type neverRead struct{ t *testing.T }

func (n neverRead) ReadAt([]byte, int64) (int, error) {
	n.t.Error("content is read although its size refuses it")
	return 0, io.ErrUnexpectedEOF
}

func TestOversized(t *testing.T) {
	for _, tt := range []struct {
		alg  Algorithm
		size int64
		err  string
	}{{H1, maxZip + 1, "larger than 500 MB"}, {H1Mod, maxGoMod + 1, "larger than 16 MB"}} {
		if _, err := tt.alg.of(neverRead{t}, tt.size); err == nil || err.Error() != tt.err {
			t.Errorf("%s: %v, want %q", tt.alg, err, tt.err)
		}
	}
}

func FuzzParseSum(f *testing.F) {
	f.Add("h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	f.Add("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	f.Add("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSum(text)
		if err != nil {
			if !s.IsZero() || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: %v, %v", text, s, err)
			}
			return
		}
		if again, err := ParseSum(s.String()); err != nil || again != s {
			t.Fatalf("%q: %v, then %v, %v", text, s, again, err)
		}
		var fromText Sum
		if data, _ := s.MarshalText(); fromText.UnmarshalText(data) != nil || fromText != s {
			t.Fatalf("%q: text %q, back %v", text, data, fromText)
		}
	})
}

// FuzzZip: a zip is summed as archive/zip and dirhash sum it, or refused.
// What they read and we refuse holds a name twice, or too much.
func FuzzZip(f *testing.F) {
	f.Add(zipOf(f, "m@v1.0.0/go.mod", "module m\n", "m@v1.0.0/a/", ""))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := H1.of(bytes.NewReader(data), int64(len(data)))
		want, theirs := hashZip(data)
		switch {
		case err == nil && (theirs != nil || got.String() != want):
			t.Fatalf("%v; dirhash says %v, %v", got, want, theirs)
		case err != nil && theirs == nil && !strings.HasPrefix(err.Error(), "zip holds ") && !strings.HasPrefix(err.Error(), "zip unpacks to "):
			t.Fatalf("%v; dirhash says %v", err, want)
		}
	})
}

// hashZip is dirhash.HashZip of bytes.
func hashZip(data []byte) (string, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	files := map[string]*zip.File{}
	var names []string
	for _, f := range z.File {
		files[f.Name] = f
		names = append(names, f.Name)
	}
	return dirhash.Hash1(names, func(name string) (io.ReadCloser, error) { return files[name].Open() })
}
