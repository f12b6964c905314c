package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
)

// configOptions are what the commands that read an output directory share.
type configOptions struct {
	forDir string // what ${output_dir} is; "" for the directory itself
	output string // "" for standard output
}

// openOutput reads the .build-config.json of an output directory; the path is
// what ${output_dir} stands for.
func (o configOptions) openOutput(dir string) (data []byte, at string, err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, "", usage(fmt.Sprintf("%s: not a directory", dir), "")
	}
	name := filepath.Join(dir, configFile)
	data, err = os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", refused(codeInput, name+": no such file", "name a directory that fetch-deps has filled")
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", name, bare(err))
	}
	at = o.forDir
	if at == "" {
		at, err = realPath(dir)
	}
	return data, at, err
}

func (h *hermetoProgram) generateEnvCommand() *cobra.Command {
	var o configOptions
	var format string
	cmd := &cobra.Command{
		Use:   "generate-env [flags] DIR",
		Short: "Write the environment of fetched dependencies, as Hermeto does",
		Long: `Write the variables that a build needs to use the dependencies in DIR, an output
directory of fetch-deps or of Hermeto: as JSON, or as lines for a shell.`,
		Example:               "  $ " + h.own() + " generate-env ./" + h.app + "-output -o ./" + h.app + ".env --for-output-dir /cachi2/output",
		Args:                  exactly(1, "DIR"),
		ValidArgsFunction:     onlyDirectories,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return h.generateEnv(o, format, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.forDir, "for-output-dir", "", "the `DIR` where the build will see the dependencies (default: where they are)")
	flags.StringVarP(&o.output, "output", "o", "", "write to `FILE` instead of standard output")
	flags.VarP(&oneOf{&format, []string{"json", "env", "sh"}}, "format", "f", "json, or env, alias sh (default: what the name of FILE ends with, else json)")
	completeWords(cmd, "format", "json", "env")
	return cmd
}

func (h *hermetoProgram) generateEnv(o configOptions, format, dir string) error {
	data, at, err := o.openOutput(dir)
	if err != nil {
		return err
	}
	if format == "" && o.output != "" {
		format = strings.TrimPrefix(filepath.Ext(o.output), ".")
		if format == "" {
			format = strings.TrimPrefix(filepath.Base(o.output), ".")
		}
	}
	var write func([]cache.EnvVar) ([]byte, error)
	switch format {
	case "", "json":
		write = func(env []cache.EnvVar) ([]byte, error) { return json.Marshal(env) }
	case "env", "sh":
		write = func(env []cache.EnvVar) ([]byte, error) { return cache.EnvFile(env), nil }
	default:
		return refused(codeUnsupported, fmt.Sprintf("--output %s: does not end with json, env or sh", o.output), "say --format json or --format env")
	}
	env, _, err := cache.ParseBuildConfig(filepath.Join(dir, configFile), data)
	if err != nil {
		return err
	}
	text, err := write(cache.ResolveEnv(env, at))
	if err != nil {
		return err
	}
	return h.putOutput(o.output, append([]byte(strings.TrimSuffix(string(text), "\n")), '\n'))
}

// putOutput writes the file of --output, or standard output where there is none.
func (p *program) putOutput(name string, data []byte) error {
	if name == "" {
		_, err := p.stdout.Write(data)
		return err
	}
	if err := putFile(name, data); err != nil {
		return fmt.Errorf("--output %s: %w", name, bare(err))
	}
	return nil
}

// putFile writes a file in one step.
func putFile(name string, data []byte) error {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(name, data, 0o644) // a device, say
	}
	return replaceFile(name, data, 0o644)
}

// replaceFile makes a file by one rename: who looks sees the old one or the new.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".hermetic-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
