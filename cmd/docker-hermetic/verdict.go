package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// reportKey is where the result of a build has its report (frontend.ReportKey).
const reportKey = "frontend.hermetic.report"

// maxObstacles bounds how many obstacles are printed.
const maxObstacles = 5

// A verdict is what people are told of a report, in its machine-readable form
// (docs/formats.md): all that is left of it when a build has ended.
type verdict struct {
	Level      string     `json:"level"`
	Obstacles  []obstacle `json:"obstacles"` // the lowest level first
	Exceptions []granted  `json:"exceptions"`
	Notes      []string   `json:"notes"`
	Findings   []struct {
		Severity string `json:"severity"`
	} `json:"findings"`
}

type obstacle struct {
	Level string `json:"level"`
	Cause string `json:"cause"`
}

type granted struct {
	Value      string    `json:"value"`
	Reason     string    `json:"reason"`
	ApprovedBy string    `json:"approvedBy"`
	Until      time.Time `json:"effectiveUntil"`
}

// parseVerdict reads the JSON of a report.
func parseVerdict(data []byte) (*verdict, error) {
	var v verdict
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	if _, err := policy.ParseLevel(v.Level); err != nil {
		return nil, err
	}
	return &v, nil
}

// count is how many findings have a severity.
func (v *verdict) count(s preflight.Severity) int {
	n := 0
	for _, f := range v.Findings {
		if f.Severity == s.String() {
			n++
		}
	}
	return n
}

// counts are the numbers of findings, in words.
func (v *verdict) counts() string {
	text := count(v.count(preflight.Error), "error", "errors") + ", " + count(v.count(preflight.Warn), "warning", "warnings")
	if n := v.count(preflight.Excepted); n > 0 {
		text += fmt.Sprintf(", %d excepted", n)
	}
	return text
}

// details are the exceptions that were used, the notes, and what keeps the
// build from the level above its own, a line each.
func (v *verdict) details() []string {
	var lines []string
	for _, e := range v.Exceptions {
		line := "exception: " + e.Value + ": by " + e.ApprovedBy
		if !e.Until.IsZero() {
			line += " until " + e.Until.Add(-time.Second).Format(time.DateOnly) // the last day
		}
		lines = append(lines, oneLine(line+": "+e.Reason))
	}
	for _, n := range v.Notes {
		lines = append(lines, oneLine("note: "+n))
	}
	next := v.next()
	if v.open() {
		next = next[1:] // the last line says it
	}
	for i, o := range next {
		if i == maxObstacles {
			lines = append(lines, fmt.Sprintf("not %s: %d more", o.Level, len(next)-i))
			break
		}
		lines = append(lines, oneLine("not "+o.Level+": "+o.Cause))
	}
	return lines
}

// next are the obstacles of the level above the build's own.
func (v *verdict) next() []obstacle {
	for i, o := range v.Obstacles {
		if o.Level != v.Obstacles[0].Level {
			return v.Obstacles[:i]
		}
	}
	return v.Obstacles
}

// open tells whether something in the build has a network.
func (v *verdict) open() bool { return v.Level == policy.None.String() && len(v.Obstacles) > 0 }

// last is the last line that is printed: the level. A build that is stopped has
// none.
func (v *verdict) last() string {
	switch n := v.count(preflight.Error); {
	case n > 0:
		return fmt.Sprintf("level: %s: %s; else %s", policy.None, count(n, "error stops the build", "errors stop the build"), v.Level)
	case v.open():
		return oneLine("level: " + v.Level + ": " + v.Obstacles[0].Cause)
	}
	return "level: " + v.Level
}

// oneLine keeps a text from being taken for several lines or for commands to
// the terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// conclude says which level a build has reached, given the report in its
// result. A result without a report, of another frontend say, says nothing.
// Whoever asked for silence hears of a network alone, and rawjson is for
// programs, which find the report in the result.
func (p *program) conclude(l *buildLine, report string) {
	v, err := parseVerdict([]byte(report))
	if err != nil || progressMode(l, p.env) == "rawjson" {
		return
	}
	if prefetchProgress(l, p.env) != "quiet" {
		for _, line := range v.details() {
			fmt.Fprintln(p.stderr, line)
		}
	} else if !v.open() {
		return
	}
	fmt.Fprintln(p.stderr, v.last())
}
