package preflight

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

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

// dockerfile is what a preflight knows of the instructions. A file that does
// not parse has none: the converter explains that better.
type dockerfile struct {
	name     string
	stages   []instructions.Stage // those that the target needs or may need
	env      shell.EnvGetter      // global ARGs, for FROM
	lex      *shell.Lex
	findings []Finding
}

// ParseError says that a Dockerfile is none: "file:line: cause".
type ParseError struct{ text string }

func (e *ParseError) Error() string { return e.text }

// analyse parses the Dockerfile and applies the rules that can be decided from
// its text. Values of variables are known for FROM alone; what else depends on
// them is decided on the graph.
func analyse(req Request) (*dockerfile, error) {
	d := &dockerfile{name: req.Dockerfile.Name}
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
	for i := range stages {
		d.stage(i)
	}
	return d, nil
}

// parseText is a parser's complaint with its place.
func parseText(name string, err error) string {
	line := 0
	for _, l := range locations(err) {
		line = l
	}
	return cache.Problem{Origin: cache.Origin{File: name, Line: line}, Cause: err.Error()}.String()
}

func locations(err error) []int {
	var le *parser.LocationError
	for e := err; e != nil; {
		if l, ok := e.(*parser.LocationError); ok {
			le = l
			break
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			break
		}
		e = u.Unwrap()
	}
	var out []int
	if le != nil {
		for _, rs := range le.Locations {
			for _, r := range rs {
				out = append(out, r.Start.Line)
			}
		}
	}
	return out
}

// globalArgs evaluates the ARGs before the first FROM.
func globalArgs(lex *shell.Lex, args []instructions.ArgCommand, given map[string]string) shell.EnvGetter {
	var env []string
	for k, v := range given {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	for _, a := range args {
		for _, kv := range a.Args {
			if _, ok := given[kv.Key]; ok || kv.Value == nil {
				continue
			}
			value, _, err := lex.ProcessWord(*kv.Value, shell.EnvsFromSlice(env))
			if err == nil {
				env = append(env, kv.Key+"="+value)
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
	d.image(s.BaseName, i, s.Location)
	for _, cmd := range s.Commands {
		switch c := cmd.(type) {
		case *instructions.RunCommand:
			d.run(c, i)
		case *instructions.AddCommand:
			d.sources(c.SourcePaths, c.Checksum, c.Location())
		case *instructions.CopyCommand:
			if c.From != "" {
				d.image(c.From, i, c.Location())
			}
		}
	}
}

// image checks a reference to an image, if it is one and its value is known.
func (d *dockerfile) image(ref string, stage int, at []parser.Range) {
	name, unmatched, err := d.lex.ProcessWord(ref, d.env)
	if err != nil || len(unmatched) > 0 || name == "" || name == "scratch" || d.isStage(name, stage) {
		return
	}
	if !strings.Contains(name, "@sha256:") && !strings.Contains(name, "@sha512:") {
		d.add(UnpinnedImage, at, name, "no digest")
	}
}

// isStage tells whether name is a stage before the i-th, by name or number.
func (d *dockerfile) isStage(name string, i int) bool {
	for n, s := range d.stages {
		if strings.EqualFold(s.Name, name) || n < i && fmt.Sprint(n) == name {
			return true
		}
	}
	return false
}

func (d *dockerfile) run(c *instructions.RunCommand, stage int) {
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
	for _, m := range instructions.GetMounts(c) {
		switch m.Type {
		case instructions.MountTypeSSH:
			d.add(SSHMount, at, "RUN --mount=type=ssh", "refused")
		case instructions.MountTypeSecret:
			d.add(SecretMount, at, secretName(m), "recorded")
		case instructions.MountTypeCache:
			d.add(CacheMount, at, m.Target, "private and empty")
		}
		if m.From != "" {
			d.image(m.From, stage, at)
		}
	}
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
		if ref, isGit, err := dfgitutil.ParseGitRef(src); isGit && err == nil {
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

// runs tells whether any RUN is there. A Dockerfile that only copies reads no
// cache.
func (d *dockerfile) runs() bool {
	for _, s := range d.stages {
		for _, c := range s.Commands {
			if _, ok := c.(*instructions.RunCommand); ok {
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
	var programs []string
	for _, t := range ecosystem.Types() {
		programs = append(programs, ecosystem.Commands(t)...)
	}
	var first []parser.Range
	for _, s := range d.stages {
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
