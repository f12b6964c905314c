package fetch

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermetic-build/hermetic/cache"
)

// answer is a rule that always answers with a status.
func answer(status int, body string) rule {
	return func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
		return true
	}
}

// times is a rule that holds for the first n requests only.
func times(n int, r rule) rule {
	return func(w http.ResponseWriter, req *http.Request, k int) bool { return k <= n && r(w, req, k) }
}

// reset closes the connection in the middle of an answer of 1000 bytes.
func reset(w http.ResponseWriter, _ *http.Request, _ int) bool {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	return true
}

// truncate ends an answer too early, in good order otherwise.
func truncate(w http.ResponseWriter, _ *http.Request, _ int) bool {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, "half of it")
	return true
}

// stall sends some of a body and no more.
func stall(w http.ResponseWriter, r *http.Request, _ int) bool {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, "half of it")
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

// silence accepts a request and says nothing.
func silence(_ http.ResponseWriter, r *http.Request, _ int) bool {
	<-r.Context().Done()
	return true
}

// endless sends a body without an end, in no declared size.
func endless(w http.ResponseWriter, _ *http.Request, _ int) bool {
	block := make([]byte, 1<<20)
	for {
		if _, err := w.Write(block); err != nil {
			return true
		}
	}
}

// then are headers before a status.
func then(r rule, header, value string) rule {
	return func(w http.ResponseWriter, req *http.Request, n int) bool {
		w.Header().Set(header, value)
		return r(w, req, n)
	}
}

// notZip is what the cache says of content that is no zip.
func notZip(t *testing.T) string {
	sum, err := cache.ParseSum("h1:" + strings.Repeat("A", 43) + "=")
	if err == nil {
		err = sum.Check(strings.NewReader("<html>"), 6)
	}
	if err == nil {
		t.Fatal("no error")
	}
	return err.Error()
}

const zipPath = "/example.com/a/@v/v1.0.0.zip"

// TestMisbehaving has a proxy misbehave for one zip in each of the ways that
// proxies do. HOST in an error is the proxy.
func TestMisbehaving(t *testing.T) {
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n-- example.com/b@v1.0.0/b --\nb\n")
	wrong := mods[1].zip
	for _, test := range []struct {
		name string
		rule rule
		want string // the error about the zip, "" for none
		n    int    // requests for the zip
	}{
		{"404", answer(404, ""), "HOST" + zipPath + ": 404 Not Found", 1},
		{"404 that explains", answer(404, "not found: unknown revision v1.0.0\nmore\n"), "HOST" + zipPath + ": 404 Not Found (not found: unknown revision v1.0.0)", 1},
		{"404 that attacks terminals", answer(404, "a\x1b[2Jb"), "HOST" + zipPath + ": 404 Not Found (a[2Jb)", 1},
		{"404 with a flood", answer(404, strings.Repeat("x", 5000)), "HOST" + zipPath + ": 404 Not Found (" + strings.Repeat("x", 200) + "…)", 1},
		{"410", answer(410, "gone"), "HOST" + zipPath + ": 410 Gone", 1},
		{"401", answer(401, ""), "HOST" + zipPath + ": 401 Unauthorized", 1},
		{"403", answer(403, "quarantined"), "HOST" + zipPath + ": 403 Forbidden (quarantined)", 1},
		{"501", answer(501, ""), "HOST" + zipPath + ": 501 Not Implemented", 1},
		{"204", answer(204, ""), "HOST" + zipPath + ": 204 No Content", 1},
		{"500 twice", times(2, answer(500, "")), "", 3},
		{"500 for ever", answer(500, "oops"), "HOST" + zipPath + ": 500 Internal Server Error (oops)", 5},
		{"503 and a date", times(1, then(answer(503, ""), "Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")), "", 2},
		{"429 with a second", times(1, then(answer(429, ""), "Retry-After", "1")), "", 2},
		{"429 with a day", then(answer(429, ""), "Retry-After", "86400"), "HOST" + zipPath + ": 429 Too Many Requests, retry after 24h0m0s", 1},
		{"reset once", times(1, reset), "", 2},
		{"truncated once", times(1, truncate), "", 2},
		{"truncated for ever", truncate, "HOST" + zipPath + ": ends too early", 5},
		{"stalled once", times(1, stall), "", 2},
		{"stalled for ever", stall, "HOST" + zipPath + ": no byte for 400ms", 2},
		{"silent once", times(1, silence), "", 2},
		{"silent for ever", silence, "HOST: no byte for 400ms", 2},
		{"wrong content", func(w http.ResponseWriter, _ *http.Request, _ int) bool { w.Write(wrong); return true },
			"checksum mismatch: want " + mods[0].zipSum + ", got " + mods[1].zipSum + " (from HOST" + zipPath + ")", 1},
		{"not a zip", answer(200, "<html>"), "NOT-A-ZIP (from HOST" + zipPath + ")", 1},
		{"empty", answer(200, ""), "NOT-A-ZIP (from HOST" + zipPath + ")", 1},
		{"claims to be huge", then(answer(200, ""), "Content-Length", fmt.Sprint(501<<20)), "HOST" + zipPath + ": larger than 500 MB", 1},
		{"redirects in a circle", then(answer(302, ""), "Location", zipPath), "HOST" + zipPath + ": redirects more than 10 times", 10},
		{"redirects to nonsense", then(answer(302, ""), "Location", "http://secret:pass word@[/"), "HOST" + zipPath + ": redirects to what is not a URL", 1},
		{"redirects to another scheme", then(answer(302, ""), "Location", "ftp://example.com/"), "HOST" + zipPath + ": redirects from http to ftp://example.com/", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serve(t, mods)
			p.rules[zipPath] = test.rule
			o := via(t, p.URL)
			o.StallTimeout = 400 * time.Millisecond
			s := openStore(t)
			sum := "example.com/a v1.0.0 " + mods[0].zipSum + "\nexample.com/b v1.0.0 " + mods[1].zipSum + "\n"
			_, err := All(context.Background(), s, planOf(t, sum), o)
			want := "<nil>"
			if test.want != "" {
				want = "go.sum:1: example.com/a@v1.0.0: " + strings.NewReplacer("HOST", p.URL, "NOT-A-ZIP", notZip(t)).Replace(test.want)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if n := p.times(zipPath); n != test.n {
				t.Errorf("asked %d times, want %d", n, test.n)
			}
			checkClean(t, s)
			b := s.Path(mustFetch(t, s, planOf(t, strings.SplitAfter(sum, "\n")[1]), Options{Offline: true}).Entries[0].Blob)
			if _, err := os.Stat(b); err != nil {
				t.Errorf("the other module: %v", err)
			}
		})
	}
}

// A body without an end is cut off, and what was read of it is not kept.
func TestEndless(t *testing.T) {
	m := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")[0]
	p := serve(t, nil)
	p.rules["*"] = endless
	s := openStore(t)
	_, err := All(context.Background(), s, planOf(t, "example.com/a v1.0.0/go.mod "+m.modSum+"\n"), via(t, p.URL))
	want := "go.sum:1: example.com/a@v1.0.0/go.mod: " + p.URL + "/example.com/a/@v/v1.0.0.mod: larger than 16 MB"
	if fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	checkClean(t, s)
}

// A server that nobody reaches is one problem, whatever the number of inputs,
// and not each input waits for it.
func TestUnreachable(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "-- example.com/m%02d@v1.0.0/x --\nx\n", i)
	}
	mods := parseModules(t, text.String())
	plan := planOf(t, goSum(mods))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = All(context.Background(), openStore(t), plan, via(t, "http://"+addr))
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "go.sum:1: example.com/m00@v1.0.0 and 199 more: http://") {
		t.Errorf("refused: got %v", err)
	}

	p := serve(t, nil)
	p.rules["*"] = silence
	o := via(t, p.URL)
	o.StallTimeout, o.Parallel = 50*time.Millisecond, 4
	_, err = All(context.Background(), openStore(t), plan, o)
	if want := "go.sum:1: example.com/m00@v1.0.0 and 199 more: " + p.URL + ": no byte for 50ms"; fmt.Sprint(err) != want {
		t.Errorf("silent: got %v\nwant %s", err, want)
	}
	if n := len(p.requests()); n > 20 {
		t.Errorf("silent: asked %d times", n)
	}
}

// One server is down for good in the middle: each file gets one try then, and
// those that it does serve are had.
func TestHalfBroken(t *testing.T) {
	var text strings.Builder
	for i := range 30 {
		fmt.Fprintf(&text, "-- example.com/m%02d@v1.0.0/x --\n%d\n", i, i)
	}
	mods := parseModules(t, text.String())
	p := serve(t, mods)
	for i := range 20 {
		p.rules[fmt.Sprintf("/example.com/m%02d/@v/v1.0.0.zip", i)] = answer(500, "")
		p.rules[fmt.Sprintf("/example.com/m%02d/@v/v1.0.0.mod", i)] = answer(500, "")
	}
	o := via(t, p.URL)
	o.Parallel = 1
	_, err := All(context.Background(), openStore(t), planOf(t, goSum(mods)), o)
	if n := strings.Count(fmt.Sprint(err), "500 Internal"); n != 40 {
		t.Errorf("%d problems, want 40: %v", n, err)
	}
	if n := len(p.requests()); n != 4*5+36+10 {
		t.Errorf("asked %d times", n)
	}
}

func TestCredentials(t *testing.T) {
	const user, secret = "someone", "s3cret-t0ken"
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")
	sum := "example.com/a v1.0.0 " + mods[0].zipSum + "\n"
	guarded := func(next rule) rule {
		return func(w http.ResponseWriter, r *http.Request, n int) bool {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != secret {
				return answer(401, "who are you")(w, r, n)
			}
			return next(w, r, n)
		}
	}
	pass := func(http.ResponseWriter, *http.Request, int) bool { return false }
	open := serveTLS(t, mods) // wants no credentials, and must not get any
	open.rules["*"] = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			return answer(418, "keep it to yourself")(w, r, 0)
		}
		return false
	}
	plain := serve(t, mods)
	plain.rules["*"] = open.rules["*"]

	for _, test := range []struct {
		name   string
		list   string // HOST is the guarded proxy
		netrc  string
		vars   map[string]string
		next   rule
		want   string
		hinted bool
	}{
		{name: "netrc", list: "https://HOST", netrc: "machine NAME login someone password s3cret-t0ken\n"},
		{name: "netrc with port", list: "https://HOST", netrc: "machine NAME login x password y\nmachine HOST login someone password s3cret-t0ken\n"},
		{name: "URL", list: "https://someone:s3cret-t0ken@HOST"},
		{name: "URL before netrc", list: "https://someone:s3cret-t0ken@HOST", netrc: "machine NAME login x password y\n"},
		{name: "none", list: "https://HOST", want: "https://HOST" + zipPath + ": 401 Unauthorized (who are you)", hinted: true},
		{name: "wrong", list: "https://someone:s3cret-t0ke@HOST", want: "https://HOST" + zipPath + ": 401 Unauthorized (who are you)", hinted: true},
		{name: "GOAUTH off", list: "https://HOST", netrc: "machine NAME login someone password s3cret-t0ken\n", vars: map[string]string{"GOAUTH": "off"},
			want: "https://HOST" + zipPath + ": 401 Unauthorized (who are you)", hinted: true},
		{name: "GOAUTH list", list: "https://HOST", netrc: "machine NAME login someone password s3cret-t0ken\n", vars: map[string]string{"GOAUTH": "git /x; netrc"}},
		{name: "no path", list: "https://someone:s3cret-t0ken@HOST/sub?token=s3cret-t0ken", next: answer(404, ""),
			want: "https://HOST/sub" + zipPath + ": 404 Not Found"},
		{name: "redirect elsewhere", list: "https://someone:s3cret-t0ken@HOST", next: then(answer(302, ""), "Location", open.URL+zipPath)},
		{name: "redirect to http", list: "https://someone:s3cret-t0ken@HOST", next: then(answer(302, ""), "Location", plain.URL+zipPath+"?token="+secret),
			want: "https://HOST" + zipPath + ": redirects from https to " + plain.URL + zipPath},
		{name: "wrong content", list: "https://someone:s3cret-t0ken@HOST", next: answer(200, "x"),
			want: "NOT-A-ZIP (from https://HOST" + zipPath + ")"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serveTLS(t, mods)
			next := test.next
			if next == nil {
				next = pass
			}
			p.rules["*"] = guarded(next)
			u, _ := url.Parse(p.URL)
			fill := strings.NewReplacer("HOST", u.Host, "NAME", u.Hostname(), "NOT-A-ZIP", notZip(t)).Replace
			netrcFile := filepath.Join(t.TempDir(), "netrc")
			if err := os.WriteFile(netrcFile, []byte(fill(test.netrc)), 0o600); err != nil {
				t.Fatal(err)
			}
			vars := map[string]string{"GOPROXY": fill(test.list), "NETRC": netrcFile}
			for k, v := range test.vars {
				vars[k] = v
			}
			rec := newRecorder()
			_, err := All(context.Background(), openStore(t), planOf(t, sum), Options{Env: testEnv(t, vars), Progress: rec})
			want := "<nil>"
			if test.want != "" {
				want = "go.sum:1: example.com/a@v1.0.0: " + fill(test.want)
			}
			if got := fmt.Sprint(err); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			said := fmt.Sprint(err, rec.notes)
			if e, ok := err.(*Error); ok {
				said += fmt.Sprint(e.Hints)
				if hinted := len(e.Hints) > 0; hinted != test.hinted {
					t.Errorf("hints: %q", e.Hints)
				}
			}
			for _, s := range []string{secret, base64.StdEncoding.EncodeToString([]byte(user + ":" + secret)), user} {
				if strings.Contains(said, s) {
					t.Errorf("%q is in: %s", s, said)
				}
			}
		})
	}
}

// Credentials in a setting that makes no sense are not repeated.
func TestBadSettings(t *testing.T) {
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")
	plan := planOf(t, goSum(mods))
	for _, test := range []struct {
		name string
		o    Options
		want string
	}{
		{"nowhere", Options{Env: testEnv(t, nil)}, "GOPROXY: not set, and there is no go command that knows one; set it to the URL of a module proxy"},
		{"no entries", via(t, " , |"), "GOPROXY: no entries"},
		{"not a URL", via(t, "https://example.com,https://u:s3cret@exa mple.com"), "GOPROXY: entry 2: not a URL"},
		{"port", via(t, "https://u:s3cret@example.com:http"), "GOPROXY: entry 1: not a URL"},
		{"scheme", via(t, "ftp://u:s3cret@example.com"), "GOPROXY: entry 1: want the URL of a proxy (https, http or file), off or direct"},
		{"word", via(t, "of"), "GOPROXY: entry 1: want the URL of a proxy (https, http or file), off or direct"},
		{"path", via(t, "/srv/proxy"), "GOPROXY: entry 1: want the URL of a proxy (https, http or file), off or direct"},
		{"host", via(t, "https:///x"), "GOPROXY: entry 1: a URL without a host"},
		{"file with host", via(t, "file://u:s3cret@host/x"), "GOPROXY: entry 1: a file URL of more than an absolute path"},
		{"password over http", via(t, "http://u:s3cret@example.com/x?s3cret"), "GOPROXY: entry 1: http://example.com/x: credentials would travel over plain http"},
		{"mirror", Options{Env: testEnv(t, nil), Mirrors: map[string]string{"gomod": "x"}}, "mirror for gomod: entry 1: want the URL of a proxy (https, http or file), off or direct"},
	} {
		_, err := All(context.Background(), openStore(t), plan, test.o)
		if fmt.Sprint(err) != test.want {
			t.Errorf("%s: got %v\nwant %s", test.name, err, test.want)
		}
	}
	for _, value := range []string{"http://u:s3cret@", "u:s3cret@[/", "http://[u:s3cret", ":%s3cret"} {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
			env := testEnv(t, map[string]string{"GOPROXY": "http://example.com", name: value})
			_, err := All(context.Background(), openStore(t), plan, Options{Env: env})
			if want := name + ": not the URL of an HTTP proxy"; fmt.Sprint(err) != want {
				t.Errorf("%q: got %v\nwant %s", value, err, want)
			}
		}
	}
}

// HTTP_PROXY and NO_PROXY of the given environment are honoured.
func TestHTTPProxy(t *testing.T) {
	mods := parseModules(t, modules)
	p := newProxy(mods)
	forward := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "modules.example.com" {
			t.Errorf("asked for %s", r.URL)
		}
		p.ServeHTTP(w, r)
	}))
	defer forward.Close()
	env := testEnv(t, map[string]string{"GOPROXY": "http://modules.example.com", "http_proxy": forward.URL})
	mustFetch(t, openStore(t), planOf(t, goSum(mods)), Options{Env: env})

	direct := serve(t, mods)
	named := strings.Replace(direct.URL, "127.0.0.1", "localhost", 1) // never proxied
	env = testEnv(t, map[string]string{"GOPROXY": named, "http_proxy": forward.URL})
	mustFetch(t, openStore(t), planOf(t, goSum(mods)), Options{Env: env})
}

// A certificate that nobody vouches for is one problem, with a hint.
func TestUnknownAuthority(t *testing.T) {
	mods := parseModules(t, "-- example.com/a@v1.0.0/a --\na\n")
	p := serveTLS(t, mods)
	named := strings.Replace(p.URL, "127.0.0.1", "localhost", 1) // not a name in the certificate
	_, err := All(context.Background(), openStore(t), planOf(t, goSum(mods)), via(t, named))
	e, ok := err.(*Error)
	if !ok || len(e.Problems) != 1 || !strings.Contains(err.Error(), "x509") || len(e.Hints) != 1 {
		t.Errorf("got %v, hints %q", err, e.Hints)
	}
	if n := len(p.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "0": 0, "7": 7 * time.Second, "99999999999": (1 << 30) * time.Second,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
}

func TestDelay(t *testing.T) {
	p := patience{tries: 5, unit: time.Second, longest: time.Minute}
	for try, full := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 10: time.Minute, 1000: time.Minute} {
		for range 100 {
			if d := p.delay(try); d < full/2 || d > full {
				t.Fatalf("try %d: %v is not within %v and %v", try, d, full/2, full)
			}
		}
	}
}

func TestParseNetrc(t *testing.T) {
	for _, test := range []struct {
		text string
		want netrc
	}{
		{"", nil},
		{"machine a login b password c", netrc{{"a", "b", "c"}}},
		{"machine a\n\tlogin b\n\tpassword c\nmachine d login e password f\n", netrc{{"a", "b", "c"}, {"d", "e", "f"}}},
		{"# comment\nmachine a login b password #c\n", netrc{{"a", "b", "#c"}}},
		{"machine a account x login b password c", netrc{{"a", "b", "c"}}},
		{"machine a login b\nmachine c password d\n", nil},
		{"machine a login b password c\ndefault login x password y\nmachine d login e password f\n", netrc{{"a", "b", "c"}}},
		{"macdef init\nmachine x login y password z\n\nmachine a login b password c\n", netrc{{"a", "b", "c"}}},
		{"machine", nil}, {"machine a login", nil}, {"default", nil},
	} {
		if diff := cmp.Diff(test.want, parseNetrc(test.text), cmp.AllowUnexported(login{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

func FuzzNetrc(f *testing.F) {
	f.Add("machine a login b password c\n")
	f.Add("macdef x\n\ndefault\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, l := range parseNetrc(text) {
			if l.machine == "" || l.login == "" || l.password == "" || strings.ContainsAny(l.machine+l.login+l.password, " \t\r\n") {
				t.Errorf("%q: %q", text, l)
			}
			if !strings.Contains(text, l.password) {
				t.Errorf("%q: made up %q", text, l)
			}
		}
	})
}

// The text of a server never carries control characters or floods.
func FuzzFirstLine(f *testing.F) {
	f.Add("text/plain", []byte("a\x1b[0m\nb"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		line := firstLine(contentType, body)
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) || len([]rune(line)) > 201 || bytes.ContainsRune([]byte(line), '\n') {
			t.Errorf("%q", line)
		}
	})
}
