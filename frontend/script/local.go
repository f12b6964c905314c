package script

import (
	"net/netip"
	"strings"
)

// isRemote tells whether a word is a URL of another host, all of it or as far as
// it is known.
func isRemote(w word) bool {
	scheme, rest, ok := strings.Cut(w.text, "://")
	if i := strings.LastIndexAny(scheme, " @"); i >= 0 {
		scheme = strings.TrimSpace(scheme[i+1:]) // name @ https://…, of pip
	}
	if !ok {
		return false
	}
	scheme = strings.ToLower(scheme)
	if i := strings.LastIndexByte(scheme, '+'); i >= 0 {
		scheme = scheme[i+1:] // git+https
	}
	switch scheme {
	case "http", "https", "ftp", "ftps", "sftp", "git", "ssh", "rsync", "svn", "s3", "gs", "docker", "oci":
	default:
		return false
	}
	end := strings.IndexAny(rest, "/?#")
	authority := rest
	if end >= 0 {
		authority = rest[:end]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	} else if !w.whole && end < 0 && strings.ContainsRune(w.tail, '@') {
		authority = ""
	}
	host := strings.ToLower(authority)
	switch {
	case end >= 0 || w.whole:
		return host != "" && !isLoopback(host)
	case host == "":
		return scheme == "https" || scheme == "ssh"
	}
	return !strings.HasPrefix("localhost", host) && !isLoopback(host) && strings.Trim(host, "0123456789.:[]") != ""
}

// isLoopback tells whether a host, with or without a port, is this one.
func isLoopback(host string) bool {
	if h, _, ok := strings.Cut(host, "]"); ok {
		host = strings.TrimPrefix(h, "[")
	} else if strings.Count(host, ":") == 1 {
		host, _, _ = strings.Cut(host, ":")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// isLocalURL tells whether text is a URL that leads to no other host.
func isLocalURL(s string) bool {
	_, rest, ok := strings.Cut(s, "://")
	host, _, _ := strings.Cut(rest, "/")
	return strings.HasPrefix(s, "file:") || ok && isLoopback(strings.ToLower(host[strings.LastIndexByte(host, '@')+1:]))
}

// isPath tells whether an argument is a file rather than a name.
func isPath(s string) bool {
	return strings.HasPrefix(s, ".") || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~") || strings.HasPrefix(s, "file:")
}

func nothingLocal(*arguments, string) bool { return false }

// suffixed makes local what is a file with one of these endings.
func suffixed(endings ...string) func(*arguments, string) bool {
	return func(_ *arguments, s string) bool {
		for _, e := range endings {
			if strings.HasSuffix(s, e) {
				return true
			}
		}
		return strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "file:") || s == "."
	}
}

// notPrefixed makes local what does not begin so.
func notPrefixed(prefix string) func(*arguments, string) bool {
	return func(_ *arguments, s string) bool { return !strings.HasPrefix(s, prefix) }
}

// notHost tells whether an argument of curl or wget without a scheme is no
// name of another host.
func notHost(_ *arguments, s string) bool {
	host, _, slash := strings.Cut(s, "/")
	name, _, _ := strings.Cut(host, ":")
	labels := strings.Split(name, ".")
	if len(labels) < 2 || strings.Contains(s, "://") || isLoopback(strings.ToLower(host)) {
		return true
	}
	for _, l := range labels {
		if l == "" || strings.Trim(strings.ToLower(l), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return true
		}
	}
	last := strings.ToLower(labels[len(labels)-1])
	switch last {
	case "com", "org", "net", "io", "dev", "me", "sh", "co", "cc", "edu", "gov", "info", "app", "ai", "us", "de", "uk", "xyz":
		return !slash && last == "sh" // a script, more likely
	}
	return true
}

// notHostPath tells whether an argument of scp or rsync is no HOST:PATH.
func notHostPath(_ *arguments, s string) bool {
	host, _, ok := strings.Cut(s, ":")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	return !ok || host == "" || strings.Contains(host, "/") || isLoopback(strings.ToLower(host))
}

// isLoopbackHost tells whether an argument of ssh is this host, or no host.
func isLoopbackHost(a *arguments, s string) bool {
	if len(a.rest) == 0 || a.rest[0].text != s {
		return true // a command
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	return s == "" || isLoopback(strings.ToLower(s))
}

// isLocalSuite tells whether debootstrap has a mirror on disk.
func isLocalSuite(a *arguments, _ string) bool {
	for _, w := range a.operands {
		if !w.whole || isLocalURL(w.text) {
			return true
		}
	}
	return len(a.operands) < 2
}

// goLocal: only a package with a version is fetched for install and run, and
// only one with a dot in its first element for get.
func goLocal(a *arguments, s string) bool {
	first, _, _ := strings.Cut(s, "/")
	at := strings.IndexByte(s, '@')
	if isPath(s) || !strings.Contains(first, ".") || strings.HasSuffix(s, ".go") {
		return true
	}
	return a.command != "get" && at <= 0
}

// pipLocal: a file or directory is not fetched. pip and setuptools are there
// already, and without a network a newer one is not asked for.
func pipLocal(_ *arguments, s string) bool {
	if strings.Contains(s, " @ ") || strings.Contains(s, "://") {
		return true // judged as URLs
	}
	name := strings.TrimSpace(s)
	switch strings.ToLower(name) {
	case "pip", "setuptools":
		return true
	}
	for _, e := range []string{".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2"} {
		if strings.HasSuffix(name, e) {
			return true
		}
	}
	n := len(name) - len(strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."))
	rest := strings.TrimSpace(name[n:])
	return n == 0 || name[0] == '.' || name[0] == '-' || rest != "" && !strings.ContainsAny(rest[:1], "=<>!~[;@")
}

// npmLocal: a directory or an archive is not fetched.
func npmLocal(_ *arguments, s string) bool {
	return isPath(s) || strings.HasSuffix(s, ".tgz") || strings.HasSuffix(s, ".tar.gz") || strings.Contains(s, "@file:") ||
		strings.HasPrefix(s, "link:") || strings.Contains(s, "@workspace:")
}

// unversioned: npx runs what is in node_modules; a version hardly is.
func unversioned(a *arguments, s string) bool {
	return len(a.rest) == 0 || a.rest[0].text != s || isPath(s) || strings.LastIndexByte(s, '@') <= 0
}

func gemLocal(_ *arguments, s string) bool { return isPath(s) || strings.HasSuffix(s, ".gem") }

// gradleLocal are tasks that need no plugin.
func gradleLocal(_ *arguments, s string) bool {
	switch s {
	case "wrapper", "help", "tasks", "init", "projects", "properties", "clean":
		return true
	}
	return false
}
