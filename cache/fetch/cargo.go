package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/hermetic-build/hermetic/cache"
)

// DefaultCratesIndex is the index of the registry that cargo has built in, in
// the form of its configuration files, "sparse+https://…". It is empty unless
// the linker stamps it (-ldflags -X): the sources name no host.
var DefaultCratesIndex string

// What an answer may measure, in bytes: the config.json of an index, a crate.
const (
	maxCratesConfig = 1 << 20
	maxCrate        = 1 << 30
)

// crates fetches crates from registries with a sparse index
// (https://doc.rust-lang.org/cargo/reference/registry-index.html), whose
// config.json says where the crates are. A mirror is the URL of such an index.
// It is a backend whole.
type crates struct {
	run    *run
	places func() (proxyList, error)
	home   func() (cargoHome, error)

	mu         sync.Mutex
	registries map[string]func() (*registry, error) // by URL of the index
}

// A registry is what its config.json says.
type registry struct {
	download string // "dl": a URL with markers
	auth     bool   // "auth-required"
}

func newCrates(r *run) *crates {
	c := &crates{run: r, registries: map[string]func() (*registry, error){}}
	c.places = sync.OnceValues(c.readMirrors)
	c.home = sync.OnceValues(func() (cargoHome, error) { return readCargoHome(r.env) })
	return c
}

// readMirrors is the list of where to ask; entryDirect stands for the registry
// that the lockfile, or a configuration file, names.
func (c *crates) readMirrors() (proxyList, error) {
	mirror, ok := c.run.opts.Mirrors["cargo"]
	if !ok {
		return proxyList{{kind: entryDirect}}, nil
	}
	list, err := parseGOPROXY(strings.ReplaceAll(mirror, "sparse+", ""))
	if err != nil {
		return nil, &configError{"mirror for cargo: " + err.Error()}
	}
	if list[len(list)-1].kind == entryOff {
		return nil, &configError{"mirror for cargo: off: want the URL of an index, or direct"}
	}
	return list, nil
}

// prepare implements backend. What no lockfile vouches for stays wanted.
func (c *crates) prepare(*item) {}

// fetch implements backend.
func (c *crates) fetch(ctx context.Context, unit []*item) error {
	for _, it := range unit {
		if it.state != wanted {
			continue
		}
		if err := c.run.settle(ctx, it, func() error { return c.download(ctx, it) }); err != nil {
			return err
		}
	}
	return nil
}

// download gets one crate from the first place that has it.
func (c *crates) download(ctx context.Context, it *item) error {
	if it.Sum.IsZero() {
		return &unverifiedError{"the lockfile has no checksum of it"}
	}
	if blob, ok := c.run.store.Lookup(it.Sum); ok { // of another input, meanwhile
		it.blob = blob
		return nil
	}
	places, err := c.asked(it.Input)
	if err != nil {
		return err
	}
	client, err := c.run.client()
	if err != nil {
		return err
	}
	d, err := c.run.store.Create()
	if err != nil {
		return &storeError{err}
	}
	defer d.Close()
	var from *url.URL
	_, err = places.walk(ctx, func(index *url.URL) error {
		if d.Size() > 0 {
			if err := d.Reset(); err != nil {
				return &storeError{err}
			}
		}
		reg, err := c.registry(ctx, it.Input, index)
		if err != nil {
			return err
		}
		if from, err = reg.locate(it.Input, index); err != nil {
			return err
		}
		t := transfer{url: from, limit: maxCrate, progress: func(done, total int64) { c.run.progress.Advance(it.Input, done, total) }}
		t.auth = c.run.logins().credentials
		if reg.auth {
			t.auth = c.credentials(it.Input, index)
		}
		return client.get(ctx, t, d)
	})
	if err != nil {
		return err
	}
	return c.run.commit(ctx, d, it, redacted(from))
}

// asked are the indexes of registries that may have a crate.
func (c *crates) asked(in cache.Input) (proxyList, error) {
	places, err := c.places()
	if err != nil {
		return nil, err
	}
	out := make(proxyList, len(places))
	for i, p := range places {
		if p.kind == entryDirect {
			index, err := c.index(in)
			if err != nil {
				return nil, err
			}
			p = proxy{kind: entryURL, base: index}
		}
		out[i] = p
	}
	return out, nil
}

// index is the index of the registry that a crate is in: what the project's
// configuration says, else the user's, else cargo's own.
func (c *crates) index(in cache.Input) (*url.URL, error) {
	text := in.URL
	if text == "" {
		home, err := c.home()
		if err != nil {
			return nil, err
		}
		if text, err = home.defaultIndex(); err != nil {
			return nil, err
		}
		text = cmp.Or(text, DefaultCratesIndex)
	}
	if text == "" {
		return nil, &configError{"no registry of crates is known: give its index by --mirror cargo=URL, or by [source.crates-io] in the config.toml of cargo's home"}
	}
	sparse, ok := strings.CutPrefix(text, "sparse+")
	if !ok {
		return nil, &transferError{url: "the registry", text: "has a git index, and only sparse ones are read",
			hint: "give a sparse index, by \"sparse+https://…\" in [registries] of .cargo/config.toml or by --mirror cargo=URL"}
	}
	u, err := url.Parse(sparse)
	if err != nil || u.Host == "" && u.Scheme != "file" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file" {
		return nil, &transferError{url: "the registry", text: "has no URL that can be asked"}
	}
	return u, nil
}

// registry reads the config.json of an index, once for all crates of it.
func (c *crates) registry(ctx context.Context, in cache.Input, index *url.URL) (*registry, error) {
	key := index.String()
	c.mu.Lock()
	read, ok := c.registries[key]
	if !ok {
		read = sync.OnceValues(func() (*registry, error) { return c.readRegistry(ctx, in, index) })
		c.registries[key] = read
	}
	c.mu.Unlock()
	return read()
}

func (c *crates) readRegistry(ctx context.Context, in cache.Input, index *url.URL) (*registry, error) {
	client, err := c.run.client()
	if err != nil {
		return nil, err
	}
	at := joinURL(index, "config.json")
	var text memory
	t := transfer{url: at, limit: maxCratesConfig, progress: func(int64, int64) {}, auth: c.credentials(in, index)}
	if err := client.get(ctx, t, &text); err != nil {
		if failure, ok := errors.AsType[*transferError](err); ok {
			whole := *failure
			whole.unreachable = true // the crates are not to blame, and need not be named
			return nil, &whole
		}
		return nil, err
	}
	var config struct {
		Download string `json:"dl"`
		Auth     bool   `json:"auth-required"`
	}
	if json.Unmarshal(text.Bytes(), &config) != nil || config.Download == "" {
		return nil, &transferError{url: redacted(at), text: "not the config.json of a registry's index"}
	}
	return &registry{config.Download, config.Auth}, nil
}

// locate is the URL of a crate. The sum in it is the lockfile's.
func (r *registry) locate(in cache.Input, index *url.URL) (*url.URL, error) {
	text := r.download
	if !strings.Contains(text, "{") {
		text = strings.TrimSuffix(text, "/") + "/{crate}/{version}/download"
	}
	text = strings.NewReplacer(
		"{crate}", in.Name, "{version}", url.PathEscape(in.Version),
		"{prefix}", cratePrefix(in.Name), "{lowerprefix}", strings.ToLower(cratePrefix(in.Name)),
		"{sha256-checksum}", in.Sum.Hex(),
	).Replace(text)
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file", u.Scheme != "file" && u.Host == "":
		err = &transferError{url: redacted(index), text: "its config.json has no URL that can be asked"}
	case u.Scheme == "file" && index.Scheme != "file", u.Scheme == "http" && index.Scheme == "https":
		err = &transferError{url: redacted(index), text: "its config.json leads from " + index.Scheme + " to " + u.Scheme}
	}
	return u, err
}

// cratePrefix is the directory of a crate in an index.
func cratePrefix(name string) string {
	switch len(name) {
	case 1, 2:
		return fmt.Sprint(len(name))
	case 3:
		return "3/" + name[:1]
	}
	return name[:2] + "/" + name[2:4]
}

// credentials are the token of a registry, for a crate that may be had from it:
// that of the project's configuration if it is the registry which that names,
// else that of the user's.
func (c *crates) credentials(in cache.Input, index *url.URL) credentials {
	return func(u *url.URL) (header, value string) {
		home, err := c.home()
		if err != nil {
			return "", ""
		}
		if in.Auth != nil && in.URL == "sparse+"+index.String() {
			if header, value, missing := in.Auth.Resolve(home.token); len(missing) == 0 {
				return header, value
			}
		}
		if token := home.tokenOf("sparse+" + index.String()); token != "" {
			return "Authorization", token
		}
		return c.run.logins().credentials(u)
	}
}
