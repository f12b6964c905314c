package ecosystem

import (
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// ignoreRules are lines of a .gitignore (gitignore(5)), as cargo reads those of
// "include" and "exclude" in a manifest: the last one that fits counts.
type ignoreRules []ignoreRule

type ignoreRule struct {
	glob    *regexp.Regexp
	not     bool // "!": what fits is none after all
	dirOnly bool
}

// newIgnoreRules reads lines. Those that are no pattern fit nothing.
func newIgnoreRules(lines []string) ignoreRules {
	var out ignoreRules
	for _, line := range lines {
		if r, ok := newIgnoreRule(line); ok {
			out = append(out, r)
		}
	}
	return out
}

// maxIgnoreRule is longer than any path that a rule could be for.
const maxIgnoreRule = 4096

func newIgnoreRule(line string) (r ignoreRule, ok bool) {
	if strings.HasPrefix(line, "#") || len(line) > maxIgnoreRule {
		return r, false
	}
	if !strings.HasSuffix(line, `\ `) {
		line = strings.TrimRight(line, " \t\r\n")
	}
	anchored := false
	switch {
	case line == "":
		return r, false
	case strings.HasPrefix(line, `\!`), strings.HasPrefix(line, `\#`):
		line = line[1:]
	default:
		line, r.not = strings.CutPrefix(line, "!")
		line, anchored = strings.CutPrefix(line, "/")
	}
	if line, r.dirOnly = strings.CutSuffix(line, "/"); r.dirOnly {
		line = strings.TrimSuffix(line, `\`)
	}
	if !anchored && !strings.Contains(line, "/") && line != "**" {
		line = "**/" + line
	}
	if strings.HasSuffix(line, "/**") {
		line += "/*"
	}
	var err error
	r.glob, err = regexp.Compile("(?s)^" + globExpression(line) + "$")
	return r, err == nil
}

// globExpression is a pattern as a regular expression: "*" stays within a name,
// "**" between slashes is any directories, "{a,b}" one of several.
func globExpression(glob string) string {
	var b strings.Builder
	depth := 0
	for i := 0; i < len(glob); i++ {
		switch c, rest := glob[i], glob[i:]; {
		case strings.HasPrefix(rest, "**/") && (i == 0 || glob[i-1] == '/'):
			b.WriteString("(?:.*/)?")
			i += 2
		case rest == "**" && i > 0 && glob[i-1] == '/':
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '{':
			b.WriteString("(?:")
			depth++
		case c == '}' && depth > 0:
			b.WriteString(")")
			depth--
		case c == ',' && depth > 0:
			b.WriteString("|")
		case c == '\\' && len(rest) > 1:
			_, n := utf8.DecodeRuneInString(rest[1:])
			b.WriteString(regexp.QuoteMeta(rest[1 : 1+n]))
			i += n
		case c == '[':
			n := classLength(rest)
			if n == 0 {
				b.WriteString("[^\\s\\S]") // a class that does not end fits nothing
				continue
			}
			class := strings.ReplaceAll(rest[1:n-1], `\`, `\\`)
			if strings.HasPrefix(class, "!") {
				class = "^" + class[1:]
			}
			b.WriteString("[" + strings.ReplaceAll(class, "[", `\[`) + "]")
			i += n - 1
		default:
			_, n := utf8.DecodeRuneInString(rest)
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			i += n - 1
		}
	}
	return b.String()
}

// classLength is the length of a class like [a-z] that s begins with; 0 for none.
func classLength(s string) int {
	start := 1
	if len(s) > 1 && (s[1] == '!' || s[1] == '^') {
		start = 2
	}
	end := strings.IndexByte(s[min(start+1, len(s)):], ']')
	if end < 0 {
		return 0
	}
	return start + 1 + end + 1
}

// match tells whether the rules name a file or one of the directories above it.
// Its path is relative to where the rules are.
func (rules ignoreRules) match(name string) bool {
	isDir := false
	for at := name; at != "." && at != "/"; at = path.Dir(at) {
		for i := len(rules) - 1; i >= 0; i-- {
			if r := rules[i]; (isDir || !r.dirOnly) && r.glob.MatchString(at) {
				return !r.not
			}
		}
		isDir = true
	}
	return false
}
