package preflight

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/cache"
)

// A Finding is one place that breaks a Rule.
type Finding struct {
	Rule    *Rule
	Origin  cache.Origin // what the user mends: a line of a lockfile or of the Dockerfile
	Subject string
	Cause   string
	// Line and End are the lines of the Dockerfile under which the finding is
	// drawn, from 1; 0 where there is none.
	Line, End int
	stands    int // how many of the rule's subjects it stands for; 0 is 1
}

// String is "file:line: subject: cause".
func (f Finding) String() string {
	return cache.Problem{Origin: f.Origin, Subject: f.Subject, Cause: f.Cause}.String()
}

// MarshalJSON is the machine-readable form of docs/formats.md.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Rule     string   `json:"rule"`
		Severity Severity `json:"severity"`
		File     string   `json:"file,omitempty"`
		Line     int      `json:"line,omitempty"`
		Subject  string   `json:"subject,omitempty"`
		Cause    string   `json:"cause"`
		Draw     int      `json:"dockerfileLine,omitempty"`
		URL      string   `json:"url"`
	}{f.Rule.Name, f.Rule.Severity, f.Origin.File, f.Origin.Line, f.Subject, f.Cause, f.Line, f.Rule.URL()})
}

// A Report is everything that a preflight found.
type Report struct {
	Findings []Finding
	Plan     cache.Plan // what the build needs
}

// Add appends findings; Sort makes the report fit for reading.
func (r *Report) Add(fs ...Finding) { r.Findings = append(r.Findings, fs...) }

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
		cmp.Compare(slices.Index(Rules, a.Rule), slices.Index(Rules, b.Rule)),
		a.Origin.Compare(b.Origin), strings.Compare(a.Subject, b.Subject), strings.Compare(a.Cause, b.Cause),
		cmp.Compare(a.Line, b.Line), cmp.Compare(a.End, b.End))
}

// Of are the findings of one severity, in the report's order.
func (r *Report) Of(s Severity) []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.Rule.Severity == s {
			out = append(out, f)
		}
	}
	return out
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

// Text is findings, sorted by rule, for people.
func Text(fs []Finding) string {
	var b strings.Builder
	for i := 0; i < len(fs); {
		rule := fs[i].Rule
		end, n := i, 0
		for ; end < len(fs) && fs[end].Rule == rule; end++ {
			n += max(1, fs[end].stands)
		}
		b.WriteString(rule.Name + ": " + rule.Summary(n) + "\n")
		for ; i < end; i++ {
			b.WriteString(fs[i].String() + "\n")
		}
		if rule.Hint != "" {
			b.WriteString("hint: " + rule.Hint + "\n")
		}
		b.WriteString("see " + rule.URL() + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}
