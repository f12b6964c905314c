package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	objectcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	gitnet "github.com/go-git/go-git/v5/plumbing/transport/git"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/hermetic-build/hermetic/cache"
)

// maxPack bounds what a repository sends, in bytes.
const maxPack = 8 << 30

// gits fetches commits of git repositories for all package types: nothing but
// the commit where the server allows that, all branches and tags where it does
// not. The commits of one repository are asked for together. No program is
// started, and nothing of what was fetched is run: no hook, no filter.
type gits struct {
	run  *run
	conf func() (gitConf, error)
	keys func() sshKeys

	mu    sync.Mutex
	repos map[string]*repo // by URL, as lockfiles have it

	reading sync.Mutex // of objects: their storage is not made for several at once
}

func newGits(r *run) *gits {
	return &gits{
		run: r, repos: map[string]*repo{},
		conf: sync.OnceValues(func() (gitConf, error) { return readGitConf(r.env) }),
		keys: sync.OnceValue(func() sshKeys { return readSSHKeys(r.env) }),
	}
}

// prepare implements backend: a commit is its own sum.
func (g *gits) prepare(*item) {}

// fetch implements backend.
func (g *gits) fetch(ctx context.Context, unit []*item) error {
	for _, it := range unit {
		if it.state != wanted {
			continue
		}
		if err := g.run.settle(ctx, it, func() error { return g.download(ctx, it) }); err != nil {
			return err
		}
	}
	return nil
}

// close removes what was fetched of repositories: the store has the archives.
func (g *gits) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.repos {
		for _, dir := range r.dirs {
			os.RemoveAll(dir)
		}
	}
	g.repos = map[string]*repo{}
}

// A repo is a repository, with what has been fetched of it so far.
type repo struct {
	gits *gits
	url  string // as the lockfile, or a list of submodules, has it

	mu      sync.Mutex
	dirs    []string
	objects *filesystem.Storage
	asked   map[string]error // by commit: nil where it is there
}

func (g *gits) repo(repository string) *repo {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.repos[repository]
	if r == nil {
		r = &repo{gits: g, url: repository, asked: map[string]error{}}
		g.repos[repository] = r
	}
	return r
}

// need makes sure that a commit is in the repository's objects. report is told
// the bytes that arrive.
func (r *repo) need(ctx context.Context, commit string, report func(int64)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err, known := r.asked[commit]; known {
		return err
	}
	all := []string{commit}
	for _, it := range r.gits.run.items { // of this repository, as its units wait
		if it.URL == r.url && it.Sum.Algorithm() == cache.Git {
			if _, known := r.asked[it.Sum.Hex()]; !known {
				all = append(all, it.Sum.Hex())
			}
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > 1 && r.get(ctx, all, report) == nil {
		for _, id := range all {
			r.asked[id] = nil
		}
		return nil
	}
	err := r.get(ctx, []string{commit}, report)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.asked[commit] = err
	return err
}

// open makes the place for objects.
func (r *repo) open() error {
	if r.objects != nil {
		return nil
	}
	dir, err := r.gits.run.store.TempDir()
	if err != nil {
		return &storeError{err}
	}
	r.dirs = append(r.dirs, dir)
	r.objects = filesystem.NewStorage(osfs.New(dir), objectcache.NewObjectLRUDefault())
	if err := r.objects.Init(); err != nil {
		return &storeError{err}
	}
	return nil
}

// get fetches commits, trying again where that may help.
func (r *repo) get(ctx context.Context, commits []string, report func(int64)) error {
	if len(commits[0]) != 40 {
		return &transferError{url: printableRepo(r.url), text: "commits of the sha256 format cannot be fetched"}
	}
	places, err := r.gits.places(r.url)
	if err != nil {
		return err
	}
	client, err := r.gits.run.client()
	if err != nil {
		return err
	}
	var first error
	for _, at := range places {
		var failure *transferError
		for try := 1; ; try++ {
			if err := r.open(); err != nil {
				return err
			}
			err := r.tryOnce(ctx, &visit{client: client, objects: r.objects, at: at, commits: commits, report: report})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err == nil {
				return nil
			}
			var ok bool
			if failure, ok = errors.AsType[*transferError](err); !ok {
				return err
			}
			if !failure.temporary || try >= client.patience.tries {
				break
			}
			if err := sleep(ctx, client.patience.delay(try)); err != nil {
				return err
			}
		}
		first = cmp.Or(first, error(failure))
	}
	return first
}

// A visit is one try at one place.
type visit struct {
	client  *client
	objects *filesystem.Storage
	at      *url.URL // with credentials, if the user's settings have them there
	commits []string
	report  func(int64)
}

// tryOnce runs one try, and leaves it behind when ctx or its time ends: not all
// of the network code beneath looks at that.
func (r *repo) tryOnce(ctx context.Context, v *visit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(v.client.stall, func() { cancel(&slowError{"no byte for " + v.client.stall.String()}) })
	defer idle.Stop()
	report := v.report
	v.report = func(n int64) { idle.Reset(v.client.stall); report(n) }
	if v.at.Scheme == "file" {
		return r.fromDisk(v)
	}
	done := make(chan error, 1)
	go func() { done <- r.gits.visit(ctx, v) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		r.objects = nil // the try may still write to them
	}
	return r.gits.failure(ctx, v.at, err)
}

// visit talks to a server.
func (g *gits) visit(ctx context.Context, v *visit) error {
	refs, err := g.ask(ctx, v, nil)
	if err != nil {
		return err
	}
	wants, byID := wantsOf(refs, v.commits)
	if byID {
		q := &gitRequest{refs: refs, wants: wants, depth: 1}
		if _, err = g.ask(ctx, v, q); err == nil && v.has() {
			return nil
		}
		if err != nil && isFinal(err) {
			return err
		}
	}
	q := &gitRequest{refs: refs, wants: allHeads(refs)}
	if len(q.wants) == 0 {
		return transport.ErrEmptyRemoteRepository
	}
	if _, err := g.ask(ctx, v, q); err != nil {
		return err
	}
	if !v.has() {
		return errNoCommit
	}
	return nil
}

// errNoCommit is a repository's answer without what was asked for.
var errNoCommit = errors.New("has no such commit in its branches and tags, and gives none by its id")

// A gitRequest is what is asked of a server.
type gitRequest struct {
	refs  *packp.AdvRefs
	wants []plumbing.Hash
	depth int // 0 for the whole history
}

// wantsOf are the commits as a request has them; byID tells whether the server
// will take it.
func wantsOf(refs *packp.AdvRefs, commits []string) (wants []plumbing.Hash, byID bool) {
	byID = refs.Capabilities.Supports(capability.AllowReachableSHA1InWant)
	tips := map[plumbing.Hash]bool{}
	for _, list := range []map[string]plumbing.Hash{refs.References, refs.Peeled} {
		for _, h := range list {
			tips[h] = true
		}
	}
	all := true
	for _, c := range commits {
		h := plumbing.NewHash(c)
		wants = append(wants, h)
		all = all && tips[h]
	}
	return wants, byID || all
}

// allHeads are the ends of all branches and tags.
func allHeads(refs *packp.AdvRefs) []plumbing.Hash {
	var out []plumbing.Hash
	for name, h := range refs.References {
		if strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") {
			out = append(out, h)
		}
	}
	if refs.Head != nil {
		out = append(out, *refs.Head)
	}
	slices.SortFunc(out, func(a, b plumbing.Hash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(out)
}

// ask has one conversation with a server: about its refs, or for a pack.
func (g *gits) ask(ctx context.Context, v *visit, q *gitRequest) (*packp.AdvRefs, error) {
	session, err := g.session(v)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil || q == nil {
		return refs, err
	}
	v.report(0)
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	req.Wants = q.wants
	if q.depth > 0 && refs.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(q.depth)
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return nil, err
		}
	}
	if refs.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return nil, err
		}
	}
	resp, err := session.UploadPack(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Close()
	var pack io.Reader = resp
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, resp)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, resp)
	}
	return refs, packfile.UpdateObjectStorage(v.objects, &counted{r: pack, left: maxPack, report: v.report})
}

// counted is a stream that is bounded, and watched.
type counted struct {
	r      io.Reader
	done   int64
	left   int64
	report func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.left -= int64(n); c.left < 0 {
		return 0, &transferError{text: tooLarge(maxPack)}
	}
	c.report(c.done)
	return n, err
}

// has tells whether the commits are there.
func (v *visit) has() bool {
	for _, c := range v.commits {
		if v.objects.HasEncodedObject(plumbing.NewHash(c)) != nil {
			return false
		}
	}
	return true
}

// session opens a conversation.
func (g *gits) session(v *visit) (transport.UploadPackSession, error) {
	plain := *v.at
	plain.User = nil
	if v.at.Scheme == "ssh" && v.at.User != nil {
		plain.User = url.User(v.at.User.Username())
	}
	end, err := transport.NewEndpoint(plain.String())
	if err != nil {
		return nil, err
	}
	switch v.at.Scheme {
	case "ssh":
		auth, err := g.sshAuth(v.at)
		if err != nil {
			return nil, err
		}
		return gitssh.NewClient(nil).NewUploadPackSession(end, auth)
	case "git":
		return gitnet.DefaultClient.NewUploadPackSession(end, nil)
	}
	var auth transport.AuthMethod
	if user, password, ok := g.login(v.at); ok {
		auth = &githttp.BasicAuth{Username: user, Password: password}
	}
	client := *v.client.http
	client.Transport = boundedAnswers{client.Transport}
	return githttp.NewClient(&client).NewUploadPackSession(end, auth)
}

// What an answer may measure, in bytes, that is no pack: refs, and what a server
// says of an error.
const (
	maxRefs      = 256 << 20
	maxRefusal   = 64 << 10
	packMimeType = "application/x-git-upload-pack-result"
)

// boundedAnswers ends answers that would not.
type boundedAnswers struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	limit := int64(maxRefs)
	switch {
	case resp.StatusCode != http.StatusOK:
		limit = maxRefusal
	case resp.Header.Get("Content-Type") == packMimeType:
		limit = maxPack
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, limit), resp.Body}
	return resp, nil
}

// login is what to show an HTTP server: credentials of the user's own settings
// of git in the URL, those of its store, or of .netrc. They travel by https, or
// not further than this machine.
func (g *gits) login(u *url.URL) (user, password string, ok bool) {
	if !cache.Private(u) {
		return "", "", false
	}
	if u.User != nil {
		password, _ = u.User.Password()
		return u.User.Username(), password, true
	}
	conf, err := g.conf()
	if err == nil {
		if user, password, ok = conf.login(u); ok {
			return user, password, true
		}
	}
	l, ok := g.run.logins().find(u)
	return l.login, l.password, ok
}

// places are the URLs that a repository may be had from: what the user's
// settings replace it by, and https instead of ssh.
func (g *gits) places(repository string) ([]*url.URL, error) {
	conf, err := g.conf()
	if err != nil {
		return nil, err
	}
	text := conf.insteadOf(repository)
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "" && u.Scheme != "file":
		return nil, &transferError{url: printableRepo(repository), text: "not the URL of a repository"}
	case !slices.Contains([]string{"https", "http", "ssh", "git", "file"}, u.Scheme):
		return nil, &transferError{url: printableRepo(repository), text: "replaced by a URL of another kind: want https, http, ssh, git or file"}
	}
	places := []*url.URL{u}
	if u.Scheme == "ssh" && u.Port() == "" && text == repository {
		places = append(places, &url.URL{Scheme: "https", Host: u.Host, Path: u.Path})
	}
	return places, nil
}

// printableRepo is the URL of a repository without anything that may be a
// credential.
func printableRepo(repository string) string {
	u, err := url.Parse(repository)
	if err != nil {
		return "the lockfile"
	}
	return redacted(u)
}

// isFinal tells errors after which nothing else need be asked of a server.
func isFinal(err error) bool {
	var network net.Error
	return errors.Is(err, transport.ErrAuthenticationRequired) || errors.Is(err, transport.ErrAuthorizationFailed) ||
		errors.Is(err, transport.ErrRepositoryNotFound) || errors.As(err, &network) || isDisk(err)
}

// failure is why a visit gave nothing.
func (g *gits) failure(ctx context.Context, u *url.URL, err error) error {
	if err == nil {
		return nil
	}
	if c := context.Cause(ctx); c != nil {
		err = c
	}
	if odd, ok := errors.AsType[*plumbing.UnexpectedError](err); ok {
		err = odd.Err
	}
	e := &transferError{url: redacted(u), text: gitText(err)}
	var (
		status  *githttp.Err
		dns     *net.DNSError
		network net.Error
		slow    *slowError
		own     *transferError
		wrapped *url.Error
	)
	switch {
	case errors.As(err, &own):
		e.text, e.hint = own.text, own.hint
	case errors.As(err, &slow):
		e.text, e.temporary, e.slow = slow.text, true, true
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		e.text = "asks for credentials"
		e.hint = "credentials for " + u.Host + " go into .netrc or .git-credentials; they are sent over https only"
	case errors.Is(err, transport.ErrRepositoryNotFound):
		e.text = "no such repository"
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		e.text = "an empty repository"
	case errors.Is(err, errNoCommit):
	case strings.Contains(e.text, "ssh: unable to authenticate"):
		e.text, e.hint = "refuses our ssh keys", g.keys().hint()
	case strings.Contains(e.text, "knownhosts:"):
		e.hint = "the keys of servers go into ~/.ssh/known_hosts: connect to " + u.Host + " by ssh once"
	case errors.As(err, &status):
		e.status = status.StatusCode()
		e.text = fmt.Sprintf("status %d", e.status)
		e.temporary = e.status == 429 || e.status >= 500 && e.status != 501
	case errors.As(err, &dns) && dns.IsNotFound, errors.Is(err, syscall.ECONNREFUSED):
		e.unreachable = true
	case errors.As(err, &wrapped), errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.temporary = true
	case isDisk(err):
		return &storeError{err}
	}
	if e.unreachable {
		e.url = u.Scheme + "://" + u.Host
	}
	return e
}

// gitText is an error in one line, without a URL.
func gitText(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it repeats the URL, credentials and all
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return text
}
