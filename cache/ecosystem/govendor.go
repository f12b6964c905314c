package ecosystem

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/hermetic-build/hermetic/cache"
)

// vendorModule is a module of vendor/modules.txt:
//
//	# golang.org/x/mod v0.41.0 => ../mod
//	## explicit; go 1.25.0
//	golang.org/x/mod/semver
//
// A replacement alone, "# path => path", stands at the end of the file.
type vendorModule struct {
	line     int
	mod      module.Version
	replace  module.Version
	explicit bool
}

// vendorList is what a vendor directory says that it holds.
type vendorList struct {
	name      string
	workspace bool // made by "go work vendor"
	mods      []vendorModule
}

// vendorWant is what it should hold.
type vendorWant struct {
	dir       string
	name      string // the go.mod or go.work
	workspace bool
	mods      []goModule
	replace   []*modfile.Replace
}

// vendored tells whether the go command will build from a vendor directory,
// so that nothing is needed from a cache, and checks that directory. A list
// made for a workspace does not serve a lone module, nor the reverse, and a
// module of before Go 1.14 uses it only when told to (cmd/go/internal/modload,
// setDefaultBuildMod).
func (p *goPlan) vendored(want vendorWant) bool {
	name := path.Join(want.dir, "vendor", "modules.txt")
	data, err := fs.ReadFile(p.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err != nil {
		p.problem(cache.BadVendor, cache.Origin{File: name}, readCause(err))
		return true
	}
	list := parseVendor(name, data)
	if list.workspace != want.workspace || !want.workspace && !vendorsExplicit(want.mods[0]) {
		return false
	}
	p.checkVendor(list, want)
	return true
}

// parseVendor reads a modules.txt. The file is the go command's own, so lines
// of no known form are left to it.
func parseVendor(name string, data []byte) vendorList {
	list := vendorList{name: name}
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		text = strings.TrimSpace(text)
		list.workspace = list.workspace || text == "## workspace"
		if rest, ok := strings.CutPrefix(text, "## "); ok {
			if n := len(list.mods); n > 0 {
				for word := range strings.SplitSeq(rest, ";") {
					list.mods[n-1].explicit = list.mods[n-1].explicit || strings.TrimSpace(word) == "explicit"
				}
			}
			continue
		}
		rest, ok := strings.CutPrefix(text, "# ")
		if !ok {
			continue
		}
		old, repl, _ := strings.Cut(rest, "=>")
		if mod := pathVersion(old); mod.Path != "" {
			list.mods = append(list.mods, vendorModule{line: line, mod: mod, replace: pathVersion(repl)})
		}
	}
	return list
}

// pathVersion reads "path" or "path version".
func pathVersion(s string) module.Version {
	switch f := strings.Fields(s); len(f) {
	case 1:
		return module.Version{Path: f[0]}
	case 2:
		return module.Version{Path: f[0], Version: f[1]}
	}
	return module.Version{}
}

// checkVendor compares the list with go.mod or go.work, as the go command does
// before it uses a vendor directory (cmd/go/internal/modload,
// checkVendorConsistency).
func (p *goPlan) checkVendor(list vendorList, want vendorWant) {
	explicit := map[module.Version]bool{}
	version := map[string]string{}
	for _, v := range list.mods {
		explicit[v.mod] = explicit[v.mod] || v.explicit
		if v.mod.Version != "" {
			version[v.mod.Path] = v.mod.Version
		}
	}
	required := map[module.Version]bool{}
	for _, m := range want.mods {
		for _, r := range m.file.Require {
			required[r.Mod] = true
			if explicit[r.Mod] || want.workspace {
				continue
			}
			cause := "required, and not in " + list.name
			if v := version[r.Mod.Path]; v == r.Mod.Version {
				cause = "not marked explicit in " + list.name
			} else if v != "" {
				cause = "required, and " + list.name + " has " + v
			}
			p.problem(cache.BadVendor, cache.Origin{File: path.Join(m.dir, "go.mod"), Line: r.Syntax.Start.Line}, r.Mod.String(), cause)
		}
	}
	for _, v := range list.mods {
		if v.explicit && !required[v.mod] {
			p.problem(cache.BadVendor, cache.Origin{File: list.name, Line: v.line}, v.mod.String(), "marked explicit, and not required in "+want.name)
		}
	}
	p.checkReplaced(list, want)
}

// vendorsExplicit tells whether the go line is one for which the go command
// uses a vendor directory unasked: 1.14.
func vendorsExplicit(m goModule) bool {
	return m.file.Go != nil && semver.Compare("v"+m.file.Go.Version, "v1.14") >= 0
}

// checkReplaced compares the replace lines with the list, both ways.
func (p *goPlan) checkReplaced(list vendorList, want vendorWant) {
	have := map[module.Version]module.Version{}
	for _, v := range list.mods {
		if v.replace.Path != "" {
			have[v.mod] = v.replace
		}
	}
	wanted := map[string]bool{}
	for _, m := range want.mods {
		for _, r := range m.file.Replace {
			wanted[r.Old.Path] = true
		}
	}
	for _, r := range want.replace {
		wanted[r.Old.Path] = true
		got, ok := have[r.Old]
		if ok && got == r.New {
			continue
		}
		cause := "replaced, and not in " + list.name
		if ok {
			cause = "replaced by " + r.New.String() + ", and in " + list.name + " by " + got.String()
		}
		p.problem(cache.BadVendor, cache.Origin{File: want.name, Line: r.Syntax.Start.Line}, r.Old.String(), cause)
	}
	for _, v := range list.mods {
		if v.replace.Path != "" && !wanted[v.mod.Path] {
			p.problem(cache.BadVendor, cache.Origin{File: list.name, Line: v.line}, v.mod.String(), "replaced, and not in "+want.name)
		}
	}
}
