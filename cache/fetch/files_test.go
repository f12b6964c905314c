package fetch

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// serveFiles serves contents by path.
func serveFiles(t testing.TB, files map[string]string) *testProxy {
	p := serve(t, nil)
	for name, text := range files {
		p.files[name] = []byte(text)
	}
	return p
}

// artifact is an entry of an artifacts.lock.yaml for content at a URL; more are
// further lines.
func artifact(address, content string, more ...string) string {
	lines := append([]string{"- download_url: " + address, "checksum: " + cache.SumBytes([]byte(content)).String()}, more...)
	return strings.Join(lines, "\n  ") + "\n"
}

// filePlan reads an artifacts.lock.yaml of these entries as the command does.
// Each is of two lines and more; the first begins at line 3.
func filePlan(t testing.TB, entries ...string) cache.Plan {
	t.Helper()
	text := "metadata: {version: \"2.0\"}\nartifacts:\n" + strings.Join(entries, "")
	fsys := fstest.MapFS{"artifacts.lock.yaml": {Data: []byte(text)}}
	plan := ecosystem.New(fsys, []cache.Package{{Type: "generic", Path: "."}}, ecosystem.Options{})
	if len(plan.Problems) > 0 {
		t.Fatal(plan.Problems)
	}
	return plan
}

// bare are Options in an environment of these variables alone.
func bare(t testing.TB, vars map[string]string) Options { return Options{Env: testEnv(t, vars)} }

func TestFiles(t *testing.T) {
	p := serveFiles(t, map[string]string{"/a": "content of a", "/dir/b.tgz": "content of b", "/empty": "", "/again": "content of a"})
	plan := filePlan(t,
		artifact(p.URL+"/a", "content of a"), artifact(p.URL+"/dir/b.tgz?download=true", "content of b", "filename: x/y"),
		artifact(p.URL+"/empty", ""), artifact(p.URL+"/again", "content of a"))
	s := openStore(t)
	rec := newRecorder()
	o := bare(t, nil)
	o.Progress, o.Parallel = rec, 1
	m := mustFetch(t, s, plan, o)
	// What is wanted twice is fetched once.
	if got := p.requests(); len(got) != 3 || slices.Contains(got, "/a") == slices.Contains(got, "/again") {
		t.Errorf("requests: %q", got)
	}
	var got []string
	for _, e := range m.Entries {
		data, err := os.ReadFile(s.Path(e.Blob))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %q", e.Kind, e.Name, data))
	}
	want := []string{`file a "content of a"`, `file again "content of a"`, `file empty ""`, `file x/y "content of b"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ps := m.Missing(plan); len(ps) > 0 || rec.missing != 4 || len(rec.finished) != 4 {
		t.Errorf("missing %v; began with %d missing, finished %d", ps, rec.missing, len(rec.finished))
	}
	if text := string(m.Encode()); strings.Contains(text, p.URL) {
		t.Errorf("the manifest says where things came from: %s", text)
	}
	checkClean(t, s)

	// Once more: no setting is read, nobody is asked.
	again := mustFetch(t, s, plan, Options{Offline: true, Env: func(name string) string {
		t.Errorf("%s is read", name)
		return ""
	}})
	if diff := cmp.Diff(string(m.Encode()), string(again.Encode())); diff != "" {
		t.Error(diff)
	}
	if got := p.requests(); got != nil {
		t.Errorf("requests: %q", got)
	}
}

func TestFilesVerify(t *testing.T) {
	p := serveFiles(t, map[string]string{"/a": "content of a", "/b": "content of b"})
	plan := filePlan(t, artifact(p.URL+"/a", "content of a"), artifact(p.URL+"/b", "content of b"))
	s := openStore(t)
	m := mustFetch(t, s, plan, bare(t, nil))
	p.requests()
	flip(t, s.Path(m.Entries[0].Blob))
	o := bare(t, nil)
	o.Verify, o.Offline = true, true
	_, err := All(context.Background(), s, plan, o)
	if want := "artifacts.lock.yaml:3: a: damaged in the store, and offline"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	o.Offline = false
	mustFetch(t, s, plan, o)
	if diff := cmp.Diff([]string{"/a"}, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	checkClean(t, s)
	_, err = All(context.Background(), openStore(t), plan, Options{Offline: true})
	if want := "artifacts.lock.yaml:3: a: not in the store, and offline\nartifacts.lock.yaml:5: b: not in the store, and offline"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// longer announces less than it sends.
func longer(w http.ResponseWriter, _ *http.Request, _ int) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngoods and bombs")
	return true
}

// trickle sends a byte now and then: never for long without one.
func trickle(w http.ResponseWriter, r *http.Request, _ int) bool {
	for r.Context().Err() == nil {
		w.Write([]byte("x"))
		http.NewResponseController(w).Flush()
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

func TestFilesMisbehaving(t *testing.T) {
	mismatch := func(got string) string {
		return "checksum mismatch: want " + cache.SumBytes([]byte("goods")).String() + ", got " + cache.SumBytes([]byte(got)).String() + " (from HOST/f)"
	}
	for _, test := range []struct {
		name string
		rule rule
		size int64 // that the lockfile tells
		want string
		n    int
	}{
		{"good", answer(200, "goods"), 0, "", 1},
		{"good, of the size", answer(200, "goods"), 5, "", 1},
		{"404", answer(404, "no such\x1b[2J thing"), 0, "HOST/f: 404 Not Found (no such[2J thing)", 1},
		{"403", answer(403, ""), 0, "HOST/f: 403 Forbidden", 1},
		{"204", answer(204, ""), 0, "HOST/f: 204 No Content", 1},
		{"500 once", times(1, answer(500, "")), 0, "", 2},
		{"503 for ever", answer(503, ""), 0, "HOST/f: 503 Service Unavailable", 5},
		{"reset once", times(1, reset), 0, "", 2},
		{"truncated once", times(1, truncate), 0, "", 2},
		{"truncated for ever", truncate, 0, "HOST/f: ends too early", 5},
		{"stalled for ever", stall, 0, "HOST/f: no byte for 200ms", 2},
		{"silent for ever", silence, 0, "HOST: no byte for 200ms", 2},
		{"slow for ever", trickle, 0, "HOST/f: not done after 1s", 2},
		{"wrong content", answer(200, "wrong"), 0, mismatch("wrong"), 1},
		{"empty", answer(200, ""), 0, mismatch(""), 1},
		{"longer than announced", longer, 0, mismatch("good"), 1},
		{"shorter than the lockfile tells", answer(200, "good"), 5, "4 bytes, want 5 (from HOST/f)", 1},
		{"longer than the lockfile tells", answer(200, "goods!"), 5, "HOST/f: larger than 5 bytes", 1},
		{"without end", endless, 5, "HOST/f: larger than 5 bytes", 1},
		{"without end, in megabytes", endless, 3 << 20, "HOST/f: larger than 3 MB", 1},
		{"claims to be huge", then(answer(200, ""), "Content-Length", fmt.Sprint(int64(maxFile)+1)), 0, "HOST/f: larger than 64 GB", 1},
		{"redirects in a circle", then(answer(302, ""), "Location", "/f"), 0, "HOST/f: redirects more than 10 times", 10},
		{"redirects to a file", then(answer(302, ""), "Location", "file:///etc/passwd"), 0, "HOST/f: redirects from http to file:///etc/passwd", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := serveFiles(t, map[string]string{"/f": "goods", "/other": "other"})
			p.rules["/f"] = test.rule
			plan := filePlan(t, artifact(p.URL+"/f", "goods"), artifact(p.URL+"/other", "other"))
			plan.Inputs[0].Size = test.size
			o := bare(t, nil)
			o.StallTimeout, o.RequestTimeout = 200*time.Millisecond, time.Second
			s := openStore(t)
			_, err := All(context.Background(), s, plan, o)
			want := "<nil>"
			if test.want != "" {
				want = "artifacts.lock.yaml:3: f: " + strings.ReplaceAll(test.want, "HOST", p.URL)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if n := p.times("/f"); n != test.n {
				t.Errorf("asked %d times, want %d", n, test.n)
			}
			checkClean(t, s)
			mustFetch(t, s, filePlan(t, artifact(p.URL+"/other", "other")), Options{Offline: true})
		})
	}
}

// A sum that no lockfile promises, and a URL that is none, are said; nothing
// is asked.
func TestFilesWithout(t *testing.T) {
	plan := cache.Plan{Inputs: []cache.Input{
		{Ecosystem: "generic", Kind: "file", Name: "sum", Path: "sum", URL: "https://example.com/"},
		{Ecosystem: "generic", Kind: "file", Name: "url", Path: "url", Sum: cache.SumBytes(nil), URL: "mailto:x"},
	}}
	_, err := All(context.Background(), openStore(t), plan, bare(t, nil))
	want := "sum: not fetched: the lockfile has no checksum of it\nurl: the lockfile: has no URL of it that can be asked"
	if fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// credentialTests are what a guarded server at SERVER wants and what the
// lockfile says; DOOR is a server that must get no credential.
var credentialTests = []struct {
	name    string
	auth    string // of the lockfile
	netrc   string
	vars    map[string]string
	header  string // that the server wants, and its value
	value   string
	next    string // where the server redirects to
	mirror  string
	want    string
	hint    string
	scheme  string // of the server; https if empty
	noThird bool   // the server is not asked
}{
	{name: "bearer", auth: `{bearer: {value: "Bearer $TOKEN"}}`, header: "Authorization", value: "Bearer s3cret"},
	{name: "braces", auth: `{bearer: {value: "Bearer ${TOKEN}"}}`, header: "Authorization", value: "Bearer s3cret"},
	{name: "header", auth: `{bearer: {header: Private-Token, value: $TOKEN}}`, header: "Private-Token", value: "s3cret"},
	{name: "basic", auth: `{basic: {username: $SOMEONE, password: $TOKEN}}`, header: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))},
	{name: "on this machine", scheme: "http", auth: `{bearer: {value: $TOKEN}}`, header: "Authorization", value: "s3cret"},
	{name: "before netrc", auth: `{bearer: {value: $TOKEN}}`, netrc: "machine NAME login me password other", header: "Authorization", value: "s3cret"},
	{name: "netrc alone", netrc: "machine NAME login me password s3cret", header: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))},
	{name: "GOAUTH is for modules", vars: map[string]string{"GOAUTH": "off"}, netrc: "machine NAME login me password s3cret",
		header: "Authorization", value: "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))},
	{name: "wrong", auth: `{bearer: {value: $TOKEN}}`, header: "Authorization", value: "something else", want: "SERVER/f: 401 Unauthorized (who are you)", hint: "credentials for HOST go into"},
	{name: "unset", auth: `{bearer: {value: "$TOKEN$NONE"}}`, want: "$NONE is not set", hint: "set $NONE: ", noThird: true},
	{name: "several unset", auth: `{basic: {username: $NONE, password: "$NIL$TOKEN$NONE"}}`, want: "$NIL, $NONE are not set", hint: "set $NIL, $NONE: ", noThird: true},
	{name: "with a line break", auth: `{bearer: {value: $BROKEN}}`, want: "a credential with a line break or the like cannot be sent", hint: "look at the variables", noThird: true},
	{name: "redirect elsewhere", auth: `{bearer: {value: $TOKEN}}`, header: "Authorization", value: "s3cret", next: "DOOR/f"},
	{name: "redirect elsewhere, own header", auth: `{bearer: {header: Private-Token, value: $TOKEN}}`, header: "Private-Token", value: "s3cret", next: "DOOR/f"},
	{name: "redirect within", auth: `{bearer: {header: Private-Token, value: $TOKEN}}`, header: "Private-Token", value: "s3cret", next: "/g"},
	{name: "redirect to http", auth: `{bearer: {value: $TOKEN}}`, header: "Authorization", value: "s3cret", next: "PLAIN/f?token=s3cret", want: "SERVER/f: redirects from https to PLAIN/f"},
	{name: "mirror", auth: `{bearer: {value: $NONE}}`, mirror: "DOOR/mirror", noThird: true},
	{name: "mirror, then direct", auth: `{bearer: {value: $TOKEN}}`, mirror: "DOOR/lacking,direct", header: "Authorization", value: "s3cret"},
}

func TestFileCredentials(t *testing.T) {
	door := serveTLS(t, nil)
	plain := serve(t, nil)
	for _, p := range []*testProxy{door, plain} {
		p.files["/f"] = []byte("goods")
		p.rules["*"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			for name := range r.Header {
				if name != "User-Agent" && name != "Accept-Encoding" {
					return answer(418, "keep it to yourself")(w, r, 0)
				}
			}
			return false
		}
	}
	for _, test := range credentialTests {
		t.Run(test.name, func(t *testing.T) {
			p := serveTLS
			if test.scheme == "http" {
				p = serve
			}
			server := p(t, nil)
			server.files["/f"], server.files["/g"] = []byte("goods"), []byte("goods")
			u, _ := url.Parse(server.URL)
			fill := strings.NewReplacer("SERVER", server.URL, "HOST", u.Host, "NAME", u.Hostname(), "DOOR", door.URL, "PLAIN", plain.URL).Replace
			door.files["/mirror/"+u.Host+"/f"] = []byte("goods")
			server.rules["*"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.Header.Get(test.header) != test.value {
					return answer(401, "who are you")(w, r, 0)
				}
				if test.next != "" && r.URL.Path == "/f" {
					return then(answer(302, ""), "Location", fill(test.next))(w, r, 0)
				}
				return false
			}
			netrcFile := filepath.Join(t.TempDir(), "netrc")
			if err := os.WriteFile(netrcFile, []byte(fill(test.netrc)), 0o600); err != nil {
				t.Fatal(err)
			}
			vars := map[string]string{"TOKEN": "s3cret", "SOMEONE": "me", "BROKEN": "s3cret\r\nX: y", "NETRC": netrcFile}
			for k, v := range test.vars {
				vars[k] = v
			}
			o := bare(t, vars)
			rec := newRecorder()
			o.Progress = rec
			if test.mirror != "" {
				o.Mirrors = map[string]string{"generic": fill(test.mirror)}
			}
			more := []string{"auth: " + test.auth}
			if test.auth == "" {
				more = nil
			}
			s := openStore(t)
			_, err := All(context.Background(), s, filePlan(t, artifact(server.URL+"/f", "goods", more...)), o)
			want := "<nil>"
			if test.want != "" {
				want = "artifacts.lock.yaml:3: f: " + fill(test.want)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			said := fmt.Sprint(err, rec.notes)
			if e, ok := errors.AsType[*Error](err); ok {
				said += fmt.Sprint(e.Hints)
				if hint := strings.Join(e.Hints, "\n"); !strings.HasPrefix(hint, fill(test.hint)) || (test.hint == "") != (hint == "") {
					t.Errorf("hints: %q", e.Hints)
				}
			}
			if strings.Contains(said, "s3cret") || strings.Contains(said, base64.StdEncoding.EncodeToString([]byte("me:s3cret"))) {
				t.Errorf("a secret is in: %s", said)
			}
			if asked := len(server.requests()) > 0; asked == test.noThird {
				t.Errorf("the server was asked: %v", asked)
			}
			checkSecretless(t, s.Dir())
		})
	}
}

// checkSecretless fails where a file of a store has a credential in it.
func checkSecretless(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if strings.Contains(string(data), "s3cret") {
			t.Errorf("%s holds a secret", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileMirrors(t *testing.T) {
	own := serveFiles(t, map[string]string{"/a/f": "goods"})
	host := strings.TrimPrefix(own.URL, "http://")
	m := serveFiles(t, map[string]string{"/m/" + host + "/a/f": "goods"})
	m.rules["/bad/"+host+"/a/f"] = answer(500, "")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, host, "a"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, host, "a/f"), []byte("goods"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ list, asked, want string }{
		{"MIRROR/m", "m", ""},
		{"MIRROR/m/", "m", ""},
		{"MIRROR/none,MIRROR/m,direct", "none m", ""},
		{"MIRROR/none,direct", "none own", ""},
		{"MIRROR/bad|direct", "bad bad bad bad bad own", ""},
		{"MIRROR/bad,direct", "bad bad bad bad bad", "MIRROR/bad/HOST/a/f: 500 Internal Server Error"},
		{"MIRROR/none", "none", "MIRROR/none/HOST/a/f: 404 Not Found (not here: /none/HOST/a/f)"},
		{"direct", "own", ""},
		{"file://DIR", "", ""},
		{"file://DIR/none,direct", "own", ""},
		{"file://DIR/none", "", "file://DIR/none/HOST/a/f: no such file"},
		{"off", "", "mirror for generic: off: want the URL of a mirror, or direct"},
		{"MIRROR/m,off", "", "mirror for generic: off: want the URL of a mirror, or direct"},
		{"http://u:s3cret@example.com", "", "mirror for generic: entry 1: http://example.com: credentials would travel over plain http"},
		{"example", "", "mirror for generic: entry 1: want the URL of a proxy (https, http or file), off or direct"},
	} {
		fill := strings.NewReplacer("MIRROR", m.URL, "HOST", host, "DIR", dir).Replace
		o := bare(t, nil)
		o.Mirrors = map[string]string{"generic": fill(test.list)}
		own.requests()
		m.requests()
		_, err := All(context.Background(), openStore(t), filePlan(t, artifact(own.URL+"/a/f", "goods")), o)
		want := "<nil>"
		switch {
		case strings.HasPrefix(test.want, "mirror for"):
			want = test.want
		case test.want != "":
			want = "artifacts.lock.yaml:3: f: " + fill(test.want)
		}
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s: got %s\nwant %s", test.list, got, want)
		}
		var asked []string
		for _, r := range m.requests() {
			asked = append(asked, strings.TrimSuffix(strings.TrimPrefix(r, "/"), "/"+host+"/a/f"))
		}
		for range own.requests() {
			asked = append(asked, "own")
		}
		got := strings.Fields(test.asked)
		slices.Sort(got)
		slices.Sort(asked)
		if !slices.Equal(got, asked) {
			t.Errorf("%s: asked %q, want %q", test.list, asked, got)
		}
	}
}

// A package manager that derives URLs, has registries and credentials of its
// own needs no more than a fileSource.
func TestFileSource(t *testing.T) {
	p := serveTLS(t, nil)
	p.files["/registry/-/pkg-1.0.0.tgz"] = []byte("goods")
	p.files["/mirror/pkg-1.0.0.tgz"] = []byte("goods")
	p.rules["/registry/-/pkg-1.0.0.tgz"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		return r.Header.Get("Authorization") != "Bearer s3cret" && answer(401, "")(w, r, 0)
	}
	backends["cobol"] = func(r *run) backend {
		return newFiles(r, fileSource{
			kind:  "cobol",
			at:    func(in cache.Input) (*url.URL, error) { return url.Parse(p.URL + "/registry/-/" + in.Path) },
			below: func(in cache.Input, _ *url.URL) string { return in.Path },
			auth: func(_ cache.Input, u *url.URL) (string, string) {
				if strings.HasPrefix(u.Path, "/registry/") {
					return "Authorization", "Bearer " + r.env("COBOL_TOKEN")
				}
				return "", ""
			},
		})
	}
	defer delete(backends, "cobol")
	plan := cache.Plan{Inputs: []cache.Input{{Ecosystem: "cobol", Name: "pkg", Version: "1.0.0", Path: "pkg-1.0.0.tgz", Sum: cache.SumBytes([]byte("goods"))}}}
	o := bare(t, map[string]string{"COBOL_TOKEN": "s3cret"})
	mustFetch(t, openStore(t), plan, o)
	o.Mirrors = map[string]string{"cobol": p.URL + "/mirror"}
	p.requests()
	mustFetch(t, openStore(t), plan, o)
	if diff := cmp.Diff([]string{"/mirror/pkg-1.0.0.tgz"}, p.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
