package fetch

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// An npmPackage is one of a test's lockfile.
type npmPackage struct{ name, version, resolved, content string }

// npmPlan reads a lockfile as the command does.
func npmPlan(t testing.TB, npmrc string, packages ...npmPackage) cache.Plan {
	t.Helper()
	entries := map[string]any{"": map[string]any{}}
	for i, p := range packages {
		digest := sha512.Sum512([]byte(p.content))
		entry := map[string]any{"version": p.version, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(digest[:])}
		if p.resolved != "" {
			entry["resolved"] = p.resolved
		}
		if i > 0 && strings.HasSuffix(p.resolved, "/remote.tgz") {
			entries["node_modules/"+packages[0].name].(map[string]any)["dependencies"] = map[string]any{p.name: p.resolved}
		}
		entries["node_modules/"+p.name] = entry
	}
	lock, err := json.MarshalIndent(map[string]any{"lockfileVersion": 3, "packages": entries}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	fsys := fstest.MapFS{"package.json": {Data: []byte("{}")}, "package-lock.json": {Data: lock}, ".npmrc": {Data: []byte(npmrc)}}
	plan := ecosystem.New(fsys, []cache.Package{{Type: "npm", Path: "."}}, ecosystem.Options{Platforms: []string{"linux/amd64"}})
	if len(plan.Problems) > 0 {
		t.Fatal(plan.Problems)
	}
	return plan
}

// npmrcFile is a file of settings of the user's.
func npmrcFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "npmrc")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestNpmRegistries: who is asked is decided by the settings that npm goes by.
func TestNpmRegistries(t *testing.T) {
	a, x := npmPackage{"a", "1.0.0", "", "a"}, npmPackage{"@s/x", "1.0.0-b+c", "", "x"}
	for name, test := range map[string]struct {
		unset                          string // what the linker stamps
		builtin                        string
		vars                           map[string]string
		project, user, global, mirrors string
		packages                       []npmPackage
		want                           []string
	}{
		"stamped":     {unset: "SERVER/npm", packages: []npmPackage{a, x}, want: []string{"/npm/@s/x/-/x-1.0.0-b+c.tgz", "/npm/a/-/a-1.0.0.tgz"}},
		"global":      {unset: "SERVER/npm", global: "registry=SERVER/g/", packages: []npmPackage{a}, want: []string{"/g/a/-/a-1.0.0.tgz"}},
		"user":        {global: "registry=SERVER/g/", user: "registry=SERVER/u/", packages: []npmPackage{a}, want: []string{"/u/a/-/a-1.0.0.tgz"}},
		"project":     {user: "registry=SERVER/u/", project: "registry=SERVER/p", packages: []npmPackage{a}, want: []string{"/p/a/-/a-1.0.0.tgz"}},
		"environment": {vars: map[string]string{"npm_config_registry": "SERVER/e"}, project: "registry=SERVER/p", packages: []npmPackage{a}, want: []string{"/e/a/-/a-1.0.0.tgz"}},
		"ENVIRONMENT": {vars: map[string]string{"NPM_CONFIG_REGISTRY": "SERVER/e"}, packages: []npmPackage{a}, want: []string{"/e/a/-/a-1.0.0.tgz"}},
		"scope":       {user: "registry=SERVER/u/\n@s:registry=SERVER/s", packages: []npmPackage{a, x}, want: []string{"/s/@s/x/-/x-1.0.0-b+c.tgz", "/u/a/-/a-1.0.0.tgz"}},
		"variables":   {vars: map[string]string{"WHERE": "SERVER", "PART": "s"}, project: "registry=${WHERE}/v${NONE?}\n@${PART}:registry=${WHERE}/s", packages: []npmPackage{a, x}, want: []string{"/s/@s/x/-/x-1.0.0-b+c.tgz", "/v/a/-/a-1.0.0.tgz"}},
		"lockfile":    {unset: "SERVER/npm", packages: []npmPackage{{"a", "1.0.0", "SERVER/l/download/a/1.0.0/0123", "a"}}, want: []string{"/l/download/a/1.0.0/0123"}},
		"replaced": {builtin: "https://registry.example.com/", user: "registry=SERVER/u/", packages: []npmPackage{{"a", "1.0.0", "https://registry.example.com/a/-/a-1.0.0.tgz", "a"}, {"@s/x", "1.0.0", "https://registry.example.com/u/@s/x/-/x-1.0.0.tgz", "x"}},
			want: []string{"/u/@s/x/-/x-1.0.0.tgz", "/u/a/-/a-1.0.0.tgz"}},
		"replaced always":  {user: "registry=SERVER/u\nreplace-registry-host=always", packages: []npmPackage{{"a", "1.0.0", "https://other.example.com/a/-/a-1.0.0.tgz", "a"}}, want: []string{"/u/a/-/a-1.0.0.tgz"}},
		"replaced by name": {user: "registry=SERVER/u\nreplace-registry-host=other.example.com", packages: []npmPackage{{"a", "1.0.0", "https://other.example.com/a/-/a-1.0.0.tgz", "a"}}, want: []string{"/u/a/-/a-1.0.0.tgz"}},
		"never replaced":   {builtin: "SERVER", user: "registry=https://other.example.com/u\nreplace-registry-host=never", packages: []npmPackage{{"a", "1.0.0", "SERVER/a/-/a-1.0.0.tgz", "a"}}, want: []string{"/a/-/a-1.0.0.tgz"}},
		"a URL of its own": {builtin: "SERVER", user: "registry=SERVER/u", packages: []npmPackage{a, {"r", "1.0.0", "SERVER/remote.tgz", "r"}}, want: []string{"/remote.tgz", "/u/a/-/a-1.0.0.tgz"}},
		"mirror": {mirrors: "SERVER/m", packages: []npmPackage{a, {"b", "1.0.0", "https://other.example.com/b/-/b-1.0.0.tgz", "b"}, {"r", "1.0.0", "https://example.com/remote.tgz", "r"}},
			want: []string{"/m/a/-/a-1.0.0.tgz", "/m/b/-/b-1.0.0.tgz", "/m/example.com/remote.tgz"}},
		"mirror, then direct": {mirrors: "SERVER/none,direct", unset: "SERVER/npm", packages: []npmPackage{a}, want: []string{"/none/a/-/a-1.0.0.tgz", "/npm/a/-/a-1.0.0.tgz"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, nil)
			fill := func(s string) string { return strings.ReplaceAll(s, "SERVER", p.URL) }
			DefaultNpmRegistry, BuiltinNpmRegistry = fill(test.unset), fill(test.builtin)
			defer func() { DefaultNpmRegistry, BuiltinNpmRegistry = "", "" }()
			var packages []npmPackage
			for _, one := range test.packages {
				one.resolved = fill(one.resolved)
				packages = append(packages, one)
			}
			for _, path := range test.want {
				name := strings.NewReplacer("@", "", "/none", "").Replace(path)
				if !strings.HasPrefix(path, "/none/") {
					p.files[path] = []byte(name[strings.LastIndexByte(name, '/')+1:][:1])
				}
			}
			if f := p.files["/l/download/a/1.0.0/0123"]; f != nil {
				p.files["/l/download/a/1.0.0/0123"] = []byte("a")
			}
			vars := map[string]string{"npm_config_userconfig": npmrcFile(t, fill(test.user)), "npm_config_globalconfig": npmrcFile(t, fill(test.global))}
			for k, v := range test.vars {
				vars[k] = fill(v)
			}
			o := bare(t, vars)
			if test.mirrors != "" {
				o.Mirrors = map[string]string{"npm": fill(test.mirrors)}
			}
			s := openStore(t)
			plan := npmPlan(t, fill(test.project), packages...)
			m := mustFetch(t, s, plan, o)
			if diff := cmp.Diff(test.want, p.requests()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if ps := m.Missing(plan); len(ps) > 0 {
				t.Error(ps)
			}
			if text := string(m.Encode()); strings.Contains(text, p.URL) {
				t.Errorf("the manifest says where things came from: %s", text)
			}
			mustFetch(t, s, plan, Options{Offline: true, Env: func(name string) string {
				t.Errorf("%s is read", name)
				return ""
			}})
			checkClean(t, s)
		})
	}
}

// TestNpmElsewhere: a registry that has archives at places of its own is asked
// for these places.
func TestNpmElsewhere(t *testing.T) {
	p := serve(t, nil)
	p.files["/npm/@s/x"] = fmt.Appendf(nil, `{"versions":{"1.0.0":{"dist":{"tarball":"%s/download/0123"}},"2.0.0":{"dist":{"tarball":"ftp://example.com/"}}}}`, p.URL)
	p.files["/npm/y"] = []byte("no JSON")
	p.files["/download/0123"] = []byte("x")
	o := bare(t, map[string]string{"npm_config_registry": p.URL + "/npm"})
	mustFetch(t, openStore(t), npmPlan(t, "", npmPackage{"@s/x", "1.0.0", "", "x"}), o)
	if diff := cmp.Diff([]string{"/download/0123", "/npm/@s/x", "/npm/@s/x/-/x-1.0.0.tgz"}, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, one := range []npmPackage{{"@s/x", "2.0.0", "", "x"}, {"@s/x", "3.0.0", "", "x"}, {"y", "1.0.0", "", "x"}, {"z", "1.0.0", "", "x"}} {
		_, err := All(context.Background(), openStore(t), npmPlan(t, "", one), o)
		if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), one.name+"@"+one.version+": "+p.URL+"/npm/"+one.name+"/-/") || !strings.Contains(err.Error(), "404 Not Found") {
			t.Errorf("%s@%s: %v", one.name, one.version, err)
		}
	}
}

// npmCredentialTests are settings, and the header that the registry gets.
var npmCredentialTests = map[string]struct {
	project, user, netrc string
	vars                 map[string]string
	want                 string
}{
	"token":                {user: "//HOST/npm/:_authToken=s3cret", want: "Bearer s3cret"},
	"token of variable":    {project: "//HOST/npm/:_authToken=${NPM_TOKEN}", vars: map[string]string{"NPM_TOKEN": "s3cret"}, want: "Bearer s3cret"},
	"variable not set":     {project: "//HOST/npm/:_authToken=${NPM_TOKEN}"},
	"quoted":               {user: `//HOST/:_authToken = "s3cret"`, want: "Bearer s3cret"},
	"without a slash":      {user: "//HOST/npm:_authToken=s3cret", want: "Bearer s3cret"},
	"environment":          {vars: map[string]string{"npm_config_//HOST/npm/:_authToken": "s3cret"}, want: "Bearer s3cret"},
	"basic":                {user: "//HOST/npm/:_auth=bWU6czNjcmV0", want: "Basic bWU6czNjcmV0"},
	"name and password":    {user: "//HOST/npm/:username=me\n//HOST/npm/:_password=czNjcmV0", want: "Basic bWU6czNjcmV0"},
	"password not encoded": {user: "//HOST/npm/:username=me\n//HOST/npm/:_password=s3cret!"},
	"longest first":        {user: "//HOST/:_authToken=other\n//HOST/npm/a/:_authToken=s3cret", want: "Bearer s3cret"},
	"another path":         {user: "//HOST/np/:_authToken=s3cret"},
	"another host":         {user: "//example.com/npm/:_authToken=s3cret"},
	"project before user":  {user: "//HOST/npm/:_authToken=other", project: "//HOST/npm/:_authToken=s3cret", want: "Bearer s3cret"},
	"netrc":                {netrc: "machine NAME login me password s3cret", want: "Basic bWU6czNjcmV0"},
	"netrc comes last":     {user: "//HOST/npm/:_authToken=s3cret", netrc: "machine NAME login me password other", want: "Bearer s3cret"},
}

func TestNpmCredentials(t *testing.T) {
	for name, test := range npmCredentialTests {
		t.Run(name, func(t *testing.T) {
			p := serveTLS(t, nil)
			u, _ := url.Parse(p.URL)
			fill := strings.NewReplacer("HOST", u.Host, "NAME", u.Hostname()).Replace
			p.files["/npm/a/-/a-1.0.0.tgz"] = []byte("a")
			p.rules["*"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if got := r.Header.Get("Authorization"); got != test.want {
					return answer(401, "who are you")(w, r, 0)
				}
				return false
			}
			vars := map[string]string{"npm_config_registry": p.URL + "/npm/", "npm_config_userconfig": npmrcFile(t, fill(test.user)), "NETRC": npmrcFile(t, fill(test.netrc))}
			for k, v := range test.vars {
				vars[fill(k)] = v
			}
			s := openStore(t)
			mustFetch(t, s, npmPlan(t, fill(test.project), npmPackage{"a", "1.0.0", "", "a"}), bare(t, vars))
			checkSecretless(t, s.Dir())
		})
	}
}

// TestNpmMisbehaving: what is wrong is told in a line for each package.
func TestNpmMisbehaving(t *testing.T) {
	packages := []npmPackage{{"broken", "1.0.0", "", "true"}, {"gone", "1.0.0", "", "x"}, {"refused", "1.0.0", "", "x"}, {"short", "1.0.0", "", "x"}, {"well", "1.0.0", "", "well"}}
	p := serve(t, nil)
	p.files["/broken/-/broken-1.0.0.tgz"], p.files["/well/-/well-1.0.0.tgz"] = []byte("lies"), []byte("well")
	p.rules["/refused/-/refused-1.0.0.tgz"] = answer(403, "not for you")
	p.rules["/short/-/short-1.0.0.tgz"] = truncate
	s := openStore(t)
	_, err := All(context.Background(), s, npmPlan(t, "", packages...), bare(t, map[string]string{"npm_config_registry": p.URL}))
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) != 4 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{
		"package-lock.json:5: broken@1.0.0: checksum mismatch: want sha512:", "package-lock.json:9: gone@1.0.0: " + p.URL + "/gone/-/gone-1.0.0.tgz: 404 Not Found (not here: /gone/-/gone-1.0.0.tgz)",
		"package-lock.json:13: refused@1.0.0: " + p.URL + "/refused/-/refused-1.0.0.tgz: 403 Forbidden (not for you)", "package-lock.json:17: short@1.0.0: " + p.URL + "/short/-/short-1.0.0.tgz: ends too early",
	} {
		if got := e.Problems[i].String(); !strings.HasPrefix(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	checkClean(t, s)

	p.Close()
	_, err = All(context.Background(), openStore(t), npmPlan(t, "", packages...), bare(t, map[string]string{"npm_config_registry": p.URL}))
	if want := "package-lock.json:5: broken@1.0.0 and 4 more: " + p.URL + ": "; err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// TestNpmSettingsThatMakeNoSense stop everything, and are said once.
func TestNpmSettingsThatMakeNoSense(t *testing.T) {
	one := npmPackage{"a", "1.0.0", "", "a"}
	for npmrc, want := range map[string]string{
		"":                                 "no registry of npm is known: give its URL by --mirror npm=URL, or by registry= in .npmrc",
		"registry=${NPM_HOST}":             ".npmrc: registry: $NPM_HOST is not set",
		"registry=ftp://me:pw@example.com": ".npmrc: registry: not the URL of a registry",
		"registry=https://":                ".npmrc: registry: not the URL of a registry",
	} {
		_, err := All(context.Background(), openStore(t), npmPlan(t, npmrc, one, npmPackage{"b", "1.0.0", "", "b"}), bare(t, nil))
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v; want %s", npmrc, err, want)
		}
	}
	_, err := All(context.Background(), openStore(t), npmPlan(t, "", one), bare(t, map[string]string{"npm_config_userconfig": t.TempDir()}))
	if err == nil || !strings.HasSuffix(err.Error(), ": not a file of settings") {
		t.Error(err)
	}
}
