package cache

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// An Auth is the credential that a download has to carry, as its lockfile
// writes it: a header of HTTP whose values are templates. "$NAME" and "${NAME}"
// stand for variables in the environment of whoever fetches, "$$" for a dollar
// sign; any other "$" is itself. The values are never stored.
type Auth struct {
	Header string // "" for HTTP Basic, of User and Secret
	User   string
	Secret string
}

// Resolve is the header to send, filled in from env. missing are the variables
// that env does not have, or has empty: the header is then "".
func (a Auth) Resolve(env func(string) string) (name, value string, missing []string) {
	fill := func(template string) string {
		return reference.ReplaceAllStringFunc(template, func(ref string) string {
			if ref == "$$" {
				return "$"
			}
			name := strings.Trim(ref, "${}")
			value := env(name)
			if value == "" {
				missing = append(missing, name)
			}
			return value
		})
	}
	user, secret := fill(a.User), fill(a.Secret)
	if len(missing) > 0 {
		slices.Sort(missing)
		return "", "", slices.Compact(missing)
	}
	if a.Header != "" {
		return a.Header, secret, nil
	}
	return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret)), nil
}

// Literal tells whether the secret is written out: it names no variable.
func (a Auth) Literal() bool {
	_, _, missing := Auth{Header: a.Header, Secret: a.Secret}.Resolve(func(string) string { return "" })
	return len(missing) == 0
}

// Private tells whether what is sent to u is safe from others on the way: by
// https, or within this machine. Only then may it carry a credential.
func Private(u *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}
