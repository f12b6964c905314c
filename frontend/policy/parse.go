package policy

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The keys of the files.
var (
	projectKeys   = []string{"level", "strict", "exceptions"}
	exceptionKeys = []string{"value", "reason", "approvedBy", "effectiveOn", "effectiveUntil", "reference"}
	policyKeys    = []string{"level", "strict", "registries", "exceptions", "standing"}
	grantingKeys  = []string{"rules", "approvers", "signed", "longest"}
	approverKeys  = []string{"name", "keys"}
)

// ParseProject reads a repository's hermetic.yaml; file is its name in
// messages. An empty file is an empty project. The error is an *Errors.
func ParseProject(file string, data []byte, rules Rules) (*Project, error) {
	p := parser{document{file: file}, rules}
	project := &Project{File: file, data: bytes.Clone(data)}
	if root := p.load(data); root != nil {
		fields := p.fields(root, "document", projectKeys)
		project.Level = p.level(fields["level"])
		project.Strict = p.boolean(fields["strict"])
		project.Exceptions = p.exceptions(fields["exceptions"], Repository)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return project, nil
}

// ParsePolicy reads an organisation's policy.yaml; file is its name in
// messages. A policy that says nothing is an error, so that a file which was
// truncated or forgotten does not allow everything. The error is an *Errors.
func ParsePolicy(file string, data []byte, rules Rules) (*Policy, error) {
	p := parser{document{file: file}, rules}
	policy := &Policy{File: file}
	switch root := p.load(data); {
	case root != nil && (root.Kind != yaml.MappingNode || len(root.Content) > 0):
		fields := p.fields(root, "document", policyKeys)
		policy.Level = p.level(fields["level"])
		policy.Strict = p.boolean(fields["strict"])
		policy.Registries = p.registries(fields["registries"])
		policy.Standing = p.exceptions(fields["standing"], Organisation)
		p.granting(fields["exceptions"], policy)
	case len(p.problems) == 0:
		p.complain(0, "", "is empty; a policy without a key is taken for a mistake")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return policy, nil
}

// A parser reads one file.
type parser struct {
	document
	rules Rules
}

func (p *parser) level(f field) Demand[Level] {
	s, ok := p.scalar(f)
	if !ok {
		return Demand[Level]{}
	}
	level, err := ParseLevel(s)
	switch {
	case err != nil:
		p.complain(f.value.Line, f.name, "%q is no level%s", s, oneOf(s, levels[:Reproduced]))
	case level == Reproduced:
		p.complain(f.value.Line, f.name, "no single build can claim %s; %s is the most to ask for", level, Complete)
	}
	return Demand[Level]{level, p.origin(f.value)}
}

// exceptions reads a list of exceptions.
func (p *parser) exceptions(f field, source Source) []Exception {
	items, _ := p.items(f)
	if len(items) > maxExceptions {
		p.complain(f.key.Line, f.name, "%d of them, at most %d", len(items), maxExceptions)
		return nil
	}
	var list []Exception
	for _, item := range items {
		list = append(list, p.exception(item.value, source))
	}
	return list
}

func (p *parser) exception(n *yaml.Node, source Source) Exception {
	e := Exception{Source: source, Origin: p.origin(n)}
	fields := p.fields(n, "exception", exceptionKeys)
	if fields == nil {
		return e
	}
	required := []string{"value", "reason", "approvedBy", "effectiveUntil"}
	if source == Organisation {
		required = required[:3]
	}
	for _, name := range required {
		if _, ok := fields[name]; !ok {
			p.complain(n.Line, "exception", "has no %s", name)
		}
	}
	if f := fields["value"]; f.value != nil {
		e.Origin = p.origin(f.value)
		if s, ok := p.text(f); ok {
			e.Rule, e.Place = p.value(f.value.Line, s)
		}
	}
	e.Reason, _ = p.line(fields["reason"])
	e.ApprovedBy, _ = p.line(fields["approvedBy"])
	e.Reference, _ = p.line(fields["reference"])
	e.From = p.moment(fields["effectiveOn"], 0)
	e.Until = p.moment(fields["effectiveUntil"], 24*time.Hour)
	if !e.Until.IsZero() && !e.From.Before(e.Until) {
		p.complain(fields["effectiveUntil"].value.Line, "effectiveUntil", "%s is not after effectiveOn, %s", stamp(e.Until), stamp(e.From))
	}
	return e
}

// value splits "rule:place" and checks both.
func (p *parser) value(line int, s string) (rule, place string) {
	name, place, hasPlace := strings.Cut(s, ":")
	place = oneLine(place)
	if name == "" {
		p.complain(line, s, "has no rule before the colon")
		return "", place
	}
	r, ok := p.rule(line, name)
	switch {
	case !ok:
	case hasPlace && place == "":
		p.complain(line, s, "has no place after the colon")
	case !hasPlace && r.NeedsPlace:
		p.complain(line, s, "needs a place: %s:INSTRUCTION or %s:STAGE", r.Name, r.Name)
	}
	if cause := badPlace(place); cause != "" {
		p.complain(line, s, "%s", cause)
	}
	return name, place
}

// rule finds a rule that can be excepted from.
func (p *parser) rule(line int, name string) (Rule, bool) {
	i := slices.IndexFunc(p.rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		var names []string
		for _, r := range p.rules {
			names = append(names, r.Name)
		}
		p.complain(line, name, "no rule has this name%s", oneOf(name, names))
		return Rule{}, false
	}
	if !p.rules[i].Exceptable {
		p.complain(line, name, "no exception can be granted from this rule")
		return Rule{}, false
	}
	return p.rules[i], true
}

// Years outside of these are mistakes, and the first year of all is Go's zero
// time, which means something else.
const (
	firstYear = 2000
	lastYear  = 9000
)

// timeForm is stricter than time.Parse, which takes hours of one digit and a
// comma before fractions.
var timeForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$`)

// moment reads a time of RFC 3339; a date alone means day after its beginning.
// It is zero where there is none, or a bad one.
func (p *parser) moment(f field, day time.Duration) time.Time {
	s, ok := p.scalar(f)
	if !ok {
		return time.Time{}
	}
	var t time.Time
	if date, err := time.Parse(time.DateOnly, s); err == nil {
		t = date.Add(day)
	} else if t, err = time.Parse(time.RFC3339, s); err != nil || !timeForm.MatchString(s) {
		p.complain(f.value.Line, f.name, "%q is neither a date (2026-12-31) nor a time of RFC 3339 (2026-12-31T23:59:59Z)", s)
		return time.Time{}
	}
	if t = t.UTC(); t.Year() < firstYear || t.Year() > lastYear {
		p.complain(f.value.Line, f.name, "the year of %q is not one of %d to %d", s, firstYear, lastYear)
		return time.Time{}
	}
	return t
}

func (p *parser) registries(f field) []Registry {
	items, ok := p.items(f)
	if !ok {
		return nil
	}
	list := []Registry{}
	for _, item := range items {
		if s, ok := p.text(item); ok {
			r, err := parseRegistry(s)
			if err != nil {
				p.complain(item.value.Line, s, "%s", err)
			}
			list = append(list, r)
		}
	}
	return list
}

// granting reads the policy's key exceptions: what a repository may except.
func (p *parser) granting(f field, policy *Policy) {
	if f.value == nil {
		return
	}
	fields := p.fields(f.value, f.name, grantingKeys)
	policy.Signed = p.boolean(fields["signed"]).Value
	policy.Longest = p.duration(fields["longest"])
	if items, ok := p.items(fields["rules"]); ok {
		policy.Rules = map[string]bool{}
		for _, item := range items {
			s, ok := p.text(item)
			switch {
			case ok && strings.Contains(s, ":"):
				p.complain(item.value.Line, s, "a rule is named here without a place")
			case ok:
				p.rule(item.value.Line, s)
				policy.Rules[s] = true
			}
		}
	}
	if items, ok := p.items(fields["approvers"]); ok {
		policy.Approvers = p.approvers(items)
	}
	if !policy.Signed {
		return
	}
	if _, ok := fields["approvers"]; !ok {
		p.complain(fields["signed"].key.Line, "signed", "needs approvers, whose keys sign")
	}
	for _, a := range policy.Approvers {
		if a.Name != "" && len(a.Keys) == 0 {
			p.complain(a.line, a.Name, "has no keys, and exceptions have to be signed")
		}
	}
}

// durationForm has five digits at most: time.Duration ends after 106751 days.
var durationForm = regexp.MustCompile(`^([1-9][0-9]{0,4})([dh])$`)

// duration reads a number of days or hours.
func (p *parser) duration(f field) time.Duration {
	s, ok := p.scalar(f)
	if !ok {
		return 0
	}
	m := durationForm.FindStringSubmatch(s)
	if m == nil {
		p.complain(f.value.Line, f.name, "%q is not a number of days (90d) or hours (36h), of five digits at most", s)
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // digits
	if m[2] == "d" {
		n *= 24
	}
	return time.Duration(n) * time.Hour
}

func (p *parser) approvers(items []field) []Approver {
	list := []Approver{}
	names := map[string]int{}
	owners := map[string]string{} // of keys, by fingerprint
	for _, item := range items {
		fields := p.fields(item.value, "approver", approverKeys)
		if fields == nil {
			continue
		}
		a := Approver{line: item.value.Line}
		var ok bool
		if a.Name, ok = p.line(fields["name"]); !ok && fields["name"].key == nil {
			p.complain(a.line, "approver", "has no name")
		}
		if first, again := names[a.Name]; again && ok {
			p.complain(a.line, a.Name, "given again; the first is in line %d", first)
		}
		names[a.Name] = a.line
		keys, _ := p.items(fields["keys"])
		for _, f := range keys {
			s, ok := p.text(f)
			if !ok {
				continue
			}
			key, err := parseKey(s)
			if err != nil {
				p.complain(f.value.Line, "key", "%s", err)
				continue
			}
			if owner, again := owners[key.Fingerprint]; again {
				p.complain(f.value.Line, "key", "%s is already a key of %s", key.Fingerprint, owner)
			}
			owners[key.Fingerprint] = a.Name
			a.Keys = append(a.Keys, key)
		}
		list = append(list, a)
	}
	return list
}
