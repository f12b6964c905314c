package script

import (
	"slices"
	"strings"
)

// hasOption vetoes where one of these options is given.
func hasOption(names ...string) func(*arguments) bool {
	return func(a *arguments) bool {
		_, ok := a.option(names...)
		return ok
	}
}

// localOption vetoes where one of these options names something that is not on
// the network, or is not known.
func localOption(names ...string) func(*arguments) bool {
	return func(a *arguments) bool {
		return slices.ContainsFunc(a.options, func(o option) bool {
			return slices.Contains(names, o.name) && (isPath(o.value.text) || isLocalURL(o.value.text) || o.value.text == "")
		})
	}
}

// loopbackOption vetoes where an option names this host.
func loopbackOption(name string) func(*arguments) bool {
	return func(a *arguments) bool {
		o, ok := a.option(name)
		return ok && (isLoopback(o.value.text) || isLocalURL(o.value.text))
	}
}

// indexVeto vetoes where a package index is named, by options or variables, that
// is not on the network, or is not known.
func indexVeto(names ...string) func(*arguments) bool {
	return func(a *arguments) bool {
		for _, name := range names {
			v, set := a.setting(name)
			if o, ok := a.option(name); ok {
				v, set = value{o.value.text, o.value.whole}, true
			}
			if set && !isRemote(word{text: v.text, whole: v.whole}) {
				return true
			}
		}
		return false
	}
}

// gitVeto vetoes where a URL is rewritten, or where fetch and pull name no
// remote that the script has added with a URL on the network.
func gitVeto(a *arguments) bool {
	for _, o := range a.options {
		if o.name == "-c" && (strings.HasPrefix(o.value.text, "url.") || o.value.text == "") {
			return true
		}
	}
	if len(a.operands) > 3 && a.operands[0].text == "remote" && a.operands[1].text == "add" && a.r.certainly(a.c) {
		if a.r.remotes == nil {
			a.r.remotes = map[string]bool{}
		}
		a.r.remotes[a.operands[2].text] = isGitRemote(a.operands[3])
	}
	if slices.ContainsFunc(a.rest, isGitRemote) {
		return false
	}
	switch a.command {
	case "fetch", "pull":
		name := "origin"
		if len(a.rest) > 0 {
			name = a.rest[0].text
		}
		return !a.r.remotes[name]
	}
	return false
}

// isGitRemote tells whether a word is a repository on another host: a URL, or
// HOST:PATH.
func isGitRemote(w word) bool {
	if strings.Contains(w.text, "://") {
		return isRemote(w)
	}
	return strings.Contains(w.text, "@") && !notHostPath(nil, w.text)
}

// aptVeto vetoes where the sources of packages are on disk, as far as one can
// see in the script.
func aptVeto(a *arguments) bool {
	for _, o := range a.options {
		if (o.name == "-o" || o.name == "--option") && (strings.HasPrefix(o.value.text, "Dir") || o.value.text == "") {
			return true
		}
	}
	text := a.c.src.text
	return strings.Contains(text, "/etc/apt") && (strings.Contains(text, "file:") || strings.Contains(text, "copy:") || strings.Contains(text, "cdrom:"))
}

// apkVeto vetoes where a repository is a directory.
func apkVeto(a *arguments) bool {
	return localOption("-X", "--repository")(a) ||
		strings.Contains(a.c.src.text, "/etc/apk/repositories") && !strings.Contains(a.c.src.text, "://")
}

// dnfVeto vetoes where the repositories are not those of the system, and
// --add-repo of what is no repository file.
func dnfVeto(a *arguments) bool {
	for _, o := range a.options {
		v := o.value.text
		switch {
		case o.name == "--setopt" && (v == "" || strings.Contains(v, "reposdir") || strings.Contains(v, "file:")),
			o.name == "--add-repo" && !strings.HasSuffix(v, ".repo"),
			o.name == "--disablerepo" && v == "*" && !a.has("--enablerepo", "--repo", "--repoid"):
			return true
		}
	}
	return false
}

func (a *arguments) has(names ...string) bool {
	_, ok := a.option(names...)
	return ok
}

// pacmanVeto vetoes where -S is given nothing to do.
func pacmanVeto(a *arguments) bool {
	return len(a.operands) == 0 && !a.has("-y", "--refresh", "-u", "--sysupgrade")
}

// goVeto vetoes where the module proxy is on disk, off, or not known.
func goVeto(a *arguments) bool {
	v, set := a.setting("GOPROXY")
	return set && (isLocalURL(v.text) || v.text == "off" || v.text == "" && !v.whole)
}

// cargoVeto vetoes installation from a directory.
func cargoVeto(a *arguments) bool { return a.has("--path") && !a.has("--git") }

func rustupVeto(a *arguments) bool {
	o, ok := a.option("--default-toolchain")
	return ok && (!o.value.whole || o.value.text == "none")
}

// npmVeto vetoes where the registry is this host, or is not known.
func npmVeto(a *arguments) bool {
	if strings.Contains(a.c.src.text, "offline") && strings.Contains(a.c.src.text, "config set") {
		return true
	}
	return indexVeto("--registry", "NPM_CONFIG_REGISTRY", "npm_config_registry", "YARN_NPM_REGISTRY_SERVER")(a)
}

// mavenVeto vetoes where the repository on disk is named, or options come from
// elsewhere that are not known.
func mavenVeto(a *arguments) bool {
	for _, name := range []string{"MAVEN_OPTS", "MAVEN_ARGS"} {
		if v, set := a.setting(name); set && (!v.whole || strings.Contains(v.text, "-o") || strings.Contains(v.text, "maven.repo.local")) {
			return true
		}
	}
	return false
}

// noInstallPackages vetoes what R runs, unless it installs packages by name.
func noInstallPackages(a *arguments) bool {
	for _, o := range a.options {
		code := o.value.text
		if o.name != "-e" || strings.Contains(code, "NULL") || strings.Contains(code, "file:") || strings.Contains(code, "if") {
			continue
		}
		for _, f := range []string{"install.packages(", "install_github(", "install_cran(", "install_version(", "BiocManager::install("} {
			if strings.Contains(code, f) {
				a.rest = []word{{text: f, whole: true}}
				return false
			}
		}
	}
	return true
}

// isTest tells whether a program was asked a question, so that its failure is an
// answer.
func isTest(a *arguments, name string) bool {
	if len(a.operands) == 0 && a.has("--version", "-V", "-v") {
		return true
	}
	switch a.command {
	case "check", "list", "ls", "show", "info", "rev-parse", "diff", "show-ref":
		return true
	case "config":
		return name == "git" && a.has("--get")
	}
	return name == "rpm" && a.has("-q", "--query")
}
