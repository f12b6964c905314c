package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/docker/cli/cli-plugins/plugin"
	"github.com/spf13/cobra"
)

// version is what "make release" stamps; else the module's own is shown.
var version = ""

// streams are the standard streams.
type streams struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// A program is one run of hermetic.
type program struct {
	env            map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
	// docker is the command line that reaches the docker CLI: its name and, as
	// a plugin, the global flags that it was given.
	docker []string
	// app is whose names bills of materials have: that of Hermeto's program.
	app string
}

// run is the whole program. It touches nothing of the process but its working
// directory, except as a docker plugin, where docker's library reads os.Args
// and the environment itself.
func run(ctx context.Context, args, env []string, std streams) int {
	p := &program{
		env: map[string]string{}, stdin: std.stdin, stdout: std.stdout, stderr: std.stderr,
		docker: []string{"docker"}, app: hermetoNames[0],
	}
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			p.env[name] = value
		}
	}
	root := p.command()
	if app := hermetoApp(args); app != "" {
		root = p.hermetoCommand(app)
	}
	var err error
	if plugin.RunningStandalone() {
		addCompletion(root)
		root.SetArgs(args[1:])
		err = root.ExecuteContext(ctx)
	} else {
		err = p.runPlugin(ctx, root, args)
	}
	if _, done := err.(exited); err != nil && ctx.Err() != nil && !done {
		err = context.Cause(ctx)
	}
	return p.report(err)
}

const rootLong = `hermetic builds Docker images without a network. It fetches what the lockfiles
of a build name, checks every byte against them, and starts the build with every
RUN step cut off; what is missing is said before the first of them runs.`

const rootExample = `  $ hermetic build -t app .
  go.sum:4: example.com/greet@v1.2.0: 404 Not Found
  hermetic: 1 problem; no deps context was made`

// command is the tree of commands.
func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:              "hermetic",
		Short:            "Build images without a network",
		Long:             rootLong,
		Example:          rootExample,
		Version:          ownVersion(),
		Args:             cobra.ArbitraryArgs,
		SilenceErrors:    true,
		SilenceUsage:     true,
		TraverseChildren: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	p.dress(root)
	root.AddCommand(p.prefetchCommand(), p.checkCommand(), p.buildCommand(), p.versionCommand())
	root.AddCommand((&hermetoProgram{program: p}).commands()...)
	return root
}

// dress gives a tree of commands its streams and its voice.
func (p *program) dress(root *cobra.Command) {
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(helpTemplate)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
}

// addCompletion adds cobra's completion command. A plugin has docker's instead.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Example = "  $ source <(hermetic completion bash)"
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = root.RunE
	}
}

// helpTemplate is cobra's, with the example at the end, where the eye is left.
const helpTemplate = `{{or .Long .Short}}

Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{.UseLine}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasExample}}

Example:
{{.Example}}{{end}}
`

func unknownCommand(cmd *cobra.Command, name string) error {
	hint := fmt.Sprintf("run %q for the commands there are", cmd.CommandPath()+" --help")
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(name); len(like) > 0 {
		hint = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+like[0])
	}
	return usage(fmt.Sprintf("%s: no such command", name), hint)
}

// flagError is a flag that a command does not take, or that lacks its value.
func flagError(cmd *cobra.Command, err error) error {
	return usage(err.Error(), fmt.Sprintf("run %q for the flags there are", cmd.CommandPath()+" --help"))
}

// oneContext is the arguments of a command that takes one CONTEXT or none.
func oneContext(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(fmt.Sprintf("%s: %d arguments where one CONTEXT is expected", cmd.Name(), len(args)),
			fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
	}
	return nil
}

// argument is the CONTEXT that oneContext let through.
func argument(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// onlyDirectories completes CONTEXT.
func onlyDirectories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeWords completes a flag that takes one of a few words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // a flag that the command does not have
	}
}

// oneOf is the value of a flag that takes one of a few words.
type oneOf struct {
	value *string
	words []string
}

// word is a flag's value that is one of a few words, the first by default.
func word(value *string, words ...string) *oneOf {
	*value = words[0]
	return &oneOf{value, words}
}

func (o *oneOf) String() string { return *o.value }
func (o *oneOf) Type() string   { return "string" }

// Set implements pflag.Value.
func (o *oneOf) Set(s string) error {
	if !slices.Contains(o.words, s) {
		return fmt.Errorf("want one of %s", strings.Join(o.words, ", "))
	}
	*o.value = s
	return nil
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		Short:                 "Show the versions of hermetic, Go and BuildKit",
		Args:                  noArguments,
		ValidArgsFunction:     cobra.NoFileCompletions,
		DisableFlagsInUseLine: true,
		Example:               "  $ hermetic version\n  hermetic v1.0.0 go1.26.8 linux/amd64 buildkit v0.34.2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(p.stdout, "hermetic %s %s %s/%s buildkit %s\n",
				ownVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH, moduleVersion("github.com/moby/buildkit"))
			return nil
		},
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Sprintf("%s: takes no arguments", cmd.Name()), "")
	}
	return nil
}

// ownVersion is the stamped version, else what the Go command knows.
func ownVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// moduleVersion is the version of a module that this program is built with.
func moduleVersion(name string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == name {
			if m.Replace != nil {
				m = m.Replace
			}
			return m.Version
		}
	}
	return "unknown"
}
