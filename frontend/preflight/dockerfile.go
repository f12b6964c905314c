package preflight

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// A Dockerfile is its name, as messages print it, and its bytes.
type Dockerfile struct {
	Name string
	Data []byte
}

// dockerfile is what a preflight knows of the instructions.
type dockerfile struct {
	name     string
	contexts []string // names of named contexts
	stages   []instructions.Stage
	base     []int           // the stage that a stage begins with; -1 for an image
	needed   []bool          // whether the target needs a stage
	unsure   int             // the last needed stage whose base is not known; 0 for none
	env      shell.EnvGetter // global ARGs, for FROM
	lex      *shell.Lex
	findings []Finding
}

// ParseError says that a Dockerfile is none: "file:line: cause".
type ParseError struct{ text string }

func (e *ParseError) Error() string { return e.text }

// analyse parses the Dockerfile and applies the rules that can be decided from
// its text, to the stages that the target needs. Values of variables are known
// for FROM alone; what else depends on them is decided on the graph.
func analyse(req Request) (*dockerfile, error) {
	d := &dockerfile{name: req.Dockerfile.Name, contexts: req.Contexts}
	ast, err := parser.Parse(bytes.NewReader(req.Dockerfile.Data))
	if err != nil {
		return nil, &ParseError{parseText(d.name, err)}
	}
	stages, metaArgs, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return nil, &ParseError{parseText(d.name, err)}
	}
	d.stages, d.lex = stages, shell.NewLex(ast.EscapeToken)
	d.env = globalArgs(d.lex, metaArgs, req.BuildArgs)
	d.resolve(req.Target)
	for i := range stages {
		if d.needed[i] {
			d.stage(i)
		}
	}
	return d, nil
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

// globalArgs evaluates the ARGs before the first FROM. One whose value depends
// on what is not known here, the target's platform say, is not known either.
func globalArgs(lex *shell.Lex, args []instructions.ArgCommand, given map[string]string) shell.EnvGetter {
	var env []string
	for _, a := range args {
		for _, kv := range a.Args {
			if value, ok := given[kv.Key]; ok {
				env = append(env, kv.Key+"="+value)
			} else if kv.Value != nil {
				value, unmatched, err := lex.ProcessWord(*kv.Value, shell.EnvsFromSlice(env))
				if err == nil && len(unmatched) == 0 {
					env = append(env, kv.Key+"="+value)
				}
			}
		}
	}
	return shell.EnvsFromSlice(env)
}

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
	if name, known := d.baseName(i); known && d.base[i] < 0 {
		d.image(name, s.Location)
	}
	for _, cmd := range s.Commands {
		switch c := cmd.(type) {
		case *instructions.RunCommand:
			d.run(c)
		case *instructions.AddCommand:
			d.sources(c.SourcePaths, c.Checksum, c.Location())
		case *instructions.CopyCommand:
			if _, ok := d.copied(c.From); !ok {
				d.image(c.From, c.Location())
			}
		}
	}
}

// image checks a reference to an image.
func (d *dockerfile) image(name string, at []parser.Range) {
	if name == "" || name == "scratch" || strings.Contains(name, "@sha256:") || strings.Contains(name, "@sha512:") {
		return
	}
	if named, err := reference.ParseNormalizedNamed(name); err == nil &&
		slices.Contains(d.contexts, strings.TrimSuffix(reference.FamiliarString(named), ":latest")) {
		return // the name of a context, as BuildKit looks them up (dockerui, Client.NamedContext)
	}
	d.add(UnpinnedImage, at, name, "no digest")
}

func (d *dockerfile) run(c *instructions.RunCommand) {
	at := c.Location()
	if mode := instructions.GetNetwork(c); mode == instructions.NetworkHost {
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
			}
			continue
		}
		if (strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://")) && checksum == "" {
			d.add(UnpinnedAdd, at, src, "no checksum")
		}
	}
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
