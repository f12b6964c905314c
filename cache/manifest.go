package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ManifestFile is the name of the manifest in a deps context.
const ManifestFile = "hermetic.manifest"

// maxManifest bounds what is read of a manifest: BuildKit hands a frontend no
// larger file in one piece (frontend/gateway ReadFile, 16 MiB).
const maxManifest = 16 << 20

// A Manifest says which blob is which input, and what the cache was made from.
//
// The format is text, one entry a line, sorted, fields separated by one space,
// a field quoted as Go strings are where it holds spaces or quotes, "-" for
// one that is empty:
//
//	hermetic-manifest 1
//	package {"type":"gomod","path":"."}
//	lock sha256:<hex> go.sum
//	input gomod golang.org/x/mod v0.41.0 zip - h1:<base64> sha256:<hex> 182044 blob
//	input gomod golang.org/x/mod v0.41.0 mod - h1mod:<base64> sha256:<hex> 121 pack@0
//
// The fields of an input: ecosystem, name, version, kind, platform, the sum
// that the lockfile promises, the blob's sha256, its size in bytes, and where
// the blob is in the view: "blob" for the file blobs/<hex>, "pack@N" for the
// bytes from N of the file "pack".
type Manifest struct {
	Packages []Package
	Locks    []Lock
	Entries  []Entry
}

// An Entry is one input of a manifest with its blob.
type Entry struct {
	ID
	Sum  Sum
	Blob Blob
	Pack int64 // offset in the pack; -1 for a blob in a file of its own
}

// A Blob identifies content by the sha256 of its bytes.
type Blob struct {
	Sum  Sum // always SHA256
	Size int64
}

// magic is the first line of a manifest; the number grows with the format.
const magic = "hermetic-manifest 1"

// Resolve completes inputs by what m knows of them: the sum of a toolchain is in
// no lockfile. Optional ones that m does not have are left out.
func (m *Manifest) Resolve(inputs []Input) []Input {
	var out []Input
	for _, in := range inputs {
		e, ok := m.Find(in.ID())
		if !ok && in.Need == Optional {
			continue
		}
		if ok && in.Sum.IsZero() {
			in.Sum = e.Sum
		}
		out = append(out, in)
	}
	return out
}

// Find is the entry of id. The entries must be sorted, as ParseManifest, Encode
// and Place leave them.
func (m *Manifest) Find(id ID) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(m.Entries, id, func(e Entry, id ID) int { return e.ID.Compare(id) })
	if !ok {
		return Entry{}, false
	}
	return m.Entries[i], true
}

// Missing compares plan with m: what the plan needs and m does not have, and
// the lockfiles that are not the ones m was made from.
func (m *Manifest) Missing(plan Plan) []Problem {
	var ps []Problem
	made := map[string]Sum{}
	for _, l := range m.Locks {
		made[l.File] = l.Sum
	}
	for _, l := range plan.Locks {
		if was, known := made[l.File]; !known {
			ps = append(ps, Problem{Stale, Origin{File: l.File}, "", "the cache was made without it"})
		} else if was != l.Sum {
			ps = append(ps, Problem{Stale, Origin{File: l.File}, "", "changed since the cache was made"})
		}
	}
	for _, in := range plan.Inputs {
		e, ok := m.Find(in.ID())
		switch {
		case in.Need == Optional:
		case !ok:
			ps = append(ps, in.Problem(Missing, "not in the cache"))
		case !in.Sum.IsZero() && e.Sum != in.Sum:
			ps = append(ps, in.Problem(Missing, "not in the cache with this sum (the cache has "+known(e.Sum)+")"))
		}
	}
	return SortProblems(ps)
}

// known is what a message calls the sum of an entry.
func known(s Sum) string {
	if s.IsZero() {
		return "none"
	}
	return s.Notation()
}

// Encode sorts m and writes it in its text format: equal manifests are equal
// bytes.
func (m *Manifest) Encode() []byte {
	slices.SortFunc(m.Packages, Package.Compare)
	slices.SortFunc(m.Locks, func(a, b Lock) int { return strings.Compare(a.File, b.File) })
	slices.SortFunc(m.Entries, func(a, b Entry) int { return a.ID.Compare(b.ID) })
	var b bytes.Buffer
	b.WriteString(magic + "\n")
	for _, p := range m.Packages {
		fmt.Fprintf(&b, "package %s\n", p)
	}
	for _, l := range m.Locks {
		writeFields(&b, "lock", l.Sum.String(), l.File)
	}
	for _, e := range m.Entries {
		place := "blob"
		if e.Pack >= 0 {
			place = "pack@" + strconv.FormatInt(e.Pack, 10)
		}
		sum := ""
		if !e.Sum.IsZero() {
			sum = e.Sum.String()
		}
		writeFields(&b, "input", e.Ecosystem, e.Name, e.Version, e.Kind, e.Platform,
			sum, e.Blob.Sum.String(), strconv.FormatInt(e.Blob.Size, 10), place)
	}
	return b.Bytes()
}

func writeFields(b *bytes.Buffer, fields ...string) {
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch {
		case f == "":
			b.WriteByte('-')
		case f == "-" || strings.ContainsFunc(f, needsQuote):
			b.WriteString(strconv.Quote(f))
		default:
			b.WriteString(f)
		}
	}
	b.WriteByte('\n')
}

// needsQuote tells which runes would break a line into other fields.
func needsQuote(r rune) bool {
	return r <= ' ' || r == '"' || r == '\\' || r >= 0x7f
}

// maxBadLines bounds what one error says of a file that is no manifest at all.
const maxBadLines = 100

// ParseManifest reads what Encode writes. Errors are "file:line: cause", with
// all bad lines in one error; file is the name to print.
func ParseManifest(file string, data []byte) (*Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("%s: larger than %d MB", file, maxManifest>>20)
	}
	m := &Manifest{}
	var errs []error
	n, more := 0, 0
	for line := range strings.Lines(string(data)) {
		n++
		line, whole := strings.CutSuffix(line, "\n")
		var err error
		switch {
		case n == 1 && line != magic:
			return nil, fmt.Errorf("%s:1: not a manifest that this version reads (want %q)", file, magic)
		case !whole:
			err = errors.New("cut off: no newline at the end")
		case n > 1:
			err = m.parseLine(line)
		}
		switch {
		case err != nil && len(errs) < maxBadLines:
			errs = append(errs, fmt.Errorf("%s:%d: %v", file, n, err))
		case err != nil:
			more++
		}
	}
	if n == 0 {
		errs = append(errs, fmt.Errorf("%s: empty", file))
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("%s: %d more bad lines", file, more))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return m, nil
}

// errOrder is the complaint about a line that breaks the order of its kind.
var errOrder = errors.New("not sorted, or listed twice")

func (m *Manifest) parseLine(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "package":
		p, err := parsePackage(rest)
		if err != nil {
			return err
		}
		if n := len(m.Packages); n > 0 && m.Packages[n-1].Compare(p) >= 0 {
			return errOrder
		}
		m.Packages = append(m.Packages, p)
	case "lock":
		f, err := splitFields(rest, 2)
		if err != nil {
			return err
		}
		sum, err := ParseSum(f[0])
		if err != nil {
			return err
		}
		if n := len(m.Locks); n > 0 && m.Locks[n-1].File >= f[1] {
			return errOrder
		}
		m.Locks = append(m.Locks, Lock{f[1], sum})
	case "input":
		e, err := parseEntry(rest)
		if err != nil {
			return err
		}
		if n := len(m.Entries); n > 0 && m.Entries[n-1].ID.Compare(e.ID) >= 0 {
			return errOrder
		}
		m.Entries = append(m.Entries, e)
	default:
		return fmt.Errorf("unknown word %q", clip(verb))
	}
	return nil
}

func parsePackage(s string) (Package, error) {
	var p Package
	dec := json.NewDecoder(strings.NewReader(s))
	err := dec.Decode(&p)
	if _, end := dec.Token(); err != nil || end != io.EOF {
		return Package{}, fmt.Errorf("package %q: not a package", clip(s))
	}
	return p, nil
}

func parseEntry(s string) (Entry, error) {
	f, err := splitFields(s, 9)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: ID{Ecosystem: f[0], Name: f[1], Version: f[2], Kind: f[3], Platform: f[4]}, Pack: -1}
	if f[5] != "" {
		if e.Sum, err = ParseSum(f[5]); err != nil {
			return Entry{}, err
		}
	}
	if e.Blob.Sum, err = ParseSum(f[6]); err != nil {
		return Entry{}, err
	}
	if e.Blob.Sum.Algorithm() != SHA256 {
		return Entry{}, fmt.Errorf("blob %q: want sha256", clip(f[6]))
	}
	if e.Blob.Size, err = strconv.ParseInt(f[7], 10, 64); err != nil || e.Blob.Size < 0 {
		return Entry{}, fmt.Errorf("size %q: not a number of bytes", clip(f[7]))
	}
	if at, packed := strings.CutPrefix(f[8], "pack@"); packed {
		if e.Pack, err = strconv.ParseInt(at, 10, 64); err != nil || e.Pack < 0 || e.Pack+e.Blob.Size < 0 {
			return Entry{}, fmt.Errorf("place %q: not an offset", clip(f[8]))
		}
	} else if f[8] != "blob" {
		return Entry{}, fmt.Errorf("place %q: want blob or pack@N", clip(f[8]))
	}
	return e, nil
}

// splitFields cuts s into exactly n fields, unquoting those that are quoted.
func splitFields(s string, n int) ([]string, error) {
	var out []string
	for more := true; more; {
		var f string
		if strings.HasPrefix(s, `"`) {
			q, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, errors.New("a quote is not closed")
			}
			if f, err = strconv.Unquote(q); err != nil {
				return nil, err
			}
			var after string
			if after, s, more = strings.Cut(s[len(q):], " "); after != "" {
				return nil, errors.New("text after a closing quote")
			}
		} else {
			if f, s, more = strings.Cut(s, " "); f == "" {
				return nil, errors.New("two spaces, or one at an end")
			}
			if f == "-" {
				f = ""
			}
		}
		out = append(out, f)
	}
	if len(out) != n {
		return nil, fmt.Errorf("want %d fields, found %d", n, len(out))
	}
	return out, nil
}
