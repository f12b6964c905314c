package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
)

// ignoreName is the file that says what of a context is not sent. One beside
// the Dockerfile, with its name in front, is read in its place.
const ignoreName = ".dockerignore"

// contextFiles is a build context as COPY sees it: without what the ignore file
// leaves out. It looks only at what it is asked for. Nothing is found behind a
// symbolic link.
type contextFiles struct {
	root *os.Root
	sent fsutil.FS // what BuildKit's client would send
}

// files is the context as COPY of a Dockerfile sees it; dockerfile is the
// Dockerfile's path, "" where it is no file.
func (c *buildContext) files(dockerfile string) (fs.FS, error) {
	name, patterns, err := c.ignored(dockerfile)
	if err != nil {
		return nil, err
	}
	dir, err := fsutil.NewFS(c.name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, bare(err))
	}
	sent, err := fsutil.NewFilterFS(descent{dir}, &fsutil.FilterOpt{ExcludePatterns: patterns})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &contextFiles{c.root, sent}, nil
}

// ignored reads the patterns of the ignore file, and its name, as BuildKit does
// (frontend/dockerui/config.go): one that is there and empty leaves nothing out.
func (c *buildContext) ignored(dockerfile string) (name string, patterns []string, err error) {
	name, data, err := ignoreName, []byte(nil), fs.ErrNotExist
	if dockerfile != "" {
		name = dockerfile + ignoreName
		data, err = os.ReadFile(name)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		name = ignoreName
		data, err = fs.ReadFile(c.fs(), name)
	}
	if errors.Is(err, fs.ErrPermission) {
		return name, nil, fmt.Errorf("%s: %w", name, bare(err))
	}
	if err != nil {
		return name, nil, nil // none, or none that BuildKit would find
	}
	if patterns, err = ignorefile.ReadAll(bytes.NewReader(data)); err != nil {
		return name, nil, fmt.Errorf("%s: %w", name, err)
	}
	return name, patterns, nil
}

// hidden are the packages that are in the context on this machine and are not
// found, since the ignore file leaves their lockfiles out.
func (c *buildContext) hidden() []cache.Package {
	found, err := ecosystem.Discover(unignored{c.fs()})
	if err != nil {
		return nil // it was walked before
	}
	return found
}

// unignored is a directory without its ignore file.
type unignored struct{ fs.FS }

// Open implements fs.FS.
func (u unignored) Open(name string) (fs.File, error) {
	if name == ignoreName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return u.FS.Open(name)
}

// errSeen ends a walk.
var errSeen = errors.New("seen")

// has tells whether a path is sent: it is not left out, or something in it is
// not.
func (f *contextFiles) has(name string) bool {
	if name == "." {
		return true
	}
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if info, err := f.root.Lstat(filepath.FromSlash(at)); err != nil || !info.IsDir() {
			return false
		}
	}
	name = filepath.FromSlash(name)
	err := f.sent.Walk(context.Background(), name, func(at string, _ fs.DirEntry, err error) error {
		if err == nil && (at == name || strings.HasPrefix(at, name+string(filepath.Separator))) {
			return errSeen
		}
		return err
	})
	return errors.Is(err, errSeen)
}

// A descent is a directory of which a walk visits the target and what is below
// it, and before that the directories on the way to it and nothing else in them:
// what the patterns say of a path depends on what they said of these.
type descent struct{ fsutil.FS }

// Walk implements fsutil.FS.
func (d descent) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	for i, r := range target {
		if r != filepath.Separator {
			continue
		}
		err := d.FS.Walk(ctx, target[:i], func(at string, e fs.DirEntry, err error) error {
			if err := fn(at, e, err); err != nil {
				return err
			}
			return errSeen
		})
		if !errors.Is(err, errSeen) {
			return err // or the directory is passed over
		}
	}
	return d.FS.Walk(ctx, target, fn)
}

func (f *contextFiles) check(op, name string) error {
	switch {
	case !fs.ValidPath(name):
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	case !f.has(name):
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return nil
}

// Open implements fs.FS for files. Directories are read with ReadDir.
func (f *contextFiles) Open(name string) (fs.File, error) {
	if err := f.check("open", name); err != nil {
		return nil, err
	}
	return f.root.FS().Open(name)
}

// Stat implements fs.StatFS.
func (f *contextFiles) Stat(name string) (fs.FileInfo, error) {
	if err := f.check("stat", name); err != nil {
		return nil, err
	}
	return fs.Stat(f.root.FS(), name)
}

// ReadDir implements fs.ReadDirFS.
func (f *contextFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.check("readdir", name); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(f.root.FS(), name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !f.has(path.Join(name, e.Name())) }), err
}
