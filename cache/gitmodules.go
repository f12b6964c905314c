package cache

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
)

// GitmodulesFile is where a repository lists its submodules.
const GitmodulesFile = ".gitmodules"

// maxGitmodules bounds it, in bytes.
const maxGitmodules = 1 << 20

// A Submodule is one entry of .gitmodules (gitmodules(5)).
type Submodule struct {
	Name, Path, URL string
	Line            int  // of its path
	Skipped         bool // "update = none": git does not check it out by itself
}

// Gitmodules are the submodules that a repository lists, in its order.
type Gitmodules []Submodule

// Wants tells whether a checkout with its submodules has something at a path.
func (g Gitmodules) Wants(at string) bool {
	s, ok := g.Find(at)
	return ok && !s.Skipped
}

// Find is the submodule at a path.
func (g Gitmodules) Find(at string) (Submodule, bool) {
	for _, s := range g {
		if s.Path == at && s.URL != "" {
			return s, true
		}
	}
	return Submodule{}, false
}

// ParseGitmodules reads a .gitmodules. Submodules without a path are left out.
// The error is "line N: cause".
func ParseGitmodules(data []byte) (Gitmodules, error) {
	if len(data) > maxGitmodules {
		return nil, fmt.Errorf("larger than %d MB", maxGitmodules>>20)
	}
	var all Gitmodules
	at := map[string]int{}
	err := ParseGitConfig(data, func(v GitVariable) {
		if v.Section != "submodule" || v.Subsection == "" {
			return
		}
		i, known := at[v.Subsection]
		if !known {
			i = len(all)
			at[v.Subsection] = i
			all = append(all, Submodule{Name: v.Subsection, Line: v.Line})
		}
		switch v.Name {
		case "path":
			all[i].Path, all[i].Line = path.Clean(v.Value), v.Line
		case "url":
			all[i].URL = v.Value
		case "update":
			all[i].Skipped = v.Value == "none"
		}
	})
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, s := range all {
		if s.Path != "" && s.Path != "." {
			out = append(out, s)
		}
	}
	return out, nil
}

// A GitVariable is a line of a configuration file of git.
type GitVariable struct {
	Section, Subsection string // the first in lower case
	Name                string // in lower case
	Value               string // "true" of a name alone
	Line                int
}

// ParseGitConfig reads a configuration file of git (git-config(1), "Syntax"),
// without what it includes. The error is "line N: cause".
func ParseGitConfig(data []byte, each func(GitVariable)) error {
	p := &gitConfig{text: string(bytes.TrimPrefix(data, []byte("\ufeff"))), line: 1}
	var v GitVariable
	for {
		p.space()
		switch c := p.peek(); {
		case c == 0 && p.done():
			return nil
		case c == '#' || c == ';':
			p.comment()
		case c == '[':
			var ok bool
			if v, ok = p.header(); !ok {
				return fmt.Errorf("line %d: not a section", p.line)
			}
		case v.Section == "":
			return fmt.Errorf("line %d: a name before any section", p.line)
		default:
			v.Line = p.line
			var err error
			if v.Name, v.Value, err = p.variable(); err != nil {
				return fmt.Errorf("line %d: %v", v.Line, err)
			}
			each(v)
		}
	}
}

// gitConfig is a configuration file that is being read.
type gitConfig struct {
	text string
	pos  int
	line int
}

func (p *gitConfig) done() bool { return p.pos >= len(p.text) }

func (p *gitConfig) peek() byte {
	if p.done() {
		return 0
	}
	return p.text[p.pos]
}

// next takes one byte; a line may end with "\r\n".
func (p *gitConfig) next() byte {
	c := p.peek()
	p.pos++
	if c == '\r' && p.peek() == '\n' {
		p.pos++
		c = '\n'
	}
	if c == '\n' {
		p.line++
	}
	return c
}

func (p *gitConfig) space() {
	for !p.done() && strings.IndexByte(" \t\r\n\v\f", p.peek()) >= 0 {
		p.next()
	}
}

func (p *gitConfig) comment() {
	for !p.done() && p.peek() != '\n' {
		p.next()
	}
}

// header reads "[section]", "[section "subsection"]" or "[section.subsection]".
func (p *gitConfig) header() (v GitVariable, ok bool) {
	p.next()
	start := p.pos
	for isConfigName(p.peek()) || p.peek() == '.' {
		p.next()
	}
	v.Section = strings.ToLower(p.text[start:p.pos])
	if section, sub, old := strings.Cut(v.Section, "."); old {
		v.Section, v.Subsection = section, sub
	}
	for p.peek() == ' ' || p.peek() == '\t' {
		p.next()
	}
	if p.peek() == '"' {
		p.next()
		var sub strings.Builder
		for p.peek() != '"' {
			c := p.next()
			if c == '\\' {
				c = p.next()
			}
			if p.pos > len(p.text) || c == '\n' || c == 0 {
				return v, false
			}
			sub.WriteByte(c)
		}
		p.next()
		v.Subsection = sub.String()
	}
	return v, p.next() == ']' && v.Section != ""
}

func isConfigName(c byte) bool {
	return c < unicode.MaxASCII && (unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) || c == '-')
}

// variable reads "name = value".
func (p *gitConfig) variable() (name, value string, err error) {
	start := p.pos
	for isConfigName(p.peek()) {
		p.next()
	}
	name = strings.ToLower(p.text[start:min(p.pos, len(p.text))])
	if name == "" {
		return "", "", errors.New("not a name")
	}
	for p.peek() == ' ' || p.peek() == '\t' {
		p.next()
	}
	switch {
	case p.done() || p.peek() == '\n' || p.peek() == '\r':
		return name, "true", nil
	case p.peek() == '#' || p.peek() == ';':
		p.comment()
		return name, "true", nil
	case p.next() != '=':
		return "", "", errors.New("no = behind the name")
	}
	value, err = p.value()
	return name, value, err
}

// value reads what is behind "=".
func (p *gitConfig) value() (string, error) {
	var out strings.Builder
	keep := 0 // of what was written, the spaces at the end not counted
	quoted := false
	for !p.done() {
		c := p.next()
		switch {
		case c == '\n':
			if quoted {
				return "", errors.New("a quote is not closed")
			}
			return out.String()[:keep], nil
		case c == '"':
			quoted = !quoted
			keep = out.Len()
			continue
		case c == '\\':
			escaped, ok := map[byte]byte{'n': '\n', 't': '\t', 'b': '\b', '"': '"', '\\': '\\', '\n': 0}[p.next()]
			if !ok {
				return "", errors.New("an escape that is not known")
			}
			if escaped != 0 {
				out.WriteByte(escaped)
				keep = out.Len()
			}
			continue
		case !quoted && (c == '#' || c == ';'):
			p.comment()
			continue
		case !quoted && (c == ' ' || c == '\t') && out.Len() == 0:
			continue
		}
		out.WriteByte(c)
		if quoted || c != ' ' && c != '\t' {
			keep = out.Len()
		}
	}
	if quoted {
		return "", errors.New("a quote is not closed")
	}
	return out.String()[:keep], nil
}
