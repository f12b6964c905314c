package fetch

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// gitConf is what the user's own settings of git say of where repositories are:
// url.<base>.insteadOf of git-config(1), and the file of git-credential-store(1).
type gitConf struct {
	replace []insteadOf
	logins  []*url.URL
}

type insteadOf struct{ prefix, base string }

// readGitConf reads the settings that git reads, without files that they
// include: of the system, of the user (GIT_CONFIG_GLOBAL, else the two usual
// ones), of the environment (GIT_CONFIG_COUNT).
func readGitConf(env func(string) string) (gitConf, error) {
	var c gitConf
	var files []string
	if env("GIT_CONFIG_NOSYSTEM") == "" {
		files = append(files, "/etc/gitconfig")
	}
	home, xdg := env("HOME"), env("XDG_CONFIG_HOME")
	if xdg == "" && home != "" {
		xdg = filepath.Join(home, ".config")
	}
	if global := env("GIT_CONFIG_GLOBAL"); global != "" {
		files = append(files, global)
	} else {
		files = append(files, below(xdg, "git/config"), below(home, ".gitconfig"))
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || name == "" {
			continue
		}
		if err != nil {
			return c, &configError{name + ": " + osCause(err)}
		}
		if err := cache.ParseGitConfig(data, c.add); err != nil {
			return c, &configError{name + ": " + err.Error()}
		}
	}
	n, _ := strconv.Atoi(env("GIT_CONFIG_COUNT"))
	for i := range min(n, 1000) {
		key := env("GIT_CONFIG_KEY_" + strconv.Itoa(i))
		if base, ok := cutFold(key, "url.", ".insteadof"); ok {
			c.replace = append(c.replace, insteadOf{env("GIT_CONFIG_VALUE_" + strconv.Itoa(i)), base})
		}
	}
	for _, name := range []string{below(home, ".git-credentials"), below(xdg, "git/credentials")} {
		if data, err := os.ReadFile(name); err == nil {
			c.logins = append(c.logins, parseCredentials(string(data))...)
		}
	}
	return c, nil
}

// below is a file of a directory; "" where there is no directory.
func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

// cutFold is what is between a prefix and a suffix, in any case of letters.
func cutFold(s, prefix, suffix string) (string, bool) {
	if len(s) < len(prefix)+len(suffix) || !strings.EqualFold(s[:len(prefix)], prefix) || !strings.EqualFold(s[len(s)-len(suffix):], suffix) {
		return "", false
	}
	return s[len(prefix) : len(s)-len(suffix)], true
}

func (c *gitConf) add(v cache.GitVariable) {
	if v.Section == "url" && v.Name == "insteadof" && v.Subsection != "" {
		c.replace = append(c.replace, insteadOf{v.Value, v.Subsection})
	}
}

// insteadOf is what git would ask for a URL: of all prefixes that fit, the
// longest counts. An ssh URL also fits in its short form.
func (c gitConf) insteadOf(repository string) string {
	forms := []string{repository}
	if u, err := url.Parse(repository); err == nil && u.Scheme == "ssh" && u.Port() == "" {
		short := u.Hostname() + ":" + strings.TrimPrefix(u.Path, "/")
		if u.User != nil {
			short = u.User.Username() + "@" + short
		}
		forms = append(forms, short)
	}
	out, longest := repository, -1
	for _, form := range forms {
		for _, r := range c.replace {
			if rest, ok := strings.CutPrefix(form, r.prefix); ok && len(r.prefix) > longest && r.prefix != "" {
				out, longest = r.base+rest, len(r.prefix)
			}
		}
	}
	if longest >= 0 && strings.HasPrefix(out, "/") {
		out = "file://" + out
	}
	if at, rest, ok := strings.Cut(out, ":"); ok && longest >= 0 && !strings.Contains(out, "://") && !strings.Contains(at, "/") {
		out = "ssh://" + at + "/" + strings.TrimPrefix(rest, "/")
	}
	return out
}

// parseCredentials reads a file of git-credential-store(1): a URL a line.
func parseCredentials(data string) []*url.URL {
	var out []*url.URL
	for line := range strings.Lines(data) {
		u, err := url.Parse(strings.TrimSpace(line))
		if err == nil && u.User != nil && u.Host != "" {
			out = append(out, u)
		}
	}
	return out
}

// login is the first entry for the server of u, and for its path where the
// entry has one.
func (c gitConf) login(u *url.URL) (user, password string, ok bool) {
	for _, l := range c.logins {
		if l.Scheme != u.Scheme || !strings.EqualFold(l.Host, u.Host) {
			continue
		}
		if p := strings.Trim(l.Path, "/"); p != "" && p != strings.Trim(u.Path, "/") {
			continue
		}
		password, _ = l.User.Password()
		return l.User.Username(), password, true
	}
	return "", "", false
}
