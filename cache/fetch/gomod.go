package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/zip"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"github.com/hermetic-build/hermetic/cache"
)

// toolchainModule is the module whose zips are Go distributions.
const toolchainModule = "golang.org/toolchain"

// gomod fetches Go modules.
type gomod struct {
	run      *run
	settings func() goEnv // read once, when first wanted
	mu       sync.Mutex
	net      *goNetwork
	netErr   error
	sums     *checksums
}

// goNetwork is where modules are fetched from.
type goNetwork struct {
	client            *client
	auth              credentials
	proxies           proxyList
	variable, private string // what keeps modules from proxies
}

func newGomod(r *run) *gomod {
	g := &gomod{run: r, settings: sync.OnceValue(func() goEnv { return readGoEnv(r.env) })}
	g.sums = &checksums{gomod: g}
	return g
}

// prepare implements backend: only toolchains come without a sum. The variable
// GOTOOLCHAIN speaks of this run; the go command's own settings file speaks of
// this machine, and the toolchain is for the image.
func (g *gomod) prepare(it *item) {
	if it.Name == toolchainModule && it.Need == cache.Optional && keepsToolchain(g.run.env("GOTOOLCHAIN")) {
		it.state = skipped
		g.run.note(it, "not fetched: GOTOOLCHAIN wants none")
		return
	}
	sum, err := g.sums.remembered(it.Input)
	if it.Sum = sum; err != nil && it.Need == cache.Optional && isAbsence(err) {
		it.state = skipped
		g.run.note(it, err.Error())
	}
}

// keepsToolchain tells the values of GOTOOLCHAIN under which the go command
// downloads no toolchain (https://go.dev/doc/toolchain#select).
func keepsToolchain(value string) bool {
	return value == "local" || value == "path" || strings.HasSuffix(value, "+path")
}

// network sets up what the first fetch needs. A failure is everybody's.
func (g *gomod) network(ctx context.Context) (*goNetwork, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.net == nil && g.netErr == nil {
		g.net, g.netErr = g.dial(ctx)
	}
	return g.net, g.netErr
}

func (g *gomod) dial(ctx context.Context) (*goNetwork, error) {
	n := &goNetwork{}
	env := g.settings()
	var err error
	if mirror, ok := g.run.opts.Mirrors["gomod"]; ok {
		if n.proxies, err = parseGOPROXY(mirror); err != nil {
			return nil, &configError{"mirror for gomod: " + err.Error()}
		}
	} else {
		if n.proxies, err = env.goproxy(ctx); err != nil {
			return nil, err
		}
		n.variable, n.private = env.private()
	}
	use, note := env.usesNetrc()
	if note != "" {
		g.run.progress.Note(note)
	}
	if use {
		n.auth = g.run.logins().credentials
	}
	n.client, err = g.run.client()
	return n, err
}

// get gets one file from a proxy or a checksum database.
func (n *goNetwork) get(ctx context.Context, t transfer, dst sink) error {
	t.auth = n.auth
	return n.client.get(ctx, t, dst)
}

// fetch implements backend.
func (g *gomod) fetch(ctx context.Context, unit []*item) error {
	net, err := g.network(ctx)
	if err != nil {
		return err
	}
	var zip *item
	for _, it := range unit {
		if it.Kind == "zip" {
			zip = it
		}
	}
	if zip != nil && zip.state == wanted {
		if err := g.run.settle(ctx, zip, func() error { return g.download(ctx, net, zip) }); err != nil {
			return err
		}
	}
	for _, it := range unit {
		if it.state != wanted || it == zip {
			continue
		}
		err := g.run.settle(ctx, it, func() error {
			if it.Kind != "mod" {
				return fmt.Errorf("kind %q: nobody knows where to fetch it", it.Kind)
			}
			if zip != nil && zip.state == held {
				if err := g.fromZip(it, zip); err == nil || stopsAll(err) {
					return err
				}
			} else if zip != nil && isUnreachable(zip.err) {
				return zip.err
			}
			return g.download(ctx, net, it)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// download gets an item from the proxies.
func (g *gomod) download(ctx context.Context, net *goNetwork, it *item) error {
	if err := checkPrivate(net.variable, net.private, it.Name); err != nil {
		return err
	}
	if it.Sum.IsZero() {
		var err error
		if it.Sum, err = g.sums.lookup(ctx, net, it.Input); err != nil {
			return err
		}
		if blob, ok := g.run.store.Lookup(it.Sum); ok {
			it.blob = blob
			return nil
		}
	}
	below, limit, err := remotePath(it.Input)
	if err != nil {
		return err
	}
	d, err := g.run.store.Create()
	if err != nil {
		return &storeError{err}
	}
	defer d.Close()
	t := transfer{limit: limit, progress: func(done, total int64) { g.run.progress.Advance(it.Input, done, total) }}
	from, err := net.proxies.walk(ctx, func(base *url.URL) error {
		if d.Size() > 0 {
			if err := d.Reset(); err != nil {
				return &storeError{err}
			}
		}
		t := t
		t.url = joinURL(base, below)
		return net.get(ctx, t, d)
	})
	if err != nil {
		return err
	}
	return g.run.commit(ctx, d, it, redacted(joinURL(from, below)))
}

// remotePath is where below a proxy's URL an input is, and how large it may be.
func remotePath(in cache.Input) (below string, limit int64, err error) {
	name, err := module.EscapePath(in.Name)
	if err != nil {
		return "", 0, err
	}
	version, err := module.EscapeVersion(in.Version)
	if err != nil {
		return "", 0, err
	}
	if limit = modzip.MaxZipFile; in.Kind == "mod" {
		limit = modzip.MaxGoMod
	}
	return name + "/@v/" + version + "." + in.Kind, limit, nil
}

// openRegular opens a file, and nothing that waits for somebody to write to it.
func openRegular(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return os.Open(name)
}

// osCause is err without the path that the URL repeats.
func osCause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// fromZip puts the go.mod file into the store that the module's zip, which is
// there, has in it. The error may mean no more than that a proxy serves
// another one: the zip of a module without one gets "module <path>" made up
// (https://go.dev/ref/mod#non-module-compat).
func (g *gomod) fromZip(it, from *item) error {
	data, err := readGoMod(g.run.store.Path(from.blob), it.Input)
	if err != nil {
		return err
	}
	blob, err := g.run.store.Put(it.Sum, data)
	if err != nil {
		return commitError(err, "")
	}
	it.blob = blob
	g.run.progress.Advance(it.Input, blob.Size, blob.Size)
	return nil
}

// readGoMod reads the go.mod file of a module out of its zip.
func readGoMod(zipFile string, in cache.Input) ([]byte, error) {
	f, err := os.Open(zipFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return nil, err
	}
	name := in.Name + "@" + in.Version + "/go.mod"
	for _, entry := range z.File {
		if entry.Name != name {
			continue
		}
		if entry.UncompressedSize64 > modzip.MaxGoMod {
			return nil, errors.New("go.mod: " + tooLarge(modzip.MaxGoMod))
		}
		r, err := entry.Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(io.LimitReader(r, modzip.MaxGoMod))
	}
	return []byte("module " + modfile.AutoQuote(in.Name) + "\n"), nil
}
