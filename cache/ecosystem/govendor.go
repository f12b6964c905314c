package ecosystem

import (
	"errors"
	"io/fs"
	"path"
	"strings"

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
// A replacement for all versions, "# path => path", stands at the end of the
// file. A module may be there several times; it is what its lines say together.
type vendorModule struct {
	line     int // the first
	mod      module.Version
	replace  module.Version
	explicit bool
	packages bool // whether it provides any
}

// vendorList is what a vendor directory says that it holds.
type vendorList struct {
	name      string
	workspace bool // made by "go work vendor"
	mods      []*vendorModule
	byVersion map[module.Version]*vendorModule
}

// find is the module in the list; the zero vendorModule where it is not.
func (l vendorList) find(m module.Version) vendorModule {
	if v := l.byVersion[m]; v != nil {
		return *v
	}
	return vendorModule{}
}

// vendored tells whether the go command will build from a vendor directory,
// so that nothing is needed from a cache, and checks that directory. A list
// made for a workspace does not serve a lone module, nor the reverse, and a
// module of before Go 1.14 uses it only when told to (cmd/go/internal/modload,
// setDefaultBuildMod).
func (p *goPlan) vendored(set goSet) bool {
	name := path.Join(set.dir, "vendor", "modules.txt")
	data, err := readGo(p.fsys, name, maxGoSum)
	if !set.vendors() {
		return false
	}
	if errors.Is(err, fs.ErrNotExist) {
		return p.emptyVendor(set)
	}
	if err != nil {
		p.problem(cache.BadVendor, cache.Origin{File: name}, readCause(err))
		return true
	}
	list := parseVendor(name, data)
	if list.workspace != (set.work != nil) {
		return false
	}
	p.checkRequired(list, set)
	p.checkReplaced(list, set)
	p.vendoredModules(list)
	return true
}

// emptyVendor tells whether there is a vendor directory that nothing says the
// content of: the go command would look into it and find nothing. Of a build
// context that was filtered, such directories are not seen.
func (p *goPlan) emptyVendor(set goSet) bool {
	name := path.Join(set.dir, "vendor")
	info, err := fs.Stat(p.fsys, name)
	if err != nil || !info.IsDir() || set.work != nil || len(set.mods[0].file.Require) == 0 {
		return false
	}
	p.problem(cache.BadVendor, cache.Origin{File: name}, "a vendor directory without modules.txt")
	return true
}

// vendors tells whether the go line is one for which the go command uses a
// vendor directory unasked.
func (s goSet) vendors() bool {
	if s.work != nil {
		return s.work.Go != nil // workspaces are younger than 1.14
	}
	return s.mods[0].since("1.14")
}

// parseVendor reads a modules.txt. The file is the go command's own, so lines
// of no known form are passed over, as it does (cmd/go/internal/modload,
// readVendorList).
func parseVendor(name string, data []byte) vendorList {
	list := vendorList{name: name, byVersion: map[module.Version]*vendorModule{}}
	var at *vendorModule // the module that lines belong to
	line := 0
	for text := range strings.Lines(string(data)) {
		line++
		text = strings.TrimRight(text, "\r\n")
		if rest, ok := strings.CutPrefix(text, "# "); ok {
			if f := strings.Fields(rest); len(f) >= 2 {
				at = list.module(f, line)
			}
			continue
		}
		if notes, ok := strings.CutPrefix(text, "## "); ok {
			for note := range strings.SplitSeq(notes, ";") {
				note = strings.TrimSpace(note)
				list.workspace = list.workspace || line == 1 && note == "workspace"
				if at != nil && note == "explicit" {
					at.explicit = true
				}
			}
			continue
		}
		if f := strings.Fields(text); at != nil && len(f) == 1 && module.CheckImportPath(f[0]) == nil {
			at.packages = true
		}
	}
	return list
}

// module reads the fields of "path version", "path version => replacement" or
// "path => replacement", and adds the module if it is new; nil is another form.
func (l *vendorList) module(f []string, line int) *vendorModule {
	mod := module.Version{Path: f[0]}
	switch {
	case semver.IsValid(f[1]):
		mod.Version, f = f[1], f[2:]
	case f[1] == "=>":
		f = f[1:]
	default:
		return nil
	}
	at := l.byVersion[mod]
	if at == nil {
		at = &vendorModule{line: line, mod: mod}
		l.byVersion[mod] = at
		l.mods = append(l.mods, at)
	}
	switch {
	case len(f) == 2 && f[0] == "=>":
		at.replace = module.Version{Path: f[1]}
	case len(f) == 3 && f[0] == "=>" && semver.IsValid(f[2]):
		at.replace = module.Version{Path: f[1], Version: f[2]}
	}
	return at
}

// checkRequired compares the require lines with the list, both ways, as the go
// command does before it uses a vendor directory (cmd/go/internal/modload,
// checkVendorConsistency).
func (p *goPlan) checkRequired(list vendorList, set goSet) {
	version := map[string]string{}
	for _, v := range list.mods {
		if v.mod.Version != "" {
			version[v.mod.Path] = v.mod.Version
		}
	}
	for _, m := range set.mods {
		for _, r := range m.file.Require {
			if list.find(r.Mod).explicit {
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
		if v.explicit && v.packages && !set.requires[v.mod] {
			p.problem(cache.BadVendor, cache.Origin{File: list.name, Line: v.line}, v.mod.String(), "marked explicit, and not required in "+set.name)
		}
	}
}

// checkReplaced compares the replace lines with the list, both ways.
func (p *goPlan) checkReplaced(list vendorList, set goSet) {
	seen := map[module.Version]bool{}
	for _, r := range set.replaces {
		want, got := set.replacement(r.Old), list.find(r.Old).replace
		if seen[r.Old] || got == want {
			continue
		}
		seen[r.Old] = true
		cause := "replaced, and not in " + list.name
		if got.Path != "" {
			cause = "replaced by " + want.String() + ", and in " + list.name + " by " + got.String()
		}
		p.problem(cache.BadVendor, r.origin(), r.Old.String(), cause)
	}
	for _, v := range list.mods {
		if v.replace.Path != "" && set.replacement(v.mod).Path == "" {
			p.problem(cache.BadVendor, cache.Origin{File: list.name, Line: v.line}, v.mod.String(), "replaced, and not in "+set.name)
		}
	}
}
