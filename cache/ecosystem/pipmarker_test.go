package ecosystem

import (
	"slices"
	"testing"

	"github.com/hermetic-build/hermetic/cache"
)

func TestMarkers(t *testing.T) {
	known := pipWants{Binary: &pipBinary{PyVersion: 312}, Platforms: []string{"linux/arm64"}}.markerEnvs()[0]
	unknown := pipWants{}.markerEnvs()[0]
	for _, test := range []struct {
		text   string
		want   truth // where Python and machine are known
		anyhow truth // where they are not
	}{
		{`python_version >= "3.8"`, yes, maybe},
		{`python_version<"3.9"`, no, maybe},
		{`python_version == "3.12"`, yes, maybe},
		{`python_version == "3.*"`, yes, maybe},
		{`python_version ~= "3.10"`, yes, maybe},
		{`"3.8" <= python_version`, yes, maybe},
		{`python_version in "3.11 3.12"`, yes, maybe},
		{`python_version not in "3.11 3.12"`, no, maybe},
		{`python_full_version < "3.9"`, no, maybe},
		{`python_full_version >= "3.12"`, yes, maybe},
		{`python_full_version >= "3.12.4"`, maybe, maybe},
		{`python_full_version == "3.12.*"`, yes, maybe},
		{`python_full_version == "3.12.3"`, maybe, maybe},
		{`python_full_version != "3.11.3"`, yes, maybe},
		{`sys_platform == "linux"`, yes, yes},
		{`sys_platform != 'win32' and os_name == "posix"`, yes, yes},
		{`sys_platform == "win32" or platform_system == "Darwin"`, no, no},
		{`platform_machine == "aarch64"`, yes, maybe},
		{`platform_machine == "x86_64"`, no, maybe},
		{`sys_platform == "win32" and (python_version > "3" or extra == "x")`, no, no},
		{`sys_platform == "linux" or python_version > "9"`, yes, yes},
		{`extra == "docs"`, no, no},
		{`platform_python_implementation == "PyPy"`, no, maybe},
		{`implementation_name == "cpython"`, yes, maybe},
		{`platform_release >= "5"`, maybe, maybe},
		{`os.name == "posix"`, yes, yes},
		{`'x' in extras`, maybe, maybe},
	} {
		m, err := parseMarker(test.text)
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if got, anyhow := m.on(known), m.on(unknown); got != test.want || anyhow != test.anyhow {
			t.Errorf("%s: %d and %d, want %d and %d", test.text, got, anyhow, test.want, test.anyhow)
		}
	}
}

func TestPyVersions(t *testing.T) {
	// As PEP 440 sorts them.
	sorted := []string{
		"1.dev0", "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2", "1.0b2.post345.dev456",
		"1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7", "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.0.15", "1.1.dev1", "1.10", "1!0.1",
	}
	for i, a := range sorted {
		for j, b := range sorted {
			v, ok1 := parsePyVersion(a)
			w, ok2 := parsePyVersion(b)
			if c := v.compare(w); !ok1 || !ok2 || (c < 0) != (i < j) || (c == 0) != (i == j) {
				t.Errorf("%s and %s: %d", a, b, c)
			}
		}
	}
	for _, same := range [][]string{{"1.0", "1", "v1.0.0", "1.0+"[:3]}, {"1.0a1", "1.0-alpha.1", "1.0_A1"}, {"1.0.post1", "1.0-1", "1.0-rev1"}, {"1.0rc1", "1.0c1", "1.0.PRE1"}, {"1.0+a.b", "1.0+A-b"}} {
		for _, s := range same {
			if !samePyVersion(s, same[0]) {
				t.Errorf("%s is not %s", s, same[0])
			}
		}
	}
	for _, bad := range []string{"", "x", "1.x", "1..0", "1.0-", "1.0+", "1 .0", "9999999999999999999", "1.0.*"} {
		if _, ok := parsePyVersion(bad); ok {
			t.Errorf("%q is a version", bad)
		}
	}
}

func TestPyFiles(t *testing.T) {
	for file, want := range map[string][3]string{
		"num_py-1.0.tar.gz":                            {"num_py", "1.0", ""},
		"a-b-1.0.post1.zip":                            {"a-b", "1.0.post1", ""},
		"a-2-1.0-1.tar.gz":                             {"a-2", "1.0-1", ""},
		"a-1.0-py3-none-any.whl":                       {"a", "1.0", "py3-none-any"},
		"a-1.0-1x-cp312-abi3-linux_x86_64.whl":         {"a", "1.0", "1x-cp312-abi3-linux_x86_64"},
		"A.B-1.0+cpu-cp312-cp312-manylinux_2_28_x.whl": {"A.B", "1.0+cpu", "cp312-cp312-manylinux_2_28_x"},
	} {
		f, ok := parsePyFile(file)
		if !ok || f.name != want[0] || f.version != want[1] || f.tags != want[2] {
			t.Errorf("%s: %+v", file, f)
		}
	}
	for _, bad := range []string{"", ".tar.gz", "a.tar.gz", "a-1.0.exe", "a-1.0.whl", "../a-1.0.tar.gz", "a/b-1.0.zip", "a-1.0\x00.zip", "-1.0-py3-none-any.whl", "a\\b-1.0.zip", ".a-1.0.zip"} {
		if f, ok := parsePyFile(bad); ok {
			t.Errorf("%q: %+v", bad, f)
		}
	}
}

func TestPipOptions(t *testing.T) {
	for input, want := range map[string]string{
		`{"type":"pip","allow_binary":true}`:  `{"binary":{"arch":":all:","os":":all:","py_impl":":all:"}}`,
		`{"type":"pip","allow_binary":false}`: "",
		`{"type":"pip","binary":{}}`:          `{"binary":{}}`,
		`{"type":"pip","binary":{"packages":":all:","py_impl":"cp","abi":":all:","py_version":null}}`:      `{"binary":{}}`,
		`{"type":"pip","requirements_files":["./a.txt"],"requirements_build_files":[],"binary":null}`:      `{"requirements_build_files":[],"requirements_files":["a.txt"]}`,
		`{"type":"pip","binary":{"packages":"a,b","arch":"x86_64,aarch64","os":"linux","py_version":312}}`: `{"binary":{"arch":"x86_64,aarch64","os":"linux","packages":"a,b","py_version":312}}`,
	} {
		pkgs, err := ParsePackages(input)
		if err != nil || len(pkgs) != 1 || pkgs[0].Options != want {
			t.Errorf("%s: %v, %v", input, pkgs, err)
		}
	}
	for input, want := range map[string]string{
		`{"type":"pip","requirements_files":["../a"],"binary":{"x":1,"py_version":"312","platform":"(","arch":"a"},"allow_binary":true}`: "prefetch input: package 1: allow_binary: binary is there as well\n" +
			"prefetch input: package 1: binary: key \"x\": not one of packages, arch, os, py_version, py_impl, abi, platform\n" +
			"prefetch input: package 1: binary: platform \"(\": not a regular expression\n" +
			"prefetch input: package 1: binary: platform: excludes arch and os\n" +
			"prefetch input: package 1: binary: py_version: not a number like 312\n" +
			"prefetch input: package 1: requirements_files: \"../a\": not a path inside the package",
		`{"type":"pip","binary":[]}`:                "prefetch input: package 1: binary: not an object",
		`{"type":"pip","binary":{"py_version":5}}`:  "prefetch input: package 1: binary: py_version 5: want a number like 312, for Python 3.12",
		`{"type":"pip","requirements_files":"a"}`:   "prefetch input: package 1: requirements_files: not a list of strings",
		`{"type":"pip","requirements":["a"]}`:       `prefetch input: package 1: key "requirements": not one of type, path, allow_binary, binary, requirements_build_files, requirements_files`,
		`{"type":"pip","requirements_files":["."]}`: `prefetch input: package 1: requirements_files: ".": not a path inside the package`,
	} {
		if _, err := ParsePackages(input); err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", input, err, want)
		}
	}
	if names := (pip{}).Files(mustPackage(t, `{"type":"pip","path":"app","requirements_files":["a.txt"],"requirements_build_files":["b/c.txt"]}`)); !slices.Equal(names, []string{"app/a.txt", "app/b/c.txt"}) {
		t.Errorf("files: %q", names)
	}
}

func mustPackage(t *testing.T, input string) cache.Package {
	t.Helper()
	pkgs, err := ParsePackages(input)
	if err != nil || len(pkgs) != 1 {
		t.Fatalf("%s: %v, %v", input, pkgs, err)
	}
	return pkgs[0]
}
