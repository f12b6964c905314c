package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// The parts of SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format)
// that findings need. Field names are those of the standard.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool            `json:"tool"`
		Bases      map[string]sarifBase `json:"originalUriBaseIds"`
		ColumnKind string               `json:"columnKind"`
		Results    []sarifResult        `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifBase struct {
		Description sarifText `json:"description"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifRule struct {
		ID      string           `json:"id"`
		Short   sarifText        `json:"shortDescription"`
		Help    sarifText        `json:"help"`
		HelpURI string           `json:"helpUri"`
		Default sarifRuleDefault `json:"defaultConfiguration"`
	}
	sarifRuleDefault struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID       string             `json:"ruleId"`
		RuleIndex    int                `json:"ruleIndex"`
		Level        string             `json:"level"`
		Message      sarifText          `json:"message"`
		Locations    []sarifLocation    `json:"locations"`
		Related      []sarifLocation    `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string  `json:"partialFingerprints"`
		Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
		Message  *sarifText    `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId,omitempty"`
	}
	sarifRegion struct {
		Start int `json:"startLine"`
		End   int `json:"endLine"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
)

const (
	sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	// sarifRoot stands for the build context, so that a log says nothing of the
	// machine that it was made on.
	sarifRoot = "SRCROOT"
	// fingerprintKey names the fingerprint and how it is made.
	fingerprintKey = "hermeticFinding/v1"
)

// A sarifWriter turns findings into results.
type sarifWriter struct {
	request
	seen map[string]int // how often a fingerprint occurred
}

// log is the SARIF log of a report. Equal reports have equal logs.
func (w *sarifWriter) log(r *preflight.Report) sarifLog {
	w.seen = map[string]int{}
	index := map[*preflight.Rule]int{}
	run := sarifRun{
		Tool:  sarifTool{sarifDriver{Name: "hermetic", Version: ownVersion(), InformationURI: "https://github.com/hermetic-build/hermetic"}},
		Bases: map[string]sarifBase{sarifRoot: {sarifText{"The build context."}}}, ColumnKind: "unicodeCodePoints",
		Results: []sarifResult{},
	}
	for i, rule := range preflight.Rules {
		index[rule] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, describeRule(rule))
	}
	for _, f := range r.Findings {
		res := w.result(f)
		res.RuleIndex = index[f.Rule]
		run.Results = append(run.Results, res)
	}
	return sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}}
}

// describeRule makes sentences of a rule's summary and hint.
func describeRule(r *preflight.Rule) sarifRule {
	short := strings.TrimPrefix(r.Summary(1), "1 ")
	help := r.Hint
	if help == "" {
		help = "what to do depends on the cause: see " + r.URL()
	}
	return sarifRule{
		ID: r.Name, Short: sarifText{sentence(short)}, Help: sarifText{sentence(help)}, HelpURI: r.URL(),
		Default: sarifRuleDefault{sarifLevel(r.Severity)},
	}
}

func sentence(s string) string {
	for i, r := range s {
		if i == 0 {
			s = string(unicode.ToUpper(r)) + s[len(string(r)):]
		}
	}
	return s + "."
}

func sarifLevel(s preflight.Severity) string {
	switch s {
	case preflight.Error:
		return "error"
	case preflight.Warn:
		return "warning"
	}
	return "note"
}

func (w *sarifWriter) result(f preflight.Finding) sarifResult {
	text := f.Cause
	if f.Subject != "" {
		text = f.Subject + ": " + f.Cause
	}
	res := sarifResult{
		RuleID: f.Rule.Name, Level: sarifLevel(f.Severity), Message: sarifText{text},
		Fingerprints: map[string]string{fingerprintKey: w.fingerprint(f)},
	}
	drawn := sarifLocation{Physical: sarifPhysical{Artifact: w.artifact(w.Dockerfile.Name), Region: region(f.Line, f.End)}}
	switch file := f.Origin.File; {
	case file == "" || file == w.Dockerfile.Name && f.Origin.Line == f.Line:
		res.Locations = []sarifLocation{drawn}
	default:
		res.Locations = []sarifLocation{{Physical: sarifPhysical{Artifact: w.artifact(file), Region: region(f.Origin.Line, 0)}}}
		if f.Line > 0 {
			drawn.Message = &sarifText{"The instruction that needs it."}
			res.Related = []sarifLocation{drawn}
		}
	}
	switch f.Severity {
	case preflight.Excepted:
		e := f.Exception
		res.Suppressions = []sarifSuppression{{"external", "accepted", e.ApprovedBy + ": " + e.Reason}}
	case preflight.Skipped:
		res.Suppressions = []sarifSuppression{{"inSource", "accepted", "the Dockerfile skips the rule"}}
	}
	return res
}

// region is lines of a file; nil is the file as a whole.
func region(start, end int) *sarifRegion {
	if start == 0 {
		return nil
	}
	return &sarifRegion{start, max(start, end)}
}

// artifact is a file by its place in the context, and one outside by its path.
func (w *sarifWriter) artifact(name string) sarifArtifact {
	if at, ok := w.paths[name]; ok {
		rel, err := filepath.Rel(w.root, at)
		if err == nil && filepath.IsLocal(rel) {
			return sarifArtifact{URI: (&url.URL{Path: filepath.ToSlash(rel)}).String(), Base: sarifRoot}
		}
		at = filepath.ToSlash(at)
		if !strings.HasPrefix(at, "/") {
			at = "/" + at // of a drive
		}
		return sarifArtifact{URI: (&url.URL{Scheme: "file", Path: at}).String()}
	}
	return sarifArtifact{URI: (&url.URL{Path: name}).String(), Base: sarifRoot}
}

var digits = regexp.MustCompile(`[0-9]+`)

// fingerprint tells a finding from others however lines move and time passes:
// by its rule, file and subject. The cause, without its numbers, counts where
// there is no subject. Of findings that agree in all that, each has its turn.
func (w *sarifWriter) fingerprint(f preflight.Finding) string {
	what := f.Subject
	if what == "" {
		what = digits.ReplaceAllString(f.Cause, "#")
	}
	key := strings.Join([]string{f.Rule.Name, f.Origin.File, what}, "\x00")
	w.seen[key]++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", key, w.seen[key]))
	return hex.EncodeToString(sum[:16])
}
