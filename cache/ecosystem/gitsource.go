package ecosystem

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// KindGit is the Kind of inputs that are commits of git repositories.
const KindGit = "git"

// gitSchemes are those of repositories that can be asked.
var gitSchemes = []string{"https", "http", "ssh", "git", "file"}

// gitShort matches "user@host:path", git's own notation for ssh.
var gitShort = regexp.MustCompile(`^([A-Za-z0-9_.-]+@)?([A-Za-z0-9.-]+):([^/:][^:]*|/[^/:][^:]*)$`)

// gitInput makes in the input that a commit of a repository is. The repository
// is a URL of https, http, ssh, git or file, with "git+" before it or not, or
// ssh's short form "user@host:path"; what is behind "?" or "#" is left out. The
// error is a cause for a problem.
func gitInput(in cache.Input, repository, commit string) (cache.Input, error) {
	u, err := gitURL(repository)
	if err != nil {
		return in, err
	}
	if !gitCommit.MatchString(commit) {
		return in, fmt.Errorf("commit %.80q: not the full name of one, 40 digits in hex", commit)
	}
	in.Kind, in.URL = KindGit, u.String()
	in.Sum, err = cache.ParseSum("git:" + commit)
	return in, err
}

// gitURL is the URL of a repository, without what is no part of it.
func gitURL(repository string) (*url.URL, error) {
	text := strings.TrimPrefix(repository, "git+")
	m := gitShort.FindStringSubmatch(text)
	if m != nil && slices.Contains(gitSchemes, m[1]+m[2]) {
		return nil, fmt.Errorf("not the URL of a repository: want %q behind %q", "//", m[2]+":")
	}
	if m != nil && !strings.Contains(text, "://") {
		text = "ssh://" + m[1] + m[2] + "/" + strings.TrimPrefix(m[3], "/")
	}
	if strings.HasPrefix(text, "/") {
		text = "file://" + (&url.URL{Path: text}).EscapedPath()
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "" && u.Scheme != "file", u.Path == "" || u.Path == "/", u.Opaque != "":
		return nil, errors.New("not the URL of a repository")
	case !slices.Contains(gitSchemes, u.Scheme):
		return nil, fmt.Errorf("URL scheme %.20q: want https, http, ssh, git or file", u.Scheme)
	case strings.Contains(u.Hostname(), "..") || strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.Path, "/-"):
		return nil, errors.New("not the URL of a repository") // what a program could take for an option
	}
	if _, secret := u.User.Password(); secret || u.User != nil && u.Scheme != "ssh" {
		return nil, errors.New("credentials in a URL: they go into .netrc")
	}
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	return u, nil
}

// gitVCSURL is a commit of a repository as vcs_url of package URLs has it,
// "git+https://host/path@<commit>".
func gitVCSURL(repository, commit string) string {
	return "git+" + repository + "@" + commit
}

// gitComponent is the component of a package of some kind that a commit has; vcs
// is that commit as gitVCSURL writes it.
func gitComponent(kind, name, version, vcs string) *cache.Component {
	return library(name, *packageurl.NewPackageURL(kind, "", name, version, qualifiers("vcs_url", vcs), ""))
}

// isRelative tells whether the URL of a submodule is a path.
func isRelative(text string) bool {
	return strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../")
}

// SubmoduleURL is the URL of a submodule whose list, in the repository parent,
// says text: a URL, or a path relative to the parent's URL (gitmodules(5)). The
// error is a cause.
func SubmoduleURL(parent, text string) (string, error) {
	if !isRelative(text) {
		u, err := gitURL(text)
		if err != nil {
			return "", err
		}
		return u.String(), nil
	}
	base, err := gitURL(parent)
	if err != nil {
		return "", err
	}
	at := strings.TrimSuffix(base.Path, "/")
	for {
		if rest, ok := strings.CutPrefix(text, "./"); ok {
			text = rest
			continue
		}
		rest, ok := strings.CutPrefix(text, "../")
		if !ok {
			break
		}
		i := strings.LastIndexByte(at, '/')
		if i < 0 {
			return "", errors.New("leads above its server")
		}
		at, text = at[:i], rest
	}
	base.Path, base.RawPath = at+"/"+text, ""
	u, err := gitURL(base.String())
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
