package ecosystem

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/hermetic-build/hermetic/cache"
)

// Source distributions of Python packages with Rust in them: what builds them
// (PEP 518's build-system.requires) names maturin or setuptools-rust, and cargo
// then wants the crates of the Cargo.lock that is in the distribution. It is known
// only once the distribution is there: whoever fetches reads it (RustArchives,
// IsRustMember, RustLocks), the manifest keeps it, and Complete plans it.

// rustBuilders are the packages that build Rust for Python.
var rustBuilders = []string{"maturin", "setuptools-rust"}

// RustArchives are those of inputs, which are resolved, that may be a source
// distribution with Rust in it. One of which a wheel is there as well is none: no
// installer builds it.
func RustArchives(inputs []cache.Input) []cache.Input {
	type version struct{ name, version string }
	wheels := map[version]bool{}
	for _, in := range inputs {
		if in.Ecosystem == "pip" && strings.HasSuffix(in.Path, ".whl") {
			wheels[version{in.Name, in.Version}] = true
		}
	}
	var out []cache.Input
	for _, in := range inputs {
		if in.Ecosystem == "pip" && in.Form == cache.Plain && isSourceArchive(in.Path) && !wheels[version{in.Name, in.Version}] {
			out = append(out, in)
		}
	}
	return out
}

func isSourceArchive(name string) bool {
	return slices.ContainsFunc([]string{".tar.gz", ".tgz", ".zip"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// IsRustMember tells which files of a source distribution RustLocks looks at.
func IsRustMember(name string) bool {
	switch path.Base(name) {
	case "pyproject.toml":
		return strings.Count(name, "/") <= 1
	case cargoLock, cargoToml:
		return true
	case "config", "config.toml":
		return path.Base(path.Dir(name)) == ".cargo"
	}
	return false
}

// A RustBuild is what cargo builds of a source distribution.
type RustBuild struct {
	// Locks are the names of its lockfiles: the outermost ones, those left out
	// whose crates the distribution brings along.
	Locks []string
	// Loose tells that there is no lockfile.
	Loose bool
	// Lacking are what lockfiles lack that a Cargo.toml asks for, each in words.
	Lacking []string
}

// RustLocks finds out how cargo builds a source distribution that has these
// members. It is zero for one that it does not build.
func RustLocks(members map[string]string) RustBuild {
	var b RustBuild
	for name, text := range members {
		if path.Base(name) == "pyproject.toml" && buildsRust(text) {
			b.Loose = true
		}
	}
	if !b.Loose {
		return b
	}
	for name := range members {
		if path.Base(name) != cargoLock {
			continue
		}
		if b.Loose = false; !hasAbove(members, name) && !isVendored(members, name) {
			b.Locks = append(b.Locks, name)
		}
	}
	slices.Sort(b.Locks)
	for _, lock := range b.Locks {
		_, all, _ := parseCargoLock(lock, []byte(members[lock]))
		for _, p := range newCargoStale(cargoMembers(members), lock, all).problems {
			b.Lacking = append(b.Lacking, fmt.Sprintf("%.200s asks for %s, which is not in its %s", p.Origin, p.Subject, cargoLock))
		}
	}
	return b
}

// cargoMembers are the files of a source distribution, as a workspace.
type cargoMembers map[string]string

func (m cargoMembers) manifest(dir string) *tomlNode {
	text, ok := m[path.Join(dir, cargoToml)]
	if !ok || len(text) > maxCargoToml {
		return nil
	}
	return readManifest([]byte(text))
}

func (m cargoMembers) glob(pattern string) []string {
	var out []string
	for name := range m {
		if dir, base := path.Split(name); base == cargoToml {
			if match, err := path.Match(pattern, path.Clean(dir)); match && err == nil {
				out = append(out, path.Clean(dir))
			}
		}
	}
	slices.Sort(out)
	return out
}

var requirementName = regexp.MustCompile(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)`)

// buildsRust reads a pyproject.toml.
func buildsRust(text string) bool {
	var project struct {
		System struct {
			Requires []string `toml:"requires"`
		} `toml:"build-system"`
	}
	if toml.Unmarshal(withoutMark([]byte(text)), &project) != nil {
		return false
	}
	return slices.ContainsFunc(project.System.Requires, func(line string) bool {
		m := requirementName.FindStringSubmatch(line)
		return m != nil && slices.Contains(rustBuilders, pyName(m[1]))
	})
}

// hasAbove tells whether a directory above that of a lockfile has one, too: cargo
// then builds a workspace, or the inner one is of something else, such as a test.
func hasAbove(members map[string]string, name string) bool {
	for dir := path.Dir(path.Dir(name)); ; dir = path.Dir(dir) {
		if _, ok := members[path.Join(dir, cargoLock)]; ok {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

// isVendored tells whether all crates of a lockfile are in directories of the
// distribution, or there are none. Of its configuration of cargo nothing else
// counts: it could send credentials of this machine anywhere.
func isVendored(members map[string]string, name string) bool {
	c := &cargoConfig{cargoTables: cargoTables{Source: map[string]cargoSource{}}}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		for _, base := range []string{"config.toml", "config"} {
			tables, _, cause := parseCargoConfig([]byte(members[path.Join(dir, ".cargo", base)]))
			for key, s := range tables.Source {
				if _, nearer := c.Source[key]; !nearer && cause == "" {
					c.Source[key] = s
				}
			}
		}
	}
	crates, _, problems := parseCargoLock(name, []byte(members[name]))
	return len(problems) == 0 && !slices.ContainsFunc(crates, func(x crate) bool {
		from, problem := c.resolve(x.source)
		return problem != "" || !from.vendored
	})
}

// DerivedType is the package type of what lockfiles inside of inputs name.
const DerivedType = "cargo"

// cargoHome is where in an output directory the configuration of cargo is, for
// builds that are not ours: Hermeto's place for it.
const cargoHome = ".cargo"

// CargoHome is the variable that leads cargo there.
var CargoHome = cache.EnvVar{Name: "CARGO_HOME", Value: "${output_dir}/" + cargoHome}

// OutputEnv are the variables that go with files of an output directory itself.
func OutputEnv(plan cache.Plan) []cache.EnvVar {
	if len(plan.Output) == 0 {
		return nil
	}
	return []cache.EnvVar{CargoHome}
}

// CargoConfig is a configuration of cargo as what RUN steps see, whose inputs are
// in outputDir.
func CargoConfig(f cache.ProjectFile, outputDir string) cache.Section {
	return cache.Section{File: cargoMount, Name: f.Path, Text: string(f.Render(outputDir)), Ecosystem: DerivedType}
}

// Complete is plan with what lockfiles inside of its inputs name, as far as m
// knows them.
func Complete(plan cache.Plan, m *cache.Manifest) cache.Plan {
	if len(m.Derived) == 0 {
		return plan
	}
	var out cache.Plan
	out.Add(plan)
	out.Add(owned(derivedCrates(RustArchives(m.Resolve(plan.Inputs)), m.Derived), DerivedType))
	out.Normalize()
	return out
}

// derivedCrates is the plan of the crates that lockfiles inside of archives name.
// What is wrong with one is said of the line that asks for its archive.
func derivedCrates(archives []cache.Input, derived []cache.Derived) cache.Plan {
	var plan cache.Plan
	var all []crate
	first := map[[3]string]crate{}
	for _, d := range derived {
		i := slices.IndexFunc(archives, func(in cache.Input) bool { return in.ID() == d.ID })
		if i < 0 {
			continue
		}
		plan.Derived = append(plan.Derived, d)
		crates, _, problems := parseCargoLock(path.Base(d.File), []byte(d.Text))
		for _, p := range problems {
			plan.Problems = append(plan.Problems, archives[i].Problem(cache.NoCrates, p.String()))
		}
		for _, c := range crates {
			c.origin = archives[i].Origin
			key := [3]string{c.name, c.version, c.source}
			was, twice := first[key]
			switch {
			case !twice:
				first[key] = c
				all = append(all, c)
			case was.sum != c.sum:
				plan.Problems = append(plan.Problems, c.problem("another sum than for "+was.origin.String()))
			}
		}
	}
	if len(all) == 0 {
		return plan
	}
	config := &cargoConfig{}
	origins := map[string]cargoOrigin{}
	for _, c := range all {
		from, problem := config.resolve(c.source)
		if problem != "" {
			plan.Problems = append(plan.Problems, c.problem(problem))
		}
		origins[c.source] = from
	}
	addCrates(&plan, all, origins)
	home, sections := config.files(origins)
	for _, f := range home {
		f.Path = cargoHome + "/config.toml"
		plan.Output = append(plan.Output, f)
	}
	plan.Sections = sections
	return plan
}
