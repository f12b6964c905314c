package cache

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zip"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/mod/sumdb/dirhash"
)

// Algorithm names how a Sum is computed.
type Algorithm string

// The algorithms that lockfiles use. H1 and H1Mod are Go's "h1:" of a module
// zip and of a lone go.mod file: the same notation for two procedures, told
// apart here so that one can never pass for the other
// (https://go.dev/ref/mod#go-sum-files).
const (
	H1     Algorithm = "h1"
	H1Mod  Algorithm = "h1mod"
	SHA224 Algorithm = "sha224"
	SHA256 Algorithm = "sha256"
	SHA384 Algorithm = "sha384"
	SHA512 Algorithm = "sha512"
	// BLAKE2b and BLAKE2s are those of the longest value (RFC 7693).
	BLAKE2b Algorithm = "blake2b"
	BLAKE2s Algorithm = "blake2s"
	// Git is the id of a commit, of the archive that a GitWriter makes of it:
	// 40 digits, or 64 in repositories of the newer format.
	Git Algorithm = "git"
	// SHA1 and MD5 are Weak.
	SHA1 Algorithm = "sha1"
	MD5  Algorithm = "md5"
)

// Weak tells whether people know how to make two contents of one sum.
func (a Algorithm) Weak() bool { return a == SHA1 || a == MD5 }

// tellsMore tells whether s, and not t, should be what an input is checked
// against. Anything is worth more than nothing, what is not Weak more than what
// is, and then the longer value.
func (s Sum) tellsMore(t Sum) bool {
	strength := func(x Sum) int {
		if x.IsZero() || x.alg.Weak() {
			return len(x.value)
		}
		return 1000 + len(x.value)
	}
	return strength(s) > strength(t)
}

// sizes is the length of each algorithm's value in bytes.
var sizes = map[Algorithm]int{
	H1: 32, H1Mod: 32, SHA224: 28, SHA256: 32, SHA384: 48, SHA512: 64, BLAKE2b: 64, BLAKE2s: 32, SHA1: 20, MD5: 16, Git: 20,
}

// What module zips and go.mod files may measure in bytes, unpacked and packed:
// the limits of the go command itself (golang.org/x/mod/zip).
const (
	maxZip      = 500 << 20
	maxUnpacked = 500 << 20
	maxGoMod    = 16 << 20
)

// maxDirectory bounds the directory of a zip, which is held in memory: an entry
// takes 46 bytes and its name there, and some hundred bytes here.
const maxDirectory = 32 << 20

// A Sum is a checksum that a lockfile promises. The zero Sum promises nothing.
// Sums are comparable with == and can be map keys.
type Sum struct {
	alg   Algorithm
	value string // raw bytes
}

// ParseSum reads the notations of lockfiles: "h1:<base64>", "h1mod:<base64>",
// "sha256:<hex>" (likewise the others), "git:<commit>", and a single SRI hash,
// "sha512-<base64>" (https://www.w3.org/TR/SRI/).
func ParseSum(s string) (Sum, error) {
	sep := strings.IndexAny(s, ":-")
	if sep < 0 {
		return Sum{}, fmt.Errorf("checksum %q: no algorithm", clip(s))
	}
	alg, text, sri := Algorithm(s[:sep]), s[sep+1:], s[sep] == '-'
	ofGo := alg == H1 || alg == H1Mod
	size, known := sizes[alg]
	if alg == Git && len(text) == 2*sha256.Size {
		size = sha256.Size
	}
	if !known || (ofGo || alg == Git) && sri {
		return Sum{}, fmt.Errorf("checksum %q: unknown algorithm", clip(s))
	}
	var raw []byte
	var err error
	if sri || ofGo {
		raw, err = base64.StdEncoding.Strict().DecodeString(text)
	} else {
		raw, err = hex.DecodeString(text)
	}
	// encoding/base64 skips line breaks; no notation has any.
	if err != nil || len(raw) != size || strings.ContainsAny(text, "\r\n") {
		return Sum{}, fmt.Errorf("checksum %q: malformed", clip(s))
	}
	return Sum{alg, string(raw)}, nil
}

// clip keeps a hostile value from flooding a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// SumBytes is the sha256 Sum of data.
func SumBytes(data []byte) Sum {
	d := sha256.Sum256(data)
	return Sum{SHA256, string(d[:])}
}

// Algorithm tells how s is computed; "" for the zero Sum.
func (s Sum) Algorithm() Algorithm { return s.alg }

// IsZero tells whether s promises nothing.
func (s Sum) IsZero() bool { return s.alg == "" }

// Hex is the value alone, in lower-case hexadecimal.
func (s Sum) Hex() string { return hex.EncodeToString([]byte(s.value)) }

// String is the notation that ParseSum reads; "-" for the zero Sum.
func (s Sum) String() string {
	switch s.alg {
	case "":
		return "-"
	case H1, H1Mod:
		return string(s.alg) + ":" + base64.StdEncoding.EncodeToString([]byte(s.value))
	}
	return string(s.alg) + ":" + s.Hex()
}

// Notation is what the lockfile itself shows: Go writes "h1:" for both kinds.
func (s Sum) Notation() string {
	return strings.Replace(s.String(), "h1mod:", "h1:", 1)
}

// A MismatchError says that content is not what a Sum promised.
type MismatchError struct{ Want, Got Sum }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("checksum mismatch: want %s, got %s", e.Want.Notation(), e.Got.Notation())
}

// Check reads size bytes from r and tells whether they are what s promises.
// The error is a *MismatchError, or says why the content has no sum at all
// (a broken zip).
func (s Sum) Check(r io.ReaderAt, size int64) error {
	got, err := s.alg.of(r, size)
	if err != nil {
		return err
	}
	if got != s {
		return &MismatchError{Want: s, Got: got}
	}
	return nil
}

// checkSize refuses content that is larger than what a can be the sum of.
func (a Algorithm) checkSize(size int64) error {
	limit := int64(math.MaxInt64)
	switch a {
	case H1:
		limit = maxZip
	case H1Mod:
		limit = maxGoMod
	}
	if size > limit {
		return fmt.Errorf("larger than %d MB", limit>>20)
	}
	return nil
}

// of computes the sum of size bytes of r.
func (a Algorithm) of(r io.ReaderAt, size int64) (Sum, error) {
	if err := a.checkSize(size); err != nil {
		return Sum{}, err
	}
	switch a {
	case H1:
		return h1Zip(r, size)
	case H1Mod:
		text, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(r, 0, size)), nil
		})
		if err != nil {
			return Sum{}, err
		}
		return ParseSum("h1mod" + strings.TrimPrefix(text, "h1"))
	}
	if a == Git {
		return gitSum(r, size)
	}
	h := a.hash()
	if h == nil {
		return Sum{}, errors.New("no checksum to compute")
	}
	if err := readInto(r, size, h); err != nil {
		return Sum{}, err
	}
	return Sum{a, string(h.Sum(nil))}, nil
}

// checkAll is Check of several sums, of which those of plain bytes are computed
// in one reading. The error is that of the first that is not right.
func checkAll(r io.ReaderAt, size int64, sums ...Sum) error {
	var hashes []hash.Hash
	var plain []Sum
	var into []io.Writer
	for _, s := range sums {
		if h := s.alg.hash(); h != nil && !slices.Contains(plain, s) {
			plain, hashes, into = append(plain, s), append(hashes, h), append(into, h)
		}
	}
	if len(into) > 0 {
		if err := readInto(r, size, into...); err != nil {
			return err
		}
	}
	for i, s := range plain {
		if got := (Sum{s.alg, string(hashes[i].Sum(nil))}); got != s {
			return &MismatchError{Want: s, Got: got}
		}
	}
	for _, s := range sums {
		if !s.IsZero() && !slices.Contains(plain, s) {
			if err := s.Check(r, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// pieces are what files are read through: of a size that stays in the cache of
// the CPU from the reading to the hashing.
var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

const pieceSize = 128 << 10

// writePieces gives data, piece by piece, to all writers.
func writePieces(data []byte, to []io.Writer) error {
	for piece := range slices.Chunk(data, pieceSize) {
		for _, w := range to {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
	return nil
}

// readInto reads size bytes of r and gives each piece to all writers. Large
// files are not copied on the way: that takes a fifth of the time of a hash.
func readInto(r io.ReaderAt, size int64, to ...io.Writer) error {
	if c, ok := r.(*Content); ok {
		r = c.ReaderAt
	}
	if f, ok := r.(*os.File); ok && size >= 1<<20 {
		if ok, err := mapInto(f, size, to); ok {
			return err
		}
	}
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	for at := int64(0); at < size; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if err := writePieces(buf[:n], to); err != nil {
			return err
		}
		at += int64(n)
		if err == io.EOF {
			return nil // shorter than it should be: the sum tells
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hash computes a sum of plain bytes; nil where a is no algorithm of these.
func (a Algorithm) hash() hash.Hash {
	var h hash.Hash
	switch a {
	case SHA224:
		h = sha256.New224()
	case SHA256:
		h = sha256.New()
	case SHA384:
		h = sha512.New384()
	case SHA512:
		h = sha512.New()
	case BLAKE2b:
		h, _ = blake2b.New512(nil) // fails for a long key alone
	case BLAKE2s:
		h, _ = blake2s.New256(nil)
	case SHA1:
		h = sha1.New()
	case MD5:
		h = md5.New()
	}
	return h
}

// h1Zip is dirhash.HashZip over any reader, with a bound on what the zip
// unpacks to and a faster inflate than the standard library's.
func h1Zip(r io.ReaderAt, size int64) (Sum, error) {
	directory := &bounded{ReaderAt: r, left: maxDirectory}
	z, err := zip.NewReader(directory, size)
	if err != nil {
		return Sum{}, zipError(err)
	}
	directory.left = math.MaxInt64 // from here on entries are read, each no further than its header says
	files := slices.Clone(z.File)
	slices.SortFunc(files, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	total := uint64(0)
	for i, f := range files {
		switch {
		case i > 0 && f.Name == files[i-1].Name:
			return Sum{}, fmt.Errorf("zip holds %q twice", clip(f.Name))
		case strings.Contains(f.Name, "\n"):
			return Sum{}, errors.New("zip: filenames with newlines are not supported")
		}
		if total += f.UncompressedSize64; total > maxUnpacked || f.UncompressedSize64 > maxUnpacked {
			return Sum{}, fmt.Errorf("zip unpacks to more than %d MB", maxUnpacked>>20)
		}
	}
	e := entryHashers.Get().(*entryHasher)
	defer entryHashers.Put(e)
	all := sha256.New()
	for _, f := range files {
		digest, err := e.sum(r, f)
		if err != nil {
			return Sum{}, zipError(err)
		}
		fmt.Fprintf(all, "%x  %s\n", digest, f.Name)
	}
	return Sum{H1, string(all.Sum(nil))}, nil
}

// An entryHasher hashes zip entries one after the other.
type entryHasher struct {
	input   *bufio.Reader
	inflate io.ReadCloser
	hash    hash.Hash
	buf     [64 << 10]byte
	digest  [sha256.Size]byte
}

var entryHashers = sync.Pool{New: func() any {
	return &entryHasher{input: bufio.NewReaderSize(nil, 32<<10), inflate: flate.NewReader(bytes.NewReader(nil)), hash: sha256.New()}
}}

// sum is the sha256 of the content of an entry of the zip z. It is as strict as
// archive/zip, so that the go command can read what passes here.
func (e *entryHasher) sum(z io.ReaderAt, f *zip.File) ([]byte, error) {
	r, err := f.OpenRaw()
	if err != nil {
		return nil, err
	}
	e.hash.Reset()
	directory := strings.HasSuffix(f.Name, "/") // what is stored for one is not read
	switch {
	case directory && f.UncompressedSize64 != 0:
		return nil, zip.ErrFormat
	case directory:
		return e.hash.Sum(e.digest[:0]), nil
	case f.Method == zip.Store:
	case f.Method == zip.Deflate:
		e.input.Reset(r)
		if err := e.inflate.(flate.Resetter).Reset(e.input, nil); err != nil {
			return nil, err
		}
		r = e.inflate
	default:
		return nil, zip.ErrAlgorithm
	}
	crc, err := e.read(r, f.UncompressedSize64)
	streamed := f.Flags&hasDescriptor != 0
	switch {
	case err != nil:
		return nil, err
	case crc != f.CRC32 && (streamed || f.CRC32 != 0):
		return nil, zip.ErrChecksum
	case streamed:
		err = checkDescriptor(z, f)
	}
	return e.hash.Sum(e.digest[:0]), err
}

// read hashes size bytes, all that r has, and returns their CRC.
func (e *entryHasher) read(r io.Reader, size uint64) (crc uint32, err error) {
	for {
		n, err := r.Read(e.buf[:])
		if uint64(n) > size {
			return 0, zip.ErrFormat // larger than its header says
		}
		size -= uint64(n)
		e.hash.Write(e.buf[:n])
		crc = crc32.Update(crc, crc32.IEEETable, e.buf[:n])
		switch {
		case err == io.EOF && size > 0:
			return 0, io.ErrUnexpectedEOF
		case err == io.EOF:
			return crc, nil
		case err != nil:
			return 0, err
		}
	}
}

// hasDescriptor is the flag of entries whose CRC stands behind them as well, as
// they were written in one go (APPNOTE.TXT 4.3.9).
const hasDescriptor = 1 << 3

// checkDescriptor compares what stands behind an entry with the directory.
func checkDescriptor(z io.ReaderAt, f *zip.File) error {
	at, err := f.DataOffset()
	if err != nil {
		return err
	}
	b := make([]byte, 12)
	if n, _ := z.ReadAt(b, at+int64(f.CompressedSize64)); n < len(b) {
		return io.ErrUnexpectedEOF
	}
	if bytes.HasPrefix(b, []byte("PK\x07\x08")) { // a signature that may be left out
		b = b[4:]
	}
	if binary.LittleEndian.Uint32(b) != f.CRC32 {
		return zip.ErrChecksum
	}
	return nil
}

// zipError is what a zip reader complains about, named once.
func zipError(err error) error {
	return errors.New("zip: " + strings.TrimPrefix(err.Error(), "zip: "))
}

// bounded ends the reading of a directory that is too large to hold.
type bounded struct {
	io.ReaderAt
	left int64
}

func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("directory is larger than %d MB", maxDirectory>>20)
	}
	return b.ReaderAt.ReadAt(p, off)
}

// MarshalText is the notation of String, "" for the zero Sum.
func (s Sum) MarshalText() ([]byte, error) {
	if s.IsZero() {
		return nil, nil
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = Sum{}
		return nil
	}
	sum, err := ParseSum(string(text))
	*s = sum
	return err
}
