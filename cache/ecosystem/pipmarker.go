package ecosystem

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A truth is what a marker says of a target of which not all is known.
type truth int

const (
	no truth = iota
	maybe
	yes
)

// A marker is a condition on the machine and the Python that install a package
// (https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers).
// nil is always true.
type marker struct {
	and, or     []*marker // of one kind, or
	left, right markerValue
	op          string
}

// A markerValue is a variable or a literal.
type markerValue struct{ variable, literal string }

// markerVars are the variables that markers may have. The last two are of
// pylock.toml.
var markerVars = []string{
	"os_name", "sys_platform", "platform_machine", "platform_python_implementation", "platform_release",
	"platform_system", "platform_version", "python_version", "python_full_version", "implementation_name",
	"implementation_version", "extra", "extras", "dependency_groups",
}

// markerAliases are spellings from before the specification.
var markerAliases = map[string]string{
	"os.name": "os_name", "sys.platform": "sys_platform", "platform.version": "platform_version",
	"platform.machine": "platform_machine", "platform.python_implementation": "platform_python_implementation",
	"python_implementation": "platform_python_implementation",
}

// maxMarkerDepth bounds parentheses.
const maxMarkerDepth = 100

var markerToken = regexp.MustCompile(`^\s*(\(|\)|===|~=|==|!=|<=|>=|<|>|'[^']*'|"[^"]*"|[A-Za-z_][A-Za-z0-9_.]*)`)

// A markerParser reads tokens from the left.
type markerParser struct {
	rest  string
	token string // the next one; "" at the end
	depth int
}

// parseMarker reads a marker.
func parseMarker(s string) (*marker, error) {
	p := &markerParser{rest: s}
	if err := p.next(); err != nil {
		return nil, err
	}
	m, err := p.list("or")
	if err != nil {
		return nil, err
	}
	if p.token != "" {
		return nil, fmt.Errorf("marker: %.40q is not expected", p.token)
	}
	return m, nil
}

func (p *markerParser) next() error {
	m := markerToken.FindStringSubmatch(p.rest)
	if m == nil {
		if text := strings.TrimSpace(p.rest); text != "" {
			return fmt.Errorf("marker: %.40q is not expected", text)
		}
		p.token, p.rest = "", ""
		return nil
	}
	p.token, p.rest = m[1], p.rest[len(m[0]):]
	return nil
}

// list reads operands joined by a word; "or" joins what "and" joins.
func (p *markerParser) list(word string) (*marker, error) {
	var parts []*marker
	for {
		var m *marker
		var err error
		if word == "or" {
			m, err = p.list("and")
		} else {
			m, err = p.operand()
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, m)
		if p.token != word {
			break
		}
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	switch {
	case len(parts) == 1:
		return parts[0], nil
	case word == "or":
		return &marker{or: parts}, nil
	}
	return &marker{and: parts}, nil
}

func (p *markerParser) operand() (*marker, error) {
	if p.token == "(" {
		if p.depth++; p.depth > maxMarkerDepth {
			return nil, errors.New("marker: too many parentheses")
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		m, err := p.list("or")
		if err != nil {
			return nil, err
		}
		if p.token != ")" {
			return nil, errors.New("marker: a parenthesis is not closed")
		}
		p.depth--
		return m, p.next()
	}
	return p.comparison()
}

func (p *markerParser) comparison() (*marker, error) {
	m := &marker{}
	var err error
	if m.left, err = p.value(); err != nil {
		return nil, err
	}
	if m.op = p.token; m.op == "not" {
		if err := p.next(); err != nil {
			return nil, err
		}
		m.op += " " + p.token
	}
	if !slices.Contains([]string{"===", "~=", "==", "!=", "<=", ">=", "<", ">", "in", "not in"}, m.op) {
		return nil, fmt.Errorf("marker: %.40q is no comparison", m.op)
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	m.right, err = p.value()
	return m, err
}

func (p *markerParser) value() (markerValue, error) {
	t := p.token
	switch {
	case t == "":
		return markerValue{}, errors.New("marker: ends too early")
	case t[0] == '\'' || t[0] == '"':
		return markerValue{literal: t[1 : len(t)-1]}, p.next()
	}
	if name, ok := markerAliases[t]; ok {
		t = name
	}
	if !slices.Contains(markerVars, t) {
		return markerValue{}, fmt.Errorf("marker: %.40q is no variable", t)
	}
	return markerValue{variable: t}, p.next()
}

// A markerEnv has the variables of a target that are known.
type markerEnv map[string]string

// on tells whether m holds on a target.
func (m *marker) on(env markerEnv) truth {
	switch {
	case m == nil:
		return yes
	case m.or != nil:
		t := no
		for _, part := range m.or {
			t = max(t, part.on(env))
		}
		return t
	case m.and != nil:
		t := yes
		for _, part := range m.and {
			t = min(t, part.on(env))
		}
		return t
	}
	left, known1 := m.left.of(env)
	right, known2 := m.right.of(env)
	if minor, ok := env["python_version"]; ok && m.left.variable == "python_full_version" && !known1 && known2 {
		oldest, newest := m.says(minor+".0", right), m.says(minor+".9999", right)
		if oldest != newest || slices.Contains([]string{"==", "===", "!=", "in", "not in"}, m.op) && m.mentions(minor, right) {
			return maybe
		}
		return oldest
	}
	if !known1 || !known2 {
		return maybe
	}
	return m.says(left, right)
}

// says is what m makes of two texts.
func (m *marker) says(left, right string) truth {
	if m.holds(left, right) {
		return yes
	}
	return no
}

// mentions tells whether a text is about releases of a minor version.
func (m *marker) mentions(minor, text string) bool {
	v, ok := parsePyVersion(strings.TrimSuffix(text, ".*"))
	w, _ := parsePyVersion(minor)
	return !ok || v.startsWith(w) && !strings.HasSuffix(text, ".*")
}

func (v markerValue) of(env markerEnv) (string, bool) {
	if v.variable == "" {
		return v.literal, true
	}
	s, ok := env[v.variable]
	return s, ok
}

// holds compares versions where both sides are such, else strings.
func (m *marker) holds(left, right string) bool {
	switch m.op {
	case "in":
		return strings.Contains(right, left)
	case "not in":
		return !strings.Contains(right, left)
	}
	if v, ok := parsePyVersion(left); ok {
		if fits, ok := v.satisfies(m.op, right); ok {
			return fits
		}
	}
	switch m.op {
	case "==", "===":
		return left == right
	case "!=":
		return left != right
	case "<":
		return left < right
	case "<=":
		return left <= right
	case ">":
		return left > right
	case ">=":
		return left >= right
	}
	return false
}

// onAny tells whether m may hold on one of the targets.
func (m *marker) onAny(targets []markerEnv) bool {
	return slices.ContainsFunc(targets, func(env markerEnv) bool { return m.on(env) != no })
}
