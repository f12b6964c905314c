package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// A Reference is where an image goes in a registry: a name and a tag.
type Reference struct{ named reference.Named }

// ParseReference reads "host/name:tag" in docker's notation; without a tag it is
// "latest". A digest is refused: it is what the push will tell.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseDockerRef(s)
	if err != nil {
		return Reference{}, err
	}
	if _, ok := named.(reference.Digested); ok {
		return Reference{}, errors.New("a digest cannot be pushed to; name a tag")
	}
	return Reference{named}, nil
}

// Host is the registry, as credentials are kept for it.
func (r Reference) Host() string { return reference.Domain(r.named) }

// String is the reference in full.
func (r Reference) String() string { return r.named.String() }

// PushOptions are what a push depends on besides the reference.
type PushOptions struct {
	// Credentials are the user name and the password of a registry; an identity
	// token has no user name. nil: none for any.
	Credentials func(host string) (user, secret string, err error)
	// Pause is the time before the second try, a second by default; it doubles
	// with each further one.
	Pause time.Duration
}

// Sent is what a push came to.
type Sent struct {
	Blobs, Held int   // blobs that were sent, and those that the registry had
	Bytes       int64 // of those that were sent
}

// A DeniedError is a registry that does not let this user in.
type DeniedError struct{ Err error }

func (e *DeniedError) Error() string { return e.Err.Error() }
func (e *DeniedError) Unwrap() error { return e.Err }

// The limits of a push.
const (
	pushes = 4               // at the same time
	tries  = 5               // of one blob
	stall  = 5 * time.Minute // without a byte
)

// Push sends the image to a registry, the manifest last. What the registry has
// is not sent again. Registries on loopback are spoken to over plain HTTP, all
// others over HTTPS. What may pass is tried again.
func (a *Artifact) Push(ctx context.Context, ref Reference, o PushOptions) (Sent, error) {
	// With the digest in the reference the pusher tags the manifest alone.
	p := &push{a: a, ref: ref.String() + "@" + a.desc.Digest.String(), pause: cmp.Or(o.Pause, time.Second)}
	p.hosts = docker.ConfigureDefaultRegistries(
		docker.WithPlainHTTP(docker.MatchLocalhost),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthCreds(o.Credentials))),
	)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pushes)
	for _, desc := range a.blobs {
		g.Go(func() error { return p.send(gctx, desc) })
	}
	err := g.Wait()
	if err == nil {
		err = p.send(ctx, a.desc)
	}
	return p.sent, err
}

// push is a push under way.
type push struct {
	a     *Artifact
	ref   string
	hosts docker.RegistryHosts
	pause time.Duration

	mu   sync.Mutex
	sent Sent
}

// send sends one blob, unless the registry has it.
func (p *push) send(ctx context.Context, desc ocispec.Descriptor) error {
	for try := 1; ; try++ {
		err := p.try(ctx, desc)
		if errdefs.IsAlreadyExists(err) {
			p.account(Sent{Held: 1})
			return nil
		}
		if err == nil {
			p.account(Sent{Blobs: 1, Bytes: desc.Size})
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if try == tries || !passing(err) {
			return p.refused(desc, err)
		}
		wait := p.pause << (try - 1)
		select {
		case <-time.After(wait + rand.N(wait/2+1)):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *push) account(s Sent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent.Blobs += s.Blobs
	p.sent.Held += s.Held
	p.sent.Bytes += s.Bytes
}

// errStalled ends a transfer on which nothing moves.
var errStalled = errors.New("no byte was taken for five minutes")

// try sends a blob once. A resolver of its own keeps containerd from taking a
// transfer that broke off for one that goes on.
func (p *push) try(ctx context.Context, desc ocispec.Descriptor) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	defer func() {
		if err != nil && context.Cause(ctx) == errStalled {
			err = errStalled
		}
	}()
	pusher, err := docker.NewResolver(docker.ResolverOptions{Hosts: p.hosts}).Pusher(ctx, p.ref)
	if err != nil {
		return err
	}
	plain := ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	w, err := pusher.Push(remotes.WithMediaTypeKeyPrefix(ctx, ocispec.MediaTypeImageLayer, "layer"), plain)
	if err != nil {
		return err
	}
	defer w.Close()
	r := p.a.reader(desc.Digest)
	return content.Copy(ctx, w, &watched{io.NewSectionReader(r, 0, r.Size()), timer}, desc.Size, desc.Digest)
}

// watched puts off the end of a transfer whenever something moves.
type watched struct {
	*io.SectionReader
	timer *time.Timer
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(stall)
	return w.SectionReader.Read(p)
}

// passing tells whether an error may be gone at the next try: what happens on
// the way to a registry, and what it says of itself rather than of the request.
func passing(err error) bool {
	if e, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		return e.StatusCode >= 500 || e.StatusCode == 408 || e.StatusCode == 429
	}
	if errors.Is(err, docker.ErrInvalidAuthorization) {
		return false
	}
	_, dns := errors.AsType[*net.DNSError](err)
	_, op := errors.AsType[*net.OpError](err)
	return (dns || op || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, errStalled)) && !errors.Is(err, syscall.ECONNREFUSED)
}

// refused is the error of a blob that could not be sent, in the words of the
// registry.
func (p *push) refused(desc ocispec.Descriptor, err error) error {
	err = p.a.explain(desc.Digest, err)
	if _, ok := errors.AsType[*DamagedError](err); ok {
		return err
	}
	status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	if ok {
		at := status.RequestURL
		if u, perr := url.Parse(at); perr == nil {
			u.RawQuery, u.User = "", nil
			at = u.String()
		}
		text := fmt.Errorf("%s %s: %s", status.RequestMethod, at, status.Status)
		if said, ok := errors.AsType[docker.Errors](err); ok {
			text = fmt.Errorf("%v: %v", text, said)
		}
		if status.StatusCode == 401 || status.StatusCode == 403 {
			return &DeniedError{text}
		}
		return text
	}
	if errors.Is(err, docker.ErrInvalidAuthorization) {
		return &DeniedError{err}
	}
	return fmt.Errorf("%s: %w", short(desc.Digest), err)
}

// short is enough of a digest to recognise it.
func short(d digest.Digest) string { return d.String()[:len("sha256:")+12] }
