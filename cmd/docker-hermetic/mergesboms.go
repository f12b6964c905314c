package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/sbom"
)

type mergeOptions struct {
	output string
	format string
	name   string
}

func (h *hermetoProgram) mergeSBOMsCommand() *cobra.Command {
	var o mergeOptions
	cmd := &cobra.Command{
		Use:   "merge-sboms [flags] FILE FILE...",
		Short: "Merge bills of materials, as Hermeto does",
		Long: `Merge bills of materials of fetch-deps or of Hermeto, in CycloneDX or SPDX, into
one. Those of other programs are refused: what they say would be lost.`,
		Example:               "  $ " + h.own() + " merge-sboms -o bom.json one/bom.json two/bom.json",
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return h.mergeSBOMs(o, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.output, "output", "o", "", "write to `FILE` instead of standard output")
	flags.Var(word(&o.format, "cyclonedx", "spdx"), "sbom-output-type", "format of the result: cyclonedx, spdx")
	flags.StringVar(&o.name, "sbom-name", "", "`NAME` of the result, in SPDX")
	completeWords(cmd, "sbom-output-type", "cyclonedx", "spdx")
	return cmd
}

func (h *hermetoProgram) mergeSBOMs(o mergeOptions, files []string) error {
	if len(files) == 0 {
		return usage("merge-sboms: no files", "name the bills of materials to merge")
	}
	seen := map[string]bool{}
	var lists [][]cache.Component
	var bad []error
	for _, name := range files {
		real, err := realPath(name)
		if err == nil {
			_, err = os.Stat(name)
		}
		if err != nil {
			return usage(fmt.Sprintf("%s: %v", name, bare(err)), "")
		}
		if seen[real] {
			continue
		}
		seen[real] = true
	}
	if len(seen) < 2 {
		return refused(codeInput, "merge-sboms: one file: two or more different ones are merged")
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, bare(err))
		}
		list, err := sbom.Parse(name, data)
		bad = append(bad, err)
		lists = append(lists, list)
	}
	if err := errors.Join(bad...); err != nil {
		return refused(codeFormat, err.Error())
	}
	created, err := h.created(time.Time{})
	if err != nil {
		return err
	}
	text, err := bomFormats[o.format](sbom.Merge(lists...), sbom.Options{Created: created, Name: o.name, App: h.app})
	if err != nil {
		return err
	}
	return h.putOutput(o.output, text)
}
