package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
)

// The kinds of entry in a GOPROXY list.
const (
	entryURL    = "url"
	entryOff    = "off"
	entryDirect = "direct"
)

// A proxy is one entry of a GOPROXY list.
type proxy struct {
	kind  string
	base  *url.URL // of entryURL: http, https or file
	onAny bool     // the next entry is asked after any error, not only 404 and 410
}

// proxyList is a GOPROXY list (https://go.dev/ref/mod#goproxy-protocol).
type proxyList []proxy

// parseGOPROXY reads a GOPROXY list as the go command does: "," goes on to the
// next entry when a proxy does not have a module, "|" after any error; "off"
// and "direct" end the list. Errors name the entry by its place, as it may
// hold a password.
func parseGOPROXY(list string) (proxyList, error) {
	var out proxyList
	for n := 1; list != ""; n++ {
		text, separator := list, ""
		if i := strings.IndexAny(list, ",|"); i >= 0 {
			text, separator, list = list[:i], list[i:i+1], list[i+1:]
		} else {
			list = ""
		}
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if text == entryOff || text == entryDirect {
			return append(out, proxy{kind: text}), nil
		}
		base, err := parseProxyURL(text)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %v", n, err)
		}
		out = append(out, proxy{entryURL, base, separator == "|"})
	}
	if len(out) == 0 {
		return nil, errors.New("no entries")
	}
	return out, nil
}

// parseProxyURL reads one entry; one without a scheme is https.
func parseProxyURL(text string) (*url.URL, error) {
	if strings.ContainsAny(text, ".:/") && !strings.Contains(text, ":/") && !filepath.IsAbs(text) && !path.IsAbs(text) {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a URL") // err may hold a password
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return nil, errors.New("a URL without a host")
		}
		if u.Scheme == "http" && u.User != nil {
			return nil, fmt.Errorf("%s: credentials would travel over plain http", redacted(u))
		}
	case "file":
		if *u != (url.URL{Scheme: u.Scheme, Path: u.Path, RawPath: u.RawPath}) || !path.IsAbs(u.Path) {
			return nil, errors.New("a file URL of more than an absolute path")
		}
	default:
		return nil, errors.New("want the URL of a proxy (https, http or file), off or direct")
	}
	return u, nil
}

// askedError says what was asked for an input, and what was answered.
type askedError struct {
	answers []error // in the order of the list
	end     string  // entryOff or entryDirect where the list got there, else ""
}

// Error is all answers, and where the list went on to.
func (e *askedError) Error() string {
	var parts []string
	for _, a := range e.answers {
		parts = append(parts, a.Error())
	}
	switch {
	case e.end == entryOff && len(parts) == 0:
		parts = append(parts, "not in the store, and GOPROXY is off")
	case e.end == entryDirect && len(parts) == 0:
		parts = append(parts, "GOPROXY is direct, and only module proxies are asked")
	case e.end == entryDirect:
		parts = append(parts, "GOPROXY goes on to direct, and only module proxies are asked")
	}
	return strings.Join(parts, "; ")
}

// isUnreachable tells whether none of the servers asked can be reached: the
// error is then no more about one input than about another.
func isUnreachable(err error) bool {
	asked, ok := errors.AsType[*askedError](err)
	if !ok || len(asked.answers) == 0 {
		return false
	}
	for _, a := range asked.answers {
		if t, ok := errors.AsType[*transferError](a); !ok || !t.unreachable {
			return false
		}
	}
	return true
}

// walk tries the proxies in turn until one answers and returns that one. The
// error is an *askedError, or what stops everything.
func (l proxyList) walk(ctx context.Context, try func(base *url.URL) error) (*url.URL, error) {
	asked := &askedError{}
	for _, p := range l {
		if p.kind != entryURL {
			asked.end = p.kind
			break
		}
		err := try(p.base)
		if err == nil {
			return p.base, nil
		}
		t, ok := errors.AsType[*transferError](err)
		if !ok || ctx.Err() != nil {
			return nil, err
		}
		asked.answers = append(asked.answers, t)
		if !p.onAny && !t.notFound() {
			break
		}
	}
	return nil, asked
}

// joinURL is base with a path below it, escaped as the go command escapes it.
func joinURL(base *url.URL, below string) *url.URL {
	u := *base
	u.Path = strings.TrimSuffix(base.Path, "/") + "/" + below
	u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + "/" + strings.ReplaceAll(url.PathEscape(below), "%2F", "/")
	return &u
}

// privateError says that a module is kept from proxies.
type privateError struct{ variable, pattern string }

func (e *privateError) Error() string {
	return fmt.Sprintf("%s has %q, which keeps it from proxies, and only module proxies are asked", e.variable, e.pattern)
}

// checkPrivate tells whether variable's comma-separated patterns keep a module
// from proxies (https://go.dev/ref/mod#private-module-privacy).
func checkPrivate(variable, patterns, modulePath string) error {
	for pattern := range strings.SplitSeq(patterns, ",") {
		if module.MatchPrefixPatterns(pattern, modulePath) {
			return &privateError{variable, pattern}
		}
	}
	return nil
}
