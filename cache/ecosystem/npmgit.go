package ecosystem

import (
	"net/url"
	"path"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// hosted are the repositories of the short forms.
var hosted = map[string]string{
	"github": "https://github.com/", "gitlab": "https://gitlab.com/", "bitbucket": "https://bitbucket.org/", "gist": "https://gist.github.com/",
}

// gitOf is the repository and the commit of what a lockfile says is in one:
// "git+ssh://git@host/path.git#<commit>" or "github:owner/name#<commit>".
func gitOf(resolved string) (repository, commit string) {
	repository, commit, _ = strings.Cut(resolved, "#")
	if kind, rest, ok := strings.Cut(repository, ":"); ok && hosted[kind] != "" {
		repository = hosted[kind] + strings.TrimSuffix(rest, ".git") + ".git"
	} else if gitShorthand.MatchString(repository) {
		repository = hosted["github"] + strings.TrimSuffix(repository, ".git") + ".git"
	}
	return strings.TrimPrefix(repository, "git+"), commit
}

// gitPlace decides where the archive of a commit goes.
func (l *npmLock) gitPlace(e *npmEntry) {
	repository, commit := gitOf(e.resolved)
	in, err := gitInput(cache.Input{Ecosystem: "npm", Name: e.name}, repository, commit)
	if err != nil {
		l.complain(e, "%s", err)
		return
	}
	u, err := url.Parse(in.URL)
	if err != nil {
		l.complain(e, "not the URL of a repository")
		return
	}
	repo := strings.TrimSuffix(strings.Trim(path.Clean(u.Path), "/"), ".git")
	e.kind = in.Kind
	e.place = path.Join(u.Hostname(), repo, path.Base(repo)+"-external-gitcommit-"+commit+".tgz")
	if place := path.Join("/", e.place); place != "/"+e.place || strings.ContainsAny(e.place, "\\\x00\n\"") {
		l.complain(e, "not the URL of a repository")
	}
}
