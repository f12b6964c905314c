package ecosystem

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// A pipRequirement is one line of a requirements file that names a package.
type pipRequirement struct {
	name    string // as it is written; "" where only a file name or nothing tells
	version string // that it is pinned to; "" for none
	extras  string // "[a,b]"
	url     string // of the file, or of the repository, for "name @ URL"
	repo    *pipRepo
	when    *marker
	cond    string // the marker as it is written
	sums    []cache.Sum
	line    int
	end     int // the last line, where it is continued
}

// subject is the requirement in messages.
func (q pipRequirement) subject() string {
	switch {
	case q.name == "":
		return q.url
	case q.version == "":
		return q.name
	}
	return q.name + "==" + q.version
}

// A pipInclude is a file that a requirements file reads.
type pipInclude struct {
	name        string
	constraints bool // "-c": its lines say how, not what
	line        int
}

// A requirementsFile is what one requirements file says
// (https://pip.pypa.io/en/stable/reference/requirements-file-format/).
type requirementsFile struct {
	requirements []pipRequirement
	includes     []pipInclude
	index        string // "" for the one of whoever fetches
	indexLine    int
}

// A requirementsReader reads one requirements file.
type requirementsReader struct {
	lockReader
	out requirementsFile
	at  int // the line that was read last
}

// parseRequirements reads a requirements file. What it includes is the
// caller's to read.
func parseRequirements(name string, data []byte) (requirementsFile, *lockReader) {
	r := &requirementsReader{lockReader: lockReader{file: name}}
	data = withoutMark(data)
	if line, cause := notText(data); cause != "" {
		r.problem(line, "", cause)
		return r.out, &r.lockReader
	}
	var logical strings.Builder
	start, n := 0, 0
	for text := range strings.Lines(strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")) {
		n++
		r.at = n
		text = strings.TrimSuffix(text, "\n")
		if logical.Len() == 0 {
			start = n
		}
		comment := strings.HasPrefix(strings.TrimSpace(text), "#")
		if comment {
			text = " " + text // ends what is continued, as in pip
		}
		if joined, more := strings.CutSuffix(text, `\`); more && !comment {
			logical.WriteString(joined)
			if logical.Len() == 0 {
				logical.WriteByte(' ')
			}
			continue
		}
		logical.WriteString(text)
		r.logicalLine(start, logical.String())
		logical.Reset()
	}
	r.logicalLine(start, logical.String())
	return r.out, &r.lockReader
}

var pipComment = regexp.MustCompile(`(^|\s+)#.*$`)

// logicalLine reads a line whose continuations are joined.
func (r *requirementsReader) logicalLine(line int, text string) {
	if strings.Contains(text, "#") {
		text = pipComment.ReplaceAllString(text, "")
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	if text[0] == '-' {
		r.options(line, text)
		return
	}
	rest := text
	for at := 0; ; {
		i := strings.IndexAny(rest[at:], " \t")
		if i < 0 {
			r.requirement(line, rest, nil)
			return
		}
		at += i + 1
		if strings.HasPrefix(rest[at:], "-") {
			r.requirement(line, strings.TrimSpace(rest[:at]), pipTokens(rest[at:]))
			return
		}
	}
}

// pipTokens cuts options into words, as a shell does.
func pipTokens(s string) []string {
	var out []string
	var word strings.Builder
	quote, open := rune(0), false
	for _, c := range s {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ' || c == '\t':
			if open {
				out = append(out, word.String())
				word.Reset()
			}
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		out = append(out, word.String())
	}
	return out
}

// pipRefused are options that Hermeto does not take, with the reason.
var pipRefused = map[string]string{
	"--extra-index-url": "packages come from one index, as in Hermeto",
	"--no-index":        "packages come from an index, as in Hermeto",
	"-f":                "packages come from an index, as in Hermeto", "--find-links": "packages come from an index, as in Hermeto",
	"--only-binary": "the package's option binary says which wheels are wanted",
	"--no-binary":   "the package's option binary says which wheels are wanted",
}

// pipMeaningless are options that change nothing about what is fetched;
// whether they take a value.
var pipMeaningless = map[string]bool{
	"--require-hashes": false, "--pre": false, "--prefer-binary": false,
	"--use-feature": true, "--use-deprecated": true,
}

// pipShort are short forms whose value may follow without a space.
var pipShort = map[string]string{"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}

// options reads a line of options.
func (r *requirementsReader) options(line int, text string) {
	words := pipTokens(text)
	for len(words) > 0 {
		name, value, given := strings.Cut(words[0], "=")
		words = words[1:]
		if len(name) > 2 && name[1] != '-' && pipShort[name[:2]] != "" {
			name, value, given = name[:2], strings.TrimPrefix(name[2:]+value, "="), true
		}
		if long := pipShort[name]; long != "" {
			name = long
		}
		takes, known := pipMeaningless[name]
		if !known && pipRefused[name] == "" {
			takes = true
		}
		if takes && !given && len(words) > 0 {
			value, words, given = words[0], words[1:], true
		}
		if known {
			continue
		}
		if why := pipRefused[name]; why != "" {
			r.record(cache.Unsupported, line, "", "option "+name+": "+why)
			return
		}
		r.option(line, name, value)
	}
}

// option reads an option that takes a value.
func (r *requirementsReader) option(line int, name, value string) {
	if value == "" {
		r.problem(line, "", fmt.Sprintf("option %.80q: without a value, or not one that is known", name))
		return
	}
	switch name {
	case "--requirement", "--constraint":
		r.out.includes = append(r.out.includes, pipInclude{value, name == "--constraint", line})
	case "--editable":
		r.requirement(line, value, nil)
	case "--index-url", "--pypi-url":
		if r.out.index != "" && r.out.index != value {
			r.problem(line, "", fmt.Sprintf("option --index-url: there is another at line %d", r.out.indexLine))
			return
		}
		r.out.index, r.out.indexLine = value, line
	case "--trusted-host":
		r.warn(line, "", "option --trusted-host: certificates are checked nevertheless")
	default:
		r.problem(line, "", fmt.Sprintf("option %.80q: not one that is known", name))
	}
}

// pipName matches what begins with the name of a package, with its extras.
var pipName = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)$`)

var pipPin = regexp.MustCompile(`^(===?)\s*([A-Za-z0-9.!+_*-]+)$`)

// requirement reads a package with the options of its line.
func (r *requirementsReader) requirement(line int, text string, options []string) {
	q := pipRequirement{line: line, end: r.at}
	before := len(r.problems) + r.more
	spec := text
	separator := ";"
	if isPipURL(text) || strings.Contains(text, "@") && strings.Contains(text, "://") {
		separator = " ;" // a URL may hold semicolons
	}
	if head, cond, ok := strings.Cut(text, separator); ok {
		spec, q.cond = strings.TrimSpace(head), strings.TrimSpace(cond)
	}
	switch m := pipName.FindStringSubmatch(spec); {
	case isPipURL(spec):
		r.fileURL(&q, spec)
	case isLocalRequirement(spec):
		if at := path.Join(path.Dir(r.lockReader.file), localRequirement(spec)); path.IsAbs(localRequirement(spec)) || at == ".." || strings.HasPrefix(at, "../") {
			r.record(cache.Unsupported, line, spec, "outside the build context")
		}
		return
	case m == nil:
		r.problem(line, spec, "not a requirement")
		return
	case strings.HasPrefix(m[3], "@"):
		q.name, q.extras = m[1], m[2]
		r.fileURL(&q, strings.TrimSpace(m[3][1:]))
	default:
		q.name = m[1]
		r.pin(&q, strings.TrimSpace(m[3]))
	}
	if q.cond != "" {
		var err error
		if q.when, err = parseMarker(q.cond); err != nil {
			r.problem(line, q.subject(), err.Error())
		}
	}
	r.hashes(&q, options)
	if len(r.problems)+r.more == before {
		r.out.requirements = append(r.out.requirements, q)
	}
}

// isPipURL tells whether a requirement is the URL of a file or a repository.
func isPipURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && scheme != "file" && strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz+") == ""
}

// isLocalRequirement tells whether a requirement is a file or a directory.
func isLocalRequirement(s string) bool {
	head, _, _ := strings.Cut(s, "[")
	return strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "file:") ||
		!strings.Contains(s, "@") && (strings.Contains(head, "/") || strings.HasSuffix(head, ".whl"))
}

// localRequirement is the path of a local requirement.
func localRequirement(s string) string {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "file:"), "//")
	s, _, _ = strings.Cut(s, "[")
	return strings.TrimSpace(s)
}

// pin reads a specifier, which must leave no choice. One that is "" may be
// completed by constraints.
func (r *requirementsReader) pin(q *pipRequirement, spec string) {
	if strings.HasPrefix(spec, "(") && strings.HasSuffix(spec, ")") {
		spec = strings.TrimSpace(spec[1 : len(spec)-1])
	}
	if spec == "" {
		return
	}
	m := pipPin.FindStringSubmatch(spec)
	switch {
	case m == nil && strings.ContainsAny(spec[:1], "=<>!~"):
		r.record(cache.Unpinned, q.line, q.name, fmt.Sprintf("%.80q: not pinned to one version with ==", spec))
	case m == nil:
		r.problem(q.line, q.name, fmt.Sprintf("%.80q: not a version specifier", spec))
	case strings.Contains(m[2], "*"):
		r.record(cache.Unpinned, q.line, q.name, fmt.Sprintf("%.80q: not pinned to one version", spec))
	default:
		if _, ok := parsePyVersion(m[2]); !ok && m[1] == "==" {
			r.problem(q.line, q.name, fmt.Sprintf("version %.80q: not a version", m[2]))
			return
		}
		q.version = m[2]
	}
}

// file reads the URL of a requirement: a file with its checksum, or a commit.
func (r *requirementsReader) fileURL(q *pipRequirement, text string) {
	q.url = text
	if scheme, _, _ := strings.Cut(text, "://"); strings.Contains(scheme, "+") || scheme == "git" {
		r.repoURL(q, text)
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		r.problem(q.line, q.name, "not a URL that can be asked")
		q.url = ""
		return
	}
	if u.User != nil && u.Scheme != "git+ssh" && u.Scheme != "ssh" {
		u.User = nil
		r.problem(q.line, q.name, "credentials in a URL: they go into .netrc")
	}
	for pair := range strings.SplitSeq(u.Fragment, "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "egg":
			if q.name == "" {
				q.name, _, _ = strings.Cut(value, "[")
			}
		case "sha256", "sha384", "sha512":
			r.hash(q, key+":"+value)
		case "cachito_hash":
			r.hash(q, value)
		}
	}
	u.Fragment, u.RawFragment = "", ""
	q.url = u.String()
	base, _ := url.PathUnescape(path.Base(u.EscapedPath()))
	if f, ok := parsePyFile(base); ok && q.name == "" {
		q.name = f.name
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		r.problem(q.line, q.subject(), fmt.Sprintf("URL scheme %.20q: want https", u.Scheme))
	case q.name == "" || pipName.FindStringSubmatch(q.name) == nil:
		r.problem(q.line, q.url, `no name: want "name @ URL"`)
	case pyExt(base) == "":
		r.problem(q.line, q.subject(), "not the URL of a wheel or of an archive")
	}
}

// repoURL reads the URL of a repository: a commit of it is as good as a checksum.
func (r *requirementsReader) repoURL(q *pipRequirement, text string) {
	repo, err := parsePipRepo(text)
	_, fragment, _ := strings.Cut(text, "#")
	for pair := range strings.SplitSeq(fragment, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == "egg" && q.name == "" {
			m := pipName.FindStringSubmatch(value)
			if m != nil {
				q.name, q.extras = m[1], m[2]
			}
		}
	}
	q.url = repo.repository
	switch {
	case err == errUnpinned:
		r.record(cache.Unpinned, q.line, q.subject(), err.Error())
	case err != nil:
		if q.url == "" && q.name == "" {
			q.name = "a repository" // its URL may have a password in it
		}
		r.problem(q.line, q.subject(), err.Error())
	case q.name == "":
		r.problem(q.line, q.url, `no name: want "name @ URL", or #egg=name behind the URL`)
	default:
		q.url, q.repo = repo.repository+"@"+repo.commit, &repo
	}
}

// pyExt is the suffix of a distribution; "" for none.
func pyExt(file string) string {
	for _, ext := range append([]string{".whl"}, pySourceExts...) {
		if strings.HasSuffix(file, ext) {
			return ext
		}
	}
	return ""
}

// hashes reads the options of a requirement.
func (r *requirementsReader) hashes(q *pipRequirement, options []string) {
	for i := 0; i < len(options); i++ {
		name, value, given := strings.Cut(options[i], "=")
		if !given && i+1 < len(options) && !strings.HasPrefix(options[i+1], "-") {
			i++
			value = options[i]
		}
		switch name {
		case "--hash":
			r.hash(q, value)
		case "--config-settings", "--config-setting", "-C", "--global-option", "--install-option", "--no-binary", "--only-binary":
			// How it is built or installed, not what is fetched.
		default:
			r.problem(q.line, q.subject(), fmt.Sprintf("option %.80q: not one that is known", name))
		}
	}
}

// pipSums are the algorithms that pip takes.
var pipSums = []cache.Algorithm{cache.SHA256, cache.SHA384, cache.SHA512}

func (r *requirementsReader) hash(q *pipRequirement, text string) {
	sum, err := cache.ParseSum(text)
	switch {
	case err != nil:
		r.problem(q.line, q.subject(), err.Error())
	case !slices.Contains(pipSums, sum.Algorithm()) || !strings.Contains(text, ":"):
		r.problem(q.line, q.subject(), fmt.Sprintf("checksum %.80q: want sha256, sha384 or sha512, as pip does", text))
	case !slices.Contains(q.sums, sum):
		q.sums = append(q.sums, sum)
	}
}
