package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// An inside is what is known of lockfiles inside of an archive: the store keeps
// it, so that each is opened once.
type inside struct {
	// Loose tells that cargo builds some of it, without a lockfile.
	Loose bool `json:",omitempty"`
	// Locks are the lockfiles by which it does, by their names in the archive.
	Locks map[string]string `json:",omitempty"`
}

// derive finds the lockfiles inside of what was fetched for plan. m says where
// that is.
func (r *run) derive(ctx context.Context, plan cache.Plan, m *cache.Manifest) ([]cache.Derived, error) {
	if r.opts.Crates == CratesIgnored {
		return nil, nil
	}
	archives := ecosystem.RustArchives(m.Resolve(plan.Inputs))
	var mu sync.Mutex
	var out []cache.Derived
	e := &Error{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, in := range archives {
		g.Go(func() error {
			entry, ok := m.Find(in.ID())
			if !ok || ctx.Err() != nil {
				return context.Cause(ctx)
			}
			found, err := r.look(in.Path, entry.Blob)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if found.Loose {
				e.Problems = append(e.Problems, in.Problem(cache.NoCrates, "built by cargo, and has no Cargo.lock"))
			}
			for name, text := range found.Locks {
				out = append(out, cache.Derived{ID: in.ID(), File: name, Text: text})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	e.Problems = cache.SortProblems(e.Problems)
	if len(e.Problems) > 0 && r.opts.Crates == CratesRequired {
		return nil, e
	}
	for _, p := range e.Problems {
		r.progress.Note(p.String() + ": its crates are not fetched")
	}
	slices.SortFunc(out, cache.Derived.Compare)
	return out, nil
}

// look opens an archive, or remembers what it saw when it did. name is what the
// archive is called.
func (r *run) look(name string, b cache.Blob) (inside, error) {
	note := "inside/" + b.Sum.Hex()
	var known inside
	data, err := r.store.ReadNote(note)
	if err == nil && json.Unmarshal(data, &known) == nil {
		return known, nil
	}
	f, err := os.Open(r.store.Path(b))
	if err != nil {
		return inside{}, &storeError{err}
	}
	defer f.Close()
	members, err := cache.ReadMembers(name, &cache.Content{ReaderAt: f, Size: b.Size}, ecosystem.IsRustMember)
	if _, disk := errors.AsType[*fs.PathError](err); disk {
		return inside{}, &storeError{err}
	}
	// One that is no archive is for pip to complain about.
	var locks []string
	known = inside{}
	if err == nil {
		locks, known.Loose = ecosystem.RustLocks(members)
	}
	for _, lock := range locks {
		if known.Locks == nil {
			known.Locks = map[string]string{}
		}
		known.Locks[lock] = members[lock]
	}
	if data, err = json.Marshal(known); err == nil {
		err = r.store.WriteNote(note, data)
	}
	if err != nil {
		return inside{}, &storeError{err}
	}
	return known, nil
}
