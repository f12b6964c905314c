package preflight

import (
	"maps"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/script"
)

// surroundings are what a RUN of a stage runs in, as far as it is known.
type surroundings struct {
	shell []string
	env   map[string]string
}

// commands finds RUN commands that certainly need a network and that no
// package in effect covers, and those that read the cache's environment file.
func (d *dockerfile) commands(req Request, plan cache.Plan) []Finding {
	file := script.NewFile(d.data, d.escape)
	ends := make([]surroundings, len(d.stages)) // of stages that others begin with
	covered := func(kind string) bool {
		return req.Deps.Tree() || slices.ContainsFunc(plan.Packages, func(p cache.Package) bool { return p.Type == kind })
	}
	var out []Finding
	for i, s := range d.stages {
		now := surroundings{env: map[string]string{}}
		if base := d.base[i]; base >= 0 {
			now.shell, now.env = ends[base].shell, maps.Clone(ends[base].env)
		}
		for _, cmd := range s.Commands {
			run, ok := cmd.(*instructions.RunCommand)
			if !ok {
				d.advance(&now, cmd, req.BuildArgs)
				continue
			}
			if !d.needed[i] {
				continue
			}
			r := file.Run(run, script.Settings{Shell: now.shell, Env: now.env})
			for _, e := range r.EnvFiles() {
				out = append(out, d.command(SourcedEnvFile, run, e.Line).about(e.Path, e.Cause))
			}
			if slices.ContainsFunc(d.grants, func(g Grant) bool { return covers(run.Location(), g.Line) }) {
				continue
			}
			for _, f := range r.Fetches(covered) {
				out = append(out, d.command(NetworkCommand, run, f.Line).about(f.Command, f.Cause))
			}
		}
		ends[i] = now
	}
	return out
}

// command is a finding on one line of a RUN.
func (d *dockerfile) command(rule *Rule, run *instructions.RunCommand, line int) Finding {
	f := Finding{Rule: rule, Origin: cache.Origin{File: d.name, Line: line}, Line: line, End: line}
	if !covers(run.Location(), line) {
		f = f.at(run.Location())
		f.Origin.Line = f.Line
	}
	return f
}

func (f Finding) about(subject, cause string) Finding {
	f.Subject, f.Cause = subject, cause
	return f
}

// advance is what an instruction changes in what later RUNs run in. A variable
// whose value is not known is not there.
func (d *dockerfile) advance(now *surroundings, cmd instructions.Command, given map[string]string) {
	set := func(name, word string) {
		value, unmatched, err := d.lex.ProcessWord(word, envOf(now.env))
		if delete(now.env, name); err == nil && len(unmatched) == 0 {
			now.env[name] = value
		}
	}
	switch c := cmd.(type) {
	case *instructions.ShellCommand:
		now.shell = c.Shell
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			set(kv.Key, kv.Value)
		}
	case *instructions.ArgCommand:
		for _, kv := range c.Args {
			value, ok := given[kv.Key]
			global, known := d.env.Get(kv.Key)
			switch {
			case ok:
				now.env[kv.Key] = value
			case kv.Value != nil:
				set(kv.Key, *kv.Value)
			case known:
				now.env[kv.Key] = global
			default:
				delete(now.env, kv.Key)
			}
		}
	}
}

func envOf(env map[string]string) shell.EnvGetter {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return shell.EnvsFromSlice(list)
}
