package ecosystem

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Npmrc is a file of npm's settings
// (https://docs.npmjs.com/cli/v11/configuring-npm/npmrc). Values are as they
// are written: "${NAME}" stands for a variable of the environment.
type Npmrc struct {
	values map[string]string
	lines  map[string]int
}

// ParseNpmrc reads settings. What is none is passed over, as npm does.
func ParseNpmrc(text string) *Npmrc {
	c := &Npmrc{values: map[string]string{}, lines: map[string]int{}}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' || line[0] == '#' {
			continue
		}
		if line[0] == '[' && strings.HasSuffix(line, "]") {
			break // of a section, which none of npm's settings are in
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			value = "true"
		}
		key = iniWord(key)
		c.values[key], c.lines[key] = iniWord(value), n
	}
	return c
}

// iniWord reads a key or a value: one in quotes is JSON, or as it is between
// them; of another one a comment is cut off.
func iniWord(text string) string {
	text = strings.TrimSpace(text)
	if len(text) >= 2 && text[0] == text[len(text)-1] && (text[0] == '"' || text[0] == '\'') {
		inner := text[1 : len(text)-1]
		var s string
		if text[0] == '\'' {
			text = `"` + inner + `"`
		}
		if json.Unmarshal([]byte(text), &s) == nil {
			return s
		}
		return inner
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ';' || c == '#':
			return strings.TrimSpace(b.String())
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`\;#`, text[i+1]) >= 0:
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}

// Keys are the names of all settings, sorted.
func (c *Npmrc) Keys() []string {
	keys := make([]string, 0, len(c.values))
	for k := range c.values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Get is the value of a setting as it is written; "" for none.
func (c *Npmrc) Get(key string) string { return c.values[key] }

// plainRegistry is the registry that the settings name for a package, without a
// slash at its end; "" for none, and for one that only the environment knows or
// that has a password in it.
func (c *Npmrc) plainRegistry(name string) string {
	text := c.values["registry"]
	if scope, _, ok := strings.Cut(name, "/"); ok && c.values[scope+":registry"] != "" {
		text = c.values[scope+":registry"]
	}
	u, err := url.Parse(text)
	if err != nil || !isHTTP(text) || u.User != nil || strings.Contains(text, "${") {
		return ""
	}
	return strings.TrimSuffix(text, "/")
}

// secrets are the settings that hold one and do not name a variable for it.
func (c *Npmrc) secrets() []string {
	return slices.DeleteFunc(c.Keys(), func(key string) bool {
		name := key[strings.LastIndexByte(key, ':')+1:]
		return !slices.Contains([]string{"_authToken", "_auth", "_password"}, name) || strings.Contains(c.values[key], "${") || c.values[key] == ""
	})
}
