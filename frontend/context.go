package frontend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/grpcerrors"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/frontend/preflight"
)

// maxLockfile bounds what is read of one file of a context.
const maxLockfile = 64 << 20

// readChunk is what one call may ask of the daemon: BuildKit refuses files
// larger than 16 MiB in one piece (frontend/gateway).
const readChunk = 8 << 20

// lockfiles is the build context as an fs.FS of its lockfiles. Of a local
// context nothing else is transferred; a remote one is fetched whole, as the
// build does anyway. pkgs are the packages that are known: their options may
// name lockfiles that no pattern finds. more are patterns of other files.
func (b *build) lockfiles(ctx context.Context, pkgs []cache.Package, more ...string) (fs.FS, error) {
	st, local, err := b.mainContext(ctx)
	if err != nil {
		return nil, err
	}
	if local {
		b.readsLocal(dockerui.DefaultLocalNameContext)
		opts := []llb.LocalOption{
			llb.IncludePatterns(slices.Concat(ecosystem.Patterns(pkgs...), preflight.Patterns, more)),
			llb.ExcludePatterns(ecosystem.SkippedPatterns(pkgs...)),
			llb.SharedKeyHint("hermetic-lockfiles"),
			dockerui.WithInternalName("load lockfiles of the build context"),
		}
		l := llb.Local(dockerui.DefaultLocalNameContext, b.session(dockerui.DefaultLocalNameContext, opts)...)
		st = &l
	}
	ref, err := b.reference(ctx, *st)
	if err != nil {
		return nil, err
	}
	f := newRefFS(ctx, ref)
	if !local {
		return f, nil
	}
	if err := f.preload(); isNotSent(err) {
		return noFiles{}, nil
	} else if err != nil {
		return nil, err
	}
	return f, nil
}

// isNotSent tells that the client sends no build context, or no directory at
// all (BuildKit source/local, whose error has no code). The build itself fails
// if it needs one.
func isNotSent(err error) bool {
	return err != nil && (grpcerrors.Code(err) == codes.NotFound || strings.Contains(err.Error(), "no local sources enabled"))
}

// noFiles is a context without files.
type noFiles struct{}

// Open implements fs.FS.
func (noFiles) Open(name string) (fs.File, error) {
	if name == "." {
		return &dirFile{info: info{&fstypes.Stat{Path: ".", Mode: uint32(fs.ModeDir | 0o755)}}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// mainContext is the build context where it is remote; local tells that it is
// a directory of the client.
func (b *build) mainContext(ctx context.Context) (st *llb.State, local bool, err error) {
	_, git, _ := dockerui.DetectGitContext(b.cfg.context, nil) // its error is told by MainContext
	_, _, http := dockerui.DetectHTTPContext(b.cfg.context)
	if !git && !http {
		inputs, err := b.client.Inputs(ctx)
		if err != nil {
			return nil, false, err
		}
		if _, ok := inputs[dockerui.DefaultLocalNameContext]; !ok {
			return nil, true, nil
		}
	}
	st, err = b.ui.MainContext(ctx)
	if err != nil || st == nil {
		return nil, false, err
	}
	def, err := st.Marshal(ctx)
	if err != nil {
		return nil, false, err
	}
	return st, false, b.ownSource(def.ToPB())
}

// session gives a local source the session that its files come from.
func (b *build) session(name string, opts []llb.LocalOption) []llb.LocalOption {
	o := b.client.BuildOpts()
	id := o.SessionID
	if v, ok := o.Opts[keySessionID+name]; ok {
		id = v
	}
	return append(opts, llb.SessionID(id))
}

// reference solves a state of sources, to read files from it.
func (b *build) reference(ctx context.Context, st llb.State) (client.Reference, error) {
	def, err := st.Marshal(ctx, llb.WithCaps(b.client.BuildOpts().Caps))
	if err != nil {
		return nil, err
	}
	res, err := b.client.Client.Solve(ctx, client.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}

// refFS is a solved reference as an fs.FS. It lists each directory once.
type refFS struct {
	ctx   context.Context
	ref   client.Reference
	mu    sync.Mutex
	dirs  map[string][]*fstypes.Stat
	files map[string][]byte // what preload has read
}

func newRefFS(ctx context.Context, ref client.Reference) *refFS {
	return &refFS{ctx: ctx, ref: ref, dirs: map[string][]*fstypes.Stat{}, files: map[string][]byte{}}
}

// preloads bounds the calls that preload has under way.
const preloads = 16

// preload reads everything at once. A call to the daemon takes a millisecond
// or more: one after the other they would be the longest part of a build in
// which nothing changed. What cannot be read shows itself when it is opened.
func (f *refFS) preload() error {
	var g errgroup.Group
	g.SetLimit(preloads)
	err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		g.Go(func() error {
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if data, err := f.read(name, info.Size()); err == nil {
				f.mu.Lock()
				f.files[name] = data
				f.mu.Unlock()
			}
			return nil
		})
		return nil
	})
	g.Wait() // the functions return no errors
	return err
}

// Open implements fs.FS.
func (f *refFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	st, err := f.stat(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if st.IsDir() {
		entries, err := f.list(name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &dirFile{info: info{st}, entries: entries}, nil
	}
	if !fs.FileMode(st.Mode).IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("not a regular file")}
	}
	f.mu.Lock()
	data, ok := f.files[name]
	f.mu.Unlock()
	if !ok {
		if data, err = f.read(name, st.Size); err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
	return &dataFile{info{st}, bytes.NewReader(data)}, nil
}

func (f *refFS) read(name string, size int64) ([]byte, error) {
	if size > maxLockfile {
		return nil, fmt.Errorf("larger than %d MB", maxLockfile>>20)
	}
	var data []byte
	for int64(len(data)) < size {
		chunk, err := f.ref.ReadFile(f.ctx, client.ReadRequest{
			Filename: name, Range: &client.FileRange{Offset: len(data), Length: readChunk},
		})
		if err != nil {
			return nil, err
		}
		if len(chunk) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		data = append(data, chunk...)
	}
	return data, nil
}

// Stat implements fs.StatFS: it reads no file.
func (f *refFS) Stat(name string) (fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrInvalid}
	}
	st, err := f.stat(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return info{st}, nil
}

// stat finds a file in the listing of its directory: the daemon's errors for
// absent files have no type that survives the way here.
func (f *refFS) stat(name string) (*fstypes.Stat, error) {
	if name == "." {
		return &fstypes.Stat{Path: ".", Mode: uint32(fs.ModeDir | 0o755)}, nil
	}
	parent := path.Dir(name)
	if parent != "." {
		if st, err := f.stat(parent); err != nil {
			return nil, err
		} else if !st.IsDir() {
			return nil, fs.ErrNotExist
		}
	}
	entries, err := f.list(parent)
	if err != nil {
		return nil, err
	}
	base := path.Base(name)
	for _, e := range entries {
		if path.Base(e.Path) == base {
			return e, nil
		}
	}
	return nil, fs.ErrNotExist
}

func (f *refFS) list(dir string) ([]*fstypes.Stat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if entries, ok := f.dirs[dir]; ok {
		return entries, nil
	}
	entries, err := f.ref.ReadDir(f.ctx, client.ReadDirRequest{Path: dir})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b *fstypes.Stat) int {
		return strings.Compare(path.Base(a.Path), path.Base(b.Path))
	})
	f.dirs[dir] = entries
	return entries, nil
}

// info is a stat of the daemon as fs.FileInfo.
type info struct{ st *fstypes.Stat }

func (i info) Name() string       { return path.Base(i.st.Path) }
func (i info) Size() int64        { return i.st.Size }
func (i info) Mode() fs.FileMode  { return fs.FileMode(i.st.Mode) }
func (i info) ModTime() time.Time { return time.Unix(0, i.st.ModTime) }
func (i info) IsDir() bool        { return i.st.IsDir() }
func (i info) Sys() any           { return nil }

type dataFile struct {
	info
	*bytes.Reader
}

func (f *dataFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *dataFile) Size() int64                { return f.info.Size() }
func (f *dataFile) Close() error               { return nil }

type dirFile struct {
	info
	entries []*fstypes.Stat
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *dirFile) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }
func (d *dirFile) Close() error               { return nil }

// ReadDir implements fs.ReadDirFile.
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	take := len(d.entries)
	if n > 0 {
		take = min(n, take)
	}
	if n > 0 && take == 0 {
		return nil, io.EOF
	}
	out := make([]fs.DirEntry, 0, take)
	for _, st := range d.entries[:take] {
		out = append(out, fs.FileInfoToDirEntry(info{st}))
	}
	d.entries = d.entries[take:]
	return out, nil
}
