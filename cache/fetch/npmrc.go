package fetch

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// DefaultNpmRegistry stands in for a registry that is set nowhere, and
// BuiltinNpmRegistry is the one that npm was made with: lockfiles name it where
// npm means whichever registry is set. Both are empty unless the linker stamps
// them (-ldflags -X): the sources name no host.
var DefaultNpmRegistry, BuiltinNpmRegistry string

// maxNpmrc bounds a file of settings, in bytes.
const maxNpmrc = 1 << 20

// npmConf is npm's settings: the environment, then the files of the project, the
// user and the machine (https://docs.npmjs.com/cli/v11/using-npm/config).
type npmConf struct {
	env    func(string) string
	values map[string]string // of the files, with their variables
}

// readNpmConf reads the files of the user and the machine.
func readNpmConf(env func(string) string) (npmConf, error) {
	c := npmConf{env: env, values: map[string]string{}}
	user := c.variable("userconfig")
	if user == "" && env("HOME") != "" {
		user = filepath.Join(env("HOME"), ".npmrc")
	}
	global := c.variable("globalconfig")
	if global == "" {
		if prefix := cmp.Or(c.variable("prefix"), env("PREFIX"), nodePrefix(env("PATH"))); prefix != "" {
			global = filepath.Join(prefix, "etc", "npmrc")
		}
	}
	for _, name := range []string{global, user} {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && (info.IsDir() || info.Size() > maxNpmrc) {
			return c, &configError{name + ": not a file of settings"}
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return c, &configError{name + ": " + osCause(err)}
		}
		c.read(string(data))
	}
	return c, nil
}

// nodePrefix is the directory that node is installed below.
func nodePrefix(path string) string {
	for _, dir := range filepath.SplitList(path) {
		name := filepath.Join(dir, "node")
		if info, err := os.Stat(name); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() {
			if real, err := filepath.EvalSymlinks(name); err == nil {
				name = real
			}
			return filepath.Dir(filepath.Dir(name))
		}
	}
	return ""
}

// of are the settings for a project with a file of its own.
func (c npmConf) of(project string) npmConf {
	if project != "" {
		c.values = maps.Clone(c.values)
		c.read(project)
	}
	return c
}

// read takes over what a file says, which comes before what was read earlier.
func (c npmConf) read(text string) {
	f := ecosystem.ParseNpmrc(text)
	for _, key := range f.Keys() {
		c.values[c.expand(key)] = c.expand(f.Get(key))
	}
}

// variable is a setting of the environment.
func (c npmConf) variable(key string) string {
	return cmp.Or(c.env("npm_config_"+key), c.env("NPM_CONFIG_"+strings.ToUpper(key)))
}

// npmReference matches what npm replaces by a variable, with the backslashes that
// keep it from that. "?" has one that is not set be nothing.
var npmReference = regexp.MustCompile(`(\\*)\$\{([^${}?]+)(\?)?\}`)

// expand fills in variables. Those that are not set stay, as in npm, unless a
// question mark says otherwise.
func (c npmConf) expand(text string) string {
	return npmReference.ReplaceAllStringFunc(text, func(ref string) string {
		m := npmReference.FindStringSubmatch(ref)
		if len(m[1])%2 == 1 {
			return ref
		}
		value := c.env(m[2])
		if value == "" && m[3] == "" {
			return ref
		}
		return m[1] + value
	})
}

// get is a setting with its variables; "" where it is set nowhere.
func (c npmConf) get(key string) string {
	if v := c.variable(key); v != "" {
		return v
	}
	return c.values[key]
}

// registry is the registry of a package: that of its scope, else the general one.
func (c npmConf) registry(name string) (*url.URL, error) {
	text, key := "", ""
	if scope, _, scoped := strings.Cut(name, "/"); scoped {
		key = scope + ":registry"
		text = c.get(key)
	}
	if text == "" {
		key = "registry"
		text = cmp.Or(c.get(key), DefaultNpmRegistry)
	}
	if text == "" {
		return nil, &configError{"no registry of npm is known: give its URL by --mirror npm=URL, or by registry= in .npmrc"}
	}
	return npmURL(text, key)
}

// npmURL reads the URL of a registry. The error does not repeat it: it may hold
// a password.
func npmURL(text, key string) (*url.URL, error) {
	if m := npmReference.FindStringSubmatch(text); m != nil {
		return nil, &configError{".npmrc: " + key + ": $" + m[2] + " is not set"}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, &configError{".npmrc: " + key + ": not the URL of a registry"}
	}
	return u, nil
}

// replaces tells whether npm asks the registry in place of a URL in the
// lockfile: "replace-registry-host" is a host, "always", "never", or "npmjs",
// which means the registry that npm was made with.
func (c npmConf) replaces(u *url.URL) bool {
	switch host := cmp.Or(c.get("replace-registry-host"), "npmjs"); host {
	case "never":
		return false
	case "always":
		return true
	case "npmjs":
		builtin, err := url.Parse(BuiltinNpmRegistry)
		return err == nil && builtin.Host != "" && strings.EqualFold(builtin.Hostname(), u.Hostname())
	default:
		return strings.EqualFold(host, u.Hostname())
	}
}

// credentials are those that the settings have for a URL: the ones for the
// longest beginning of it.
func (c npmConf) credentials(u *url.URL) (header, value string) {
	place := "//" + u.Host + u.EscapedPath()
	for len(place) > len("//") {
		for _, at := range []string{place, strings.TrimSuffix(place, "/")} {
			if header, value := c.credentialsAt(at + ":"); header != "" {
				return header, value
			}
		}
		place = place[:strings.LastIndexByte(strings.TrimSuffix(place, "/"), '/')+1]
	}
	return "", ""
}

// credentialsAt are the credentials whose settings begin with a prefix.
func (c npmConf) credentialsAt(prefix string) (header, value string) {
	if token := c.secret(prefix + "_authToken"); token != "" {
		return "Authorization", "Bearer " + token
	}
	if auth := c.secret(prefix + "_auth"); auth != "" {
		return "Authorization", "Basic " + auth
	}
	user, password := c.secret(prefix+"username"), c.secret(prefix+"_password")
	if user == "" || password == "" {
		return "", ""
	}
	plain, err := decodeBase64(password)
	if err != nil {
		return "", ""
	}
	return basic(user, plain)
}

// secret is a setting whose variables are all set.
func (c npmConf) secret(key string) string {
	text := c.get(key)
	if npmReference.MatchString(text) || strings.ContainsAny(text, "\r\n") {
		return ""
	}
	return text
}

// NpmRegistry is the registry of packages without a scope whose lockfiles do not
// say where they are, as a URL without credentials; "" where none is set.
func NpmRegistry(env func(string) string) string {
	conf, err := readNpmConf(env)
	if err != nil {
		return ""
	}
	u, err := conf.registry("")
	if err != nil {
		return ""
	}
	plain := *u
	plain.User = nil
	return plain.String()
}
