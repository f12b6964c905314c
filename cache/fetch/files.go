package fetch

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"unicode"

	"github.com/hermetic-build/hermetic/cache"
)

// maxFile bounds a file of which the lockfile does not tell the size.
const maxFile = 64 << 30

// A fileSource is what sets the files of one package type apart. The zero value
// of each field but kind will do where lockfiles give a URL for each input.
type fileSource struct {
	kind string // the package type
	// at is where an input is, for lockfiles that do not say: it must have a
	// host. nil means the input's URL.
	at func(in cache.Input) (*url.URL, error)
	// below is the path that a mirror has an input at, u being where it is. nil
	// means host and path of u.
	below func(in cache.Input, u *url.URL) string
	// auth are the credentials that the package manager's own settings hold.
	// The lockfile's come before them, and .netrc comes after.
	auth func(in cache.Input, u *url.URL) (header, value string)
}

// files fetches inputs that are one file at a URL each, with a sum in the
// lockfile. It is a backend whole.
type files struct {
	fileSource
	run    *run
	places func() (proxyList, error)
}

func newFiles(r *run, s fileSource) *files {
	f := &files{fileSource: s, run: r}
	f.places = sync.OnceValues(f.readMirrors)
	return f
}

// readMirrors is the list of where to ask; entryDirect stands for what the
// lockfile says.
func (f *files) readMirrors() (proxyList, error) {
	mirror, ok := f.run.opts.Mirrors[f.kind]
	if !ok {
		return proxyList{{kind: entryDirect}}, nil
	}
	list, err := parseGOPROXY(mirror)
	if err != nil {
		return nil, &configError{"mirror for " + f.kind + ": " + err.Error()}
	}
	if list[len(list)-1].kind == entryOff {
		return nil, &configError{"mirror for " + f.kind + ": off: want the URL of a mirror, or direct"}
	}
	return list, nil
}

// prepare implements backend. What no lockfile vouches for stays wanted.
func (f *files) prepare(*item) {}

// fetch implements backend.
func (f *files) fetch(ctx context.Context, unit []*item) error {
	places, err := f.places()
	if err != nil {
		return err
	}
	client, err := f.run.client()
	if err != nil {
		return err
	}
	for _, it := range unit {
		if it.state != wanted {
			continue
		}
		if err := f.run.settle(ctx, it, func() error { return f.download(ctx, client, it, places) }); err != nil {
			return err
		}
	}
	return nil
}

// download gets one file from the first place that has it.
func (f *files) download(ctx context.Context, c *client, it *item, places proxyList) error {
	if it.Sum.IsZero() {
		return &unverifiedError{"the lockfile has no checksum of it"}
	}
	if blob, ok := f.run.store.Lookup(it.Sum); ok { // of another input, meanwhile
		it.blob = blob
		return nil
	}
	own, err := f.where(it.Input)
	if err != nil {
		return err
	}
	d, err := f.run.store.Create()
	if err != nil {
		return &storeError{err}
	}
	defer d.Close()
	t := transfer{limit: maxFile, progress: func(done, total int64) { f.run.progress.Advance(it.Input, done, total) }}
	if it.Size > 0 {
		t.limit = it.Size
	}
	from, err := f.resolve(places, it.Input, own).walk(ctx, func(u *url.URL) error {
		if d.Size() > 0 {
			if err := d.Reset(); err != nil {
				return &storeError{err}
			}
		}
		t := t
		t.url = u
		if t.auth, err = f.credentials(it.Input, own, u); err != nil {
			return err
		}
		return c.get(ctx, t, d)
	})
	if err != nil {
		return err
	}
	if it.Size > 0 && d.Size() != it.Size {
		return &contentError{fmt.Errorf("%d bytes, want %d", d.Size(), it.Size), redacted(from)}
	}
	return f.run.commit(ctx, d, it, redacted(from))
}

// where is the URL of an input.
func (f *files) where(in cache.Input) (*url.URL, error) {
	if f.at != nil {
		return f.at(in)
	}
	u, err := url.Parse(in.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, &transferError{url: "the lockfile", text: "has no URL of it that can be asked"}
	}
	return u, nil
}

// resolve are the URLs that an input may be had from.
func (f *files) resolve(places proxyList, in cache.Input, own *url.URL) proxyList {
	out := make(proxyList, len(places))
	for i, p := range places {
		if p.kind == entryDirect {
			out[i] = proxy{kind: entryURL, base: own}
			continue
		}
		below := own.Host + own.Path
		if f.below != nil {
			below = f.below(in, own)
		}
		p.base = joinURL(p.base, strings.TrimPrefix(below, "/"))
		if own.RawQuery != "" && p.base.Scheme != "file" {
			p.base.RawQuery = own.RawQuery
		}
		out[i] = p
	}
	return out
}

// credentials are those for u, from which in may be had: the lockfile's where u
// is of the server that the lockfile names, own.
func (f *files) credentials(in cache.Input, own, u *url.URL) (credentials, error) {
	if in.Auth != nil && u.Scheme == own.Scheme && u.Host == own.Host {
		header, value, err := resolveAuth(*in.Auth, f.run.env)
		return func(*url.URL) (string, string) { return header, value }, err
	}
	return func(u *url.URL) (header, value string) {
		if f.auth != nil {
			if header, value = f.auth(in, u); header != "" {
				return header, value
			}
		}
		return f.run.logins().credentials(u)
	}, nil
}

// resolveAuth fills in a credential from the environment.
func resolveAuth(a cache.Auth, env func(string) string) (header, value string, err error) {
	header, value, missing := a.Resolve(env)
	switch {
	case len(missing) == 1:
		return "", "", &authError{"$" + missing[0] + " is not set", "set $" + missing[0] + ": the lockfile asks for it; what it holds is not stored"}
	case len(missing) > 1:
		names := "$" + strings.Join(missing, ", $")
		return "", "", &authError{names + " are not set", "set " + names + ": the lockfile asks for them; what they hold is not stored"}
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", "", &authError{"a credential with a line break or the like cannot be sent", "look at the variables that auth in the lockfile names"}
	}
	return header, value, nil
}

// basic is the header of HTTP Basic (RFC 7617).
func basic(user, password string) (header, value string) {
	return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
