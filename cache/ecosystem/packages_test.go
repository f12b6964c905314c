package ecosystem

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

func TestParsePackages(t *testing.T) {
	root := cache.Package{Type: "gomod", Path: "."}
	sub := cache.Package{Type: "gomod", Path: "sub"}
	tests := []struct {
		in   string
		want []cache.Package
		err  string
	}{
		{in: "gomod", want: []cache.Package{root}},
		{in: " gomod\n", want: []cache.Package{root}},
		{in: `{"type": "gomod"}`, want: []cache.Package{root}},
		{in: `{"type": "gomod", "path": "."}`, want: []cache.Package{root}},
		{in: `{"type": "gomod", "path": ""}`, want: []cache.Package{root}},
		{in: `{"path": "./sub/", "type": "gomod"}`, want: []cache.Package{sub}},
		{in: `[{"type": "gomod", "path": "sub"}, {"type": "gomod"}, {"type": "gomod", "path": "sub//."}]`, want: []cache.Package{root, sub}},
		{in: `{"packages": [{"type": "gomod"}]}`, want: []cache.Package{root}},
		{in: `{"packages": [{"type": "gomod"}], "flags": []}`, want: []cache.Package{root}},
		{
			in:   `{"packages": [{"type": "gomod"}], "flags": ["cgo-disable", "dev-package-managers", "force-gomod-tidy", "gomod-vendor", "gomod-vendor-check"]}`,
			want: []cache.Package{root},
		},
		{in: `{"type": "gomod", "path": "..a/ b\\c"}`, want: []cache.Package{{Type: "gomod", Path: `..a/ b\c`}}},
		{in: `{"type": "cobol", "type": "gomod"}`, want: []cache.Package{root}}, // the last one counts, as in Python

		{in: "", err: "prefetch input: empty"},
		{in: " \n", err: "prefetch input: empty"},
		{in: "cobol", err: `prefetch input: package 1: type "cobol": not one of TYPES`},
		{in: "gomod cobol", err: `prefetch input: package 1: type "gomod cobol": not one of TYPES`},
		{in: `"gomod"`, err: `prefetch input: package 1: type "\"gomod\"": not one of TYPES`},
		{in: strings.Repeat("x", 1<<17), err: `prefetch input: package 1: type "` + strings.Repeat("x", 80) + `": not one of TYPES`},
		{in: "[]", err: "prefetch input: no packages"},
		{in: `{"packages": []}`, err: "prefetch input: no packages"},
		{in: "{}", err: `prefetch input: package 1: no "type"`},
		{in: "[", err: "prefetch input: not JSON: unexpected end of JSON input"},
		{in: `{"type": "gomod"} x`, err: "prefetch input: not JSON: invalid character 'x' after top-level value"},
		{in: `{"type": "gomod"}}`, err: "prefetch input: not JSON: invalid character '}' after top-level value"},
		{in: `{"packages": null}`, err: "prefetch input: packages: not a list"},
		{in: `{"packages": {"type": "gomod"}}`, err: "prefetch input: packages: not a list"},
		{in: `{"type": null}`, err: "prefetch input: package 1: type: not a string"},
		{in: `{"type": 1}`, err: "prefetch input: package 1: type: not a string"},
		{in: `{"Type": "gomod"}`, err: `prefetch input: package 1: no "type"`},
		{in: `{"type": "gomod", "path": null}`, err: "prefetch input: package 1: path: not a string"},
		{in: `{"type": "gomod", "path": ["."]}`, err: "prefetch input: package 1: path: not a string"},
		{in: `{"type": "gomod", "PATH": "sub"}`, err: `prefetch input: package 1: key "PATH": not one of type, path`},
		{in: `{"type": "fortran", "requirements_files": ["x"]}`, err: `prefetch input: package 1: type "fortran": not one of TYPES`},
		{
			in: `[{"type": "gomod", "path": "/etc"}, null, 1, "gomod", {"type": "gomod", "x": 1, "a": 2, "path": ".."}, {"type": "gomod", "path": "a/../b"}, {"type": "gomod", "path": "a\u0000"}]`,
			err: `prefetch input: package 1: path "/etc": not a path inside the build context
prefetch input: package 2: not an object
prefetch input: package 3: not an object
prefetch input: package 4: not an object
prefetch input: package 5: key "a": not one of type, path
prefetch input: package 5: key "x": not one of type, path
prefetch input: package 5: path "..": not a path inside the build context
prefetch input: package 6: path "a/../b": not a path inside the build context
prefetch input: package 7: path "a\x00": not a path inside the build context`,
		},
		{
			in: `{"packages": [{"type": "cobol"}], "flags": ["cgo-disable", "x", 1, " cgo-disable"], "source": "."}`,
			err: `prefetch input: key "source": not one of packages, flags
prefetch input: flag "x": not one of cgo-disable, dev-package-managers, force-gomod-tidy, gomod-vendor, gomod-vendor-check
prefetch input: flag "1": not one of cgo-disable, dev-package-managers, force-gomod-tidy, gomod-vendor, gomod-vendor-check
prefetch input: flag " cgo-disable": not one of cgo-disable, dev-package-managers, force-gomod-tidy, gomod-vendor, gomod-vendor-check
prefetch input: package 1: type "cobol": not one of TYPES`,
		},
		{in: "generic", want: []cache.Package{{Type: "generic", Path: "."}}},
		{in: `{"type": "generic", "lockfile": null}`, want: []cache.Package{{Type: "generic", Path: "."}}},
		{in: `{"type": "generic", "lockfile": "./artifacts.lock.yaml"}`, want: []cache.Package{{Type: "generic", Path: "."}}},
		{
			in:   `[{"type": "generic", "lockfile": "b//c.yaml"}, {"type": "generic"}, {"lockfile": "b/c.yaml", "type": "generic", "path": "."}, {"type": "gomod"}]`,
			want: []cache.Package{{Type: "generic", Path: "."}, {Type: "generic", Path: ".", Options: `{"lockfile":"b/c.yaml"}`}, {Type: "gomod", Path: "."}},
		},
		{
			in: `[{"type": "generic", "lockfile": 1, "lock": 2}, {"type": "generic", "lockfile": "/x"}, {"type": "generic", "lockfile": "a/../b"}, {"type": "generic", "lockfile": "./"}, {"type": "gomod", "lockfile": "x"}]`,
			err: `prefetch input: package 1: key "lock": not one of type, path, lockfile
prefetch input: package 1: lockfile: not a string
prefetch input: package 2: lockfile "/x": not a path inside the package
prefetch input: package 3: lockfile "a/../b": not a path inside the package
prefetch input: package 4: lockfile "./": not a path inside the package
prefetch input: package 5: key "lockfile": not one of type, path`,
		},
		{in: `{"packages": [{"type": "gomod"}], "flags": null}`, err: "prefetch input: flags: not a list"},
		{in: `{"packages": [{"type": "gomod"}], "flags": {}}`, err: "prefetch input: flags: not a list"},
	}
	for _, tt := range tests {
		got, err := ParsePackages(tt.in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if diff := cmp.Diff(strings.ReplaceAll(tt.err, "TYPES", strings.Join(Types(), ", ")), text); diff != "" {
			t.Errorf("%.200s: %s", tt.in, diff)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%.200s: %s", tt.in, diff)
		}
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add("gomod")
	f.Add(`{"packages": [{"type": "gomod", "path": "a"}], "flags": ["cgo-disable"]}`)
	f.Add(`{"type": "generic", "lockfile": "a/b"}`)
	f.Fuzz(func(t *testing.T, input string) {
		pkgs, err := ParsePackages(input)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "prefetch input: ") || pkgs != nil {
					t.Fatalf("%v, %q", pkgs, line)
				}
			}
			return
		}
		var texts []string
		for _, p := range pkgs {
			if path.Clean(p.Path) != p.Path || path.IsAbs(p.Path) || p.Path == ".." || strings.HasPrefix(p.Path, "../") {
				t.Fatalf("path %q", p.Path)
			}
			texts = append(texts, p.String())
		}
		again, err := ParsePackages("[" + strings.Join(texts, ",") + "]")
		if err != nil || !slices.Equal(again, pkgs) {
			t.Fatalf("%v, then %v, %v", pkgs, again, err)
		}
		if !json.Valid([]byte(pkgs[0].String())) {
			t.Fatalf("%s is no JSON", pkgs[0])
		}
	})
}
