package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// equalSums lets go-cmp look at Sums.
var equalSums = cmp.Comparer(func(a, b Sum) bool { return a == b })

func blobOf(text string) Blob { return Blob{SumBytes([]byte(text)), int64(len(text))} }

// strange are names that a format with fields has to quote.
var strange = []string{
	"-", "--", "", " ", "a b", `"`, `a"b`, `\`, "\t", "\n", "\r", "\x00", "\x7f", "\xff\xfe", "é", "\u2028", "日本語", "package",
	"example.com/m", "v1.0.0+incompatible", "pack@1", "'", "`", "#", strings.Repeat("x", 5000),
}

func TestManifestRoundTrip(t *testing.T) {
	m := &Manifest{
		Packages: []Package{{Type: "gomod", Path: "."}, {Type: "gomod", Path: "a b/<&>\u2028"}, {Type: "gomod", Path: `q"\`}},
		Locks:    []Lock{{"go.sum", SumBytes([]byte("1"))}},
	}
	for i, s := range strange {
		m.Locks = append(m.Locks, Lock{"dir/" + s, SumBytes([]byte(s))})
		id := ID{Ecosystem: "gomod", Kind: "zip", Name: s, Version: strange[len(strange)-1-i], Platform: "linux/amd64"}
		m.Entries = append(m.Entries,
			Entry{ID: id, Sum: mustSum(t, "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="), Blob: blobOf(s), Pack: int64(i)},
			Entry{ID: ID{Ecosystem: s, Kind: s, Name: "n", Platform: s}, Blob: blobOf(s), Pack: -1})
	}
	for _, s := range strange {
		m.Derived = append(m.Derived, Derived{ID{Ecosystem: "pip", Name: s, Version: "1"}, "dir/" + s, s + "\n"})
	}
	text := m.Encode()
	for i := range 100 {
		shuffled := &Manifest{slices.Clone(m.Packages), slices.Clone(m.Locks), slices.Clone(m.Entries), slices.Clone(m.Derived)}
		r := rand.New(rand.NewPCG(uint64(i), 1))
		r.Shuffle(len(m.Packages), func(i, j int) {
			p := shuffled.Packages
			p[i], p[j] = p[j], p[i]
		})
		r.Shuffle(len(m.Locks), func(i, j int) { shuffled.Locks[i], shuffled.Locks[j] = shuffled.Locks[j], shuffled.Locks[i] })
		r.Shuffle(len(m.Entries), func(i, j int) {
			shuffled.Entries[i], shuffled.Entries[j] = shuffled.Entries[j], shuffled.Entries[i]
		})
		if !bytes.Equal(shuffled.Encode(), text) {
			t.Fatalf("order %d is encoded to other bytes", i)
		}
	}
	got, err := ParseManifest("m", text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got, equalSums); diff != "" {
		t.Error(diff)
	}
	if again := got.Encode(); !bytes.Equal(again, text) {
		t.Errorf("encoded again:\n%s\nwant:\n%s", again, text)
	}
	for _, e := range m.Entries {
		if found, ok := got.Find(e.ID); !ok || found != e {
			t.Errorf("Find(%v) = %v, %v", e.ID, found, ok)
		}
	}
	if _, ok := got.Find(ID{Name: "no such"}); ok {
		t.Error("Find finds what is not there")
	}
}

const (
	zeroH1  = "h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	zero256 = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	input1  = "input gomod example.com/m v1.0.0 zip - " + zeroH1 + " " + zero256 + " 10 "
)

func TestParseManifestErrors(t *testing.T) {
	tests := []struct{ name, text, err string }{
		{"empty", "", "m: empty"},
		{"no magic", "hello\n", `m:1: not a manifest that this version reads (want "hermetic-manifest 1")`},
		{"another version", "hermetic-manifest 2\n", `m:1: not a manifest that this version reads (want "hermetic-manifest 1")`},
		{"line ends", "hermetic-manifest 1\r\n", `m:1: not a manifest that this version reads (want "hermetic-manifest 1")`},
		{"cut off", magic, "m:1: cut off: no newline at the end"},
		{"cut off later", magic + "\n" + input1 + "pack@1", "m:2: cut off: no newline at the end"},
		{"too large", strings.Repeat("x", maxManifest+1), "m: larger than 16 MB"},
		{"not sorted", magic + "\n" + strings.Replace(input1, "m v1", "z v1", 1) + "blob\n" + input1 + "blob\n", "m:3: not sorted, or listed twice"},
		{"twice", magic + "\n" + input1 + "blob\n" + input1 + "pack@1\n", "m:3: not sorted, or listed twice"},
		{"lock twice", magic + "\nlock " + zero256 + " go.sum\nlock " + zero256 + " go.sum\n", "m:3: not sorted, or listed twice"},
		{"package twice", magic + "\npackage {\"type\":\"gomod\",\"path\":\".\"}\npackage {\"path\":\".\",\"type\":\"gomod\"}\n", "m:3: not sorted, or listed twice"},
		{"all lines", magic + "\n\nblob\nlock\nlock " + zero256 + "\nlock x go.sum\nlock - go.sum\nlock " + zero256 + ` "go.sum` + "\n" +
			`lock ` + zero256 + ` "go".sum` + "\nlock  " + zero256 + " go.sum\nlock " + zero256 + " go.sum \n" +
			"package\npackage 1\npackage {}}\npackage {\"type\":1}\npackage {\"type\":\"gomod\"} x\n" +
			input1 + "\n" + input1 + "blobs\n" + input1 + "pack@-1\n" + input1 + "pack@x\n" + input1 + "pack@9223372036854775807\n" +
			strings.Replace(input1, " 10 ", " -10 ", 1) + "blob\n" + strings.Replace(input1, " 10 ", " 1e3 ", 1) + "blob\n" +
			strings.Replace(input1, zero256, zeroH1, 1) + "blob\n" + strings.Replace(input1, zero256, "-", 1) + "blob\n" +
			strings.Replace(input1, zeroH1, "h1:", 1) + "blob\n" + input1 + "blob x y\n" + input1 + "blob x/y\n" + input1 + "blob ..\n",
			`m:2: unknown word ""
m:3: unknown word "blob"
m:4: two spaces, or one at an end
m:5: want 2 fields, found 1
m:6: checksum "x": no algorithm
m:7: checksum "": no algorithm
m:8: a quote is not closed
m:9: text after a closing quote
m:10: two spaces, or one at an end
m:11: two spaces, or one at an end
m:12: package "": not a package
m:13: package "1": not a package
m:14: package "{}}": not a package
m:15: package "{\"type\":1}": not a package
m:16: package "{\"type\":\"gomod\"} x": not a package
m:17: two spaces, or one at an end
m:18: place "blobs": want blob or pack@N
m:19: place "pack@-1": not an offset
m:20: place "pack@x": not an offset
m:21: place "pack@9223372036854775807": not an offset
m:22: size "-10": not a number of bytes
m:23: size "1e3": not a number of bytes
m:24: blob "` + zeroH1 + `": want sha256
m:25: checksum "": no algorithm
m:26: checksum "h1:": malformed
m:27: want 9 fields, found 11
m:28: file "x/y": not the name of a file
m:29: file "..": not the name of a file`},
	}
	for _, tt := range tests {
		m, err := ParseManifest("m", []byte(tt.text))
		if m != nil || err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		if diff := cmp.Diff(tt.err, err.Error()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestParseManifestFlood(t *testing.T) {
	_, err := ParseManifest("m", []byte(magic+"\n"+strings.Repeat("?\n", 1_000_000)))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxBadLines+1 || lines[maxBadLines-1] != `m:101: unknown word "?"` || lines[maxBadLines] != "m: 999900 more bad lines" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(magic + "\npackage {\"type\":\"gomod\",\"path\":\".\"}\nlock " + zero256 + " go.sum\n" + input1 + "blob\n"))
	f.Add([]byte(magic + "\n" + strings.Replace(input1, "example.com/m", `"a b\n\xff"`, 1) + "pack@0\n"))
	f.Add([]byte(magic + "\n" + strings.Replace(input1, zeroH1, "-", 1) + "blob\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest("m", data)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "m:") {
					t.Fatalf("a line without a place: %q", line)
				}
			}
			return
		}
		text := m.Encode()
		again, err := ParseManifest("m", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(m, again, equalSums); diff != "" {
			t.Fatal(diff)
		}
		if twice := again.Encode(); !bytes.Equal(twice, text) {
			t.Fatalf("%s\nthen\n%s", text, twice)
		}
		// Where Encode's notation is the given one line for line, the bytes are too.
		if canonical(data) && !bytes.Equal(data, text) {
			t.Fatalf("%q\nis encoded as\n%q", data, text)
		}
	})
}

// canonical tells whether data has neither quotes nor JSON, which can be written
// in several ways, nor kinds of lines out of order.
func canonical(data []byte) bool {
	kinds := []string{"hermetic-manifest", "package", "lock", "input"}
	last := 0
	for line := range strings.Lines(string(data)) {
		verb, rest, _ := strings.Cut(line, " ")
		at := slices.Index(kinds, verb)
		if at < last || verb == "package" || strings.ContainsFunc(strings.ReplaceAll(rest, " ", ""), func(r rune) bool { return r != '\n' && needsQuote(r) }) {
			return false
		}
		last = at
		fields := strings.Fields(rest)
		for i, f := range fields {
			isSum := verb == "lock" && i == 0 || verb == "input" && (i == 5 || i == 6)
			if s, err := ParseSum(f); isSum && err == nil && s.String() != f {
				return false // SRI, or hexadecimal in upper case
			}
			number := verb == "input" && i >= 7
			if digits := strings.TrimPrefix(f, "pack@"); number && digits != "blob" && (digits[0] == '+' || digits[0] == '-' || len(digits) > 1 && digits[0] == '0') {
				return false
			}
		}
	}
	return true
}

func TestMissing(t *testing.T) {
	sumA, sumB := SumBytes([]byte("a")), SumBytes([]byte("b"))
	h := mustSum(t, "h1mod:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	in := func(name string, need Need, sum Sum) Input {
		return Input{Ecosystem: "gomod", Kind: "zip", Name: name, Version: "v1.0.0", Sum: sum, Need: need, Origin: Origin{"go.sum", len(name)}}
	}
	m := &Manifest{
		Locks: []Lock{{"go.sum", sumA}, {"unused/go.sum", sumB}},
		Entries: []Entry{
			{ID: in("has", 0, sumA).ID(), Sum: sumA}, {ID: in("other", 0, sumA).ID(), Sum: h}, {ID: in("zero", 0, sumA).ID()},
		},
	}
	m.Encode()
	tests := []struct {
		name string
		plan Plan
		want []string
	}{
		{"nothing", Plan{}, nil},
		{"all there", Plan{Locks: []Lock{{"go.sum", sumA}}, Inputs: []Input{in("has", Required, sumA), in("has", Listed, Sum{})}}, nil},
		{"absent", Plan{Inputs: []Input{in("gone", Required, sumA), in("lost2", Listed, sumA)}},
			[]string{"go.sum:4: gone@v1.0.0: not in the cache", "go.sum:5: lost2@v1.0.0: not in the cache"}},
		{"other sum", Plan{Inputs: []Input{in("other", Listed, sumA), in("zero", Listed, sumA)}},
			[]string{
				"go.sum:4: zero@v1.0.0: not in the cache with this sum (the cache has none)",
				"go.sum:5: other@v1.0.0: not in the cache with this sum (the cache has h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=)",
			}},
		{"optional", Plan{Inputs: []Input{in("gone", Optional, sumA), in("other", Optional, sumA)}}, nil},
		{"stale lock", Plan{Locks: []Lock{{"go.sum", sumB}}}, []string{"go.sum: changed since the cache was made"}},
		{"unknown lock", Plan{Locks: []Lock{{"b/go.sum", sumB}}}, []string{"b/go.sum: the cache was made without it"}},
		{"everything, sorted", Plan{Locks: []Lock{{"z/go.sum", sumB}, {"go.sum", sumB}}, Inputs: []Input{in("gone", Listed, sumB), in("x", Listed, sumB)}},
			[]string{"go.sum: changed since the cache was made", "go.sum:1: x@v1.0.0: not in the cache", "go.sum:4: gone@v1.0.0: not in the cache", "z/go.sum: the cache was made without it"}},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range m.Missing(tt.plan) {
			got = append(got, p.String())
			if want := map[bool]ProblemKind{true: Stale, false: Missing}[p.Origin.Line == 0]; p.Kind != want {
				t.Errorf("%s: %s: kind %d, want %d", tt.name, p, p.Kind, want)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestPlace(t *testing.T) {
	big := Blob{SumBytes([]byte("big")), packLimit}
	m := &Manifest{}
	for i, b := range []Blob{blobOf("one"), blobOf("three"), blobOf("one"), big, {SumBytes(nil), 0}, blobOf("five")} {
		m.Entries = append(m.Entries, Entry{ID: ID{Name: fmt.Sprint(9 - i)}, Blob: b, Pack: 77})
	}
	m.Place()
	var got []string
	for _, e := range m.Entries {
		got = append(got, fmt.Sprintf("%s %d+%d", e.Name, e.Pack, e.Blob.Size))
	}
	want := []string{"4 0+4", "5 4+0", "6 -1+65536", "7 4+3", "8 7+5", "9 4+3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Of alternatives a manifest has those that were chosen, with their file names.
func TestAlternatives(t *testing.T) {
	one, two, three := SumBytes([]byte("1")), SumBytes([]byte("2")), SumBytes([]byte("3"))
	alternative := func(name string, sum Sum) Input {
		return Input{Ecosystem: "pip", Kind: sum.String(), Name: name, Version: "1", Sum: sum, Need: Alternative, Origin: Origin{"r", 1}, Wants: name}
	}
	plan := Plan{Inputs: []Input{alternative("a", one), alternative("a", two), alternative("b", three), alternative("a", one)}}
	plan.Inputs[3].Wants = "A"
	plan.Normalize()
	if len(plan.Inputs) != 3 || len(plan.Problems) != 0 {
		t.Fatalf("%v, %v", plan.Inputs, plan.Problems)
	}
	for _, in := range plan.Inputs {
		if in.Sum == one && in.Wants != "A\na" {
			t.Errorf("wants %q", in.Wants)
		}
	}
	m := &Manifest{Entries: []Entry{{ID: ID{"pip", two.String(), "a", "1", ""}, Sum: two, Blob: Blob{two, 1}, Pack: 0, File: "a b.zip"}}}
	read, err := ParseManifest("m", m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(m.Encode()), string(read.Encode())); diff != "" {
		t.Error(diff)
	}
	ps := read.Missing(Plan{Inputs: plan.Inputs})
	if len(ps) != 1 || ps[0].String() != "r:1: b==1: not in the cache" {
		t.Error(ps)
	}
	got := read.Resolve(plan.Inputs)
	if len(got) != 1 || got[0].Path != "a b.zip" || got[0].Sum != two {
		t.Errorf("%+v", got)
	}
	// The same file by two checksums is laid out once.
	m.Entries = append(m.Entries, Entry{ID: ID{"pip", one.String(), "a", "1", ""}, Sum: one, Blob: Blob{two, 1}, Pack: 0, File: "a b.zip"})
	m.Encode() // sorts
	if got := m.Resolve(plan.Inputs); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}
