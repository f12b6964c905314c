package lab

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// searchPath is where the daemons look for programs. It names the directories
// for administrators too, which a user's PATH may lack.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// busybox is where Debian's busybox-static puts its one file.
const busybox = "/bin/busybox"

// checkMachine returns an error that names everything the lab lacks.
func (l *Lab) checkMachine() error {
	var missing, packages []string
	if runtime.GOOS != "linux" {
		return fmt.Errorf("lab: needs Linux, this is %s", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	if lookPath("runc") == "" {
		packages = append(packages, "runc")
	}
	if lookPath("unshare") == "" {
		packages = append(packages, "util-linux")
	}
	if !static(busybox) {
		packages = append(packages, "busybox-static")
	}
	missing = append(missing, packages...)
	var hints []string
	if len(packages) > 0 {
		hints = append(hints, "apt-get install -y "+strings.Join(packages, " "))
	}
	for _, tool := range []string{"buildkitd", "buildctl", "buildx", "registry"} {
		if _, err := os.Stat(l.Bin(tool)); err != nil {
			missing = append(missing, tool)
			if len(hints) == 0 || hints[len(hints)-1] != makeTools {
				hints = append(hints, makeTools)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	msg := fmt.Sprintf("lab: %s: missing: %s", l.dir, strings.Join(missing, ", "))
	if len(hints) > 0 {
		msg += ": run: " + strings.Join(hints, " && ")
	}
	return errors.New(msg)
}

const makeTools = "make tools"

// lookPath is exec.LookPath in searchPath; "" means not found.
func lookPath(name string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// static reports whether the program at path runs without a loader or libraries.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
