package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
)

func (h *hermetoProgram) injectFilesCommand() *cobra.Command {
	var o configOptions
	cmd := &cobra.Command{
		Use:   "inject-files [flags] DIR",
		Short: "Write the project files of fetched dependencies, as Hermeto does",
		Long: `Write the files that a build needs changed, such as .cargo/config.toml, to where
they were when the dependencies in DIR were fetched, over what is there.`,
		Example:               "  $ " + h.own() + " inject-files ./" + h.app + "-output --for-output-dir /cachi2/output",
		Args:                  exactly(1, "DIR"),
		ValidArgsFunction:     onlyDirectories,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return h.injectFiles(o, args[0])
		},
	}
	cmd.Flags().StringVar(&o.forDir, "for-output-dir", "", "the `DIR` where the build will see the dependencies (default: where they are)")
	return cmd
}

func (h *hermetoProgram) injectFiles(o configOptions, dir string) error {
	data, at, err := o.openOutput(dir)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, configFile)
	_, files, err := cache.ParseBuildConfig(name, data)
	if err != nil {
		return err
	}
	if info, err := os.Stat(filepath.Join(dir, "deps", "rpm")); err == nil && info.IsDir() {
		return refused(codeUnsupported, fmt.Sprintf("%s: has RPMs, whose repositories are not made here", filepath.Join(dir, "deps", "rpm")),
			"run Hermeto's own inject-files on it")
	}
	for _, f := range files {
		if err := inject(f.Path, f.Render(at)); err != nil {
			return fmt.Errorf("%s: %w", f.Path, bare(err))
		}
		h.say("wrote %s", f.Path)
	}
	return nil
}

// inject writes a project file with the mode of the one that is there.
func inject(name string, text []byte) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	} else if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return replaceFile(name, text, mode)
}
