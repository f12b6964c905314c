package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/cache/fetch"
)

// The exit codes of Hermeto (its hermeto/core/errors.py), which the commands of
// its name have. Ours of the same meaning are those of tui.go.
const (
	codeBase        = 1
	codeUsage       = 2
	codeOutside     = 3
	codeInput       = 4
	codeRejected    = 5
	codeNoGit       = 6
	codeFormat      = 7
	codeUnsupported = 8
	codeChecksum    = 10
	codeNoChecksum  = 12
	codeNoLockfile  = 13
	codeLockfile    = 14
	codeFetch       = 15
	codeManager     = 16
	codeGit         = 17
	codeNoOrigin    = 18
	codeCrates      = 20
	codeUnpinned    = 23
)

// hermetoNames are the programs that this one stands in for when it is called
// by their name.
var hermetoNames = []string{"hermeto", "cachi2"}

// A hermetoProgram is the commands of Hermeto: under its own name, or beside
// ours.
type hermetoProgram struct {
	*program
	mode       string
	logLevel   string
	configFile string
	standsIn   bool // whether the program was called by that name
	color      bool
	noColor    bool
}

// hermetoApp is the program of that name in args, "" for none.
func hermetoApp(args []string) string {
	if len(args) == 0 {
		return ""
	}
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if slices.Contains(hermetoNames, name) {
		return name
	}
	return ""
}

// hermetoCommand is the tree of commands of a program called app.
func (p *program) hermetoCommand(app string) *cobra.Command {
	p.app = app // what files and variables are named after, too
	h := &hermetoProgram{program: p, standsIn: true}
	root := &cobra.Command{
		Use:           app,
		Short:         "Fetch what a build needs (hermetic in the place of " + app + ")",
		Version:       ownVersion(),
		Example:       "  $ " + app + " fetch-deps gomod\n  $ " + app + " generate-env ./" + app + "-output -o ./" + app + ".env",
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			if err := cmd.Help(); err != nil {
				return err
			}
			return exited(codeUsage)
		},
	}
	p.dress(root)
	h.register(root.PersistentFlags())
	root.AddCommand(h.commands()...)
	root.AddCommand(h.listBackendsCommand(), h.configCommand())
	return root
}

// commands are those that do Hermeto's work.
func (h *hermetoProgram) commands() []*cobra.Command {
	list := []*cobra.Command{h.fetchDepsCommand(), h.generateEnvCommand(), h.injectFilesCommand(), h.mergeSBOMsCommand()}
	for _, cmd := range list {
		if !h.standsIn {
			h.register(cmd.Flags())
		}
	}
	return list
}

// register adds the flags that every command takes, before its name or after.
func (h *hermetoProgram) register(flags *pflag.FlagSet) {
	if h.mode == "" {
		h.mode, h.logLevel = "strict", "info"
	}
	flags.StringVar(&h.configFile, "config-file", h.configFile, "read the configuration from `FILE`")
	flags.Var(&oneOf{&h.logLevel, []string{"debug", "info", "warning", "error", "critical"}}, "log-level", "accepted; how much is said does not change")
	flags.Var(&oneOf{&h.mode, []string{"strict", "permissive"}}, "mode", "permissive: a vendor directory may be inconsistent, and CONTEXT outside of git")
	flags.BoolVar(&h.color, "color", false, "accepted; messages have no color")
	flags.BoolVar(&h.noColor, "no-color", false, "accepted; messages have no color")
	for _, name := range []string{"color", "no-color", "log-level"} {
		flags.Lookup(name).Hidden = true
	}
}

// refused is an error of one of Hermeto's kinds.
func refused(code int, text string, hints ...string) error {
	return &fault{code: code, text: text, hints: hints}
}

// listed is an error that consists of problems, a line each. Of several kinds of
// them, the first that is printed decides the exit code.
func listed(problems []cache.Problem, text string) error {
	f := &fault{code: codeBase, text: text, hints: ecosystem.Remedies(problems)}
	var lines strings.Builder
	for i, p := range problems {
		if i == 0 {
			f.code = problemCode(p)
		}
		fmt.Fprintln(&lines, p)
	}
	f.lines = lines.String()
	return f
}

// managed are the package types for which Hermeto runs the package manager
// itself: whatever that finds wrong has one code.
var managed = []string{"cargo", "gomod"}

// problemCode is what Hermeto exits with for a problem.
func problemCode(p cache.Problem) int {
	own := slices.Contains(managed, ecosystem.Owner(p.Origin.File))
	switch p.Kind {
	case cache.NoLock:
		return codeNoLockfile
	case cache.NoSum:
		return codeNoChecksum
	case cache.Unpinned:
		return codeUnpinned
	case cache.Unsupported:
		return codeUnsupported
	case cache.Outside:
		return codeOutside
	case cache.BadVendor, cache.Uncovered:
		return codeRejected
	case cache.NoCrates, cache.Behind:
		return codeCrates
	}
	switch {
	case own:
		return codeManager
	case p.Kind == cache.Corrupt:
		return codeChecksum
	case p.Kind == cache.Missing:
		return codeFetch
	case ecosystem.Owner(p.Origin.File) == "pip":
		return codeFormat
	}
	return codeLockfile
}

// hermetoFault gives an error of ours the code that Hermeto has for it.
func hermetoFault(err error) error {
	e, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		return err
	}
	f := listed(e.Problems, count(len(e.Problems), "problem", "problems")+"; nothing was written").(*fault)
	f.hints = append(f.hints, e.Hints...)
	return f
}

func (h *hermetoProgram) listBackendsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list-backends", Short: "List the package types", Args: noArguments,
		DisableFlagsInUseLine: true,
		Example:               "  $ " + h.app + " list-backends\n  Supported: " + strings.Join(ecosystem.Types(), ", "),
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(h.stdout, "Supported: "+strings.Join(ecosystem.Types(), ", "))
			return nil
		},
	}
}
