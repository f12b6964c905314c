package preflight

import (
	"fmt"
	"strings"
)

// Severity tells what a finding does to a build.
type Severity int

const (
	// Skipped is not shown: a "# check=skip=" line of the Dockerfile names the
	// rule. Only what would be a warning can be skipped.
	Skipped Severity = iota + 1
	// Excepted is shown with the exception that grants it; the build goes on.
	Excepted
	// Warn is printed; the build goes on.
	Warn
	// Error stops the build before its first RUN.
	Error
)

// String is the word that people and programs read.
func (s Severity) String() string {
	switch s {
	case Skipped:
		return "skipped"
	case Excepted:
		return "excepted"
	case Warn:
		return "warning"
	}
	return "error"
}

// MarshalText makes severities words in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Rule is one named refusal or warning. Each has a page in docs/rules with
// the message, the reason, a bad and a good example.
type Rule struct {
	Name string
	Grade
	// Summary says in one line what is wrong; %d stands for the number of
	// findings, and plural for the ending of the noun before it.
	Summary func(n int) string
	// Hint says what to do about it; "" where the cause of each finding does.
	Hint string
}

// A Grade is how serious a rule is.
type Grade struct {
	Severity   Severity // of its findings, unless something grants or tightens it
	Strict     Severity // the same in a strict build
	Exceptable bool     // an exception may grant a deviation
}

// The grades. What would undo the seal, or cannot work, is fatal: nobody can
// grant it.
var (
	fatal    = Grade{Error, Error, false}
	refusal  = Grade{Error, Error, true}
	caution  = Grade{Warn, Error, true}
	exposure = Grade{Warn, Error, false}
	remark   = Grade{Warn, Warn, true}
	notice   = Grade{Warn, Warn, false}
)

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
	MissingInput = &Rule{"MissingInput", refusal,
		count("1 input is not in the cache", "%d inputs are not in the cache"),
		`run "hermetic prefetch CONTEXT" and pass the directory that it prints: --build-context hermetic=DIR`}
	StaleCache = &Rule{"StaleCache", refusal,
		count("1 lockfile is not the one that the cache was made from", "%d lockfiles are not those that the cache was made from"),
		`run "hermetic prefetch CONTEXT" again: it fetches only what is new`}
	CorruptInput = &Rule{"CorruptInput", fatal,
		count("1 input in the cache is not what its lockfile promises", "%d inputs in the cache are not what their lockfile promises"),
		`make the cache again: "hermetic prefetch --verify CONTEXT" reads every byte of it; a directory of Hermeto's is Hermeto's to make anew`}
	InvalidLockfile = &Rule{"InvalidLockfile", fatal,
		count("1 line of a lockfile cannot be used", "%d lines of lockfiles cannot be used"), ""}
	InconsistentVendor = &Rule{"InconsistentVendor", refusal,
		count("1 entry of a vendor directory does not fit its go.mod", "%d entries of vendor directories do not fit their go.mod"),
		`run "go mod vendor" ("go work vendor" in a workspace) and commit the result`}
	OutsideContext = &Rule{"OutsideContext", fatal,
		count("1 path lies outside the build context", "%d paths lie outside the build context"),
		"build from the directory that holds all of them, or depend on released versions"}
	UncoveredLockfile = &Rule{"UncoveredLockfile", caution,
		count("1 lockfile is not covered by the cache", "%d lockfiles are not covered by the cache"),
		"add its directory to the prefetch input if the build uses it"}
	UnplacedFile = &Rule{"UnplacedFile", caution,
		count("1 file that Hermeto rewrites has no place in the build", "%d files that Hermeto rewrites have no place in the build"),
		`build from the directory that Hermeto fetched for, or one below it; "hermeto inject-files" writes those of the output directory`}
	RunNetwork = &Rule{"RunNetwork", caution,
		count("1 instruction asks for a network and does not get one", "%d instructions ask for a network and do not get one"),
		"remove --network: every RUN is sealed"}
	SSHMount = &Rule{"SshMount", fatal,
		count("1 instruction mounts an SSH agent: a socket is a way out", "%d instructions mount an SSH agent: a socket is a way out"),
		"prefetch what the instruction clones, and remove the mount"}
	SecurityInsecure = &Rule{"SecurityInsecure", fatal,
		count("1 instruction asks for --security=insecure, which can undo the seal", "%d instructions ask for --security=insecure, which can undo the seal"), ""}
	Device = &Rule{"Device", fatal,
		count("1 instruction asks for a host device", "%d instructions ask for host devices"), ""}
	CacheMount = &Rule{"CacheMount", caution,
		count("1 cache mount is empty at the start and dropped at the end", "%d cache mounts are empty at the start and dropped at the end"),
		"a cache that outlives the build is an input that nobody declared; remove the mount or rely on the prefetched cache"}
	SecretMount = &Rule{"SecretMount", caution,
		count("1 secret is used, whose content nobody can check later", "%d secrets are used, whose content nobody can check later"), ""}
	UnpinnedImage = &Rule{"UnpinnedImage", caution,
		count("1 image is not pinned by digest", "%d images are not pinned by digest"),
		"write image:tag@sha256:… so that the same file is the same build tomorrow"}
	UnpinnedAdd = &Rule{"UnpinnedAdd", refusal,
		count("1 remote source is not pinned", "%d remote sources are not pinned"),
		"give ADD --checksum=sha256:… for a URL and the full commit for git"}
	UndeclaredAdd = &Rule{"UndeclaredAdd", refusal,
		count("1 remote source is not in the cache", "%d remote sources are not in the cache"),
		"list the URL with its sum in artifacts.lock.yaml and prefetch: the ADD is then served from the cache"}
	ExtraHost = &Rule{"AddHost", caution,
		count("1 host name is added from outside the Dockerfile", "%d host names are added from outside the Dockerfile"), ""}
	ReservedMount = &Rule{"ReservedMount", fatal,
		count("1 mount is where the cache is mounted", "%d mounts are where the cache is mounted"),
		"mount it elsewhere"}
	NestedFrontend = &Rule{"NestedFrontend", fatal,
		count("1 part of the build would run in another frontend", "%d parts of the build would run in other frontends"), ""}
	BuildOp = &Rule{"BuildOp", fatal,
		count("1 operation cannot be sealed", "%d operations cannot be sealed"), ""}
	OpenInput = &Rule{"OpenInput", exposure,
		count("1 step that the client brought along has a network", "%d steps that the client brought along have a network"),
		"build what the input comes from with this frontend as well"}
	PlatformNotCovered = &Rule{"PlatformNotCovered", refusal,
		count("1 input is not in the cache for a platform of the build", "%d inputs are not in the cache for a platform of the build"),
		`run "hermetic prefetch --platform …" for all platforms of the build`}
	WeakChecksum = &Rule{"WeakChecksum", caution,
		count("1 entry of a lockfile should be mended", "%d entries of lockfiles should be mended"),
		"promise sha256 or better, keep credentials in the environment, lock anew what was left behind"}
	ProxyArg = &Rule{"ProxyArg", caution,
		count("1 proxy is given and not passed on", "%d proxies are given and not passed on"),
		"no RUN has a network to use it for; remove the build-arg"}
	NetworkCommand = &Rule{"NetworkCommand", caution,
		count("1 command needs a network and will not have one", "%d commands need a network and will not have one"),
		"prefetch what the command fetches, or copy it into the context"}
	SourcedEnvFile = &Rule{"SourcedEnvFile", remark,
		count("1 instruction reads the environment file of the cache", "%d instructions read the environment file of the cache"),
		"remove the line: every RUN has these variables set"}
	EmptySubmodule = &Rule{"EmptySubmodule", refusal,
		count("1 git submodule is not checked out", "%d git submodules are not checked out"),
		`run "git submodule update --init --recursive" before the build`}
	UnqualifiedImage = &Rule{"UnqualifiedImage", remark,
		count("1 image is named without its registry", "%d images are named without their registry"),
		"write the registry's host in front of the name: Konflux looks nowhere else"}
	MissingSource = &Rule{"MissingSource", refusal,
		count("1 source of COPY or ADD is not in the build context", "%d sources of COPY or ADD are not in the build context"),
		"check the path, and whether .dockerignore leaves it out"}
	UnsetArg = &Rule{"UnsetArg", fatal,
		count("1 variable in FROM has no value", "%d variables in FROM have no value"),
		"give ARG a default before the first FROM, or pass --build-arg"}
	DisallowedRegistry = &Rule{"DisallowedRegistry", fatal,
		count("1 image is from a registry that the policy does not allow", "%d images are from registries that the policy does not allow"),
		"use an image from one of the registries in the policy"}
	InvalidException = &Rule{"InvalidException", fatal,
		count("1 exception cannot be granted", "%d exceptions cannot be granted"), ""}
	ExpiredException = &Rule{"ExpiredException", fatal,
		count("1 exception is not in effect", "%d exceptions are not in effect"),
		"remove it, or have it approved again with a later effectiveUntil"}
	ExpiringException = &Rule{"ExpiringException", notice,
		count("1 exception expires within 30 days", "%d exceptions expire within 30 days"),
		"make it unnecessary, or have it approved again in time"}
	UnusedException = &Rule{"UnusedException", notice,
		count("1 exception is not used", "%d exceptions are not used"),
		"remove it: nothing in this build needs it"}
	LevelNotReached = &Rule{"LevelNotReached", fatal,
		count("1 demanded level is not reached", "%d demanded levels are not reached"), ""}
)

// Rules are all rules, in the order in which reports show them.
var Rules = []*Rule{
	InvalidException, ExpiredException, LevelNotReached, DisallowedRegistry, UnsetArg, MissingSource, EmptySubmodule,
	InvalidLockfile, InconsistentVendor, OutsideContext, StaleCache, MissingInput, PlatformNotCovered, CorruptInput,
	SSHMount, SecurityInsecure, Device, ReservedMount, NestedFrontend, BuildOp, UnpinnedAdd, UndeclaredAdd,
	OpenInput, RunNetwork, NetworkCommand, SourcedEnvFile, CacheMount, SecretMount, UnpinnedImage, UnqualifiedImage,
	ExtraHost, ProxyArg, WeakChecksum, UncoveredLockfile, UnplacedFile, ExpiringException, UnusedException,
}

// ruleIndex is where a rule stands in Rules.
var ruleIndex = func() map[*Rule]int {
	m := map[*Rule]int{}
	for i, r := range Rules {
		m[r] = i
	}
	return m
}()

// Find is the rule of that name, whatever its case.
func Find(name string) (*Rule, bool) {
	for _, r := range Rules {
		if strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return nil, false
}
