package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
)

// soon is how long before its end an exception is reported.
const soon = 30 * 24 * time.Hour

// Inputs are what the terms of a build are made of.
type Inputs struct {
	Policy     *Policy   // nil: anybody may except from every rule that can be excepted from, for any time
	Project    *Project  // nil: the repository asks for nothing
	Signatures []byte    // SignatureFile; nil: there is none. Read only if the policy demands signatures
	Now        time.Time // decides what is in effect
}

// Terms are what one build is held to, and the exceptions it is granted. A nil
// *Terms demands nothing and grants nothing. Granting an exception marks it as
// used, so Terms are for one goroutine at a time.
type Terms struct {
	Level  Level // the least that the build must reach
	Strict bool
	// Overruled is what the repository asks for in vain, as the policy demands
	// more. It is worth saying, and is no finding.
	Overruled []cache.Problem

	demands    []Demand[Level]
	registries []Registry
	now        time.Time
	granted    []*grant
	byPlace    map[string][]*grant // by rule and key of the place; the organisation's first
}

// A grant is an exception that Combine found valid, or a standing one that is
// not in effect.
type grant struct {
	Exception
	lapsed string // why a standing exception is not in effect
	used   bool
	wanted bool // a finding met it, though it is not in effect
}

// Combine makes the terms of a build. The issues are all that is wrong with the
// repository's exceptions, sorted by place; an exception with an issue other
// than Expiring is not granted. A repository adds to what the policy demands and
// takes nothing from it.
func Combine(in Inputs) (*Terms, []Issue) {
	t := &Terms{now: in.Now, byPlace: map[string][]*grant{}}
	policy, project := in.Policy, in.Project
	if policy == nil {
		policy = &Policy{}
	}
	if project == nil {
		project = &Project{}
	}
	t.registries = policy.Registries
	t.combineDemands(policy, project)
	for _, e := range policy.Standing {
		t.grant(&grant{Exception: e, lapsed: lapsed(e, in.Now)})
	}
	var signed signing
	var issues []Issue
	if policy.Signed && len(project.Exceptions) > 0 {
		signed, issues = verify(in.Signatures, project, policy)
	}
	for _, e := range project.Exceptions {
		causes := policy.refuse(e)
		if policy.Signed && policy.approves(e.ApprovedBy) {
			if e.SignedBy = signed.by[e.ApprovedBy]; e.SignedBy == "" {
				causes = append(causes, signed.missing(e.ApprovedBy))
			}
		}
		found := issuesOf(e, causes, in.Now)
		if len(found) == 0 || len(found) == 1 && found[0].Rule == Expiring {
			t.grant(&grant{Exception: e})
		}
		issues = append(issues, found...)
	}
	slices.SortFunc(issues, Issue.compare)
	return t, issues
}

// combineDemands takes the higher of what the policy and the repository demand.
func (t *Terms) combineDemands(policy *Policy, project *Project) {
	t.demands = []Demand[Level]{policy.Level, project.Level}
	t.Level = max(policy.Level.Value, project.Level.Value)
	t.Strict = policy.Strict.Value || project.Strict.Value
	overrule := func(asked, demanded cache.Origin, subject, cause string) {
		t.Overruled = append(t.Overruled, cache.Problem{
			Origin: asked, Subject: subject, Cause: fmt.Sprintf("has no effect: %s demands %s", demanded, cause),
		})
	}
	if project.Level.Given() && project.Level.Value < policy.Level.Value {
		overrule(project.Level.Origin, policy.Level.Origin, "level "+project.Level.Value.String(), policy.Level.Value.String())
	}
	if project.Strict.Given() && !project.Strict.Value && policy.Strict.Value {
		overrule(project.Strict.Origin, policy.Strict.Origin, "strict false", "true")
	}
}

// refuse says why the policy does not let a repository have an exception.
func (p *Policy) refuse(e Exception) (causes []string) {
	if p.Rules != nil && !p.Rules[e.Rule] {
		causes = append(causes, fmt.Sprintf("%s allows no exception from %s", p.File, e.Rule))
	}
	if !p.approves(e.ApprovedBy) {
		causes = append(causes, fmt.Sprintf("%s is none of the approvers in %s", e.ApprovedBy, p.File))
	}
	switch last := e.From.Add(p.Longest); {
	case p.Longest == 0:
	case e.From.IsZero():
		causes = append(causes, fmt.Sprintf("has no effectiveOn, and may last %s at most (%s)", span(p.Longest), p.File))
	case e.Until.After(last):
		causes = append(causes, fmt.Sprintf("lasts until %s, and may last until %s at most: %s (%s)",
			stamp(e.Until), stamp(last), span(p.Longest), p.File))
	}
	return causes
}

// approves tells whether somebody may approve exceptions.
func (p *Policy) approves(name string) bool {
	return p.Approvers == nil || slices.ContainsFunc(p.Approvers, func(a Approver) bool { return a.Name == name })
}

// verify reads and checks the signatures of a repository's file.
func verify(data []byte, project *Project, policy *Policy) (signing, []Issue) {
	file := project.File + strings.TrimPrefix(SignatureFile, ProjectFile)
	if data == nil {
		return signing{notes: []string{"there is no " + file}}, nil
	}
	list, problems := splitSignatures(file, data)
	var issues []Issue
	for _, p := range problems {
		issues = append(issues, Issue{Invalid, p.Origin, p.Subject, p.Cause})
	}
	return check(list, project.data, policy.Approvers), issues
}

// maxNotes is how many notes a message has.
const maxNotes = 3

// missing says that an approver did not sign, and what the file has instead.
func (s signing) missing(name string) string {
	notes := s.notes
	if more := len(notes) - maxNotes; more > 0 {
		notes = append(slices.Clip(notes[:maxNotes]), fmt.Sprintf("%d more", more))
	}
	cause := "has no valid signature by " + name
	if len(notes) > 0 {
		cause += ": " + strings.Join(notes, "; ")
	}
	return cause
}

// issuesOf are the issues of a repository's exception.
func issuesOf(e Exception, invalid []string, now time.Time) []Issue {
	var issues []Issue
	add := func(rule, cause string) { issues = append(issues, Issue{rule, e.Origin, e.Value(), cause}) }
	for _, cause := range invalid {
		add(Invalid, cause)
	}
	if cause := lapsed(e, now); cause != "" {
		add(Expired, cause)
	} else if cause := expiring(e, now); cause != "" {
		add(Expiring, cause)
	}
	return issues
}

// lapsed says since when or until when an exception is not in effect; "" if it
// is.
func lapsed(e Exception, now time.Time) string {
	switch {
	case !e.Until.IsZero() && !now.Before(e.Until):
		return fmt.Sprintf("expired since %s, %s ago", stamp(e.Until), span(now.Sub(e.Until)))
	case now.Before(e.From):
		return fmt.Sprintf("not in effect before %s, %s from now", stamp(e.From), span(e.From.Sub(now)))
	}
	return ""
}

// expiring says when an exception in effect expires, if that is soon.
func expiring(e Exception, now time.Time) string {
	if left := e.Until.Sub(now); !e.Until.IsZero() && left <= soon {
		return fmt.Sprintf("expires at %s, %s from now", stamp(e.Until), span(left))
	}
	return ""
}

// span is a duration in days, or in hours if there is not even one day. What is
// left over is dropped, so a span is never longer than what it stands for.
func span(d time.Duration) string {
	unit, n := "day", int(d/(24*time.Hour))
	if n == 0 {
		unit, n = "hour", int(d/time.Hour)
	}
	switch n {
	case 0:
		return "less than an hour"
	case 1:
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func (t *Terms) grant(g *grant) {
	t.granted = append(t.granted, g)
	keys := []string{""}
	if g.Place != "" {
		keys = placeKeys(g.Place)
	}
	for _, key := range keys {
		t.byPlace[g.Rule+"\n"+key] = append(t.byPlace[g.Rule+"\n"+key], g)
	}
}

// Grant finds the exception that lets a finding of a rule pass, and marks it as
// used. The places are those that the finding can be told by, the most specific
// first; the exception is of the first place that has one, or of no place. Of
// two for the same place the organisation's is taken. The result is not to be
// changed.
func (t *Terms) Grant(rule string, places ...string) (*Exception, bool) {
	if t == nil {
		return nil, false
	}
	var keys []string
	for _, place := range places {
		keys = append(keys, placeKeys(place)...)
	}
	var lapsed []*grant
	for _, key := range append(keys, "") {
		for _, g := range t.byPlace[rule+"\n"+key] {
			if g.lapsed == "" {
				g.used = true
				return &g.Exception, true
			}
			lapsed = append(lapsed, g)
		}
	}
	for _, g := range lapsed {
		g.wanted = true
	}
	return nil, false
}

// Used are the exceptions that were granted, the organisation's first, each in
// the order of its file.
func (t *Terms) Used() []Exception {
	if t == nil {
		return nil
	}
	var used []Exception
	for _, g := range t.granted {
		if g.used {
			used = append(used, g.Exception)
		}
	}
	return used
}

// Review is what the grants have shown, sorted by place: the repository's
// exceptions that nothing used, and of the organisation's those that were used
// and expire soon, and those that a finding met but that are not in effect. Call
// it when there are no more findings to come.
func (t *Terms) Review() []Issue {
	if t == nil {
		return nil
	}
	var issues []Issue
	for _, g := range t.granted {
		rule, cause := "", ""
		switch {
		case g.Source == Repository && !g.used:
			rule, cause = Unused, "nothing in this build needs it"
		case g.Source == Organisation && g.used:
			rule, cause = Expiring, expiring(g.Exception, t.now)
		case g.wanted:
			rule, cause = Expired, g.lapsed
		}
		if cause != "" {
			issues = append(issues, Issue{rule, g.Origin, g.Value(), cause})
		}
	}
	slices.SortFunc(issues, Issue.compare)
	return issues
}

// Shortfall has an issue for each file that demands a higher level than the one
// that was reached. Because says what kept the build from the next level; it may
// be empty.
func (t *Terms) Shortfall(reached Level, because string) []Issue {
	if t == nil {
		return nil
	}
	var issues []Issue
	for _, d := range t.demands {
		if d.Value <= reached {
			continue
		}
		cause := fmt.Sprintf("the build reaches %s", reached)
		if because != "" {
			cause += ": " + because
		}
		issues = append(issues, Issue{NotReached, d.Origin, "level " + d.Value.String(), cause})
	}
	slices.SortFunc(issues, Issue.compare)
	return issues
}

// AllowsRegistry tells whether the policy lets the build have an image: its
// normalized reference, the default registry included, is below one of the
// policy's registries. What is no reference to an image is not allowed.
func (t *Terms) AllowsRegistry(image string) bool {
	if t == nil || t.registries == nil {
		return true
	}
	named, ok := parseImage(image)
	return ok && slices.ContainsFunc(t.registries, func(r Registry) bool { return r.allows(named) })
}
