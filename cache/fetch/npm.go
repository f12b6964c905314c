package fetch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// maxPackument bounds what a registry says of all versions of a package.
const maxPackument = 256 << 20

// npm fetches packages from registries, and other archives that lockfiles of npm
// name. A mirror is the URL of a registry; of other archives it is that of a
// directory with their hosts and paths, as for other types.
type npm struct {
	run    *run
	files  *files
	system func() (npmConf, error)

	mu       sync.Mutex
	projects map[string]npmConf // settings by the text of the project's own
}

func newNpm(r *run) *npm {
	n := &npm{run: r, projects: map[string]npmConf{}}
	n.files = newFiles(r, fileSource{kind: "npm", at: n.at, below: npmBelow, auth: n.credentials})
	n.system = sync.OnceValues(func() (npmConf, error) { return readNpmConf(r.env) })
	return n
}

// prepare implements backend. What no lockfile vouches for stays wanted.
func (n *npm) prepare(*item) {}

// fetch implements backend.
func (n *npm) fetch(ctx context.Context, unit []*item) error {
	places, err := n.files.places()
	if err != nil {
		return err
	}
	client, err := n.run.client()
	if err != nil {
		return err
	}
	for _, it := range unit {
		if it.state != wanted {
			continue
		}
		err := n.run.settle(ctx, it, func() error {
			err := n.files.download(ctx, client, it, places)
			if _, mirrored := n.run.opts.Mirrors["npm"]; mirrored || it.URL != "" || !isNotFound(err) {
				return err
			}
			return n.elsewhere(ctx, client, it, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isNotFound tells whether all who were asked say that there is no such file.
func isNotFound(err error) bool {
	asked, ok := errors.AsType[*askedError](err)
	if !ok || len(asked.answers) == 0 {
		return false
	}
	for _, a := range asked.answers {
		if t, ok := errors.AsType[*transferError](a); !ok || !t.notFound() {
			return false
		}
	}
	return true
}

// elsewhere asks the registry where the archive of a package is that is not where
// archives mostly are. before is the error that it is not there.
func (n *npm) elsewhere(ctx context.Context, c *client, it *item, before error) error {
	conf, err := n.conf(it.Input)
	if err != nil {
		return err
	}
	registry, err := conf.registry(it.Name)
	if err != nil {
		return err
	}
	ask := *registry // a scope is one element of the path
	ask.Path = strings.TrimSuffix(registry.Path, "/") + "/" + it.Name
	ask.RawPath = strings.TrimSuffix(registry.EscapedPath(), "/") + "/" + strings.ReplaceAll(it.Name, "/", "%2F")
	var text memory
	t := transfer{
		url: &ask, limit: maxPackument, progress: func(int64, int64) {}, accept: "application/vnd.npm.install-v1+json",
		auth: func(u *url.URL) (string, string) {
			if header, value := conf.credentials(u); header != "" {
				return header, value
			}
			return n.run.logins().credentials(u)
		},
	}
	if err := c.get(ctx, t, &text); err != nil {
		if _, ok := errors.AsType[*transferError](err); ok {
			return before
		}
		return err
	}
	var packument struct {
		Versions map[string]struct {
			Dist struct {
				Tarball string `json:"tarball"`
			} `json:"dist"`
		} `json:"versions"`
	}
	if json.Unmarshal(text.Bytes(), &packument) != nil {
		return before
	}
	u, err := url.Parse(packument.Versions[it.Version].Dist.Tarball)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || registry.Scheme == "https") {
		return before
	}
	u.User = nil
	found := *it
	found.URL = u.String()
	err = n.files.download(ctx, c, &found, proxyList{{kind: entryDirect}})
	it.blob = found.blob
	return err
}

// conf are the settings that an input is fetched by.
func (n *npm) conf(in cache.Input) (npmConf, error) {
	system, err := n.system()
	if err != nil {
		return npmConf{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.projects[in.Settings]
	if !ok {
		c = system.of(in.Settings)
		n.projects[in.Settings] = c
	}
	return c, nil
}

// isTarball tells what a registry has from what is elsewhere.
func isTarball(in cache.Input) bool { return strings.HasPrefix(in.Kind, ecosystem.KindTarball) }

// at is where npm would ask for an input: where the lockfile says, unless that is
// a registry in whose place another one is set.
func (n *npm) at(in cache.Input) (*url.URL, error) {
	var own *url.URL
	if in.URL != "" {
		u, err := url.Parse(in.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, &transferError{url: "the lockfile", text: "has no URL of it that can be asked"}
		}
		own = u
	}
	if !isTarball(in) {
		if own == nil {
			return nil, &transferError{url: "the lockfile", text: "has no URL of it that can be asked"}
		}
		return own, nil
	}
	if own == nil && n.mirrorsAlone() {
		return &url.URL{Scheme: "https", Host: "registry.invalid", Path: "/" + tarballPath(in)}, nil // which nobody asks
	}
	conf, err := n.conf(in)
	if err != nil {
		return nil, err
	}
	if own != nil && !conf.replaces(own) {
		return own, nil
	}
	registry, err := conf.registry(in.Name)
	if err != nil {
		return nil, err
	}
	if own == nil {
		return joinURL(registry, tarballPath(in)), nil
	}
	return transplant(own, registry), nil
}

// mirrorsAlone tells whether registries are not asked at all.
func (n *npm) mirrorsAlone() bool {
	places, err := n.files.places()
	if err != nil {
		return false
	}
	for _, p := range places {
		if p.kind == entryDirect {
			return false
		}
	}
	return true
}

// transplant is a URL at another registry, whose own path comes before it.
func transplant(own, registry *url.URL) *url.URL {
	u := *own
	u.Scheme, u.Host, u.User = registry.Scheme, registry.Host, registry.User
	if prefix := strings.TrimSuffix(registry.EscapedPath(), "/"); !strings.HasPrefix(u.EscapedPath(), prefix+"/") {
		u.Path, u.RawPath = strings.TrimSuffix(registry.Path, "/")+u.Path, prefix+own.EscapedPath()
	}
	return &u
}

// tarballPath is where a registry mostly has an archive.
func tarballPath(in cache.Input) string {
	return in.Name + "/-/" + path.Base(in.Name) + "-" + in.Version + ".tgz"
}

// npmBelow is the path that a mirror has an input at.
func npmBelow(in cache.Input, u *url.URL) string {
	if isTarball(in) {
		return tarballPath(in)
	}
	return u.Host + u.Path
}

// credentials are what npm's settings have for a URL.
func (n *npm) credentials(in cache.Input, u *url.URL) (header, value string) {
	conf, err := n.conf(in)
	if err != nil {
		return "", ""
	}
	return conf.credentials(u)
}

func decodeBase64(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || strings.ContainsAny(string(data), "\x00\r\n") {
		return "", errors.New("not base64")
	}
	return string(data), nil
}
