package fetch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/net/http/httpproxy"

	"github.com/hermetic-build/hermetic/cache"
)

// A client gets files over HTTP and from directories. One serves all backends
// of a run.
type client struct {
	http     *http.Client
	request  time.Duration // for one try
	stall    time.Duration // without a byte
	patience patience

	mu    sync.Mutex
	hosts map[string]*host
}

// A transfer is one file to get.
type transfer struct {
	url      *url.URL
	limit    int64                   // bytes; more is an error
	progress func(done, total int64) // total is -1 while unknown
	auth     credentials             // nil for none
	accept   string                  // the header of that name; "" for none
	landed   func(u *url.URL)        // told where redirects led; may be nil
}

// credentials are what a request carries to the host of its URL, and to no
// other: a header of HTTP, or "". They are asked only where nobody on the way
// can read it.
type credentials func(u *url.URL) (header, value string)

// A sink takes a transfer; Reset discards what it took, for another try.
type sink interface {
	io.Writer
	Reset() error
}

// buffers are what transfers copy through.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// redirectError is a redirect that is not followed.
type redirectError struct{ text string }

func (e *redirectError) Error() string { return e.text }

// newClient sets up the network, which costs nothing until it is used.
func newClient(r *run) (*client, error) {
	proxyOf, err := httpProxies(r.env)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:                  func(req *http.Request) (*url.URL, error) { return proxyOf(req.URL) },
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    30 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // what is hashed is what was sent
		MaxIdleConnsPerHost:    r.parallel(),
		IdleConnTimeout:        time.Minute,
		ReadBufferSize:         64 << 10,
		MaxResponseHeaderBytes: 256 << 10,
	}
	tries := defaultPatience
	tries.tries = cmp.Or(r.opts.Tries, tries.tries)
	return &client{
		http:     &http.Client{Transport: transport, CheckRedirect: checkRedirect},
		request:  cmp.Or(r.opts.RequestTimeout, 10*time.Minute),
		stall:    cmp.Or(r.opts.StallTimeout, time.Minute),
		patience: tries,
		hosts:    map[string]*host{},
	}, nil
}

// httpProxies reads the variables that name HTTP proxies. One that makes no
// sense is an error, which does not repeat it: it may hold a password.
func httpProxies(env func(string) string) (func(*url.URL) (*url.URL, error), error) {
	c := httpproxy.Config{
		HTTPProxy: first(env, "HTTP_PROXY", "http_proxy"), HTTPSProxy: first(env, "HTTPS_PROXY", "https_proxy"),
		NoProxy: first(env, "NO_PROXY", "no_proxy"), CGI: env("REQUEST_METHOD") != "",
	}
	for name, value := range map[string]string{"HTTP_PROXY": c.HTTPProxy, "HTTPS_PROXY": c.HTTPSProxy} {
		whole := value
		if !strings.Contains(value, "://") {
			whole = "http://" + value // "host:port" will do
		}
		if u, err := url.Parse(whole); value != "" && (err != nil || u.Hostname() == "") {
			return nil, &configError{name + ": not the URL of an HTTP proxy"}
		}
	}
	return c.ProxyFunc(), nil
}

func first(env func(string) string, names ...string) string {
	for _, n := range names {
		if v := env(n); v != "" {
			return v
		}
	}
	return ""
}

// checkRedirect keeps https from becoming http, and credentials at the host
// they are for.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	if to := req.URL.Scheme; to != "https" && (from.Scheme == "https" || to != "http") {
		return &redirectError{"redirects from " + from.Scheme + " to " + redacted(req.URL)}
	}
	if len(via) >= 10 {
		return &redirectError{"redirects more than 10 times"}
	}
	req.Header.Del("Referer") // a signed URL is a credential
	if req.URL.Host != via[0].URL.Host {
		for name := range req.Header { // any of them may be a credential
			if name != "User-Agent" && name != "Accept" {
				req.Header.Del(name)
			}
		}
	}
	return nil
}

// get writes what t.url answers to dst, trying again where that may help. The
// error is a *transferError, a *storeError where dst does not take it, or the
// cause of ctx's end.
func (c *client) get(ctx context.Context, t transfer, dst sink) error {
	if t.url.Scheme == "file" {
		return t.fromDisk(ctx, dst)
	}
	h := c.host(t.url.Host)
	for try := 1; ; try++ {
		if err := h.wait(ctx); err != nil {
			return err
		}
		if lost := h.isLost(); lost != nil {
			return lost
		}
		err := c.try(ctx, t, dst)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failure, ok := errors.AsType[*transferError](err)
		if !ok {
			return err
		}
		if !failure.temporary {
			if !failure.unreachable {
				h.answered()
			}
			return failure
		}
		if try >= h.tries(c.patience, failure) || failure.retryAfter > c.patience.longest {
			h.gaveUp(failure)
			return failure
		}
		h.pause(failure.retryAfter)
		if err := sleep(ctx, c.patience.delay(try)); err != nil {
			return err
		}
		if err := dst.Reset(); err != nil {
			return &storeError{err}
		}
	}
}

func (c *client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{}
		c.hosts[name] = h
	}
	return h
}

// try is one request.
func (c *client) try(ctx context.Context, t transfer, dst sink) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	whole := time.AfterFunc(c.request, func() { cancel(&slowError{"not done after " + c.request.String()}) })
	defer whole.Stop()
	idle := time.AfterFunc(c.stall, func() { cancel(&slowError{"no byte for " + c.stall.String()}) })
	defer idle.Stop()

	req, err := t.request(ctx)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return connectionError(ctx, t.url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(t.url, resp)
	}
	c.host(t.url.Host).answered()
	if t.landed != nil {
		t.landed(resp.Request.URL)
	}
	if resp.ContentLength > t.limit {
		return &transferError{url: redacted(t.url), text: tooLarge(t.limit)}
	}
	copied := copying{transfer: t, total: resp.ContentLength, alive: func() { idle.Reset(c.stall) }}
	return copied.copy(ctx, dst, resp.Body)
}

// request is the request for t. Credentials travel by https, or not further
// than this machine.
func (t transfer) request(ctx context.Context) (*http.Request, error) {
	plain := *t.url
	plain.User = nil
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), nil)
	if err != nil {
		return nil, &transferError{url: redacted(t.url), text: "not a URL that can be asked"}
	}
	req.Header.Set("User-Agent", "hermetic")
	if t.accept != "" {
		req.Header.Set("Accept", t.accept)
	}
	switch {
	case !cache.Private(t.url):
	case t.url.User != nil:
		password, _ := t.url.User.Password()
		req.SetBasicAuth(t.url.User.Username(), password)
	case t.auth != nil:
		if name, value := t.auth(t.url); name != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// fromDisk gets the file of a file URL.
func (t transfer) fromDisk(ctx context.Context, dst sink) error {
	f, err := openRegular(t.url.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &transferError{url: redacted(t.url), text: "no such file", status: http.StatusNotFound}
	}
	if err != nil {
		return &transferError{url: redacted(t.url), text: osCause(err)}
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() > t.limit {
		return &transferError{url: redacted(t.url), text: tooLarge(t.limit)}
	}
	return copying{transfer: t, total: info.Size(), alive: func() {}}.copy(ctx, dst, f)
}

// copying is the way of a body into a sink.
type copying struct {
	transfer
	total int64
	alive func() // called for each piece that arrives
}

func (c copying) copy(ctx context.Context, dst io.Writer, body io.Reader) error {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	done := int64(0)
	for {
		n, err := body.Read(buf[:])
		if n > 0 {
			c.alive()
			if done += int64(n); done > c.limit {
				return &transferError{url: redacted(c.url), text: tooLarge(c.limit)}
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return &storeError{err}
			}
			c.progress(done, c.total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bodyError(ctx, c.url, err)
		}
	}
}

func tooLarge(limit int64) string {
	switch {
	case limit > 0 && limit%(1<<30) == 0:
		return fmt.Sprintf("larger than %d GB", limit>>30)
	case limit > 0 && limit%(1<<20) == 0:
		return fmt.Sprintf("larger than %d MB", limit>>20)
	}
	return fmt.Sprintf("larger than %d bytes", limit)
}

// slowError ends a try that takes too long.
type slowError struct{ text string }

func (e *slowError) Error() string { return e.text }

// A transferError says why a URL did not give a file.
type transferError struct {
	url         string // without credentials; the scheme and host alone where the path does not matter
	text        string
	hint        string // what the user may do about it
	status      int    // of HTTP; 0 where there was none
	temporary   bool   // another try may help
	unreachable bool   // nothing behind this host can be had
	slow        bool   // it took long to find out
	retryAfter  time.Duration
}

func (e *transferError) Error() string { return e.url + ": " + e.text }

// isRefusal tells answers that say "you cannot have this" from trouble.
func isRefusal(err error) bool {
	t, ok := errors.AsType[*transferError](err)
	return ok && (t.notFound() || t.status == http.StatusUnauthorized || t.status == http.StatusForbidden)
}

// notFound tells answers after which GOPROXY goes on to the next proxy even
// behind a comma.
func (e *transferError) notFound() bool {
	return e.status == http.StatusNotFound || e.status == http.StatusGone
}

// statusError reads an answer other than 200.
func statusError(u *url.URL, resp *http.Response) error {
	e := &transferError{url: redacted(u), status: resp.StatusCode}
	e.text = strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if said := firstLine(resp.Header.Get("Content-Type"), head); said != "" && !strings.EqualFold(said, http.StatusText(e.status)) {
		e.text += " (" + said + ")"
	}
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can serve again
	switch {
	case e.status == http.StatusUnauthorized:
		e.hint = "credentials for " + u.Host + " go into .netrc, or the file that NETRC names; they are sent over https only"
	case e.status == http.StatusTooManyRequests, e.status == http.StatusRequestTimeout, e.status >= 500 && e.status != http.StatusNotImplemented:
		e.temporary = true
		if e.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now()); e.retryAfter > 0 {
			e.text += ", retry after " + e.retryAfter.Round(time.Second).String()
		}
	}
	return e
}

// firstLine is what a proxy says in plain words, fit for a terminal.
func firstLine(contentType string, body []byte) string {
	if !strings.HasPrefix(contentType, "text/plain") {
		return ""
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(body), []byte("\n"))
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(line))
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return text
}

// connectionError is a request without an answer.
func connectionError(ctx context.Context, u *url.URL, err error) error {
	e := &transferError{url: u.Scheme + "://" + u.Host, temporary: true, unreachable: true}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it repeats the URL, credentials and all
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e.text = err.Error()
	var (
		network  net.Error
		dns      *net.DNSError
		cert     *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		redirect *redirectError
		slow     *slowError
	)
	e.slow = errors.As(err, &slow) || errors.As(err, &network) && network.Timeout()
	switch {
	case errors.As(err, &cert):
		e.temporary = false
		e.hint = "a certificate authority of your own goes into the file that SSL_CERT_FILE names"
	case errors.As(err, &dns) && dns.IsNotFound, errors.As(err, &record),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, http.ErrSchemeMismatch):
		e.temporary = false
	case errors.As(err, &redirect):
		e.url, e.temporary, e.unreachable = redacted(u), false, false
	case strings.Contains(e.text, "Location header"):
		e.url, e.temporary, e.unreachable = redacted(u), false, false
		e.text = "redirects to what is not a URL"
	}
	return e
}

// bodyError is an answer that ends too early.
func bodyError(ctx context.Context, u *url.URL, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	_, slow := errors.AsType[*slowError](err)
	text := err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		text = "ends too early"
	}
	return &transferError{url: redacted(u), text: text, temporary: true, slow: slow}
}

// redacted is u without anything that may be a credential.
func redacted(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
