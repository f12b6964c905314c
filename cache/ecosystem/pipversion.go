package ecosystem

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A pyVersion is a version of a Python package, fit for comparing
// (https://packaging.python.org/en/latest/specifications/version-specifiers/).
type pyVersion struct {
	epoch   int
	release []int
	pre     pyPart // a, b or rc
	post    pyPart
	dev     pyPart
	local   string
}

// A pyPart is a suffix of a version with its number; kind is "" for none.
type pyPart struct {
	kind string
	n    int
}

var pyVersionForm = regexp.MustCompile(`^(?i:v?(?:(\d+)!)?(\d+(?:\.\d+)*)` +
	`(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?` +
	`(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?` +
	`(?:[-_.]?(dev)[-_.]?(\d*))?` +
	`(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?)$`)

// pyPre are the spellings of pre-releases, and the one of each that counts.
var pyPre = map[string]string{"alpha": "a", "a": "a", "beta": "b", "b": "b", "preview": "rc", "pre": "rc", "c": "rc", "rc": "rc"}

// parsePyVersion reads a version; numbers of more than 15 digits are none.
func parsePyVersion(s string) (pyVersion, bool) {
	m := pyVersionForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return pyVersion{}, false
	}
	ok := true
	number := func(digits string) int {
		if digits == "" {
			return 0
		}
		n, err := strconv.Atoi(digits)
		ok = ok && err == nil && len(digits) <= 15
		return n
	}
	v := pyVersion{epoch: number(m[1])}
	for part := range strings.SplitSeq(m[2], ".") {
		v.release = append(v.release, number(part))
	}
	if m[3] != "" {
		v.pre = pyPart{pyPre[strings.ToLower(m[3])], number(m[4])}
	}
	if m[5] != "" || m[6] != "" {
		v.post = pyPart{"post", number(m[5] + m[7])}
	}
	if m[8] != "" {
		v.dev = pyPart{"dev", number(m[9])}
	}
	v.local = strings.NewReplacer("-", ".", "_", ".").Replace(strings.ToLower(m[10]))
	return v, ok
}

// compare sorts as PEP 440 does, local versions included.
func (v pyVersion) compare(w pyVersion) int {
	return cmp.Or(v.comparePublic(w), compareLocal(v.local, w.local))
}

func (v pyVersion) comparePublic(w pyVersion) int {
	return cmp.Or(cmp.Compare(v.epoch, w.epoch), compareRelease(v.release, w.release),
		cmp.Compare(v.preRank(), w.preRank()), cmp.Compare(v.pre.n, w.pre.n),
		cmp.Compare(v.post.kind, w.post.kind), cmp.Compare(v.post.n, w.post.n),
		cmp.Compare(w.dev.kind, v.dev.kind), cmp.Compare(v.dev.n, w.dev.n))
}

// preRank is where a version stands among those of one release: a development
// release comes before alphas, a final one after candidates.
func (v pyVersion) preRank() int {
	switch {
	case v.pre.kind != "":
		return int(v.pre.kind[0]) // a, b, r
	case v.post.kind == "" && v.dev.kind != "":
		return 0
	}
	return 'z'
}

// compareRelease compares numbers, of which those not there are 0.
func compareRelease(a, b []int) int {
	for i := range max(len(a), len(b)) {
		x, y := 0, 0
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareLocal compares local versions: numbers are more than words.
func compareLocal(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(a), len(b))
	}
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
		switch {
		case digits(x) && digits(y):
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
		case digits(x):
			return 1
		case digits(y):
			return -1
		}
		return strings.Compare(x, y)
	})
}

// samePyVersion tells whether two texts are one version: "1.0" and "1.0.0"
// are.
func samePyVersion(a, b string) bool {
	v, ok1 := parsePyVersion(a)
	w, ok2 := parsePyVersion(b)
	if ok1 && ok2 {
		return v.compare(w) == 0
	}
	return a == b
}

// satisfies tells whether v fits one clause of a specifier, "~=" and "1.*"
// included; ok is false where the clause is none.
func (v pyVersion) satisfies(op, spec string) (fits, ok bool) {
	if prefix, wild := strings.CutSuffix(spec, ".*"); wild {
		p, ok := parsePyVersion(prefix)
		if !ok || op != "==" && op != "!=" {
			return false, false
		}
		return v.startsWith(p) == (op == "=="), true
	}
	w, ok := parsePyVersion(spec)
	if !ok {
		return false, false
	}
	public := v
	if w.local == "" {
		public.local = ""
	}
	c := public.compare(w)
	switch op {
	case "==", "===":
		return c == 0, true
	case "!=":
		return c != 0, true
	case "<=":
		return c <= 0, true
	case ">=":
		return c >= 0, true
	case "<":
		return c < 0, true
	case ">":
		return c > 0, true
	case "~=":
		if len(w.release) < 2 {
			return false, false
		}
		return c >= 0 && v.startsWith(pyVersion{epoch: w.epoch, release: w.release[:len(w.release)-1]}), true
	}
	return false, false
}

// startsWith tells whether the release of v begins with that of p.
func (v pyVersion) startsWith(p pyVersion) bool {
	own := slices.Clone(v.release)
	for len(own) < len(p.release) {
		own = append(own, 0)
	}
	return v.epoch == p.epoch && slices.Equal(own[:len(p.release)], p.release)
}

var pySeparators = regexp.MustCompile(`[-_.]+`)

// pyName is the one form of all names that mean the same package
// (https://packaging.python.org/en/latest/specifications/name-normalization/).
func pyName(name string) string {
	if plainPyName(name) {
		return name
	}
	return strings.ToLower(pySeparators.ReplaceAllString(name, "-"))
}

// plainPyName tells of a name that it is in that form; those of most lockfiles
// are.
func plainPyName(name string) bool {
	for i, c := range []byte(name) {
		if c == '-' && i > 0 && name[i-1] == '-' || c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
