package ecosystem

import (
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// A pipRepo is the commit that a Python package is built from. The file that it
// becomes is that of Hermeto: an archive with all of it, below one directory.
//
// What Hermeto's archive has and this one has not is the directory .git, as no
// commit can vouch for that: a package that takes its version from tags needs it
// told (SETUPTOOLS_SCM_PRETEND_VERSION, or the like).
type pipRepo struct {
	repository string // as gitURL has it
	commit     string
	below      string // the directory of the package; "" for the top
	unpacked   bool   // it lies there as a directory; uv knows no packages below the top of an archive
}

// parsePipRepo reads "git+https://host/path@<commit>#subdirectory=…", with or
// without the scheme's prefix; the fragment may have more in it. The error is a
// cause, that of an unpinned one is errUnpinned.
func parsePipRepo(text string) (r pipRepo, err error) {
	kind, _, plus := strings.Cut(text, "+")
	if plus && kind != "git" {
		return r, fmt.Errorf("a repository of %.20s: want one of git", kind)
	}
	text, fragment, _ := strings.Cut(text, "#")
	at := strings.LastIndexByte(text, '@')
	if at > strings.LastIndexByte(text, '/') {
		text, r.commit = text[:at], text[at+1:]
	}
	u, err := gitURL(text)
	if err != nil {
		return r, err
	}
	r.repository = u.String()
	if !gitCommit.MatchString(r.commit) {
		return r, errUnpinned
	}
	for pair := range strings.SplitSeq(fragment, "&") {
		if key, value, _ := strings.Cut(pair, "="); key == "subdirectory" {
			if r.below, err = url.PathUnescape(value); err != nil || !isInside(r.below) {
				return r, fmt.Errorf("subdirectory %.80q: not a path inside it", value)
			}
		}
	}
	return r, nil
}

// errUnpinned is the complaint about a repository whose content may change.
var errUnpinned = unpinned{}

type unpinned struct{}

func (unpinned) Error() string {
	return `a repository without a commit: want "@" and all 40 digits of one behind its URL`
}

// file is the name of the archive, or of the directory.
func (r pipRepo) file() string {
	name := strings.TrimSuffix(path.Base(r.repository), ".git") + "-gitcommit-" + r.commit
	if r.unpacked {
		return name
	}
	return name + ".tar.gz"
}

// fragment is what a URL of the archive ends with.
func (r pipRepo) fragment() string {
	if r.below == "" {
		return ""
	}
	return "#subdirectory=" + (&url.URL{Path: r.below}).EscapedPath()
}

// blobSum stands for the checksum of the archive: cache.Manifest.Fill knows it.
func (r pipRepo) blobSum() string { return cache.BlobSum("pip", r.file()) }

// repo plans the commit that a package is built from. Packages that share one
// share its archive.
func (p *pipPlan) repo(name string, r pipRepo, at cache.Origin) {
	in := cache.Input{Ecosystem: "pip", Name: pyName(name), Version: r.commit, Path: r.file(), Need: cache.Required, Origin: at}
	if r.unpacked {
		in.Form = cache.Checkout
	}
	in, err := gitInput(in, r.repository, r.commit)
	if err == nil && !isPyFileName(in.Path) {
		err = fmt.Errorf("file name %.80q: not one of a distribution", in.Path)
	}
	if err != nil {
		p.problem(at, name, err.Error())
		return
	}
	u := packageurl.NewPackageURL("pypi", "", in.Name, "", qualifiers("vcs_url", gitVCSURL(r.repository, r.commit)), r.below)
	in.Component = p.python(name, *u)
	for _, other := range p.Inputs {
		if other.Kind == KindGit && other.Path == in.Path && other.ID() != in.ID() {
			p.Components = append(p.Components, *in.Component)
			return
		}
	}
	p.Inputs = append(p.Inputs, in)
}

// parseUVRepo reads the source of a package in uv.lock,
// "https://host/path?rev=…&subdirectory=…#<commit>".
func parseUVRepo(text string) (r pipRepo, err error) {
	u, err := url.Parse(text)
	if err != nil {
		return r, fmt.Errorf("URL %.80q: not one of a repository", redactURL(text))
	}
	commit, below := u.Fragment, u.Query().Get("subdirectory")
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	text = u.String() + "@" + commit
	if below != "" {
		text += "#subdirectory=" + below
	}
	r, err = parsePipRepo(text)
	r.unpacked = r.below != ""
	return r, err
}
