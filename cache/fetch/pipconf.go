package fetch

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// DefaultPipIndex stands in for an index that is set nowhere. It is empty unless
// the linker stamps it (-ldflags -X): the sources name no host.
var DefaultPipIndex string

// pipConf is pip's settings: the environment, then its files
// (https://pip.pypa.io/en/stable/topics/configuration/).
type pipConf struct {
	env  func(string) string
	file map[string]string
}

func readPipConf(env func(string) string) pipConf {
	c := pipConf{env: env, file: map[string]string{}}
	own := env("PIP_CONFIG_FILE")
	if own == os.DevNull {
		return c
	}
	var names []string
	for dir := range strings.SplitSeq(env("XDG_CONFIG_DIRS"), string(filepath.ListSeparator)) {
		if filepath.IsAbs(dir) {
			names = append(names, filepath.Join(dir, "pip", "pip.conf"))
		}
	}
	if env("XDG_CONFIG_DIRS") == "" {
		names = append(names, "/etc/xdg/pip/pip.conf")
	}
	names = append(names, "/etc/pip.conf")
	if home := env("HOME"); home != "" {
		names = append(names, filepath.Join(home, ".pip", "pip.conf"))
		if env("XDG_CONFIG_HOME") == "" {
			names = append(names, filepath.Join(home, ".config", "pip", "pip.conf"))
		}
	}
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		names = append(names, filepath.Join(dir, "pip", "pip.conf"))
	}
	if dir := env("VIRTUAL_ENV"); dir != "" {
		names = append(names, filepath.Join(dir, "pip.conf"))
	}
	if own != "" {
		names = append(names, own)
	}
	for _, name := range names {
		if data, err := os.ReadFile(name); err == nil {
			c.read(string(data))
		}
	}
	return c
}

// read takes over what a file says; "download" comes before "global", and a
// later file before an earlier one.
func (c pipConf) read(text string) {
	sections := map[string]map[string]string{}
	section, key := "", ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "", trimmed[0] == '#', trimmed[0] == ';':
			continue
		case trimmed[0] == '[' && strings.HasSuffix(trimmed, "]"):
			section, key = trimmed[1:len(trimmed)-1], ""
			continue
		case (line[0] == ' ' || line[0] == '\t') && key != "":
			sections[section][key] = strings.TrimSpace(sections[section][key] + " " + trimmed)
			continue
		}
		name, value, ok := strings.Cut(trimmed, "=")
		if colon, after, found := strings.Cut(trimmed, ":"); found && (!ok || len(colon) < len(name)) {
			name, value = colon, after
		}
		if sections[section] == nil {
			sections[section] = map[string]string{}
		}
		key = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")
		sections[section][key] = strings.TrimSpace(value)
	}
	for _, s := range []string{"global", "download"} {
		for k, v := range sections[s] {
			c.file[k] = v
		}
	}
}

// indexes are the URLs of the indexes in force: the index, then those that are
// asked for what it does not have.
func (c pipConf) indexes() (proxyList, error) {
	var out proxyList
	for _, s := range []struct{ variable, key, unset string }{
		{"PIP_INDEX_URL", "index-url", DefaultPipIndex}, {"PIP_EXTRA_INDEX_URL", "extra-index-url", ""},
	} {
		text, from := c.env(s.variable), s.variable
		if text == "" {
			text, from = c.file[s.key], "pip.conf: "+s.key
		}
		if text == "" {
			text = s.unset
		}
		for n, word := range strings.Fields(text) {
			u, err := url.Parse(word)
			switch {
			case err != nil || u.Host == "" && u.Scheme != "file" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "file":
				return nil, &configError{from + ": not the URL of an index"} // it may hold a password
			case n > 0 && s.key == "index-url":
				return nil, &configError{from + ": more than one URL"}
			}
			out = append(out, proxy{kind: entryURL, base: u})
		}
		if len(out) == 0 {
			return nil, &configError{"PIP_INDEX_URL: not set, and neither is index-url in pip.conf; set it to the URL of a package index"}
		}
	}
	return out, nil
}

// PipIndex is the index that packages come from whose lockfiles name none, as a
// URL without credentials; "" where none is set.
func PipIndex(env func(string) string) string {
	list, err := readPipConf(env).indexes()
	if err != nil {
		return ""
	}
	u := *list[0].base
	u.User = nil
	return u.String()
}
