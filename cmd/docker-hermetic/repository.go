package main

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// What keeps a directory from being known by its repository.
var (
	errNoRepository = errors.New("not in a git repository")
	errNoOrigin     = errors.New("the git repository has no remote \"origin\"")
)

// A repository is where a directory comes from, as its .git says.
type repository struct {
	url    string // of the remote "origin", without credentials
	commit string // in hex
	at     time.Time
}

// revision is the repository as package URLs have it.
func (r repository) revision() ecosystem.Revision {
	if r.url == "" || r.commit == "" {
		return ecosystem.Revision{}
	}
	return ecosystem.Revision{Repository: "git+" + r.url + "@" + r.commit, Time: r.at}
}

// openRepository reads the repository that dir is in. It starts no program and
// changes nothing. Of what is missing, errNoRepository or errNoOrigin tell.
func openRepository(dir string) (repository, error) {
	repo, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return repository{}, errNoRepository
	}
	if err != nil {
		return repository{}, err
	}
	var out repository
	if out.commit, out.at, err = head(repo); err != nil {
		return repository{}, err
	}
	config, err := repo.Config()
	if err != nil {
		return repository{}, err
	}
	origin := config.Remotes["origin"]
	if origin == nil || len(origin.URLs) == 0 {
		return out, errNoOrigin
	}
	out.url = publicURL(origin.URLs[0])
	return out, nil
}

// head is the commit that a repository is at, and when it was made.
func head(repo *git.Repository) (string, time.Time, error) {
	ref, err := repo.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return "", time.Time{}, errors.New("the git repository has no commit")
	}
	if err != nil {
		return "", time.Time{}, err
	}
	commit, err := repo.CommitObject(ref.Hash())
	if err != nil {
		return "", time.Time{}, err
	}
	return commit.Hash.String(), commit.Committer.When.UTC(), nil
}

// publicURL is the URL of a remote as bills of materials have it: a URL in any
// case, and without what is a credential or may be one.
func publicURL(remote string) string {
	if !strings.Contains(remote, "://") {
		host, at, scp := strings.Cut(remote, ":")
		if !scp || strings.Contains(host, "/") {
			abs, err := filepath.Abs(remote)
			if err != nil {
				return ""
			}
			return "file://" + filepath.ToSlash(abs)
		}
		remote = "ssh://" + host + "/" + strings.TrimPrefix(at, "/")
	}
	u, err := url.Parse(remote)
	if err != nil {
		return ""
	}
	if u.User != nil && u.Scheme == "ssh" {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
	return strings.TrimSuffix(u.String(), "/")
}

// revisions are what a directory is checked out of, by the directories of
// packages in it: "." and submodules.
func (r repository) revisions(dir string, packages []string) map[string]ecosystem.Revision {
	out := map[string]ecosystem.Revision{".": r.revision()}
	for _, p := range packages {
		for at := path.Clean(p); at != "." && at != "/"; at = path.Dir(at) {
			name := filepath.Join(dir, filepath.FromSlash(at))
			if _, err := os.Lstat(filepath.Join(name, ".git")); err != nil {
				continue
			}
			if sub, err := openRepository(name); err == nil {
				out[at] = sub.revision()
			}
		}
	}
	return out
}
