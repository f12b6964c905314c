package lab

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hermetic-build/hermetic/internal/ocitar"
)

// What rustc links with, as gcc knows it: it can link and not compile C.
var (
	linkerPrograms = []string{"collect2", "lto-wrapper"}
	linkerFiles    = []string{
		"crt1.o", "Scrt1.o", "crti.o", "crtn.o", "crtbegin.o", "crtbeginS.o", "crtbeginT.o", "crtend.o", "crtendS.o",
		"libgcc.a", "libgcc_s.so", "libgcc_eh.a", "libc.so", "libc_nonshared.a", "libm.so", "libmvec.so.1", "liblto_plugin.so",
		"libdl.a", "libpthread.a", "librt.a", "libutil.a",
	}
)

// rustImage is for builds, so it leaves out the documentation.
func rustImage(repo string) (ocitar.Image, error) {
	img, err := busyboxImage()
	if err != nil {
		return img, err
	}
	sysroot, err := says(repo, "rustc", "--print", "sysroot")
	if err != nil {
		return img, err
	}
	files, err := linker(repo, filepath.Join(sysroot, "bin", "cargo"), filepath.Join(sysroot, "bin", "rustc"))
	if err != nil {
		return img, err
	}
	files = append(files, ocitar.File{Name: "usr/local/cargo", Mode: fs.ModeDir | 0o777})
	programs := []string{"bin/cargo", "bin/rustc", "bin"}
	rustLayer := ocitar.Tree(sysroot, ocitar.TreeOptions{At: "usr/local/rust", Skip: func(name string) bool {
		return name == "share" || name == "etc" || name == "libexec" || path.Dir(name) == "bin" && !slices.Contains(programs, name)
	}})
	img.Layers = append(img.Layers, ocitar.Files(files...).Uncompressed(), rustLayer.Uncompressed())
	img.Config.Env = []string{"PATH=/usr/local/rust/bin:" + defaultPath, "CARGO_HOME=/usr/local/cargo"}
	return img, nil
}

// linker is this machine's gcc as far as rustc needs it, at the same paths, with
// the libraries of all programs in it and of those given.
func linker(repo string, programs ...string) ([]ocitar.File, error) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	ld, err := exec.LookPath("ld")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	at := map[string]string{"usr/bin/cc": gcc, "usr/bin/gcc": gcc, "usr/bin/ld": ld}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"-print-prog-name=", linkerPrograms}, {"-print-file-name=", linkerFiles}} {
		for _, name := range list.names {
			found, err := says(repo, "gcc", list.flag+name)
			if err != nil {
				return nil, err
			}
			if filepath.IsAbs(found) { // gcc repeats the name of what it does not have
				at[inImage(filepath.Clean(found))] = found
			}
		}
	}
	for _, source := range at {
		programs = append(programs, source)
	}
	for _, program := range programs {
		for _, lib := range libraries(program) {
			at[inImage(lib)] = lib
		}
	}
	var files []ocitar.File
	for name, source := range at {
		if source, err = filepath.EvalSymlinks(source); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		info, err := os.Stat(source)
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		files = append(files, ocitar.File{Name: name, Mode: info.Mode().Perm(), Source: source})
	}
	files = append(files, ocitar.File{Name: "lib", Mode: fs.ModeSymlink, Target: "usr/lib"}, ocitar.File{Name: "lib64", Mode: fs.ModeSymlink, Target: "usr/lib64"})
	return files, nil
}

// inImage is the place of a file of this machine in an image in which /lib and
// /lib64 are links into /usr.
func inImage(name string) string {
	name = strings.TrimPrefix(name, "/")
	if strings.HasPrefix(name, "lib/") || strings.HasPrefix(name, "lib64/") {
		return "usr/" + name
	}
	return name
}

// library matches the path of a library in what ldd prints.
var library = regexp.MustCompile(`(?m)^\s*(?:\S+ => )?(/[^ ]+) \(0x`)

// libraries are what a program is linked with at run time, the system's alone;
// none for what is no program.
func libraries(program string) []string {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return nil // not a dynamic executable
	}
	var libs []string
	for _, m := range library.FindAllStringSubmatch(string(out), -1) {
		if strings.HasPrefix(m[1], "/lib") || strings.HasPrefix(m[1], "/usr/lib") {
			libs = append(libs, filepath.Clean(m[1]))
		}
	}
	return libs
}

// says is what a program prints in one line.
func says(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("lab: %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
