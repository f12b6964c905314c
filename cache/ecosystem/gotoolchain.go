package ecosystem

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/hermetic-build/hermetic/cache"
)

// toolchain adds the Go distribution that the go and toolchain lines of a
// go.work, else of a go.mod, ask for (https://go.dev/doc/toolchain). It is
// optional: an image with a Go at least as new needs none, and a language
// version ("go 1.26") asks for no release in particular.
func (p *goPlan) toolchain(main goModule, work *modfile.WorkFile) {
	goLine, tcLine, name := main.file.Go, main.file.Toolchain, path.Join(main.dir, "go.mod")
	if work != nil && (work.Go != nil || work.Toolchain != nil) {
		goLine, tcLine, name = work.Go, work.Toolchain, work.Syntax.Name
	}
	version, line := "", 0
	if goLine != nil {
		version, line = "go"+goLine.Version, goLine.Syntax.Start.Line
	}
	if tcLine != nil && strings.HasPrefix(tcLine.Name, "go1.") && newerGo(tcLine.Name, version) {
		version, line = tcLine.Name, tcLine.Syntax.Start.Line
	}
	if version == "" || isLanguage(version) || !newerGo(version, "go1.20.99") {
		return // before 1.21 there were no toolchain modules
	}
	for _, platform := range p.options.Platforms {
		v := "v0.0.1-" + version + "." + goPlatform(platform)
		if module.Check(toolchainModule, v) != nil || p.lists(toolchainModule, v) {
			continue
		}
		p.Inputs = append(p.Inputs, cache.Input{
			Ecosystem: "gomod", Kind: kindZip, Name: toolchainModule, Version: v,
			Path: downloadPath(toolchainModule, v, ".zip"), Need: cache.Optional,
			Origin:    cache.Origin{File: name, Line: line},
			Component: goComponent(toolchainModule, module.Version{Path: toolchainModule, Version: v}),
		})
	}
}

// runs tells whether build steps can run a version of the toolchain module.
func (p *goPlan) runs(version string) bool {
	return slices.ContainsFunc(p.options.Platforms, func(platform string) bool {
		return strings.HasSuffix(version, "."+goPlatform(platform))
	})
}

// Env lets the go command use a toolchain that is in the cache: many images say
// GOTOOLCHAIN=local, with which a newer go line is an error. Without one in the
// cache the image's word stands, as it does with Hermeto, which has none.
func (gomod) Env(inputs []cache.Input) []cache.EnvVar {
	for _, in := range inputs {
		if in.Name == toolchainModule && in.Ecosystem == "gomod" {
			return []cache.EnvVar{{Name: "GOTOOLCHAIN", Value: "auto"}}
		}
	}
	return nil
}

// goPlatform is a platform as toolchain versions name it: "linux-arm" for
// "linux/arm/v7".
func goPlatform(platform string) string {
	words := strings.Split(platform, "/")
	return strings.Join(words[:min(2, len(words))], "-")
}

func (p *goPlan) lists(name, version string) bool {
	return slices.ContainsFunc(p.Inputs, func(in cache.Input) bool { return in.Name == name && in.Version == version })
}

// isLanguage tells whether a toolchain name is that of a language, "go1.26",
// rather than of a release.
func isLanguage(name string) bool {
	return strings.Count(name, ".") == 1 && strings.Trim(name, "go.0123456789") == ""
}

// newerGo tells whether toolchain a ("go1.26.1") is newer than b; anything is
// newer than "".
func newerGo(a, b string) bool {
	return b == "" || semver.Compare(goSemver(a), goSemver(b)) > 0
}

// goSemver makes Go versions comparable. A language version is older than all
// its releases, and these than their patches: "go1.26" is v1.26.0-0,
// "go1.26rc1" v1.26.0-rc.1.
func goSemver(name string) string {
	v := strings.TrimPrefix(name, "go")
	v, _, _ = strings.Cut(v, "-") // a vendor's suffix
	digits := strings.IndexFunc(v, func(r rune) bool { return r >= 'a' && r <= 'z' })
	patch := ""
	if strings.Count(v, ".") < 2 {
		patch = ".0"
	}
	if digits < 0 {
		if patch != "" {
			return "v" + v + patch + "-0"
		}
		return "v" + v
	}
	kind := strings.TrimRight(v[digits:], "0123456789")
	return "v" + v[:digits] + patch + "-" + kind + "." + v[digits+len(kind):]
}
