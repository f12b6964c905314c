package ecosystem

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/package-url/packageurl-go"
	"github.com/pelletier/go-toml/v2"

	"github.com/hermetic-build/hermetic/cache"
)

// pyComponent is the component that a Python package is; index is where it comes
// from, "" for the one that package URLs need not name.
func (p *pipPlan) pyComponent(name, version, index string) *cache.Component {
	registry := p.options.Registries["pip"]
	if index == "" {
		index = registry.URL
	}
	if strings.TrimSuffix(index, "/") == strings.TrimSuffix(registry.Public, "/") {
		index = ""
	}
	u := packageurl.NewPackageURL("pypi", "", pyName(name), version, qualifiers("repository_url", index), "")
	return p.python(name, *u)
}

// fileComponent is the component that a requirement by URL is.
func (p *pipPlan) fileComponent(l pipLine) *cache.Component {
	u := packageurl.NewPackageURL("pypi", "", pyName(l.name), "",
		qualifiers("checksum", l.sums[0].String(), "download_url", withoutLogin(l.url)), "")
	return p.python(l.name, *u)
}

// python is a component of the file that is being read.
func (p *pipPlan) python(name string, u packageurl.PackageURL) *cache.Component {
	c := library(pyName(name), u)
	if p.building {
		c.Properties = []cache.Property{{Name: cache.BuildDependency, Value: "true"}}
	}
	return c
}

// Describe implements Describer: whether the file is a wheel.
func (pip) Describe(in cache.Input, c cache.Component) cache.Component {
	if strings.HasSuffix(in.Path, ".whl") {
		c.Properties = append([]cache.Property{{Name: cache.PipBinary, Value: "true"}}, c.Properties...)
	}
	return c
}

// mainComponent is the component that the package at dir itself is. Its name is
// what its metadata say, else that of the repository and the directory; without
// either there is none.
func (p *pipPlan) mainComponent(dir string) {
	name, version := pyMetadata(p.fsys, dir)
	rev, subpath := p.options.revision(dir)
	if at := rev.path(); name == "" && at != "" {
		name = strings.Trim(pyName(strings.ReplaceAll(path.Join(path.Base(at), subpath), "/", "-")), "-.")
	}
	if name == "" {
		return
	}
	u := p.options.localPURL("pypi", pyName(name), version, dir)
	p.Components = append(p.Components, *library(name, u))
}

// Where setuptools keeps metadata. What is computed is not known.
var (
	setupCall = regexp.MustCompile(`(?s)\bsetup\s*\((.*)`)
	setupWord = map[string]*regexp.Regexp{
		"name":    regexp.MustCompile(`\bname\s*=\s*["']([A-Za-z0-9._-]+)["']`),
		"version": regexp.MustCompile(`\bversion\s*=\s*["']([A-Za-z0-9.!+_-]+)["']`),
	}
	cfgSection = regexp.MustCompile(`^\[\s*([^\]]*?)\s*\]`)
	cfgEntry   = regexp.MustCompile(`^(name|version)\s*[=:]\s*([A-Za-z0-9.!+_-]+)\s*$`)
)

// pyMetadata are name and version of the package at dir, of the first file that
// has a name: pyproject.toml, setup.py, setup.cfg.
func pyMetadata(fsys fs.FS, dir string) (name, version string) {
	for _, f := range []struct {
		file string
		read func([]byte) (name, version string)
	}{{"pyproject.toml", readPyproject}, {"setup.py", readSetupPy}, {"setup.cfg", readSetupCfg}} {
		data, cause := readLock(fsys, path.Join(dir, f.file), maxRequirements)
		if cause != "" {
			continue
		}
		if name, version = f.read(data); pipName.FindString(name) == name && name != "" {
			return name, version
		}
	}
	return "", ""
}

func readPyproject(data []byte) (name, version string) {
	var doc struct {
		Project struct{ Name, Version string }
	}
	if toml.Unmarshal(data, &doc) != nil {
		return "", ""
	}
	return doc.Project.Name, doc.Project.Version
}

func readSetupPy(data []byte) (name, version string) {
	call := setupCall.FindSubmatch(data)
	if call == nil {
		return "", ""
	}
	word := func(key string) string {
		if m := setupWord[key].FindSubmatch(call[1]); m != nil {
			return string(m[1])
		}
		return ""
	}
	return word("name"), word("version")
}

func readSetupCfg(data []byte) (name, version string) {
	section := ""
	for line := range strings.Lines(string(data)) {
		if m := cfgSection.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		m := cfgEntry.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		switch {
		case m == nil || section != "metadata":
		case m[1] == "name":
			name = m[2]
		default:
			version = m[2]
		}
	}
	return name, version
}
