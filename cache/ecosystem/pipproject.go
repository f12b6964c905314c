package ecosystem

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// pipDir is where in a sealed build the distributions are.
const pipDir = "${output_dir}/deps/pip"

// pipProject are the lockfiles that have to be others for a sealed build:
// requirements files that name URLs, and every uv.lock and pylock.toml, as their
// installers ask for the very URLs in them.
func pipProject(fsys fs.FS, locks []cache.Lock) []cache.ProjectFile {
	var out []cache.ProjectFile
	for _, l := range locks {
		data, cause := readLock(fsys, l.File, maxPipLock)
		if cause != "" {
			continue // it was read before
		}
		text := ""
		switch base := path.Base(l.File); {
		case base == uvLockFile:
			text = rewriteUV(string(data))
		case strings.HasSuffix(base, ".toml"):
			text = rewritePylock(string(data))
		default:
			text = rewriteRequirements(l.File, data)
		}
		if text != string(data) {
			out = append(out, cache.ProjectFile{Path: l.File, Template: text})
		}
	}
	return out
}

var (
	uvRegistry = regexp.MustCompile(`(\bsource = \{ registry = )"https?://[^"]*"`)
	uvSource   = regexp.MustCompile(`\bsource = \{ (git|url) = "([^"]*)"([^}\n]*)\}`)
	uvOwn      = regexp.MustCompile(`(?m)^source = \{ (git|url) = "([^"]*)"[^}\n]*\}$`)
	uvFile     = regexp.MustCompile(`\{ url = "(https?://[^"]*)", hash = ("[^"]*")([^}\n]*)\}`)
	uvUpload   = regexp.MustCompile(`, upload-time = "[^"]*"`)
)

// rewriteUV makes the registries of a uv.lock the one directory, in the form in
// which uv locks what it finds in a directory; and what is of a repository or by
// URL a file, in the form that uv has for these:
//
//	source = { path = "/cachi2/output/deps/pip/a-1.0-py3-none-any.whl" }
//	wheels = [
//	    { filename = "a-1.0-py3-none-any.whl", hash = "sha256:…" },
//	]
func rewriteUV(text string) string {
	const head = "[[package]]\n"
	blocks := strings.SplitAfter(text, head)
	for i, b := range blocks {
		own := uvOwn.FindStringSubmatch(b)
		byURL := own != nil && own[1] == "url"
		if own != nil && !byURL {
			if r, err := parseUVRepo(own[2]); err == nil && !r.unpacked {
				b = strings.Replace(b, own[0], own[0]+"\nsdist = { hash = \""+r.blobSum()+"\" }", 1)
			}
		}
		b = uvSource.ReplaceAllStringFunc(b, rewriteUVSource)
		b = uvRegistry.ReplaceAllString(b, `${1}"`+strings.ReplaceAll(pipDir, "$", "$$")+`"`)
		blocks[i] = uvFile.ReplaceAllStringFunc(b, func(s string) string {
			m := uvFile.FindStringSubmatch(s)
			u, err := url.Parse(m[1])
			switch {
			case err != nil || !isPyFileName(path.Base(u.Path)):
				return s
			case byURL:
				return fmt.Sprintf(`{ filename = "%s", hash = %s }`, path.Base(u.Path), m[2])
			}
			return fmt.Sprintf(`{ path = "%s", hash = %s%s}`, path.Base(u.Path), m[2], uvUpload.ReplaceAllString(m[3], ""))
		})
	}
	return strings.Join(blocks, "")
}

// rewriteUVSource is the source of a package, or of one of several versions that
// a package may need, as a file.
func rewriteUVSource(s string) string {
	m := uvSource.FindStringSubmatch(s)
	if m[1] == "url" {
		u, err := url.Parse(m[2])
		if err != nil || !isPyFileName(path.Base(u.Path)) {
			return s
		}
		return fmt.Sprintf(`source = { path = "%s/%s"%s}`, pipDir, path.Base(u.Path), m[3])
	}
	r, err := parseUVRepo(m[2])
	if err != nil {
		return s
	}
	if r.unpacked {
		return fmt.Sprintf("source = { directory = %s }", tomlString(path.Join(pipDir, r.file(), r.below)))
	}
	return fmt.Sprintf("source = { path = \"%s/%s\" }", pipDir, r.file())
}

var (
	pylockURL  = regexp.MustCompile(`\burl *= *"(https?://[^"]*)"`)
	pylockVCS  = regexp.MustCompile(`(?m)^vcs *= *\{.*\}$`)
	pylockName = regexp.MustCompile(`\bname *= *"([^"]*)"`)
)

// rewritePylock has the URLs of a pylock.toml point to files, and its
// repositories be archives (https://packaging.python.org/en/latest/specifications/pylock-toml/).
func rewritePylock(text string) string {
	text = pylockVCS.ReplaceAllStringFunc(text, func(s string) string {
		root := (&pyLockReader{}).tree([]byte(s))
		r, err := pylockRepo(root.at("vcs"))
		if err != nil {
			return s
		}
		if r.unpacked {
			return fmt.Sprintf(`directory = { path = %s }`, tomlString(path.Join(pipDir, r.file(), r.below)))
		}
		return fmt.Sprintf(`archive = { path = "%s/%s", hashes = { sha256 = "%s" } }`, pipDir, r.file(), cache.BlobHex("pip", r.file()))
	})
	var out strings.Builder
	for line := range strings.Lines(text) {
		urls, names := pylockURL.FindAllString(line, -1), pylockName.FindAllStringSubmatch(line, -1)
		out.WriteString(pylockURL.ReplaceAllStringFunc(line, func(s string) string {
			u, err := url.Parse(pylockURL.FindStringSubmatch(s)[1])
			if err != nil {
				return s
			}
			name := path.Base(u.Path)
			if len(urls) == 1 && len(names) == 1 {
				name = names[0][1]
			}
			if !isPyFileName(name) || pyExt(name) == "" {
				return s
			}
			return fmt.Sprintf(`path = "%s/%s"`, pipDir, name)
		}))
	}
	return out.String()
}

// rewriteRequirements has the URLs of a requirements file point to files. Where
// one requirement has a checksum, pip wants one of all of them.
func rewriteRequirements(name string, data []byte) string {
	if !bytes.Contains(data, []byte(":")) || !bytes.Contains(data, []byte("/")) {
		return string(data) // nothing of a URL
	}
	f, _ := parseRequirements(name, data)
	hashed := strings.Contains(string(data), "--hash") || strings.Contains(string(data), "--require-hashes")
	lines := strings.SplitAfter(string(data), "\n")
	for _, q := range f.requirements {
		file, ok := q.dist()
		if !ok || q.end > len(lines) {
			continue
		}
		text := fmt.Sprintf("%s @ file://%s/%s", q.name+q.extras, pipDir, (&url.URL{Path: file}).EscapedPath())
		if q.repo != nil {
			text += q.repo.fragment()
		}
		if q.cond != "" {
			text += " ; " + q.cond
		}
		switch {
		case q.repo == nil:
			text += " --hash=" + q.sums[0].String()
		case hashed:
			text += " --hash=" + q.repo.blobSum()
		}
		lines[q.line-1] = text + "\n"
		for i := q.line; i < q.end; i++ {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "")
}

// dist is the name that the file of a requirement by URL has: that of a wheel,
// as pip reads those, else name and checksum, as in Hermeto; and that of a commit.
func (q pipRequirement) dist() (string, bool) {
	if q.repo != nil {
		return q.repo.file(), true
	}
	u, err := url.Parse(q.url)
	if q.url == "" || err != nil || len(q.sums) != 1 {
		return "", false
	}
	file := path.Base(u.Path)
	if ext := pyExt(file); ext != ".whl" {
		file = pyName(q.name) + "-" + q.sums[0].Hex() + ext
	}
	return file, isPyFileName(file)
}
