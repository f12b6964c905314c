package preflight

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// A Finding is one place that breaks a Rule.
type Finding struct {
	Rule    *Rule
	Origin  cache.Origin // what the user mends: a line of a lockfile or of the Dockerfile
	Subject string
	Cause   string
	// Place is what an exception may name besides the subject: an image, a URL.
	Place string
	// Line and End are the lines of the Dockerfile under which the finding is
	// drawn, from 1; 0 where there is none.
	Line, End int

	// Severity and Exception, which is what grants it, are set by the Report
	// that the finding is added to.
	Severity  Severity
	Exception *policy.Exception

	stands int // how many of the rule's subjects it stands for; 0 is 1
}

// String is "file:line: subject: cause".
func (f Finding) String() string {
	return cache.Problem{Origin: f.Origin, Subject: f.Subject, Cause: f.Cause}.String()
}

// MarshalJSON is the machine-readable form of docs/formats.md.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Rule      string            `json:"rule"`
		Severity  Severity          `json:"severity"`
		File      string            `json:"file,omitempty"`
		Line      int               `json:"line,omitempty"`
		Subject   string            `json:"subject,omitempty"`
		Cause     string            `json:"cause"`
		Draw      int               `json:"dockerfileLine,omitempty"`
		URL       string            `json:"url"`
		Exception *policy.Exception `json:"exception,omitempty"`
	}{f.Rule.Name, f.Severity, f.Origin.File, f.Origin.Line, f.Subject, f.Cause, f.Line, f.Rule.URL(), f.Exception})
}

// A Report is everything that a preflight found. The zero Report grants
// nothing. One goroutine at a time may use it.
type Report struct {
	Findings []Finding
	Plan     cache.Plan   // what the build needs
	Project  []cache.File // what lies over files of the build context, by their paths in it
	Grants   []Grant      // RUNs that have a network
	Local    []string     // what the build reads from directories of the client, in words
	Sources  []Used       // what else it reads, of the graph: known in a build alone

	terms *policy.Terms // what is granted and demanded
	df    *dockerfile   // nil where the Dockerfile was not read
}

// Used is a source of the graph: an image, a URL, a repository, a directory of
// the client.
type Used struct {
	URI string `json:"uri"`           // as BuildKit identifies it, without credentials
	Pin string `json:"pin,omitempty"` // the digest or commit that it must have, unless the URI has it
}

// A Grant is a RUN that an exception gives a network.
type Grant struct {
	Line, End int // its lines of the Dockerfile, from 1
	Text      string
	Exception *policy.Exception
}

// NewReport is a report of findings that no Dockerfile explains, graded by terms.
func NewReport(terms *policy.Terms, fs ...Finding) *Report {
	r := &Report{terms: terms}
	r.Add(fs...)
	r.Sort()
	return r
}

// Add appends findings, with the severity that this build gives them; Sort
// makes the report fit for reading.
func (r *Report) Add(fs ...Finding) {
	for _, f := range fs {
		r.grade(&f)
		r.Findings = append(r.Findings, f)
	}
}

// grade decides what a finding does to the build. An exception comes before
// the Dockerfile's own wish to skip a rule, which can hide a warning alone.
func (r *Report) grade(f *Finding) {
	f.Severity, f.Exception = f.Rule.Severity, nil
	if r.terms != nil && r.terms.Strict {
		f.Severity = f.Rule.Strict
	}
	if f.Rule.Exceptable {
		if e, ok := r.terms.Grant(f.Rule.Name, r.placesOf(f)...); ok {
			f.Severity, f.Exception = Excepted, e
			return
		}
	}
	if r.df == nil || f.Severity != Warn {
		return
	}
	switch c := r.df.checks; {
	case c.SkipAll || slices.Contains(c.SkipRules, f.Rule.Name):
		f.Severity = Skipped
	case c.ReturnAsError:
		f.Severity = Error
	}
}

// placesOf are the names by which an exception can mean a finding.
func (r *Report) placesOf(f *Finding) []string {
	places := []string{f.Subject, f.Place}
	if f.Line == 0 || f.Origin.File != "" && r.df != nil && f.Origin.File != r.df.name {
		places = append(places, f.Origin.File)
	} else if r.df != nil {
		text, stage := r.df.at(f.Line)
		places = append(places, text, stage)
	}
	return slices.DeleteFunc(places, func(s string) bool { return s == "" })
}

// Sort orders findings by rule, then by place, and drops repetitions: the same
// rule at the same place with the same subject.
func (r *Report) Sort() {
	slices.SortFunc(r.Findings, compareFindings)
	r.Findings = slices.CompactFunc(r.Findings, func(a, b Finding) bool {
		return a.Rule == b.Rule && a.Origin == b.Origin && a.Subject == b.Subject && a.Cause == b.Cause
	})
}

func compareFindings(a, b Finding) int {
	return cmp.Or(
		cmp.Compare(ruleIndex[a.Rule], ruleIndex[b.Rule]),
		a.Origin.Compare(b.Origin), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Cause, b.Cause),
		cmp.Compare(a.Line, b.Line), cmp.Compare(a.End, b.End))
}

// Of are the findings of one severity, in the report's order.
func (r *Report) Of(s Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Severity == s {
			out = append(out, f)
		}
	}
	return out
}

// Granted tells whether the report has findings of a rule, and exceptions
// grant them all.
func (r *Report) Granted(rule *Rule) bool {
	found := false
	for _, f := range r.Findings {
		if f.Rule == rule {
			if found = f.Severity == Excepted; !found {
				return false
			}
		}
	}
	return found
}

// Err is nil, or an *Errors of all findings that stop the build.
func (r *Report) Err() error {
	if fs := r.Of(Error); len(fs) > 0 {
		return &Errors{fs}
	}
	return nil
}

// Errors are findings as an error. Its text has a heading for each rule, a
// line for each finding and the hint:
//
//	MissingInput: 2 inputs are not in the cache
//	go.sum:4: golang.org/x/mod@v0.41.0: not in the cache
//	go.sum:9: golang.org/x/sync@v0.23.0: not in the cache
//	hint: run "hermetic prefetch CONTEXT" …
type Errors struct{ Findings []Finding }

func (e *Errors) Error() string { return Text(e.Findings) }

// maxShown is how many findings of one rule are shown: what a message of the
// daemon can hold is bounded (16 MB), and what people read is less.
const maxShown = 20_000

// Text is findings, sorted by rule, for people. Those that a Dockerfile skips
// are left out; of those that an exception grants it is said which.
func Text(fs []Finding) string {
	fs = slices.DeleteFunc(slices.Clone(fs), func(f Finding) bool { return f.Severity == Skipped })
	var b strings.Builder
	for i := 0; i < len(fs); {
		rule := fs[i].Rule
		end, n, granted := i, 0, 0
		for ; end < len(fs) && fs[end].Rule == rule; end++ {
			n += max(1, fs[end].stands)
			if fs[end].Severity == Excepted {
				granted++
			}
		}
		all := granted == end-i
		b.WriteString(rule.Name + ": " + rule.Summary(n) + "\n")
		for _, f := range fs[i:min(end, i+maxShown)] {
			b.WriteString(f.String() + f.Excuse() + "\n")
		}
		if left := end - i - maxShown; left > 0 {
			fmt.Fprintf(&b, "… and %d more\n", left)
		}
		i = end
		if rule.Hint != "" && !all {
			b.WriteString("hint: " + rule.Hint + "\n")
		}
		b.WriteString("see " + rule.URL() + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Excuse is what grants the finding, as it follows it in a line: " (excepted:
// …)"; "" where nothing does.
func (f Finding) Excuse() string {
	if f.Exception == nil {
		return ""
	}
	return " (excepted: " + grantor(f.Exception) + ")"
}

// grantor says who granted an exception, until when and why.
func grantor(e *policy.Exception) string {
	text := "by " + e.ApprovedBy
	if !e.Until.IsZero() {
		text += " until " + e.Until.UTC().Add(-time.Second).Format(time.DateOnly) // the last day
	}
	return text + ": " + e.Reason
}
