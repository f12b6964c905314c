// Command mkimage packs frontend binaries as the image that `# syntax=` names:
//
//	mkimage -o dist/hermetic-frontend.oci.tar linux/amd64=bin/a linux/arm64=bin/b
//
// The image is one static binary at /bin/hermetic-frontend and the labels by
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
	"path"
	"strings"

	"github.com/containerd/platforms"

	"github.com/hermetic-build/hermetic/frontend/policy"
	"github.com/hermetic-build/hermetic/frontend/preflight"
	"github.com/hermetic-build/hermetic/internal/ocitar"
)

const usage = "usage: mkimage [-o archive] [-name binary] [-policy file] os/arch=file..."

func main() {
	out := flag.String("o", "hermetic-frontend.oci.tar", "OCI archive to write")
	name := flag.String("name", "hermetic-frontend", "name of the binary, in /bin of the image")
	policyFile := flag.String("policy", "", "policy of an organisation, to become "+policy.File)
	flag.Usage = func() { fmt.Fprintln(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out, *name, *policyFile, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(out, name, policyFile string, args []string) error {
	if err := checkPolicy(policyFile); err != nil {
		return err
	}
	images := make([]ocitar.Image, 0, len(args))
	for _, arg := range args {
		img, err := image(name, arg)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		if policyFile != "" {
			file := ocitar.File{Name: strings.TrimPrefix(policy.File, "/"), Mode: 0o644, Source: policyFile}
			img.Layers = append(img.Layers, ocitar.Files(file))
		}
		images = append(images, img)
	}
	digest, err := ocitar.Write(out, images...)
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
func image(name, arg string) (ocitar.Image, error) {
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
	return ocitar.Frontend(p, path.Join("bin", name), file), nil
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
