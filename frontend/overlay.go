package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/llbgen"
)

// maxOverlaid bounds the bytes of all files that lie over a build context: they
// are part of the graph, of which the daemon takes 16 MiB at a time.
const maxOverlaid = 8 << 20

// overlayTime is the time of these files: that of the files of a layout, so
// that the graph is the same wherever the context was checked out.
var overlayTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// overlay puts the files that have to be others in a sealed build on top of the
// build context, wherever the graph takes it: one file op on the source, so
// that nothing of the context is copied, and COPY, ADD and bind mounts see the
// same. What none of them can see is left out: files that .dockerignore hides,
// or that are below no path that the graph asks for.
func (b *build) overlay(ctx context.Context, g *llbgen.Graph) error {
	b.mu.Lock()
	files, dirs, tree := b.report.Project, b.report.Plan.Overlays, b.laid
	keep, own := maps.Clone(b.keep), b.context
	b.mu.Unlock()
	if tree == nil || len(files) == 0 && len(dirs) == 0 {
		return nil
	}
	size := 0
	for _, f := range files {
		size += len(f.Data)
	}
	if size > maxOverlaid {
		return fmt.Errorf("deps context: files that are rewritten for a sealed build: %d MB, and a build carries no more than %d", size>>20, maxOverlaid>>20)
	}
	at := g.Takes(func(src *pb.SourceOp) bool { return src.Identifier == localScheme+dockerui.DefaultLocalNameContext })
	if own != (llbgen.OutputRef{}) {
		at = append(at, own)
	}
	for _, ref := range at {
		def, err := g.Output(ref)
		if err != nil || def == nil {
			return err
		}
		c, err := b.openContext(ctx, def)
		if err != nil || c == nil {
			return err
		}
		action := c.lay(files, dirs)
		if err := b.broken(c.problems); err != nil {
			return err
		}
		if action == nil {
			continue
		}
		with, err := c.on(ctx, action)
		if err != nil {
			return err
		}
		if err := g.Overlay(ref, with, keep); err != nil {
			return err
		}
	}
	return nil
}

// broken takes problems into the report; the error is that of the report.
func (b *build) broken(problems []cache.Problem) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Problems(problems)
	return b.report.Err()
}

// lain is a build context, as one graph takes it, on which files are laid.
type lain struct {
	build *build
	def   *pb.Definition
	fsys  *refFS
	// hidden tells what .dockerignore leaves out; asked is what of the context
	// the graph asks for, nil for all of it.
	hidden   *patternmatcher.PatternMatcher
	patterns []string // of hidden
	asked    []string

	action   *llb.FileAction
	problems []cache.Problem
}

// openContext reads a context of the graph; nil for one that the client does
// not send.
func (b *build) openContext(ctx context.Context, def *pb.Definition) (*lain, error) {
	c := &lain{build: b, def: def}
	src, err := onlySource(def)
	if err != nil {
		return nil, err
	}
	for attr, list := range map[string]*[]string{pb.AttrExcludePatterns: &c.patterns, pb.AttrFollowPaths: &c.asked} {
		if text := src.GetAttrs()[attr]; text != "" {
			if err := json.Unmarshal([]byte(text), list); err != nil {
				return nil, fmt.Errorf("build context: %s: %w", attr, err)
			}
		}
	}
	if c.hidden, err = patternmatcher.New(c.patterns); err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	res, err := b.client.Client.Solve(ctx, client.SolveRequest{Definition: def})
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return nil, err
	}
	c.fsys = newRefFS(ctx, ref)
	if _, err := c.fsys.list("."); isNotSent(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	return c, nil
}

// lay is what makes the context one with the files and directories; nil where
// nothing in the graph could see any of them.
func (c *lain) lay(files []cache.File, dirs []cache.Overlay) *llb.FileAction {
	for _, f := range files {
		c.file(f)
	}
	for _, o := range dirs {
		c.dir(o)
	}
	return c.action
}

// then appends an action.
func (c *lain) then(a *llb.FileAction, chained func(*llb.FileAction) *llb.FileAction) {
	if c.action == nil {
		c.action = a
	} else {
		c.action = chained(c.action)
	}
}

// parents makes the directories above name that are not there.
func (c *lain) parents(name string) {
	dir := path.Dir(name)
	if _, err := c.fsys.stat(dir); err == nil {
		return
	}
	opts := []llb.MkdirOption{llb.WithParents(true), llb.WithCreatedTime(overlayTime)}
	c.then(llb.Mkdir("/"+dir, 0o755, opts...), func(a *llb.FileAction) *llb.FileAction { return a.Mkdir("/"+dir, 0o755, opts...) })
}

// file lays one file, with the mode and the owner of the one that is there.
func (c *lain) file(f cache.File) {
	st, cause := c.under(f.Path)
	if cause != "" {
		c.problems = append(c.problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: f.Path},
			Cause: "a sealed build needs another file in its place, and " + cause})
		return
	}
	if st == nil && !c.isSeen(f.Path) {
		return
	}
	c.parents(f.Path)
	mode := fs.FileMode(0o644)
	opts := []llb.MkfileOption{llb.WithCreatedTime(overlayTime)}
	if st != nil {
		mode = fs.FileMode(st.Mode).Perm()
		if st.Uid != 0 || st.Gid != 0 {
			opts = append(opts, llb.WithUIDGID(int(st.Uid), int(st.Gid)))
		}
	}
	c.then(llb.Mkfile("/"+f.Path, mode, f.Data, opts...), func(a *llb.FileAction) *llb.FileAction {
		return a.Mkfile("/"+f.Path, mode, f.Data, opts...)
	})
}

// under is the regular file that the context has at name, nil for none; the
// cause tells why none can be laid there.
func (c *lain) under(name string) (st *fstypes.Stat, cause string) {
	for i, r := range name + "/" {
		if r != '/' {
			continue
		}
		st, err := c.fsys.stat(name[:i])
		switch {
		case err != nil:
			return nil, ""
		case i < len(name) && !st.IsDir():
			return nil, name[:i] + " is no directory"
		case i == len(name) && !fs.FileMode(st.Mode).IsRegular():
			return nil, "it is no regular file"
		case i == len(name):
			return st, ""
		}
	}
	return nil, ""
}

// isSeen tells whether the graph could see a file that is new at name.
func (c *lain) isSeen(name string) bool {
	if match, err := c.hidden.MatchesOrParentMatches(name); err != nil || match {
		return false
	}
	if c.asked == nil {
		return true
	}
	if slices.ContainsFunc(c.asked, func(p string) bool { return covers(p, name) }) {
		return true
	}
	// By way of a symbolic link the graph may ask for a directory by another name.
	st, err := c.fsys.stat(path.Dir(name))
	return err == nil && st.IsDir() && path.Dir(name) != "."
}

// covers tells whether a path of the context, which may be a pattern as COPY has
// them, is that of name or of a directory above it.
func covers(pattern, name string) bool {
	pattern = strings.Trim(path.Clean("/"+pattern), "/")
	if pattern == "" || strings.Contains(pattern, "**") {
		return true
	}
	n := strings.Count(pattern, "/") + 1
	parts := strings.Split(name, "/")
	if len(parts) < n {
		return false
	}
	match, err := path.Match(pattern, strings.Join(parts[:n], "/"))
	return match || err != nil
}

// dir lays one directory of the layout, unless the context has something in its
// place: then that is the source that the user wants.
func (c *lain) dir(o cache.Overlay) {
	if st, err := c.fsys.stat(o.Path); err == nil && st.IsDir() {
		if entries, err := c.fsys.list(o.Path); err != nil || len(entries) > 0 {
			return
		}
	}
	if _, cause := c.under(o.Path + "/x"); cause != "" {
		c.problems = append(c.problems, cache.Problem{Kind: cache.BadLock, Origin: cache.Origin{File: o.Path},
			Cause: "a sealed build needs a directory in its place, and " + cause})
		return
	}
	if c.asked != nil && !slices.ContainsFunc(c.asked, func(p string) bool {
		return covers(p, o.Path) || covers(o.Path, strings.Trim(path.Clean("/"+p), "/"))
	}) {
		return
	}
	from, at, err := c.build.laidOut(o.From)
	if err != nil {
		c.problems = append(c.problems, cache.Problem{Kind: cache.Missing, Origin: cache.Origin{File: o.Path}, Cause: err.Error()})
		return
	}
	c.build.mu.Lock()
	c.build.given.kinds[kindOf(o.From)] = true
	c.build.mu.Unlock()
	info := &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true, CreatedTime: &overlayTime}
	if !strings.ContainsAny(at, `*?[\`) {
		info.AllowWildcard, info.AllowEmptyWildcard = true, true // an exception may let the build go on without it
	}
	caps := c.build.client.BuildOpts().LLBCaps
	if caps.Supports(pb.CapFileCopyRequiredPaths) == nil { // newer than modes in words, which daemons do not announce
		info.Mode = &llb.ChmodOpt{ModeStr: "go-w"} // those of a layout are for everybody to write
	}
	if len(c.patterns) > 0 { // they are about paths of the context
		placed := llb.Scratch().File(llb.Copy(from, at, "/"+o.Path, info), dockerui.WithInternalName(o.Path+" from the cache"))
		from, at = placed, "/"
		info = &llb.CopyInfo{CopyDirContentsOnly: true, ExcludePatterns: c.patterns, CreatedTime: &overlayTime}
		c.then(llb.Copy(from, at, "/", info), func(a *llb.FileAction) *llb.FileAction { return a.Copy(from, at, "/", info) })
		return
	}
	c.then(llb.Copy(from, at, "/"+o.Path, info), func(a *llb.FileAction) *llb.FileAction { return a.Copy(from, at, "/"+o.Path, info) })
}

// on is the context with an action on top.
func (c *lain) on(ctx context.Context, action *llb.FileAction) (*pb.Definition, error) {
	op, err := llb.NewDefinitionOp(c.def)
	if err != nil {
		return nil, err
	}
	st := llb.NewState(op.Output()).File(action, dockerui.WithInternalName("put files for a sealed build on the build context"))
	def, err := st.Marshal(ctx, llb.WithCaps(c.build.client.BuildOpts().Caps))
	if err != nil {
		return nil, err
	}
	return def.ToPB(), nil
}
