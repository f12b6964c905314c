package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// Options say where to ask and how long. The zero Options are those of the go
// command in this process's environment.
type Options struct {
	// Env is the environment: GOPROXY, GOPRIVATE, GONOPROXY, GOSUMDB, GOAUTH,
	// GOTOOLCHAIN, GOENV, CARGO_HOME, CARGO_REGISTRIES_*, NETRC, HOME, XDG_CONFIG_HOME, PATH and the HTTP proxy
	// variables are read. nil means os.Getenv. Certificate authorities are
	// those of the process (SSL_CERT_FILE, SSL_CERT_DIR).
	Env func(string) string

	// Mirrors maps a package type to where its inputs are fetched from,
	// whatever the environment and the lockfiles say: a list in GOPROXY syntax.
	// For types whose lockfiles hold URLs, "direct" means these, and a mirror
	// has a file at its own URL followed by the host and the path of the file's.
	// A mirror of crates is the URL of a registry's sparse index.
	Mirrors map[string]string

	// Offline means that the store alone must do.
	Offline bool

	// Verify means that what the store holds is read and hashed first; what is
	// damaged is fetched again.
	Verify bool

	// Parallel is how many files are under way at once; 0 means 32. Hashing
	// takes no more than GOMAXPROCS at a time.
	Parallel int

	// Tries is how often a file is asked for before a failure that may pass is
	// believed; 0 means 5.
	Tries int

	// RequestTimeout bounds one try at one file, StallTimeout the time in which
	// no byte of it arrives, TotalTimeout the whole call. 0 means 10 minutes,
	// 1 minute and 1 hour.
	RequestTimeout, StallTimeout, TotalTimeout time.Duration

	// Crates is what becomes of the crates that source distributions of Python
	// packages are built with.
	Crates Crates

	// Progress is told what happens; nil means nobody.
	Progress Progress
}

// Crates says what becomes of crates that lockfiles inside of source distributions
// name.
type Crates int

const (
	// CratesLocked are fetched; a Note names distributions without a lockfile.
	CratesLocked Crates = iota
	// CratesRequired are fetched, and one without a lockfile is a problem.
	CratesRequired
	// CratesIgnored are left out.
	CratesIgnored
)

// Progress sees a call of All at work. Methods are called from several
// goroutines at once, and must be quick.
type Progress interface {
	// Begin comes when the store has been asked: what has to be fetched, and what
	// is there already. It comes once more where something that was fetched has a
	// lockfile in it, with what only that asks for.
	Begin(missing, held []cache.Input)
	// Start, Advance and Finish follow an input of missing. done is in bytes
	// and starts again when a transfer does; total is -1 while unknown.
	Start(in cache.Input)
	Advance(in cache.Input, done, total int64)
	// Finish ends in. An optional input that is left out has no err: a Note
	// says why.
	Finish(in cache.Input, err error)
	// Note is a line for the user that is no error.
	Note(text string)
}

// silent is the Progress of nobody.
type silent struct{}

func (silent) Begin(_, _ []cache.Input)          {}
func (silent) Start(cache.Input)                 {}
func (silent) Advance(cache.Input, int64, int64) {}
func (silent) Finish(cache.Input, error)         {}
func (silent) Note(string)                       {}

// All makes s hold every input of plan and returns the manifest of what it
// holds for it. Inputs whose sum no lockfile promises carry the verified one.
// Optional inputs that nobody has are left out, with a note.
//
// All that is wrong with inputs is in one *Error. What stops everything (a full
// disk, a setting that makes no sense, the end of ctx) is an error of one line.
// The blobs that did arrive stay in s in either case, and nothing half done
// does. The plan's own Problems are the caller's to report.
func All(ctx context.Context, s *cache.Store, plan cache.Plan, o Options) (*cache.Manifest, error) {
	r := newRun(s, o)
	limit := cmp.Or(o.TotalTimeout, time.Hour)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("stopped after %v", limit))
	defer cancel()

	plan = normalized(plan)
	m, err := r.all(ctx, plan)
	if err != nil {
		return nil, err
	}
	derived, err := r.derive(ctx, plan, m)
	if err != nil {
		return nil, err
	}
	if len(derived) == 0 {
		return m, nil
	}
	m.Derived = derived
	more := ecosystem.Complete(plan, m)
	if ps := more.Problems[:len(more.Problems):len(more.Problems)]; len(ps) > len(plan.Problems) {
		return nil, &Error{Problems: ps}
	}
	if m, err = r.all(ctx, more); err == nil {
		m.Derived = more.Derived
	}
	return m, err
}

// all makes the store hold the inputs of a plan. What an earlier call has settled
// stays so.
func (r *run) all(ctx context.Context, plan cache.Plan) (*cache.Manifest, error) {
	settled := map[cache.ID]*item{}
	for _, it := range r.items {
		settled[it.ID()] = it
	}
	r.items = make([]*item, len(plan.Inputs))
	for i, in := range plan.Inputs {
		r.items[i] = &item{Input: in}
		if it, ok := settled[in.ID()]; ok && it.state != wanted {
			r.items[i] = it
		}
	}
	if err := r.askStore(ctx); err != nil {
		return nil, err
	}
	if err := r.fetchMissing(ctx); err != nil {
		return nil, err
	}
	if e := r.findings(); e != nil {
		return nil, e
	}
	return r.manifest(plan), nil
}

// normalized is plan sorted and without repetitions, leaving the caller's own
// slices as they are.
func normalized(plan cache.Plan) cache.Plan {
	var p cache.Plan
	p.Add(plan)
	p.Normalize()
	return p
}

// An item is an input on its way. One goroutine at a time has it.
type item struct {
	cache.Input // with the Sum that a checksum database vouches for
	blob        cache.Blob
	state       state
	err         error  // why it is still wanted
	file        string // of an Alternative that was chosen: the name of its file
	told        bool   // whether progress has it
}

type state int

const (
	wanted  state = iota
	held          // in the store; blob says where
	skipped       // optional, and left out
)

// A run is one call of All.
type run struct {
	store    *cache.Store
	opts     Options
	env      func(string) string
	progress Progress
	items    []*item
	backends map[string]backend
	gits     *gits         // for commits of all package types
	hashing  chan struct{} // one token for each hash under way

	// What backends share, made when first wanted. A failure is everybody's.
	client func() (*client, error)
	logins func() netrc
}

// A backend knows where the inputs of one package type come from.
type backend interface {
	// prepare gives it the sum that the store remembers, or skips it. No
	// network.
	prepare(it *item)
	// fetch gets the wanted items of a unit: all inputs of one name and
	// version. What is wrong with an item stays in it; the error is what stops
	// everything.
	fetch(ctx context.Context, unit []*item) error
}

// A chooser is a backend whose inputs are Alternatives.
type chooser interface {
	// choose skips those alternatives of a unit that are not wanted, as far as
	// the store remembers what an index said. No network.
	choose(unit []*item)
}

// backends make the backend of each package type.
var backends = map[string]func(*run) backend{
	"cargo":         func(r *run) backend { return newCrates(r) },
	"generic":       func(r *run) backend { return newFiles(r, fileSource{kind: "generic"}) },
	"gomod":         func(r *run) backend { return newGomod(r) },
	"git-submodule": func(r *run) backend { return r.gits },
	"npm":           func(r *run) backend { return newNpm(r) },
	"pip":           func(r *run) backend { return newPip(r) },
}

func newRun(s *cache.Store, o Options) *run {
	r := &run{store: s, opts: o, env: o.Env, progress: o.Progress, hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if r.env == nil {
		r.env = os.Getenv
	}
	if r.progress == nil {
		r.progress = silent{}
	}
	r.backends = map[string]backend{}
	r.gits = newGits(r)
	for kind, make := range backends {
		r.backends[kind] = make(r)
	}
	r.client = sync.OnceValues(func() (*client, error) { return newClient(r) })
	r.logins = sync.OnceValue(func() netrc {
		logins, note := readNetrc(r.env)
		if note != "" {
			r.progress.Note(note)
		}
		return logins
	})
	return r
}

// askStore finds what is there, on all CPUs: the whole work of a run that has
// nothing to do.
func (r *run) askStore(ctx context.Context) error {
	var units [][]*item
	for unit := range chunkBy(r.items, sameUnit) {
		units = append(units, unit)
	}
	var next atomic.Int64
	var g errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(units)) {
					return nil
				}
				r.askUnit(units[i])
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

func (r *run) askUnit(unit []*item) {
	if c, ok := r.backends[unit[0].Ecosystem].(chooser); ok {
		c.choose(unit)
	}
	for _, it := range unit {
		r.ask(it)
	}
}

func (r *run) ask(it *item) {
	if b, ok := r.backends[it.Ecosystem]; ok && it.Sum.IsZero() {
		b.prepare(it)
	}
	if it.state != wanted || it.Need == cache.Alternative && it.file == "" {
		return
	}
	blob, ok := r.store.Lookup(it.Sum)
	switch {
	case !ok:
	case r.opts.Verify && !r.store.Verify(it.Sum):
		it.err = errDamaged
		r.note(it, errDamaged.Error())
	default:
		it.blob, it.state = blob, held
	}
}

// fetchMissing gets what is wanted, several units at once.
func (r *run) fetchMissing(ctx context.Context) error {
	var missing, have []cache.Input
	for _, it := range r.items {
		switch it.state {
		case wanted:
			missing = append(missing, it.Input)
		case held:
			if !it.told {
				have = append(have, it.Input)
			}
		}
		it.told = true
	}
	r.progress.Begin(missing, have)
	if len(missing) == 0 {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.parallel())
	for _, unit := range r.units() {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return r.fetchUnit(ctx, unit)
		})
	}
	err := g.Wait()
	r.gits.close()
	if c, e := r.client(); e == nil {
		c.http.CloseIdleConnections()
	}
	return err
}

// parallel is how many files may be under way at once.
func (r *run) parallel() int {
	if r.opts.Parallel > 0 {
		return r.opts.Parallel
	}
	return 32
}

// units cuts the items into runs of one name and version that have something
// wanted in them: sorted items have these side by side. What may be large comes
// first, so that the end of the work is in small pieces.
func (r *run) units() [][]*item {
	var out [][]*item
	for unit := range chunkBy(r.items, sameUnit) {
		if slices.ContainsFunc(unit, (*item).wanted) {
			out = append(out, unit)
		}
	}
	slices.SortStableFunc(out, func(a, b []*item) int { return cmp.Compare(weight(b), weight(a)) })
	return out
}

// sameUnit tells whether two items are of one name and version.
func sameUnit(a, b *item) bool {
	return a.Ecosystem == b.Ecosystem && a.Name == b.Name && a.Version == b.Version
}

// weight guesses how large a unit is: toolchains are larger than all else, and
// lone go.mod files are small.
func weight(unit []*item) int {
	switch {
	case unit[0].Name == toolchainModule:
		return 2
	case slices.ContainsFunc(unit, func(it *item) bool { return it.wanted() && it.Kind != "mod" }):
		return 1
	}
	return 0
}

// chunkBy yields the longest runs of neighbours that are the same.
func chunkBy(items []*item, same func(a, b *item) bool) func(func([]*item) bool) {
	return func(yield func([]*item) bool) {
		for len(items) > 0 {
			n := 1
			for n < len(items) && same(items[0], items[n]) {
				n++
			}
			if !yield(items[:n:n]) {
				return
			}
			items = items[n:]
		}
	}
}

func (it *item) wanted() bool { return it.state == wanted }

func (r *run) fetchUnit(ctx context.Context, unit []*item) error {
	b, ok := r.backends[unit[0].Ecosystem]
	if ok && !r.opts.Offline {
		commits, others := byKind(unit)
		if err := r.gits.fetch(ctx, commits); err != nil || len(others) == 0 {
			return err
		}
		return b.fetch(ctx, others)
	}
	for _, it := range unit {
		switch {
		case it.state != wanted:
		case !ok:
			r.finish(it, fmt.Errorf("package type %q: nobody knows where to fetch it", it.Ecosystem))
		default:
			r.finish(it, &offlineError{it.err})
		}
	}
	return nil
}

// byKind tells commits of git repositories from all other inputs.
func byKind(unit []*item) (commits, others []*item) {
	for _, it := range unit {
		if it.Sum.Algorithm() == cache.Git {
			commits = append(commits, it)
		} else {
			others = append(others, it)
		}
	}
	return commits, others
}

// settle runs get for a wanted item and keeps its outcome in it; the error is
// what stops everything.
func (r *run) settle(ctx context.Context, it *item, get func() error) error {
	r.progress.Start(it.Input)
	err := get()
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil && (ctx.Err() != nil || stopsAll(err)) {
		r.progress.Finish(it.Input, err)
		return err
	}
	r.finish(it, err)
	return nil
}

// finish ends a wanted item: err is nil, or why it could not be had. An
// optional item that nobody has is skipped.
func (r *run) finish(it *item, err error) {
	it.err = err
	switch {
	case err == nil:
		it.state = held
	case it.Need == cache.Optional && isAbsence(err):
		it.state = skipped
		r.note(it, cause(err))
		err = nil
	}
	r.progress.Finish(it.Input, err)
}

// note says what is worth saying about an item that is no error.
func (r *run) note(it *item, text string) {
	r.progress.Note(it.Problem(0, text).String())
}

// commit puts a draft into the store under the sum of it, hashing no more of
// them at once than there are CPUs. from is where the content came from.
func (r *run) commit(ctx context.Context, d *cache.Draft, it *item, from string) error {
	select {
	case r.hashing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-r.hashing }()
	blob, err := d.Commit(it.Sum)
	if err != nil {
		return commitError(err, from)
	}
	it.blob = blob
	return nil
}

// commitError tells trouble of the disk from content that is not right.
func commitError(err error, from string) error {
	_, mismatch := errors.AsType[*cache.MismatchError](err)
	if !mismatch && isDisk(err) {
		return &storeError{err}
	}
	return &contentError{err, from}
}

// isDisk tells errors of the operating system from all others.
func isDisk(err error) bool {
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	_, call := errors.AsType[*os.SyscallError](err)
	return path || link || call
}

// manifest is what the run has for plan, sorted.
func (r *run) manifest(plan cache.Plan) *cache.Manifest {
	m := &cache.Manifest{Packages: plan.Packages, Locks: plan.Locks}
	for _, it := range r.items {
		if it.state == held {
			m.Entries = append(m.Entries, cache.Entry{ID: it.ID(), Sum: it.Sum, Blob: it.blob, Pack: -1, File: it.file})
		}
	}
	slices.SortFunc(m.Entries, func(a, b cache.Entry) int { return a.ID.Compare(b.ID) })
	return m
}
