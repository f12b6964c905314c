package fetch

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// proxyKinds are the proxies that lists in TestProxyLists name.
var proxyKinds = map[string]rule{
	"GOOD": nil, "GOOD2": nil,
	"404": answer(404, ""), "410": answer(410, ""),
	"403": answer(403, ""), "500": answer(500, ""),
	"DEAD": nil, // refuses connections
}

// proxyLists are GOPROXY lists and what comes of them: which of the proxies
// are asked, and the end of the error. Those without "direct" are also put to
// the go command.
var proxyLists = []struct{ list, asked, err string }{
	{"GOOD", "GOOD", ""},
	{"GOOD,GOOD2", "GOOD", ""},
	{"GOOD|GOOD2", "GOOD", ""},
	{"404,GOOD", "404 GOOD", ""},
	{"410,GOOD", "410 GOOD", ""},
	{"404,410,GOOD", "404 410 GOOD", ""},
	{"404|GOOD", "404 GOOD", ""},
	{"403,GOOD", "403", "403 Forbidden"},
	{"403|GOOD", "403 GOOD", ""},
	{"500,GOOD", "500", "500 Internal Server Error"},
	{"500|GOOD", "500 GOOD", ""},
	{"DEAD,GOOD", "", "connection refused"},
	{"DEAD|GOOD", "GOOD", ""},
	{"404,500,GOOD", "404 500", "404 Not Found; HOST/500/example.com/a/@v/v1.0.0.zip: 500 Internal Server Error"},
	{"404,500|GOOD", "404 500 GOOD", ""},
	{"500|404,GOOD", "500 404 GOOD", ""},
	{"500|404", "500 404", "404 Not Found"},
	{"404", "404", "404 Not Found"},
	{"404,410", "404 410", "404 Not Found; HOST/410/example.com/a/@v/v1.0.0.zip: 410 Gone"},
	{" 404 , GOOD ", "404 GOOD", ""},
	{",404,,GOOD,", "404 GOOD", ""},
	{"404||GOOD", "404 GOOD", ""},
	{"off", "", "not in the store, and GOPROXY is off"},
	{"404,off", "404", "404 Not Found"},
	{"404,off,GOOD", "404", "404 Not Found"},
	{"500|off|GOOD", "500", "500 Internal Server Error"},
	{"direct", "", "GOPROXY is direct, and only module proxies are asked"},
	{"GOOD,direct", "GOOD", ""},
	{"404,direct", "404", "404 Not Found; GOPROXY goes on to direct, and only module proxies are asked"},
	{"500,direct", "500", "500 Internal Server Error"},
	{"500|direct,GOOD", "500", "500 Internal Server Error; GOPROXY goes on to direct, and only module proxies are asked"},
}

// kinds serves each of proxyKinds below its own path, and fills lists.
func kinds(t *testing.T, mods []testModule) (p *testProxy, fill func(list string) string) {
	p = serve(t, mods)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + l.Addr().String()
	l.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for file, data := range maps.Clone(p.files) {
		for kind, rule := range proxyKinds {
			p.files["/"+kind+file] = data
			if rule != nil {
				p.rules["/"+kind+file] = rule
			}
		}
	}
	return p, func(list string) string {
		return replaceWords(list, func(word string) string {
			switch _, known := proxyKinds[word]; {
			case word == "DEAD":
				return dead
			case known:
				return p.URL + "/" + word
			}
			return word
		})
	}
}

// replaceWords replaces what is between the separators of a list.
func replaceWords(list string, f func(string) string) string {
	var out, word strings.Builder
	for _, r := range list + "\n" {
		if strings.ContainsRune(",| \n", r) {
			out.WriteString(f(word.String()))
			out.WriteRune(r)
			word.Reset()
			continue
		}
		word.WriteRune(r)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// askedKinds are the proxies that were asked, in the order of the first time.
func (p *testProxy) askedKinds() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, path := range p.asked {
		if kind := strings.Split(path, "/")[1]; !slices.Contains(out, kind) {
			out = append(out, kind)
		}
	}
	p.asked = nil
	return strings.Join(out, " ")
}

func TestProxyLists(t *testing.T) {
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")
	plan := planOf(t, "example.com/a v1.0.0 "+mods[0].zipSum+"\n")
	p, fill := kinds(t, mods)
	for _, test := range proxyLists {
		_, err := All(context.Background(), openStore(t), plan, via(t, fill(test.list)))
		if asked := p.askedKinds(); asked != test.asked {
			t.Errorf("%q: asked %q, want %q", test.list, asked, test.asked)
		}
		want := strings.ReplaceAll(test.err, "HOST", p.URL)
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: got %v, want …%s", test.list, err, want)
		}
	}
}

// The go command asks the same proxies, and has the same success.
func TestProxyListsLikeGo(t *testing.T) {
	program, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to compare with")
	}
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")
	p, fill := kinds(t, mods)
	for _, test := range proxyLists {
		if strings.Contains(test.list, "direct") && test.err != "" {
			continue // it would leave this machine
		}
		dir := t.TempDir()
		cmd := exec.Command(program, "mod", "download", "example.com/a@v1.0.0")
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GOPATH=" + dir, "GOMODCACHE=" + dir + "/mod", "GOCACHE=" + dir + "/cache",
			"GOFLAGS=-modcacherw", "GOENV=off", "GOTOOLCHAIN=local", "GOSUMDB=off", "GOPROXY=" + fill(test.list)}
		out, err := cmd.CombinedOutput()
		if asked := p.askedKinds(); asked != test.asked || (err == nil) != (test.err == "") {
			t.Errorf("%q: the go command asked %q, want %q; error %v, want %q\n%s", test.list, asked, test.asked, err, test.err, out)
		}
	}
}

func TestFileProxy(t *testing.T) {
	mods := parseModules(t, modules)
	p := newProxy(mods)
	dir := filepath.Join(t.TempDir(), "a dir")
	for name, data := range p.files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	list := (&url.URL{Scheme: "file", Path: dir}).String()
	s := openStore(t)
	mustFetch(t, s, planOf(t, goSum(mods)), via(t, list))
	checkClean(t, s)

	// The next one is asked for what a directory lacks, not for what it spoils.
	rest := serve(t, mods)
	os.Remove(filepath.Join(dir, "example.com/old/@v/v2.0.0+incompatible.zip"))
	mustFetch(t, openStore(t), planOf(t, goSum(mods)), via(t, list+","+rest.URL))
	if diff := cmp.Diff([]string{"/example.com/old/@v/v2.0.0+incompatible.zip"}, rest.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if err := os.Mkdir(filepath.Join(dir, "example.com/old/@v/v2.0.0+incompatible.zip"), 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := All(context.Background(), openStore(t), planOf(t, goSum(mods)), via(t, list+","+rest.URL))
	want := "go.sum:5: example.com/old@v2.0.0+incompatible: " + list + "/example.com/old/@v/v2.0.0+incompatible.zip: not a regular file"
	if fmt.Sprint(err) != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestPrivate(t *testing.T) {
	mods := parseModules(t, modules)
	for _, test := range []struct {
		name string
		vars map[string]string
		want string // of example.com/a; "" for none
	}{
		{"GOPRIVATE", map[string]string{"GOPRIVATE": "other.com,example.com/a"}, `GOPRIVATE has "example.com/a"`},
		{"pattern", map[string]string{"GOPRIVATE": "*.com/a,x"}, `GOPRIVATE has "*.com/a"`},
		{"GONOPROXY", map[string]string{"GONOPROXY": "example.com/a", "GOPRIVATE": "x"}, `GONOPROXY has "example.com/a"`},
		{"GONOPROXY wins", map[string]string{"GONOPROXY": "none", "GOPRIVATE": "example.com"}, ""},
		{"no match", map[string]string{"GOPRIVATE": "example.com/a/b,xample.com"}, ""},
		{"even if off", map[string]string{"GOPRIVATE": "example.com/a", "GOPROXY": "off"}, `GOPRIVATE has "example.com/a"`},
	} {
		p := serve(t, mods)
		vars := map[string]string{"GOPROXY": p.URL}
		for k, v := range test.vars {
			vars[k] = v
		}
		sum := "example.com/a v1.0.0 " + mods[1].zipSum + "\n"
		plan := planOf(t, sum)
		_, err := All(context.Background(), openStore(t), plan, Options{Env: testEnv(t, vars)})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		want := "go.sum:1: example.com/a@v1.0.0: " + test.want + ", which keeps it from proxies, and only module proxies are asked"
		if e, ok := err.(*Error); !ok || e.Error() != want || len(e.Hints) != 1 {
			t.Errorf("%s: got %v\nwant %s", test.name, err, want)
		}
		if asked := p.requests(); asked != nil {
			t.Errorf("%s: a proxy was asked for %v", test.name, asked)
		}
		// A mirror that was named for this very purpose may be asked.
		mustFetch(t, openStore(t), plan, Options{Env: testEnv(t, vars), Mirrors: map[string]string{"gomod": p.URL}})
	}
}

func TestGoEnvFile(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	plan := planOf(t, goSum(mods))
	dir := t.TempDir()
	file := filepath.Join(dir, "go", "env")
	os.Mkdir(filepath.Dir(file), 0o777)
	if err := os.WriteFile(file, []byte("# words\nGOPROXY="+p.URL+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	mustFetch(t, openStore(t), plan, Options{Env: testEnv(t, map[string]string{"XDG_CONFIG_HOME": dir})})
	mustFetch(t, openStore(t), plan, Options{Env: testEnv(t, map[string]string{"GOENV": file})})
	for name, vars := range map[string]map[string]string{
		"the environment wins": {"XDG_CONFIG_HOME": dir, "GOPROXY": "off"},
		"off":                  {"XDG_CONFIG_HOME": dir, "GOENV": "off"},
		"another file":         {"XDG_CONFIG_HOME": dir, "GOENV": file + "x"},
	} {
		if _, err := All(context.Background(), openStore(t), plan, Options{Env: testEnv(t, vars)}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Where nobody set GOPROXY, an installed go command knows it: its distributor
// may have set another one.
func TestAskGo(t *testing.T) {
	mods := parseModules(t, modules)
	p := serve(t, mods)
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$*\" = 'env GOPROXY' ] && [ \"$GOTOOLCHAIN\" = local ] && echo " + p.URL + "\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o777); err != nil {
		t.Fatal(err)
	}
	path := strings.Join([]string{"", "relative", filepath.Join(bin, "none"), bin}, string(filepath.ListSeparator))
	env := testEnv(t, map[string]string{"PATH": path})
	mustFetch(t, openStore(t), planOf(t, goSum(mods)), Options{Env: env})

	DefaultGOPROXY = "off"
	defer func() { DefaultGOPROXY = "" }()
	if _, err := All(context.Background(), openStore(t), planOf(t, goSum(mods)), Options{Env: env}); err == nil {
		t.Error("the stamped default does not come before the go command")
	}
}

func TestParseGoEnv(t *testing.T) {
	text := "GOPROXY=a=b\n#GOSUMDB=x\n GOFLAGS=y\nlower=z\n=\nGOX\nGOPRIVATE= spaced \nGOPROXY=c\nGOLAST=d"
	want := map[string]string{"GOPROXY": "c", "GOPRIVATE": " spaced ", "GOLAST": "d"}
	if diff := cmp.Diff(want, parseGoEnv([]byte(text))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzGoEnv(f *testing.F) {
	f.Add("GOPROXY=off\n# x\nGOSUMDB=\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parseGoEnv([]byte(text)) {
			if !strings.Contains(text, name+"="+value) || strings.Contains(name+value, "\n") {
				t.Errorf("%q: made up %q=%q", text, name, value)
			}
		}
	})
}

func FuzzGOPROXY(f *testing.F) {
	for _, test := range proxyLists {
		f.Add(test.list)
	}
	f.Add("https://u:p@example.com/x?y,file:///z|http://[::1]:80,direct")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseGOPROXY(text)
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%q: %v and %v", text, list, err)
		}
		for i, p := range list {
			if (p.kind == entryURL) != (p.base != nil) || p.kind != entryURL && i != len(list)-1 {
				t.Errorf("%q: entry %d is %v", text, i, p)
			}
			if p.base == nil {
				continue
			}
			in := cache.Input{Ecosystem: "gomod", Kind: "zip", Name: "example.com/Upper", Version: "v1.0.0+incompatible"}
			below, _, err := remotePath(in)
			if err != nil {
				t.Fatal(err)
			}
			u := joinURL(p.base, below)
			back, err := url.Parse(u.String())
			if err != nil || !strings.HasSuffix(back.Path, "/example.com/!upper/@v/v1.0.0+incompatible.zip") || back.Host != p.base.Host {
				t.Errorf("%q: asks for %q (%v)", text, u, err)
			}
			if at, err := url.Parse(redacted(u)); err != nil || at.User != nil || at.RawQuery != "" || at.Fragment != "" || at.Path != u.Path {
				t.Errorf("%q: prints %q (%v)", text, at, err)
			}
		}
	})
}
