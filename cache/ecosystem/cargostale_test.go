package ecosystem

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// A staleEdit replaces some text of a file, or makes one.
type staleEdit struct {
	name           string
	file, old, new string
	problems       []string // for which cargo cannot build
	warnings       []string // for which cargo --locked does not
}

// staleEdits are what a workspace becomes while its lockfile stays, and what is
// said of that.
var staleEdits = []staleEdit{
	{name: "nothing"},
	{name: "another range that fits", file: "Cargo.toml", old: `plain = "1.0"`, new: `plain = "^1.0.1, <1.9"`},
	{name: "other features", file: "Cargo.toml", old: `plain = "1.0"`, new: `plain = { version = "1", default-features = false }`},
	{name: "an excluded package", file: "other/Cargo.toml", old: `nowhere = "1"`, new: `elsewhere = "1"`},
	{name: "a package that is no member", file: "crates/apart/Cargo.toml", old: `nowhere = "1"`, new: `elsewhere = "1"`},
	{
		name: "a crate", file: "Cargo.toml", old: `plain = "1.0"`, new: "plain = \"1.0\"\nadded = \"1\"",
		problems: []string{"Cargo.toml:19: added@1: not in Cargo.lock"},
	},
	{
		name: "a renamed crate, of tests, of one platform", file: "Cargo.toml", old: `windows = "0.3"`,
		new:      "windows = \"0.3\"\n[target.x86_64-unknown-none.dev-dependencies.mine]\npackage = \"added\"\nversion = \"1\"",
		problems: []string{"Cargo.toml:34: added@1: not in Cargo.lock"},
	},
	{
		name: "a crate of a member", file: "near/Cargo.toml", old: "[dependencies]", new: "[dependencies]\nadded = { version = \"1\", optional = true }",
		problems: []string{"near/Cargo.toml:7: added@1: not in Cargo.lock"},
	},
	{
		name: "an inherited crate", file: "Cargo.toml", old: `shared = { version = "1"`, new: "shared = { package = \"added\", version = \"1\"",
		problems: []string{"crates/one/Cargo.toml:8: added@1: not in Cargo.lock"},
		warnings: []string{"crates/one/Cargo.toml:1: one: Cargo.lock has shared for it, which it no longer asks for"},
	},
	{
		name: "a repository", file: "Cargo.toml", old: `plain = "1.0"`, new: "plain = \"1.0\"\nadded = { git = \"https://example.com/added\", tag = \"v1\" }",
		problems: []string{"Cargo.toml:19: added@tag=v1: not in Cargo.lock"},
	},
	{
		name: "another version", file: "Cargo.toml", old: `"=1.0.0"`, new: `"1.1"`,
		warnings: []string{"Cargo.toml:27: testing@1.1: Cargo.lock has 1.0.0"},
	},
	{
		name: "another version of an inherited one", file: "Cargo.toml", old: `shared = { version = "1"`, new: `shared = { version = "2.0"`,
		warnings: []string{"crates/one/Cargo.toml:8: shared@2.0: Cargo.lock has 1.0.0"},
	},
	{
		name: "a version that another member has", file: "Cargo.toml", old: `plain = "1.0"`, new: `plain = "2"`,
		warnings: []string{"Cargo.toml:18: plain@2: Cargo.lock has 1.0.5"},
	},
	{
		name: "a crate that another member has", file: "near/Cargo.toml", old: "[dependencies]", new: "[dependencies]\nplain = \"1\"",
		warnings: []string{"near/Cargo.toml:7: plain@1: Cargo.lock does not have it for near"},
	},
	{
		name: "another commit", file: "Cargo.toml", old: `rev = "v1"`, new: `rev = "v2"`,
		warnings: []string{"Cargo.toml:23: repo@rev=v2: Cargo.lock has 1.0.0 of git+https://example.com/repo?rev=v1#0123456789012345678901234567890123456789"},
	},
	{
		name: "the version of the package", file: "Cargo.toml", old: `version = "0.1.0"`, new: `version = "0.2.0"`,
		warnings: []string{"Cargo.toml:1: app@0.2.0: Cargo.lock has 0.1.0"},
	},
	{
		name: "the version of the workspace", file: "Cargo.toml", old: `version = "2.0.0"`, new: `version = "2.0.1"`,
		warnings: []string{"crates/one/Cargo.toml:1: one@2.0.1: Cargo.lock has 2.0.0"},
	},
	{
		name: "one crate less", file: "Cargo.toml", old: `built = "*"`, new: "",
		warnings: []string{"Cargo.toml:1: app: Cargo.lock has built for it, which it no longer asks for"},
	},
	{
		name: "a new member", file: "crates/new/Cargo.toml", new: "[package]\nname = \"new\"\nversion = \"1.0.0\"\n[lib]\npath = \"../one/src/lib.rs\"\n[dependencies]\nplain = \"1\"\n",
		warnings: []string{"crates/new/Cargo.toml:1: new: not in Cargo.lock"},
	},
	{
		name: "a new member with a new crate", file: "crates/new/Cargo.toml", new: "[package]\nname = \"new\"\n[lib]\npath = \"../one/src/lib.rs\"\n[dependencies]\nadded = \"1\"\n",
		problems: []string{"crates/new/Cargo.toml:6: added@1: not in Cargo.lock"},
		warnings: []string{"crates/new/Cargo.toml:1: new: not in Cargo.lock"},
	},
	{
		name: "a package by path", file: "near/Cargo.toml", old: "[dependencies]", new: "[dependencies]\nother = { path = \"../other\" }",
		warnings: []string{"near/Cargo.toml:7: other: not in Cargo.lock"},
	},
}

// files are the workspace base after an edit.
func (e *staleEdit) files(t *testing.T, base fstest.MapFS) fstest.MapFS {
	t.Helper()
	files := maps.Clone(base)
	if e.file == "" {
		return files
	}
	was := ""
	if f := base[e.file]; f != nil {
		was = string(f.Data)
	}
	if !strings.Contains(was, e.old) {
		t.Fatalf("%s has no %q", e.file, e.old)
	}
	files[e.file] = &fstest.MapFile{Data: []byte(strings.Replace(was, e.old, e.new, 1))}
	return files
}

func TestStaleCargoLock(t *testing.T) {
	base := archives(t, "cargo-stale.txtar")[0].fsys
	for _, e := range staleEdits {
		t.Run(e.name, func(t *testing.T) {
			plan := New(e.files(t, base), []cache.Package{{Type: "cargo", Path: "."}}, Options{})
			for _, list := range []struct {
				of        string
				want      []string
				got       []cache.Problem
				wantKinds cache.ProblemKind
			}{
				{"problems", e.problems, plan.Problems, cache.NoCrates},
				{"warnings", e.warnings, plan.Warnings, cache.Behind},
			} {
				var got []string
				for _, p := range list.got {
					if p.Kind != list.wantKinds {
						t.Errorf("%s: kind %d", p, p.Kind)
					}
					got = append(got, strings.TrimSuffix(p.String(), lockAnew))
				}
				if diff := cmp.Diff(list.want, got); diff != "" {
					t.Errorf("%s: %s", list.of, diff)
				}
			}
		})
	}
}

// TestStaleAsCargo: what is said of a lockfile is what cargo does with it.
func TestStaleAsCargo(t *testing.T) {
	base := archives(t, "cargo-stale.txtar")[0].fsys
	home := t.TempDir()
	cargo := &cargoCommand{home: home}
	cargo.vendor(t, "plain 1.0.5", "plain 2.0.0", "optional 1.0.0", "renamed 1.2.3", "testing 1.0.0", "built 0.5.0", "windows 0.3.7", "shared 1.0.0", "repo 1.0.0")
	source := cargo.builtIn(t)
	for _, e := range staleEdits {
		t.Run(e.name, func(t *testing.T) {
			files := e.files(t, base)
			files[cargoLock] = &fstest.MapFile{Data: bytes.ReplaceAll(files[cargoLock].Data, []byte("registry+https://example.com/index"), []byte(source))}
			dir := t.TempDir()
			if err := os.CopyFS(dir, files); err != nil {
				t.Fatal(err)
			}
			said := slices.Concat(e.problems, e.warnings)
			if err := cargo.run(dir, "metadata", "--locked", "--offline", "--format-version=1"); (err == nil) != (len(said) == 0) {
				t.Errorf("with --locked: %v; ours: %q", err, said)
			}
			if err := cargo.run(dir, "metadata", "--offline", "--format-version=1"); err == nil && len(e.problems) > 0 || err != nil && len(said) == 0 {
				t.Errorf("%v; ours: %q", err, said)
			}
		})
	}
}

// TestAllowsVersion: what a requirement of cargo certainly does not allow.
func TestAllowsVersion(t *testing.T) {
	for asked, versions := range map[string]struct{ yes, no string }{
		"1":           {"1.0.0 1.9.9", "0.9.0 2.0.0"},
		"1.2":         {"1.2.0 1.9.0", "1.1.9 2.0.0"},
		"0.2.3":       {"0.2.3 0.2.9", "0.2.2 0.3.0"},
		"0.0.3":       {"0.0.3", "0.0.4 0.1.0"},
		"0.0":         {"0.0.1 0.0.9", "0.1.0"},
		"0":           {"0.0.1 0.9.0", "1.0.0"},
		"^1.2.3":      {"1.2.3 1.3.0", "1.2.2 2.0.0"},
		"~1.2.3":      {"1.2.3 1.2.9", "1.3.0"},
		"~1.2":        {"1.2.0 1.2.9", "1.3.0"},
		"~1":          {"1.0.0 1.9.0", "2.0.0"},
		"=1.2.3":      {"1.2.3", "1.2.4"},
		"= 1.2":       {"1.2.0 1.2.9", "1.3.0"},
		">1.2":        {"1.3.0 2.0.0", "1.2.9"},
		">=1.2, <1.5": {"1.2.0 1.4.9", "1.1.0 1.5.0"},
		"<=1.2":       {"1.2.9 0.1.0", "1.3.0"},
		"*":           {"0.0.1 9.0.0", ""},
		"1.*":         {"1.0.0 1.9.0", "2.0.0"},
		"1.2.*":       {"1.2.9", "1.3.0"},
		"1.0.0-rc.1":  {"1.0.0 2.0.0", ""}, // not judged
		"what":        {"1.0.0", ""},
		"":            {"1.0.0", ""},
		"2":           {"1.0.0-rc.1 2.1.0+x", "1.0.0+x"},
	} {
		for list, want := range map[string]bool{versions.yes: true, versions.no: false} {
			for _, v := range strings.Fields(list) {
				if got := allowsVersion(asked, v); got != want {
					t.Errorf("%q allows %s: %v", asked, v, got)
				}
			}
		}
	}
}

// cargoCommand runs the real cargo, whose crates are in a directory.
type cargoCommand struct{ home string }

func (c *cargoCommand) run(dir string, args ...string) error {
	cmd := exec.Command("cargo", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CARGO_HOME="+c.home)
	var errout bytes.Buffer
	cmd.Stderr = &errout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cargo %s: %w\n%s", strings.Join(args, " "), err, &errout)
	}
	return nil
}

// vendor makes crates, "name version" each, of cargo's own registry and of the
// repository; it skips the test where there is no cargo that reads them.
func (c *cargoCommand) vendor(t *testing.T, crates ...string) {
	t.Helper()
	var minor int
	out, err := exec.Command("cargo", "--version").Output()
	if _, serr := fmt.Sscanf(string(out), "cargo 1.%d", &minor); err != nil || serr != nil || minor < 78 {
		t.Skipf("needs cargo 1.78 or newer on this machine: found %q, %v", out, err)
	}
	files := fstest.MapFS{}
	for _, crate := range crates {
		name, version, _ := strings.Cut(crate, " ")
		sum := `"` + strings.Repeat("0", 63) + `1"`
		if name == "repo" {
			sum = "null"
		}
		for file, text := range map[string]string{
			"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n", name, version),
			"src/lib.rs": "", checksumFile: `{"files":{},"package":` + sum + "}",
		} {
			files["vendored/"+name+"-"+version+"/"+file] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	files["config.toml"] = &fstest.MapFile{Data: fmt.Appendf(nil, `
[source.crates-io]
replace-with = "vendored"
[source."git+https://example.com/repo?rev=v1"]
git = "https://example.com/repo"
rev = "v1"
replace-with = "vendored"
[source.vendored]
directory = %q
`, filepath.Join(c.home, "vendored"))}
	if err := os.CopyFS(c.home, files); err != nil {
		t.Fatal(err)
	}
}

// builtIn is the source that cargo writes for crates of its own registry.
func (c *cargoCommand) builtIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := os.CopyFS(dir, fstest.MapFS{
		"Cargo.toml": {Data: []byte("[package]\nname = \"app\"\n[dependencies]\nplain = \"1\"\n")}, "src/lib.rs": {},
	})
	if err == nil {
		err = c.run(dir, "generate-lockfile", "--offline")
	}
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.ReadFile(filepath.Join(dir, cargoLock))
	if err != nil {
		t.Fatal(err)
	}
	_, all, _ := parseCargoLock(cargoLock, lock)
	for _, crate := range all {
		if crate.source != "" {
			return crate.source
		}
	}
	t.Fatalf("no source in %s", lock)
	return ""
}

func FuzzStaleCargoLock(f *testing.F) {
	for _, a := range archives(f, "cargo-stale.txtar") {
		f.Add(string(a.fsys[cargoLock].Data), string(a.fsys[cargoToml].Data), string(a.fsys["crates/one/Cargo.toml"].Data))
	}
	f.Add("[root]\nname = \"a\"\nversion = \"1.0.0\"\n", "[package]\nname = \"a\"\nworkspace = \"..\"\n", "[workspace]\nmembers = [\"[\"]\n")
	f.Fuzz(func(t *testing.T, lock, root, member string) {
		files := fstest.MapFS{cargoToml: {Data: []byte(root)}, "crates/one/Cargo.toml": {Data: []byte(member)}}
		_, crates, _ := parseCargoLock(cargoLock, []byte(lock))
		for _, at := range []string{cargoLock, "crates/one/Cargo.lock"} {
			s := newCargoStale(newCargoTree(files), at, crates)
			for _, p := range slices.Concat(s.problems, s.warnings) {
				checkProblem(t, p)
			}
			localComponents(newCargoTree(files), at, crates, Options{})
		}
	})
}
