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
	// Lacking are what its lockfiles lack, in words.
	Lacking []string `json:",omitempty"`
	// Locks are the lockfiles by which cargo does, by their names in the archive.
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
	var loose, lacking []cache.Problem
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
				loose = append(loose, in.Problem(cache.NoCrates, "built by cargo, and has no Cargo.lock"))
			}
			for _, text := range found.Lacking {
				lacking = append(lacking, in.Problem(cache.NoCrates, "built by cargo, and its "+text))
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
	if all := cache.SortProblems(slices.Concat(loose, lacking)); len(all) > 0 && r.opts.Crates == CratesRequired {
		return nil, &Error{Problems: all}
	}
	for _, p := range cache.SortProblems(loose) {
		r.progress.Note(p.String() + ": its crates are not fetched")
	}
	for _, p := range cache.SortProblems(lacking) {
		r.progress.Note(p.String())
	}
	slices.SortFunc(out, cache.Derived.Compare)
	return out, nil
}

// look opens an archive, or remembers what it saw when it did. name is what the
// archive is called.
func (r *run) look(name string, b cache.Blob) (inside, error) {
	note := "inside2/" + b.Sum.Hex() // another number whenever more is seen
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
	known = inside{Locks: map[string]string{}}
	if err == nil {
		found := ecosystem.RustLocks(members)
		known.Loose, known.Lacking = found.Loose, found.Lacking
		for _, lock := range found.Locks {
			known.Locks[lock] = members[lock]
		}
	}
	if data, err = json.Marshal(known); err == nil {
		err = r.store.WriteNote(note, data)
	}
	if err != nil {
		return inside{}, &storeError{err}
	}
	return known, nil
}
