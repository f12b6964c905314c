// Command mkimage packs frontend binaries as the image that `# syntax=` names,
// and those of the command line tool as one that stands where Hermeto's stands:
//
//	mkimage -o dist/hermetic-frontend.oci.tar linux/amd64=bin/a linux/arm64=bin/b
//	mkimage -kind cli -o dist/hermetic-cli.oci.tar linux/amd64=bin/c
//
// The frontend's image is one static binary at /bin/hermetic-frontend and the labels by
// which BuildKit learns what the frontend can do. It depends on the bytes of the
// binaries alone, and of the policy if -policy names one: that is one layer more,
// with the file where the frontend looks for it. The digest is printed.
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/platforms"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

const usage = "usage: mkimage [-o archive] [-kind frontend|cli] [-policy file] os/arch=file..."

// options are the flags.
type options struct {
	out    string
	kind   string
	policy string
}

func main() {
	var o options
	flag.StringVar(&o.out, "o", "hermetic-frontend.oci.tar", "OCI archive to write")
	flag.StringVar(&o.kind, "kind", "frontend", "what the binaries are: frontend, or cli")
	flag.StringVar(&o.policy, "policy", "", "policy of an organisation, to become "+policy.File+" of a frontend")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(o options, args []string) error {
	if err := checkPolicy(o.policy); err != nil {
		return err
	}
	images := make([]ocitar.Image, 0, len(args))
	for _, arg := range args {
		img, err := image(o.kind, arg)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		if o.policy != "" {
			file := ocitar.File{Name: strings.TrimPrefix(policy.File, "/"), Mode: 0o644, Source: o.policy}
			img.Layers = append(img.Layers, ocitar.Files(file))
		}
		images = append(images, img)
	}
	digest, err := ocitar.Write(o.out, images...)
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// checkPolicy refuses a policy that the frontend would refuse in every build.
func checkPolicy(file string) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = policy.ParsePolicy(file, data, preflight.RuleSet())
	return err
}

// image is the image of one argument, platform=file.
func image(kind, arg string) (ocitar.Image, error) {
	platform, file, ok := strings.Cut(arg, "=")
	if !ok {
		return ocitar.Image{}, errors.New("want os/arch=file")
	}
	p, err := platforms.Parse(platform)
	if err != nil {
		return ocitar.Image{}, err
	}
	if err := checkStatic(file, p.Architecture); err != nil {
		return ocitar.Image{}, err
	}
	switch kind {
	case "frontend":
		return ocitar.Frontend(p, "bin/hermetic-frontend", file), nil
	case "cli":
		return ocitar.CLI(p, "usr/local/bin/hermetic", file, "hermeto", "cachi2"), nil
	}
	return ocitar.Image{}, fmt.Errorf("-kind %q: want frontend or cli", kind)
}

// machines are the ELF machines of the architectures that can be checked.
var machines = map[string]elf.Machine{
	"amd64":   elf.EM_X86_64,
	"arm64":   elf.EM_AARCH64,
	"ppc64le": elf.EM_PPC64,
	"s390x":   elf.EM_S390,
	"riscv64": elf.EM_RISCV,
}

// checkStatic refuses a binary that an empty root filesystem could not run.
func checkStatic(file, arch string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("read as an ELF binary: %w", err)
	}
	defer f.Close()
	if want, ok := machines[arch]; ok && f.Machine != want {
		return fmt.Errorf("built for %s, not %s", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("not a static binary: build it with CGO_ENABLED=0")
		}
	}
	return nil
}
