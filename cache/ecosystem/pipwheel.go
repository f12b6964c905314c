package ecosystem

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pipAll is the word of Hermeto's options for "no matter which".
const pipAll = ":all:"

// pipBinary is Hermeto's option "binary": which wheels are wanted, beside or
// instead of source distributions. Empty fields mean the defaults: all
// packages, CPython of any version, any ABI, the platforms of the build (linux
// on x86_64 where they are not known).
type pipBinary struct {
	Packages  string `json:"packages,omitempty"` // names, joined by commas
	Arch      string `json:"arch,omitempty"`     // as in wheels: "x86_64,aarch64"
	OS        string `json:"os,omitempty"`       // "linux", "macosx", "win"
	PyVersion int    `json:"py_version,omitempty"`
	PyImpl    string `json:"py_impl,omitempty"`
	ABI       string `json:"abi,omitempty"`
	Platform  string `json:"platform,omitempty"` // a regular expression for platform tags
}

// pipWants is which of the files of a package are wanted.
type pipWants struct {
	Binary    *pipBinary `json:"binary,omitempty"` // nil: source distributions alone
	Platforms []string   `json:"platforms,omitempty"`
}

// String is the form of an Input's Wants.
func (w pipWants) String() string {
	data, _ := json.Marshal(w) // strings and numbers always marshal
	return string(data)
}

// A pipTarget is a platform in the words of wheels; "" matches any.
type pipTarget struct{ os, arch string }

// pipMachines are the machines of platforms, as Linux names them.
var pipMachines = map[string]string{
	"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7l", "arm/v7": "armv7l", "arm/v6": "armv6l",
	"ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64",
}

// pipTargetOf is a platform in the words of wheels.
func pipTargetOf(platform string) pipTarget {
	system, arch, _ := strings.Cut(platform, "/")
	machine, ok := pipMachines[arch]
	if !ok {
		arch, _, _ = strings.Cut(arch, "/")
		if machine, ok = pipMachines[arch]; !ok {
			machine = arch
		}
	}
	switch system {
	case "darwin":
		if machine == "aarch64" {
			machine = "arm64"
		}
		return pipTarget{"macosx", machine}
	case "windows":
		return pipTarget{"win", arch}
	}
	return pipTarget{system, machine}
}

// targets are the platforms that files are wanted for.
func (w pipWants) targets() []pipTarget {
	var build []pipTarget
	for _, p := range w.Platforms {
		build = append(build, pipTargetOf(p))
	}
	if w.Binary == nil {
		if len(build) == 0 {
			return []pipTarget{{os: "linux"}}
		}
		return build
	}
	if len(build) == 0 {
		build = []pipTarget{{"linux", "x86_64"}}
	}
	var out []pipTarget
	for _, t := range build {
		for _, system := range pipWords(w.Binary.OS, t.os) {
			for _, arch := range pipWords(w.Binary.Arch, t.arch) {
				if one := (pipTarget{system, arch}); !slices.Contains(out, one) {
					out = append(out, one)
				}
			}
		}
	}
	return out
}

// pipWords cuts a list of an option; "" stands for what is not said, and a word
// that is "" for any.
func pipWords(list, unsaid string) []string {
	if list == "" {
		return []string{unsaid}
	}
	var out []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == pipAll {
			word = ""
		}
		out = append(out, word)
	}
	return out
}

// markerEnvs are the targets as markers see them.
func (w pipWants) markerEnvs() []markerEnv {
	var out []markerEnv
	for _, t := range w.targets() {
		env := markerEnv{"extra": ""}
		switch t.os {
		case "linux":
			env["os_name"], env["sys_platform"], env["platform_system"] = "posix", "linux", "Linux"
		case "macosx":
			env["os_name"], env["sys_platform"], env["platform_system"] = "posix", "darwin", "Darwin"
		case "win":
			env["os_name"], env["sys_platform"], env["platform_system"] = "nt", "win32", "Windows"
		}
		if t.arch != "" {
			env["platform_machine"] = t.arch
			if t.os == "win" {
				env["platform_machine"] = strings.ToUpper(t.arch)
			}
		}
		if b := w.Binary; b != nil {
			if b.PyVersion != 0 {
				digits := strconv.Itoa(b.PyVersion)
				env["python_version"] = digits[:1] + "." + digits[1:]
			}
			if b.PyImpl == "" || b.PyImpl == "cp" {
				env["platform_python_implementation"], env["implementation_name"] = "CPython", "cpython"
			}
		}
		out = append(out, env)
	}
	return out
}

// A pyFile is what the name of a distribution says
// (https://packaging.python.org/en/latest/specifications/binary-distribution-format/#file-name-convention).
type pyFile struct {
	name, version string
	tags          string // of a wheel: "cp312-cp312-manylinux_2_17_x86_64", with its build tag in front; "" for a source distribution
	py, abi, plat []string
}

// pySourceExts are the suffixes of source distributions, the best first.
var pySourceExts = []string{".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tar.Z", ".tar"}

// parsePyFile reads the file name of a distribution.
func parsePyFile(file string) (pyFile, bool) {
	if !isPyFileName(file) {
		return pyFile{}, false
	}
	if stem, ok := strings.CutSuffix(file, ".whl"); ok {
		parts := strings.Split(stem, "-")
		if len(parts) != 5 && len(parts) != 6 || slices.Contains(parts, "") {
			return pyFile{}, false
		}
		n := len(parts)
		return pyFile{
			name: parts[0], version: parts[1], tags: strings.Join(parts[2:], "-"),
			py: strings.Split(parts[n-3], "."), abi: strings.Split(parts[n-2], "."), plat: strings.Split(parts[n-1], "."),
		}, true
	}
	for _, ext := range pySourceExts {
		stem, ok := strings.CutSuffix(file, ext)
		if !ok {
			continue
		}
		// Names and versions may have dashes: a version begins with a digit.
		for i := len(stem) - 1; i > 0; i-- {
			if stem[i] != '-' {
				continue
			}
			if _, ok := parsePyVersion(stem[i+1:]); ok && !versionBefore(stem[:i]) {
				return pyFile{name: stem[:i], version: stem[i+1:]}, true
			}
		}
		return pyFile{}, false
	}
	return pyFile{}, false
}

// versionBefore tells whether a dash in a version was mistaken for the one in
// front of it: "pkg-1.0" of "pkg-1.0-1".
func versionBefore(stem string) bool {
	i := strings.LastIndexByte(stem, '-')
	if i < 0 {
		return false
	}
	_, ok := parsePyVersion(stem[i+1:])
	return ok && strings.Contains(stem[i+1:], ".")
}

// isPyFileName refuses names that would lead elsewhere, or that no index has.
func isPyFileName(s string) bool {
	return s != "" && len(s) <= 255 && s[0] != '.' && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\:*?"<>|$`, r)
	})
}

// is tells whether the file is one of a package and version.
func (f pyFile) is(name, version string) bool {
	return pyName(f.name) == pyName(name) && (version == "" || samePyVersion(strings.ReplaceAll(f.version, "_", "-"), strings.ReplaceAll(version, "_", "-")))
}

// fits tells whether a wheel serves target, for the Pythons that b wants.
func (f pyFile) fits(b *pipBinary, t pipTarget) bool {
	return slices.ContainsFunc(f.py, func(tag string) bool { return f.fitsPython(b, tag) }) &&
		(b.ABI == "" || b.ABI == pipAll || slices.ContainsFunc(f.abi, func(a string) bool { return slices.Contains(pipWords(b.ABI, ""), a) })) &&
		slices.ContainsFunc(f.plat, func(tag string) bool { return fitsPlatform(b, t, tag) })
}

var pyTag = regexp.MustCompile(`^([a-z]+)(\d)(\d*)$`)

// fitsPython tells whether the Pythons of a tag are among those wanted.
func (f pyFile) fitsPython(b *pipBinary, tag string) bool {
	m := pyTag.FindStringSubmatch(tag)
	impl := b.PyImpl
	if impl == "" {
		impl = "cp"
	}
	if m == nil {
		return impl == pipAll && b.PyVersion == 0
	}
	if m[1] != "py" && impl != pipAll && !slices.Contains(pipWords(impl, ""), m[1]) {
		return false
	}
	if b.PyVersion == 0 {
		return true
	}
	wanted := strconv.Itoa(b.PyVersion)
	if m[2] != wanted[:1] {
		return false
	}
	have, _ := strconv.Atoi(m[3])
	minor, _ := strconv.Atoi(wanted[1:])
	switch {
	case m[3] == "" || have == minor:
		return true
	case m[1] == "py", slices.Contains(f.abi, "abi3"):
		return have <= minor
	}
	return false
}

// fitsPlatform tells whether a tag of a wheel is one of a platform that is
// wanted.
func fitsPlatform(b *pipBinary, t pipTarget, tag string) bool {
	if b.Platform != "" {
		re, err := regexp.Compile("^(?:" + b.Platform + ")$")
		return err == nil && re.MatchString(tag)
	}
	if tag == "any" {
		return true
	}
	ofOS := t.os == ""
	switch t.os {
	case "linux":
		ofOS = strings.HasPrefix(tag, "linux_") || strings.HasPrefix(tag, "manylinux") || strings.HasPrefix(tag, "musllinux_")
	case "macosx", "win":
		ofOS = strings.HasPrefix(tag, t.os)
	}
	return ofOS && (t.arch == "" || strings.HasSuffix(tag, "_"+t.arch) || t.os == "macosx" && strings.HasSuffix(tag, "_universal2"))
}

// A PipFile is a file of which an index, or a lockfile, says that it is of one
// version of a package.
type PipFile struct {
	Name   string
	Yanked bool // withdrawn by those who published it
}

// IsPipFile tells whether a file may be a distribution, by its name.
func IsPipFile(name string) bool {
	_, ok := parsePyFile(name)
	return ok
}

// IsPipFileOf tells whether a file is a distribution of one version of a
// package, by its name.
func IsPipFileOf(file, name, version string) bool {
	f, ok := parsePyFile(file)
	return ok && f.is(name, version)
}

// PipWants are which files of a package are wanted: the rules of Hermeto's
// option "binary", with the platforms of the build where it says none.
type PipWants []pipWants

// ParsePipWants reads the Wants of an Input.
func ParsePipWants(wants string) PipWants {
	var out PipWants
	for line := range strings.SplitSeq(wants, "\n") {
		var w pipWants
		if json.Unmarshal([]byte(line), &w) == nil { // else not of this package
			out = append(out, w)
		}
	}
	return out
}

// Choose picks the files that are wanted among those of one version of a
// package. What is not covered is told in lacking, a line each.
func (p PipWants) Choose(name string, files []PipFile) (take []int, lacking []string) {
	chosen := map[int]bool{}
	for _, w := range p {
		more, lacks := w.choose(name, files)
		for _, i := range more {
			chosen[i] = true
		}
		lacking = append(lacking, lacks...)
	}
	for i := range files {
		if chosen[i] {
			take = append(take, i)
		}
	}
	slices.Sort(lacking)
	return take, slices.Compact(lacking)
}

func (w pipWants) choose(name string, files []PipFile) (take []int, lacking []string) {
	source := -1
	for i, f := range files {
		if p, ok := parsePyFile(f.Name); ok && p.tags == "" && (source < 0 || betterSource(f, files[source])) {
			source = i
		}
	}
	if source >= 0 {
		take = append(take, source)
	}
	if !w.binary(name) {
		if source < 0 {
			lacking = append(lacking, "no source distribution: wheels come with the option binary only")
		}
		return take, lacking
	}
	for _, t := range w.targets() {
		n := 0
		for i, f := range files {
			if p, ok := parsePyFile(f.Name); ok && p.tags != "" && p.fits(w.Binary, t) {
				n++
				if !slices.Contains(take, i) {
					take = append(take, i)
				}
			}
		}
		if n == 0 && source < 0 {
			lacking = append(lacking, "no wheel for "+w.describe(t)+", and no source distribution")
		}
	}
	return take, lacking
}

// binary tells whether wheels of a package are wanted.
func (w pipWants) binary(name string) bool {
	if w.Binary == nil {
		return false
	}
	if w.Binary.Packages == "" || w.Binary.Packages == pipAll {
		return true
	}
	return slices.ContainsFunc(pipWords(w.Binary.Packages, ""), func(n string) bool { return pyName(n) == pyName(name) })
}

// describe is a target in words.
func (w pipWants) describe(t pipTarget) string {
	if w.Binary.Platform != "" {
		return "platforms like " + w.Binary.Platform
	}
	var words []string
	for _, s := range []string{t.os, t.arch} {
		if s != "" {
			words = append(words, s)
		}
	}
	text := strings.Join(words, "_")
	if text == "" {
		text = "any platform"
	}
	if w.Binary.PyVersion != 0 {
		text += fmt.Sprintf(", Python %s.%s", strconv.Itoa(w.Binary.PyVersion)[:1], strconv.Itoa(w.Binary.PyVersion)[1:])
	}
	return text
}

// betterSource tells which of two source distributions to take.
func betterSource(a, b PipFile) bool {
	if a.Yanked != b.Yanked {
		return b.Yanked
	}
	rank := func(f PipFile) int {
		return slices.IndexFunc(pySourceExts, func(ext string) bool { return strings.HasSuffix(f.Name, ext) })
	}
	if x, y := rank(a), rank(b); x != y {
		return x < y
	}
	return a.Name < b.Name
}
