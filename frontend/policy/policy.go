package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hermetic-build/hermetic/cache"
)

// Where the files are.
const (
	// ProjectFile is the repository's file, at the root of the build context.
	ProjectFile = "hermetic.yaml"
	// SignatureFile holds the signatures of ProjectFile, next to it.
	SignatureFile = "hermetic.yaml.sig"
	// File is the organisation's policy in the image of the frontend.
	File = "/etc/hermetic/policy.yaml"
	// Namespace is the namespace of the signatures: ssh-keygen -Y sign -n hermetic.
	Namespace = "hermetic"
)

// Names of the rules that Issues break.
const (
	Expired    = "ExpiredException"
	Expiring   = "ExpiringException"
	Unused     = "UnusedException"
	Invalid    = "InvalidException"
	NotReached = "LevelNotReached"
)

// Level is what a build may claim. Each level includes those below it.
type Level int

const (
	// None: a RUN was granted a network.
	None Level = iota
	// Sealed: every exec has network none.
	Sealed
	// Pinned: and every source is immutable.
	Pinned
	// Complete: and no local source, and nothing that cannot be checked.
	Complete
	// Reproduced: and a second build gave the same digest. No single build
	// claims it, so no file can ask for it.
	Reproduced
)

var levels = []string{"none", "sealed", "pinned", "complete", "reproduced"}

// String is the level as it is written.
func (l Level) String() string {
	if l < None || l > Reproduced {
		return fmt.Sprintf("level %d", int(l))
	}
	return levels[l]
}

// MarshalText makes levels words in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// ParseLevel is the level of that name. The error is of the form
// `"x" is no level: …`.
func ParseLevel(s string) (Level, error) {
	for i, name := range levels {
		if s == name {
			return Level(i), nil
		}
	}
	return None, fmt.Errorf("%q is no level%s", s, oneOf(s, levels))
}

// A Rule is what the parsers must know of a rule.
type Rule struct {
	Name       string
	Exceptable bool // an exception can be granted from it
	NeedsPlace bool // but only for a place
}

// Rules are all rules.
type Rules []Rule

// Source tells who grants an exception.
type Source int

const (
	// Repository: hermetic.yaml.
	Repository Source = iota
	// Organisation: a standing exception of the policy.
	Organisation
)

// String is "repository" or "organisation".
func (s Source) String() string {
	if s == Organisation {
		return "organisation"
	}
	return "repository"
}

// MarshalText makes sources words in JSON.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// An Exception is a granted deviation from one rule. The words are those of the
// volatile configuration of Conforma's policies.
type Exception struct {
	Rule       string
	Place      string    // image reference, URL, text of an instruction or name of a stage, on one line; "" is everywhere
	Reason     string    // why
	ApprovedBy string    // who
	Reference  string    // where it was discussed; "" is nowhere
	From       time.Time // valid from then on; zero is since ever
	Until      time.Time // no longer valid from then on; zero is for ever (standing exceptions alone)
	Source     Source
	SignedBy   string       // fingerprint of the approver's key; "" where no signature is demanded
	Origin     cache.Origin // the line of its value
}

// Value is "Rule" or "Rule:place", as it is written.
func (e Exception) Value() string {
	if e.Place == "" {
		return e.Rule
	}
	return e.Rule + ":" + e.Place
}

// MarshalJSON is the machine-readable form, with the keys of hermetic.yaml,
// "source", "signedBy", "file" and "line". Times are RFC 3339.
func (e Exception) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Value      string `json:"value"`
		Reason     string `json:"reason"`
		ApprovedBy string `json:"approvedBy"`
		From       string `json:"effectiveOn,omitempty"`
		Until      string `json:"effectiveUntil,omitempty"`
		Reference  string `json:"reference,omitempty"`
		Source     Source `json:"source"`
		SignedBy   string `json:"signedBy,omitempty"`
		File       string `json:"file"`
		Line       int    `json:"line"`
	}{
		e.Value(), e.Reason, e.ApprovedBy, stamp(e.From), stamp(e.Until), e.Reference,
		e.Source, e.SignedBy, e.Origin.File, e.Origin.Line,
	})
}

// stamp is a time in RFC 3339, UTC; "" is the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// A Project is what a repository asks for. The zero value asks for nothing.
type Project struct {
	File       string
	Level      Demand[Level]
	Strict     Demand[bool]
	Exceptions []Exception // in the order of the file
	data       []byte      // what signatures sign
}

// A Demand is a value that a file gives. The zero value is of a file that gives
// none.
type Demand[T any] struct {
	Value  T
	Origin cache.Origin // zero where the file gives no value
}

// Given tells whether the file gives the value.
func (d Demand[T]) Given() bool { return d.Origin != cache.Origin{} }

// A Policy is what an organisation demands.
type Policy struct {
	File       string
	Level      Demand[Level]
	Strict     Demand[bool]
	Registries []Registry      // nil is any, empty is none
	Rules      map[string]bool // that a repository may except; nil is all that can be
	Approvers  []Approver      // of a repository's exceptions; nil is anybody, empty is nobody
	Signed     bool            // a repository's exceptions need a signature of their approver
	Longest    time.Duration   // of a repository's exception; 0 is any
	Standing   []Exception     // granted to everybody, in the order of the file
}

// An Approver may approve exceptions.
type Approver struct {
	Name string
	Keys []Key
	line int // of the policy
}

// An Issue is something wrong with the terms of a build.
type Issue struct {
	Rule    string // Expired, Expiring, Unused, Invalid or NotReached
	Origin  cache.Origin
	Subject string
	Cause   string
}

// String is "file:line: subject: cause".
func (i Issue) String() string {
	return cache.Problem{Origin: i.Origin, Subject: i.Subject, Cause: i.Cause}.String()
}

// compare sorts by place, rule, subject and cause.
func (i Issue) compare(o Issue) int {
	return cmp.Or(i.Origin.Compare(o.Origin), strings.Compare(i.Rule, o.Rule),
		strings.Compare(i.Subject, o.Subject), strings.Compare(i.Cause, o.Cause))
}
