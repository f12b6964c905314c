package ecosystem

import (
	"encoding/json"
	"net/url"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/hermetic-build/hermetic/cache"
)

// plain is a tree as encoding/json makes one of the same text.
func plain(t *testing.T, data []byte, n *jsonNode) any {
	t.Helper()
	switch n.kind {
	case '{':
		m := map[string]any{}
		for i := range n.members {
			m[n.members[i].key] = plain(t, data, &n.members[i].value)
		}
		return m
	case '[':
		l := []any{}
		for i := range n.members {
			l = append(l, plain(t, data, &n.members[i].value))
		}
		return l
	case '"':
		return n.text
	}
	var v any
	if err := json.Unmarshal(data[n.start:n.end], &v); err != nil && n.kind != '0' { // a number may be too large
		t.Fatalf("%q: %v", data[n.start:n.end], err)
	}
	return v
}

// FuzzJSON holds the reader of JSON to encoding/json's: the same texts, but for
// keys that stand twice, and the same values.
func FuzzJSON(f *testing.F) {
	f.Add([]byte("{\"a\": [1, -0.5e+7, true, null, \"\\u00e9\\ud83d\\ude00\\\\\"], \"b\":{}}\n"))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Add([]byte(`[01]`))
	f.Add([]byte(`"\x"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := parseJSON(data)
		if !utf8.Valid(data) || strings.HasPrefix(string(data), "\ufeff") {
			return
		}
		if err != nil {
			e, ok := err.(*jsonError)
			if !ok || e.at < 0 || int(e.at) > len(data) {
				t.Fatal(err)
			}
			if json.Valid(data) && !strings.Contains(e.cause, "stands twice") && !strings.Contains(e.cause, "levels") {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		var want any
		if err := json.Unmarshal(data, &want); err != nil {
			if !json.Valid(data) {
				t.Fatalf("%q: accepted, and is %v", data, err)
			}
			return // a number that is too large
		}
		if got := plain(t, data, &text.root); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, want %v", data, got, want)
		}
		if same := text.edited(func(s string) string { return s }); same != string(data) {
			t.Fatalf("%q became %q", data, same)
		}
	})
}

// checkNpm holds a plan to what the layout and the fetcher rely on.
func checkNpm(t *testing.T, plan cache.Plan) {
	t.Helper()
	for i, in := range plan.Inputs {
		if in.Ecosystem != "npm" || in.Sum.IsZero() || in.Name == "" || in.Need != cache.Required || in.Origin.Line < 1 || in.Component == nil || in.Form != cache.Plain {
			t.Fatalf("%+v", in)
		}
		if !filepath.IsLocal(in.Path) || path.Clean(in.Path) != in.Path || !strings.HasSuffix(in.Path, ".tgz") || strings.ContainsAny(in.Path, "\\\x00\n\"") {
			t.Fatalf("path %q", in.Path)
		}
		if u, err := url.Parse(in.URL); err != nil || in.URL == "" != (u.Scheme == "") || in.Kind == KindTarball && in.URL != "" && (u.Host == "" || u.User != nil) {
			t.Fatalf("URL %q", in.URL)
		}
		if i > 0 && plan.Inputs[i-1].ID().Compare(in.ID()) >= 0 {
			t.Fatalf("%s after %s", in.Subject(), plan.Inputs[i-1].Subject())
		}
	}
	for _, f := range plan.Project {
		if !filepath.IsLocal(f.Path) {
			t.Fatalf("project file %q", f.Path)
		}
		if !json.Valid([]byte(strings.TrimPrefix(f.Template, "\ufeff"))) {
			t.Fatalf("%s: not JSON: %q", f.Path, f.Template)
		}
	}
	for _, p := range append(plan.Problems, plan.Warnings...) {
		checkProblem(t, p)
	}
}

func FuzzNpmLock(f *testing.F) {
	for _, a := range archives(f, "plan-npm*.txtar") {
		if lock, ok := a.fsys["package-lock.json"]; ok {
			f.Add(lock.Data, []byte(`{"dependencies":{"a":"1","b":"https://example.com/b.tgz"},"overrides":{"a":{"b":"git+https://example.com/b.git"}}}`))
		}
	}
	f.Add([]byte(`{"lockfileVersion":1,"dependencies":{"a":{"version":"npm:b@1.0.0","integrity":"sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=","requires":{"x-linux-x64":"1"}}}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, lock, pkg []byte) {
		fsys := fstest.MapFS{"a/package-lock.json": {Data: lock}, "a/package.json": {Data: pkg}, "a/w/package.json": {Data: pkg}}
		pkgs := []cache.Package{{Type: "npm", Path: "a"}}
		o := Options{Platforms: []string{"linux/amd64", "linux/arm64"}, Repository: "git+https://example.com/r@0"}
		plan := New(fsys, pkgs, o)
		checkNpm(t, plan)
		if again := New(fsys, pkgs, o); dump(again) != dump(plan) {
			t.Fatalf("%s\nthen\n%s", dump(plan), dump(again))
		}
	})
}

func FuzzNpmrc(f *testing.F) {
	f.Add("registry=https://${HOST}/\n//example.com/:_authToken = \"${TOKEN}\" ; x\n'a\\;=b\n[s]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := ParseNpmrc(text)
		for _, key := range append(c.Keys(), c.secrets()...) {
			if c.lines[key] < 1 || c.lines[key] > strings.Count(text, "\n")+1 {
				t.Fatalf("%q at line %d", key, c.lines[key])
			}
		}
		if r := c.plainRegistry("@a/b"); strings.Contains(r, "${") || strings.Contains(r, "@") && strings.Contains(strings.SplitN(r, "/", 4)[2], "@") {
			t.Fatalf("registry %q", r)
		}
	})
}
