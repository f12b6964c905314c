package fetch

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// cratePlan is the plan of a Cargo.lock with crates "name version content" of
// one source, cargo's own where it is "". Each is of six lines; the name of the
// first is in line 2.
func cratePlan(t testing.TB, source, config string, crates ...string) cache.Plan {
	t.Helper()
	var lock strings.Builder
	for _, c := range crates {
		f := strings.SplitN(c, " ", 3)
		fmt.Fprintf(&lock, "[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = %q\n\n", f[0], f[1], source, cache.SumBytes([]byte(f[2])).Hex())
	}
	fsys := fstest.MapFS{"Cargo.lock": {Data: []byte(lock.String())}, ".cargo/config.toml": {Data: []byte(config)}}
	plan := ecosystem.New(fsys, []cache.Package{{Type: "cargo", Path: "."}}, ecosystem.Options{})
	if len(plan.Problems) > 0 {
		t.Fatal(plan.Problems)
	}
	return plan
}

func TestCrates(t *testing.T) {
	const sumOfB = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
	for name, c := range map[string]struct {
		dl       string
		requests []string
	}{
		"no markers": {"/api/", []string{"/api/Abcd/1.0.0/download", "/api/b/2.0.0+x/download"}},
		"markers":    {"/{prefix}/{lowerprefix}/{crate}-{version}.crate", []string{"/1/1/b-2.0.0+x.crate", "/Ab/cd/ab/cd/Abcd-1.0.0.crate"}},
		"a sum":      {"/by/{sha256-checksum}", []string{"/by/" + cache.SumBytes([]byte("content of A")).Hex(), "/by/" + sumOfB}},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, nil)
			p.files["/index/config.json"] = fmt.Appendf(nil, `{"dl": "%s%s", "api": "x"}`, p.URL, c.dl)
			for i, path := range c.requests {
				p.files[path] = []byte([]string{"content of A", "b"}[i])
				if strings.Contains(path, "b-2.0.0") || strings.Contains(path, "/Ab/cd") {
					p.files[path] = []byte([]string{"b", "content of A"}[i])
				}
			}
			plan := cratePlan(t, "sparse+"+p.URL+"/index/", "", "Abcd 1.0.0 content of A", "b 2.0.0+x b")
			s := openStore(t)
			m := mustFetch(t, s, plan, bare(t, nil))
			if len(m.Entries) != 2 || len(m.Missing(plan)) > 0 {
				t.Errorf("%+v", m.Entries)
			}
			if diff := cmp.Diff(append([]string{"/index/config.json"}, c.requests...), p.requests(), sorted); diff != "" {
				t.Error(diff)
			}
			checkClean(t, s)
			mustFetch(t, s, plan, Options{Offline: true, Env: func(string) string { return "" }})
			if got := p.requests(); got != nil {
				t.Errorf("requests once more: %q", got)
			}
		})
	}
}

// sorted compares lists whatever their order.
var sorted = cmp.Transformer("sorted", func(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
})

// crateCase is a fetch of one crate, "a 1.0.0 good". In all texts SERVER stands
// for the URL of a registry whose index is below /index/.
type crateCase struct {
	name   string
	source string            // of the lockfile; "" for the registry
	config string            // of the project
	home   map[string]string // files in cargo's home
	env    map[string]string
	mirror string
	index  string // the registry that cargo has built in
	token  string // that the registry wants
	dl     string // in config.json; "" for SERVER/dl
	want   string // the error; "" for none
}

var crateCases = []crateCase{
	{name: "plain"},
	{name: "mirror", source: "registry+https://example.com/index", mirror: "SERVER/index"},
	{name: "mirror as in configuration files", source: "registry+https://example.com/index", mirror: "sparse+SERVER/index/"},
	{name: "mirrors", mirror: "SERVER/none,SERVER/index"},
	{name: "mirror, then direct", mirror: "SERVER/none,direct"},
	{name: "mirror off", mirror: "off", want: "mirror for cargo: off: want the URL of an index, or direct"},
	{name: "bad mirror", mirror: "ftp://x", want: "mirror for cargo: entry 1: want the URL of a proxy (https, http or file), off or direct"},
	{name: "git index", source: "registry+https://example.com/index", want: "Cargo.lock:2: a@1.0.0: the registry: has a git index, and only sparse ones are read"},
	{name: "replaced by the project", source: "registry+https://example.com/index",
		config: "[source.up]\nregistry = \"https://example.com/index\"\nreplace-with = \"near\"\n[source.near]\nregistry = \"sparse+SERVER/index/\""},
	{name: "cargo's own", source: "DEFAULT", index: "sparse+SERVER/index/"},
	{name: "cargo's own, not known", source: "DEFAULT", want: "no registry of crates is known: give its index by --mirror cargo=URL, or by [source.crates-io] in the config.toml of cargo's home"},
	{name: "cargo's own, replaced by the user", source: "DEFAULT", index: "sparse+https://example.com/",
		home: map[string]string{"config.toml": "[source.crates-io]\nreplace-with = \"near\"\n[source.near]\nregistry = \"sparse+SERVER/index/\""}},
	{name: "cargo's own, replaced by a registry of the user", source: "DEFAULT",
		home: map[string]string{"config": "[source.crates-io]\nreplace-with = \"near\"\n[registries.near]\nindex = \"sparse+SERVER/index/\""}},
	{name: "cargo's own, in the environment", source: "DEFAULT", env: map[string]string{"CARGO_REGISTRIES_CRATES_IO_INDEX": "sparse+SERVER/index/"}},
	{name: "cargo's own, replaced by a directory", source: "DEFAULT",
		home: map[string]string{"config.toml": "[source.crates-io]\nreplace-with = \"near\"\n[source.near]\ndirectory = \"/x\""},
		want: "cargo's config.toml replaces crates-io by a directory: give the index of a registry by --mirror cargo=URL"},
	{name: "cargo's own, replaced by itself", source: "DEFAULT",
		home: map[string]string{"config.toml": "[source.crates-io]\nreplace-with = \"crates-io\""},
		want: "cargo's config.toml replaces crates-io by itself"},
	{name: "token in the environment", config: "[registries.my-own]\nindex = \"sparse+SERVER/index/\"",
		env: map[string]string{"CARGO_REGISTRIES_MY_OWN_TOKEN": "s3cret"}, token: "s3cret"},
	{name: "token in credentials.toml", config: "[registries.mine]\nindex = \"sparse+SERVER/index/\"",
		home: map[string]string{"credentials.toml": "[registries.mine]\ntoken = \"s3cret\""}, token: "s3cret"},
	{name: "token and registry of the user", home: map[string]string{
		"config.toml": "[registries.mine]\nindex = \"sparse+SERVER/index/\"", "credentials": "[registries.mine]\ntoken = \"s3cret\""}, token: "s3cret"},
	{name: "token of the project", config: "[registries.mine]\nindex = \"sparse+SERVER/index/\"\ntoken = \"s3cret$X\"", token: "s3cret$X"},
	{name: "no token", config: "[registries.mine]\nindex = \"sparse+SERVER/index/\"", token: "s3cret",
		want: "SERVER/index/config.json: 401 Unauthorized"},
	{name: "token of another registry", config: "[registries.mine]\nindex = \"sparse+SERVER/other/\"",
		env: map[string]string{"CARGO_REGISTRIES_MINE_TOKEN": "s3cret"}, token: "s3cret", want: "SERVER/index/config.json: 401 Unauthorized"},
	{name: "broken credentials", source: "DEFAULT", home: map[string]string{"credentials.toml": "token = s3cret"}, want: "HOME/credentials.toml: not TOML that cargo reads"},
	{name: "no config.json", source: "sparse+SERVER/none/", want: "SERVER/none/config.json: 404 Not Found"},
	{name: "config.json of something else", source: "sparse+SERVER/dl/a/1.0.0/download/", want: "SERVER/dl/a/1.0.0/download/config.json: not the config.json of a registry's index"},
	{name: "leads to the disk", dl: "file:///etc", want: "Cargo.lock:2: a@1.0.0: SERVER/index/: its config.json leads from http to file"},
	{name: "leads nowhere", dl: "crates/", want: "Cargo.lock:2: a@1.0.0: SERVER/index/: its config.json has no URL that can be asked"},
	{name: "a lie", dl: "SERVER/lies", want: "Cargo.lock:2: a@1.0.0: checksum mismatch: want sha256:"},
}

func TestCrateRegistries(t *testing.T) {
	for _, c := range crateCases {
		t.Run(c.name, func(t *testing.T) {
			p := serve(t, nil)
			r := strings.NewReplacer("SERVER", p.URL)
			dl := c.dl
			if dl == "" {
				dl = "SERVER/dl"
			}
			p.files["/index/config.json"] = fmt.Appendf(nil, `{"dl": %q, "auth-required": %t}`, r.Replace(dl), c.token != "")
			p.files["/dl/a/1.0.0/download"] = []byte("good")
			p.files["/dl/a/1.0.0/download/config.json"] = []byte("[]")
			p.files["/lies/a/1.0.0/download"] = []byte("bad")
			p.rules["*"] = func(w http.ResponseWriter, req *http.Request, _ int) bool {
				switch got := req.Header.Get("Authorization"); {
				case got == c.token:
					return false
				case c.token == "":
					t.Errorf("%s: with %q", req.URL, got)
				}
				return answer(401, "")(w, req, 0)
			}
			DefaultCratesIndex = r.Replace(c.index)
			t.Cleanup(func() { DefaultCratesIndex = "" })
			home := t.TempDir()
			for name, text := range c.home {
				if err := os.WriteFile(filepath.Join(home, name), []byte(r.Replace(text)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			vars := map[string]string{"CARGO_HOME": home}
			for k, v := range c.env {
				vars[k] = r.Replace(v)
			}
			source := r.Replace(c.source)
			if source == "" {
				source = "sparse+" + p.URL + "/index/"
			}
			own := source == "DEFAULT"
			if own {
				source = "sparse+https://example.com/"
			}
			plan := cratePlan(t, source, r.Replace(c.config), "a 1.0.0 good")
			if own {
				plan.Inputs[0].URL = ""
			}
			o := bare(t, vars)
			if c.mirror != "" {
				o.Mirrors = map[string]string{"cargo": r.Replace(c.mirror)}
			}
			s := openStore(t)
			_, err := All(context.Background(), s, plan, o)
			got := ""
			if err != nil {
				got = strings.ReplaceAll(strings.ReplaceAll(err.Error(), p.URL, "SERVER"), home, "HOME")
			}
			if c.want == "" && got != "" || !strings.Contains(got, c.want) || strings.Contains(got, "s3cret") {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			checkClean(t, s)
		})
	}
}

// TestCratesOfABrokenRegistry: what is wrong with a registry is said once.
func TestCratesOfABrokenRegistry(t *testing.T) {
	p := serve(t, nil)
	plan := cratePlan(t, "sparse+"+p.URL+"/", "", "a 1.0.0 a", "b 1.0.0 b", "c 1.0.0 c")
	_, err := All(context.Background(), openStore(t), plan, bare(t, nil))
	if err == nil || !strings.HasPrefix(err.Error(), "Cargo.lock:2: a@1.0.0 and 2 more: ") || p.times("/config.json") != 1 {
		t.Errorf("%v; asked %d times", err, p.times("/config.json"))
	}
}
