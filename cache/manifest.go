package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
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
// the blob is in the view: "blob" for the file <ecosystem>/blobs/sha256/<hex>,
// "pack@N" for the bytes from N of the file <ecosystem>/pack. An Alternative has one field more, its file
// name: no lockfile tells it.
//
// A lockfile inside of an input is a line with the five fields that name the
// input, where in it the file is, and its text:
//
//	derived pip bcrypt 4.3.0 sha256:<hex> - bcrypt-4.3.0/src/_bcrypt/Cargo.lock "version = 4\n…"
type Manifest struct {
	Packages []Package
	Locks    []Lock
	Entries  []Entry
	Derived  []Derived
}

// An Entry is one input of a manifest with its blob.
type Entry struct {
	ID
	Sum  Sum
	Blob Blob
	Pack int64  // offset in the pack; -1 for a blob in a file of its own
	File string // the name of an Alternative's file; "" of all other inputs
}

// A Blob identifies content by the sha256 of its bytes.
type Blob struct {
	Sum  Sum // always SHA256
	Size int64
}

// magic is the first line of a manifest; the number grows with the format.
const magic = "hermetic-manifest 1"

// Resolve completes inputs by what m knows of them: the sum of a toolchain is in
// no lockfile, nor is the file name of an Alternative. Optional ones and
// Alternatives that m does not have are left out, and so is one file's second
// input.
func (m *Manifest) Resolve(inputs []Input) []Input {
	var out []Input
	files := map[[2]string]Sum{}
	for _, in := range inputs {
		e, ok := m.Find(in.ID())
		if !ok && (in.Need == Optional || in.Need == Alternative) {
			continue
		}
		if ok && in.Need == Alternative {
			in.Path = e.File
		}
		if ok && in.Path != "" {
			if first, twice := files[[2]string{in.Ecosystem, in.Path}]; twice && first == e.Blob.Sum {
				continue
			}
			files[[2]string{in.Ecosystem, in.Path}] = e.Blob.Sum
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

// BlobSum stands for the sha256 of an input's bytes in a template of a project
// file: no lockfile tells that of a commit's archive. name is the input's Path.
func BlobSum(ecosystem, name string) string { return "${blob:" + ecosystem + "/" + name + "}" }

// BlobHex is like BlobSum, for the digits alone.
func BlobHex(ecosystem, name string) string { return "${blobhex:" + ecosystem + "/" + name + "}" }

// blobSum matches what BlobSum and BlobHex write.
var blobSum = regexp.MustCompile(`\$\{blob(hex)?:([^}]*)\}`)

// Fill puts the sums that m knows into the templates of project files, where
// BlobSum stands for them. inputs are those of the plan.
func (m *Manifest) Fill(files []ProjectFile, inputs []Input) []ProjectFile {
	out := slices.Clone(files)
	for i, f := range out {
		out[i].Template = blobSum.ReplaceAllStringFunc(f.Template, func(text string) string {
			match := blobSum.FindStringSubmatch(text)
			for _, in := range inputs {
				if e, ok := m.Find(in.ID()); ok && in.Ecosystem+"/"+in.Path == match[2] {
					if match[1] != "" {
						return e.Blob.Sum.Hex()
					}
					return e.Blob.Sum.String()
				}
			}
			return text
		})
	}
	return out
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
	ps = append(ps, m.missingAlternatives(plan.Inputs)...)
	for _, in := range plan.Inputs {
		e, ok := m.Find(in.ID())
		switch {
		case in.Need == Optional, in.Need == Alternative:
		case !ok:
			ps = append(ps, in.Problem(Missing, "not in the cache"))
		case !in.Sum.IsZero() && e.Sum != in.Sum:
			ps = append(ps, in.Problem(Missing, "not in the cache with this sum (the cache has "+known(e.Sum)+")"))
		}
	}
	return SortProblems(ps)
}

// missingAlternatives are the names and versions of which m has no Alternative.
func (m *Manifest) missingAlternatives(inputs []Input) []Problem {
	have := map[[3]string]bool{}
	var first []Input
	for _, in := range inputs {
		if in.Need != Alternative {
			continue
		}
		key := [3]string{in.Ecosystem, in.Name, in.Version}
		if _, seen := have[key]; !seen {
			first = append(first, in)
		}
		e, ok := m.Find(in.ID())
		have[key] = have[key] || ok && e.Sum == in.Sum
	}
	var ps []Problem
	for _, in := range first {
		if !have[[3]string{in.Ecosystem, in.Name, in.Version}] {
			ps = append(ps, in.Problem(Missing, "not in the cache"))
		}
	}
	return ps
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
	slices.SortFunc(m.Derived, Derived.Compare)
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
		fields := []string{"input", e.Ecosystem, e.Name, e.Version, e.Kind, e.Platform,
			sum, e.Blob.Sum.String(), strconv.FormatInt(e.Blob.Size, 10), place}
		if e.File != "" {
			fields = append(fields, e.File)
		}
		writeFields(&b, fields...)
	}
	for _, d := range m.Derived {
		writeFields(&b, "derived", d.Ecosystem, d.Name, d.Version, d.Kind, d.Platform, d.File, d.Text)
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
	case "derived":
		f, err := splitFields(rest, 7)
		if err != nil {
			return err
		}
		d := Derived{ID{Ecosystem: f[0], Name: f[1], Version: f[2], Kind: f[3], Platform: f[4]}, f[5], f[6]}
		if n := len(m.Derived); n > 0 && m.Derived[n-1].Compare(d) >= 0 {
			return errOrder
		}
		m.Derived = append(m.Derived, d)
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
	f, err := splitFields(s, 9, 10)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{ID: ID{Ecosystem: f[0], Name: f[1], Version: f[2], Kind: f[3], Platform: f[4]}, Pack: -1}
	if len(f) == 10 {
		if e.File = f[9]; !isLocal(e.File) || strings.ContainsAny(e.File, "/\\\x00") {
			return Entry{}, fmt.Errorf("file %q: not the name of a file", clip(e.File))
		}
	}
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

// splitFields cuts s into fields, unquoting those that are quoted. There must be
// as many as one of counts says.
func splitFields(s string, counts ...int) ([]string, error) {
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
	if !slices.Contains(counts, len(out)) {
		return nil, fmt.Errorf("want %d fields, found %d", counts[0], len(out))
	}
	return out, nil
}

// Loose is m for a deps context without packs: every blob has a file of its
// own. Entries are sorted, m is left as it is.
func (m *Manifest) Loose() *Manifest {
	out := &Manifest{Packages: m.Packages, Locks: m.Locks, Entries: make([]Entry, len(m.Entries)), Derived: slices.Clone(m.Derived)}
	for i, e := range m.Entries {
		e.Pack = -1
		out.Entries[i] = e
	}
	out.Encode() // sorts
	return out
}
