package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/note"

	"github.com/hermetic-build/hermetic/cache"
)

// maxRecord bounds what is read of one answer of a checksum database: tiles
// have 8 KiB, records a few lines.
const maxRecord = 1 << 20

// A database is a checksum database, as GOSUMDB names it.
type database struct {
	name string   // host, or host and path
	key  string   // "name+hash+key"
	at   *url.URL // where GOSUMDB says it is; nil leaves that to the proxies and the name
}

// parseGOSUMDB reads "name+hash+key", optionally followed by a URL
// (https://go.dev/ref/mod#checksum-database). A name alone is enough for the
// database whose key known has. No database is an *unverifiedError.
func parseGOSUMDB(value, known string) (*database, error) {
	fields, knownFields := strings.Fields(value), strings.Fields(known)
	switch {
	case value == "off":
		return nil, &unverifiedError{"GOSUMDB is off, and no lockfile has its sum"}
	case len(fields) == 0 && len(knownFields) == 0:
		return nil, &unverifiedError{"GOSUMDB names no checksum database, and no lockfile has its sum"}
	case len(fields) == 0:
		fields = knownFields
	case len(fields) > 2:
		return nil, &configError{fmt.Sprintf("GOSUMDB: want a key and perhaps a URL, found %d fields", len(fields))}
	}
	if !strings.Contains(fields[0], "+") {
		if len(knownFields) == 0 || !strings.HasPrefix(knownFields[0], fields[0]+"+") {
			return nil, &unverifiedError{"GOSUMDB names " + fields[0] + " without its key (name+hash+key), and no lockfile has its sum"}
		}
		fields[0] = knownFields[0]
	}
	verifier, err := note.NewVerifier(fields[0])
	if err != nil {
		return nil, &configError{"GOSUMDB: not a key: want name+hash+key"}
	}
	db := &database{name: verifier.Name(), key: fields[0]}
	direct, err := url.Parse("https://" + db.name)
	if err != nil || direct.String() != "https://"+db.name || direct.Host == "" || direct.User != nil || direct.RawQuery != "" || direct.Fragment != "" || path.Clean("/"+db.name) != "/"+db.name {
		return nil, &configError{"GOSUMDB: the name in the key is not a host"}
	}
	if len(fields) == 2 {
		if db.at, err = url.Parse(fields[1]); err != nil || db.at.Host == "" || db.at.Scheme != "https" && db.at.Scheme != "http" {
			return nil, &configError{"GOSUMDB: the second field is not an http URL"}
		}
	}
	return db, nil
}

// checksums vouches for inputs whose sum no lockfile promises.
type checksums struct {
	gomod *gomod

	mu     sync.Mutex // one lookup at a time: there are few, and they share tiles
	db     *database
	ops    *sumdbOps
	client *sumdb.Client
}

// open reads GOSUMDB.
func (c *checksums) open() (*database, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db != nil {
		return c.db, nil
	}
	db, err := parseGOSUMDB(c.gomod.settings().get("GOSUMDB"), DefaultGOSUMDB)
	c.db = db
	return db, err
}

// record is the name under which the store remembers a verified sum.
func (db *database) record(in cache.Input) (string, error) {
	name, err1 := module.EscapePath(in.Name)
	version, err2 := module.EscapeVersion(in.Version)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	suffix := ""
	if in.Kind == "mod" {
		suffix = ".mod"
	}
	return path.Join("sumdb", db.name, "sums", name+"@"+version+suffix), nil
}

// remembered is the sum that the database was once seen to vouch for, zero if
// there is none. The error is that of open.
func (c *checksums) remembered(in cache.Input) (cache.Sum, error) {
	db, err := c.open()
	if err != nil {
		return cache.Sum{}, err
	}
	name, err := db.record(in)
	if err != nil {
		return cache.Sum{}, err
	}
	data, err := c.gomod.run.store.ReadNote(name)
	if err != nil {
		return cache.Sum{}, nil
	}
	sum, err := cache.ParseSum(strings.TrimSuffix(string(data), "\n"))
	if err != nil || sum.Algorithm() != algorithm(in) {
		return cache.Sum{}, nil // damaged: as good as none
	}
	return sum, nil
}

func algorithm(in cache.Input) cache.Algorithm {
	if in.Kind == "mod" {
		return cache.H1Mod
	}
	return cache.H1
}

// lookup asks the database for a sum and remembers it. The error is an
// *unverifiedError where nobody can be asked or nobody knows, and says so
// where an answer does not hold.
func (c *checksums) lookup(ctx context.Context, net *goNetwork, in cache.Input) (cache.Sum, error) {
	db, err := c.open()
	if err != nil {
		return cache.Sum{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		ops := &sumdbOps{store: c.gomod.run.store, net: net, db: db}
		c.ops, c.client = ops, sumdb.NewClient(ops)
	}
	c.ops.begin(ctx)
	version := in.Version
	if in.Kind == "mod" {
		version += "/go.mod"
	}
	lines, err := c.client.Lookup(in.Name, version)
	if err != nil {
		text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), in.Name+"@"+version+": "), "\n")
		return cache.Sum{}, c.ops.explain(text)
	}
	sum, err := sumOf(lines, in)
	if err != nil {
		return cache.Sum{}, &contentError{err, "the checksum database " + db.name}
	}
	name, err := db.record(in)
	if err != nil {
		return cache.Sum{}, err
	}
	if err := c.gomod.run.store.WriteNote(name, []byte(sum.String()+"\n")); err != nil {
		return cache.Sum{}, &storeError{err}
	}
	return sum, nil
}

// sumOf reads the sum of in out of go.sum lines.
func sumOf(lines []string, in cache.Input) (cache.Sum, error) {
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		if text, ok := strings.CutPrefix(fields[2], "h1:"); ok {
			return cache.ParseSum(string(algorithm(in)) + ":" + text)
		}
	}
	return cache.Sum{}, errors.New("no h1: sum in its record")
}

// sumdbOps is what a sumdb.Client works with.
type sumdbOps struct {
	store *cache.Store
	net   *goNetwork
	db    *database

	mu     sync.Mutex
	ctx    context.Context // of the lookup under way: the interface has none
	at     *url.URL        // where the database is, once that is known
	remote error           // the last ReadRemote that went wrong
	alarm  string          // what the client says of a server that lies
}

func (o *sumdbOps) begin(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ctx, o.remote, o.alarm = ctx, nil, ""
}

// explain tells a database that cannot be asked from one that lies. text is
// what the client says.
func (o *sumdbOps) explain(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.alarm != "":
		text, _, _ = strings.Cut(o.alarm, "\n")
		return &contentError{errors.New(text), "the checksum database " + o.db.name}
	case o.remote == nil:
		return &contentError{errors.New(text), "the checksum database " + o.db.name}
	case stopsAll(o.remote) || o.ctx.Err() != nil:
		return o.remote
	}
	if _, ok := errors.AsType[*unverifiedError](o.remote); ok {
		return o.remote
	}
	return &unverifiedError{"no sum from the checksum database " + o.db.name + ": " + o.remote.Error()}
}

// ReadRemote implements sumdb.ClientOps.
func (o *sumdbOps) ReadRemote(file string) ([]byte, error) {
	data, err := o.read(file)
	if err != nil {
		o.mu.Lock()
		o.remote = err
		o.mu.Unlock()
	}
	return data, err
}

func (o *sumdbOps) read(file string) ([]byte, error) {
	o.mu.Lock()
	ctx := o.ctx
	if o.at == nil {
		at, err := o.locate(ctx)
		if err != nil {
			o.mu.Unlock()
			return nil, err
		}
		o.at = at
	}
	at := o.at
	o.mu.Unlock()
	return o.get(ctx, joinURL(at, strings.TrimPrefix(file, "/")))
}

func (o *sumdbOps) get(ctx context.Context, u *url.URL) ([]byte, error) {
	var b memory
	err := o.net.get(ctx, transfer{url: u, limit: maxRecord, progress: func(_, _ int64) {}}, &b)
	return b.Bytes(), err
}

// memory is a sink for what is small.
type memory struct{ bytes.Buffer }

func (m *memory) Reset() error { m.Buffer.Reset(); return nil }

// locate finds the database: where GOSUMDB says, else at the first proxy that
// offers it, else at its own name, unless the proxies are directories alone.
func (o *sumdbOps) locate(ctx context.Context) (*url.URL, error) {
	if o.db.at != nil {
		return o.db.at, nil
	}
	base, err := o.net.proxies.walk(ctx, func(base *url.URL) error {
		if base.Scheme == "file" {
			return &transferError{url: redacted(base), text: "has no checksum database", status: 404}
		}
		_, err := o.get(ctx, joinURL(base, "sumdb/"+o.db.name+"/supported"))
		return err
	})
	if err == nil {
		return joinURL(base, "sumdb/"+o.db.name), nil
	}
	asked, ok := errors.AsType[*askedError](err)
	if !ok {
		return nil, err
	}
	last := len(asked.answers) - 1
	if last >= 0 && !o.net.proxies[last].onAny && !asked.answers[last].(*transferError).notFound() {
		return nil, asked // trouble is not an invitation to go elsewhere
	}
	if !o.net.proxies.goesOut() {
		return nil, &unverifiedError{"no lockfile has its sum, and no proxy leads to the checksum database " + o.db.name}
	}
	return url.Parse("https://" + o.db.name)
}

// goesOut tells whether the list means a network at all.
func (l proxyList) goesOut() bool {
	return slices.ContainsFunc(l, func(p proxy) bool {
		return p.kind == entryDirect || p.kind == entryURL && p.base.Scheme != "file"
	})
}

// note is the name in the store of a file of the client: "<name>/latest", or
// one of its cache.
func (o *sumdbOps) note(file string) string {
	if rest, ok := strings.CutPrefix(file, o.db.name+"/"); ok && rest != "latest" {
		return path.Join("sumdb", o.db.name, "cache", rest)
	}
	return path.Join("sumdb", file)
}

// ReadConfig implements sumdb.ClientOps.
func (o *sumdbOps) ReadConfig(file string) ([]byte, error) {
	if file == "key" {
		return []byte(o.db.key), nil
	}
	data, err := o.store.ReadNote(o.note(file))
	if err != nil {
		return nil, nil // none yet: start with the empty tree
	}
	return data, nil
}

// WriteConfig implements sumdb.ClientOps. Between processes the last one wins:
// each has checked that its tree is a continuation of what it read.
func (o *sumdbOps) WriteConfig(file string, old, new []byte) error {
	if have, _ := o.ReadConfig(file); !bytes.Equal(have, old) {
		return sumdb.ErrWriteConflict
	}
	err := o.store.WriteNote(o.note(file), new)
	if err != nil {
		o.mu.Lock()
		o.remote = &storeError{err}
		o.mu.Unlock()
	}
	return err
}

// ReadCache implements sumdb.ClientOps.
func (o *sumdbOps) ReadCache(file string) ([]byte, error) { return o.store.ReadNote(o.note(file)) }

// WriteCache implements sumdb.ClientOps. A cache that cannot be written is
// done without.
func (o *sumdbOps) WriteCache(file string, data []byte) { o.store.WriteNote(o.note(file), data) }

// Log implements sumdb.ClientOps.
func (o *sumdbOps) Log(string) {}

// SecurityError implements sumdb.ClientOps.
func (o *sumdbOps) SecurityError(msg string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.alarm = strings.TrimSpace(msg)
}
