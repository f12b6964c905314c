package preflight

import (
	"fmt"
	"strings"
)

// Severity tells what a finding does to a build.
type Severity int

const (
	// Warn is printed; the build goes on.
	Warn Severity = iota + 1
	// Error stops the build before its first RUN.
	Error
)

// String is "warning" or "error".
func (s Severity) String() string {
	if s == Error {
		return "error"
	}
	return "warning"
}

// MarshalText makes severities words in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Rule is one named refusal or warning. Each has a page in docs/rules with
// the message, the reason, a bad and a good example.
type Rule struct {
	Name     string
	Severity Severity
	// Summary says in one line what is wrong; %d stands for the number of
	// findings, and plural for the ending of the noun before it.
	Summary func(n int) string
	// Hint says what to do about it; "" where the cause of each finding does.
	Hint string
}

// rulesURL is where the pages are read.
const rulesURL = "https://github.com/hermetic-build/hermetic/blob/main/docs/rules/"

// URL is the rule's page.
func (r *Rule) URL() string { return rulesURL + r.Name + ".md" }

// count makes a Summary of a singular and a plural form; %d is the number.
func count(one, many string) func(int) string {
	return func(n int) string {
		if n == 1 {
			return one
		}
		return fmt.Sprintf(many, n)
	}
}

// The rules. Their names are part of the interface: exceptions and pages go by
// them.
var (
	MissingInput = &Rule{"MissingInput", Error,
		count("1 input is not in the cache", "%d inputs are not in the cache"),
		`run "hermetic prefetch CONTEXT" and pass the directory that it prints: --build-context hermetic=DIR`}
	StaleCache = &Rule{"StaleCache", Error,
		count("1 lockfile is not the one that the cache was made from", "%d lockfiles are not those that the cache was made from"),
		`run "hermetic prefetch CONTEXT" again: it fetches only what is new`}
	CorruptInput = &Rule{"CorruptInput", Error,
		count("1 input in the cache is not what its lockfile promises", "%d inputs in the cache are not what their lockfile promises"),
		`run "hermetic prefetch --verify CONTEXT": it reads every byte of the cache again and replaces what is damaged`}
	InvalidLockfile = &Rule{"InvalidLockfile", Error,
		count("1 line of a lockfile cannot be used", "%d lines of lockfiles cannot be used"), ""}
	InconsistentVendor = &Rule{"InconsistentVendor", Error,
		count("1 entry of a vendor directory does not fit its go.mod", "%d entries of vendor directories do not fit their go.mod"),
		`run "go mod vendor" ("go work vendor" in a workspace) and commit the result`}
	OutsideContext = &Rule{"OutsideContext", Error,
		count("1 path lies outside the build context", "%d paths lie outside the build context"),
		"build from the directory that holds all of them, or depend on released versions"}
	UncoveredLockfile = &Rule{"UncoveredLockfile", Warn,
		count("1 lockfile is not covered by the cache", "%d lockfiles are not covered by the cache"),
		"add its directory to the prefetch input if the build uses it"}
	RunNetwork = &Rule{"RunNetwork", Warn,
		count("1 instruction asks for a network and does not get one", "%d instructions ask for a network and do not get one"),
		"remove --network: every RUN is sealed"}
	SSHMount = &Rule{"SshMount", Error,
		count("1 instruction mounts an SSH agent: a socket is a way out", "%d instructions mount an SSH agent: a socket is a way out"),
		"prefetch what the instruction clones, and remove the mount"}
	SecurityInsecure = &Rule{"SecurityInsecure", Error,
		count("1 instruction asks for --security=insecure, which can undo the seal", "%d instructions ask for --security=insecure, which can undo the seal"), ""}
	Device = &Rule{"Device", Error,
		count("1 instruction asks for a host device", "%d instructions ask for host devices"), ""}
	CacheMount = &Rule{"CacheMount", Warn,
		count("1 cache mount is empty at the start and dropped at the end", "%d cache mounts are empty at the start and dropped at the end"),
		"a cache that outlives the build is an input that nobody declared; remove the mount or rely on the prefetched cache"}
	SecretMount = &Rule{"SecretMount", Warn,
		count("1 secret is used, whose content nobody can check later", "%d secrets are used, whose content nobody can check later"), ""}
	UnpinnedImage = &Rule{"UnpinnedImage", Warn,
		count("1 image is not pinned by digest", "%d images are not pinned by digest"),
		"write image:tag@sha256:… so that the same file is the same build tomorrow"}
	UnpinnedAdd = &Rule{"UnpinnedAdd", Error,
		count("1 remote source is not pinned", "%d remote sources are not pinned"),
		"give ADD --checksum=sha256:… for a URL and the full commit for git"}
	UndeclaredAdd = &Rule{"UndeclaredAdd", Warn,
		count("1 remote source is fetched while the build runs", "%d remote sources are fetched while the build runs"),
		"it is pinned, so its content cannot change; builds without any network, Konflux among them, fail on it"}
	ExtraHost = &Rule{"AddHost", Warn,
		count("1 host name is added from outside the Dockerfile", "%d host names are added from outside the Dockerfile"), ""}
	ReservedMount = &Rule{"ReservedMount", Error,
		count("1 mount is where the cache is mounted", "%d mounts are where the cache is mounted"),
		"mount it elsewhere"}
	NestedFrontend = &Rule{"NestedFrontend", Error,
		count("1 part of the build would run in another frontend", "%d parts of the build would run in other frontends"), ""}
	BuildOp = &Rule{"BuildOp", Error,
		count("1 operation cannot be sealed", "%d operations cannot be sealed"), ""}
)

// Rules are all rules, in the order in which reports show them.
var Rules = []*Rule{
	InvalidLockfile, InconsistentVendor, OutsideContext, StaleCache, MissingInput, CorruptInput,
	SSHMount, SecurityInsecure, Device, ReservedMount, NestedFrontend, BuildOp, UnpinnedAdd,
	RunNetwork, CacheMount, SecretMount, UndeclaredAdd, UnpinnedImage, ExtraHost, UncoveredLockfile,
}

// Find is the rule of that name, whatever its case.
func Find(name string) (*Rule, bool) {
	for _, r := range Rules {
		if strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return nil, false
}
