package preflight

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// A Dockerfile is its name, as messages print it, and its bytes.
type Dockerfile struct {
	Name string
	Data []byte
}

// dockerfile is what a preflight knows of the instructions.
type dockerfile struct {
	name     string
	data     []byte
	contexts []string // names of named contexts
	terms    *policy.Terms
	checks   *linter.Config // the "# check=" line
	escape   rune
	stages   []instructions.Stage
	names    map[string][]int // of stages, in the order of the file
	base     []int            // the stage that a stage begins with; -1 for an image
	needed   []bool           // whether the target needs a stage
	unsure   int              // the last needed stage whose base is not known; 0 for none
	env      shell.EnvGetter  // global ARGs, for FROM
	unknown  map[string]bool  // variables whose value only the builder knows
	lex      *shell.Lex
	lines    map[int]func() (text, stage string)
	findings []Finding
	grants   []Grant
	adds     []remoteAdd
}

// remoteAdd is an ADD of a URL whose content is pinned.
type remoteAdd struct {
	url, checksum string
	at            []parser.Range
}

// ParseError says that a Dockerfile is none: "file:line: cause".
type ParseError struct{ text string }

func (e *ParseError) Error() string { return e.text }

// analyse parses the Dockerfile and applies the rules that can be decided from
// its text, to the stages that the target needs. Values of variables are known
// for FROM alone; what else depends on them is decided on the graph.
func analyse(req Request, terms *policy.Terms) (*dockerfile, error) {
	d := &dockerfile{name: req.Dockerfile.Name, data: req.Dockerfile.Data, contexts: req.Contexts, terms: terms}
	ast, err := parser.Parse(bytes.NewReader(req.Dockerfile.Data))
	if err != nil {
		return nil, &ParseError{parseText(d.name, err)}
	}
	stages, metaArgs, err := instructions.Parse(ast.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil, &ParseError{parseText(d.name, err)}
	}
	if d.checks, err = checks(req); err != nil {
		return nil, &ParseError{parseText(d.name, err)}
	}
	d.stages, d.lex, d.escape = stages, shell.NewLex(ast.EscapeToken), ast.EscapeToken
	d.globalArgs(metaArgs, req.BuildArgs)
	d.resolve(req)
	for i := range stages {
		if d.needed[i] {
			d.stage(i)
		}
	}
	return d, nil
}

// checks reads which rules the Dockerfile, or the client in its place, wants
// skipped or made errors (BuildKit dockerfile2llb, newRuleLinter).
func checks(req Request) (*linter.Config, error) {
	text, ok := req.BuildArgs["BUILDKIT_DOCKERFILE_CHECK"]
	if !ok {
		text, _, _, _ = parser.ParseDirective("check", req.Dockerfile.Data)
	}
	return linter.ParseLintOptions(text)
}

// parseText is a parser's complaint with its place.
func parseText(name string, err error) string {
	p := cache.Problem{Origin: cache.Origin{File: name}, Cause: err.Error()}
	if le, ok := errors.AsType[*parser.LocationError](err); ok {
		p.Cause = le.Unwrap().Error()
		for _, ranges := range le.Locations {
			for _, r := range ranges {
				if p.Origin.Line == 0 || r.Start.Line < p.Origin.Line {
					p.Origin.Line = r.Start.Line // of the instruction, not of its last line
				}
			}
		}
	}
	return p.String()
}

// platformArgs are the variables that the builder sets for FROM
// (BuildKit dockerfile2llb, defaultArgs).
var platformArgs = []string{
	"BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT",
	"TARGETPLATFORM", "TARGETOS", "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
}

// globalArgs evaluates the ARGs before the first FROM. One whose value depends
// on what is not known here, the target's platform say, is not known either.
func (d *dockerfile) globalArgs(args []instructions.ArgCommand, given map[string]string) {
	d.unknown = map[string]bool{}
	for _, name := range platformArgs {
		d.unknown[name] = true
	}
	var env []string
	for _, a := range args {
		for _, kv := range a.Args {
			if value, ok := given[kv.Key]; ok {
				env = append(env, kv.Key+"="+value)
				delete(d.unknown, kv.Key)
			} else if kv.Value != nil {
				value, known, err := d.word(*kv.Value, shell.EnvsFromSlice(env))
				if d.unknown[kv.Key] = !known || err != nil; !d.unknown[kv.Key] {
					env = append(env, kv.Key+"="+value)
				}
			}
		}
	}
	d.env = shell.EnvsFromSlice(env)
}

// word expands variables; known tells whether all their values are.
func (d *dockerfile) word(word string, env shell.EnvGetter) (value string, known bool, err error) {
	value, unmatched, err := d.lex.ProcessWord(word, env)
	for name := range unmatched {
		if d.unknown[name] {
			return value, false, err
		}
	}
	return value, true, err
}

// at is the instruction on a line, in the words by which an exception means
// it, and the name of its stage; "" where there is none.
func (d *dockerfile) at(line int) (text, stage string) {
	if d.lines == nil {
		d.lines = map[int]func() (string, string){}
		for _, s := range d.stages {
			d.index(s.Location, func() (string, string) { return normalize(s.OrigCmd + " " + s.BaseName), s.Name })
			for _, c := range s.Commands {
				d.index(c.Location(), func() (string, string) { return instruction(c), s.Name })
			}
		}
	}
	if f, ok := d.lines[line]; ok {
		return f()
	}
	return "", ""
}

// index makes at find an instruction by each of its lines.
func (d *dockerfile) index(at []parser.Range, f func() (text, stage string)) {
	if len(at) == 0 {
		return
	}
	for line := at[0].Start.Line; line <= at[len(at)-1].End.Line; line++ {
		d.lines[line] = f
	}
}

func covers(at []parser.Range, line int) bool {
	return len(at) > 0 && at[0].Start.Line <= line && line <= at[len(at)-1].End.Line
}

// instruction is the text of an instruction, here-documents included, as an
// exception names it: what is in it counts, how its lines are broken does not.
func instruction(c instructions.Command) string {
	text, _ := c.(interface{ String() string })
	var parts []string
	if text != nil {
		parts = append(parts, text.String())
	}
	if run, ok := c.(*instructions.RunCommand); ok {
		for _, f := range run.Files {
			parts = append(parts, f.Data, f.Name)
		}
	}
	return normalize(strings.Join(parts, " "))
}

// normalize makes each run of white space one space.
func normalize(s string) string { return strings.Join(strings.Fields(s), " ") }

// add records a finding at an instruction.
func (d *dockerfile) add(rule *Rule, at []parser.Range, subjectCause ...string) {
	f := Finding{Rule: rule, Origin: cache.Origin{File: d.name}, Cause: subjectCause[len(subjectCause)-1]}
	if len(subjectCause) > 1 {
		f.Subject = subjectCause[0]
	}
	if len(at) > 0 {
		f.Line, f.End = at[0].Start.Line, at[len(at)-1].End.Line
		f.Origin.Line = f.Line
	}
	d.findings = append(d.findings, f)
}

func (d *dockerfile) stage(i int) {
	s := &d.stages[i]
	switch name, known, err := d.baseName(i); {
	case !known || d.base[i] >= 0:
	case err != nil || strings.TrimSpace(name) == "":
		d.unsetArg(i, err)
	default:
		d.image(name, s.Location)
	}
	for _, cmd := range s.Commands {
		switch c := cmd.(type) {
		case *instructions.RunCommand:
			d.run(c, s.Name)
		case *instructions.AddCommand:
			d.sources(c.SourcePaths, c.Checksum, c.Location())
		case *instructions.CopyCommand:
			if _, ok := d.copied(c.From); !ok {
				d.image(c.From, c.Location())
			}
		}
	}
}

// unsetArg says of a FROM without a name which variables are to blame.
func (d *dockerfile) unsetArg(i int, err error) {
	s := &d.stages[i]
	cause := "no value is given for it"
	if err != nil {
		cause = err.Error()
	}
	_, unmatched, _ := d.lex.ProcessWord(s.BaseName, d.env)
	names := slices.Sorted(maps.Keys(unmatched))
	if len(names) == 0 {
		names = []string{s.BaseName}
	}
	for _, name := range names {
		d.add(UnsetArg, s.Location, name, cause)
	}
}

// image checks a reference to an image.
func (d *dockerfile) image(name string, at []parser.Range) {
	if name == "" || name == "scratch" {
		return
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err == nil && slices.Contains(d.contexts, strings.TrimSuffix(reference.FamiliarString(named), ":latest")) {
		return // the name of a context, as BuildKit looks them up (dockerui, Client.NamedContext)
	}
	if !d.terms.AllowsRegistry(name) {
		d.add(DisallowedRegistry, at, name, "not one of those that the policy lists")
	}
	if !strings.Contains(name, "@sha256:") && !strings.Contains(name, "@sha512:") {
		d.add(UnpinnedImage, at, name, "no digest")
	}
	if host, _, ok := strings.Cut(name, "/"); err == nil && (!ok || !strings.ContainsAny(host, ".:") && host != "localhost") {
		d.add(UnqualifiedImage, at, name, "no registry")
	}
}

func (d *dockerfile) run(c *instructions.RunCommand, stage string) {
	at := c.Location()
	granted := d.grant(c, stage)
	if mode := instructions.GetNetwork(c); mode == instructions.NetworkHost && !granted {
		d.add(RunNetwork, at, "RUN --network="+string(mode), "sealed all the same")
	}
	if instructions.GetSecurity(c) == instructions.SecurityInsecure {
		d.add(SecurityInsecure, at, "RUN --security=insecure", "refused")
	}
	for _, dev := range instructions.GetDevices(c) {
		d.add(Device, at, dev.Name, "host devices are refused")
	}
	for _, m := range mounts(c) {
		switch m.Type {
		case instructions.MountTypeSSH:
			d.add(SSHMount, at, "RUN --mount=type=ssh", "refused")
		case instructions.MountTypeSecret:
			d.add(SecretMount, at, secretName(m), "recorded")
		case instructions.MountTypeCache:
			d.add(CacheMount, at, m.Target, "private and empty")
		}
		if _, ok := d.named(strings.ToLower(m.From), len(d.stages)); !ok {
			d.image(m.From, at)
		}
	}
}

// grant tells whether an exception gives a RUN a network, and takes note of it.
func (d *dockerfile) grant(c *instructions.RunCommand, stage string) bool {
	text := instruction(c)
	places := slices.DeleteFunc([]string{text, stage}, func(s string) bool { return s == "" })
	e, ok := d.terms.Grant(RunNetwork.Name, places...)
	if ok {
		g := Grant{Text: text, Exception: e}
		if at := c.Location(); len(at) > 0 {
			g.Line, g.End = at[0].Start.Line, at[len(at)-1].End.Line
		}
		d.grants = append(d.grants, g)
	}
	return ok
}

// mounts are those of a RUN. Upstream's parser reads most options only when it
// expands their words; where one that must not be a variable is one, all that
// is known is what the mounts are from, and the graph tells the rest.
func mounts(c *instructions.RunCommand) []*instructions.Mount {
	_ = c.Expand(func(word string) (string, error) { return word, nil })
	return instructions.GetMounts(c)
}

// secretName is how the build asks for the secret.
func secretName(m *instructions.Mount) string {
	for _, s := range []string{m.CacheID, m.Source, m.Target} {
		if s != "" {
			return s
		}
	}
	return "RUN --mount=type=secret"
}

// sources checks the remote sources of an ADD, those whose value is known.
func (d *dockerfile) sources(paths []string, checksum string, at []parser.Range) {
	for _, src := range paths {
		if strings.Contains(src, "$") || strings.Contains(checksum, "$") {
			continue
		}
		if ref, isGit, err := dfgitutil.ParseGitRef(src); isGit && err == nil && !ref.IndistinguishableFromLocal {
			if !isCommit(ref.Ref) && !isCommit(ref.Checksum) && !isCommit(checksum) {
				d.add(UnpinnedAdd, at, src, "git without a full commit")
			} else {
				d.add(UndeclaredAdd, at, src, "the cache holds files, not repositories")
			}
			continue
		}
		switch isURL := strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://"); {
		case isURL && checksum == "":
			d.add(UnpinnedAdd, at, src, "no checksum")
		case isURL:
			d.adds = append(d.adds, remoteAdd{src, checksum, at})
		}
	}
}

// undeclared finds pinned ADDs that the cache does not have.
func (d *dockerfile) undeclared(plan cache.Plan) {
	for _, a := range d.adds {
		if _, ok := Served(plan, a.url, a.checksum); !ok {
			d.add(UndeclaredAdd, a.at, a.url, "no artifact of this URL and this sum is in the cache")
		}
	}
}

// Served finds the input of a plan that stands for an ADD: an artifact with
// the same URL and the same checksum, written "sha256:…".
func Served(plan cache.Plan, url, checksum string) (cache.Input, bool) {
	for _, in := range plan.Inputs {
		if in.Ecosystem == "generic" && in.URL == url && in.Sum.String() == checksum {
			return in, true
		}
	}
	return cache.Input{}, false
}

func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// runs tells whether any RUN is there, or may be, a trigger in a base stage
// included. A Dockerfile that only copies reads no cache.
func (d *dockerfile) runs() bool {
	for i, s := range d.stages {
		if !d.mayRun(i) {
			continue
		}
		for _, c := range s.Commands {
			if _, ok := c.(*instructions.RunCommand); ok {
				return true
			}
		}
		if d.base[i] >= 0 && triggersRun(d.stages[d.base[i]]) || i < d.unsure && triggersRun(s) {
			return true
		}
	}
	return false
}

// triggersRun tells whether a stage makes those that begin with it run
// something (ONBUILD RUN).
func triggersRun(s instructions.Stage) bool {
	for _, c := range s.Commands {
		if t, ok := c.(*instructions.OnbuildCommand); ok {
			if word, _, _ := strings.Cut(t.Expression, " "); strings.EqualFold(word, "RUN") {
				return true
			}
		}
	}
	return false
}

// place draws a problem of a lockfile under the first RUN that names a program
// of its ecosystem, else under the first RUN.
func (d *dockerfile) place(p cache.Problem) Finding {
	f := Finding{Rule: kinds[p.Kind], Origin: p.Origin, Subject: p.Subject, Cause: p.Cause}
	programs := ecosystem.Commands(ecosystem.Owner(p.Origin.File))
	var first []parser.Range
	for i, s := range d.stages {
		if !d.mayRun(i) {
			continue
		}
		for _, c := range s.Commands {
			run, ok := c.(*instructions.RunCommand)
			if !ok {
				continue
			}
			if mentions(runText(run), programs) {
				return f.at(run.Location())
			}
			if first == nil {
				first = run.Location()
			}
		}
	}
	return f.at(first)
}

// at draws f under lines of the Dockerfile.
func (f Finding) at(r []parser.Range) Finding {
	if len(r) > 0 {
		f.Line, f.End = r[0].Start.Line, r[len(r)-1].End.Line
	}
	return f
}

// runText is all that a RUN hands to a shell or a program.
func runText(c *instructions.RunCommand) string {
	parts := slices.Clone(c.CmdLine)
	for _, f := range c.Files {
		parts = append(parts, f.Data)
	}
	return strings.Join(parts, " ")
}
