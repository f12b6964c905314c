package preflight

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/frontend/policy"
)

// GitmodulesFile lists the submodules of a repository, at the root of a build
// context.
const GitmodulesFile = ".gitmodules"

// Patterns are the files of a build context that Run reads besides lockfiles,
// in the pattern language of .dockerignore.
var Patterns = []string{GitmodulesFile, policy.ProjectFile, policy.SignatureFile}

// A Source is a file or directory of a build context that COPY or ADD names.
type Source struct {
	Path      string // as it is written, or as the graph has it
	Line, End int    // of the instruction in the Dockerfile
}

// Files finds what a build context lacks: sources that are not there, and
// submodules that a source takes along and that are not checked out. fsys is the
// context as COPY sees it, gitmodules its .gitmodules or nil. It is the same
// for a directory and for what the daemon has of it.
func Files(fsys fs.FS, dockerfile string, gitmodules []byte, sources []Source) []Finding {
	var out []Finding
	for _, s := range sources {
		if !isPattern(s.Path) && isMissing(fsys, relative(s.Path)) {
			out = append(out, Finding{
				Rule: MissingSource, Origin: cache.Origin{File: dockerfile, Line: s.Line},
				Subject: relative(s.Path), Cause: "not in the build context", Line: s.Line, End: s.End,
			})
		}
	}
	for _, m := range submodules(gitmodules) {
		i := slices.IndexFunc(sources, func(s Source) bool { return takes(relative(s.Path), m.path) })
		if i < 0 || !isEmptyDir(fsys, m.path) {
			continue
		}
		out = append(out, Finding{
			Rule: EmptySubmodule, Origin: cache.Origin{File: GitmodulesFile, Line: m.line},
			Subject: m.path, Cause: "empty in the build context", Line: sources[i].Line, End: sources[i].End,
		})
	}
	return out
}

// files is Files for the sources of the Dockerfile's text. Those that depend
// on variables are left to the graph.
func (d *dockerfile) files(req Request) []Finding {
	var sources []Source
	add := func(paths []string, at []parser.Range) {
		for _, p := range paths {
			if !strings.Contains(p, "$") && !isRemote(p) && len(at) > 0 {
				sources = append(sources, Source{Path: p, Line: at[0].Start.Line, End: at[len(at)-1].End.Line})
			}
		}
	}
	for i, s := range d.stages {
		if !d.needed[i] {
			continue
		}
		for _, cmd := range s.Commands {
			switch c := cmd.(type) {
			case *instructions.CopyCommand:
				if c.From == "" {
					add(c.SourcePaths, c.Location())
				}
			case *instructions.AddCommand:
				add(c.SourcePaths, c.Location())
			}
		}
	}
	gitmodules, err := fs.ReadFile(req.Context, GitmodulesFile)
	if err != nil {
		gitmodules = nil // none, or none that a build can read
	}
	return Files(req.Files, d.name, gitmodules, sources)
}

// isRemote tells the sources of ADD that are in no build context.
func isRemote(src string) bool {
	if strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://") {
		return true
	}
	ref, isGit, err := dfgitutil.ParseGitRef(src)
	return isGit && err == nil && !ref.IndistinguishableFromLocal
}

// relative is a source's path from the root of the context.
func relative(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// isPattern tells sources that may match nothing: the builder lets them
// (AllowEmptyWildcard).
func isPattern(p string) bool { return strings.ContainsAny(p, `*?[\`) }

// isMissing tells whether a path is certainly not there. What is behind a
// symbolic link is not looked for.
func isMissing(fsys fs.FS, name string) bool {
	if name == "" || name == "." {
		return false
	}
	_, err := fs.Stat(fsys, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for at := path.Dir(name); at != "."; at = path.Dir(at) {
		if isLink(fsys, at) {
			return false
		}
	}
	return !isLink(fsys, name)
}

func isLink(fsys fs.FS, name string) bool {
	entries, err := fs.ReadDir(fsys, path.Dir(name))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == path.Base(name) && e.Type()&fs.ModeSymlink != 0
	})
}

func isEmptyDir(fsys fs.FS, name string) bool {
	if !fs.ValidPath(name) {
		return false
	}
	entries, err := fs.ReadDir(fsys, name)
	return err == nil && len(entries) == 0
}

// takes tells whether a source brings a directory along, or something in it.
func takes(source, dir string) bool {
	return source == "" || isPattern(source) || source == dir ||
		strings.HasPrefix(dir, source+"/") || strings.HasPrefix(source, dir+"/")
}

// submodule is one entry of a .gitmodules file.
type submodule struct {
	path string
	line int
}

// submodules reads the paths of a .gitmodules file, which is in the format of
// git-config(1). Lines that are not of it are for git to complain about.
func submodules(data []byte) []submodule {
	var out []submodule
	inside, n := false, 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = strings.HasPrefix(strings.ToLower(line), "[submodule ")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !inside || !ok || !strings.EqualFold(strings.TrimSpace(key), "path") {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		if clean := path.Clean(value); fs.ValidPath(clean) && clean != "." {
			out = append(out, submodule{clean, n})
		}
	}
	return out
}
