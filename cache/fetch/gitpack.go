package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	objectcache "github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// maxModules is how deep submodules may have submodules.
const maxModules = 20

// download fetches a commit and its submodules, and puts their archive into the
// store.
func (g *gits) download(ctx context.Context, it *item) error {
	if blob, ok := g.run.store.Lookup(it.Sum); ok { // of another input, meanwhile
		it.blob = blob
		return nil
	}
	d, err := g.run.store.Create()
	if err != nil {
		return &storeError{err}
	}
	defer d.Close()
	p := &packing{gits: g, ctx: ctx, report: func(n int64) { g.run.progress.Advance(it.Input, n, -1) }}
	commit, err := p.commit(it.URL, it.Sum.Hex())
	if err != nil {
		return err
	}
	g.reading.Lock()
	defer g.reading.Unlock()
	if blob, ok := g.run.store.Lookup(it.Sum); ok {
		it.blob = blob
		return nil
	}
	if p.out, err = cache.NewGitWriter(d, commit.raw); err != nil {
		return &contentError{err, printableRepo(it.URL)}
	}
	if err := p.module(commit, "", 0); err != nil {
		return packError(ctx, err, it.URL)
	}
	if err := p.out.Close(); err != nil {
		return packError(ctx, err, it.URL)
	}
	for _, name := range p.pointers {
		g.run.note(it, name+": a pointer of git-lfs, whose file is not fetched")
	}
	return g.run.commit(ctx, d, it, printableRepo(it.URL))
}

// packError tells trouble of the disk from content that is not right.
func packError(ctx context.Context, err error, repository string) error {
	_, transfer := errors.AsType[*transferError](err)
	switch {
	case ctx.Err() != nil, transfer, stopsAll(err):
		return err
	case isDisk(err):
		return &storeError{err}
	}
	return &contentError{err, printableRepo(repository)}
}

// packing is an archive that is being written.
type packing struct {
	gits     *gits
	ctx      context.Context
	out      *cache.GitWriter
	report   func(int64)
	pointers []string // files that are pointers of git-lfs
}

// A gitCommit is a commit that was fetched.
type gitCommit struct {
	url     string
	raw     []byte
	tree    plumbing.Hash
	objects storer.EncodedObjectStorer
}

// commit fetches a commit.
func (p *packing) commit(repository, id string) (*gitCommit, error) {
	r := p.gits.repo(repository)
	if err := r.need(p.ctx, id, p.report); err != nil {
		return nil, err
	}
	c := &gitCommit{url: repository, objects: r.objects}
	obj, err := object.GetCommit(r.objects, plumbing.NewHash(id))
	if err != nil {
		return nil, &contentError{err, printableRepo(repository)}
	}
	c.tree = obj.TreeHash
	encoded, err := r.objects.EncodedObject(plumbing.CommitObject, obj.Hash)
	if err != nil {
		return nil, &contentError{err, printableRepo(repository)}
	}
	c.raw, err = readObject(encoded, 1<<20)
	if err != nil {
		return nil, &contentError{err, printableRepo(repository)}
	}
	return c, nil
}

// readObject is the content of an object of at most limit bytes.
func readObject(o plumbing.EncodedObject, limit int64) ([]byte, error) {
	if o.Size() > limit {
		return nil, errors.New("an object " + tooLarge(limit))
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, limit))
}

// module writes the files of a commit below at.
func (p *packing) module(c *gitCommit, at string, depth int) error {
	if depth > maxModules {
		return fmt.Errorf("%s: submodules %d deep", at, depth)
	}
	w := &moduleWalk{packing: p, commit: c, at: at, depth: depth}
	tree, err := object.GetTree(c.objects, c.tree)
	if err != nil {
		return err
	}
	for _, e := range tree.Entries {
		if e.Name != cache.GitmodulesFile || e.Mode != filemode.Regular && e.Mode != filemode.Executable {
			continue
		}
		blob, err := c.objects.EncodedObject(plumbing.BlobObject, e.Hash)
		if err != nil {
			return err
		}
		text, err := readObject(blob, 1<<20)
		if err != nil {
			return err
		}
		if w.listed, err = cache.ParseGitmodules(text); err != nil {
			return fmt.Errorf("%s: %v", path.Join(at, cache.GitmodulesFile), err)
		}
	}
	return w.tree(tree, "")
}

// moduleWalk walks the tree of one commit.
type moduleWalk struct {
	*packing
	commit *gitCommit
	at     string // where in the archive it is
	depth  int
	listed cache.Gitmodules
}

// tree writes what is in a tree, which is at below in its repository.
func (w *moduleWalk) tree(t *object.Tree, below string) error {
	for _, e := range t.Entries {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name := path.Join(below, e.Name)
		if strings.Contains(e.Name, "/") || e.Name == "" || e.Name == "." || e.Name == ".." {
			return fmt.Errorf("%.200q: not a name of a file", e.Name)
		}
		var err error
		switch e.Mode {
		case filemode.Dir:
			var sub *object.Tree
			if sub, err = object.GetTree(w.commit.objects, e.Hash); err == nil {
				err = w.tree(sub, name)
			}
		case filemode.Submodule:
			err = w.submodule(name, e.Hash.String())
		default:
			err = w.file(name, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file writes a file or a link.
func (w *moduleWalk) file(name string, e object.TreeEntry) error {
	blob, err := w.commit.objects.EncodedObject(plumbing.BlobObject, e.Hash)
	if err != nil {
		return fmt.Errorf("%.200q: %w", name, err)
	}
	entry := cache.GitEntry{Path: path.Join(w.at, name), Mode: cache.GitMode(e.Mode), Size: blob.Size()}
	if e.Mode == filemode.Symlink {
		text, err := readObject(blob, 1<<20)
		if err != nil {
			return err
		}
		entry.Link, entry.Size = string(text), 0
		return w.out.Add(entry, nil)
	}
	r, err := blob.Reader()
	if err != nil {
		return fmt.Errorf("%.200q: %w", name, err)
	}
	defer r.Close()
	if entry.Size > maxPointer {
		return w.out.Add(entry, r)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxPointer))
	if err != nil {
		return err
	}
	if bytes.HasPrefix(text, []byte(pointerHead)) {
		w.pointers = append(w.pointers, entry.Path)
	}
	return w.out.Add(entry, bytes.NewReader(text))
}

// What a pointer of git-lfs is
// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md).
const (
	maxPointer  = 1024
	pointerHead = "version https://git-lfs.github.com/spec/"
)

// submodule writes a submodule with all that is in it.
func (w *moduleWalk) submodule(name, id string) error {
	at := path.Join(w.at, name)
	entry := cache.GitEntry{Path: at, Mode: cache.GitModule, ID: id}
	if !w.listed.Wants(name) {
		return w.out.Add(entry, nil)
	}
	s, _ := w.listed.Find(name)
	from, err := ecosystem.SubmoduleURL(w.commit.url, s.URL)
	if err != nil {
		return fmt.Errorf("submodule %s: %v", at, err)
	}
	if u, err := url.Parse(from); err != nil || u.Scheme == "file" && !strings.HasPrefix(w.commit.url, "file:") {
		return fmt.Errorf("submodule %s: would be read from this machine's disk", at)
	}
	c, err := w.packing.commit(from, id)
	if err != nil {
		if t, ok := errors.AsType[*transferError](err); ok {
			whole := *t
			whole.text = "submodule " + at + ": " + whole.text
			return &whole
		}
		return err
	}
	entry.Commit = c.raw
	if err := w.out.Add(entry, nil); err != nil {
		return err
	}
	return w.module(c, at, w.depth+1)
}

// fromDisk makes the objects of a repository on this machine those that are
// read.
func (r *repo) fromDisk(v *visit) error {
	for _, dir := range []string{path.Join(v.at.Path, ".git"), v.at.Path} {
		s := filesystem.NewStorageWithOptions(osfs.New(dir), objectcache.NewObjectLRUDefault(), filesystem.Options{})
		if _, err := s.Config(); err != nil {
			continue
		}
		if _, err := s.Reference(plumbing.HEAD); err != nil {
			continue
		}
		for _, c := range v.commits {
			if s.HasEncodedObject(plumbing.NewHash(c)) != nil {
				return &transferError{url: redacted(v.at), text: "has no commit " + c}
			}
		}
		r.objects = s
		return nil
	}
	return &transferError{url: redacted(v.at), text: "no such repository"}
}
